//! Daemons that the C library asks for names over a Unix socket, beside port 53, where capture would not see it.
//!
//! `nss-resolve` (systemd-resolved) and `nscd` are such. Where one would be asked, its socket is hidden from the
//! program; the C library then goes on to the next service, as it does when the daemon does not run: in the end DNS.
//! `/etc/hosts` and the machine's own name stay: people expect those to come first.

use std::fs;
use std::path::Path;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

/// The sockets to be hidden on this machine: those of daemons that run and that `/etc/nsswitch.conf`
/// (nsswitch.conf(5)) asks for hosts.
pub(crate) fn sockets_beside_dns() -> Vec<&'static str> {
    let switch = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    asked_beside_dns(&switch).into_iter().filter(|socket| Path::new(socket).exists()).collect()
}

/// Hides `sockets` in the mount namespace of this process, which must be a new one. Gives those that stay visible.
pub(crate) fn hide(sockets: &[&'static str]) -> Vec<String> {
    // Mounts of the host go on to appear inside, but none of ours outside.
    let apart = mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM).is_ok();
    let visible = sockets.iter().filter(|socket| !apart || mount_bind("/dev/null", **socket).is_err());
    visible.map(|socket| (*socket).to_owned()).collect()
}

const RESOLVED: &str = "/run/systemd/resolve/io.systemd.Resolve";
const NSCD: &str = "/run/nscd/socket";

fn asked_beside_dns(switch: &str) -> Vec<&'static str> {
    let hosts = switch.lines().find_map(|line| line.trim().strip_prefix("hosts:")).unwrap_or_default();
    let mut before_dns = hosts.split_whitespace().take_while(|word| *word != "dns");
    // nscd is not named in the file: it is asked before any service
    before_dns.any(|word| word == "resolve").then_some(RESOLVED).into_iter().chain([NSCD]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_services() {
        for (switch, expected) in [
            ("", vec![NSCD]),
            ("passwd: files\nhosts: files dns\n", vec![NSCD]),
            ("hosts: files dns resolve\n", vec![NSCD]),
            ("hosts: files myhostname resolve [!UNAVAIL=return] dns\n", vec![RESOLVED, NSCD]),
        ] {
            assert_eq!(asked_beside_dns(switch), expected, "{switch}");
        }
    }
}
