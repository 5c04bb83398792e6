//! What becomes of a request after the service has spoken.

use std::collections::BTreeMap;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use mesh_http::{Body, head};
use model::headers::WriteAction;
use telemetry::ResponseFlags;

use super::ExtAuthzFilter;
use super::question::clean;
use super::verdict::{Answer, Changes, RawAction, RawHeader, Verdict};
use crate::chain::{Facts, Flow};
use crate::local::LocalResponse;

const FAILURE_ALLOWED: HeaderName = HeaderName::from_static("x-envoy-auth-failure-mode-allowed");
/// Of these an answer of ours has its own.
const FRAMING: [HeaderName; 3] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];

impl ExtAuthzFilter {
    pub(super) fn heed(&self, verdict: Verdict, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let stats = &self.stats;
        match verdict {
            Verdict::Allow(changes) if self.settings.validate && !changes.are_valid() => self.invalid(facts),
            Verdict::Allow(changes) => {
                self.count([&stats.authz_ok, &stats.authz_cluster_ok], facts);
                if let Some(problem) = changes.first_bad() {
                    return impossible(problem);
                }
                let reroutes = self.settings.reroute && changes.concern_routes();
                change(request, &changes);
                let writes: Vec<_> = changes.response.iter().filter_map(RawHeader::write).collect();
                if !writes.is_empty() {
                    facts.left.get_or_insert_default().writes.extend(writes);
                }
                if reroutes { Flow::Reroute } else { Flow::Continue }
            }
            Verdict::Deny(answer) => {
                self.count([&stats.authz_denied, &stats.authz_cluster_denied], facts);
                if self.settings.validate && !answer.headers.iter().all(RawHeader::is_valid) {
                    return self.invalid(facts);
                }
                self.refused(answer.status.unwrap_or(StatusCode::FORBIDDEN), Some(answer), "ext_authz_denied")
            }
            Verdict::Error(answer) => {
                self.count([&stats.authz_error, &stats.authz_cluster_error], facts);
                if !self.settings.fail_open {
                    let status = answer.as_ref().and_then(|answer| answer.status);
                    return self.refused(status.unwrap_or(self.error_status()), answer, "ext_authz_error");
                }
                self.count([&stats.authz_failure_allowed, &stats.authz_cluster_failure_allowed], facts);
                if self.settings.tells_failure {
                    request.headers_mut().append(FAILURE_ALLOWED, HeaderValue::from_static("true"));
                }
                Flow::Continue
            }
        }
    }

    /// The service was not asked, and that will not do.
    pub(super) fn refused_unasked(&self) -> Flow {
        self.refused(self.error_status(), None, "ext_authz_error")
    }

    /// The service wants what cannot be done.
    fn invalid(&self, facts: &Facts<'_>) -> Flow {
        self.count([&self.stats.authz_invalid, &self.stats.authz_cluster_invalid], facts);
        self.refused(StatusCode::INTERNAL_SERVER_ERROR, None, "ext_authz_invalid")
    }

    fn error_status(&self) -> StatusCode {
        // Discovery has checked the range.
        StatusCode::from_u16(self.settings.error_status).unwrap_or(StatusCode::FORBIDDEN)
    }

    fn refused(&self, status: StatusCode, answer: Option<Answer>, details: &'static str) -> Flow {
        let (mut headers, mut body) = (HeaderMap::new(), String::new());
        if let Some(answer) = answer {
            let most = match self.settings.max_denied_body {
                0 => usize::MAX,
                most => most as usize,
            };
            let sent = &answer.body[..answer.body.len().min(most)];
            // What is no text of UTF-8 cannot be the message of a gRPC status either.
            body = std::str::from_utf8(sent).map_or_else(|_| clean(sent), str::to_owned);
            for (name, value) in answer.headers.iter().filter_map(RawHeader::read) {
                let of_body = body.is_empty() && name == header::CONTENT_TYPE;
                if !FRAMING.contains(&name) && !of_body {
                    headers.append(name, value);
                }
            }
        }
        Flow::Respond(Box::new(LocalResponse {
            status,
            grpc_status: None,
            body: body.into(),
            headers,
            details: details.into(),
            why: None,
            flags: ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE,
        }))
    }
}

/// A request that is to have what HTTP does not allow goes no further, in Envoy's words.
fn impossible(problem: String) -> Flow {
    Flow::Respond(Box::new(LocalResponse {
        status: StatusCode::SERVICE_UNAVAILABLE,
        grpc_status: None,
        details: format!("filter_removed_required_request_headers{{{}}}", problem.replace(' ', "_")).into(),
        why: Some(format!("the service that authorizes asks for what HTTP does not have: {problem}").into()),
        body: problem.into(),
        headers: HeaderMap::new(),
        flags: ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR,
    }))
}

/// Makes the changes to a request; of the target those that HTTP does not allow are left out.
fn change(request: &mut Request<Body>, changes: &Changes) {
    // As Envoy has it: what overwrites comes first, wherever it stands.
    let of = |action: fn(RawAction) -> bool| changes.headers.iter().filter(move |header| action(header.action));
    of(|action| matches!(action, RawAction::Write(WriteAction::Overwrite))).for_each(|it| write(request, it));
    of(|action| !matches!(action, RawAction::Write(WriteAction::Overwrite))).for_each(|it| write(request, it));
    for name in &changes.remove {
        let name = HeaderName::from_bytes(name.as_bytes()).ok().filter(|name| *name != header::HOST);
        name.map(|name| request.headers_mut().remove(name));
    }
    if !changes.set_query.is_empty() || !changes.remove_query.is_empty() {
        let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let target = with_query(target, changes);
        head::set_target(request, &target);
    }
}

fn write(request: &mut Request<Body>, raw: &RawHeader) {
    let text = std::str::from_utf8(&raw.value).unwrap_or_default();
    match raw.name.as_str() {
        ":path" => _ = head::set_target(request, text),
        ":authority" | "host" | "Host" => _ = head::set_authority(request, text),
        ":method" => *request.method_mut() = Method::from_bytes(&raw.value).unwrap_or(request.method().clone()),
        _ => {
            let Some((name, value)) = raw.read() else { return };
            let headers = request.headers_mut();
            match raw.action {
                RawAction::Write(_) | RawAction::Unknown => {
                    if let Some(write) = raw.write() {
                        write.apply(headers);
                    }
                }
                RawAction::Join => {
                    if let Some(had) = headers.get_mut(&name) {
                        *had = joined(&name, had, &value);
                    }
                }
            }
        }
    }
}

/// A value with another one behind it, in one line (RFC 9110, section 5.3; cookies have a delimiter of their own).
fn joined(name: &HeaderName, had: &HeaderValue, more: &HeaderValue) -> HeaderValue {
    let between: &[u8] = if *name == header::COOKIE { b"; " } else { b"," };
    HeaderValue::from_bytes(&[had.as_bytes(), between, more.as_bytes()].concat()).unwrap_or_else(|_| more.clone())
}

/// As Envoy writes queries anew: by the names of their parameters.
fn with_query(target: &str, changes: &Changes) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parameters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        parameters.entry(key).or_default().push(value);
    }
    for (key, value) in &changes.set_query {
        parameters.insert(key, vec![value]);
    }
    for key in &changes.remove_query {
        parameters.remove(key.as_str());
    }
    let all = parameters.iter().flat_map(|(key, values)| values.iter().map(move |value| format!("{key}={value}")));
    let query = all.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(change: impl FnOnce(&mut Changes)) -> Changes {
        let mut changes = Changes::default();
        change(&mut changes);
        changes
    }

    #[test]
    fn queries_are_written_anew() {
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        for (target, set, remove, expected) in [
            ("/p", vec![set("a", "1")], vec![], "/p?a=1"),
            ("/p?b=2&a=0&a=3", vec![set("a", "1")], vec![], "/p?a=1&b=2"),
            ("/p?a=1", vec![], vec!["a"], "/p"),
            ("/p?z&a=1", vec![], vec!["x"], "/p?a=1&z="),
        ] {
            let changes = changes(|it| {
                it.set_query = set;
                it.remove_query = remove.into_iter().map(str::to_owned).collect();
            });
            assert_eq!(with_query(target, &changes), expected, "{target}");
        }
    }

    #[test]
    fn heads_are_changed() {
        let overwrite = RawAction::Write(WriteAction::Overwrite);
        let request = Request::get("/old?q=1").header("host", "old").header("x-a", "1").header("x-b", "1");
        let mut request = request.body(Body::empty()).unwrap();
        let changes = changes(|it| {
            it.headers = vec![
                RawHeader::new(":path", "/new", overwrite),
                RawHeader::new("host", "new", overwrite),
                RawHeader::new(":method", "PUT", overwrite),
                RawHeader::new("x-a", "2", RawAction::Join),
                RawHeader::new("x-none", "2", RawAction::Join),
                RawHeader::new("no name", "2", overwrite),
            ];
            it.remove = vec!["x-b".into(), "Host".into(), ":path".into()];
        });
        assert!(changes.concern_routes() && !changes.are_valid());
        assert_eq!(changes.first_bad().as_deref(), Some("invalid header name: no name"));
        change(&mut request, &changes);
        assert_eq!((request.method().as_str(), request.uri().path()), ("PUT", "/new"));
        let all: Vec<_> =
            request.headers().iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        assert_eq!(all, ["host=new", "x-a=1,2"]);
    }

    #[test]
    fn what_belongs_to_no_character() {
        assert_eq!(clean(b"a\xff\xfeb"), "a!!b");
    }
}
