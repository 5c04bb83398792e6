//! The other way round: from what a document is, by what was changed, to what it was.

/// The text before a change, of the text after it and of the lines of the change's unified diff. None where they do not fit:
/// the diff was cut off, or is not of this text.
pub(crate) fn undo(after: &str, diff: &[String]) -> Option<String> {
    let after: Vec<&str> = after.lines().collect();
    let (mut before, mut at) = (Vec::new(), 0);
    for line in diff {
        if let Some(hunk) = line.strip_prefix("@@ ") {
            let start = start(hunk)?;
            before.extend(after.get(at..start)?);
            at = start;
            continue;
        }
        match line.split_at_checked(1)? {
            (" ", text) => {
                before.push(after.get(at).copied().filter(|it| *it == text)?);
                at += 1;
            }
            ("+", text) => {
                after.get(at).filter(|it| **it == text)?;
                at += 1;
            }
            ("-", text) => before.push(text),
            _ => return None,
        }
    }
    before.extend(after.get(at..)?);
    Some(before.iter().flat_map(|line| [*line, "\n"]).collect())
}

/// Where a hunk begins in the text after the change, counted from zero: `-1,2 +1,2 @@`.
fn start(hunk: &str) -> Option<usize> {
    let (_, new) = hunk.strip_suffix(" @@")?.split_once(" +")?;
    let (line, count) = new.split_once(',').unwrap_or((new, "1"));
    let line: usize = line.parse().ok()?;
    // Of nothing it names the line before.
    if count == "0" { Some(line) } else { line.checked_sub(1) }
}

#[cfg(test)]
mod tests {
    use similar::TextDiff;

    use super::*;

    fn check(before: &str, after: &str) {
        let diff = TextDiff::from_lines(before, after);
        let lines: Vec<String> = diff.unified_diff().context_radius(1).to_string().lines().map(str::to_owned).collect();
        assert_eq!(undo(after, &lines).as_deref(), Some(before), "{lines:?}");
    }

    #[test]
    fn every_change_has_its_way_back() {
        let text = |lines: &[u32]| lines.iter().map(|line| format!("l{line}\n")).collect::<String>();
        let whole: Vec<u32> = (0..40).collect();
        check("", &text(&whole));
        check(&text(&whole), "");
        check(&text(&whole), &text(&whole));
        // Every way to take away, add and exchange some lines of a longer text.
        for from in 0..38 {
            for to in [from + 1, from + 3, 40] {
                let to = to.min(40);
                let (mut without, mut with, mut other) = (whole.clone(), whole.clone(), whole.clone());
                without.drain(from..to);
                with.splice(from..from, 100..102);
                other.splice(from..to, 200..201);
                for changed in [&without, &with, &other] {
                    check(&text(&whole), &text(changed));
                    check(&text(changed), &text(&whole));
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_not_guessed() {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(undo("a\nb\n", &lines(&["@@ -1,2 +1,2 @@", " x", "-b", "+c"])), None);
        assert_eq!(undo("a\n", &lines(&["@@ -1 +1 @@", "-b", "+a", "(and 3 lines more)"])), None);
        assert_eq!(undo("a\n", &lines(&["@@ -9,2 +9,2 @@", " a"])), None);
        assert_eq!(undo("a\n", &lines(&["@@ junk @@"])), None);
    }
}
