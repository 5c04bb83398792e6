//! The client: sends what a request says, byte for byte where that matters, and tells what came back.

mod encoded;
pub mod frames;
mod send1;
mod send2;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::case::{Request, Tls, Wire};
use crate::http1::{Io, Reader};
use crate::outcome::Outcome;
use crate::place::Names;

/// The longest that any answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came back.
#[derive(Debug, Default)]
pub struct Answer {
    /// The status, or in a word what came in its place.
    pub status: String,
    /// The body.
    pub body: String,
    /// It was compressed, so that its length on the wire is the compressor's own.
    pub encoded: bool,
    /// All of it.
    pub outcome: Outcome,
}

impl Answer {
    /// No answer, but an end.
    fn without(status: &str) -> Self {
        let mut outcome = Outcome::default();
        outcome.push("status", status);
        Self { status: status.to_owned(), outcome, ..Self::default() }
    }
}

/// Sends one request on a connection of its own.
pub async fn send(request: &Request, id: &str, names: &Names) -> Result<Answer> {
    let port = names.port(request.to)?;
    let request = &Request { host: names.fill(&request.host), ..request.clone() };
    let work = async {
        let stream = match (TcpStream::connect(("127.0.0.1", port)).await, &request.wire) {
            // Accepted, and reset before the connection was seen here.
            (Err(error), Wire::Tcp(_)) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(send1::nothing()),
            (stream, _) => stream.with_context(|| format!("port {port}"))?,
        };
        // It may have ended already, which shows when it is used.
        let _ = stream.set_nodelay(true);
        let mut about = Outcome::default();
        let stream: Box<dyn Io> = match &request.tls {
            None => Box::new(stream),
            Some(tls) => match handshake(stream, tls, request, names, &mut about).await? {
                Ok(stream) => stream,
                Err(why) => return Ok(Answer::without(&why)),
            },
        };
        let mut answer = speak(stream, request, id).await?;
        answer.outcome.append("", about);
        Ok(answer)
    };
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Ok(Answer::without("nothing for 15 s")))
}

async fn speak(stream: Box<dyn Io>, request: &Request, id: &str) -> Result<Answer> {
    let reader = Reader::with(stream, Vec::new());
    match &request.wire {
        Wire::Http1 => send1::plain(reader, request, id).await,
        Wire::Tunnel => send1::tunnel(reader, request, id).await,
        Wire::Raw(bytes, count) => send1::raw(reader, bytes, *count, id).await,
        Wire::Http2 => send2::send(reader.into_parts().0, request, id).await,
        Wire::Frames(bytes) => frames::send(reader, bytes).await,
        Wire::Tcp(bytes) => send1::tcp(reader, bytes).await,
    }
}

/// The stream within, or in a word why there is none.
async fn handshake(
    stream: TcpStream,
    tls: &Tls,
    request: &Request,
    names: &Names,
    about: &mut Outcome,
) -> Result<Result<Box<dyn Io>, String>> {
    let mut config = client_config(tls, names)?;
    config.alpn_protocols = tls.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    if config.alpn_protocols.is_empty() && matches!(request.wire, Wire::Http2) {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.enable_sni = tls.sni.is_some();
    let name = ServerName::try_from(tls.sni.unwrap_or("none.example"))?;
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => {
            let session = stream.get_ref().1;
            let alpn = session.alpn_protocol().map(crate::http1::latin1).unwrap_or_default();
            about.push("alpn", alpn);
            let shown = session.peer_certificates().and_then(|chain| chain.first());
            about.push("certificate", shown.map(|leaf| which(leaf, names)).unwrap_or_default());
            about.push("tls version", format!("{:?}", session.protocol_version()));
            Ok(Ok(Box::new(stream)))
        }
        Err(error) => Ok(Err(handshake_failure(&error))),
    }
}

/// An alert by its name; any other end is one.
fn handshake_failure(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => format!("handshake: {error}"),
        None => "handshake: the connection ended".to_owned(),
    }
}

/// Under which name a certificate lies in the folder.
fn which(leaf: &CertificateDer<'_>, names: &Names) -> String {
    let folder = names.get("DIR").unwrap_or_default();
    let is = |name: &&&str| CertificateDer::from_pem_file(format!("{folder}/{name}.pem")).is_ok_and(|own| own == *leaf);
    ["server", "other", "origin"].iter().find(is).map_or("unknown", |name| name).to_owned()
}

fn client_config(tls: &Tls, names: &Names) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)));
    let Some(name) = tls.certificate else { return Ok(builder.with_no_client_auth()) };
    let folder = names.get("DIR").unwrap_or_default();
    let chain = vec![CertificateDer::from_pem_file(format!("{folder}/{name}.pem"))?];
    Ok(builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(format!("{folder}/{name}.key"))?)?)
}

/// Which certificate was shown is compared; whether it is good is not the client's to say here.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
