//! Our part of `x-forwarded-client-cert`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use model::edge::ClientCertDetails;
use transport::tls::{LiveCert, Peer};

/// `By=<us>;Hash=<sha256>;Subject="..";URI=<them>` and so on, in Envoy's order. `chain` is in DER, the leaf first.
pub(super) fn element(
    peer: &Peer,
    chain: &[Vec<u8>],
    ours: Option<&LiveCert>,
    details: ClientCertDetails,
) -> Option<HeaderValue> {
    let theirs = peer.certificate.as_ref()?;
    let mut parts: Vec<String> = Vec::new();
    let by = ours.and_then(LiveCert::certificate).map(|c| c.uri_sans).unwrap_or_default();
    parts.extend(by.iter().map(|uri| format!("By={uri}")));
    parts.push(format!("Hash={}", theirs.fingerprint));
    if let (true, Some(leaf)) = (details.cert, chain.first()) {
        parts.push(format!("Cert=\"{}\"", encoded(leaf)));
    }
    if details.chain && !chain.is_empty() {
        let all: String = chain.iter().map(|der| pem(der)).collect();
        parts.push(format!("Chain=\"{}\"", url_encoded(&all)));
    }
    if details.subject {
        parts.push(format!("Subject=\"{}\"", theirs.subject.replace(['"', '\\'], "")));
    }
    if details.uri {
        parts.extend(theirs.uri_sans.iter().map(|uri| format!("URI={uri}")));
        parts.extend(theirs.uri_sans.is_empty().then(|| "URI=".to_owned()));
    }
    if details.dns {
        parts.extend(theirs.dns_sans.iter().map(|name| format!("DNS={name}")));
    }
    HeaderValue::from_str(&parts.join(";")).ok()
}

/// A certificate as Envoy tells it.
pub(super) fn encoded(der: &[u8]) -> String {
    url_encoded(&pem(der))
}

fn pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.extend(line.iter().map(|b| char::from(*b)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// As Envoy encodes PEM: what could end the value, or be read as something else, is escaped.
fn url_encoded(pem: &str) -> String {
    let mut text = String::with_capacity(pem.len() + pem.len() / 8);
    for c in pem.chars() {
        match c {
            '\n' => text.push_str("%0A"),
            ' ' => text.push_str("%20"),
            '+' => text.push_str("%2B"),
            '/' => text.push_str("%2F"),
            '=' => text.push_str("%3D"),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        let text = url_encoded(&pem(b"\xfb\xff\xfe\x00"));
        let expected = "-----BEGIN%20CERTIFICATE-----%0A%2B%2F%2F%2BAA%3D%3D%0A-----END%20CERTIFICATE-----%0A";
        assert_eq!(text, expected);
        assert_eq!(pem(&[0; 100]).lines().map(str::len).max(), Some(64));
    }
}
