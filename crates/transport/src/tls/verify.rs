//! The check of a peer's certificate: chain, purpose, validity, and whose name it carries.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base::{SpiffeId, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, ExpirationPolicy, KeyUsage, RevocationOptionsBuilder, UnknownStatusPolicy};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::error::{TlsError, TlsFailure};
use super::pins::Pins;
use super::provider;
use super::trust::{Crls, LiveTrust, Roots};

/// How a peer's certificate is checked.
#[derive(Debug, Clone)]
pub enum PeerCheck {
    /// As an X.509-SVID (SPIFFE): exactly one URI name, a SPIFFE ID, whose own trust domain's bundle vouches for it.
    Spiffe {
        /// Bundles per trust domain.
        trust: LiveTrust,
        /// Whose identities are accepted.
        accept: Accept,
    },
    /// It chains to one of the plain roots and carries an accepted name.
    Roots {
        /// The plain roots of it are used.
        trust: LiveTrust,
        /// Which names are accepted.
        accept: Accept,
    },
    /// Any certificate is taken and proves nothing: the peer has no identity.
    Unchecked,
}

/// Which names are accepted.
#[derive(Debug, Clone)]
pub enum Accept {
    /// Every name that the trust vouches for.
    Any,
    /// One of the certificate's names must match one of these. An empty list accepts nobody.
    OneOf(Vec<SanMatch>),
}

impl Accept {
    /// These SPIFFE identities and no other.
    pub fn identities<'a>(ids: impl IntoIterator<Item = &'a SpiffeId>) -> Self {
        let exact = |id: &SpiffeId| SanMatch { kind: SanKind::Uri, text: TextMatch::Exact(id.as_str().to_owned()) };
        Self::OneOf(ids.into_iter().map(exact).collect())
    }
}

/// A pattern for one subject alternative name.
#[derive(Debug, Clone)]
pub struct SanMatch {
    /// Which kind of name.
    pub kind: SanKind,
    /// What its text must be.
    pub text: TextMatch,
}

/// Kinds of subject alternative names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SanKind {
    /// Every kind.
    Any,
    /// A URI, such as a SPIFFE ID.
    Uri,
    /// A DNS name. An exact pattern also matches a wildcard certificate.
    Dns,
    /// An IP address in its usual text form.
    Ip,
    /// A mail address.
    Email,
}

/// What a text must be.
#[derive(Clone)]
pub enum TextMatch {
    /// This text.
    Exact(String),
    /// It begins with this.
    Prefix(String),
    /// It ends with this.
    Suffix(String),
    /// It contains this.
    Contains(String),
    /// The caller's own test, such as a regular expression; the text is shown in errors.
    Test(String, Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

impl TextMatch {
    /// Does `text` match?
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(t) => text == t,
            Self::Prefix(t) => text.starts_with(t),
            Self::Suffix(t) => text.ends_with(t),
            Self::Contains(t) => text.contains(t),
            Self::Test(_, test) => test(text),
        }
    }
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(t) | Self::Test(t, _) => f.write_str(t),
            Self::Prefix(t) => write!(f, "{t}*"),
            Self::Suffix(t) => write!(f, "*{t}"),
            Self::Contains(t) => write!(f, "*{t}*"),
        }
    }
}

impl fmt::Debug for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextMatch({self})")
    }
}

/// Which end of the connection the peer is.
#[derive(Debug, Clone, Copy)]
pub(super) enum PeerIs<'a> {
    Client,
    Server(&'a ServerName<'a>),
}

impl PeerIs<'_> {
    fn usage(self) -> KeyUsage {
        match self {
            Self::Client => KeyUsage::client_auth(),
            Self::Server(_) => KeyUsage::server_auth(),
        }
    }
}

/// The same without its name.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Client,
    Server,
}

/// What the verifier does; [`PeerCheck`], and the check that only a client can make.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    Peer(PeerCheck, Pins),
    Hostname(LiveTrust),
}

impl Rule {
    pub(super) fn trust(&self) -> Option<&LiveTrust> {
        match self {
            Self::Peer(PeerCheck::Spiffe { trust, .. } | PeerCheck::Roots { trust, .. }, _) | Self::Hostname(trust) => {
                Some(trust)
            }
            Self::Peer(PeerCheck::Unchecked, _) => None,
        }
    }

    /// Does passing the check prove the peer?
    pub(super) fn proves(&self) -> bool {
        self.trust().is_some()
    }

    /// Is a chain revoked that was good at `then`? What else has changed since is not looked at.
    pub(super) fn is_revoked(&self, chain: &[CertificateDer<'_>], of: End, then: UnixTime) -> bool {
        let (Some(trust), Some((leaf, rest))) = (self.trust(), chain.split_first()) else { return false };
        let bundles = trust.load();
        let usage = || match of {
            End::Client => KeyUsage::client_auth(),
            End::Server => KeyUsage::server_auth(),
        };
        let lists = || (&bundles.revoked, UnknownStatusPolicy::Allow);
        let mut all = bundles.domains.values().chain([&bundles.plain]);
        let revoked = Error::from(CertificateError::Revoked);
        all.any(|roots| chain_to(roots, lists(), (leaf, rest), usage(), then).is_err_and(|error| error == revoked))
    }

    /// Checks a chain, leaf first.
    pub(super) fn check(&self, chain: &[CertificateDer<'_>], peer: PeerIs<'_>, now: UnixTime) -> Result<(), Error> {
        let (leaf, rest) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.check_parts(leaf, rest, peer, now)
    }

    fn check_parts(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        peer: PeerIs<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        if let Self::Peer(_, pins) = self
            && !pins.hold(leaf)
        {
            let reason = "the peer's certificate and its key are none of those that are pinned";
            return Err(TlsError::new(TlsFailure::NameMismatch, reason).into_rustls());
        }
        match self {
            Self::Peer(PeerCheck::Unchecked, _) => Ok(()),
            Self::Peer(PeerCheck::Spiffe { trust, accept }, _) => {
                let id = svid(leaf).map_err(TlsError::into_rustls)?;
                let bundles = trust.load();
                let domain: Option<TrustDomain> = id.trust_domain().parse().ok();
                let roots = domain.and_then(|d| bundles.domains.get(&d)).ok_or_else(|| {
                    let reason = format!("the peer is of trust domain `{}`, which we do not trust", id.trust_domain());
                    TlsError::new(TlsFailure::WrongTrustDomain, reason).into_rustls()
                })?;
                chain_to(
                    roots,
                    (&bundles.revoked, UnknownStatusPolicy::Allow),
                    (leaf, intermediates),
                    peer.usage(),
                    now,
                )?;
                accepted(leaf, accept)
            }
            Self::Peer(PeerCheck::Roots { trust, accept }, _) => {
                chain_to_plain(trust, (leaf, intermediates), peer.usage(), now)?;
                accepted(leaf, accept)
            }
            Self::Hostname(trust) => {
                chain_to_plain(trust, (leaf, intermediates), peer.usage(), now)?;
                match peer {
                    PeerIs::Server(name) => valid_for(leaf, name),
                    PeerIs::Client => Err(CertificateError::ApplicationVerificationFailure.into()),
                }
            }
        }
    }
}

fn chain_to_plain(
    trust: &LiveTrust,
    chain: (&CertificateDer<'_>, &[CertificateDer<'_>]),
    usage: KeyUsage,
    now: UnixTime,
) -> Result<(), Error> {
    let bundles = trust.load();
    chain_to(&bundles.plain, (&bundles.revoked, UnknownStatusPolicy::Deny), chain, usage, now)
}

fn chain_to(
    roots: &Roots,
    (revoked, unknown): (&Crls, UnknownStatusPolicy),
    (leaf, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
    usage: KeyUsage,
    now: UnixTime,
) -> Result<(), Error> {
    let lists = revoked.lists();
    // Where there are lists, each authority that is asked about must have one that is in date, as with OpenSSL.
    let revocation = RevocationOptionsBuilder::new(&lists)
        .ok()
        .map(|all| all.with_expiration_policy(ExpirationPolicy::Enforce).with_depth(revoked.depth()))
        .map(|all| all.with_status_policy(unknown).build());
    let algorithms = provider().signature_verification_algorithms.all;
    let cert = EndEntityCert::try_from(leaf).map_err(translate)?;
    cert.verify_for_usage(algorithms, roots.anchors(), intermediates, now, usage, revocation, None)
        .map(drop)
        .map_err(translate)
}

fn valid_for(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let cert = EndEntityCert::try_from(leaf).map_err(translate)?;
    cert.verify_is_valid_for_subject_name(name).map_err(translate)
}

/// The errors that have an alert of their own keep their kind, so that the peer's log can say it too.
fn translate(error: webpki::Error) -> Error {
    use webpki::Error as E;
    match error {
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after }.into(),
        E::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before }.into(),
        // A root of the right name with another key (an authority made anew) is an unknown root too.
        E::UnknownIssuer | E::InvalidSignatureForPublicKey => CertificateError::UnknownIssuer.into(),
        E::CertRevoked => CertificateError::Revoked.into(),
        E::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus.into(),
        E::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }.into()
        }
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose.into(),
        E::CertNotValidForName(context) => {
            CertificateError::NotValidForNameContext { expected: context.expected, presented: context.presented }.into()
        }
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding.into(),
        E::CaUsedAsEndEntity => bad("the peer's certificate is one of an authority, not of a workload").into_rustls(),
        other => bad(format_args!("the peer's certificate breaks a rule of X.509 ({other})")).into_rustls(),
    }
}

fn bad(reason: impl fmt::Display) -> TlsError {
    TlsError::new(TlsFailure::BadCertificate, reason)
}

/// The rules of the SPIFFE standard X509-SVID, sections 2 to 4, for a leaf.
fn svid(leaf: &CertificateDer<'_>) -> Result<SpiffeId, TlsError> {
    let (_, x509) = X509Certificate::from_der(leaf).map_err(|_| bad("the peer's certificate cannot be read"))?;
    let uris: Vec<_> = names(&x509).filter(|(kind, _)| *kind == SanKind::Uri).map(|(_, text)| text).collect();
    let [uri] = &uris[..] else {
        return Err(bad(format_args!("the peer's certificate has {} URI names, expected one SPIFFE ID", uris.len())));
    };
    let id: SpiffeId = uri.parse().map_err(|e| bad(format_args!("the peer's certificate: {e}")))?;
    if id.path().is_empty() {
        return Err(bad(format_args!("the peer's certificate names the trust domain `{id}`, not a workload")));
    }
    let signs = |usage: &x509_parser::extensions::KeyUsage| usage.key_cert_sign() || usage.crl_sign();
    if matches!(x509.key_usage(), Ok(Some(usage)) if signs(usage.value)) {
        return Err(bad("the peer's certificate may sign others, which a workload's must not"));
    }
    Ok(id)
}

fn names<'a>(x509: &'a X509Certificate<'a>) -> impl Iterator<Item = (SanKind, String)> + 'a {
    let sans = x509.subject_alternative_name().ok().flatten();
    sans.into_iter().flat_map(|sans| &sans.value.general_names).filter_map(|name| match name {
        GeneralName::URI(text) => Some((SanKind::Uri, (*text).to_owned())),
        GeneralName::DNSName(text) => Some((SanKind::Dns, (*text).to_owned())),
        GeneralName::RFC822Name(text) => Some((SanKind::Email, (*text).to_owned())),
        GeneralName::IPAddress(bytes) => Some((SanKind::Ip, ip(bytes)?.to_string())),
        _ => None,
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn accepted(leaf: &CertificateDer<'_>, accept: &Accept) -> Result<(), Error> {
    let Accept::OneOf(patterns) = accept else { return Ok(()) };
    let (_, x509) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let found: Vec<_> = names(&x509).collect();
    let matches = |pattern: &SanMatch| {
        found
            .iter()
            .any(|(kind, text)| (pattern.kind == SanKind::Any || pattern.kind == *kind) && pattern.text.matches(text))
            || covers_host(leaf, pattern)
    };
    if patterns.iter().any(matches) {
        return Ok(());
    }
    let list = |mut texts: Vec<String>| {
        let more = texts.len().saturating_sub(3);
        texts.truncate(3);
        let shown = if texts.is_empty() { "nobody".to_owned() } else { texts.join(", ") };
        if more > 0 { format!("{shown} and {more} more") } else { shown }
    };
    let reason = format!(
        "the peer is {}, expected {}",
        list(found.into_iter().map(|(_, text)| text).collect()),
        list(patterns.iter().map(|p| p.text.to_string()).collect())
    );
    Err(TlsError::new(TlsFailure::NameMismatch, reason).into_rustls())
}

/// An exact DNS name may be covered by a wildcard in the certificate. What is a name of another kind is no DNS name.
fn covers_host(leaf: &CertificateDer<'_>, pattern: &SanMatch) -> bool {
    match (&pattern.kind, &pattern.text) {
        (SanKind::Dns | SanKind::Any, TextMatch::Exact(name)) => {
            ServerName::try_from(name.as_str()).is_ok_and(|name| valid_for(leaf, &name).is_ok())
        }
        _ => false,
    }
}

/// The rule as rustls calls it, for both ends.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) rule: Rule,
    /// For a server: must the client send a certificate?
    pub(super) mandatory: bool,
}

impl Verifier {
    fn schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.rule.check_parts(leaf, intermediates, PeerIs::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.rule.check_parts(leaf, intermediates, PeerIs::Server(name), now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
