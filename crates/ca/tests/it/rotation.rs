//! Exchanges of the authority under simulated time: proxies that take bundles and certificates late, restarts of the
//! control plane between any two steps, and at every moment everybody believes everybody.

use std::time::{Duration, SystemTime};

use ca::{Authority, CaState, DirStore, Import, KeyStore, Phase, RootState, RotationError, StateError, leads_to};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::{DAY, authority, believed, issue};

const HOUR: Duration = Duration::from_secs(3600);

fn reload(authority: &Authority, at: SystemTime) -> Authority {
    Authority::load("cluster.local".parse().unwrap(), &authority.state(), at).unwrap()
}

fn states(authority: &Authority) -> Vec<RootState> {
    authority.roots().iter().map(|root| root.state).collect()
}

#[test]
fn every_step_and_its_way_back() {
    let now = SystemTime::now();
    let first = authority(now);
    let (old_bundle, old_leaf) = (first.bundle(), issue(&first, now));
    assert_eq!(first.phase(), Phase::Idle);
    assert_eq!(first.activate(now).unwrap_err(), RotationError::NotPrepared);
    assert_eq!(first.finish().unwrap_err(), RotationError::NotRetiring);

    let prepared = reload(&first.prepare(None, now).unwrap(), now);
    assert_eq!(prepared.phase(), Phase::Prepared);
    assert_eq!(prepared.prepare(None, now).unwrap_err(), RotationError::AlreadyPrepared);
    assert_eq!(prepared.finish().unwrap_err(), RotationError::AlreadyPrepared);
    assert_eq!(states(&prepared), [RootState::Active, RootState::Next]);
    assert_eq!(prepared.cancel().unwrap().bundle(), old_bundle);
    let both = prepared.bundle();
    believed(&issue(&prepared, now), &old_bundle, now).unwrap();

    let active = reload(&prepared.activate(now).unwrap(), now);
    assert_eq!((active.phase(), states(&active)), (Phase::Retiring, vec![RootState::Active, RootState::Retiring]));
    assert_eq!(active.prepare(None, now).unwrap_err(), RotationError::NotFinished);
    assert_ne!(active.root(), first.root());
    let new_leaf = issue(&active, now);
    let new_bundle = &both[1..];
    for (leaf, bundle, expected) in [
        (&old_leaf, &both[..], true),
        (&new_leaf, &both, true),
        (&new_leaf, new_bundle, true),
        (&new_leaf, &old_bundle, true), // through the certificate in which the old root vouches for the new
        (&old_leaf, new_bundle, false),
    ] {
        assert_eq!(believed(leaf, bundle, now).is_ok(), expected);
    }
    // What tells proxies to renew: the first root of the bundle is not theirs.
    let first_of = active.bundle().remove(0);
    assert!(leads_to(&new_leaf.concat(), &first_of) && !leads_to(&old_leaf.concat(), &first_of));
    assert!(leads_to(&old_leaf.concat(), &old_bundle[0]));

    let finished = reload(&active.finish().unwrap(), now);
    assert_eq!((states(&finished), finished.bundle()), (vec![RootState::Active], new_bundle.to_vec()));
    let leaf = issue(&finished, now);
    assert_eq!(leaf.len(), 1);
    believed(&leaf, new_bundle, now).unwrap();
}

/// A proxy: what it trusts and what it shows.
struct Proxy {
    bundle: Vec<String>,
    leaf: Vec<String>,
}

/// Everybody believes everybody, the control plane among them.
fn all_believe(authority: &Authority, proxies: &[Proxy], now: SystemTime, moment: &str) {
    let own = (issue(authority, now), authority.bundle());
    let all = proxies.iter().map(|p| (&p.leaf, &p.bundle)).chain([(&own.0, &own.1)]);
    for (at, (leaf, _)) in all.clone().enumerate() {
        for (by, (_, bundle)) in all.clone().enumerate() {
            believed(leaf, bundle, now).unwrap_or_else(|e| panic!("{moment}: {by} does not believe {at}: {e}"));
        }
    }
}

/// What the control plane does at a step: the new state is on the disk before it is put to work, or it crashes on either
/// side of that.
fn step(store: &DirStore, before: &Authority, after: Authority, crash: u8, now: SystemTime) -> Authority {
    let load = || Authority::load("cluster.local".parse().unwrap(), &store.load().unwrap().unwrap(), now).unwrap();
    match crash {
        // Before it was kept: the step is to be taken anew.
        0 => {
            assert_eq!(load().state(), before.state());
            store.save(&after.state()).unwrap();
            after
        }
        // After it was kept, and before anybody heard of it.
        1 => {
            store.save(&after.state()).unwrap();
            load()
        }
        _ => {
            store.save(&after.state()).unwrap();
            after
        }
    }
}

#[test]
fn nobody_is_locked_out_whenever_it_crashes() {
    for crash in 0..27_u8 {
        let dir = tempfile::tempdir().unwrap();
        let store = DirStore::new(dir.path());
        let mut now = SystemTime::now();
        let mut authority = authority(now);
        store.save(&authority.state()).unwrap();
        let mut proxies: Vec<Proxy> =
            (0..3).map(|_| Proxy { bundle: authority.bundle(), leaf: issue(&authority, now) }).collect();
        // Two rotations, the second in the same way.
        for round in 0..2 {
            let moment = |what: &str| format!("crashes {crash}, round {round}, {what}");
            authority = step(&store, &authority, authority.prepare(None, now).unwrap(), crash % 3, now);
            for i in 0..proxies.len() {
                all_believe(&authority, &proxies, now, &moment("prepared"));
                // One renews before it has the bundle.
                if i == 1 {
                    proxies[i].leaf = issue(&authority, now);
                }
                proxies[i].bundle = authority.bundle();
            }
            now += HOUR;
            authority = step(&store, &authority, authority.activate(now).unwrap(), crash / 3 % 3, now);
            for i in 0..proxies.len() {
                all_believe(&authority, &proxies, now, &moment("activated"));
                proxies[i].leaf = issue(&authority, now);
                all_believe(&authority, &proxies, now, &moment("renewed"));
                proxies[i].bundle = authority.bundle();
            }
            now += HOUR;
            authority = step(&store, &authority, authority.finish().unwrap(), crash / 9, now);
            for i in 0..proxies.len() {
                all_believe(&authority, &proxies, now, &moment("finished"));
                proxies[i].bundle = authority.bundle();
            }
            assert_eq!(authority.bundle().len(), 1);
        }
    }
}

#[test]
fn who_missed_the_bundle_still_believes_the_new_leaves() {
    let now = SystemTime::now();
    let first = authority(now);
    let away = Proxy { bundle: first.bundle(), leaf: issue(&first, now) };
    let active = first.prepare(None, now).unwrap().activate(now).unwrap();
    all_believe(&active, &[away], now, "away all the time");
}

/// A root and a chain of intermediates below it, each with its path length; the lowest is the one that signs.
fn cacerts(now: SystemTime, lengths: &[Option<u8>], life: Duration) -> CaState {
    let params = |name: String, length: Option<u8>, life: Duration| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let constraint = length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained);
        params.is_ca = IsCa::Ca(constraint);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (params.not_before, params.not_after) = ((now - DAY).into(), (now + life).into());
        params
    };
    let mut key = KeyPair::generate().unwrap();
    let mut above = params("root".to_owned(), lengths[0], life);
    let root = above.self_signed(&key).unwrap().pem();
    let (mut ca_cert, mut chain) = (root.clone(), Vec::new());
    for (depth, length) in lengths.iter().enumerate().skip(1) {
        let (next_key, next) = (KeyPair::generate().unwrap(), params(format!("level {depth}"), *length, 300 * DAY));
        let cert = next.signed_by(&next_key, &rcgen::Issuer::new(above, key)).unwrap();
        ca_cert = cert.pem();
        chain.insert(0, cert.pem());
        (above, key) = (next, next_key);
    }
    let (ca_key, cert_chain) = (key.serialize_pem(), chain.concat());
    CaState { root_cert: root, ca_cert, ca_key, cert_chain, next: None, retiring: None, former: Vec::new() }
}

#[test]
fn an_operators_authority_takes_over_and_hands_on() {
    let now = SystemTime::now();
    let ours = authority(now);
    let old = (ours.bundle(), issue(&ours, now));
    let import = |state: &CaState| Import::check(state, now).unwrap();
    let state = cacerts(now, &[None, Some(1), Some(0)], 3000 * DAY);
    let prepared = reload(&ours.prepare(Some(import(&state)), now).unwrap(), now);
    assert_eq!(states(&prepared), [RootState::Active, RootState::Next]);
    let active = reload(&prepared.activate(now).unwrap(), now);
    let leaf = issue(&active, now);
    assert_eq!(leaf.len(), 4, "the leaf, two intermediates, and the bridge");
    for bundle in [&old.0, &prepared.bundle(), &vec![state.root_cert.clone()]] {
        believed(&leaf, bundle, now).unwrap();
    }
    assert!(leads_to(&leaf.concat(), &active.bundle()[0]));
    believed(&old.1, &active.bundle(), now).unwrap();
    let theirs = reload(&active.finish().unwrap(), now);
    assert_eq!(theirs.bundle(), [state.root_cert.replace("\r\n", "\n")]);
    assert!(!theirs.is_self_signed());
    assert_eq!(theirs.prepare(Some(import(&state)), now).unwrap_err(), RotationError::Same);

    // And back to one of ours, for which an intermediate that may have no authority below it cannot vouch.
    for (state, vouches) in [(state, false), (cacerts(now, &[None, None], 3000 * DAY), true)] {
        let theirs = Authority::load("cluster.local".parse().unwrap(), &state, now).unwrap();
        let back = theirs.prepare(None, now).unwrap().activate(now).unwrap();
        let leaf = issue(&back, now);
        assert_eq!((leaf.len() > 1, believed(&leaf, &theirs.bundle(), now).is_ok()), (vouches, vouches));
        believed(&leaf, &back.bundle(), now).unwrap();
        believed(&issue(&theirs, now), &back.bundle(), now).unwrap();
    }
}

#[test]
fn another_intermediate_of_the_same_root_signs_at_once() {
    let now = SystemTime::now();
    let key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::default();
    root.distinguished_name.push(DnType::CommonName, "one root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_pem = root.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(root, key);
    let under = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca_cert = params.signed_by(&key, &issuer).unwrap().pem();
        let (root_cert, ca_key) = (root_pem.clone(), key.serialize_pem());
        CaState {
            root_cert,
            ca_cert,
            ca_key,
            cert_chain: String::new(),
            next: None,
            retiring: None,
            former: Vec::new(),
        }
    };
    let first = Authority::load("cluster.local".parse().unwrap(), &under("a"), now).unwrap();
    let second = first.prepare(Some(Import::check(&under("b"), now).unwrap()), now).unwrap();
    assert_eq!(second.phase(), Phase::Idle);
    believed(&issue(&second, now), &first.bundle(), now).unwrap();
    assert_ne!(first.state().ca_cert, second.state().ca_cert);
}

#[test]
fn what_is_not_imported() {
    let now = SystemTime::now();
    let good = cacerts(now, &[None, Some(0)], 3000 * DAY);
    Import::check(&good, now).map(drop).unwrap();
    let too_short = cacerts(now, &[Some(0), None], 3000 * DAY);
    let root_ended = cacerts(now, &[None, None], Duration::from_secs(1));
    let mut no_way = good.clone();
    no_way.root_cert = too_short.root_cert.clone();
    let mut no_chain = cacerts(now, &[None, None, None], 3000 * DAY);
    no_chain.cert_chain.clear();
    for (state, at, expected) in [
        (&too_short, now, "allows 0 authorities below it, and there are 1"),
        (&root_ended, now + HOUR, "root-cert.pem: it is not valid now"),
        (&good, now + 400 * DAY, "ca-cert.pem: it is not valid now"),
        (&no_way, now, "no way from it to a root"),
        (&no_chain, now, "no way from it to a root"),
    ] {
        let error: StateError = Import::check(state, at).map(drop).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
