//! Modules in images: an artifact that is the module (`application/vnd.module.wasm.content.layer.v1+wasm`), or an image whose
//! last layer has the file `plugin.wasm`, as Istio and the Solo/Wasm image specification have it.

use std::io::Read;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::http::Client;
use crate::bounds;

/// What a registry is asked for.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                         application/vnd.docker.distribution.manifest.v2+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json";
/// The layer that is a module itself ends so.
const MODULE_LAYER: &str = "+wasm";
/// The file of a layer that is the module.
const FILE: &str = "plugin.wasm";

/// `registry/repository:tag@digest`, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    registry: String,
    repository: String,
    tag: String,
    digest: Option<String>,
}

impl Reference {
    /// As container engines read it: without a registry it is Docker's, without a tag `latest`.
    fn parse(text: &str) -> Result<Self, String> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (text, None),
        };
        if let Some(digest) = &digest
            && digest.strip_prefix("sha256:").is_none_or(|hex| hex.len() != 64)
        {
            return Err(format!("`{digest}` in {text}: expected sha256: and 64 hexadecimal digits"));
        }
        let (registry, path) = match rest.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path.to_owned()),
            Some(_) => ("docker.io", rest.to_owned()),
            None => ("docker.io", format!("library/{rest}")),
        };
        let (repository, tag) = path.rsplit_once(':').unwrap_or((&path, "latest"));
        if repository.is_empty() || tag.is_empty() {
            return Err(format!("`{text}` names no image: expected registry/repository:tag"));
        }
        let registry = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), tag: tag.to_owned(), digest })
    }

    fn url(&self, rest: &str) -> String {
        let host = self.registry.rsplit_once(':').map_or(&*self.registry, |(host, _)| host);
        let is_near = host == "localhost" || host.starts_with("127.") || host == "[::1]";
        let scheme = if is_near { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/{rest}", self.registry, self.repository)
    }
}

/// The module of an image.
///
/// # Errors
/// Why there is none, for people.
pub(super) async fn module(client: &Client, reference: &str) -> Result<Bytes, String> {
    let reference = Reference::parse(reference)?;
    let mut registry = Registry { client, reference, token: None };
    let wanted = registry.reference.digest.clone().unwrap_or_else(|| registry.reference.tag.clone());
    let mut manifest = registry.manifest(&wanted).await?;
    if let Some(first) = manifest["manifests"][0]["digest"].as_str() {
        // Of an index: modules are the same on every machine.
        manifest = registry.manifest(first).await?;
    }
    let layers = manifest["layers"].as_array().filter(|layers| !layers.is_empty());
    let layers = layers.ok_or("the manifest of the image has no layers")?;
    let kind = |layer: &Value| layer["mediaType"].as_str().unwrap_or_default().to_owned();
    let own = layers.iter().find(|layer| kind(layer).ends_with(MODULE_LAYER));
    let layer = own.or(layers.last()).ok_or("the image has no layers")?;
    let digest = layer["digest"].as_str().ok_or("a layer of the image has no digest")?;
    let bytes = registry.blob(digest).await?;
    if own.is_some() { Ok(bytes) } else { unpacked(&bytes) }
}

/// A registry, and what it has let us in with.
struct Registry<'a> {
    client: &'a Client,
    reference: Reference,
    token: Option<HeaderValue>,
}

impl Registry<'_> {
    async fn manifest(&mut self, which: &str) -> Result<Value, String> {
        let bytes = self.get(&format!("manifests/{which}"), MANIFESTS).await?;
        if which.starts_with("sha256:") {
            check(&bytes, which)?;
        }
        serde_json::from_slice(&bytes).map_err(|_| "the manifest of the image is no JSON".to_owned())
    }

    async fn blob(&mut self, digest: &str) -> Result<Bytes, String> {
        let bytes = self.get(&format!("blobs/{digest}"), "*/*").await?;
        check(&bytes, digest)?;
        Ok(bytes)
    }

    /// Asks; and again with a token, if that is what is wanted.
    async fn get(&mut self, rest: &str, accept: &'static str) -> Result<Bytes, String> {
        let url = self.reference.url(rest);
        let mut headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
        headers.extend(self.token.clone().map(|token| (header::AUTHORIZATION, token)));
        let answer = self.client.ask(&url, &headers).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || self.token.is_some() {
            return match answer.status() {
                StatusCode::OK => Ok(answer.into_body()),
                other => Err(format!("{url}: the answer has the status {}", other.as_u16())),
            };
        }
        let challenge = answer.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let token = self.token(challenge.unwrap_or_default()).await.map_err(|why| format!("{url}: {why}"))?;
        headers.insert(header::AUTHORIZATION, token.clone());
        self.token = Some(token);
        self.client.get(&url, &headers).await.map(|answer| answer.into_body())
    }

    /// A token for whoever asks (the registries' token authentication).
    async fn token(&self, challenge: &str) -> Result<HeaderValue, String> {
        let unwanted = || "it wants credentials, which modules are fetched without".to_owned();
        let rest = challenge.strip_prefix("Bearer ").ok_or_else(unwanted)?;
        let of = |name: &str| {
            let (_, rest) = rest.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        };
        let realm = of("realm").ok_or_else(unwanted)?;
        let own = format!("repository:{}:pull", self.reference.repository);
        let scope = of("scope").unwrap_or(&own);
        let mut url = format!("{realm}{}scope={scope}", if realm.contains('?') { '&' } else { '?' });
        if let Some(service) = of("service") {
            url.push_str("&service=");
            url.push_str(&service.replace(' ', "%20"));
        }
        let answer = self.client.get(&url, &HeaderMap::new()).await?;
        let answer: Value = serde_json::from_slice(answer.body()).map_err(|_| "the token is no JSON".to_owned())?;
        let token = answer["token"].as_str().or(answer["access_token"].as_str()).ok_or_else(unwanted)?;
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| "the token is no text".to_owned())
    }
}

fn check(bytes: &[u8], digest: &str) -> Result<(), String> {
    let own = format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(bytes)));
    if own == digest.to_ascii_lowercase() { Ok(()) } else { Err(format!("what came is {own}; expected {digest}")) }
}

/// The module in a layer, which may be compressed.
fn unpacked(layer: &[u8]) -> Result<Bytes, String> {
    let reader: Box<dyn Read + '_> = match layer.starts_with(&[0x1f, 0x8b]) {
        true => Box::new(GzDecoder::new(layer)),
        false => Box::new(layer),
    };
    // Twice: a layer has other files and its own order.
    let mut archive = tar::Archive::new(reader.take(2 * bounds::MODULE as u64));
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| format!("the layer of the image: {error}"))?;
        let is_module = entry.path().is_ok_and(|path| path.file_name().is_some_and(|name| name == FILE));
        if is_module {
            let mut bytes = Vec::new();
            entry.take(bounds::MODULE as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            return Ok(bytes.into());
        }
    }
    Err(format!("the last layer of the image has no file {FILE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let with_digest = format!("ghcr.io/a/b:1@{digest}");
        for (text, url) in [
            ("ghcr.io/a/b:1", Ok("https://ghcr.io/v2/a/b/1")),
            ("ghcr.io/a/b", Ok("https://ghcr.io/v2/a/b/latest")),
            ("localhost:5000/b", Ok("http://localhost:5000/v2/b/latest")),
            ("127.0.0.1:5000/b:2", Ok("http://127.0.0.1:5000/v2/b/2")),
            ("istio/plugin", Ok("https://registry-1.docker.io/v2/istio/plugin/latest")),
            ("plugin", Ok("https://registry-1.docker.io/v2/library/plugin/latest")),
            (&with_digest, Ok("https://ghcr.io/v2/a/b/1")),
            ("ghcr.io/:1", Err("`ghcr.io/:1` names no image: expected registry/repository:tag")),
            ("a/b@md5:1", Err("`md5:1` in a/b@md5:1: expected sha256: and 64 hexadecimal digits")),
        ] {
            let found = Reference::parse(text).map(|it| it.url(&it.tag));
            assert_eq!(found.as_deref().map_err(String::as_str), url);
        }
        assert_eq!(Reference::parse(&with_digest).unwrap().digest, Some(digest));
    }
}
