//! TLS between real certificates: who is believed, what is refused and how it is said, renewal, resumption.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::certificates::{Authority, Leaf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport::Stream;
use transport::tls::{
    Accept, ClientAuth, ClientOptions, ClientTls, Crls, LiveCert, LiveTrust, Peer, PeerCheck, Pins, SanKind, SanMatch,
    ServerCerts, ServerCheck, ServerOptions, ServerTls, TextMatch, TlsError, TlsFailure, TlsVersion, TrustBundles,
    Versions,
};

/// Long enough for a loaded machine; no test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

fn pair() -> (Stream, Stream) {
    let addr = |n: u8| SocketAddr::from(([10, 0, 0, n], 1));
    Stream::duplex(1 << 16, addr(1), addr(2))
}

fn spiffe(trust: &LiveTrust, accept: Accept) -> PeerCheck {
    PeerCheck::Spiffe { trust: trust.clone(), accept }
}

fn uri(text: TextMatch) -> Accept {
    Accept::OneOf(vec![SanMatch { kind: SanKind::Uri, text }])
}

fn server(cert: &LiveCert, client_auth: ClientAuth) -> ServerOptions {
    ServerOptions { client_auth, ..ServerOptions::new(cert.clone()) }
}

fn client(check: PeerCheck, cert: Option<&LiveCert>) -> ClientOptions {
    ClientOptions { cert: cert.cloned(), ..ClientOptions::new(ServerCheck::Peer(check)) }
}

/// Both ends' view of one handshake. A TLS 1.3 client learns of its refusal with the first read, so it reads.
async fn meet(
    server: &ServerTls,
    client: &ClientTls,
    name: Option<&str>,
) -> (Result<(Stream, Peer), TlsError>, Result<(Stream, Peer), TlsError>) {
    let (a, b) = pair();
    let accepting = async {
        let (mut stream, peer) = server.accept(a, PATIENCE).await?;
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        Ok((stream, peer))
    };
    let connecting = async {
        let (mut stream, peer) = client.connect(b, name, PATIENCE).await?;
        match stream.read_u8().await {
            Ok(_) => Ok((stream, peer)),
            Err(error) => Err(TlsError::from_stream_error(&error).unwrap_or_else(|| panic!("{error}"))),
        }
    };
    tokio::join!(accepting, connecting)
}

async fn views(
    server: ServerOptions,
    client: ClientOptions,
    name: Option<&str>,
) -> (Result<Peer, TlsError>, Result<Peer, TlsError>) {
    let server = ServerTls::new(server).unwrap();
    let client = ClientTls::new(client).unwrap();
    let (a, b) = meet(&server, &client, name).await;
    (a.map(|(_, peer)| peer), b.map(|(_, peer)| peer))
}

#[tokio::test]
async fn both_ends_prove_who_they_are() {
    let ca = Authority::new("cluster.local");
    let trust = ca.trust();
    let mut accepting = server(&ca.workload("reviews"), ClientAuth::Required(spiffe(&trust, Accept::Any)));
    accepting.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let reviews = "spiffe://cluster.local/ns/default/sa/reviews".parse().unwrap();
    let page = ca.workload("productpage");
    let mut connecting = client(spiffe(&trust, Accept::identities([&reviews])), Some(&page));
    connecting.alpn = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let (seen_by_server, seen_by_client) =
        views(accepting, connecting, Some("outbound_.9080_._.reviews.default.svc.cluster.local")).await;
    let (seen_by_server, seen_by_client) = (seen_by_server.unwrap(), seen_by_client.unwrap());
    assert_eq!(seen_by_client.identity.as_ref(), Some(&reviews));
    assert_eq!(seen_by_server.identity.as_ref().unwrap().service_account(), Some("productpage"));
    assert_eq!(seen_by_server.certificate, page.certificate());
    assert_eq!(seen_by_server.server_name.as_deref(), Some("outbound_.9080_._.reviews.default.svc.cluster.local"));
    for peer in [&seen_by_server, &seen_by_client] {
        assert_eq!(peer.alpn.as_deref(), Some(&b"h2"[..]), "the server's wish decides");
        assert_eq!((peer.version, peer.cipher), (TlsVersion::V1_3, "TLS_AES_256_GCM_SHA384"));
        assert_eq!(peer.key_exchange.as_deref(), Some("X25519MLKEM768"));
        assert!(peer.verified && !peer.resumed);
        let certificate = peer.certificate.as_ref().unwrap();
        assert_eq!((certificate.fingerprint.len(), certificate.uri_sans.len()), (64, 1));
    }
}

#[tokio::test]
async fn clients_that_are_refused() {
    let ca = Authority::new("cluster.local");
    let other = Authority::new("other.example");
    let impostor = Authority::new("cluster.local");
    let me = "spiffe://cluster.local/ns/default/sa/productpage";
    let trust = ca.trust();
    let accept = uri(TextMatch::Prefix("spiffe://cluster.local/ns/default/".to_owned()));
    use TlsFailure::*;
    for (cert, expected, words) in [
        (None, NoCertificate, "sent no certificate"),
        (Some(other.workload("productpage")), WrongTrustDomain, "`other.example`"),
        (Some(impostor.workload("productpage")), UnknownRoot, "no root that we trust"),
        (Some(ca.issue(Leaf::spiffe(me).hours(-2, -1))), Expired, "expired at"),
        (Some(ca.issue(Leaf::spiffe(me).hours(1, 2))), NotYetValid, "do the clocks agree"),
        (Some(ca.issue(Leaf::spiffe("spiffe://cluster.local/ns/kube/sa/a"))), NameMismatch, "ns/kube/sa/a"),
        (Some(ca.issue(Leaf::dns("productpage"))), BadCertificate, "0 URI names"),
        (Some(ca.issue(Leaf::spiffe(me).uri("https://a.example"))), BadCertificate, "2 URI names"),
        (Some(ca.issue(Leaf::spiffe("spiffe://cluster.local"))), BadCertificate, "not a workload"),
        (Some(ca.issue(Leaf::spiffe("https://a.example"))), BadCertificate, "is not a SPIFFE ID"),
        (Some(ca.issue(Leaf::spiffe(me).only_for_servers())), BadCertificate, "extended key usage"),
        (Some(ca.issue(Leaf::spiffe(me).may_sign())), BadCertificate, "may sign others"),
    ] {
        for max in [TlsVersion::V1_2, TlsVersion::V1_3] {
            let mut accepting = server(&ca.workload("reviews"), ClientAuth::Required(spiffe(&trust, accept.clone())));
            accepting.versions.max = max;
            let connecting = client(spiffe(&trust, Accept::Any), cert.as_ref());
            let (at_server, at_client) = views(accepting, connecting, None).await;
            let error = at_server.unwrap_err();
            assert_eq!(error.kind, expected, "{error}");
            assert!(error.reason.contains(words), "{error}");
            assert_eq!(at_client.unwrap_err().kind, RefusedByPeer);
        }
    }
}

/// Who has a certificate of the mesh cannot issue others with it, and an intermediate no more than it is allowed to.
#[tokio::test]
async fn authorities_that_are_none() {
    use rcgen::{BasicConstraints, IsCa};
    let ca = Authority::new("cluster.local");
    let end = || IsCa::Ca(BasicConstraints::Constrained(0));
    let any = || IsCa::Ca(BasicConstraints::Unconstrained);
    use TlsFailure::*;
    for (links, expected) in [
        (Some(vec![]), Ok(())),
        (Some(vec![end()]), Ok(())),
        (Some(vec![any(), end()]), Ok(())),
        (None, Err(UnknownRoot)),
        (Some(vec![IsCa::ExplicitNoCa]), Err(BadCertificate)),
        (Some(vec![end(), IsCa::ExplicitNoCa]), Err(BadCertificate)),
        (Some(vec![end(), end()]), Err(BadCertificate)),
        (Some(vec![end(), any()]), Err(BadCertificate)),
    ] {
        let cert = ca.issue_below(links.as_deref(), Leaf::spiffe("spiffe://cluster.local/ns/default/sa/forged"));
        for check in [
            spiffe(&ca.trust(), Accept::Any),
            PeerCheck::Roots { trust: LiveTrust::new(TrustBundles::plain(ca.roots())), accept: Accept::Any },
        ] {
            let accepting = server(&ca.workload("reviews"), ClientAuth::Required(check));
            let connecting = client(PeerCheck::Unchecked, Some(&cert));
            let (at_server, _) = views(accepting, connecting, None).await;
            assert_eq!(at_server.map(drop).map_err(|error| error.kind), expected, "{links:?}");
        }
    }
}

#[tokio::test]
async fn servers_that_are_refused() {
    let ca = Authority::new("cluster.local");
    let other = Authority::new("other.example");
    let trust = ca.trust();
    let plain = LiveTrust::new(TrustBundles::plain(ca.roots()));
    let one_of = |kind, text: &str| {
        let text = TextMatch::Exact(text.to_owned());
        PeerCheck::Roots { trust: plain.clone(), accept: Accept::OneOf(vec![SanMatch { kind, text }]) }
    };
    let by_peer = ServerCheck::Peer;
    let web = || ServerCheck::Hostname(plain.clone());
    let wild = || ca.issue(Leaf::dns("*.example.org"));
    let nobody = spiffe(&trust, Accept::OneOf(vec![]));
    use TlsFailure::*;
    for (cert, check, name, expected) in [
        (ca.workload("a"), by_peer(spiffe(&trust, Accept::Any)), None, Ok(true)),
        (other.workload("a"), by_peer(spiffe(&trust, Accept::Any)), None, Err(WrongTrustDomain)),
        (ca.workload("a"), by_peer(nobody), None, Err(NameMismatch)),
        (wild(), web(), Some("a.example.org"), Ok(false)),
        (wild(), web(), Some("example.org"), Err(NameMismatch)),
        (wild(), web(), None, Err(NameMismatch)),
        (other.issue(Leaf::dns("a.example.org")), web(), Some("a.example.org"), Err(UnknownRoot)),
        (wild(), by_peer(one_of(SanKind::Dns, "a.example.org")), Some("unrelated"), Ok(false)),
        (wild(), by_peer(one_of(SanKind::Uri, "a.example.org")), Some("a.example.org"), Err(NameMismatch)),
        (other.workload("a"), by_peer(PeerCheck::Unchecked), None, Ok(false)),
    ] {
        let check_text = format!("{check:?}");
        let (at_server, at_client) = views(server(&cert, ClientAuth::None), ClientOptions::new(check), name).await;
        match expected {
            Ok(has_identity) => assert_eq!(at_client.unwrap().identity.is_some(), has_identity, "{check_text}"),
            Err(kind) => {
                let error = at_client.unwrap_err();
                assert_eq!(error.kind, kind, "{error} for {check_text}");
                assert_eq!(at_server.unwrap_err().kind, RefusedByPeer);
            }
        }
    }
}

#[tokio::test]
async fn optional_clients_and_unchecked_ones() {
    let ca = Authority::new("cluster.local");
    let other = Authority::new("other.example");
    let trust = ca.trust();
    let good = ca.workload("productpage");
    let bad = other.workload("productpage");
    let optional = ClientAuth::Optional(spiffe(&trust, Accept::Any));
    let unchecked = ClientAuth::Required(PeerCheck::Unchecked);
    for (auth, cert, expected) in [
        (&optional, None, Some((false, false))),
        (&optional, Some(&good), Some((true, true))),
        (&optional, Some(&bad), None),
        (&unchecked, Some(&bad), Some((true, false))),
        (&unchecked, None, None),
        (&ClientAuth::None, Some(&good), Some((false, false))),
    ] {
        let accepting = server(&ca.workload("reviews"), auth.clone());
        let (at_server, _) = views(accepting, client(spiffe(&trust, Accept::Any), cert), None).await;
        let seen = at_server.ok().map(|peer| (peer.certificate.is_some(), peer.identity.is_some()));
        assert_eq!(seen, expected, "{auth:?} with {cert:?}");
    }
}

#[tokio::test]
async fn terms_without_common_ground() {
    let ca = Authority::new("cluster.local");
    let trust = ca.trust();
    let cert = ca.workload("a");
    let pair = || (server(&cert, ClientAuth::None), client(spiffe(&trust, Accept::Any), None));

    let (mut accepting, mut connecting) = pair();
    accepting.alpn = vec![b"h2".to_vec()];
    connecting.alpn = vec![b"http/1.1".to_vec()];
    let (at_server, at_client) = views(accepting, connecting, None).await;
    assert_eq!((at_server.unwrap().alpn, at_client.unwrap().alpn), (None, None), "served without, as by Envoy");

    let (mut accepting, mut connecting) = pair();
    accepting.versions = Versions::V1_3;
    connecting.versions = Versions { min: TlsVersion::V1_2, max: TlsVersion::V1_2 };
    let (at_server, at_client) = views(accepting, connecting, None).await;
    assert!(at_server.unwrap_err().reason.contains("no TLS version in common"));
    assert!(at_client.unwrap_err().reason.contains("no TLS version in common"));

    let (mut accepting, connecting) = pair();
    accepting.certs = ServerCerts::Single(LiveCert::empty());
    let (at_server, at_client) = views(accepting, connecting, None).await;
    assert_eq!(at_server.unwrap_err().kind, TlsFailure::NotReady);
    assert_eq!(at_client.unwrap_err().kind, TlsFailure::RefusedByPeer);

    let (mut accepting, _) = pair();
    accepting.versions = Versions { min: TlsVersion::V1_3, max: TlsVersion::V1_2 };
    assert!(ServerTls::new(accepting).is_err());
}

#[tokio::test]
async fn strangers_at_the_door() {
    let ca = Authority::new("cluster.local");
    let accepting = ServerTls::new(server(&ca.workload("a"), ClientAuth::None)).unwrap();
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], TlsFailure::Protocol),
        (b"", TlsFailure::Closed),
        (b"\x16\x03\x01\x02", TlsFailure::Closed),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", TlsFailure::Protocol),
    ] {
        let (a, mut b) = pair();
        b.write_all(bytes).await.unwrap();
        b.shutdown().await.unwrap();
        assert_eq!(accepting.accept(a, PATIENCE).await.unwrap_err().kind, expected, "{bytes:?}");
    }
    let (a, _silent) = pair();
    let error = accepting.accept(a, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind, TlsFailure::Timeout);
}

#[tokio::test]
async fn certificates_by_name() {
    let ca = Authority::new("cluster.local");
    let plain = LiveTrust::new(TrustBundles::plain(ca.roots()));
    let host = |text: &str| text.parse().unwrap();
    let (wild, exact) = (ca.issue(Leaf::dns("*.example.org")), ca.issue(Leaf::dns("a.example.org")));
    let patterns = vec![(host("*.example.org"), wild.clone()), (host("a.example.org"), exact.clone())];
    let (a, wildcard) = (Some("a.example.org"), Some("*.example.org"));
    // The last column: which certificate is shown if any is taken.
    for (certs, expected) in [
        (ServerCerts::ByName(patterns, None), [a, wildcard, wildcard, None]),
        (ServerCerts::ByOwnNames(vec![LiveCert::empty(), wild, exact]), [a, wildcard, wildcard, wildcard]),
    ] {
        let accepting = ServerTls::new(ServerOptions { certs, ..ServerOptions::new(LiveCert::empty()) }).unwrap();
        let check = PeerCheck::Roots { trust: plain.clone(), accept: Accept::Any };
        let connecting = ClientTls::new(ClientOptions::new(ServerCheck::Peer(check))).unwrap();
        for (name, expected) in ["a.example.org", "b.example.org", "x.y.example.org", "other.org"].iter().zip(expected)
        {
            let (_, seen) = meet(&accepting, &connecting, Some(name)).await;
            let shown = seen.ok().and_then(|(_, peer)| peer.certificate?.dns_sans.pop());
            assert_eq!(shown.as_deref(), expected, "{name}");
        }
    }
}

#[tokio::test]
async fn renewal_touches_no_live_connection() {
    let ca = Authority::new("cluster.local");
    let trust = ca.trust();
    let cert = ca.workload("reviews");
    let accepting = ServerTls::new(server(&cert, ClientAuth::Required(spiffe(&trust, Accept::Any)))).unwrap();
    let connecting = ClientTls::new(client(spiffe(&trust, Accept::Any), Some(&ca.workload("productpage")))).unwrap();
    let (at_server, at_client) = meet(&accepting, &connecting, None).await;
    let ((mut left, _), (mut right, first)) = (at_server.unwrap(), at_client.unwrap());

    let (chain, key) = ca.issue_pem(Leaf::spiffe("spiffe://cluster.local/ns/default/sa/reviews"));
    cert.set_pem(&chain, &key).unwrap();
    let (_, other_key) = ca.issue_pem(Leaf::dns("unrelated"));
    assert!(cert.set_pem(&chain, &other_key).unwrap_err().to_string().contains("does not belong"));

    // The next handshake sees the new certificate (and no session of the old one), the old connection lives.
    let (_, at_client) = meet(&accepting, &connecting, None).await;
    let second = at_client.unwrap().1;
    assert_ne!(first.certificate, second.certificate);
    assert_eq!((second.certificate, second.resumed), (cert.certificate(), false));
    left.write_all(b"still here").await.unwrap();
    left.flush().await.unwrap();
    let mut buffer = [0; 10];
    right.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"still here");
}

/// A ticket comes after the handshake, and may come after the certificate that the client got meanwhile.
#[tokio::test]
async fn a_session_of_before_the_certificate_is_not_resumed_after_it() {
    let ca = Authority::new("cluster.local");
    let trust = ca.trust();
    let accepting =
        ServerTls::new(server(&ca.workload("control"), ClientAuth::Optional(spiffe(&trust, Accept::Any)))).unwrap();
    let cert = LiveCert::empty();
    let connecting = ClientTls::new(client(spiffe(&trust, Accept::Any), Some(&cert))).unwrap();
    let (a, b) = pair();
    let (at_server, at_client) =
        tokio::join!(accepting.accept(a, PATIENCE), connecting.connect(b, Some("control"), PATIENCE));
    let ((mut left, nobody), (mut right, _)) = (at_server.unwrap(), at_client.unwrap());
    assert_eq!(nobody.identity, None);

    let (chain, key) = ca.issue_pem(Leaf::spiffe("spiffe://cluster.local/ns/default/sa/productpage"));
    cert.set_pem(&chain, &key).unwrap();
    left.write_all(b"!").await.unwrap();
    left.flush().await.unwrap();
    right.read_u8().await.unwrap();

    let (at_server, _) = meet(&accepting, &connecting, Some("control")).await;
    let seen = at_server.unwrap().1;
    assert_eq!((seen.resumed, seen.certificate), (false, cert.certificate()));
}

#[tokio::test]
async fn resumption_and_its_end() {
    for max in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let ca = Authority::new("cluster.local");
        let trust = ca.trust();
        let mut options = server(&ca.workload("reviews"), ClientAuth::Required(spiffe(&trust, Accept::Any)));
        options.versions.max = max;
        let accepting = ServerTls::new(options).unwrap();
        let cert = ca.workload("productpage");
        let connecting =
            ClientTls::new(client(spiffe(&LiveTrust::new(ca.bundles()), Accept::Any), Some(&cert))).unwrap();
        let mut resumed = Vec::new();
        for round in 0..6 {
            match round {
                2 => trust.set(ca.bundles()),
                4 => {
                    let (chain, key) = ca.issue_pem(Leaf::spiffe("spiffe://cluster.local/ns/default/sa/productpage"));
                    cert.set_pem(&chain, &key).unwrap();
                }
                _ => {}
            }
            let (at_server, at_client) = meet(&accepting, &connecting, Some("reviews")).await;
            let (seen, peer) = (at_server.unwrap().1, at_client.unwrap().1);
            assert_eq!(seen.resumed, peer.resumed);
            // A resumed session proves the same as a full one.
            assert_eq!(seen.identity.unwrap().service_account(), Some("productpage"));
            assert_eq!(seen.certificate, cert.certificate());
            resumed.push(seen.resumed);
        }
        assert_eq!(resumed, [false, true, false, true, false, true], "{max:?}");
        trust.set(Authority::new("cluster.local").bundles());
        let (at_server, _) = meet(&accepting, &connecting, Some("reviews")).await;
        assert_eq!(at_server.unwrap_err().kind, TlsFailure::UnknownRoot);
    }
}

#[tokio::test]
async fn a_peeked_hello_is_replayed() {
    use transport::client_hello::{MAX_HELLO, Verdict, parse};
    use transport::peek::{self, Peeked};
    let ca = Authority::new("cluster.local");
    let trust = ca.trust();
    let accepting = ServerTls::new(server(&ca.workload("reviews"), ClientAuth::None)).unwrap();
    let mut options = client(spiffe(&trust, Accept::Any), None);
    options.alpn = vec![b"istio".to_vec()];
    let connecting = ClientTls::new(options).unwrap();
    let (mut a, b) = pair();
    let serve = async {
        let look = |bytes: &[u8]| Some(parse(bytes)).filter(|verdict| *verdict != Verdict::NeedMore);
        let seen = peek::until(&mut a, MAX_HELLO, Some(PATIENCE), look).await.unwrap();
        let Peeked::Answer(Verdict::Hello(hello)) = seen else { panic!("{seen:?}") };
        assert_eq!(hello.server_name.as_deref(), Some("reviews.default"));
        assert_eq!((hello.alpn, hello.versions), (vec![b"istio".to_vec()], vec![0x0304, 0x0303]));
        accepting.accept(a, PATIENCE).await.unwrap()
    };
    let ((_, peer), connected) = tokio::join!(serve, connecting.connect(b, Some("Reviews.Default"), PATIENCE));
    assert_eq!(peer.server_name.as_deref(), Some("reviews.default"));
    connected.unwrap();
}

#[tokio::test]
async fn clients_whose_certificate_was_revoked() {
    let ca = Authority::new("cluster.local");
    let (good, bad) =
        (Leaf::spiffe("spiffe://cluster.local/ns/a/sa/good"), Leaf::spiffe("spiffe://cluster.local/ns/a/sa/bad"));
    let (good, bad) = (ca.issue(good.serial(7)), ca.issue(bad.serial(8)));
    let with = |revoked: &str| {
        let bundles = TrustBundles { revoked: Crls::from_pem(revoked).unwrap(), ..TrustBundles::plain(ca.roots()) };
        PeerCheck::Roots { trust: LiveTrust::new(bundles), accept: Accept::Any }
    };
    let other = Authority::new("other.example");
    for (crl, cert, expected) in [
        (String::new(), &bad, Ok(())),
        (ca.revoke(&[8], 24), &good, Ok(())),
        (ca.revoke(&[8], 24), &bad, Err("was revoked")),
        (ca.revoke(&[8], -1), &good, Err("out of date")),
        (other.revoke(&[8], 24), &good, Err("no revocation list")),
    ] {
        let server = server(&ca.workload("server"), ClientAuth::Required(with(&crl)));
        let client =
            ClientOptions { cert: Some(cert.clone()), ..ClientOptions::new(ServerCheck::Peer(PeerCheck::Unchecked)) };
        let (at_server, _) = views(server, client, None).await;
        match (at_server, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(words)) => assert!(error.reason.contains(words), "{error}"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }
    assert!(Crls::from_pem("junk").is_err());
}

/// Who speaks with a peer that is revoked meanwhile stops, whichever side it is, and also where nothing is said.
#[tokio::test]
async fn peers_that_are_revoked_while_they_are_connected() {
    let ca = Authority::new("cluster.local");
    let leaf =
        |name: &str, serial| ca.issue(Leaf::spiffe(&format!("spiffe://cluster.local/ns/a/sa/{name}")).serial(serial));
    let with = |serials: &[u8]| TrustBundles {
        revoked: Crls::from_pem(&ca.revoke(serials, 24)).unwrap().of_leaves(true),
        ..ca.bundles()
    };
    for (serials, server_stops, client_stops) in [(&[9][..], false, false), (&[7], true, false), (&[8, 9], false, true)]
    {
        let (at_server, at_client) = (LiveTrust::new(ca.bundles()), LiveTrust::new(ca.bundles()));
        let accepting = server(&leaf("server", 8), ClientAuth::Required(spiffe(&at_server, Accept::Any)));
        let connecting = client(spiffe(&at_client, Accept::Any), Some(&leaf("client", 7)));
        let (a, b) = pair();
        let (accepting, connecting) = (ServerTls::new(accepting).unwrap(), ClientTls::new(connecting).unwrap());
        let (a, b) = tokio::join!(accepting.accept(a, PATIENCE), connecting.connect(b, None, PATIENCE));
        let (mut a, mut b) = (a.unwrap().0, b.unwrap().0);
        a.write_all(b"before").await.unwrap();
        b.read_exact(&mut [0; 6]).await.unwrap();
        // Nobody says anything more: the lists alone wake the readers.
        let reader = async |mut stream: Stream| {
            let mut buffer = [0; 1];
            match tokio::time::timeout(std::time::Duration::from_secs(5), stream.read(&mut buffer)).await {
                Err(_) => None,
                Ok(result) => Some(TlsError::from_stream_error(&result.unwrap_err()).map(|error| error.kind)),
            }
        };
        tokio::time::pause();
        let change = async {
            tokio::task::yield_now().await;
            at_server.set(with(serials));
            at_client.set(with(serials));
        };
        let (server, client, ()) = tokio::join!(reader(a), reader(b), change);
        let revoked = Some(Some(TlsFailure::Revoked));
        assert_eq!(
            (server == revoked, client == revoked),
            (server_stops, client_stops),
            "{serials:?}: {server:?} {client:?}"
        );
        tokio::time::resume();
    }
}

/// Lists of one domain say nothing of another, which may have none.
#[tokio::test]
async fn lists_are_of_their_own_domain() {
    let (ca, other) = (Authority::new("cluster.local"), Authority::new("other.example"));
    let mut bundles = ca.bundles();
    bundles.domains.extend(other.bundles().domains);
    bundles.revoked = Crls::from_pem(&ca.revoke(&[7], 24)).unwrap().of_leaves(true);
    let trust = LiveTrust::new(bundles);
    let of = |ca: &Authority, domain: &str| ca.issue(Leaf::spiffe(&format!("spiffe://{domain}/ns/a/sa/b")).serial(7));
    for (cert, expected) in [
        (of(&ca, "cluster.local"), Err(TlsFailure::Revoked)),
        (of(&other, "other.example"), Ok(())),
        (of(&other, "cluster.local"), Err(TlsFailure::UnknownRoot)),
        (of(&ca, "other.example"), Err(TlsFailure::UnknownRoot)),
    ] {
        let accepting = server(&ca.workload("server"), ClientAuth::Required(spiffe(&trust, Accept::Any)));
        let connecting =
            ClientOptions { cert: Some(cert), ..ClientOptions::new(ServerCheck::Peer(PeerCheck::Unchecked)) };
        let (at_server, _) = views(accepting, connecting, None).await;
        assert_eq!(at_server.map(drop).map_err(|error| error.kind), expected);
    }
}

#[tokio::test]
async fn pinned_clients_and_named_suites() {
    let ca = Authority::new("cluster.local");
    let cert = ca.workload("a");
    let whole: [u8; 32] = {
        let hex = cert.certificate().unwrap().fingerprint;
        let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
        bytes.try_into().unwrap()
    };
    for (certificates, expected) in [(vec![], true), (vec![[0; 32], whole], true), (vec![[0; 32]], false)] {
        let pins = Pins { certificates, keys: Vec::new() };
        let options = ServerOptions {
            pins,
            suites: vec!["ECDHE-ECDSA-CHACHA20-POLY1305".into()],
            client_auth: ClientAuth::Required(spiffe(&ca.trust(), Accept::Any)),
            ..ServerOptions::new(ca.workload("server"))
        };
        let client = ClientOptions {
            cert: Some(cert.clone()),
            versions: Versions { min: TlsVersion::V1_2, max: TlsVersion::V1_2 },
            ..ClientOptions::new(ServerCheck::Peer(PeerCheck::Unchecked))
        };
        let (at_server, _) = views(options, client, None).await;
        match at_server {
            Ok(peer) => assert_eq!((expected, peer.cipher), (true, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")),
            Err(error) => assert!(!expected && error.kind == TlsFailure::NameMismatch, "{error}"),
        }
    }
}
