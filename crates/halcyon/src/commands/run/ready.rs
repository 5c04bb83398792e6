//! When the program is ready: as was typed, else as the probe of its group says, else when it listens.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, bail};
use api::istio::ReadinessProbe;
use launch::CommandSpec;

use crate::cli::{Ready, RunArgs};
use crate::proxy_setup::{Place, Question, ReadyCheck, Timing};

/// What the sidecar finds the program's readiness by, and the command that is run for it, if there is one.
pub fn check(
    args: &RunArgs,
    probe: Option<&ReadinessProbe>,
    folder: &Path,
) -> Result<(Option<ReadyCheck>, Option<CommandSpec>)> {
    let ready = match (&args.ready, &args.envoy, probe) {
        (None, Some(_), Some(_)) => bail!(
            "--group: a stock Envoy does not tell whether its program is ready, so the probe of the group cannot be kept; \
             expected `--ready=none`, or our own sidecar: leave out --envoy"
        ),
        (None | Some(Ready::None), Some(_), _) => return Ok((None, None)),
        (Some(_), Some(_), _) => bail!(
            "--ready: a stock Envoy does not tell whether its program is ready; expected `none`, or our own sidecar: leave \
             out --ready, or --envoy"
        ),
        (Some(ready), None, _) => ready,
        (None, None, Some(probe)) => return of_group(probe, folder),
        (None, None, None) => &Ready::Tcp,
    };
    Ok((typed(args, ready)?, None))
}

fn typed(args: &RunArgs, ready: &Ready) -> Result<Option<ReadyCheck>> {
    let first = args.ports.first().map(|port| port.number);
    let question = match ready {
        Ready::None => return Ok(None),
        Ready::Tcp if first.is_none() => return Ok(None),
        Ready::Tcp => {
            Question::Tcp(args.ports.iter().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port.number))).collect())
        }
        Ready::Http { port, path } => {
            let port = port.or(first).context("--ready: no port is known; say --port, or `http:PORT/PATH`")?;
            Question::Http { at: place("", port), path: path.clone(), tls: false, headers: Vec::new() }
        }
    };
    Ok(Some(ReadyCheck { question, timing: None }))
}

fn of_group(probe: &ReadinessProbe, folder: &Path) -> Result<(Option<ReadyCheck>, Option<CommandSpec>)> {
    let port = |port: u32| u16::try_from(port).with_context(|| format!("--group: its probe has the port {port}"));
    let mut command = None;
    let question = if let Some(http) = &probe.http_get {
        Question::Http {
            at: place(&http.host, port(http.port)?),
            // As Istio completes it.
            path: if http.path.starts_with('/') { http.path.clone() } else { format!("/{}", http.path) },
            tls: http.scheme.eq_ignore_ascii_case("https"),
            headers: http.http_headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect(),
        }
    } else if let Some(tcp) = &probe.tcp_socket {
        Question::TcpAt(place(&tcp.host, port(tcp.port)?))
    } else if let Some(grpc) = &probe.grpc {
        Question::Grpc { at: place("", port(grpc.port)?), service: grpc.service.clone() }
    } else if let Some(exec) = &probe.exec {
        let socket = folder.join("ready");
        command = Some(CommandSpec { socket: socket.clone(), command: exec.command.clone() });
        Question::Command(socket)
    } else {
        return Ok((None, None));
    };
    let timing = Timing {
        initial_delay_seconds: probe.initial_delay_seconds,
        timeout_seconds: probe.timeout_seconds,
        period_seconds: probe.period_seconds,
        successes: probe.success_threshold,
        failures: probe.failure_threshold,
    };
    Ok((Some(ReadyCheck { question, timing: Some(timing) }), command))
}

/// The program itself, unless a host is named.
fn place(host: &str, port: u16) -> Place {
    let host = if host.is_empty() { Ipv4Addr::LOCALHOST.to_string() } else { host.to_owned() };
    Place { host, port }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use api::Spec;
    use serde_json::Value;

    use super::*;
    use crate::commands::run::args_of;

    fn run(words: &str) -> RunArgs {
        args_of(&format!("--service a {words}"))
    }

    fn probe(text: &str) -> ReadinessProbe {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {{name: g}}\nspec: {{template: {{}}, probe: {{{text}}}}}\n"
        );
        let parsed = api::parse("g.yaml", &text);
        match parsed.resources.first().map(|resource| &resource.spec) {
            Some(Spec::WorkloadGroup(group)) => group.probe.clone().unwrap(),
            _ => panic!("{:?}", parsed.problems),
        }
    }

    /// Whatever order objects have, theirs is that of their names.
    fn sorted(json: Value) -> Value {
        match json {
            Value::Object(members) => {
                let members: BTreeMap<String, Value> = members.into_iter().collect();
                members.into_iter().map(|(name, member)| (name, sorted(member))).collect()
            }
            other => other,
        }
    }

    fn found(words: &str, group: Option<&str>) -> String {
        let probe = group.map(probe);
        match check(&run(words), probe.as_ref(), Path::new("/x")) {
            Ok((Some(ready), command)) => {
                let command = command.map_or(String::new(), |spec| format!(" by {:?}", spec.command));
                format!("{}{command}", sorted(serde_json::json!(ready)))
            }
            Ok((None, _)) => "at once".to_owned(),
            Err(error) => error.to_string().split(';').next().unwrap().to_owned(),
        }
    }

    #[test]
    fn what_was_typed_counts_more() {
        let http = Some("httpGet: {port: 1}");
        assert_eq!(found("", None), "at once");
        assert_eq!(found("--port 80 --port 81", None), r#"{"tcp":["127.0.0.1:80","127.0.0.1:81"]}"#);
        assert_eq!(found("--ready none", http), "at once");
        assert_eq!(
            found("--port 80 --ready http:/up", http),
            r#"{"http":{"at":{"host":"127.0.0.1","port":80},"headers":[],"path":"/up","tls":false}}"#
        );
        assert_eq!(found("--ready http:/up", None), "--ready: no port is known");
        assert_eq!(found("--envoy envoy --ready none", http), "at once");
        let refused = "--group: a stock Envoy does not tell whether its program is ready, so the probe of the group cannot be kept";
        assert_eq!(found("--envoy envoy", http), refused);
    }

    #[test]
    fn every_probe_of_a_group() {
        const AT_ALL: &str =
            r#""timing":{"failures":0,"initial_delay_seconds":0,"period_seconds":0,"successes":0,"timeout_seconds":0}"#;
        for (group, expected) in [
            (
                "httpGet: {port: 8080, path: up, scheme: HTTPS, host: example.org, httpHeaders: [{name: A, value: b}]}",
                r#"{"http":{"at":{"host":"example.org","port":8080},"headers":[["A","b"]],"path":"/up","tls":true},TIMING}"#,
            ),
            ("tcpSocket: {port: 1, host: 10.0.0.1}", r#"{"tcp_at":{"host":"10.0.0.1","port":1},TIMING}"#),
            ("tcpSocket: {port: 1}", r#"{"tcp_at":{"host":"127.0.0.1","port":1},TIMING}"#),
            ("grpc: {port: 1, service: s}", r#"{"grpc":{"at":{"host":"127.0.0.1","port":1},"service":"s"},TIMING}"#),
            ("exec: {command: [test, -f, /up]}", r#"{"command":"/x/ready",TIMING} by ["test", "-f", "/up"]"#),
        ] {
            assert_eq!(found("--port 80", Some(group)), expected.replace("TIMING", AT_ALL), "{group}");
        }
        let timed = "grpc: {port: 1}, initialDelaySeconds: 1, timeoutSeconds: 2, periodSeconds: 3, successThreshold: 4, failureThreshold: 5";
        let expected = r#""timing":{"failures":5,"initial_delay_seconds":1,"period_seconds":3,"successes":4,"timeout_seconds":2}}"#;
        assert!(found("", Some(timed)).ends_with(expected));
    }
}
