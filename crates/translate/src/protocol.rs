//! The protocol of a port, as its name or `appProtocol` declares it (Istio's rules).

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 without TLS.
    Http2,
    /// gRPC.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// HTTP in TLS that the mesh does not end.
    Https,
    /// TLS that the mesh does not end.
    Tls,
    /// Raw bytes, databases with a server that speaks first among them.
    Tcp,
    /// Datagrams: never proxied.
    Udp,
    /// Not declared: found out per connection.
    Auto,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Grpc => "gRPC",
            Self::GrpcWeb => "gRPC-Web",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Auto => "what is found in the first bytes",
        })
    }
}

/// Ports that are never looked into, since there the server speaks first.
const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];

impl Protocol {
    /// The protocol of a port: `appProtocol` counts more than the name, whose part before the first `-` is read without
    /// regard to case. An undeclared port is [`Protocol::Auto`], save some where the server speaks first.
    pub fn declared(name: Option<&str>, app_protocol: Option<&str>, transport: Option<&str>, port: u16) -> Self {
        if transport.is_some_and(|t| t.eq_ignore_ascii_case("UDP")) {
            return Self::Udp;
        }
        let from_name = || name.and_then(|name| Self::parse(name).or_else(|| Self::parse(name.split('-').next()?)));
        match app_protocol.map(Self::parse) {
            Some(Some(protocol)) => protocol,
            _ => from_name().unwrap_or(if SERVER_FIRST.contains(&port) { Self::Tcp } else { Self::Auto }),
        }
    }

    /// Reads one word, such as `http2` or `kubernetes.io/h2c`.
    pub fn parse(word: &str) -> Option<Self> {
        let grpc_web = |w: &str| w == "grpc-web" || w.starts_with("grpc-web-");
        Some(match word.to_ascii_lowercase().as_str() {
            "http" | "http1" | "kubernetes.io/ws" => Self::Http,
            "http2" | "h2c" | "kubernetes.io/h2c" => Self::Http2,
            "grpc" => Self::Grpc,
            w if grpc_web(w) => Self::GrpcWeb,
            "https" | "kubernetes.io/wss" => Self::Https,
            "tls" => Self::Tls,
            "tcp" | "mongo" | "redis" | "mysql" => Self::Tcp,
            "udp" => Self::Udp,
            _ => return None,
        })
    }

    /// Is HTTP read and routed here?
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Is HTTP read and routed here, at least when it is found?
    pub fn may_be_http(self) -> bool {
        self.is_http() || self == Self::Auto
    }

    /// Is HTTP/2 spoken to the program?
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations() {
        use Protocol::*;
        for (name, app, transport, port, expected) in [
            (Some("http"), None, None, 80, Http),
            (Some("HTTP-web"), None, None, 80, Http),
            (Some("http2-web"), None, None, 80, Http2),
            (Some("grpc-web"), None, None, 80, GrpcWeb),
            (Some("grpc-web-x"), None, None, 80, GrpcWeb),
            (Some("grpc-echo"), None, None, 80, Grpc),
            (Some("tcp-db"), None, None, 80, Tcp),
            (Some("tcp"), Some("http"), None, 80, Http),
            (Some("web"), None, None, 80, Auto),
            (Some("http"), Some("example.com/own"), None, 80, Http),
            (None, Some("kubernetes.io/h2c"), None, 80, Http2),
            (None, None, None, 3306, Tcp),
            (Some("http"), None, Some("UDP"), 53, Udp),
            (None, None, Some("TCP"), 8080, Auto),
        ] {
            assert_eq!(
                Protocol::declared(name, app, transport, port),
                expected,
                "{name:?} {app:?} {transport:?} {port}"
            );
        }
    }
}
