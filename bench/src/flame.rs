//! Sampled stacks as a flame graph: a tree of callers, each as wide as its share of the samples. Our own few lines, since the
//! usual library for it has a licence that `deny.toml` does not allow.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

/// Samples, put together by stack.
#[derive(Default)]
pub struct Stacks {
    root: Frame,
    /// How often a function was at the top, and anywhere on the stack.
    functions: HashMap<String, (u64, u64)>,
}

/// A function as called by those below it.
#[derive(Default)]
struct Frame {
    count: u64,
    callees: BTreeMap<String, Frame>,
}

const WIDTH: f64 = 1600.0;
const ROW: usize = 17;
/// Where the graph begins, below its title.
const TOP: usize = 30;
/// How wide a letter is, about.
const LETTER: f64 = 6.6;
/// Narrower frames are left out.
const NARROWEST: f64 = 0.4;

impl Stacks {
    /// Reads what `perf script -F comm,ip,sym` prints: a line with the thread's name, then a line for each frame, the top
    /// first, then an empty one.
    pub fn read(text: &str) -> Self {
        let mut stacks = Self::default();
        let mut lines = text.lines();
        while let Some(thread) = lines.by_ref().find(|line| !line.trim().is_empty()) {
            let frames = lines.by_ref().take_while(|line| !line.trim().is_empty());
            let mut stack: Vec<String> = frames.map(function).collect();
            stack.push(thread.trim().to_owned());
            stack.reverse();
            stacks.add(stack);
        }
        stacks
    }

    fn add(&mut self, stack: Vec<String>) {
        if let Some(top) = stack.last() {
            self.functions.entry(top.clone()).or_default().0 += 1;
        }
        for name in stack.iter().collect::<HashSet<_>>() {
            self.functions.entry(name.clone()).or_default().1 += 1;
        }
        let mut frame = &mut self.root;
        frame.count += 1;
        for name in stack {
            frame = frame.callees.entry(name).or_default();
            frame.count += 1;
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.root.count == 0
    }

    /// How many there are.
    pub fn samples(&self) -> u64 {
        self.root.count
    }

    /// The functions that were at the top most often: their share so, and anywhere on the stack, in percent.
    pub fn hottest(&self, count: usize) -> Vec<(&str, f64, f64)> {
        let share = |count: u64| 100.0 * count as f64 / self.root.count.max(1) as f64;
        let mut all: Vec<_> =
            self.functions.iter().map(|(name, (own, total))| (name.as_str(), share(*own), share(*total))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        all.truncate(count);
        all
    }

    /// The graph, callers above callees.
    pub fn svg(&self, title: &str) -> String {
        let height = TOP + ROW * (self.root.depth() + 1);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"monospace\" \
             font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
             <text x=\"4\" y=\"18\" font-size=\"13\">{} ({} samples)</text>\n",
            escaped(title),
            self.root.count
        );
        self.root.draw("all", 0.0, 0, self.root.count.max(1), &mut out);
        out.push_str("</svg>\n");
        out
    }
}

impl Frame {
    fn depth(&self) -> usize {
        1 + self.callees.values().map(Self::depth).max().unwrap_or_default()
    }

    fn draw(&self, name: &str, x: f64, level: usize, all: u64, out: &mut String) {
        let width = WIDTH * self.count as f64 / all as f64;
        if width < NARROWEST {
            return;
        }
        let (y, share) = (TOP + level * ROW, 100.0 * self.count as f64 / all as f64);
        let letters = (width / LETTER) as usize;
        let shown = if letters >= 4 { shortened(name, letters) } else { String::new() };
        let (name, shown, color) = (escaped(name), escaped(&shown), color(name));
        // Writing to memory does not fail.
        let _ = writeln!(
            out,
            "<g><title>{name}, {share:.2} %</title><rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" \
             fill=\"{color}\" stroke=\"#ffffff\" stroke-width=\"0.5\"/><text x=\"{:.1}\" y=\"{}\">{shown}</text></g>",
            ROW - 1,
            x + 2.0,
            y + 12,
        );
        let mut at = x;
        for (callee, frame) in &self.callees {
            frame.draw(callee, at, level + 1, all, out);
            at += WIDTH * frame.count as f64 / all as f64;
        }
    }
}

/// The name in `  7f0012 tokio::runtime::x::h0123456789abcdef+0x12 (file)`, without address, offset and hash.
fn function(line: &str) -> String {
    let name = line.trim().split_once(' ').map_or("[unknown]", |(_, name)| name);
    let name = name.rsplit_once("+0x").map_or(name, |(name, _)| name);
    let hash = |hash: &str| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    match name.rsplit_once("::h") {
        Some((name, end)) if hash(end) => name.to_owned(),
        _ => name.to_owned(),
    }
}

/// The end of a name says more than its beginning.
fn shortened(name: &str, letters: usize) -> String {
    let count = name.chars().count();
    match count <= letters {
        true => name.to_owned(),
        false => format!("..{}", name.chars().skip(count + 2 - letters).collect::<String>()),
    }
}

/// The same for the same crate: names begin with it.
fn color(name: &str) -> String {
    let krate = name.trim_start_matches(['<', '&']).split("::").next().unwrap_or_default();
    let sum = krate.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    match name.contains("::") {
        true => format!("hsl({},65%,75%)", sum % 360),
        // The kernel and C.
        false => "#e8b8a0".to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "worker-0 \n\t    55aa proxy::request::handle::h0123456789abcdef\n\t    55ab main+0x12\n\n\
                          worker-0 \n\t    55ac <bytes::Bytes as core::ops::drop::Drop>::drop::hfedcba9876543210\n\
                          \t    55aa proxy::request::handle::h0123456789abcdef\n\t    55ab main+0x12\n\n";

    #[test]
    fn stacks_are_put_together() {
        let stacks = Stacks::read(SCRIPT);
        assert_eq!(stacks.samples(), 2);
        assert_eq!(
            stacks.hottest(2),
            [("<bytes::Bytes as core::ops::drop::Drop>::drop", 50.0, 50.0), ("proxy::request::handle", 50.0, 100.0)]
        );
        assert!(Stacks::read("\n\n").is_empty());
    }

    #[test]
    fn graphs() {
        let svg = Stacks::read(SCRIPT).svg("a < b");
        assert!(svg.contains("a &lt; b (2 samples)"), "{svg}");
        assert!(svg.contains("<title>proxy::request::handle, 100.00 %</title>"), "{svg}");
        assert!(svg.contains("&lt;bytes::Bytes as core::ops::drop::Drop&gt;::drop, 50.00 %"), "{svg}");
        assert_eq!(svg.matches("<g>").count(), 5, "{svg}");
    }
}
