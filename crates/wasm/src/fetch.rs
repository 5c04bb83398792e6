//! Gets modules that are elsewhere: by HTTP, and as images of registries (OCI Distribution).
//!
//! Servers are checked as on the web, against the roots of the system. Registries at loopback addresses are asked without
//! TLS, as container engines do. Nobody is told credentials.

mod http;
mod image;

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use self::http::Client;
use crate::modules::Fetch;

/// Gets modules from the web.
#[derive(Debug, Default)]
pub struct Web;

impl Fetch for Web {
    fn fetch(&self, uri: &str, limit: Duration) -> Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send>> {
        let uri = uri.to_owned();
        Box::pin(async move {
            let got = async {
                match uri.strip_prefix("oci://") {
                    Some(reference) => image::module(&Client, reference).await,
                    None => Client.module(&uri).await,
                }
            };
            timeout(limit, got).await.unwrap_or_else(|_| Err(late(&limit)))
        })
    }
}

fn late(limit: &dyn fmt::Debug) -> String {
    format!("it is not here within {limit:?}")
}
