//! What a captured program sees, and what its sidecar sees of it.

use std::fs;

use rustix::process::Signal;

use crate::rig::{capturing_rigs, text};

#[test]
fn every_connection_goes_to_the_sidecar() {
    for rig in capturing_rigs() {
        let probe = rig.probe();
        let mut table =
            vec![("203.0.113.7:8080", "captured 203.0.113.7:8080"), ("10.0.0.1:53000", "captured 10.0.0.1:53000")];
        // Another workload of the same machine.
        table.push(("127.64.0.7:9080", "captured 127.64.0.7:9080"));
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
        let (own, nobodys) =
            (["127.0.0.1:9080", "127.9.9.9:9080", "192.0.0.8:9080"], ["127.0.0.1:9081", "192.0.0.8:9081"]);
        let probe = rig.probe();
        let program: Vec<_> = [probe.as_str(), "self"].into_iter().chain(own).chain(nobodys).collect();
        let answers = text(&rig.run("namespace", &program).stdout);
        let answers: Vec<_> = answers.lines().filter(|line| *line != "serving").collect();
        assert_eq!(answers[..3], ["mine"; 3], "{answers:?}");
        assert!(answers[3..].iter().all(|line| line.contains("Connection refused")), "{answers:?}");
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
fn daemons_that_know_names_are_hidden() {
    for rig in capturing_rigs() {
        let script = "test -c /run/nscd/socket && echo hidden; \"$0\" resolve reviews.default";
        let output = rig.command("nscd", "namespace", &["sh", "-c", script, &rig.probe()]).output().unwrap();
        let said = text(&output.stdout);
        assert!(said.starts_with("hidden\n240.0.0.1"), "{said} {}", text(&output.stderr));
        assert!(!rig.events().contains("nscd"), "{}", rig.events());
    }
}

#[test]
fn nothing_else_leaves() {
    for rig in capturing_rigs() {
        for (address, expected) in [("203.0.113.7:9999", "PermissionDenied"), ("127.0.0.1:9", "sent")] {
            let output = rig.run("namespace", &[&rig.probe(), "udp", address]);
            assert_eq!(text(&output.stdout), expected, "{address}");
        }
        let told = rig.events();
        assert_eq!(told.matches("packets refused so far: 1").count(), 1, "{told}");
    }
}

/// Rights over networks, namespaces, other processes and the kernel (linux/capability.h).
const TAKEN: u64 = 1 << 12 | 1 << 13 | 1 << 16 | 1 << 17 | 1 << 19 | 1 << 21 | 1 << 38 | 1 << 39;

#[test]
fn nobody_has_the_right_to_leave() {
    for rig in capturing_rigs() {
        let script = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status";
        let said = text(&rig.run("namespace", &["sh", "-c", script]).stdout);
        let of = |name: &str| {
            let line =
                said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {said}"));
            u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
        };
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(of(set) & TAKEN, 0, "{set}: {said}");
        }
        // What files could give is taken too, one way or the other.
        assert!(of("CapBnd") & TAKEN == 0 || of("NoNewPrivs") == 1, "{said}");
    }
}

#[test]
fn without_capture_rights_stay() {
    for rig in capturing_rigs() {
        let script = "grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status";
        let own = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
        assert_eq!(text(&rig.run("none", &["sh", "-c", script]).stdout), text(&own.stdout));
    }
}

#[test]
fn what_cannot_be_opened_inside_is_no_reason_to_go_on_without_capture() {
    for rig in capturing_rigs() {
        let mut command = rig.command("supervise", "auto", &["true"]);
        let output = command.env("LAUNCH_TEST_NETNS_SOCKET", "/nowhere/x").output().unwrap();
        assert_eq!(output.status.code(), Some(99));
        assert!(text(&output.stderr).contains("at /nowhere/x"), "{}", text(&output.stderr));
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
        let script = "read x; echo $x $EXTRA; id -u; pwd; ls /proc/self/fd";
        let stdin = || fs::File::open(&input).unwrap();
        let mut command = rig.command("supervise", "namespace", &["sh", "-c", script]);
        let output = command.stdin(stdin()).output().unwrap();
        // the same without a launch: the same files must be open
        let mut bare = std::process::Command::new("sh");
        let bare = bare.args(["-c", "read x; ls /proc/self/fd"]).stdin(stdin()).output().unwrap();
        fs::remove_file(&input).unwrap();
        let directory = rig.path("").display().to_string();
        let expected = format!("word more\n{uid}\n{}\n{}", directory.trim_end_matches('/'), text(&bare.stdout));
        assert_eq!(text(&output.stdout), expected);
        assert_eq!(text(&output.stderr), "");
    }
}
