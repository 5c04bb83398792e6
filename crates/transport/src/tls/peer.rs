//! What a handshake proved about the other end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::SpiffeId;
use data_encoding::HEXLOWER;
use rustls::{CommonState, HandshakeKind, ProtocolVersion};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};
use x509_parser::time::ASN1Time;

use super::TlsVersion;

/// The other end of a TLS connection, and the terms of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The proven SPIFFE identity: set only if the certificate was verified and names exactly one.
    pub identity: Option<SpiffeId>,
    /// The peer's leaf certificate, proven or not; see `verified`.
    pub certificate: Option<Certificate>,
    /// Was the certificate verified? False for a peer without one, and where verification is off.
    pub verified: bool,
    /// The application protocol agreed on.
    pub alpn: Option<Vec<u8>>,
    /// The server name that the client asked for; on a client, the one that it sent.
    pub server_name: Option<String>,
    /// TLS version.
    pub version: TlsVersion,
    /// The cipher suite's standard name, such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// The key exchange's standard name, such as `X25519MLKEM768`. Unknown in some resumed sessions.
    pub key_exchange: Option<String>,
    /// Was an earlier session resumed?
    pub resumed: bool,
}

/// The parts of a certificate that policies and logs speak about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// URI subject alternative names.
    pub uri_sans: Vec<String>,
    /// DNS subject alternative names.
    pub dns_sans: Vec<String>,
    /// The subject, the last part first (RFC 2253, as OpenSSL and with it Envoy write it); empty for most SPIFFE certificates.
    pub subject: String,
    /// The issuer's name.
    pub issuer: String,
    /// The serial number in lower-case hexadecimal.
    pub serial: String,
    /// SHA-256 of the whole certificate in lower-case hexadecimal.
    pub fingerprint: String,
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid to.
    pub not_after: SystemTime,
}

impl Certificate {
    /// Reads a certificate in DER. `None` if it is none.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, x509) = X509Certificate::from_der(der).ok()?;
        let (mut uri_sans, mut dns_sans) = (Vec::new(), Vec::new());
        if let Ok(Some(names)) = x509.subject_alternative_name() {
            for name in &names.value.general_names {
                match name {
                    GeneralName::URI(uri) => uri_sans.push((*uri).to_owned()),
                    GeneralName::DNSName(dns) => dns_sans.push((*dns).to_owned()),
                    _ => {}
                }
            }
        }
        Some(Self {
            uri_sans,
            dns_sans,
            subject: rfc2253(x509.subject()),
            issuer: x509.issuer().to_string(),
            serial: HEXLOWER.encode(x509.raw_serial()),
            fingerprint: HEXLOWER.encode(&Sha256::digest(der)),
            not_before: system_time(x509.validity().not_before),
            not_after: system_time(x509.validity().not_after),
        })
    }

    /// The SPIFFE identity that it names, if it names exactly one. Proves nothing by itself.
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        match &self.uri_sans[..] {
            [uri] => uri.parse().ok(),
            _ => None,
        }
    }
}

impl Peer {
    pub(super) fn of(session: &CommonState, server_name: Option<String>, verified: bool) -> Self {
        let leaf = session.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
        let certificate = leaf.and_then(|der| Certificate::parse(der));
        let verified = verified && certificate.is_some();
        Self {
            identity: certificate.as_ref().filter(|_| verified).and_then(Certificate::spiffe_id),
            certificate,
            verified,
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            server_name,
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
                _ => TlsVersion::V1_3,
            },
            cipher: session.negotiated_cipher_suite().and_then(|s| suite_name(s.suite())).unwrap_or("unknown"),
            key_exchange: session.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

/// A name as text: `CN=web,O=Example`.
fn rfc2253(name: &X509Name<'_>) -> String {
    let rdns: Vec<String> = name
        .iter_rdn()
        .map(|rdn| {
            let parts: Vec<String> = rdn
                .iter()
                .map(|part| {
                    let oid = part.attr_type();
                    let kind = oid2abbrev(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned);
                    format!("{kind}={}", escaped(part.as_str().unwrap_or_default()))
                })
                .collect();
            parts.join("+")
        })
        .collect();
    rdns.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (at, byte) in value.bytes().enumerate() {
        let is_edge = at == 0 && matches!(byte, b'#' | b' ') || at + 1 == value.len() && byte == b' ';
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => out.extend(['\\', byte.into()]),
            _ if is_edge => out.extend(['\\', byte.into()]),
            b' '..=b'~' => out.push(byte.into()),
            other => out.push_str(&format!("\\{other:02X}")),
        }
    }
    out
}

/// The IANA names; rustls spells those of TLS 1.3 `TLS13_...`.
fn suite_name(suite: rustls::CipherSuite) -> Option<&'static str> {
    Some(match suite {
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        rustls::CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str()?,
    })
}

fn system_time(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.timestamp().max(0) as u64)
}
