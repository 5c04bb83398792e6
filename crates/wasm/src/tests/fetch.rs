//! Modules from servers of HTTP and from a registry.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{Fetch, Web};

const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const TIME: Duration = Duration::from_secs(20);

/// What a server has: by path the status, a header, and the body.
type Pages = BTreeMap<String, (u16, String, Vec<u8>)>;

/// A server of these pages; those under `/v2/` want the token `t`, if it is so said.
async fn server(pages: impl FnOnce(&str) -> Pages, wants_token: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let (pages, own) = (pages(&at), at.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut buffer = [0; 1024];
                let count = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..count]);
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap();
            let may = !wants_token || !path.starts_with("/v2/") || request.contains("authorization: Bearer t\r\n");
            let challenge = format!("www-authenticate: Bearer realm=\"http://{own}/token\",service=\"a b\"");
            let (status, header, body) = match pages.get(path) {
                _ if !may => (401, challenge, Vec::new()),
                Some(page) => page.clone(),
                None => (404, "x-a: b".to_owned(), Vec::new()),
            };
            let head = format!("HTTP/1.1 {status} it is\r\n{header}\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
    });
    at
}

fn page(status: u16, header: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    (status, if header.is_empty() { "x-a: b".to_owned() } else { header.to_owned() }, body.to_vec())
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(bytes)))
}

#[tokio::test]
async fn by_http() {
    let pages = |at: &str| {
        Pages::from([
            ("/m.wasm".to_owned(), page(200, "", MODULE)),
            ("/there".to_owned(), page(302, "location: /m.wasm", b"")),
            ("/away".to_owned(), page(307, &format!("location: http://{at}/there"), b"")),
            ("/round".to_owned(), page(301, "location: /round", b"")),
            ("/lost".to_owned(), page(301, "", b"")),
        ])
    };
    let at = server(pages, false).await;
    for (path, expected) in [
        ("m.wasm", Ok(MODULE.to_vec())),
        ("away", Ok(MODULE.to_vec())),
        ("none", Err(format!("http://{at}/none: the answer has the status 404"))),
        ("round", Err(format!("http://{at}/round: leads on more than 5 times"))),
        ("lost", Err(format!("http://{at}/lost: leads elsewhere and does not say where"))),
    ] {
        let got = Web.fetch(&format!("http://{at}/{path}"), TIME).await.map(|bytes| bytes.to_vec());
        assert_eq!(got, expected, "{path}");
    }
    let refused = Web.fetch("http://127.0.0.1:1/m.wasm", TIME).await.unwrap_err();
    assert!(refused.starts_with("http://127.0.0.1:1/m.wasm: no connection"), "{refused}");
    assert_eq!(
        Web.fetch("ftp://a/b", TIME).await,
        Err("`ftp://a/b`: expected http:// or https:// and a host".to_owned())
    );
}

/// An image's last layer: an archive, compressed, with one file.
fn layer(file: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(MODULE.len() as u64);
    header.set_cksum();
    archive.append_data(&mut header, file, MODULE).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&archive.into_inner().unwrap()).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn from_a_registry() {
    let artifact = ("application/vnd.module.wasm.content.layer.v1+wasm", MODULE.to_vec());
    let image = ("application/vnd.oci.image.layer.v1.tar+gzip", layer("plugin.wasm"));
    let other = ("application/vnd.oci.image.layer.v1.tar+gzip", layer("other"));
    for (wants_token, (kind, bytes), is_index, expected) in [
        (false, artifact.clone(), false, Ok(MODULE.to_vec())),
        (true, artifact, true, Ok(MODULE.to_vec())),
        (true, image, false, Ok(MODULE.to_vec())),
        (false, other, false, Err("the last layer of the image has no file plugin.wasm".to_owned())),
    ] {
        let layer = digest(&bytes);
        let manifest = json!({"layers": [{"mediaType": kind, "digest": layer}]}).to_string();
        let of_manifest = digest(manifest.as_bytes());
        let index = json!({"manifests": [{"digest": of_manifest}]}).to_string();
        let first = if is_index { index } else { manifest.clone() };
        let pages = Pages::from([
            ("/v2/a/b/manifests/1".to_owned(), page(200, "", first.as_bytes())),
            (format!("/v2/a/b/manifests/{of_manifest}"), page(200, "", manifest.as_bytes())),
            (format!("/v2/a/b/blobs/{layer}"), page(200, "", &bytes)),
            ("/token?scope=repository:a/b:pull&service=a%20b".to_owned(), page(200, "", br#"{"token":"t"}"#)),
        ]);
        let at = server(|_| pages, wants_token).await;
        for reference in ["a/b:1".to_owned(), format!("a/b@{of_manifest}")] {
            let got = Web.fetch(&format!("oci://{at}/{reference}"), TIME).await.map(|bytes| bytes.to_vec());
            assert_eq!(got, expected, "{kind} {reference}");
        }
    }
}

#[tokio::test]
async fn what_is_not_what_it_should_be() {
    let manifest = json!({"layers": [{"mediaType": "a+wasm", "digest": digest(MODULE)}]}).to_string();
    let pages = Pages::from([
        ("/v2/a/b/manifests/1".to_owned(), page(200, "", manifest.as_bytes())),
        (format!("/v2/a/b/manifests/{}", digest(MODULE)), page(200, "", manifest.as_bytes())),
        (format!("/v2/a/b/blobs/{}", digest(MODULE)), page(200, "", b"other")),
    ]);
    let at = server(|_| pages, false).await;
    let (wrong, right) = (digest(b"other"), digest(MODULE));
    let got = Web.fetch(&format!("oci://{at}/a/b:1"), TIME).await;
    assert_eq!(got, Err(format!("what came is {wrong}; expected {right}")));
    let got = Web.fetch(&format!("oci://{at}/a/b@{right}"), TIME).await;
    assert_eq!(got, Err(format!("what came is {}; expected {right}", digest(manifest.as_bytes()))));
    let got = Web.fetch(&format!("oci://{at}/a/b:2"), TIME).await;
    assert_eq!(got, Err(format!("http://{at}/v2/a/b/manifests/2: the answer has the status 404")));
}
