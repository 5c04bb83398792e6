//! What is said in one word on the command line, such as `ratings:9080=19080`: its forms, and what is wrong with others.

use serde::Serialize;

/// Where access logs go, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To this file, as text.
    Text(String),
    /// To this file, as JSON.
    Json(String),
}

pub(super) fn access_log(text: &str) -> Result<AccessLog, String> {
    const STDOUT: &str = "/dev/stdout";
    let (form, file) = match text.split_once(':') {
        Some((form, file)) => (form, file),
        None => (text, STDOUT),
    };
    match form {
        "off" if !text.contains(':') => Ok(AccessLog::Off),
        "text" if file.contains('/') => Ok(AccessLog::Text(file.to_owned())),
        "json" if file.contains('/') => Ok(AccessLog::Json(file.to_owned())),
        _ if form.contains('/') => Ok(AccessLog::Text(text.to_owned())),
        _ => Err(format!(
            "`{text}` is neither a form nor a file's path; expected `off`, `text`, `json`, `json:/var/log/access.log`, or \
             a path such as `/dev/stdout`"
        )),
    }
}

pub(super) fn role_of_group(text: &str) -> Result<(String, control::v1::Role), String> {
    let (group, role) =
        text.split_once('=').ok_or_else(|| format!("`{text}`: expected a group and a role, `ops=viewer`"))?;
    Ok((group.to_owned(), role.parse()?))
}

pub(super) fn roots_of_domain(text: &str) -> Result<(base::TrustDomain, std::path::PathBuf), String> {
    let wanted = || format!("`{text}`: expected a trust domain and a file, `ops.example=roots.pem`");
    let (domain, file) = text.split_once('=').ok_or_else(wanted)?;
    Ok((domain.parse().map_err(|e| format!("{}: {e}", wanted()))?, file.into()))
}

pub(super) fn duration(text: &str) -> Result<std::time::Duration, base::duration::DurationError> {
    base::parse_duration(text)
}

/// A port of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
    pub name: Option<String>,
}

pub(super) fn port(text: &str) -> Result<Port, String> {
    let (number, name) = match text.split_once(':') {
        Some((number, name)) => (number, Some(name.to_owned())),
        None => (text, None),
    };
    let number = number.parse().map_err(|_| format!("`{number}` is not a port; expected `9080` or `9080:http`"))?;
    Ok(Port { number, name })
}

/// When a program is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// At once.
    None,
    /// When its ports take connections.
    Tcp,
    /// When it answers a GET.
    Http {
        /// At which port; none: the first.
        port: Option<u16>,
        /// Of which path.
        path: String,
    },
}

pub(super) fn ready(text: &str) -> Result<Ready, String> {
    let bad = || format!("`{text}` is no check; expected `tcp`, `http:/health`, `http:8080/health` or `none`");
    match text {
        "none" => Ok(Ready::None),
        "tcp" => Ok(Ready::Tcp),
        _ => {
            let place = text.strip_prefix("http:").ok_or_else(bad)?;
            let (port, _) = place.split_once('/').ok_or_else(bad)?;
            let path = place[port.len()..].to_owned();
            let is_path = path.bytes().all(|byte| byte.is_ascii_graphic());
            let port = if port.is_empty() { None } else { Some(port.parse().map_err(|_| bad())?) };
            if is_path { Ok(Ready::Http { port, path }) } else { Err(bad()) }
        }
    }
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not a label; expected `key=value`"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A file that is there, by its whole path: who reads it may stand elsewhere.
pub(super) fn existing_file(text: &str) -> Result<String, String> {
    let whole = std::fs::canonicalize(text).map_err(|e| format!("{e}; expected a readable file"))?;
    whole.into_os_string().into_string().map_err(|_| "the path is not UTF-8".to_owned())
}

/// Where a proxy runs, in the words of xDS.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
}

pub(super) fn locality(text: &str) -> Result<Locality, String> {
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() > 3 || parts.iter().any(|part| part.is_empty() || part.contains('*')) {
        return Err(format!("`{text}` is not a locality; expected `region/zone/subzone`, or its first parts"));
    }
    let part = |at: usize| parts.get(at).map_or_else(String::new, |part| (*part).to_owned());
    Ok(Locality { region: part(0), zone: part(1), sub_zone: part(2) })
}

/// An upstream under a local port.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub host: String,
    pub port: u16,
    pub local: Option<u16>,
}

pub(super) fn upstream(text: &str) -> Result<Upstream, String> {
    let bad = || format!("`{text}` is not an upstream; expected `ratings:9080` or `ratings:9080=19080`");
    let (service, local) = match text.split_once('=') {
        Some((service, local)) => (service, Some(local.parse().map_err(|_| bad())?)),
        None => (text, None),
    };
    let (host, port) = service.rsplit_once(':').ok_or_else(bad)?;
    Ok(Upstream { host: host.to_owned(), port: port.parse().map_err(|_| bad())?, local })
}

pub(super) fn port_pair(text: &str) -> Result<(u16, u16), String> {
    let pair = text.split_once('=').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    pair.ok_or_else(|| format!("`{text}` is not a pair of ports; expected `80=8080`"))
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub host: String,
    pub port: Option<u16>,
}

pub(super) fn target(text: &str) -> Result<Target, String> {
    let bad = || format!("`{text}` is no destination; expected `ratings` or `ratings:9080`");
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, Some(port.parse().map_err(|_| bad())?))
        }
        _ => (text, None),
    };
    if host.is_empty() { Err(bad()) } else { Ok(Target { host: host.to_owned(), port }) }
}

/// The name of a header, in lower case.
pub(super) fn header_name(text: &str) -> Result<String, String> {
    let name: Result<http::HeaderName, _> = text.parse();
    name.map(|name| name.to_string())
        .map_err(|_| format!("`{text}` is no name of a header; expected one such as `x-api-key`"))
}

pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("`{text}` is no header; expected `name:value`"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// A value, or the word `off`.
pub fn off<T: std::str::FromStr>(text: &str) -> Result<super::control::Maybe<T>, String>
where
    T::Err: std::fmt::Display,
{
    if text == "off" {
        return Ok(super::control::Maybe(None));
    }
    text.parse()
        .map(|value| super::control::Maybe(Some(value)))
        .map_err(|error| format!("{error}; expected a value or `off`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_logs() {
        let check = |text, expected| assert_eq!(access_log(text), expected, "{text}");
        check("off", Ok(AccessLog::Off));
        check("text", Ok(AccessLog::Text("/dev/stdout".to_owned())));
        check("json", Ok(AccessLog::Json("/dev/stdout".to_owned())));
        check("json:/tmp/a:b", Ok(AccessLog::Json("/tmp/a:b".to_owned())));
        check("/dev/stdout", Ok(AccessLog::Text("/dev/stdout".to_owned())));
        check("./a:b", Ok(AccessLog::Text("./a:b".to_owned())));
        for bad in ["JSON", "jsn", "off:/a", "json:", "xml:/a", ""] {
            assert!(access_log(bad).is_err_and(|e| e.contains("expected `off`, `text`, `json`")), "{bad}");
        }
    }

    #[test]
    fn readiness() {
        let http = |port, path: &str| Ok(Ready::Http { port, path: path.to_owned() });
        let check = |text, expected| assert_eq!(ready(text), expected, "{text}");
        check("none", Ok(Ready::None));
        check("tcp", Ok(Ready::Tcp));
        check("http:/health?full", http(None, "/health?full"));
        check("http:8080/a/b", http(Some(8080), "/a/b"));
        for bad in ["http", "http:", "http:health", "http:x/health", "http:/a b", "grpc", ""] {
            assert!(ready(bad).is_err_and(|e| e.contains("expected `tcp`, `http:/health`")), "{bad}");
        }
    }
}
