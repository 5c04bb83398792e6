//! Why a handshake failed, in kinds for metrics and in words for a log.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible};
use rustls_pki_types::UnixTime;
use x509_parser::time::ASN1Time;

/// The kind of a TLS failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsFailure {
    /// The peer's certificate (or an issuer's) is out of date.
    Expired,
    /// The peer's certificate is not valid yet: look at the clocks.
    NotYetValid,
    /// The peer's chain ends at no root that we trust.
    UnknownRoot,
    /// We have no bundle for the peer's trust domain.
    WrongTrustDomain,
    /// The chain is good, but the name is not one that we accept.
    NameMismatch,
    /// The peer sent no certificate and has to.
    NoCertificate,
    /// The certificate breaks a rule of X.509 or SPIFFE.
    BadCertificate,
    /// The peer's certificate was revoked by its authority.
    Revoked,
    /// We have no certificate yet.
    NotReady,
    /// The peer refused us with an alert.
    RefusedByPeer,
    /// No common version, cipher or application protocol, or bytes that are no TLS.
    Protocol,
    /// The handshake took too long.
    Timeout,
    /// The peer went away in the middle.
    Closed,
}

impl TlsFailure {
    /// A stable short code, for metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownRoot => "unknown_root",
            Self::WrongTrustDomain => "wrong_trust_domain",
            Self::NameMismatch => "name_mismatch",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::Revoked => "revoked",
            Self::NotReady => "not_ready",
            Self::RefusedByPeer => "refused_by_peer",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
        }
    }
}

/// A failed handshake: its kind, and a short reason for the access log (Envoy's `UPSTREAM_TRANSPORT_FAILURE_REASON`
/// and `DOWNSTREAM_TRANSPORT_FAILURE_REASON`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError {
    /// The kind.
    pub kind: TlsFailure,
    /// The reason in a few words, beginning with `TLS`.
    pub reason: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    pub(super) fn new(kind: TlsFailure, reason: impl fmt::Display) -> Self {
        Self { kind, reason: format!("TLS: {reason}") }
    }

    /// Reads the cause out of an error of a TLS stream. With TLS 1.3 a server's refusal of our certificate arrives after
    /// the handshake, as an error of the first read. `None` if the error is not about TLS.
    pub fn from_stream_error(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Error>().map(Self::from_rustls)
    }

    /// The cause of a handshake that ended with `error`.
    pub(super) fn from_handshake(error: &io::Error) -> Self {
        Self::from_stream_error(error).unwrap_or_else(|| match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::new(TlsFailure::Closed, "the peer closed during the handshake"),
            _ => Self::new(TlsFailure::Closed, format_args!("the connection failed during the handshake: {error}")),
        })
    }

    pub(super) fn from_rustls(error: &Error) -> Self {
        use TlsFailure::*;
        let new = |kind, reason: &str| Self::new(kind, reason);
        match error {
            Error::InvalidCertificate(error) => Self::from_certificate(error),
            Error::NoCertificatesPresented => new(NoCertificate, "the peer sent no certificate"),
            Error::AlertReceived(alert) => Self::new(RefusedByPeer, refusal(*alert)),
            Error::NoApplicationProtocol => new(Protocol, "no application protocol (ALPN) in common"),
            Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
                new(Protocol, "the peer does not speak TLS")
            }
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls13RequiredForQuic
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            ) => new(Protocol, "no TLS version in common"),
            Error::PeerIncompatible(
                PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon,
            ) => new(Protocol, "no cipher suite or key exchange in common"),
            Error::General(text) if text == NO_CERTIFICATE => {
                new(NotReady, "we have no certificate for the server name that the peer asked for, or none yet")
            }
            Error::General(text) => Self::new(Protocol, text),
            other => Self::new(Protocol, other),
        }
    }

    fn from_certificate(error: &CertificateError) -> Self {
        use CertificateError as C;
        use TlsFailure::*;
        match error {
            C::ExpiredContext { not_after, .. } => {
                Self::new(Expired, format_args!("the peer's certificate expired at {}", date(not_after)))
            }
            C::Expired => Self::new(Expired, "the peer's certificate has expired"),
            C::NotValidYetContext { not_before, .. } => Self::new(
                NotYetValid,
                format_args!("the peer's certificate is valid only from {}: do the clocks agree?", date(not_before)),
            ),
            C::NotValidYet => Self::new(NotYetValid, "the peer's certificate is not valid yet"),
            C::UnknownIssuer => Self::new(UnknownRoot, "the peer's certificate was issued by no root that we trust"),
            C::NotValidForNameContext { expected, presented } => Self::new(
                NameMismatch,
                format_args!(
                    "the peer's certificate is for {}, expected {}",
                    if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") },
                    expected.to_str()
                ),
            ),
            C::NotValidForName => Self::new(NameMismatch, "the peer's certificate is for another name"),
            C::Revoked => Self::new(Revoked, "the peer's certificate was revoked"),
            C::UnknownRevocationStatus => Self::new(
                BadCertificate,
                "no revocation list of an authority in the peer's chain is known, which is asked for where there are any",
            ),
            C::ExpiredRevocationList | C::ExpiredRevocationListContext { .. } => {
                Self::new(BadCertificate, "the revocation list of the peer's authority is out of date")
            }
            C::BadSignature => Self::new(BadCertificate, "a signature in the peer's certificates is wrong"),
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => Self::new(
                BadCertificate,
                "the peer's certificate may not be used for this side of a connection (extended key usage)",
            ),
            C::Other(OtherError(other)) => match other.downcast_ref::<TlsError>() {
                Some(ours) => ours.clone(),
                None => Self::new(BadCertificate, other),
            },
            other => Self::new(BadCertificate, format_args!("the peer's certificate is not acceptable: {other}")),
        }
    }

    /// For a verifier: carried through rustls and found again by [`TlsError::from_rustls`].
    pub(super) fn into_rustls(self) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }
}

/// How rustls says that no certificate was found; it has no kind of its own. A test holds it fast.
const NO_CERTIFICATE: &str = "no server certificate chain resolved";

fn refusal(alert: AlertDescription) -> String {
    use AlertDescription as A;
    let why = match alert {
        A::CertificateExpired => "it says that our certificate has expired",
        A::UnknownCA => "it does not trust the root of our certificate",
        A::BadCertificate | A::CertificateUnknown | A::UnsupportedCertificate | A::AccessDenied => {
            "it does not accept our certificate"
        }
        A::CertificateRequired => "it wants a certificate and got none",
        A::UnrecognisedName => "it does not serve that server name",
        A::NoApplicationProtocol => "no application protocol (ALPN) in common",
        A::ProtocolVersion => "no TLS version in common",
        A::HandshakeFailure => "no common parameters, or it does not accept our certificate",
        other => return format!("the peer refused the connection (alert {})", u8::from(other)),
    };
    format!("the peer refused the connection: {why}")
}

fn date(time: &UnixTime) -> String {
    ASN1Time::from_timestamp(time.as_secs() as i64).map_or_else(|_| time.as_secs().to_string(), |t| t.to_string())
}
