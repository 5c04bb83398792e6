//! ServiceAccount, Namespace, ConfigMap and Secret.

use std::collections::BTreeMap;

use crate::decode::{Bytes, Decode, PrivateText, Unread, object};
use crate::report::Report;
use crate::yaml::Node;

object! {
    /// The identity of workloads (core `v1`).
    Document struct ServiceAccount {
        /// Secrets that its pods may mount.
        secrets "secrets": Unread,
        /// Secrets for images.
        image_pull_secrets "imagePullSecrets": Unread,
        /// Do its pods get its token?
        automount_service_account_token "automountServiceAccountToken": Option<bool>,
    }
}

object! {
    /// A namespace (core `v1`).
    Document struct Namespace {
        /// Finalizers.
        spec "spec": Unread,
    }
}

object! {
    /// Text and bytes for configuration (core `v1`).
    Document struct ConfigMap {
        /// Text by key.
        data "data": BTreeMap<String, String>,
        /// Bytes by key.
        binary_data "binaryData": BTreeMap<String, Bytes>,
        /// Can it no longer be changed?
        immutable "immutable": Option<bool>,
    }
}

/// The type of a Secret that holds a key and its certificate.
pub const TLS_SECRET: &str = "kubernetes.io/tls";

/// Keys and certificates (core `v1`). Its data is never shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Secret {
    /// What it holds, such as [`TLS_SECRET`]; empty means `Opaque`.
    pub type_: String,
    /// Bytes by key, `stringData` included.
    pub data: BTreeMap<String, Bytes>,
    /// Can it no longer be changed?
    pub immutable: Option<bool>,
}

object! {
    /// A Secret as written.
    Document struct WrittenSecret {
        /// What it holds.
        type_ "type": String,
        /// Bytes by key.
        data "data": BTreeMap<String, Bytes>,
        /// Text by key, which comes before `data`.
        string_data "stringData": BTreeMap<String, PrivateText>,
        /// Can it no longer be changed?
        immutable "immutable": Option<bool>,
    }
}

impl Decode for Secret {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let WrittenSecret { type_, mut data, string_data, immutable } = WrittenSecret::decode(node, report)?;
        data.extend(string_data.into_iter().map(|(key, text)| (key, Bytes::from(text.0.into_bytes()))));
        Some(Self { type_, data, immutable })
    }
}

impl Secret {
    /// The bytes of `key`.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).map(Bytes::as_slice)
    }

    pub(crate) fn check(&self, report: &mut Report) {
        if self.type_ != TLS_SECRET {
            return;
        }
        for key in ["tls.crt", "tls.key"] {
            if self.get(key).is_none() {
                report
                    .error(format!("a Secret of the type {TLS_SECRET} has no `{key}`"))
                    .expected("`tls.crt` and `tls.key` under `data`");
            }
        }
    }
}
