//! Rules that several of Istio's kinds share: hosts, gateways' names, visibility, ports, durations, headers.

use std::collections::BTreeMap;
use std::time::Duration;

use base::HostPattern;

use super::{Destination, Headers, Percent};
use crate::code::Code;
use crate::decode::{Spanned, StringMatch, nearest, one_of};
use crate::meta::{DNS_LABEL, Meta};
use crate::problem::quoted;
use crate::report::{Report, Step};
use crate::syntax::{PROTOCOLS, is_dns_label, is_header_name, is_header_value, protocol_class, regex_error};

const HOST: &str = "a DNS name, `*.` and a DNS name, or `*`";
pub(super) const PORT: &str = "a number from 1 to 65535";

/// Checks a host pattern where the walk stands.
pub(crate) fn check_host(text: &str, report: &mut Report) -> Option<HostPattern> {
    let host = text.strip_suffix('.').unwrap_or(text).parse().ok();
    if host.is_none() {
        let found = report.error(format!("{} is not a host", quoted(text))).expected(HOST);
        if text.contains("://") {
            found.hint("leave the scheme out");
        } else if let Some((name, port)) = text.rsplit_once(':').filter(|(_, p)| p.parse::<u16>().is_ok()) {
            found.hint(format!("write `{name}` without `:{port}`"));
        } else if text.starts_with('*') {
            found.hint("a wildcard stands for whole parts of the name: `*.example.org`");
        }
    }
    host
}

/// Checks a port number where the walk stands.
pub(super) fn check_port(port: u32, report: &mut Report) {
    if !(1..=65535).contains(&port) {
        report.error(format!("{port} is not a port")).expected(PORT);
    }
}

/// Checks a declared protocol in the field `protocol`; empty means that it is found out.
pub(super) fn check_protocol(protocol: &str, report: &mut Report) {
    if !protocol.is_empty() && protocol_class(protocol).is_none() {
        report.field("protocol", |r| {
            let found = r.error(format!("{} is not a protocol", quoted(protocol))).expected(one_of(&PROTOCOLS));
            if let Some(near) = nearest(protocol, &PROTOCOLS) {
                found.hint(format!("did you mean `{near}`?"));
            }
        });
    }
}

/// Checks the field `exportTo`; `allow_none` lets `~` (nobody) stand, as ServiceEntry may.
pub(super) fn check_export_to(export_to: &[Spanned<String>], allow_none: bool, meta: &Meta, report: &mut Report) {
    check_visibility("exportTo", export_to, allow_none, meta.namespace.as_deref().unwrap_or_default(), report);
}

/// The same for another field; `own` is the namespace that `.` means.
pub(super) fn check_visibility(
    name: &'static str,
    export_to: &[Spanned<String>],
    allow_none: bool,
    own: &str,
    report: &mut Report,
) {
    let mut seen = BTreeMap::new();
    report.field(name, |r| {
        for (index, entry) in export_to.iter().enumerate() {
            r.down(Step::Index(index), |r| {
                let text = entry.as_str();
                if !(text == "." || text == "*" || text == "~" && allow_none || is_dns_label(text)) {
                    let expected = if allow_none { "a namespace, `.`, `*` or `~`" } else { "a namespace, `.` or `*`" };
                    r.error(format!("{} is not a namespace", quoted(text))).expected(expected);
                } else if let Some(first) = seen.insert(if text == "." { own } else { text }, text) {
                    let message = format!("{} says the same as {}", quoted(text), quoted(first));
                    r.error(message).expected("each namespace once").hint("remove one of the two");
                }
            });
        }
        for (all, meaning) in [("*", "everybody"), ("~", "nobody")] {
            if export_to.len() > 1 && export_to.iter().any(|e| e.value == all) {
                r.error(format!("`{all}` means {meaning}, and stands beside others"))
                    .expected(format!("`{all}` alone, or the others without it"));
            }
        }
    });
}

/// Checks a list of gateways' names in the field `gateways`.
pub(super) fn check_gateways(gateways: &[Spanned<String>], report: &mut Report) {
    const EXPECTED: &str = "`namespace/name`, `name`, or `mesh` for all sidecars";
    report.each("gateways", gateways, |gateway, r| {
        let text = gateway.as_str();
        match text.split_once('/') {
            Some((namespace, name)) => {
                if !(is_dns_label(namespace) || namespace == ".") || !crate::syntax::is_dns_subdomain(name) {
                    r.error(format!("{} does not name a gateway", quoted(text))).expected(EXPECTED);
                }
            }
            None if !crate::syntax::is_dns_subdomain(text) => {
                r.error(format!("{} does not name a gateway", quoted(text))).expected(EXPECTED);
            }
            None => {
                if let [name, namespace, ..] = text.split('.').collect::<Vec<_>>()[..] {
                    r.warning(format!("{} is an old way to name a gateway", quoted(text)))
                        .expected(EXPECTED)
                        .hint(format!("write `{namespace}/{name}`"));
                }
            }
        }
    });
}

/// Checks a destination where the walk stands.
pub(super) fn check_destination(destination: &Destination, report: &mut Report) {
    report.field("host", |r| {
        if destination.host.value == "*" {
            r.error("`*` cannot be a destination").expected("the name of a service");
        } else {
            check_host(&destination.host, r);
        }
    });
    if !destination.subset.is_empty() {
        report.field("subset", |r| check_subset_name(&destination.subset, r));
    }
    report.opt("port", &destination.port, |port, r| r.field("number", |r| check_port(port.number.value, r)));
}

/// Checks the name of a subset where the walk stands.
pub(super) fn check_subset_name(name: &str, report: &mut Report) {
    if !is_dns_label(name) {
        report.error(format!("{} is not the name of a subset", quoted(name))).expected(DNS_LABEL);
    }
}

/// Checks that the duration in the field `name` is at least a millisecond.
pub(super) fn check_duration(name: &'static str, duration: Option<Duration>, report: &mut Report) {
    let Some(duration) = duration else { return };
    report.field(name, |r| {
        if duration.is_zero() {
            r.error("the duration is zero")
                .expected("at least `1ms`")
                .hint("leave the field out to have no limit of your own");
        } else if duration < Duration::from_millis(1) {
            r.error("the duration is shorter than a millisecond").expected("at least `1ms`");
        }
    });
}

/// Checks the share in the field `name`.
pub(super) fn check_percent(name: &'static str, percent: &Option<Percent>, report: &mut Report) {
    report.opt(name, percent, |percent, r| {
        if !(0.0..=100.0).contains(&percent.value) {
            r.field("value", |r| {
                r.error(format!("{} is not a percentage", percent.value)).expected("a number from 0 to 100");
            });
        }
    });
}

/// Checks a number in whole percent in the field `name`.
pub(super) fn check_whole_percent(name: &'static str, percent: Option<u32>, report: &mut Report) {
    if let Some(percent) = percent.filter(|p| *p > 100) {
        report.field(name, |r| {
            r.error(format!("{percent} is not a percentage")).expected("a number from 0 to 100");
        });
    }
}

/// Checks a string match where the walk stands.
pub(super) fn check_match(text: &StringMatch, report: &mut Report) {
    match text {
        StringMatch::Regex(regex) => report.field("regex", |r| check_regex(regex, r)),
        StringMatch::Prefix(prefix) if prefix.is_empty() => report.field("prefix", |r| {
            r.error("the prefix is empty")
                .expected("at least one character")
                .hint("write `{}` in place of it to match any value");
        }),
        _ => {}
    }
}

/// Checks a regular expression where the walk stands.
pub(super) fn check_regex(regex: &str, report: &mut Report) {
    if let Some(reason) = regex_error(regex) {
        report
            .error(reason)
            .code(Code::InvalidRegexp)
            .expected("a regular expression in RE2's language")
            .hint("look-around and back-references do not exist there");
    }
}

/// Checks the block or address in each item of the field `destinationSubnets`.
pub(super) fn check_subnets(name: &'static str, subnets: &[String], report: &mut Report) {
    report.each(name, subnets, |subnet, r| {
        if subnet.parse::<ipnet::IpNet>().is_err() && subnet.parse::<std::net::IpAddr>().is_err() {
            r.error(format!("{} is not an address", quoted(subnet)))
                .expected("an IP address, or a block such as `10.0.0.0/8`");
        }
    });
}

/// Checks the changes of headers in the field `headers`.
pub(super) fn check_headers(headers: &Option<Headers>, report: &mut Report) {
    report.opt("headers", headers, |headers, r| {
        for (way, operations) in [("request", &headers.request), ("response", &headers.response)] {
            report_operations(way, operations, r);
        }
    });
}

fn report_operations(way: &'static str, operations: &Option<super::HeaderOperations>, report: &mut Report) {
    report.opt(way, operations, |operations, r| {
        for (name, map) in [("set", &operations.set), ("add", &operations.add)] {
            r.entries(name, map, |header, value, r| {
                check_header_name(header, way == "request", r);
                if !is_header_value(value) {
                    r.error("the value holds control characters").expected("printable text");
                }
            });
        }
        r.each("remove", &operations.remove, |header, r| check_header_name(header, false, r));
    });
}

fn check_header_name(header: &str, may_be_authority: bool, report: &mut Report) {
    if is_authority(header) && may_be_authority {
        return;
    }
    if is_authority(header) || header.starts_with(':') {
        let found = report.error(format!("the header {} cannot be changed here", quoted(header)));
        if header.eq_ignore_ascii_case(":path") {
            found.hint("use `rewrite.uri`");
        } else if is_authority(header) {
            found.expected("to see it under `headers.request.set` only");
        }
    } else if !is_header_name(header) {
        report
            .error(format!("{} is not the name of a header", quoted(header)))
            .expected("letters, digits and any of !#$%&'*+-.^_`|~");
    }
}

/// Is this one of the two names of the request's authority?
pub(super) fn is_authority(header: &str) -> bool {
    header.eq_ignore_ascii_case(":authority") || header.eq_ignore_ascii_case("host")
}

/// Notes an error if more than one of `fields` is set. Says which.
pub(super) fn check_exclusive(fields: &[(&str, bool)], report: &mut Report) {
    let set: Vec<&str> = fields.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
    if let [first, rest @ ..] = &set[..]
        && !rest.is_empty()
    {
        let others = rest.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" and ");
        report
            .error(format!("`{first}` and {others} exclude each other"))
            .expected(format!("one of {}", one_of_all(fields)));
    }
}

fn one_of_all(fields: &[(&str, bool)]) -> String {
    one_of(&fields.iter().map(|(name, _)| *name).collect::<Vec<_>>())
}
