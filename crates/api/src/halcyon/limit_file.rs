//! The configuration file of Envoy's own rate limit service (`envoyproxy/ratelimit`), by itself or in a ConfigMap.

use std::collections::BTreeSet;

use crate::decode::{Decode, Spanned, choice, object};
use crate::kubernetes::ConfigMap;
use crate::problem::{Problem, quoted};
use crate::report::{Report, Step};
use crate::yaml::{self, Limits, Node, Stream, Value};

object! {
    /// The limits of one domain.
    Exact struct LimitFile {
        /// The domain, by which proxies ask.
        domain "domain" (required): Spanned<String>,
        /// The limits, by what requests are counted by.
        descriptors "descriptors": Vec<LimitDescriptor>,
    }
}

object! {
    /// An entry of a descriptor, with its limit and further entries below it.
    Exact struct LimitDescriptor {
        /// The entry's key.
        key "key" (required): Spanned<String>,
        /// Its value; none takes any, each counted by itself. A `*` at its end takes any that begins so.
        value "value": Option<Scalar>,
        /// The limit of requests whose descriptor ends here.
        rate_limit "rate_limit": Option<LimitRate>,
        /// Entries below.
        descriptors "descriptors": Vec<LimitDescriptor>,
        /// Requests are counted, and none is refused.
        shadow_mode "shadow_mode": bool,
        /// Statistics tell values too.
        detailed_metric "detailed_metric": bool,
        /// All values that a `*` takes are counted together.
        share_threshold "share_threshold": bool,
        /// Statistics tell the value of this entry.
        value_to_metric "value_to_metric": bool,
    }
}

object! {
    /// A limit.
    Exact struct LimitRate {
        /// The time in which so many pass.
        unit "unit": Option<WindowWord>,
        /// How many.
        requests_per_unit "requests_per_unit": u32,
        /// There is no limit.
        unlimited "unlimited": bool,
        /// Its name, for those that it is replaced by.
        name "name": String,
        /// The names of limits that do not count where this one does.
        replaces "replaces": Vec<Replaced>,
    }
}

object! {
    /// A limit that is replaced.
    Exact struct Replaced {
        /// Its name.
        name "name" (required): String,
    }
}

choice! {
    /// A unit of time.
    enum Window {
        /// One second.
        Second "second",
        /// 60 seconds.
        Minute "minute",
        /// 60 minutes.
        Hour "hour",
        /// 24 hours, from midnight UTC.
        Day "day",
        /// Seven days.
        Week "week",
        /// 30 days.
        Month "month",
        /// 365 days.
        Year "year",
    }
}

impl Window {
    /// How many seconds it has.
    pub fn seconds(self) -> u64 {
        const DAY: u64 = 24 * 60 * 60;
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
            Self::Month => 30 * DAY,
            Self::Year => 365 * DAY,
        }
    }
}

/// A unit, in letters of either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowWord(pub Window);

impl Decode for WindowWord {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        if let Value::String(text) = &node.value
            && let Some(window) = Window::ALL.iter().find(|window| window.as_str() == text.to_lowercase())
        {
            return Some(Self(*window));
        }
        Window::decode(node, report).map(Self)
    }
}

/// A value, which may be written as a number or a truth value too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scalar(pub String);

impl Decode for Scalar {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Number(number) => Some(Self(number.text().to_owned())),
            Value::Bool(value) => Some(Self(value.to_string())),
            _ => String::decode(node, report).map(Self),
        }
    }
}

impl LimitFile {
    /// Reads and checks a file; `name` is for messages.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(name: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let (file, problems) = from_stream(name, yaml::read(name, text, &Limits::default()));
        if problems.iter().any(Problem::is_error) { Err(problems) } else { file.ok_or(problems) }
    }

    fn check(&self, report: &mut Report) {
        if self.domain.is_empty() {
            report.field("domain", |r| {
                r.error("the domain is empty").expected("a name, such as `edge`");
            });
        }
        if self.domain.starts_with(OWN_DOMAINS) {
            report.field("domain", |r| {
                r.error(format!("domains that begin with `{OWN_DOMAINS}` belong to RateLimitPolicies"))
                    .expected("another name");
            });
        }
        check_descriptors(&self.descriptors, report);
    }
}

/// The domains of RateLimitPolicies begin so.
pub const OWN_DOMAINS: &str = "halcyon.dev/";

fn check_descriptors(list: &[LimitDescriptor], report: &mut Report) {
    let mut seen = BTreeSet::new();
    report.each("descriptors", list, |one, r| {
        if one.key.is_empty() {
            r.field("key", |r| _ = r.error("the key is empty").expected("a text"));
        }
        let value = one.value.as_ref().map_or("", |value| &value.0);
        if !seen.insert((one.key.value.as_str(), value)) {
            let what = if value.is_empty() { quoted(&one.key) } else { quoted(&format!("{}: {value}", *one.key)) };
            r.field("key", |r| _ = r.error(format!("{what} stands in the list already")).expected("each once"));
        }
        if one.share_threshold && !value.ends_with('*') {
            r.field("share_threshold", |r| {
                r.error("only values that a `*` takes can be counted together").expected("a `value` that ends in `*`");
            });
        }
        for (name, is_set) in [("detailed_metric", one.detailed_metric), ("value_to_metric", one.value_to_metric)] {
            if is_set {
                r.field(name, |r| {
                    r.warning("the field is valid and has no effect here")
                        .hint("counters are by domain and outcome: values would be without bound");
                });
            }
        }
        r.opt("rate_limit", &one.rate_limit, LimitRate::check);
        check_descriptors(&one.descriptors, r);
    });
}

impl LimitRate {
    fn check(&self, report: &mut Report) {
        match (self.unlimited, self.unit) {
            (true, Some(_)) => report.field("unit", |r| {
                r.error("what is unlimited has no unit").hint("remove `unit` or `unlimited`");
            }),
            (false, None) => report.field("unit", |r| {
                let words: Vec<String> = Window::ALL.iter().map(|window| format!("`{}`", window.as_str())).collect();
                r.error("the unit is missing").expected(words.join(", "));
            }),
            _ => {}
        }
        report.each("replaces", &self.replaces, |replaced, r| {
            let message = match &replaced.name {
                name if name.is_empty() => "the name is empty",
                name if *name == self.name => "a limit cannot replace itself",
                _ => return,
            };
            r.error(message).expected("the name of another limit");
        });
    }
}

/// Reads the one document of a stream.
fn from_stream(name: &str, stream: Stream) -> (Option<LimitFile>, Vec<Problem>) {
    let mut problems = stream.problems;
    if problems.iter().any(Problem::is_error) {
        return (None, problems);
    }
    match &stream.documents[..] {
        [root] => {
            let mut report = Report::new(name, root);
            let file = LimitFile::decode(root, &mut report);
            report.begin_checks();
            if let Some(file) = &file {
                file.check(&mut report);
            }
            problems.extend(report.finish(None));
            (file, problems)
        }
        documents => {
            let problem = Problem::error(format!("{} documents stand here", documents.len()))
                .at(name, Default::default())
                .expected("one, with `domain` and `descriptors`");
            (None, vec![problem])
        }
    }
}

/// The texts of a ConfigMap that are such files: their names end in `.yaml` or `.yml`, and `domain:` and `descriptors:`
/// begin lines of theirs.
pub fn limit_files(map: &ConfigMap) -> impl Iterator<Item = (&str, &str)> {
    let is_file = |(name, text): &(&str, &str)| is_limit_file(name, text);
    map.data.iter().map(|(name, text)| (name.as_str(), text.as_str())).filter(is_file)
}

fn is_limit_file(name: &str, text: &str) -> bool {
    let has = |field: &str| text.lines().any(|line| line.starts_with(field));
    (name.ends_with(".yaml") || name.ends_with(".yml")) && has("domain:") && has("descriptors:")
}

/// Checks the files that a ConfigMap holds. The walk must stand at the document.
pub(crate) fn check_limit_files(document: &Node, report: &mut Report) {
    let Some(Value::Mapping(entries)) = document.get("data").map(|data| &data.value) else { return };
    for entry in entries {
        let Value::String(text) = &entry.value.value else { continue };
        if is_limit_file(&entry.key, text) {
            report.along(vec![Step::Field("data"), Step::Key(entry.key.clone())], |r| {
                let (_, problems) = from_stream(r.file(), yaml::read_inside(r.file(), &entry.value));
                problems.into_iter().for_each(|problem| r.add(problem));
            });
        }
    }
}
