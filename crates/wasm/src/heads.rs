//! Heads and trailers as guests see and change them: header fields, and before them the pseudo headers of HTTP/2.

use http::header::{HOST, HeaderName, HeaderValue};
use http::uri::{Authority, Parts, PathAndQuery};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use mesh_http::Body;

use crate::abi::Status;
use crate::bounds;

/// Where the proxy finds the scheme of a request.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The head of a request while guests have it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestHead {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    /// `http` or `https`.
    pub scheme: String,
}

/// The head of a response while guests have it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResponseHead {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

impl RequestHead {
    /// Takes the head out of a request.
    pub(crate) fn take(request: &mut Request<Body>, scheme: &str) -> Self {
        Self {
            method: std::mem::take(request.method_mut()),
            uri: std::mem::take(request.uri_mut()),
            version: request.version(),
            headers: std::mem::take(request.headers_mut()),
            scheme: scheme.to_owned(),
        }
    }

    /// Gives a request its head.
    pub(crate) fn give(self, request: &mut Request<Body>) {
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
    }

    /// The host that it is for.
    pub(crate) fn authority(&self) -> Option<&[u8]> {
        match self.uri.authority() {
            Some(authority) => Some(authority.as_str().as_bytes()),
            None => self.headers.get(HOST).map(HeaderValue::as_bytes),
        }
    }

    /// The path and the query.
    pub(crate) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    fn set_uri(&mut self, change: impl FnOnce(&mut Parts)) -> Result<(), Status> {
        let mut parts = self.uri.clone().into_parts();
        change(&mut parts);
        self.uri = Uri::from_parts(parts).map_err(|_| Status::BadArgument)?;
        Ok(())
    }
}

impl ResponseHead {
    /// Takes the head out of a response.
    pub(crate) fn take(response: &mut Response<Body>) -> Self {
        Self { status: response.status(), headers: std::mem::take(response.headers_mut()) }
    }

    /// Gives a response its head.
    pub(crate) fn give(self, response: &mut Response<Body>) {
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
    }
}

/// Any of the sets of headers that a guest may ask for.
pub(crate) enum Map<'m> {
    Request(&'m mut RequestHead),
    Response(&'m mut ResponseHead),
    /// Trailers, say.
    Fields(&'m mut HeaderMap),
}

impl Map<'_> {
    /// The value of a name; several are joined by commas.
    pub(crate) fn get(&self, name: &[u8]) -> Option<Vec<u8>> {
        if let Some(value) = self.pseudo(name) {
            return Some(value);
        }
        let name = HeaderName::from_bytes(name).ok()?;
        let mut values = self.fields().get_all(name).iter().map(HeaderValue::as_bytes);
        let mut joined = values.next()?.to_vec();
        values.for_each(|value| {
            joined.push(b',');
            joined.extend_from_slice(value);
        });
        Some(joined)
    }

    /// Writes one value in the place of all of a name.
    pub(crate) fn replace(&mut self, name: &[u8], value: &[u8]) -> Result<(), Status> {
        if self.is_pseudo(name) {
            return self.set_pseudo(name, value);
        }
        let (name, value) = self.field(name, value)?;
        self.fields_mut().try_insert(name, value).map_err(|_| Status::BadArgument)?;
        Ok(())
    }

    /// Writes a further value.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Status> {
        if self.is_pseudo(name) {
            return self.set_pseudo(name, value);
        }
        let (name, value) = self.field(name, value)?;
        self.fields_mut().try_append(name, value).map_err(|_| Status::BadArgument)?;
        Ok(())
    }

    /// Removes all values of a name. A head keeps its pseudo headers: without them it is none.
    pub(crate) fn remove(&mut self, name: &[u8]) {
        if let Ok(name) = HeaderName::from_bytes(name)
            && !self.is_pseudo(name.as_str().as_bytes())
        {
            self.fields_mut().remove(name);
        }
    }

    /// Everything, the pseudo headers first.
    pub(crate) fn pairs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let names: &[&[u8]] = match self {
            Self::Request(_) => &[b":authority", b":path", b":method", b":scheme"],
            Self::Response(_) => &[b":status"],
            Self::Fields(_) => &[],
        };
        let pseudo = names.iter().filter_map(|name| Some((name.to_vec(), self.pseudo(name)?)));
        let fields = self.fields().iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let fields = fields.filter(|(name, _)| !self.is_pseudo(name));
        pseudo.chain(fields.map(|(name, value)| (name.to_vec(), value.to_vec()))).collect()
    }

    /// Writes these in the place of everything; pseudo headers that are not among them stay.
    pub(crate) fn set(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Status> {
        let host = match self {
            Self::Request(head) => head.headers.remove(HOST),
            _ => None,
        };
        self.fields_mut().clear();
        if let Some(host) = host {
            self.fields_mut().insert(HOST, host);
        }
        pairs.iter().try_for_each(|(name, value)| self.add(name, value))
    }

    /// How many headers there are, the pseudo headers among them.
    pub(crate) fn len(&self) -> usize {
        self.pairs().len()
    }

    /// The bytes of all names and values.
    pub(crate) fn size(&self) -> usize {
        self.pairs().iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    fn fields(&self) -> &HeaderMap {
        match self {
            Self::Request(head) => &head.headers,
            Self::Response(head) => &head.headers,
            Self::Fields(fields) => fields,
        }
    }

    fn fields_mut(&mut self) -> &mut HeaderMap {
        match self {
            Self::Request(head) => &mut head.headers,
            Self::Response(head) => &mut head.headers,
            Self::Fields(fields) => fields,
        }
    }

    /// A field that there is room for.
    fn field(&self, name: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue), Status> {
        let held: usize = self.fields().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let is_full = self.fields().len() >= bounds::HEADER_COUNT;
        if is_full || held + name.len() + value.len() > bounds::HEADERS {
            return Err(Status::BadArgument);
        }
        let name = HeaderName::from_bytes(name).map_err(|_| Status::BadArgument)?;
        Ok((name, HeaderValue::from_bytes(value).map_err(|_| Status::BadArgument)?))
    }

    /// `host` is another name of the authority.
    fn is_pseudo(&self, name: &[u8]) -> bool {
        name.starts_with(b":") || matches!(self, Self::Request(_)) && name.eq_ignore_ascii_case(b"host")
    }

    fn pseudo(&self, name: &[u8]) -> Option<Vec<u8>> {
        match (self, name) {
            (Self::Request(head), b":method") => Some(head.method.as_str().into()),
            (Self::Request(head), b":path") => Some(head.path().into()),
            (Self::Request(head), b":scheme") => Some(head.scheme.clone().into()),
            (Self::Request(head), b":authority") => Some(head.authority()?.to_vec()),
            (Self::Request(head), _) if self.is_pseudo(name) && !name.starts_with(b":") => {
                Some(head.authority()?.to_vec())
            }
            (Self::Response(head), b":status") => Some(head.status.as_str().into()),
            _ => None,
        }
    }

    fn set_pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Status> {
        let bad = Status::BadArgument;
        match (self, name) {
            (Self::Request(head), b":method") => head.method = Method::from_bytes(value).map_err(|_| bad)?,
            (Self::Request(head), b":path") => {
                let path = PathAndQuery::try_from(value).map_err(|_| bad)?;
                head.set_uri(|parts| parts.path_and_query = Some(path))?;
            }
            (Self::Request(head), b":scheme") => {
                if !matches!(value, b"http" | b"https") {
                    return Err(bad);
                }
                head.scheme = String::from_utf8_lossy(value).into_owned();
                head.headers.insert(FORWARDED_PROTO, HeaderValue::from_bytes(value).map_err(|_| bad)?);
                if head.uri.scheme().is_some() {
                    let scheme = value.try_into().map_err(|_| bad)?;
                    head.set_uri(|parts| parts.scheme = Some(scheme))?;
                }
            }
            (Self::Request(head), name) if name == b":authority" || !name.starts_with(b":") => {
                let authority = Authority::try_from(value).map_err(|_| bad)?;
                if head.uri.authority().is_some() {
                    head.set_uri(|parts| parts.authority = Some(authority))?;
                } else {
                    head.headers.insert(HOST, HeaderValue::from_bytes(value).map_err(|_| bad)?);
                }
            }
            (Self::Response(head), b":status") => head.status = StatusCode::from_bytes(value).map_err(|_| bad)?,
            _ => return Err(bad),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> RequestHead {
        let request = Request::get(uri).header("host", "a").header("x", "1").header("x", "2");
        let mut request = request.body(Body::empty()).unwrap();
        RequestHead::take(&mut request, "http")
    }

    #[test]
    fn pseudo_headers() {
        for (uri, name, value, expected) in [
            ("/p?q", ":path", "/r", Some("/r")),
            ("/", ":method", "PUT", Some("PUT")),
            ("/", ":authority", "b:1", Some("b:1")),
            ("/", "Host", "b", Some("b")),
            ("http://c/", ":authority", "d", Some("d")),
            ("http://c/", ":scheme", "https", Some("https")),
            ("/", ":scheme", "gopher", None),
            ("/", ":path", "a b", None),
            ("/", ":status", "200", None),
            ("/", ":method", "", None),
        ] {
            let mut head = request(uri);
            let mut map = Map::Request(&mut head);
            let answer = map.replace(name.as_bytes(), value.as_bytes());
            assert_eq!(answer.is_ok(), expected.is_some(), "{uri} {name}");
            let Some(expected) = expected else { continue };
            assert_eq!(map.get(name.to_ascii_lowercase().as_bytes()).unwrap(), expected.as_bytes(), "{uri} {name}");
        }
        let mut head = request("http://c/p?q");
        Map::Request(&mut head).replace(b":path", b"/r").unwrap();
        assert_eq!(head.uri, "http://c/r");
    }

    #[test]
    fn fields() {
        let mut head = request("/");
        let mut map = Map::Request(&mut head);
        assert_eq!(map.get(b"X").unwrap(), b"1,2");
        assert_eq!((map.len(), map.get(b"y")), (6, None), "host is the authority");
        map.replace(b"x", b"3").unwrap();
        map.add(b"y", b"").unwrap();
        map.remove(b":path");
        map.remove(b"host");
        assert_eq!(map.get(b"x").unwrap(), b"3");
        assert_eq!(map.add(b"a b", b""), Err(Status::BadArgument));
        assert_eq!(map.add(b"z", b"a\nb"), Err(Status::BadArgument));
        assert_eq!(map.add(b"z", &vec![b'z'; bounds::HEADERS]), Err(Status::BadArgument));
        map.set(&[(b":path", b"/new"), (b"z", b"9")]).unwrap();
        let names = map.pairs().into_iter().map(|(name, _)| String::from_utf8(name).unwrap());
        assert_eq!(names.collect::<Vec<_>>(), [":authority", ":path", ":method", ":scheme", "z"]);
    }
}
