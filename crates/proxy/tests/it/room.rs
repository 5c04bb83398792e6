//! How many connections there may be: refused ones are closed and counted, and a place that is free again is given.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::Direction::{Inbound, Outbound};
use model::{Config, ConnectionLimits, Listener};
use proxy::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::rig::*;

/// Echoes.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            spawn_local(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    addr
}

fn limits(common: Option<u32>, by_listener: &[(&str, u32)]) -> ConnectionLimits {
    let by_listener = by_listener.iter().map(|(name, most)| ((*name).into(), *most)).collect();
    ConnectionLimits { name: ConnectionLimits::RESOURCE.into(), common, by_listener }
}

fn with(mut config: Config, limits: ConnectionLimits) -> Config {
    config.limits.insert(limits.name.clone(), Arc::new(limits));
    config
}

/// A connection that has gone all the way; none if it was closed.
async fn open(to: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // The end may come first.
    stream.write_all(b"x").await.ok()?;
    let mut byte = [0];
    stream.read_exact(&mut byte).await.ok()?;
    Some(stream)
}

/// A connection, once there is room for it.
async fn until_open(to: SocketAddr) -> TcpStream {
    loop {
        match open(to).await {
            Some(stream) => return stream,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

fn refused(proxy: &Proxy, at: SocketAddr, common: bool) -> f64 {
    let family = match common {
        true => "envoy_listener_downstream_global_cx_overflow",
        false => "envoy_listener_downstream_cx_overflow",
    };
    counted(proxy, family, &[("envoy_listener_address", &at.to_string().replace(':', "_"))])
}

/// Two workers: the limit is one for both.
#[test]
fn of_one_listener() {
    run(async {
        let (at, other, origin) = (free_address(), free_address(), echo().await);
        let listeners = || {
            vec![
                listener("l", at, Inbound, vec![tcp_chain("echo")]),
                listener("m", other, Inbound, vec![tcp_chain("echo")]),
            ]
        };
        let made = |listeners| config(listeners, vec![cluster("echo", &[origin])]);
        let limited = with(made(listeners()), limits(None, &[("l", 3)]));
        let proxy = proxy_of(proxy::bootstrap::Bootstrap { workers: 2, ..node("a") }, limited).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(open(at).await.expect("there is room"));
        }
        assert!(open(at).await.is_none() && open(at).await.is_none());
        assert_eq!((refused(&proxy, at, false), refused(&proxy, at, true)), (2.0, 0.0));
        open(other).await.expect("another listener has room of its own");
        drop(held.pop());
        held.push(until_open(at).await);
        assert!(open(at).await.is_none());
        // A change of the listener forgets nobody.
        let mut changed = listeners();
        changed[0].access_logs = vec![
            model::access_log::FileLog { path: "/dev/null".into(), format: model::access_log::LogFormat::Default }
                .into(),
        ];
        let changed = with(made(changed), limits(None, &[("l", 4)]));
        assert!(proxy.handle().replace(changed).await.is_empty());
        held.push(open(at).await.expect("there is more room"));
        assert!(open(at).await.is_none());
        assert!(proxy.handle().replace(made(listeners())).await.is_empty());
        open(at).await.expect("there is no limit");
    });
}

#[test]
fn of_all_listeners() {
    run(async {
        let (first, second, free, origin) = (free_address(), free_address(), free_address(), echo().await);
        let listeners = vec![
            listener("a", first, Inbound, vec![tcp_chain("echo")]),
            listener("b", second, Outbound, vec![tcp_chain("echo")]),
            Listener { ignores_common_limit: true, ..listener("c", free, Inbound, vec![tcp_chain("echo")]) },
        ];
        let made = config(listeners, vec![cluster("echo", &[origin])]);
        let proxy = proxy("a", with(made, limits(Some(2), &[("b", 1)]))).await;
        let held = open(second).await.expect("there is room");
        assert!(open(second).await.is_none());
        assert_eq!((refused(&proxy, second, false), refused(&proxy, second, true)), (1.0, 0.0));
        let _first = until_open(first).await;
        assert!(open(first).await.is_none() && open(second).await.is_none());
        assert_eq!((refused(&proxy, first, true), refused(&proxy, second, true)), (1.0, 1.0));
        open(free).await.expect("this one does not count");
        drop(held);
        let _again = until_open(second).await;
    });
}
