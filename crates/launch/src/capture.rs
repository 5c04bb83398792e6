//! Whether and how a program's traffic is captured, and in plain words why it cannot be.

use std::fmt;
use std::net::SocketAddr;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// How the program's connections come to its sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capture {
    /// The program runs in a network namespace of its own, from which every TCP connection and every DNS question
    /// goes to the sidecar. If that is refused, the launch fails.
    Namespace,
    /// The program runs on the host's network. Only what it sends to the sidecar's own ports is in the mesh.
    None,
    /// As `Namespace`, and as `None` with one notice where namespaces are refused.
    #[default]
    Auto,
}

/// Why a namespace could not be had: what was tried, what the kernel said, and what there is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    step: Step,
    errno: Errno,
    hint: Hint,
}

/// What was being done inside when the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// `unshare`.
    Namespace,
    /// Writing the maps of the user namespace.
    Mapping,
    /// `lo`, its addresses and routes.
    Loopback,
    /// nf_tables; which part of it.
    Redirection(String),
    /// Opening a socket.
    Listen(SocketAddr),
    /// The Unix socket at which the sidecar asks for sockets; its path.
    SocketServer(String),
}

/// What the machine's settings say about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hint {
    UserNamespacesAtZero,
    NetworkNamespacesAtZero,
    UnprivilegedCloneOff,
    AppArmor,
    Seccomp,
    NamespaceLimit,
    NoNetfilter,
    NoNamespaces,
    Nothing,
}

/// The machine's settings that decide about namespaces; `None` where the kernel has no such setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) max_user_namespaces: Option<u64>,
    pub(crate) max_net_namespaces: Option<u64>,
    pub(crate) unprivileged_userns_clone: Option<u64>,
    pub(crate) apparmor_restrict: Option<u64>,
    pub(crate) seccomp: bool,
}

impl Settings {
    /// Reads them from `/proc`.
    pub(crate) fn read() -> Self {
        let number = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        Self {
            max_user_namespaces: number("user/max_user_namespaces"),
            max_net_namespaces: number("user/max_net_namespaces"),
            unprivileged_userns_clone: number("kernel/unprivileged_userns_clone"),
            apparmor_restrict: number("kernel/apparmor_restrict_unprivileged_userns"),
            seccomp: seccomp.is_some_and(|mode| mode.trim() != "0"),
        }
    }
}

impl Refusal {
    pub(crate) fn new(step: Step, errno: Errno, settings: &Settings) -> Self {
        let hint = hint(&step, errno, settings);
        Self { step, errno, hint }
    }

    /// Is it the machine that refuses, and not what was asked for inside (a path, an address)? Only then may a launch
    /// go on without capture.
    pub(crate) fn is_by_the_machine(&self) -> bool {
        !matches!(self.step, Step::Listen(_) | Step::SocketServer(_))
    }
}

fn hint(step: &Step, errno: Errno, settings: &Settings) -> Hint {
    let forbidden = matches!(errno, Errno::PERM | Errno::ACCESS);
    match step {
        Step::Listen(_) | Step::SocketServer(_) => Hint::Nothing,
        // ENOSPC is what unshare says at a limit of user.max_*_namespaces (namespaces(7)), 0 or reached
        Step::Namespace if errno == Errno::NOSPC || errno == Errno::USERS => match settings {
            Settings { max_user_namespaces: Some(0), .. } => Hint::UserNamespacesAtZero,
            Settings { max_net_namespaces: Some(0), .. } => Hint::NetworkNamespacesAtZero,
            _ => Hint::NamespaceLimit,
        },
        Step::Namespace if matches!(errno, Errno::INVAL | Errno::NOSYS) => Hint::NoNamespaces,
        Step::Namespace if forbidden && settings.unprivileged_userns_clone == Some(0) => Hint::UnprivilegedCloneOff,
        // AppArmor lets the namespace be made and then takes every capability in it, so any later step may fail
        _ if forbidden && settings.apparmor_restrict.is_some_and(|v| v != 0) => Hint::AppArmor,
        _ if forbidden && settings.seccomp => Hint::Seccomp,
        Step::Redirection(_)
            if matches!(errno, Errno::NOENT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) =>
        {
            Hint::NoNetfilter
        }
        _ => Hint::Nothing,
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.step, std::io::Error::from(self.errno), self.hint)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace => f.write_str("the kernel gives no network namespace"),
            Self::Mapping => f.write_str("the user cannot be mapped into a new user namespace"),
            Self::Loopback => f.write_str("the loopback link of the new network namespace cannot be set up"),
            Self::Redirection(part) => write!(f, "the kernel does not take the redirection (nf_tables, {part})"),
            Self::Listen(addr) => write!(f, "no socket can be opened at {addr} inside the network namespace"),
            Self::SocketServer(path) => write!(f, "no Unix socket can be opened at {path}"),
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserNamespacesAtZero => {
                "the sysctl user.max_user_namespaces is 0, expected a positive number; set it (`sysctl -w user.max_user_namespaces=15000`), or run as root"
            }
            Self::NetworkNamespacesAtZero => {
                "the sysctl user.max_net_namespaces is 0, expected a positive number; set it (`sysctl -w user.max_net_namespaces=15000`)"
            }
            Self::UnprivilegedCloneOff => {
                "the sysctl kernel.unprivileged_userns_clone is 0, expected 1; set it (`sysctl -w kernel.unprivileged_userns_clone=1`), or run as root"
            }
            Self::AppArmor => {
                "the sysctl kernel.apparmor_restrict_unprivileged_userns is on, so AppArmor takes a user namespace its rights; give this program an AppArmor profile with `userns,`, or set the sysctl to 0, or run as root"
            }
            Self::Seccomp => {
                "a seccomp filter is on this process, as in most containers, and it probably forbids namespaces; allow `unshare` in the container's seccomp profile, or run outside of the container"
            }
            Self::NamespaceLimit => {
                "the limit of namespaces is reached; end some, or raise the sysctls user.max_user_namespaces and user.max_net_namespaces"
            }
            Self::NoNetfilter => {
                "the kernel lacks nf_tables with nat, redirect and reject; load the modules (`modprobe -a nft_chain_nat nft_redir nft_reject_inet`) or use a kernel that has them"
            }
            Self::NoNamespaces => "the kernel is built without user or network namespaces; use one that has them",
            Self::Nothing => "see that the path and the limits of this user allow it, or run as root",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_setting() {
        let none = Settings::default();
        let user_zero = Settings { max_user_namespaces: Some(0), ..none.clone() };
        let net_zero = Settings { max_net_namespaces: Some(0), ..none.clone() };
        let debian = Settings { unprivileged_userns_clone: Some(0), ..none.clone() };
        let ubuntu = Settings { apparmor_restrict: Some(1), seccomp: true, ..none.clone() };
        let container = Settings { seccomp: true, ..none.clone() };
        let redirection = || Step::Redirection("rule 3 of chain nat".to_owned());
        for (step, errno, settings, expected) in [
            (Step::Namespace, Errno::NOSPC, &user_zero, "user.max_user_namespaces is 0"),
            (Step::Namespace, Errno::NOSPC, &net_zero, "user.max_net_namespaces is 0"),
            (Step::Namespace, Errno::NOSPC, &none, "limit of namespaces is reached"),
            (Step::Namespace, Errno::PERM, &debian, "kernel.unprivileged_userns_clone is 0"),
            (Step::Namespace, Errno::PERM, &container, "seccomp"),
            (Step::Namespace, Errno::INVAL, &none, "built without"),
            (Step::Mapping, Errno::PERM, &ubuntu, "kernel.apparmor_restrict_unprivileged_userns"),
            (Step::Loopback, Errno::PERM, &ubuntu, "kernel.apparmor_restrict_unprivileged_userns"),
            (redirection(), Errno::NOENT, &none, "modprobe"),
            (redirection(), Errno::PERM, &container, "seccomp"),
            (Step::SocketServer("/run/x".to_owned()), Errno::ACCESS, &ubuntu, "the path"),
        ] {
            let text = Refusal::new(step, errno, settings).to_string();
            assert!(text.contains(expected), "{text}");
        }
    }
}
