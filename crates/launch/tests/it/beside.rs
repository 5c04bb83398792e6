//! Connections that the sidecar does not get.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use launch::Redirects;
use rustix::process::Signal;

use crate::rig::{Rig, capturing_rigs, eventually, text};

/// Answers every connection with a text, on the host's network, for as long as the tests run.
fn host(ip: &str, answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(answer.as_bytes()));
        }
    });
    at
}

fn dialled(rig: &Rig, rules: &Redirects, addresses: &[String]) -> Vec<String> {
    let probe = rig.probe();
    let program: Vec<&str> = [probe.as_str(), "dial"].into_iter().chain(addresses.iter().map(String::as_str)).collect();
    let mut command = rig.command("supervise", "namespace", &program);
    let output = command.env("LAUNCH_TEST_REDIRECTS", serde_json::to_string(rules).unwrap()).output().unwrap();
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn what_is_not_the_sidecars_goes_out_as_it_is() {
    let (near, far) = (host("127.64.77.1", "near"), host("127.64.78.1", "far"));
    let block = |text: &str| vec![text.parse().unwrap()];
    let captured = |at: &SocketAddr| format!("captured {at}");
    let elsewhere: SocketAddr = "203.0.113.7:8080".parse().unwrap();
    let everywhere = [near, far, elsewhere];
    let all = Redirects::default();
    for (rules, expected) in [
        (all.clone(), everywhere.each_ref().map(captured)),
        (
            Redirects { exclude_blocks: block("127.64.77.0/24"), ..all.clone() },
            ["near".to_owned(), captured(&far), captured(&elsewhere)],
        ),
        (
            Redirects { exclude_ports: vec![far.port()], ..all.clone() },
            [captured(&near), "far".to_owned(), captured(&elsewhere)],
        ),
        (
            Redirects { include_blocks: Some(block("203.0.113.0/24")), ..all.clone() },
            ["near".to_owned(), "far".to_owned(), captured(&elsewhere)],
        ),
        (
            Redirects { include_blocks: Some(vec![]), include_ports: vec![8080, near.port()], ..all },
            [captured(&near), "far".to_owned(), captured(&elsewhere)],
        ),
    ] {
        for rig in capturing_rigs() {
            let addresses = everywhere.map(|at| at.to_string());
            assert_eq!(dialled(&rig, &rules, &addresses), expected, "{rules:?}");
            rig.assert_nothing_left();
        }
    }
}

#[test]
fn what_is_local_stays_local_and_who_is_not_there_is_told() {
    let rules = Redirects { include_blocks: Some(vec![]), ..Redirects::default() };
    for rig in capturing_rigs() {
        let answers = dialled(&rig, &rules, &["127.0.0.1:9081".to_owned(), "127.64.77.9:1".to_owned()]);
        assert!(answers[0].contains("Connection refused"), "{answers:?}");
        assert!(answers[1].contains("Connection reset"), "{answers:?}");
    }
}

#[test]
fn ports_that_are_not_the_sidecars() {
    for (number, rig) in capturing_rigs().into_iter().enumerate() {
        let at = format!("127.64.79.{}:9080", number + 1);
        let mut command = rig.command("supervise", "namespace", &[&rig.probe(), "serve", "9080", "hello"]);
        command.env("LAUNCH_TEST_BESIDE", format!("{at}=9080"));
        let running = rig.go_on(command);
        eventually(|| {
            let mut answer = String::new();
            let read = TcpStream::connect(&at).and_then(|mut stream| stream.read_to_string(&mut answer));
            if answer == "hello" { Ok(()) } else { Err(format!("{read:?} {answer}")) }
        });
        running.signal(Signal::TERM);
        assert_eq!(running.code(), Some(143));
        assert!(TcpStream::connect(&at).is_err(), "nobody listens any more");
        rig.assert_nothing_left();
    }
}
