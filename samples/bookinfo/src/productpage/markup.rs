//! Text into HTML: everything that was not written in this program goes through [`text`].

use std::fmt;

/// `content` with the characters that mean something in HTML escaped; for elements and quoted attributes alike.
pub fn text(content: &str) -> impl fmt::Display + '_ {
    Escaped(content)
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['&', '<', '>', '"', '\'']) {
            let plain = part.trim_end_matches(['&', '<', '>', '"', '\'']);
            f.write_str(plain)?;
            match &part[plain.len()..] {
                "&" => f.write_str("&amp;")?,
                "<" => f.write_str("&lt;")?,
                ">" => f.write_str("&gt;")?,
                "\"" => f.write_str("&quot;")?,
                "'" => f.write_str("&#39;")?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let check = |content, expected: &str| assert_eq!(text(content).to_string(), expected);
        check("plain ★", "plain ★");
        check("<script>", "&lt;script&gt;");
        check("a&&b", "a&amp;&amp;b");
        check("\"'>", "&quot;&#39;&gt;");
        check("", "");
    }
}
