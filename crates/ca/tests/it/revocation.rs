//! Lists of what is revoked, as TLS reads them, over exchanges of the authority.

use std::time::{Duration, SystemTime};

use ca::{Authority, CaState, Issued, Key, ListError, Revocations, RevokedLeaf};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateRevocationListDer, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder,
};

use crate::{DAY, authority, ders, reviews};

fn issue(authority: &Authority, now: SystemTime) -> Issued {
    let csr = Key::generate().unwrap().csr(&reviews()).unwrap();
    authority.issue(csr.as_bytes(), &reviews(), DAY, now).unwrap()
}

fn revoked(leaves: &[&Issued], now: SystemTime) -> Revocations {
    let leaf = |issued: &&Issued| {
        let serial = issued.serial.clone();
        let leaf = RevokedLeaf { serial, identity: reviews(), since: now, not_after: issued.not_after };
        (issued.serial.clone(), leaf)
    };
    Revocations { leaves: leaves.iter().map(leaf).collect(), ..Revocations::default() }
}

/// What a peer makes of a leaf that has the bundle and the lists of an authority.
fn believed(authority: &Authority, issued: &Issued, lists: &str, now: SystemTime) -> Result<(), webpki::Error> {
    let (chain, roots) = (ders(&issued.chain), ders(&authority.bundle()));
    let anchors: Vec<_> = roots.iter().map(|root| webpki::anchor_from_trusted_cert(root).unwrap()).collect();
    let lists: Vec<CertRevocationList<'_>> = CertificateRevocationListDer::pem_slice_iter(lists.as_bytes())
        .map(|der| OwnedCertRevocationList::from_der(&der.unwrap()).unwrap().into())
        .collect();
    let lists: Vec<_> = lists.iter().collect();
    let options = RevocationOptionsBuilder::new(&lists).unwrap().with_depth(RevocationCheckDepth::EndEntity);
    let options = options.with_expiration_policy(ExpirationPolicy::Enforce).build();
    let time = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let leaf = EndEntityCert::try_from(&chain[0])?;
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    leaf.verify_for_usage(algorithms, &anchors, &chain[1..], time, KeyUsage::client_auth(), Some(options), None)
        .map(drop)
}

#[test]
fn over_every_step_of_an_exchange() {
    let now = SystemTime::now();
    let first = authority(now);
    let [good, bad] = [issue(&first, now), issue(&first, now)];
    assert_eq!(first.lists(&Revocations::default(), now, DAY), Ok(String::new()));
    let revoked = revoked(&[&bad], now);
    let prepared = first.prepare(None, now).unwrap();
    let active = prepared.activate(now).unwrap();
    let newer = issue(&active, now);
    for (name, step) in [("before", &first), ("prepared", &prepared), ("active", &active)] {
        // What is kept on the disk is enough.
        let reloaded = Authority::load("cluster.local".parse().unwrap(), &step.state(), now).unwrap();
        let lists = reloaded.lists(&revoked, now, DAY).unwrap();
        assert_eq!(believed(step, &good, &lists, now), Ok(()), "{name}");
        assert_eq!(believed(step, &bad, &lists, now), Err(webpki::Error::CertRevoked), "{name}");
        if name != "before" {
            assert_eq!(believed(&active, &newer, &lists, now), Ok(()), "{name}: who signs next has a list already");
        }
        let late = now + DAY + Duration::from_secs(1);
        assert!(matches!(
            believed(step, &good, &lists, late),
            Err(webpki::Error::CertExpired { .. } | webpki::Error::CrlExpired { .. })
        ));
    }
    let finished = active.finish().unwrap();
    assert_eq!(finished.state().former, vec![], "the old key is gone with its root");
    let lists = finished.lists(&revoked, now, DAY).unwrap();
    assert_eq!(lists.matches("BEGIN X509 CRL").count(), 1);
    assert_eq!(believed(&finished, &newer, &lists, now), Ok(()));
    let mut state = active.state();
    state.former.clear();
    let older = Authority::load("cluster.local".parse().unwrap(), &state, now).unwrap();
    assert_eq!(older.lists(&revoked, now, DAY), Err(ListError::NoFormerKey));
}

#[test]
fn an_authority_that_may_not_sign_lists() {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
    let now = SystemTime::now();
    let state = |usages: &[KeyUsagePurpose]| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "own");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = usages.to_vec();
        let cert = params.self_signed(&key).unwrap().pem();
        let (cert_chain, ca_key) = (String::new(), key.serialize_pem());
        CaState {
            root_cert: cert.clone(),
            ca_cert: cert,
            ca_key,
            cert_chain,
            next: None,
            retiring: None,
            former: vec![],
        }
    };
    for (usages, expected) in [
        (&[KeyUsagePurpose::KeyCertSign][..], false),
        (&[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign], true),
        (&[], true),
    ] {
        let own = Authority::load("cluster.local".parse().unwrap(), &state(usages), now).unwrap();
        let leaf = issue(&own, now);
        let lists = own.lists(&revoked(&[&leaf], now), now, DAY);
        match lists {
            Ok(lists) => {
                assert_eq!((believed(&own, &leaf, &lists, now), expected), (Err(webpki::Error::CertRevoked), true))
            }
            Err(error) => assert!(!expected && error.to_string().contains("cRLSign"), "{error}"),
        }
    }
}
