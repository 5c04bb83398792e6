//! Exit codes, signals, restarts, and that nothing is left.

use rustix::process::Signal;

use crate::rig::{eventually, rigs, text};

/// Says `ready`, then answers SIGUSR1 and SIGHUP with a line, and SIGTERM by leaving; leaves a `sleep` behind.
const TALKER: &str = "trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'exit 42' TERM; echo ready; \
                      while :; do sleep 600 & wait $!; done";

#[test]
fn endings() {
    for rig in rigs() {
        for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
            for capture in ["auto", "none"] {
                let output = rig.run(capture, &["sh", "-c", script]);
                assert_eq!(output.status.code(), Some(expected), "{script}, {capture}: {}", text(&output.stderr));
            }
        }
        rig.assert_nothing_left();
    }
}

#[test]
fn refusals() {
    for rig in rigs() {
        let sidecar = |program: &str| ("LAUNCH_TEST_SIDECAR", program.to_owned());
        for (env, program, expected) in [
            (None, "./nothing-here", "`./nothing-here`: does not exist"),
            (None, "nothing-here", "`nothing-here`: is not found on PATH"),
            (Some(sidecar("/nowhere/proxy")), "true", "sidecar `/nowhere/proxy`: cannot be started"),
            (Some(sidecar("false")), "true", "sidecar `false`: ended (exit code 1) before it was ready"),
            (Some(sidecar("tail")), "true", "sidecar `tail`: ended (exit code 1) before it was ready"),
        ] {
            let output = rig.command("supervise", "auto", &[program]).envs(env).output().unwrap();
            let said = text(&output.stderr);
            assert!(said.contains(expected), "{said}");
            assert_eq!(output.status.code(), Some(99));
        }
        rig.assert_nothing_left();
    }
}

#[test]
fn a_sidecar_that_does_not_get_ready() {
    for rig in rigs() {
        let mut command = rig.command("supervise", "auto", &["true"]);
        let output = command.env("LAUNCH_TEST_SIDECAR_IS", "slow").env("LAUNCH_TEST_READY_MS", "50").output().unwrap();
        assert!(text(&output.stderr).contains("not ready after 0.05 s"), "{}", text(&output.stderr));
        rig.assert_nothing_left();
    }
}

#[test]
fn signals_go_to_the_program() {
    for rig in rigs() {
        for capture in ["auto", "none"] {
            let mut running = rig.start(capture, &["sh", "-c", TALKER]);
            assert_eq!(running.first, "ready");
            for (signal, expected) in [(Signal::USR1, "usr1"), (Signal::HUP, "hup"), (Signal::USR1, "usr1")] {
                running.signal(signal);
                assert_eq!(running.line(), expected);
            }
            running.signal(Signal::TERM);
            assert_eq!(running.code(), Some(42));
            rig.assert_nothing_left();
        }
    }
}

#[test]
fn others_hear_first_that_a_workload_leaves() {
    let script =
        "trap 'echo hup' HUP; trap 'echo asked; exit 42' TERM; echo ready; while :; do sleep 600 & wait $!; done";
    for rig in rigs() {
        for (delay, cut_short) in [("10", false), ("600000", true)] {
            let mut command = rig.command("supervise", "none", &["sh", "-c", script]);
            command.env("LAUNCH_TEST_DEPART_MS", delay);
            let mut running = rig.go_on(command);
            assert_eq!(running.first, "ready");
            running.signal(Signal::HUP);
            assert_eq!(running.line(), "hup", "others do not wait for it");
            running.signal(Signal::TERM);
            assert_eq!(running.line(), "departs");
            if cut_short {
                running.signal(Signal::TERM);
            }
            assert_eq!(running.line(), "asked");
            assert_eq!(running.code(), Some(42));
            rig.assert_nothing_left();
        }
    }
}

#[test]
fn commands_run_where_the_program_does() {
    let script = "test \"$EXTRA\" = more || exit 5; test -f answer || exit 6; \
                  test \"$(cat namespace)\" = \"$(readlink /proc/self/ns/net)\" || exit 7; \
                  read code < answer; test \"$code\" = slow && { touch begun; sleep 600; }; exit $code";
    for rig in rigs() {
        for capture in ["auto", "none"] {
            let mut command = rig.command(
                "supervise",
                capture,
                &["sh", "-c", "readlink /proc/self/ns/net > namespace; echo ready; cat fifo"],
            );
            std::process::Command::new("mkfifo").arg(rig.path("fifo")).status().unwrap();
            rig.give("fifo");
            command.env("LAUNCH_TEST_COMMAND", script);
            let running = rig.go_on(command);
            assert_eq!(running.first, "ready");
            assert_eq!(rig.ask(), "ended (exit code 6)\n");
            for (answer, expected) in [("0", "\n"), ("3", "ended (exit code 3)\n"), ("0", "\n")] {
                std::fs::write(rig.path("answer"), format!("{answer}\n")).unwrap();
                assert_eq!(rig.ask(), expected, "{answer}, {capture}");
            }
            // Who does not wait for it ends it.
            std::fs::write(rig.path("answer"), "slow\n").unwrap();
            let asked = std::os::unix::net::UnixStream::connect(rig.path("command.sock")).unwrap();
            eventually(|| rig.path("begun").exists().then_some(()).ok_or("not begun".to_owned()));
            assert!(rig.processes().iter().any(|process| process.contains("sleep 600")));
            drop(asked);
            eventually(|| match rig.processes() {
                left if left.iter().any(|process| process.contains("sleep 600")) => Err(format!("{left:?}")),
                _ => Ok(()),
            });
            std::fs::write(rig.path("fifo"), "").unwrap();
            assert_eq!(running.code(), Some(0));
            for left in ["namespace", "fifo", "answer", "begun"] {
                std::fs::remove_file(rig.path(left)).unwrap();
            }
            rig.assert_nothing_left();
        }
    }
}

#[test]
fn ctrl_c_reaches_the_program_once() {
    use std::io::{Read, Write};
    let script = "trap 'echo interrupted' INT; trap 'echo asked; exit 3' TERM; echo ready; \
                  while read line; do echo line $line; done; while :; do sleep 600 & wait $!; done";
    for rig in rigs() {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let mut command = rig.command("terminal", "auto", &["sh", "-c", script]);
        let mut child = command.stdin(terminal.slave.try_clone().unwrap()).stdout(terminal.slave).spawn().unwrap();
        drop(command);
        let mut terminal = std::fs::File::from(terminal.master);
        let mut said = String::new();
        let mut until = |what: &str, said: &mut String| {
            while !said.contains(what) {
                let mut buffer = [0; 256];
                let length = terminal.read(&mut buffer).unwrap();
                said.push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
            terminal.try_clone().unwrap()
        };
        until("ready", &mut said).write_all(&[3]).unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        until("interrupted", &mut said);
        // one that did not come from the terminal
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        until("asked", &mut said);
        assert_eq!(child.wait().unwrap().code(), Some(3));
        assert_eq!(said.matches("interrupted").count(), 1, "{said}");
    }
}

#[test]
fn a_signal_before_the_program_runs_ends_the_launch() {
    for rig in rigs() {
        let mut command = rig.command("supervise", "auto", &["true"]);
        // a sidecar that says that it runs, and never gets ready
        command.env("LAUNCH_TEST_SIDECAR_IS", "slow").stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        rig.assert_nothing_left();
    }
}

#[test]
fn a_killed_supervisor_takes_all_with_it() {
    for rig in rigs() {
        for capture in ["auto", "none"] {
            let running = rig.start(capture, &["sh", "-c", TALKER]);
            assert!(rig.processes().len() >= 4, "{:?}", rig.processes());
            running.signal(Signal::KILL);
            assert_eq!(running.code(), None);
            eventually(|| match rig.processes() {
                left if left.is_empty() => Ok(()),
                left => Err(format!("still running: {left:?}")),
            });
            assert!(!rig.path("netns.sock").exists());
            // the sidecar was killed too, so its own socket is left to be replaced
            std::fs::remove_file(rig.path("admin.sock")).unwrap();
            rig.assert_nothing_left();
        }
    }
}

#[test]
fn a_sidecar_that_dies_is_restarted_on_the_same_sockets() {
    for rig in rigs() {
        let dial = "while read x; do \"$0\" dial 203.0.113.7:80; done";
        let mut command = rig.command("supervise", "auto", &["sh", "-c", &format!("echo ready; {dial}"), &rig.probe()]);
        let mut child =
            command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let mut input = child.stdin.take().unwrap();
        let captured = !rig.events().contains("not captured");
        let mut before = rig.call("/pid").unwrap();
        for restarts in 1..=2 {
            assert!(rig.call("/crash").map_or(true, |body| body.is_empty()));
            if captured {
                // the connection is made while there is no sidecar, or a new one: the socket is the same
                std::io::Write::write_all(&mut input, b"go\n").unwrap();
                assert_eq!(lines.next().unwrap().unwrap(), "captured 203.0.113.7:80");
            }
            eventually(|| match rig.events() {
                events if events.contains(&format!("restart {restarts})")) => Ok(()),
                events => Err(events),
            });
            let after = rig.call("/pid").unwrap();
            assert_ne!(after, before);
            before = after;
        }
        drop(input);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        rig.assert_nothing_left();
    }
}

#[test]
fn a_launch_that_is_given_up() {
    for rig in rigs() {
        for capture in ["auto", "none"] {
            let output = rig.command("dropped", capture, &["true"]).output().unwrap();
            assert_eq!(text(&output.stdout), "dropped", "{}", text(&output.stderr));
            rig.assert_nothing_left();
        }
    }
}

#[test]
fn what_the_program_leaves_behind_ends_with_it() {
    for rig in rigs() {
        let script = "setsid sh -c 'trap \"\" HUP; sleep 600 & sleep 600' & exit 5";
        assert_eq!(rig.run("auto", &["sh", "-c", script]).status.code(), Some(5));
        rig.assert_nothing_left();
    }
}

#[test]
fn without_capture_the_program_is_on_the_hosts_network() {
    let network = std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    for rig in rigs() {
        assert_eq!(text(&rig.run("none", &[&rig.probe(), "network"]).stdout), network);
        assert!(!rig.events().contains("captured"));
    }
}

#[test]
fn where_namespaces_are_refused() {
    let network = std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    for rig in rigs() {
        let output = rig.command("refused", "auto", &[&rig.probe(), "network"]).output().unwrap();
        if text(&output.stderr).contains("a user namespace") {
            eprintln!("skipped: there is no user namespace to refuse others in");
            continue;
        }
        assert_eq!(text(&output.stdout), network, "{}", text(&output.stderr));
        let events = rig.events();
        assert_eq!(events.matches("not captured").count(), 1, "{events}");
        assert!(events.contains("user.max_net_namespaces is 0"), "{events}");
        let output = rig.command("refused", "namespace", &["true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(99));
        assert!(text(&output.stderr).contains("user.max_net_namespaces is 0"), "{}", text(&output.stderr));
        rig.assert_nothing_left();
    }
}

#[test]
fn a_sidecar_that_does_not_leave_is_killed() {
    for rig in rigs() {
        let mut command = rig.command("supervise", "auto", &["sh", "-c", "exit 4"]);
        let output =
            command.env("LAUNCH_TEST_SIDECAR_IS", "stubborn").env("LAUNCH_TEST_LEAVE_MS", "20").output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
        assert!(rig.events().ends_with("was killed\n"), "{}", rig.events());
        std::fs::remove_file(rig.path("admin.sock")).unwrap();
        rig.assert_nothing_left();
    }
}

#[test]
fn launches_side_by_side_in_one_process() {
    for rig in rigs() {
        let output = rig.command("together", "5", &["sh", "-c", "echo done"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), ["done"; 5].join("\n"));
        rig.assert_nothing_left();
    }
}

#[test]
fn no_file_stays_open() {
    for rig in rigs() {
        let output = rig.command("again", "4", &["true"]).output().unwrap();
        let said = text(&output.stdout);
        let counts: Vec<_> = said.trim_start_matches("open files: ").split(" then ").collect();
        assert!(counts.len() == 2 && counts[0] == counts[1], "{said} {}", text(&output.stderr));
    }
}
