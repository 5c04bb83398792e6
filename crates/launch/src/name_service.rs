//! Ways by which the C library finds addresses without asking port 53, which capture cannot see.

use std::fs;
use std::path::Path;

/// What on this machine answers for names before DNS and beside the network, each as one line for people; empty if
/// names go through the mesh as they should. Looks at `/etc/nsswitch.conf` (nsswitch.conf(5)) and at `nscd`'s socket.
/// `/etc/hosts` and names of the machine itself are not reported: people expect those to come first.
pub fn names_beside_dns() -> Vec<String> {
    let switch = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let mut found: Vec<_> = daemons_before_dns(&switch)
        .into_iter()
        .filter(|service| Path::new(service.socket).exists())
        .map(|service| {
            format!(
                "/etc/nsswitch.conf: `hosts` asks `{}` before `dns`, over a Unix socket, so names of the mesh are not found by programs that use the C library; expected `dns` first; put `dns` before it",
                service.name
            )
        })
        .collect();
    if Path::new("/run/nscd/socket").exists() {
        found.push(
            "nscd runs and answers for names over a Unix socket, so names of the mesh may not be found; expected no cache of hosts; set `enable-cache hosts no` in /etc/nscd.conf".to_owned(),
        );
    }
    found
}

struct Service {
    name: &'static str,
    socket: &'static str,
}

/// Services that ask a daemon, with the daemon's socket.
const DAEMONS: [Service; 1] = [Service { name: "resolve", socket: "/run/systemd/resolve/io.systemd.Resolve" }];

fn daemons_before_dns(switch: &str) -> Vec<&'static Service> {
    let hosts = switch.lines().find_map(|line| line.trim().strip_prefix("hosts:"));
    let before = hosts.unwrap_or_default().split_whitespace().take_while(|word| *word != "dns");
    before.filter_map(|word| DAEMONS.iter().find(|service| service.name == word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_services() {
        for (switch, expected) in [
            ("", 0),
            ("passwd: files\nhosts: files dns\n", 0),
            ("hosts: files dns resolve\n", 0),
            ("hosts: files myhostname resolve [!UNAVAIL=return] dns\n", 1),
        ] {
            assert_eq!(daemons_before_dns(switch).len(), expected, "{switch}");
        }
    }
}
