//! The authority as proxies see it: what it issues is verified by webpki, as TLS does.

mod revocation;
mod rotation;

use std::time::{Duration, SystemTime};

use base::SpiffeId;
use ca::{Authority, CaState, CsrError, DirStore, IssueError, Key, KeyStore, NextState, RootState, StateError};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

fn reviews() -> SpiffeId {
    id("spiffe://cluster.local/ns/default/sa/reviews")
}

fn authority(now: SystemTime) -> Authority {
    Authority::create("cluster.local".parse().unwrap(), now).unwrap()
}

fn ders(pems: &[String]) -> Vec<CertificateDer<'static>> {
    pems.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).collect()
}

/// Would a peer with this bundle believe this chain at this time, as a client and as a server?
fn believed(chain: &[String], bundle: &[String], now: SystemTime) -> Result<(), webpki::Error> {
    let (chain, roots) = (ders(chain), ders(bundle));
    let anchors: Vec<_> = roots.iter().map(|root| webpki::anchor_from_trusted_cert(root).unwrap()).collect();
    let leaf = EndEntityCert::try_from(&chain[0])?;
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        let time = UnixTime::since_unix_epoch(since);
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &chain[1..], time, usage, None, None)?;
    }
    Ok(())
}

fn issue(authority: &Authority, now: SystemTime) -> Vec<String> {
    let csr = Key::generate().unwrap().csr(&reviews()).unwrap();
    authority.issue(csr.as_bytes(), &reviews(), DAY, now).unwrap().chain
}

#[test]
fn a_leaf_says_what_the_caller_proved_and_nothing_else() {
    let now = SystemTime::now();
    let authority = authority(now);
    // The request asks for much more than is granted.
    let key = KeyPair::generate().unwrap();
    let mut wish = CertificateParams::new(["admin.example.org".to_owned()]).unwrap();
    wish.subject_alt_names.push(SanType::URI("spiffe://cluster.local/ns/kube-system/sa/admin".try_into().unwrap()));
    wish.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let csr = wish.serialize_request(&key).unwrap();
    let issued = authority.issue(csr.der(), &reviews(), DAY, now).unwrap();
    believed(&issued.chain, &authority.bundle(), now).unwrap();
    assert_eq!(issued.not_after.duration_since(issued.not_before).unwrap(), DAY + ca::BACK_DATE);

    let der = ders(&issued.chain).remove(0);
    let (_, x509) = X509Certificate::from_der(&der).unwrap();
    let san = x509.subject_alternative_name().unwrap().unwrap();
    assert!(san.critical && x509.subject().iter().next().is_none() && !x509.is_ca());
    let names: Vec<_> = san.value.general_names.iter().map(|name| name.to_string()).collect();
    assert_eq!(names, [format!("URI({})", reviews())]);
    let usage = x509.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && usage.server_auth && !usage.any);
    let usage = x509.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    assert_eq!(x509.raw_serial().len(), 16);
    assert_eq!(issued.serial.len(), 32);
    assert_ne!(issued.serial, authority.issue(csr.der(), &reviews(), DAY, now).unwrap().serial);
}

#[test]
fn keys_that_are_certified() {
    let now = SystemTime::now();
    let authority = authority(now);
    let rsa = |bits| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, bits).unwrap();
    for key in [
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
        rsa(rcgen::RsaKeySize::_2048),
    ] {
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let issued = authority.issue(csr.pem().unwrap().as_bytes(), &reviews(), DAY, now).unwrap();
        believed(&issued.chain, &authority.bundle(), now).unwrap();
        let der = ders(&issued.chain).remove(0);
        let (_, x509) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(x509.public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&key));
    }
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let csr = CertificateParams::default().serialize_request(&key).unwrap();
    let error = authority.issue(csr.der(), &reviews(), DAY, now).unwrap_err();
    assert!(matches!(error, IssueError::Request(CsrError::Key(_))), "{error}");
}

#[test]
fn what_is_refused() {
    let now = SystemTime::now();
    let authority = authority(now).with_max_ttl(2 * DAY);
    let csr = Key::generate().unwrap().csr(&reviews()).unwrap().into_bytes();
    let mut forged = CertificateDer::from(csr_der(&csr)).to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let zero = Duration::ZERO;
    let long = 3 * DAY;
    let too_long = |asked| IssueError::Ttl { asked, max: 2 * DAY };
    let foreign = id("spiffe://other.example/ns/a/sa/b");
    let domain = id("spiffe://cluster.local");
    let not_ours = |id: &SpiffeId| IssueError::Identity(id.clone(), "cluster.local".parse().unwrap());
    for (csr, identity, ttl, at, expected) in [
        (&b"junk"[..], reviews(), DAY, now, IssueError::Request(CsrError::Unreadable)),
        (&forged, reviews(), DAY, now, IssueError::Request(CsrError::Signature)),
        (&csr, foreign.clone(), DAY, now, not_ours(&foreign)),
        (&csr, domain.clone(), DAY, now, not_ours(&domain)),
        (&csr, reviews(), zero, now, too_long(zero)),
        (&csr, reviews(), long, now, too_long(long)),
        (&csr, reviews(), DAY, now + 3651 * DAY, IssueError::SignerOutOfDate),
        (&csr, reviews(), DAY, now - DAY, IssueError::SignerOutOfDate),
    ] {
        assert_eq!(authority.issue(csr, &identity, ttl, at).unwrap_err(), expected);
    }
    // Near its own end the authority gives what it has.
    let end = authority.not_after();
    let issued = authority.issue(&csr, &reviews(), DAY, end - Duration::from_secs(60)).unwrap();
    assert_eq!(issued.not_after, end);
    assert!(authority.is_due_for_rotation(end - DAY) && !authority.is_due_for_rotation(now));
}

fn csr_der(pem: &[u8]) -> Vec<u8> {
    rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(pem).unwrap().to_vec()
}

/// An operator's own root with an intermediate under it, in the layout of Istio's `cacerts`.
fn own(now: SystemTime) -> CaState {
    let ca = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        (params.not_before, params.not_after) = ((now - DAY).into(), (now + 365 * DAY).into());
        params
    };
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = ca("own root").self_signed(&root_key).unwrap().pem();
    let cert = ca("own intermediate").signed_by(&key, &rcgen::Issuer::new(ca("own root"), &root_key)).unwrap().pem();
    CaState {
        cert_chain: format!("{cert}{root}"),
        root_cert: root,
        ca_cert: cert,
        ca_key: key.serialize_pem(),
        next: None,
        retiring: None,
        former: Vec::new(),
    }
}

#[test]
fn an_operators_own_authority() {
    let now = SystemTime::now();
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::new(dir.path());
    let good = own(now);
    store.save(&good).unwrap();
    let state = store.load().unwrap().unwrap();
    let load = |state: &CaState, at| Authority::load("cluster.local".parse().unwrap(), state, at);
    let authority = load(&state, now).unwrap().with_max_ttl(DAY);
    assert_eq!(authority.roots()[0].state, RootState::Active);
    let chain = issue(&authority, now);
    assert_eq!(chain.len(), 2, "leaf and intermediate");
    believed(&chain, &authority.bundle(), now).unwrap();
    // It can hand over to a root of ours.
    let old_bundle = authority.bundle();
    let authority = authority.prepare(None, now).unwrap().activate(now).unwrap();
    believed(&issue(&authority, now), &old_bundle, now).unwrap();

    let other = own(now);
    let next = NextState {
        ca_cert: other.ca_cert.clone(),
        ca_key: other.ca_key.clone(),
        cert_chain: String::new(),
        root_cert: other.root_cert.clone(),
    };
    let with = |change: &dyn Fn(&mut CaState)| {
        let mut state = good.clone();
        change(&mut state);
        state
    };
    let leaf = issue(&load(&good, now).unwrap(), now).remove(0);
    let mismatch = StateError::Mismatch { key: "ca-key.pem", cert: "ca-cert.pem" };
    for (state, at, expected) in [
        (with(&|s| s.root_cert.clear()), now, StateError::Unreadable("root-cert.pem")),
        (with(&|s| s.ca_key = other.ca_key.clone()), now, mismatch),
        (with(&|s| s.root_cert = other.root_cert.clone()), now, StateError::NoPath),
        (with(&|s| s.ca_cert = leaf.clone()), now, StateError::NotAnAuthority("ca-cert.pem")),
        (with(&|s| s.next = Some(next.clone())), now, StateError::NextNotTrusted),
        (good.clone(), now + 366 * DAY, StateError::OutOfDate("ca-cert.pem")),
    ] {
        assert_eq!(load(&state, at).unwrap_err(), expected);
    }
    assert!(!format!("{good:?}").contains("PRIVATE"));
}
