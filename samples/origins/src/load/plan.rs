//! What people type, and what it means.

use std::time::Duration;

use axum::http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Request, Uri};
use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use regex::bytes::Regex;

/// The options of `origins load`.
#[derive(Debug, Clone, Args)]
pub struct LoadOptions {
    /// Where to: http://host[:port]/path
    pub url: String,
    /// Requests per second, sent whether or not the server keeps up; 0: each connection sends when it is free.
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// How long to send, for example 10s or 500ms.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Send for this long before counting.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub warmup: Duration,
    /// End after this many requests.
    #[arg(long, short = 'n')]
    pub requests: Option<u64>,
    /// How many connections.
    #[arg(long, short = 'c', default_value_t = 10)]
    pub connections: usize,
    /// Speak HTTP/2 (prior knowledge) instead of HTTP/1.1.
    #[arg(long)]
    pub h2: bool,
    /// With --h2: requests at once on each connection.
    #[arg(long, default_value_t = 100)]
    pub streams: usize,
    /// The method; GET, or POST when there is a body.
    #[arg(long, short = 'X')]
    pub method: Option<Method>,
    /// A header, as `name: value`; may be repeated.
    #[arg(long = "header", short = 'H')]
    pub headers: Vec<String>,
    /// The request body.
    #[arg(long, short = 'd')]
    pub data: Option<String>,
    /// Connect to this host:port, whatever the URL says.
    #[arg(long)]
    pub connect: Option<String>,
    /// A new connection for each request (HTTP/1.1).
    #[arg(long, conflicts_with = "h2")]
    pub no_keepalive: bool,
    /// How long an answer may take, counted from the intended start.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
    /// Count the values of this response header or trailer; may be repeated.
    #[arg(long)]
    pub count_header: Vec<HeaderName>,
    /// Count the first match in the body, or its first group; may be repeated.
    #[arg(long)]
    pub count_body_regex: Vec<Regex>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `10s`, `500ms`, `2m`, or a plain number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let factor = match &text[split..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => f64::NAN,
    };
    let seconds = text[..split].parse::<f64>().map_or(f64::NAN, |n| n * factor);
    Duration::try_from_secs_f64(seconds).map_err(|_| "expected a number with ms, s, m or h, for example 10s".to_owned())
}

/// Which HTTP to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, one request at once on a connection.
    Http1,
    /// HTTP/2 in plain text, by prior knowledge.
    Http2,
}

/// Options that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The URL is none, or not plain HTTP.
    #[error(
        "{0}: not a URL that can be called; expected http://host[:port]/path, for example http://127.0.0.1:8080/productpage"
    )]
    Url(String),
    /// A header is none.
    #[error("--header `{0}`: not a header; expected `name: value`, for example `end-user: jason`")]
    Header(String),
    /// A number is out of bounds.
    #[error("{option}: {is}; expected {expected}")]
    Number {
        /// Which option.
        option: &'static str,
        /// What it is.
        is: String,
        /// What it could be.
        expected: &'static str,
    },
}

/// The options after they were checked and completed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The URL as it was given.
    pub url: String,
    /// host:port to connect to.
    pub connect: String,
    /// HTTP/1.1 or HTTP/2.
    pub protocol: Protocol,
    /// Requests per second; 0 is closed loop.
    pub rate: f64,
    /// For how long, warm-up included.
    pub duration: Duration,
    /// How much of it is not counted.
    pub warmup: Duration,
    /// At most so many requests.
    pub requests: u64,
    /// Connections.
    pub connections: usize,
    /// Requests at once on each.
    pub streams: usize,
    /// Use connections again.
    pub keepalive: bool,
    /// Per request, from its intended start.
    pub timeout: Duration,
    /// Whose values are counted.
    pub count_headers: Vec<HeaderName>,
    /// Whose matches are counted.
    pub count_body: Vec<Regex>,
    method: Method,
    target: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl TryFrom<LoadOptions> for Plan {
    type Error = PlanError;

    fn try_from(options: LoadOptions) -> Result<Self, PlanError> {
        let number = |option, is: String, expected| Err(PlanError::Number { option, is, expected });
        if !(options.rate.is_finite() && (0.0..=1e7).contains(&options.rate)) {
            return number("--rate", options.rate.to_string(), "0 to 10000000 requests per second");
        }
        if !(1..=100_000).contains(&options.connections) {
            return number("--connections", options.connections.to_string(), "1 to 100000");
        }
        if !(1..=10_000).contains(&options.streams) {
            return number("--streams", options.streams.to_string(), "1 to 10000");
        }
        let (host, target, mut headers) = address(&options.url)?;
        add_headers(&mut headers, &options.headers)?;
        let protocol = if options.h2 { Protocol::Http2 } else { Protocol::Http1 };
        let target = if options.h2 { absolute(&target, &mut headers, &options.url)? } else { target };
        let body = options.data.map(Bytes::from).unwrap_or_default();
        let method = options.method.unwrap_or(if body.is_empty() { Method::GET } else { Method::POST });
        Ok(Self {
            url: options.url,
            connect: options.connect.unwrap_or(host),
            protocol,
            rate: options.rate,
            duration: options.warmup + options.duration,
            warmup: options.warmup,
            requests: options.requests.unwrap_or(u64::MAX),
            connections: options.connections,
            streams: if options.h2 { options.streams } else { 1 },
            keepalive: !options.no_keepalive,
            timeout: options.timeout,
            count_headers: options.count_header,
            count_body: options.count_body_regex,
            method,
            target,
            headers,
            body,
        })
    }
}

impl Plan {
    /// The next request; all are alike.
    pub fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// host:port to connect to, the path, and the `host` header.
fn address(url: &str) -> Result<(String, Uri, HeaderMap), PlanError> {
    let wrong = || PlanError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong());
    }
    let authority = uri.authority().filter(|a| !a.host().is_empty() && !a.as_str().contains('@')).ok_or_else(wrong)?;
    let connect = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::try_from(authority.as_str()).map_err(|_| wrong())?);
    Ok((connect, path.parse().map_err(|_| wrong())?, headers))
}

fn add_headers(headers: &mut HeaderMap, lines: &[String]) -> Result<(), PlanError> {
    for line in lines {
        let wrong = || PlanError::Header(line.clone());
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| wrong())?;
        let value = HeaderValue::try_from(value.trim()).map_err(|_| wrong())?;
        if name == HOST {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    Ok(())
}

/// In HTTP/2 the host stands in the target, not among the headers.
fn absolute(path: &Uri, headers: &mut HeaderMap, url: &str) -> Result<Uri, PlanError> {
    let wrong = || PlanError::Url(url.to_owned());
    let host = headers.remove(HOST).ok_or_else(wrong)?;
    let path = path.path_and_query().cloned().ok_or_else(wrong)?;
    Uri::builder().scheme("http").authority(host.as_bytes()).path_and_query(path).build().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: LoadOptions,
    }

    #[test]
    fn plans() {
        let check = |args: &[&str], expected: Result<(&str, &str, &str), &str>| {
            let line = Line::try_parse_from(["load"].iter().chain(args)).expect("options");
            let got = Plan::try_from(line.options).map(|plan| {
                let request = plan.request();
                let host = request.headers().get(HOST).map(|h| h.to_str().unwrap().to_owned()).unwrap_or_default();
                (plan.connect, request.uri().to_string(), host)
            });
            match (got, expected) {
                (Ok((a, b, c)), Ok(expected)) => assert_eq!((&*a, &*b, &*c), expected),
                (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
                (got, expected) => panic!("{args:?}: {got:?} instead of {expected:?}"),
            }
        };
        check(&["http://a.example/x?y=1"], Ok(("a.example:80", "/x?y=1", "a.example")));
        check(&["http://[::1]:81"], Ok(("[::1]:81", "/", "[::1]:81")));
        check(&["http://a:8080/", "-H", "Host: b", "--connect=c:1"], Ok(("c:1", "/", "b")));
        check(&["http://a:8080/p", "-H", "Host: b", "--h2"], Ok(("a:8080", "http://b/p", "")));
        check(&["https://a"], Err("expected http://"));
        check(&["nonsense"], Err("expected http://"));
        check(&["http://a", "-H", "nonsense"], Err("name: value"));
        check(&["http://a", "--rate=-1"], Err("--rate"));
        check(&["http://a", "--connections=0"], Err("--connections"));
    }

    #[test]
    fn durations() {
        let check = |text, expected: Option<u64>| {
            assert_eq!(duration(text).ok().map(|d| d.as_millis() as u64), expected, "{text}")
        };
        check("10s", Some(10_000));
        check("1.5", Some(1500));
        check("250ms", Some(250));
        check("2m", Some(120_000));
        check("", None);
        check("s", None);
        check("1d", None);
        check("1e99999", None);
    }
}
