//! The machine before and after: processes, network namespaces, mounts, interfaces, packet rules, files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use crate::place::Place;
use crate::{poll, process};

/// What the machine has that a run could leave behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Footprint {
    mounts: BTreeSet<String>,
    interfaces: BTreeSet<String>,
    packet_tables: BTreeSet<String>,
    files: BTreeSet<PathBuf>,
}

impl Footprint {
    /// Looks.
    pub fn take() -> Result<Self> {
        Ok(Self {
            mounts: std::fs::read_to_string("/proc/self/mounts")?.lines().map(str::to_owned).collect(),
            interfaces: names(Path::new("/sys/class/net"), |_| true)
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            packet_tables: packet_tables()?,
            files: files(),
        })
    }
}

/// Files that programs of ours (or a stock Envoy) could have made outside of this run's folder.
fn files() -> BTreeSet<PathBuf> {
    let ours = |name: &str| {
        let made = ["halcyon-demo", "halcyon-workload", "bookinfo", "origins", "envoy_shared_memory"];
        made.iter().any(|start| name.starts_with(start))
    };
    let mut found = BTreeSet::new();
    for folder in [std::env::temp_dir(), "/tmp".into(), "/dev/shm".into(), "/run/netns".into(), "/run/halcyon".into()] {
        let every = folder.starts_with("/run");
        found.extend(names(&folder, |name| every || ours(name)));
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    found.extend(Some(home.join(".local/share/halcyon")).filter(|path| path.exists()));
    found
}

fn names(folder: &Path, wanted: impl Fn(&str) -> bool) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| wanted(&entry.file_name().to_string_lossy())).map(|entry| entry.path()).collect()
}

/// What was seen of this run while it ran.
#[derive(Debug, Default)]
pub struct Traces {
    namespaces: BTreeSet<PathBuf>,
    most_processes: usize,
}

impl Traces {
    /// Notes the network namespaces of this run's processes.
    pub fn look(&mut self, mark: &str) {
        let own = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
        let marked = process::marked(mark);
        self.most_processes = self.most_processes.max(marked.len());
        let namespaces = marked.iter().filter_map(|p| std::fs::read_link(format!("/proc/{}/ns/net", p.pid)).ok());
        self.namespaces.extend(namespaces.filter(|namespace| *namespace != own));
    }

    /// Is everything as it was? What this run started gets a moment to be gone.
    pub async fn compare(&self, before: &Footprint, place: &Place) -> Result<String> {
        let gone = poll::until("the processes of this run are gone", Duration::from_secs(5), async || {
            let left = process::marked(&place.mark);
            let shown: Vec<String> = left.iter().map(|p| format!("{} ({})", p.program, p.pid)).collect();
            ensure!(left.is_empty(), "still there: {}", shown.join(", "));
            Ok(())
        });
        let gone = gone.await;
        // Nobody else will end them, and they are this run's: they carry its mark.
        process::marked(&place.mark).iter().for_each(|p| process::send(p.pid, rustix::process::Signal::KILL));
        gone?;
        let held = self.namespaces.intersection(&held_namespaces()).cloned().collect::<Vec<_>>();
        ensure!(held.is_empty(), "network namespaces that are still held: {held:?}");
        let after = Footprint::take()?;
        same("mounts", &before.mounts, &after.mounts)?;
        same("interfaces", &before.interfaces, &after.interfaces)?;
        same("tables of packet rules", &before.packet_tables, &after.packet_tables)?;
        same("files", &before.files, &after.files)?;
        let left = names(&place.temp(), |_| true);
        ensure!(left.is_empty(), "temporary files are left: {left:?}");
        Ok(format!("of {} processes at once and {} namespaces", self.most_processes, self.namespaces.len()))
    }
}

/// What is new. What is gone was somebody else's.
fn same<T: Ord + std::fmt::Debug>(what: &str, before: &BTreeSet<T>, after: &BTreeSet<T>) -> Result<()> {
    let new: Vec<_> = after.difference(before).collect();
    ensure!(new.is_empty(), "{what} that were not there before: {new:?}");
    Ok(())
}

/// Every network namespace that a process of the machine is in, or holds open.
fn held_namespaces() -> BTreeSet<PathBuf> {
    let mut held = BTreeSet::new();
    for pid in process::all().into_keys() {
        held.extend(std::fs::read_link(format!("/proc/{pid}/ns/net")));
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let targets = open.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        held.extend(targets.filter(|to| to.to_string_lossy().starts_with("net:")));
    }
    held
}

/// The names of the nf_tables tables in this process's network namespace. Empty for who may not have made any.
fn packet_tables() -> Result<BTreeSet<String>> {
    let flags = SocketFlags::CLOEXEC;
    let kind = Some(netlink::NETFILTER);
    let Ok(socket) = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, kind) else {
        return Ok(BTreeSet::new());
    };
    // struct nlmsghdr, then struct nfgenmsg: NFT_MSG_GETTABLE of the subsystem nf_tables, as a dump.
    const GET_TABLE: u16 = 0x0a01;
    const REQUEST_AND_DUMP: u16 = 0x0301;
    let mut question = Vec::from(20u32.to_ne_bytes());
    question.extend(GET_TABLE.to_ne_bytes());
    question.extend(REQUEST_AND_DUMP.to_ne_bytes());
    question.extend([0; 12]);
    if rustix::net::send(&socket, &question, SendFlags::empty()).is_err() {
        return Ok(BTreeSet::new());
    }
    let mut tables = BTreeSet::new();
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        let (_, length) = match rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty()) {
            Err(Errno::INTR) => continue,
            answer => answer?,
        };
        if !read_tables(&buffer[..length], &mut tables) {
            return Ok(tables);
        }
    }
}

/// Reads the messages of one datagram. False: the dump is over.
fn read_tables(datagram: &[u8], tables: &mut BTreeSet<String>) -> bool {
    let mut rest = datagram;
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    const NAME: u16 = 1;
    const HEADERS: usize = 16 + 4;
    while let Some((head, kind)) = rest.first_chunk::<4>().zip(rest.get(4..6)) {
        let length = u32::from_ne_bytes(*head) as usize;
        let kind = u16::from_ne_bytes([kind[0], kind[1]]);
        if kind == ERROR || kind == DONE || length < HEADERS || length > rest.len() {
            return false;
        }
        let family = rest[16];
        let mut attributes = &rest[HEADERS..length];
        while let Some(&[a, b, c, d]) = attributes.first_chunk::<4>() {
            let size = usize::from(u16::from_ne_bytes([a, b]));
            if size < 4 || size > attributes.len() {
                break;
            }
            if u16::from_ne_bytes([c, d]) == NAME {
                let name = String::from_utf8_lossy(&attributes[4..size]);
                tables.insert(format!("family {family}: {}", name.trim_end_matches('\0')));
            }
            attributes = attributes.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    !datagram.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tables and the end, as the kernel writes them.
    #[test]
    fn tables_of_a_dump() {
        let message = |kind: u16, body: &[u8]| {
            let mut bytes = Vec::from((16 + body.len() as u32).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let table = |family: u8, name: &str| {
            let mut body = vec![family, 0, 0, 0];
            body.extend((4 + name.len() as u16 + 1).to_ne_bytes());
            body.extend(1u16.to_ne_bytes());
            body.extend(name.as_bytes());
            body.resize(body.len() + 1, 0);
            body.resize(body.len().next_multiple_of(4), 0);
            message(0x0a00, &body)
        };
        let mut tables = BTreeSet::new();
        let datagram = [table(1, "halcyon"), table(2, "nat")].concat();
        assert!(read_tables(&datagram, &mut tables));
        assert!(!read_tables(&message(3, &[0; 4]), &mut tables));
        assert_eq!(tables.into_iter().collect::<Vec<_>>(), ["family 1: halcyon", "family 2: nat"]);
    }

    #[test]
    fn only_what_is_new_counts() {
        let set = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
        assert!(same("x", &set(&["a", "b"]), &set(&["a"])).is_ok());
        assert!(same("x", &set(&["a"]), &set(&["a", "b"])).is_err());
    }
}
