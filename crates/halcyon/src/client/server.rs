//! The API of a control plane of another machine: how it is reached, how it proves who it is, and how we do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base::SpiffeId;
use http::{HeaderValue, Uri, header};
use tokio::net::TcpStream;
use transport::Stream;
use transport::tls::{
    Accept, ClientOptions, ClientTls, LiveCert, LiveTrust, PeerCheck, Roots, SanKind, SanMatch, ServerCheck, TextMatch,
    TrustBundles, Versions,
};

use crate::cli::Place;

/// The end of the identity that a control plane has of its own authority.
const OWN: &str = "/ns/halcyon-system/sa/control";
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The variable that may hold the token.
const VARIABLE: &str = "HALCYON_TOKEN";

/// A control plane's API over TLS 1.3. Never prints the token.
pub struct Server {
    host: String,
    port: u16,
    tls: ClientTls,
    token: Option<HeaderValue>,
}

impl Server {
    /// What was typed, checked; nothing is dialled yet.
    ///
    /// # Errors
    /// What is wrong with the address, a file, or the token.
    pub fn new(url: &str, place: &Place) -> Result<Self> {
        let (host, port) = address(url)?;
        let remote = &place.remote;
        let check = match &remote.ca_file {
            Some(path) => by_roots(path, &host)?,
            None => ServerCheck::Hostname(LiveTrust::new(TrustBundles::plain(Roots::system()?))),
        };
        let mut options = ClientOptions::new(check);
        options.versions = Versions::V1_3;
        options.alpn = vec![b"http/1.1".to_vec()];
        if let (Some(cert), Some(key)) = (&remote.client_cert, &remote.client_key) {
            let (chain, key) = (read(cert).context("--client-cert")?, read(key).context("--client-key")?);
            options.cert = Some(LiveCert::from_pem(&chain, &key).with_context(|| cert.display().to_string())?);
        }
        let token = match &remote.token_file {
            Some(path) => Some(read(path).context("--token-file")?),
            None => std::env::var(VARIABLE).ok(),
        };
        if token.is_none() && options.cert.is_none() {
            bail!("--server needs a token, by --token-file or {VARIABLE}, or a certificate, by --client-cert");
        }
        Ok(Self { host, port, tls: ClientTls::new(options)?, token: token.map(|text| bearer(&text)).transpose()? })
    }

    /// A connection to a server that has proven who it is.
    pub async fn connect(&self) -> Result<Stream> {
        let Self { host, port, .. } = self;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream: Stream = stream.map_err(|e| anyhow!("https://{host}:{port}: {e}"))?.into();
        let (stream, _) =
            self.tls.connect(stream, Some(host), HANDSHAKE).await.map_err(|e| {
                anyhow!("https://{host}:{port}: {e}; --ca-file names the roots that it is checked against")
            })?;
        Ok(stream)
    }

    /// Adds what proves who asks, and whom.
    pub fn sign(&self, request: http::request::Builder) -> http::request::Builder {
        let request = request.header(header::HOST, format!("{}:{}", self.host, self.port));
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, token),
            None => request,
        }
    }
}

/// It chains to these roots, and is a control plane of that mesh (not any workload of it), or is named as it is called.
fn by_roots(path: &Path, host: &str) -> Result<ServerCheck> {
    let roots = Roots::from_file(path).with_context(|| format!("--ca-file {}", path.display()))?;
    let is_own = |uri: &str| uri.parse::<SpiffeId>().is_ok_and(|id| id.path() == OWN);
    let own = TextMatch::Test(format!("spiffe://TRUST_DOMAIN{OWN}"), std::sync::Arc::new(is_own));
    let named = |kind| SanMatch { kind, text: TextMatch::Exact(host.to_owned()) };
    let accept = vec![SanMatch { kind: SanKind::Uri, text: own }, named(SanKind::Dns), named(SanKind::Ip)];
    let trust = LiveTrust::new(TrustBundles::plain(roots));
    Ok(ServerCheck::Peer(PeerCheck::Roots { trust, accept: Accept::OneOf(accept) }))
}

fn address(url: &str) -> Result<(String, u16)> {
    let wanted = "expected https://HOST:PORT";
    let uri: Uri = url.parse().with_context(|| format!("--server `{url}`: {wanted}"))?;
    if uri.scheme_str() != Some("https") || !matches!(uri.path(), "" | "/") {
        bail!("--server `{url}`: {wanted}");
    }
    let host = uri.host().filter(|host| !host.is_empty()).with_context(|| format!("--server `{url}`: {wanted}"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn bearer(token: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .map_err(|_| anyhow!("the token holds what no token does; expected one line that begins with `hlc_`"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, host, port) in [
            ("https://mesh.example:15443", "mesh.example", 15443),
            ("https://192.0.2.1/", "192.0.2.1", 443),
            ("https://[2001:db8::1]:1", "2001:db8::1", 1),
        ] {
            assert_eq!(address(url).unwrap(), (host.to_owned(), port));
        }
        for bad in ["", "mesh.example:15443", "http://mesh.example", "https://mesh.example/v1"] {
            assert!(address(bad).unwrap_err().to_string().contains("expected https://"), "{bad}");
        }
    }

    #[test]
    fn tokens_are_not_printed() {
        let header = bearer(" hlc_a_b\n").unwrap();
        assert_eq!((header.to_str().unwrap(), format!("{header:?}")), ("Bearer hlc_a_b", "Sensitive".to_owned()));
        assert!(!bearer("hlc_x\ny").unwrap_err().to_string().contains("hlc_x"));
    }
}
