//! Entering new namespaces: the system calls, the identity that stays the same, and what is carried over from the host.
//!
//! With the right to do so (root) only the network namespace is new: every user and file stays, and the privileges that
//! `rights` does not take. Without it
//! a user namespace gives that right; it maps the caller's own user and group to themselves and nobody else, so the
//! program sees the same user and files, and set-user-ID programs inside keep the caller's identity.

use std::fs;
use std::io;

use nix::sched::{CloneFlags, unshare};
use rustix::process::{getegid, geteuid};

use crate::name_service;

/// What the host's network looked like, read before it is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// The host has an IPv6 address of global scope.
    pub(crate) global_ipv6: bool,
    /// `net.ipv4.ip_unprivileged_port_start`: a new namespace begins with 1024, the host may be more generous.
    pub(crate) unprivileged_port_start: Option<String>,
}

const UNPRIVILEGED_PORT_START: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

impl Host {
    /// Looks at the network namespace of this process.
    pub(crate) fn look() -> Self {
        let addresses = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        Self {
            global_ipv6: has_global(&addresses),
            unprivileged_port_start: fs::read_to_string(UNPRIVILEGED_PORT_START).ok(),
        }
    }

    /// Gives the new namespace what the old one allowed. Not being able to is no reason to refuse the launch: the
    /// program then gets the kernel's default.
    pub(crate) fn carry_over(&self) {
        if let Some(start) = &self.unprivileged_port_start {
            let _ = fs::write(UNPRIVILEGED_PORT_START, start.trim());
        }
    }
}

/// Which call of [`enter`] was refused.
#[derive(Debug)]
pub(crate) enum EnterError {
    /// The kernel gives no namespace.
    Namespace(io::Error),
    /// It does, but the user may not be mapped in it.
    Mapping(io::Error),
}

/// Puts this process, which must have one thread, into a network namespace of its own; into a mount namespace too if
/// there are daemons to be hidden that know names beside DNS. Gives the sockets of those that could not be hidden.
pub(crate) fn enter() -> Result<Vec<String>, EnterError> {
    let sockets = name_service::sockets_beside_dns();
    let mut new = CloneFlags::CLONE_NEWNET;
    if !sockets.is_empty() {
        new |= CloneFlags::CLONE_NEWNS;
    }
    if unshare(new).is_err() {
        enter_as_user(new)?;
    }
    Ok(if sockets.is_empty() { Vec::new() } else { name_service::hide(&sockets) })
}

/// The same by way of a user namespace, which anybody may make.
fn enter_as_user(new: CloneFlags) -> Result<(), EnterError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(new | CloneFlags::CLONE_NEWUSER).map_err(|errno| EnterError::Namespace(errno.into()))?;
    let map = |file: &str, text: String| fs::write(format!("/proc/self/{file}"), text).map_err(EnterError::Mapping);
    // without this the kernel takes no gid_map from a process without privileges (user_namespaces(7))
    map("setgroups", "deny".to_owned())?;
    map("uid_map", format!("{uid} {uid} 1\n"))?;
    map("gid_map", format!("{gid} {gid} 1\n"))
}

/// Does `/proc/net/if_inet6` list an address of global scope? Its fourth field is the scope, 00 for global.
fn has_global(if_inet6: &str) -> bool {
    if_inet6.lines().any(|line| line.split_whitespace().nth(3) == Some("00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_addresses() {
        for (text, expected) in [
            ("", false),
            ("00000000000000000000000000000001 01 80 10 80       lo\n", false),
            ("fe80000000000000000000000000abcd 02 40 20 80     eth0\n", false),
            ("20010db8000000000000000000000001 02 40 00 80     eth0\n", true),
        ] {
            assert_eq!(has_global(text), expected, "{text}");
        }
    }
}
