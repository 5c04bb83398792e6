//! `copy::both`: bytes, half-close, errors and counters.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport::copy::{self, CopyError, Counters, Operation, Side};
use transport::{Connector, Stream, listen};

fn pair(capacity: usize) -> (Stream, Stream) {
    let addr = |n: u8| SocketAddr::from(([10, 0, 0, n], 1));
    Stream::duplex(capacity, addr(1), addr(2))
}

#[tokio::test]
async fn half_close_is_kept_and_bytes_are_counted() {
    let (mut client, downstream) = pair(100);
    let (upstream, mut server) = pair(7);
    let counters = Counters::default();
    let ends = async {
        client.write_all(&[b'q'; 100_000]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let serve = async {
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.unwrap();
        // The question is over, the answer is still to come: half-closed.
        assert_eq!(counters.to_upstream(), 100_000);
        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        question.len()
    };
    let (answer, question, copied) = tokio::join!(ends, serve, copy::both(downstream, upstream, &counters, None));
    copied.unwrap();
    assert_eq!((answer.as_slice(), question), (&b"answer"[..], 100_000));
    assert_eq!((counters.to_upstream(), counters.to_downstream()), (100_000, 6));
}

#[test]
fn a_copy_stays_small() {
    // What an idle TCP connection costs here, beside its sockets: raise this only with a reason.
    let (a, b) = pair(1);
    let counters = Counters::default();
    let size = size_of_val(&copy::both(a, b, &counters, None));
    assert!(size <= 512, "{size}");
}

#[tokio::test]
async fn bytes_read_ahead_go_first() {
    let (mut client, mut downstream) = pair(100);
    let (upstream, mut server) = pair(100);
    downstream.rewind(b"peeked ");
    client.write_all(b"rest").await.unwrap();
    client.shutdown().await.unwrap();
    server.shutdown().await.unwrap();
    copy::both(downstream, upstream, &Counters::default(), None).await.unwrap();
    let mut seen = String::new();
    server.read_to_string(&mut seen).await.unwrap();
    assert_eq!(seen, "peeked rest");
}

#[tokio::test(start_paused = true)]
async fn idle_connections_end_and_busy_ones_do_not() {
    let (mut client, downstream) = pair(100);
    let (upstream, mut server) = pair(100);
    let counters = Rc::new(Counters::default());
    let idle = Duration::from_secs(60);
    let copying = async {
        let began = tokio::time::Instant::now();
        let error = copy::both(downstream, upstream, &counters, Some(idle)).await.unwrap_err();
        (error, began.elapsed())
    };
    let talking = async {
        for _ in 0..5 {
            tokio::time::sleep(idle - Duration::from_secs(1)).await;
            client.write_u8(b'.').await.unwrap();
            server.read_u8().await.unwrap();
        }
    };
    let ((error, after), ()) = tokio::join!(copying, talking);
    assert!(matches!(error, CopyError::Idle(d) if d == idle), "{error}");
    assert_eq!(after, (idle - Duration::from_secs(1)) * 5 + idle);
    assert_eq!(counters.to_upstream(), 5);
}

#[tokio::test]
async fn a_reset_names_its_side() {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap(), None, &listen::Options::default()).unwrap();
    let listener = listener.start().unwrap();
    let connect = async || {
        let connector = Connector::default();
        let to = listener.local_addr().into();
        let (ours, accepted) = tokio::join!(connector.connect(&to), listener.accept());
        (ours.unwrap(), accepted.unwrap().stream)
    };
    for reset in [Side::Downstream, Side::Upstream] {
        let (client, downstream) = connect().await;
        let (upstream, server) = connect().await;
        let kept = match reset {
            Side::Downstream => (client.reset(), server).1,
            Side::Upstream => (server.reset(), client).1,
        };
        let error = copy::both(downstream, upstream, &Counters::default(), None).await.unwrap_err();
        match error {
            CopyError::Failed { side, operation, .. } => assert_eq!((side, operation), (reset, Operation::Read)),
            CopyError::Idle(_) => panic!("{error}"),
        }
        drop(kept);
    }
}
