//! Consul's rules on access: `ServiceIntentions` (`consul.hashicorp.com/v1alpha1`), as Consul on Kubernetes has them.

use crate::decode::{Spanned, choice, object, one_of};
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{is_dns_label, is_header_name, regex_error};

object! {
    /// Who may call a service.
    Exact struct ServiceIntentions {
        /// The service.
        destination "destination" (required): IntentionDestination,
        /// Who calls it, and what becomes of that.
        sources "sources": Vec<Spanned<IntentionSource>>,
        /// Tokens that are asked for. Not possible here.
        jwt "jwt": Option<IntentionJwt>,
    }
}

object! {
    /// The service that is called.
    Exact struct IntentionDestination {
        /// Its name; `*` is any.
        name "name" (required): Spanned<String>,
        /// Its namespace, that of the document if none is said; `*` is any.
        namespace "namespace": Spanned<String>,
        /// Its partition. There is but one here.
        partition "partition": Spanned<String>,
    }
}

object! {
    /// Who calls. Either an action or permissions say what becomes of it.
    Exact struct IntentionSource {
        /// The service that calls, by its account; `*` is any.
        name "name" (required): Spanned<String>,
        /// Its namespace, that of the document if none is said; `*` is any.
        namespace "namespace": Spanned<String>,
        /// The cluster that it is in. There is but one here.
        peer "peer": Spanned<String>,
        /// Its partition. There is but one here.
        partition "partition": Spanned<String>,
        /// A group of clusters. There are none here.
        sameness_group "samenessGroup": Spanned<String>,
        /// What becomes of all that it sends.
        action "action": Option<IntentionAction>,
        /// What becomes of its requests: the first that fits decides.
        permissions "permissions": Vec<Spanned<IntentionPermission>>,
        /// For people.
        description "description": String,
    }
}

choice! {
    /// What becomes of a call.
    enum IntentionAction {
        /// It may not pass.
        Deny "deny",
        /// It may pass.
        Allow "allow",
    }
}

object! {
    /// What becomes of some requests.
    Exact struct IntentionPermission {
        /// What becomes of them.
        action "action" (required): IntentionAction,
        /// Which they are.
        http "http" (required): IntentionHttp,
        /// Tokens that are asked for. Not possible here.
        jwt "jwt": Option<IntentionJwt>,
    }
}

object! {
    /// Requests: all fields must hold.
    Exact struct IntentionHttp {
        /// The whole path.
        path_exact "pathExact": Spanned<String>,
        /// The beginning of the path.
        path_prefix "pathPrefix": Spanned<String>,
        /// A regular expression (RE2) for the whole path.
        path_regex "pathRegex": Spanned<String>,
        /// One of these methods.
        methods "methods": Vec<Spanned<String>>,
        /// All of these headers.
        header "header": Vec<IntentionHeader>,
    }
}

object! {
    /// A header: one way of comparing.
    Exact struct IntentionHeader {
        /// Its name.
        name "name" (required): Spanned<String>,
        /// It is there.
        present "present": bool,
        /// It is this.
        exact "exact": String,
        /// It begins with this.
        prefix "prefix": String,
        /// It ends with this.
        suffix "suffix": String,
        /// This is in it.
        contains "contains": String,
        /// A regular expression (RE2) for the whole value.
        regex "regex": String,
        /// Without regard to case.
        ignore_case "ignoreCase": bool,
        /// It is not so.
        invert "invert": bool,
    }
}

object! {
    /// Tokens that are asked for.
    Exact struct IntentionJwt {
        /// By whom they are.
        providers "providers": Vec<IntentionProvider>,
    }
}

object! {
    /// By whom a token is.
    Exact struct IntentionProvider {
        /// The name of a `jwt-provider`.
        name "name": Spanned<String>,
        /// Claims that are asked for.
        verify_claims "verifyClaims": Vec<IntentionClaim>,
    }
}

object! {
    /// A claim that is asked for.
    Exact struct IntentionClaim {
        /// The way to it.
        path "path": Vec<String>,
        /// Its value.
        value "value": String,
    }
}

/// Any name.
pub const ANY: &str = "*";

/// The partition that there is.
const OWN_PARTITION: &str = "default";

/// The namespace that is meant where none is said: the document's.
pub fn namespace_or<'a>(written: &'a Spanned<String>, own: &'a str) -> &'a str {
    if written.is_empty() { own } else { written }
}

impl IntentionHeader {
    /// The ways of comparing that are said.
    fn ways(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("present", self.present),
            ("exact", !self.exact.is_empty()),
            ("prefix", !self.prefix.is_empty()),
            ("suffix", !self.suffix.is_empty()),
            ("contains", !self.contains.is_empty()),
            ("regex", !self.regex.is_empty()),
        ]
    }

    fn check(&self, report: &mut Report) {
        check_header_name(&self.name, report);
        let ways = self.ways();
        let names: Vec<&str> = ways.iter().map(|(name, _)| *name).collect();
        let said: Vec<&str> = ways.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        match said[..] {
            [_] => {}
            [] => _ = report.error("nothing is asked of the header").expected(one_of(&names)),
            [first, second, ..] => {
                report.error(format!("`{first}` and `{second}` exclude each other")).expected("one of them");
            }
        }
        if self.ignore_case && (self.present || !self.regex.is_empty()) {
            report.field("ignoreCase", |r| {
                r.error("this has no meaning with `present` and `regex`")
                    .expected("`exact`, `prefix`, `suffix` or `contains`");
            });
        }
        if !self.regex.is_empty() {
            report.field("regex", |r| check_regex(&self.regex, r));
        }
    }
}

impl ServiceIntentions {
    pub(crate) fn check(&self, report: &mut Report) {
        report.field("destination", |r| {
            let to = &self.destination;
            check_names(&to.name, &to.namespace, r);
            check_partition(&to.partition, r);
        });
        if self.sources.is_empty() {
            report.field("sources", |r| _ = r.error("nobody is named").expected("at least one source"));
        }
        refuse_tokens(&self.jwt, report);
        report.each("sources", &self.sources, |source, r| {
            source.check(r);
            let to = &self.destination;
            if !source.permissions.is_empty() && (to.name.value == ANY || to.namespace.value == ANY) {
                r.field("permissions", |r| {
                    r.error("what any service speaks is not known: permissions need one that is named")
                        .expected("`action`, or a destination without `*`");
                });
            }
            let same = |other: &&Spanned<IntentionSource>| {
                (&other.name, &other.namespace) == (&source.name, &source.namespace)
            };
            let first = self.sources.iter().find(same);
            if first.is_some_and(|first| !std::ptr::eq(first, source)) {
                r.field("name", |r| {
                    r.error(format!("the source {} is named twice", quoted(&source.name)))
                        .expected("one entry for each");
                });
            }
        });
    }
}

impl IntentionSource {
    fn check(&self, report: &mut Report) {
        check_names(&self.name, &self.namespace, report);
        check_partition(&self.partition, report);
        let absent = [
            ("peer", &self.peer, "there are no peers here: all callers are of this mesh"),
            ("samenessGroup", &self.sameness_group, "there are no groups of clusters here"),
        ];
        for (name, value, message) in absent {
            if !value.is_empty() {
                report.field(name, |r| _ = r.error(message).hint("leave it out"));
            }
        }
        match (&self.action, self.permissions.is_empty()) {
            (Some(_), true) | (None, false) => {}
            (None, true) => {
                _ = report.error("nothing is said of what becomes of it").expected("`action` or `permissions`")
            }
            (Some(_), false) => {
                report.error("`action` and `permissions` exclude each other").expected("one of them");
            }
        }
        report.each("permissions", &self.permissions, |permission, r| {
            refuse_tokens(&permission.jwt, r);
            r.field("http", |r| permission.http.check(r));
        });
    }
}

impl IntentionHttp {
    fn check(&self, report: &mut Report) {
        let paths =
            [("pathExact", &self.path_exact), ("pathPrefix", &self.path_prefix), ("pathRegex", &self.path_regex)];
        let said: Vec<&str> = paths.iter().filter(|(_, text)| !text.is_empty()).map(|(name, _)| *name).collect();
        if let [first, second, ..] = said[..] {
            report.error(format!("`{first}` and `{second}` exclude each other")).expected("one of them");
        }
        for (name, text) in &paths[..2] {
            if !text.is_empty() && !text.starts_with('/') {
                report.field(name, |r| {
                    r.error(format!("{} is no path", quoted(text))).expected(format!("`/{}`", text.value));
                });
            }
        }
        if !self.path_regex.is_empty() {
            report.field("pathRegex", |r| check_regex(&self.path_regex, r));
        }
        if said.is_empty() && self.methods.is_empty() && self.header.is_empty() {
            report.error("nothing is asked of requests").expected("a path, methods or headers");
        }
        report.each("methods", &self.methods, |method, r| {
            if method.is_empty() || !method.bytes().all(|c| c.is_ascii_uppercase() || c == b'-') {
                r.error(format!("{} is not a method", quoted(method))).expected("one in capitals, such as `GET`");
            }
        });
        report.each("header", &self.header, IntentionHeader::check);
    }
}

fn check_names(name: &Spanned<String>, namespace: &Spanned<String>, report: &mut Report) {
    for (field, text) in [("name", name), ("namespace", namespace)] {
        if text.value != ANY && !text.is_empty() && !is_dns_label(text) {
            report.field(field, |r| {
                _ = r.error(format!("{} is not a name", quoted(text))).expected("a name, or `*` alone")
            });
        }
    }
    if namespace.value == ANY && name.value != ANY {
        report.field("name", |r| {
            r.error("a service of any namespace cannot be named").expected("`*` beside the namespace `*`");
        });
    }
}

fn check_partition(partition: &Spanned<String>, report: &mut Report) {
    if !partition.is_empty() && partition.value != OWN_PARTITION {
        report.field("partition", |r| {
            r.error(format!("there is no partition {} here", quoted(partition)))
                .expected(format!("`{OWN_PARTITION}`, or none"));
        });
    }
}

/// Whoever asks for a token means that others are refused.
fn refuse_tokens(jwt: &Option<IntentionJwt>, report: &mut Report) {
    report.opt("jwt", jwt, |_, r| {
        r.error("tokens cannot be asked for by an intention here")
            .hint("write a RequestAuthentication, and an AuthorizationPolicy with `requestPrincipals`");
    });
}

fn check_header_name(name: &Spanned<String>, report: &mut Report) {
    if !is_header_name(name.strip_prefix(':').unwrap_or(name)) {
        report.field("name", |r| {
            _ = r.error(format!("{} is not a header", quoted(name))).expected("the name of a header")
        });
    }
}

fn check_regex(regex: &str, report: &mut Report) {
    if let Some(reason) = regex_error(regex) {
        report.error(reason).expected("a regular expression in RE2's language");
    }
}
