//! Listen, connect, sockets out of a namespace, Unix sockets.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport::netns::{Family, NetnsSocketServer};
use transport::{Address, ConnectError, Connector, Keepalive, Netns, Stream, listen, pipe};

fn options() -> listen::Options {
    listen::Options::default()
}

#[tokio::test]
async fn connect_and_accept() {
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(bound) = listen::tcp(addr.parse().unwrap(), None, &options()) else {
            assert!(addr.starts_with('['), "only IPv6 may be missing");
            continue;
        };
        let listener = bound.try_clone().unwrap().start().unwrap();
        let connector = Connector {
            keepalive: Some(Keepalive {
                idle: Some(Duration::from_secs(60)),
                interval: Some(Duration::from_secs(10)),
                probes: Some(3),
            }),
            ..Connector::default()
        };
        let to = Address::from(bound.local_addr().unwrap());
        let (client, accepted) = tokio::join!(connector.connect(&to), listener.accept());
        let (mut client, mut accepted) = (client.unwrap(), accepted.unwrap());
        assert_eq!(client.local_addr().unwrap(), Address::Ip(accepted.peer));
        assert_eq!(client.peer_addr().unwrap(), to);
        assert!(accepted.stream.tcp().unwrap().nodelay().unwrap() && client.tcp().unwrap().nodelay().unwrap());
        client.write_all(b"ping").await.unwrap();
        let mut buffer = [0; 4];
        accepted.stream.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"ping");
    }
}

#[tokio::test]
async fn refusals_have_kinds() {
    // A port that was free a moment ago.
    let bound = listen::tcp("127.0.0.1:0".parse().unwrap(), None, &options()).unwrap();
    let addr = bound.local_addr().unwrap();
    let taken = listen::tcp(addr, None, &options()).unwrap_err();
    assert!(taken.to_string().contains(&addr.to_string()), "{taken}");
    drop(bound);
    let error = Connector::default().connect(&addr.into()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused(_)), "{error}");
    let connector = Connector { bind: Some("192.0.2.1:0".parse().unwrap()), ..Connector::default() };
    let error = connector.connect(&addr.into()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Local(..)), "{error}");
    // Somebody holds the namespace's door and says nothing.
    let dir = tempfile::tempdir().unwrap();
    let _silent = std::os::unix::net::UnixListener::bind(dir.path().join("sockets")).unwrap();
    let netns = Some(Netns::new("workload", dir.path().join("sockets")));
    let connector = Connector { timeout: Duration::from_millis(1), netns, ..Connector::default() };
    let error = connector.connect(&addr.into()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout(..)), "{error}");
    let elsewhere = Netns::new("workload", "/nonexistent/sockets");
    let error = listen::tcp(addr, Some(&elsewhere), &options()).unwrap_err();
    assert!(error.to_string().contains("`workload`"), "{error}");
}

#[tokio::test]
async fn unix_sockets_know_their_caller() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    // A socket that nobody listens on any more is replaced, one in use is not.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = listen::unix(&path, 0o600).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(listen::unix(&path, 0o600).unwrap_err().to_string().contains("control.sock"));
    let to = Address::unix(&path);
    let connector = Connector::default();
    let (client, accepted) = tokio::join!(connector.connect(&to), listener.accept());
    let server = Stream::from(accepted.unwrap().0);
    let credentials = server.peer_credentials().unwrap();
    assert_eq!(credentials.uid, rustix::process::geteuid().as_raw());
    assert_eq!(credentials.pid, Some(std::process::id() as i32));
    assert_eq!(client.unwrap().peer_addr().unwrap(), to);
}

#[tokio::test]
async fn names_that_are_no_files() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("halcyon-test-{}", std::process::id());
    let at = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let listener = std::os::unix::net::UnixListener::bind_addr(&at).unwrap();
    let mut client = Connector::default().connect(&Address::unix(format!("@{name}"))).await.unwrap();
    client.write_all(b"ping").await.unwrap();
    let mut buffer = [0; 4];
    std::io::Read::read_exact(&mut listener.accept().unwrap().0, &mut buffer).unwrap();
    assert_eq!(&buffer, b"ping");
    let error = Connector::default().connect(&Address::unix("@nobody-has-this-name")).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused(_)), "{error}");
}

#[tokio::test]
async fn sockets_of_a_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sockets");
    let netns = Netns::new("workload", &path);
    let error = netns.socket(Family::V4).await.unwrap_err();
    assert!(error.to_string().contains("is the workload still running"), "{error}");

    let server = NetnsSocketServer::bind(&path).unwrap();
    std::thread::spawn(move || server.run());
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap(), None, &options()).unwrap().start().unwrap();
    let connector = Connector { netns: Some(netns.clone()), ..Connector::default() };
    let to = listener.local_addr().into();
    // More than one batch, so that the stock is filled up on the way.
    for _ in 0..40 {
        let (client, accepted) = tokio::join!(connector.connect(&to), listener.accept());
        assert_eq!(client.unwrap().local_addr().unwrap(), Address::Ip(accepted.unwrap().peer));
    }
    let socket = netns.socket(Family::V6).await.unwrap();
    assert!(rustix::io::fcntl_getfd(socket.as_fd()).unwrap().contains(rustix::io::FdFlags::CLOEXEC));

    // One that listens, while the stock is there and while it is not.
    for netns in [netns.clone(), Netns::new("workload", &path)] {
        let bound = listen::tcp("127.0.0.1:0".parse().unwrap(), Some(&netns), &options()).unwrap();
        assert!(!bound.is_inherited());
        let at = bound.local_addr().unwrap();
        let listener = bound.start().unwrap();
        let plain = Connector::default();
        let to = at.into();
        let (client, accepted) = tokio::join!(plain.connect(&to), listener.accept());
        assert_eq!(client.unwrap().local_addr().unwrap(), Address::Ip(accepted.unwrap().peer));
    }

    // The holder is gone: the stock must not be used any more, since it belongs to a namespace of the past.
    std::fs::remove_file(&path).unwrap();
    let error = connector.connect(&to).await.unwrap_err();
    assert!(matches!(error, ConnectError::Netns(..)), "{error}");
}

#[tokio::test]
async fn unix_sockets_for_programs() {
    let dir = tempfile::tempdir().unwrap();
    let door = dir.path().join("sockets");
    let server = NetnsSocketServer::bind(&door).unwrap();
    std::thread::spawn(move || server.run());
    let netns = Netns::new("workload", &door);
    let path = dir.path().join("proxy.sock");
    // What a killed process left.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let name = format!("@halcyon-pipe-{}", std::process::id());
    let inside = format!("{name}-inside");
    for (at, netns) in [(path.to_str().unwrap(), None), (&name, None), (&inside, Some(&netns))] {
        let bound = pipe::bind(at.as_ref(), netns, 0o600).unwrap();
        let listener = bound.try_clone().unwrap().start().unwrap();
        drop(bound);
        let connector = Connector { netns: netns.cloned(), ..Connector::default() };
        let to = Address::unix(at);
        let (client, accepted) = tokio::join!(connector.connect(&to), listener.accept());
        let (mut client, mut accepted) = (client.unwrap(), accepted.unwrap());
        client.write_all(b"ping").await.unwrap();
        let mut buffer = [0; 4];
        accepted.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"ping");
        assert!(pipe::bind(at.as_ref(), netns, 0o600).is_err(), "{at} is in use");
        drop(listener);
        // A process that another test is just starting may have the socket too, until it runs its program.
        let refused = async {
            loop {
                match Connector::default().connect(&to).await {
                    Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    Err(error) => return error,
                }
            }
        };
        let error =
            tokio::time::timeout(Duration::from_secs(10), refused).await.expect("nobody listens there any more");
        assert!(error.to_string().contains(at), "{error}");
    }
    assert!(!path.exists(), "its file went with it");

    // A successor's file stays.
    let bound = pipe::bind(&path, None, 0o600).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::remove_file(&path).unwrap();
    let _successor = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(bound);
    assert!(path.exists());
    let gone = Netns::new("workload", dir.path().join("nobody"));
    let error = pipe::bind("@x".as_ref(), Some(&gone), 0o600).unwrap_err();
    assert!(error.to_string().contains("`workload`"), "{error}");
}
