//! What a captured program sees, and what its sidecar sees of it.

use std::fs;

use rustix::process::Signal;

use crate::rig::{capturing_rigs, text};

#[test]
fn every_connection_goes_to_the_sidecar() {
    for rig in capturing_rigs() {
        let probe = rig.probe();
        let mut table = vec![("203.0.113.7:8080", "captured 203.0.113.7:8080"), ("10.0.0.1:53000", "captured 10.0.0.1:53000")];
        if fs::metadata("/proc/net/if_inet6").is_ok() {
            table.push(("[2001:db8::7]:443", "captured [2001:db8::7]:443"));
        }
        let mut program = vec![probe.as_str(), "dial"];
        program.extend(table.iter().map(|(address, _)| address));
        let output = rig.run("namespace", &program);
        let expected: Vec<_> = table.iter().map(|(_, answer)| *answer).collect();
        assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), expected, "{}", text(&output.stderr));
        rig.assert_nothing_left();
    }
}

#[test]
fn what_is_local_stays_local() {
    for rig in capturing_rigs() {
        // a server and its caller inside; nothing else listens there
        let script = "\"$0\" serve 9080 mine | { read x; \"$0\" dial 127.0.0.1:9080 192.0.0.8:9081; }";
        let output = rig.run("namespace", &["sh", "-c", script, &rig.probe()]);
        let answers = text(&output.stdout);
        assert!(answers.starts_with("mine\n192.0.0.8:9081: Connection refused"), "{answers}");
        rig.assert_nothing_left();
    }
}

#[test]
fn names_are_asked_of_the_sidecar() {
    for rig in capturing_rigs() {
        let probe = rig.probe();
        for (options, expected) in [("", "240.0.0.1"), ("use-vc", "240.0.0.2")] {
            let mut command = rig.command("supervise", "namespace", &[&probe, "resolve", "reviews.default"]);
            let output = command.env("RES_OPTIONS", options).output().unwrap();
            let found = text(&output.stdout);
            // the C library gives one line per kind of socket
            assert!(!found.is_empty() && found.lines().all(|line| line == expected), "{options}: {found}");
        }
    }
}

#[test]
fn nothing_else_leaves() {
    for rig in capturing_rigs() {
        for (address, expected) in [("203.0.113.7:9999", "PermissionDenied"), ("127.0.0.1:9", "sent")] {
            let output = rig.run("namespace", &[&rig.probe(), "udp", address]);
            assert_eq!(text(&output.stdout), expected, "{address}");
        }
    }
}

#[test]
fn the_sidecar_reaches_the_program() {
    for rig in capturing_rigs() {
        let running = rig.start("namespace", &[&rig.probe(), "serve", "9080", "hello"]);
        assert_eq!(running.first, "serving");
        assert_eq!(rig.call("/reach/9080").unwrap(), "hello");
        assert!(rig.call("/reach/9081").unwrap().contains("refused"));
        running.signal(Signal::TERM);
        assert_eq!(running.code(), Some(143));
        rig.assert_nothing_left();
    }
}

#[test]
fn the_program_keeps_its_world() {
    for rig in capturing_rigs() {
        let uid = fs::metadata(rig.path("")).map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).unwrap();
        let input = rig.path("input");
        fs::write(&input, "word\n").unwrap();
        let mut command =
            rig.command("supervise", "namespace", &["sh", "-c", "read x; echo $x $EXTRA; id -u; pwd; ls /proc/self/fd"]);
        let output = command.stdin(fs::File::open(&input).unwrap()).output().unwrap();
        fs::remove_file(&input).unwrap();
        // 3 is the directory that `ls` itself reads
        let expected = format!("word more\n{uid}\n{}\n0\n1\n2\n3", rig.path("").display().to_string().trim_end_matches('/'));
        assert_eq!(text(&output.stdout), expected);
        assert_eq!(text(&output.stderr), "");
    }
}
