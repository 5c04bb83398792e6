//! Documents on the certificate authority.

use serde::{Deserialize, Serialize};

use super::RootStatus;

/// The certificate authority as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaStatus {
    /// The trust domain.
    pub trust_domain: String,
    /// `idle`; `prepared`: proxies are told of a new root; `retiring`: the new root is in use, and the old one still
    /// trusted.
    pub phase: String,
    /// The roots that are trusted.
    pub roots: Vec<RootStatus>,
    /// The certificate that signs is a root itself, which is exchanged in the last fifth of its life.
    pub self_signed: bool,
    /// When the certificate that signs ends.
    pub not_after: String,
    /// Proxies that do not trust the new root yet, while a rotation is prepared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<WaitedFor>,
    /// Certificates of the old root that may still be in use, while it retires.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub old_leaves: Vec<OldLeaf>,
    /// What is revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<RevokedView>,
}

/// An identity or a certificate that is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedView {
    /// Whose it is.
    pub identity: String,
    /// The serial number of the certificate in hexadecimal; empty where the identity as such is revoked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serial: String,
    /// Since when.
    pub since: String,
    /// The end of the certificate, at which it leaves the list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub not_after: String,
}

/// What is to be revoked, or made good again: an identity (`spiffe://…`, or `namespace/account`), the serial number of a
/// certificate in hexadecimal, or the node id of a connected proxy or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationRequest {
    /// Which.
    pub what: String,
    /// It is made good again.
    #[serde(default)]
    pub restore: bool,
}

/// What is revoked by a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// What was found by what was asked for.
    pub what: String,
    /// Certificates.
    pub certificates: Vec<RevokedView>,
}

/// A proxy that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitedFor {
    /// Its xDS node id.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// A certificate of the old root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldLeaf {
    /// Whose it is; empty of one that was issued before it was kept who has which.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub identity: String,
    /// Its serial number in hexadecimal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serial: String,
    /// Valid to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub not_after: String,
    /// The connected proxies that use it. None: who had it is away, or has had another one for less than two minutes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
}

/// A step of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationRequest {
    /// Which.
    pub step: RotationStep,
    /// Although proxies are locked out by it.
    #[serde(default)]
    pub force: bool,
}

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationStep {
    /// Makes a new root and tells the proxies of it.
    Start,
    /// Takes the step that is waited for now.
    Finish,
    /// Takes a rotation back that was only prepared.
    Cancel,
}

/// An authority in the files of Istio's `cacerts`. The key is a secret: this shows itself to nobody by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaFiles {
    /// `ca-cert.pem`.
    pub ca_cert: String,
    /// `ca-key.pem`; in an export only if it was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ca_key: String,
    /// `root-cert.pem`.
    pub root_cert: String,
    /// `cert-chain.pem`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cert_chain: String,
}

/// What is exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportQuery {
    /// The key too.
    #[serde(default)]
    pub with_key: bool,
}
