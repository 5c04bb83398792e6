//! RateLimitPolicy: how many requests workloads and gateways take, by whom or what they are counted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decode::{Spanned, choice, object};
use crate::istio::{LabelSelector, is_path_template};
use crate::meta::check_selector;
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{is_header_name, is_header_value};

object! {
    /// Limits for what comes in at workloads, and at gateways. It stands where an AuthorizationPolicy would: for its
    /// namespace, or in the root namespace for all.
    Exact struct RateLimitPolicy {
        /// The workloads; none means all.
        selector "selector": Option<LabelSelector>,
        /// The limits. A request has to keep all that it falls under.
        limits "limits" (required): Vec<Spanned<RateLimit>>,
    }
}

object! {
    /// A limit.
    Exact struct RateLimit {
        /// Its name, for answers and counters; none means `limit-` and its place in the list.
        name "name": String,
        /// The requests that it is for; none means all.
        match_ "match": Option<RateLimitMatch>,
        /// Each combination of what these say has a count of its own; none: one count for all.
        by "by": Vec<Spanned<LimitKey>>,
        /// How many requests pass within a unit.
        requests "requests" (required): u32,
        /// The unit.
        unit "unit" (required): LimitUnit,
        /// How many may come at once, where each proxy counts; none means `requests`.
        burst "burst": Option<u32>,
        /// Who counts.
        scope "scope": LimitScope,
        /// For how many a request counts; none means 1.
        cost "cost": Option<u32>,
        /// For how many combinations a proxy counts at once; none means 10000. Those that came last are kept.
        max_values "maxValues": Option<u32>,
        /// What becomes of requests when who counts for all does not answer.
        on_error "onError": LimitOnError,
        /// How long that may take; none means 100 ms.
        timeout "timeout": Option<Duration>,
        /// It is counted and told in statistics, and nothing is refused.
        dry_run "dryRun": bool,
        /// The answer to a request that is one too many.
        response "response": Option<LimitResponse>,
    }
}

object! {
    /// The requests that a limit is for: all fields must hold, of a list one value, of a `not` list none. `*` at the
    /// beginning or end of a text stands for any text, alone for any that is not empty, as in an AuthorizationPolicy.
    Exact struct RateLimitMatch {
        /// `Host`, with its port if the client names one; without regard to case.
        hosts "hosts": Vec<Spanned<String>>,
        /// None of these.
        not_hosts "notHosts": Vec<Spanned<String>>,
        /// Methods.
        methods "methods": Vec<Spanned<String>>,
        /// None of these.
        not_methods "notMethods": Vec<Spanned<String>>,
        /// Paths without query.
        paths "paths": Vec<Spanned<String>>,
        /// None of these.
        not_paths "notPaths": Vec<Spanned<String>>,
        /// Headers, all of them.
        headers "headers": Vec<LimitHeader>,
        /// Names of routes, as a VirtualService gives them. Each of them has counts of its own.
        routes "routes": Vec<Spanned<String>>,
    }
}

object! {
    /// A condition on a header.
    Exact struct LimitHeader {
        /// The header.
        name "name" (required): Spanned<String>,
        /// It is one of these; `*` means that it is there.
        values "values": Vec<Spanned<String>>,
        /// It is none of these.
        not_values "notValues": Vec<Spanned<String>>,
    }
}

object! {
    /// By what requests are counted: exactly one of these.
    Exact struct LimitKey {
        /// Who calls, as mutual TLS proves it.
        caller "caller": Option<LimitCaller>,
        /// The first value of a header.
        header "header": Option<Spanned<String>>,
        /// A claim of a token that was found good, by its path: `tenant`, `a.b`, or `[a.b][c]` for names with dots.
        claim "claim": Option<Spanned<String>>,
        /// The first value of a query parameter.
        query "query": Option<Spanned<String>>,
        /// A part of the request.
        request "request": Option<LimitPart>,
        /// The client's address, as far as proxies in front are trusted.
        remote_address "remoteAddress": Option<LimitAddress>,
        /// The same for all requests.
        constant "constant": Option<Spanned<String>>,
    }
}

object! {
    /// How much of an address counts.
    Exact struct LimitAddress {
        /// So many bits of an IPv4 address; none means all 32.
        ipv4_bits "ipv4Bits": Option<u32>,
        /// So many bits of an IPv6 address; none means all 128.
        ipv6_bits "ipv6Bits": Option<u32>,
    }
}

object! {
    /// The answer to a request that is one too many.
    Exact struct LimitResponse {
        /// Its status; none means 429.
        status "status": Option<u16>,
        /// Further headers.
        headers "headers": BTreeMap<String, String>,
    }
}

choice! {
    /// The time in which so many requests pass.
    enum LimitUnit {
        /// One second.
        Second "second",
        /// 60 seconds.
        Minute "minute",
        /// 60 minutes.
        Hour "hour",
        /// 24 hours; of counts for all a day of UTC.
        Day "day",
    }
}

choice! {
    /// Who counts.
    enum LimitScope {
        /// Each proxy for itself.
        Local "local",
        /// The control plane, for all proxies together.
        Global "global",
    }
}

choice! {
    /// What becomes of requests when nobody can say whether they are too many.
    enum LimitOnError {
        /// They pass.
        Allow "allow",
        /// They are refused with 503.
        Deny "deny",
    }
}

choice! {
    /// Who calls.
    enum LimitCaller {
        /// The whole identity.
        Identity "identity",
        /// Its namespace.
        Namespace "namespace",
    }
}

choice! {
    /// A part of a request.
    enum LimitPart {
        /// The path, without query.
        Path "path",
        /// The method.
        Method "method",
        /// The host.
        Host "host",
    }
}

impl LimitUnit {
    /// How long it is.
    pub fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        })
    }
}

/// With more keys there would be too many combinations of those that a request has and those that it lacks.
const MOST_KEYS: usize = 4;
/// What Envoy allows one request to count for.
const MOST_COST: u32 = 1_000_000_000;

impl RateLimitPolicy {
    /// The name of a limit.
    pub fn name(&self, index: usize) -> String {
        match self.limits.get(index).map(|limit| limit.name.as_str()) {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => format!("limit-{index}"),
        }
    }

    pub(crate) fn check(&self, report: &mut Report) {
        report.opt("selector", &self.selector, |selector, r| {
            check_selector("matchLabels", &selector.match_labels, r);
        });
        if self.limits.is_empty() {
            report.field("limits", |r| {
                r.error("the list is empty").expected("at least one");
            });
        }
        let names: Vec<String> = (0..self.limits.len()).map(|index| self.name(index)).collect();
        let mut index = 0;
        report.each("limits", &self.limits, |limit, r| {
            if names[..index].contains(&names[index]) {
                r.field("name", |r| {
                    r.error(format!("another limit is called {}", quoted(&names[index]))).expected("each name once");
                });
            }
            index += 1;
            limit.check(r);
        });
    }
}

impl RateLimit {
    fn check(&self, report: &mut Report) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !self.name.chars().all(is_plain) || self.name.len() > 63 {
            report.field("name", |r| {
                r.error(format!("{} is not a name", quoted(&self.name)))
                    .expected("letters, digits, `-`, `_` and `.`, at most 63");
            });
        }
        report.opt("match", &self.match_, RateLimitMatch::check);
        self.check_keys(report);
        self.check_numbers(report);
        self.check_scope(report);
        report.opt("response", &self.response, LimitResponse::check);
    }

    fn check_keys(&self, report: &mut Report) {
        if self.by.len() > MOST_KEYS {
            report.field("by", |r| {
                r.error(format!("a limit by {} keys", self.by.len())).expected(format!("at most {MOST_KEYS}"));
            });
        }
        let mut before: Vec<&LimitKey> = Vec::new();
        report.each("by", &self.by, |key, r| {
            if before.contains(&&key.value) {
                r.error("this key stands in the list already").hint("remove one of the two");
            }
            before.push(&key.value);
            key.check(r);
        });
    }

    fn check_numbers(&self, report: &mut Report) {
        if self.requests == 0 && self.scope == LimitScope::Local {
            report.field("requests", |r| {
                r.error("0 lets nothing through, and a bucket that never fills cannot be counted")
                    .expected("1 or more")
                    .hint("an AuthorizationPolicy with the action DENY refuses all requests");
            });
        }
        for (name, number) in [("burst", self.burst), ("maxValues", self.max_values), ("cost", self.cost)] {
            report.opt(name, &number, |number, r| {
                if *number == 0 {
                    r.error("0 counts nothing").expected("1 or more");
                }
            });
        }
        if self.cost.is_some_and(|cost| cost > MOST_COST) {
            report.field("cost", |r| {
                r.error("a request cannot count for so many").expected(format!("at most {MOST_COST}"));
            });
        }
        report.opt("timeout", &self.timeout, |timeout, r| {
            if timeout.is_zero() {
                r.error("0 s is no time").expected("more than 0 s, such as `100ms`");
            }
        });
    }

    /// Fields that mean something only where this or that side counts.
    fn check_scope(&self, report: &mut Report) {
        let (wrong, other): (&[_], _) = match self.scope {
            LimitScope::Local => (&[("timeout", self.timeout.is_some())], "global"),
            LimitScope::Global => {
                (&[("burst", self.burst.is_some()), ("maxValues", self.max_values.is_some())], "local")
            }
        };
        for (name, _) in wrong.iter().filter(|(_, is_set)| *is_set) {
            report.field(name, |r| {
                r.error(format!("{} is for limits of `scope: {other}`", quoted(name))).hint("remove it");
            });
        }
    }
}

impl RateLimitMatch {
    /// Every list with texts: its name, that of its `not` list, and both.
    pub fn fields(&self) -> [(&'static str, &'static str, crate::istio::Pair<'_>); 3] {
        [
            ("hosts", "notHosts", (&self.hosts, &self.not_hosts)),
            ("methods", "notMethods", (&self.methods, &self.not_methods)),
            ("paths", "notPaths", (&self.paths, &self.not_paths)),
        ]
    }

    fn check(&self, report: &mut Report) {
        for (name, not, (values, not_values)) in self.fields() {
            for (name, list) in [(name, values), (not, not_values)] {
                report.each(name, list, |value, r| {
                    // Of templates more is said below.
                    if !is_path_template(value) {
                        check_text(value, r);
                    }
                });
            }
        }
        for (name, list) in [("paths", &self.paths), ("notPaths", &self.not_paths)] {
            report.each(name, list, |path, r| {
                if is_path_template(path) {
                    r.error("templates are not taken here").expected("a path, with `*` at its beginning or end");
                } else if !path.starts_with('/') && !path.starts_with('*') {
                    r.error(format!("{} is not a path", quoted(path))).expected("such as `/orders` or `/orders/*`");
                }
            });
        }
        report.each("headers", &self.headers, LimitHeader::check);
        report.each("routes", &self.routes, |name, r| {
            if name.is_empty() {
                r.error("the name is empty").expected("the `name` of a route");
            }
        });
    }
}

impl LimitHeader {
    fn check(&self, report: &mut Report) {
        report.field("name", |r| check_header(&self.name, r));
        if self.values.is_empty() && self.not_values.is_empty() {
            report.error("nothing is asked of the header").expected("`values` or `notValues`");
        }
        report.each("values", &self.values, |value, r| check_text(value, r));
        report.each("notValues", &self.not_values, |value, r| check_text(value, r));
    }
}

impl LimitKey {
    fn check(&self, report: &mut Report) {
        let Self { caller, header, claim, query, request, remote_address, constant } = self;
        let texts = [("header", header), ("claim", claim), ("query", query), ("constant", constant)];
        let said = texts.iter().filter(|(_, text)| text.is_some()).count()
            + usize::from(caller.is_some())
            + usize::from(request.is_some())
            + usize::from(remote_address.is_some());
        if said != 1 {
            report.error("it has to be said by what requests are counted").expected(
                "exactly one of `caller`, `header`, `claim`, `query`, `request`, `remoteAddress` and `constant`",
            );
        }
        for (name, text) in texts {
            report.opt(name, text, |text, r| {
                if text.is_empty() {
                    r.error("the text is empty").expected("a text");
                }
            });
        }
        report.opt("header", header, |name, r| check_header(name, r));
        report.opt("claim", claim, |path, r| {
            if claim_path(path).is_none() {
                r.error(format!("{} is not the path of a claim", quoted(path)))
                    .expected("such as `sub`, `realm.tenant` or `[https://example.com/tenant]`");
            }
        });
        report.opt("remoteAddress", remote_address, |address, r| {
            for (name, bits, most) in [("ipv4Bits", address.ipv4_bits, 32), ("ipv6Bits", address.ipv6_bits, 128)] {
                report_bits(name, bits, most, r);
            }
        });
    }
}

/// The names that lead to a claim: `a.b`, or `[a.b][c]` where names have dots.
pub fn claim_path(written: &str) -> Option<Vec<String>> {
    let path: Vec<String> = match written.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.split("][").map(str::to_owned).collect(),
        None => written.split('.').map(str::to_owned).collect(),
    };
    path.iter().all(|name| !name.is_empty()).then_some(path)
}

fn report_bits(name: &'static str, bits: Option<u32>, most: u32, report: &mut Report) {
    report.opt(name, &bits, |bits, r| {
        if *bits > most {
            r.error(format!("an address has no {bits} bits")).expected(format!("0 to {most}"));
        }
    });
}

impl LimitResponse {
    fn check(&self, report: &mut Report) {
        report.opt("status", &self.status, |status, r| {
            if !(400..600).contains(status) {
                r.error(format!("{status} says of no error")).expected("a status of 400 to 599");
            }
        });
        report.entries("headers", &self.headers, |name, value, r| {
            if !is_header_name(name) || !is_header_value(value) {
                r.error(format!("{} cannot be sent as a header", quoted(name))).expected("a name and a value of HTTP");
            }
        });
    }
}

fn check_header(name: &str, report: &mut Report) {
    if !is_header_name(name) {
        report.error(format!("{} is not the name of a header", quoted(name))).expected("such as `x-user`");
    }
}

/// A text with `*` at one end at most.
fn check_text(value: &Spanned<String>, report: &mut Report) {
    let bare = value.strip_prefix('*').or_else(|| value.strip_suffix('*')).unwrap_or(value);
    if value.is_empty() {
        report.error("the text is empty").expected("a text");
    } else if bare.contains('*') {
        report
            .error(format!("{} has a `*` that is not at its one end", quoted(value)))
            .expected("`*` at the beginning or at the end, or none");
    }
}
