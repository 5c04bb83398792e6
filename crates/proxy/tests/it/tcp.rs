//! Raw connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use model::Direction::{Inbound, Outbound};
use model::chain::TransportKind;
use model::listener::{ExpectHeader, Inspect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::rig::*;

/// Echoes; with a greeting it speaks first.
async fn echo(greeting: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            spawn_local(async move {
                stream.write_all(greeting.as_bytes()).await.unwrap();
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    addr
}

#[test]
fn bytes_both_ways() {
    run(async {
        let at = free_address();
        let listeners = vec![listener("l", at, Outbound, vec![tcp_chain("echo")])];
        let proxy = proxy("a", config(listeners, vec![cluster("echo", &[echo("").await])])).await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "hello");
        let labels = [("reporter", "source"), ("source_workload", "a-v1"), ("request_protocol", "tcp")];
        until_counted(&proxy, "istio_tcp_connections_closed_total", &labels, 1.0).await;
        for (family, value) in [
            ("istio_tcp_connections_opened_total", 1.0),
            ("istio_tcp_received_bytes_total", 5.0),
            ("istio_tcp_sent_bytes_total", 5.0),
        ] {
            assert_eq!(counted(&proxy, family, &labels), value, "{family}");
        }
    });
}

#[test]
fn no_upstream_is_a_reset() {
    run(async {
        let (gone, nowhere) = (free_address(), free_address());
        let listeners = vec![
            listener("gone", gone, Outbound, vec![tcp_chain("gone")]),
            listener("nowhere", nowhere, Outbound, vec![tcp_chain("unknown")]),
        ];
        let _proxy = proxy("a", config(listeners, vec![cluster("gone", &[free_address()])])).await;
        for at in [gone, nowhere] {
            // The reset may overtake the end of the connect.
            let reset = async { TcpStream::connect(at).await?.read(&mut [0]).await };
            assert_eq!(reset.await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{at}");
        }
    });
}

#[test]
fn servers_that_speak_first_do_not_hang() {
    run(async {
        let at = free_address();
        let inspect = Inspect {
            tls: true,
            http: true,
            timeout: Some(Duration::from_millis(50)),
            continue_on_timeout: true,
            ..Inspect::default()
        };
        let mut with_http = http_chain(http(Vec::new()));
        with_http.matches.application_protocols = vec!["http/1.1".into(), "h2c".into()];
        let l = listener("l", at, Outbound, vec![with_http, tcp_chain("echo")]);
        let listeners = vec![model::Listener { inspect, ..l }];
        let _proxy = proxy("a", config(listeners, vec![cluster("echo", &[echo("220 hi\r\n").await])])).await;
        for _ in 0..2 {
            let mut stream = TcpStream::connect(at).await.unwrap();
            let mut greeting = [0; 8];
            stream.read_exact(&mut greeting).await.unwrap();
            assert_eq!(&greeting, b"220 hi\r\n");
        }
        assert_eq!(fetch(at, "/").await.status, 404, "HTTP is still told apart");
    });
}

#[test]
fn plain_callers_of_a_strict_listener_are_closed() {
    run(async {
        let at = free_address();
        let mut strict = tcp_chain("echo");
        strict.matches.transport = Some(TransportKind::Tls);
        let inspect = Inspect { tls: true, ..Inspect::default() };
        let listeners = vec![model::Listener { inspect, ..listener("inbound", at, Inbound, vec![strict]) }];
        let proxy = proxy("a", config(listeners, vec![cluster("echo", &[echo("").await])])).await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
        let labels = [("listener", "inbound"), ("reason", "no_filter_chain_match")];
        until_counted(&proxy, "halcyon_listener_connections_refused_total", &labels, 1.0).await;
    });
}

#[test]
fn the_proxy_header_names_the_client() {
    run(async {
        let told = |at| async move {
            let header = b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n";
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(header).await.unwrap();
            stream
        };
        let (required, optional) = (free_address(), free_address());
        let listeners = [(required, ExpectHeader::Required), (optional, ExpectHeader::Optional)];
        let listeners = listeners.map(|(at, proxy_header)| {
            let mut settings = http(vec![route("/", to("seen"))]);
            settings.use_remote_address = true;
            let l = listener(&at.to_string(), at, Outbound, vec![http_chain(settings)]);
            model::Listener { inspect: Inspect { proxy_header, ..Inspect::default() }, ..l }
        });
        let seen = named_origin("seen").await;
        let proxy = proxy("a", config(listeners.into(), vec![cluster("seen", &[seen])])).await;
        let ask = |mut stream: TcpStream| async move {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut text = String::new();
            _ = stream.read_to_string(&mut text).await;
            text
        };
        for at in [required, optional] {
            let answer = ask(told(at).await).await;
            assert!(answer.contains("x-forwarded-for: 203.0.113.7"), "{at}: {answer}");
        }
        let plain = |at| async move { TcpStream::connect(at).await.unwrap() };
        let answer = ask(plain(optional).await).await;
        assert!(answer.contains("x-forwarded-for: 127.0.0.1"), "{answer}");
        assert_eq!(ask(plain(required).await).await, "", "who sends no header gets nothing");
        let listener = required.to_string();
        let labels = [("listener", listener.as_str()), ("reason", "proxy_protocol_error")];
        until_counted(&proxy, "halcyon_listener_connections_refused_total", &labels, 1.0).await;
    });
}
