//! The rights that a program is not to have in its namespace: those by which it could leave it, or change what is captured.
//!
//! A program of root would keep all of them: it could enter the host's network namespace again (`setns`), take over a process
//! that is there (`ptrace`), or change the rules of nf_tables. Without privileges the user namespace gives rights over the new
//! network namespace, which hardly any program ever sees, but an executable file with capabilities would.

use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// What is taken: rights over networks and namespaces, over other processes and over the kernel.
const TAKEN: [CapabilitySet; 8] = [
    CapabilitySet::NET_ADMIN,
    CapabilitySet::NET_RAW,
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SYS_PTRACE,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::BPF,
    CapabilitySet::PERFMON,
];

/// Takes these rights from this process and from all that it becomes or starts.
///
/// # Errors
/// The kernel does not let it: the program must not run then.
pub(super) fn give_up() -> io::Result<()> {
    for right in TAKEN {
        match remove_capability_from_bounding_set(right) {
            // Older kernels do not know the newest ones.
            Ok(()) | Err(Errno::INVAL) => {}
            // Who has no rights cannot give up those that files would give it: so files give it none.
            Err(Errno::PERM) => {
                set_no_new_privs(true)?;
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    clear_ambient_capability_set()?;
    let taken = TAKEN.into_iter().collect::<CapabilitySet>();
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None)?;
    let left = |set: CapabilitySet| set.difference(taken);
    let sets =
        CapabilitySets { effective: left(effective), permitted: left(permitted), inheritable: left(inheritable) };
    Ok(set_capabilities(None, sets)?)
}
