//! The table `inet halcyon`, spoken to nf_tables over netlink: what turns a program's connections to the sidecar.
//!
//! ```text
//! table inet halcyon {
//!   chain nat    { type nat hook output priority -100;
//!                  udp and tcp to port 53                    -> redirect to the DNS port
//!                  tcp to addresses of workloads             -> redirect to the outbound port
//!                  to the namespace's own addresses          -> accept
//!                  tcp                                       -> redirect to the outbound port }
//!   chain filter { type filter hook output priority 0;
//!                  to the namespace's own addresses          -> accept
//!                  counter, reject with admin-prohibited }
//! }
//! ```
//!
//! Where the sidecar does not get everything, the two rules that would redirect to it `goto` a chain `capture`, which holds
//! [`Redirects`] in their order and redirects what it does not get to the port of `bypass`.
//!
//! Port 53 comes first, so that a resolver on loopback (`nameserver 127.0.0.53`) is captured too. Workloads of this machine have
//! addresses of loopback (127.64.0.0/10), and each of them is somebody else, so they come before what is local. Only what was
//! redirected or is local passes the second chain, so nothing leaves beside the mesh. Numbers of messages, attributes
//! and expressions are those of the kernel's `linux/netfilter/nf_tables.h`; no `nft` program is needed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::netlink::{ACK, APPEND, CREATE_NEW, DUMP, Message, REQUEST, Refused, Socket, attributes};
use crate::redirects::Redirects;

/// The namespace's own IPv4 address that is no loopback one. With it `getaddrinfo` under `AI_ADDRCONFIG` believes that there
/// is IPv4.
pub(crate) const OWN_IPV4: Ipv4Addr = base::dummy::IPV4;
/// The same for IPv6; set only where the host has IPv6.
pub(crate) const OWN_IPV6: Ipv6Addr = base::dummy::IPV6;

const TABLE: &str = "halcyon";
/// Refuses what is neither redirected nor local.
const FILTER: &str = "filter";
/// Holds what the sidecar gets, where that is not everything.
const CAPTURE: &str = "capture";

/// Where captured traffic goes, both on the namespace's loopback address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Redirection {
    /// The sidecar's outbound listener.
    pub(crate) outbound: u16,
    /// The sidecar's DNS listeners, UDP and TCP.
    pub(crate) dns: u16,
    /// What the sidecar does not get.
    pub(crate) bypass: u16,
}

/// Sets up the table in the network namespace of this thread, all of it or nothing.
/// The error names the step (`rule 3 of chain nat`) that was refused.
pub(crate) fn install(redirection: Redirection, rules: &Redirects) -> Result<(), (String, rustix::io::Errno)> {
    let batch = Batch::of(redirection, rules);
    let socket = Socket::open(Some(rustix::net::netlink::NETFILTER));
    socket.and_then(|s| s.transact(&batch.bytes, batch.steps.len())).map_err(|Refused { sequence, errno }| {
        let step = sequence.and_then(|n| batch.steps.get((n as usize).checked_sub(1)?));
        (step.cloned().unwrap_or_else(|| "the batch".to_owned()), errno)
    })
}

/// How many packets the chain `filter` has refused in the network namespace of this thread.
pub(crate) fn refused() -> Result<u64, rustix::io::Errno> {
    let question = message(GETRULE, DUMP, 1).text(1, TABLE).text(2, FILTER).finish();
    let rules = Socket::open(Some(rustix::net::netlink::NETFILTER))?.dump(&question)?;
    Ok(rules.iter().filter_map(|rule| counted(rule.get(4..)?)).sum())
}

/// The packets that the counter of a rule has counted, if it has one.
fn counted(rule: &[u8]) -> Option<u64> {
    // NFTA_RULE_EXPRESSIONS, of each NFTA_EXPR_NAME and NFTA_EXPR_DATA, NFTA_COUNTER_PACKETS
    let of = |bytes, wanted| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let mut expressions = attributes(of(rule, 4)?).map(|(_, expression)| expression);
    let counter = expressions.find(|expression| of(expression, 1) == Some(b"counter\0"))?;
    Some(u64::from_be_bytes(of(of(counter, 2)?, 2)?.try_into().ok()?))
}

/// A whole transaction; message `n` of `steps` carries the sequence number `n + 1`.
struct Batch {
    bytes: Vec<u8>,
    steps: Vec<String>,
}

impl Batch {
    fn of(redirection: Redirection, rules: &Redirects) -> Self {
        let mut batch = Self { bytes: edge(BATCH_BEGIN), steps: Vec::new() };
        batch.step("the table".to_owned(), |n| message(NEWTABLE, ACK | CREATE_NEW, n).text(1, TABLE));
        let captured = match rules.are_all() {
            true => Expression::Redirect(redirection.outbound),
            false => {
                batch.called_chain(CAPTURE, &capture_rules(redirection, rules));
                Expression::Goto(CAPTURE)
            }
        };
        batch.chain("nat", "nat", -100, &nat_rules(redirection, captured));
        batch.chain(FILTER, "filter", 0, &filter_rules());
        batch.bytes.extend(edge(BATCH_END));
        batch
    }

    fn chain(&mut self, name: &str, kind: &str, priority: i32, rules: &[Vec<Expression>]) {
        self.step(format!("chain {name}"), |n| {
            message(NEWCHAIN, ACK | CREATE_NEW, n).text(1, TABLE).text(3, name).text(7, kind).nest(4, |hook| {
                hook.be32(1, HOOK_OUTPUT).be32(2, priority as u32) // NFTA_HOOK_HOOKNUM, _PRIORITY
            })
        });
        self.rules(name, rules);
    }

    /// A chain that others go to.
    fn called_chain(&mut self, name: &str, rules: &[Vec<Expression>]) {
        self.step(format!("chain {name}"), |n| message(NEWCHAIN, ACK | CREATE_NEW, n).text(1, TABLE).text(3, name));
        self.rules(name, rules);
    }

    fn rules(&mut self, name: &str, rules: &[Vec<Expression>]) {
        for (index, rule) in rules.iter().enumerate() {
            self.step(format!("rule {} of chain {name}", index + 1), |n| {
                message(NEWRULE, ACK | APPEND, n)
                    .text(1, TABLE)
                    .text(2, name)
                    .nest(4, |list| rule.iter().fold(list, |list, expression| expression.write(list)))
            });
        }
    }

    fn step(&mut self, name: String, write: impl FnOnce(u32) -> Message) {
        self.steps.push(name);
        self.bytes.extend(write(self.steps.len() as u32).finish());
    }
}

// Message kinds: nfnetlink's own, and those of the subsystem nf_tables (10) in the high byte.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u8 = 10;
const NEWTABLE: u16 = 0x0a00;
const NEWCHAIN: u16 = 0x0a03;
const NEWRULE: u16 = 0x0a06;
const GETRULE: u16 = 0x0a07;
const NFPROTO_INET: u8 = 1;
const HOOK_OUTPUT: u32 = 3;

fn message(kind: u16, flags: u16, sequence: u32) -> Message {
    // struct nfgenmsg: family, version, resource (unused here)
    Message::new(kind, REQUEST | flags, sequence).fixed(&[NFPROTO_INET, 0, 0, 0])
}

fn edge(kind: u16) -> Vec<u8> {
    Message::new(kind, REQUEST, 0).fixed(&[0, 0, 0, SUBSYSTEM]).finish()
}

const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// Where an IPv4 header has its destination address.
const IPV4_DESTINATION: u32 = 16;
/// Where an IPv6 header has it.
const IPV6_DESTINATION: u32 = 24;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What the sidecar gets, and what it does not: only TCP comes here, and nothing local.
fn capture_rules(redirection: Redirection, rules: &Redirects) -> Vec<Vec<Expression>> {
    let (sidecar, beside) =
        (|| Expression::Redirect(redirection.outbound), || Expression::Redirect(redirection.bypass));
    let port =
        |port: &u16| vec![Expression::Load(Place::Transport(2, 2)), Expression::Equals(port.to_be_bytes().to_vec())];
    let then = |mut rule: Vec<Expression>, last: Expression| {
        rule.push(last);
        rule
    };
    let mut all: Vec<_> = rules.exclude_ports.iter().map(|p| then(port(p), beside())).collect();
    all.extend(rules.exclude_blocks.iter().map(|b| then(destination(b), beside())));
    all.extend(rules.include_ports.iter().map(|p| then(port(p), sidecar())));
    match &rules.include_blocks {
        None => all.push(vec![sidecar()]),
        Some(blocks) => {
            all.extend(blocks.iter().map(|b| then(destination(b), sidecar())));
            all.push(vec![beside()]);
        }
    }
    all
}

fn destination(block: &IpNet) -> Vec<Expression> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (family, offset) = match block {
        IpNet::V4(_) => (IPV4, IPV4_DESTINATION),
        IpNet::V6(_) => (IPV6, IPV6_DESTINATION),
    };
    let network = octets(block.network());
    vec![
        Expression::Load(Place::Family),
        Expression::Equals(vec![family]),
        Expression::Load(Place::Network(offset, network.len() as u32)),
        Expression::Mask(octets(block.netmask())),
        Expression::Equals(network),
    ]
}

fn nat_rules(redirection: Redirection, captured: Expression) -> Vec<Vec<Expression>> {
    let mut rules = Vec::new();
    for protocol in [UDP, TCP] {
        let mut rule = transport_is(protocol);
        // both headers have the destination port in their bytes 2 and 3
        rule.extend([Expression::Load(Place::Transport(2, 2)), Expression::Equals(53u16.to_be_bytes().to_vec())]);
        rule.push(Expression::Redirect(redirection.dns));
        rules.push(rule);
    }
    let mut rule = vec![Expression::Load(Place::Family), Expression::Equals(vec![IPV4])];
    rule.extend(transport_is(TCP));
    rule.extend([
        Expression::Load(Place::Network(IPV4_DESTINATION, 4)),
        Expression::Mask(vec![255, 192, 0, 0]),
        Expression::Equals(vec![127, 64, 0, 0]),
        captured.clone(),
    ]);
    rules.push(rule);
    rules.extend(local_destinations());
    let mut rule = transport_is(TCP);
    rule.push(captured);
    rules.push(rule);
    rules
}

fn filter_rules() -> Vec<Vec<Expression>> {
    let mut rules = local_destinations();
    rules.push(vec![Expression::Counter, Expression::Reject]);
    rules
}

/// One rule each that accepts 127.0.0.0/8, `::1` and the two dummy addresses.
fn local_destinations() -> Vec<Vec<Expression>> {
    [
        (IPV4, IPV4_DESTINATION, vec![127]),
        (IPV4, IPV4_DESTINATION, OWN_IPV4.octets().to_vec()),
        (IPV6, IPV6_DESTINATION, Ipv6Addr::LOCALHOST.octets().to_vec()),
        (IPV6, IPV6_DESTINATION, OWN_IPV6.octets().to_vec()),
    ]
    .into_iter()
    .map(|(family, offset, prefix)| {
        vec![
            Expression::Load(Place::Family),
            Expression::Equals(vec![family]),
            Expression::Load(Place::Network(offset, prefix.len() as u32)),
            Expression::Equals(prefix),
            Expression::Accept,
        ]
    })
    .collect()
}

fn transport_is(protocol: u8) -> Vec<Expression> {
    vec![Expression::Load(Place::TransportProtocol), Expression::Equals(vec![protocol])]
}

/// What a rule does, step by step; all steps share register 1.
#[derive(Clone)]
enum Expression {
    Load(Place),
    /// Leaves of the register the bits of this mask.
    Mask(Vec<u8>),
    /// Ends the rule unless the register begins with these bytes.
    Equals(Vec<u8>),
    Redirect(u16),
    /// Goes on in another chain, and does not come back.
    Goto(&'static str),
    Accept,
    Counter,
    Reject,
}

/// What is loaded: packet data (offset, length), or what the kernel knows of the packet.
#[derive(Clone, Copy)]
enum Place {
    Family,
    TransportProtocol,
    Network(u32, u32),
    Transport(u32, u32),
}

const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NFT_GOTO: u32 = -4i32 as u32;
const PORT_SPECIFIED: u32 = 2;
const REJECT_ICMPX: u32 = 2;
const ADMIN_PROHIBITED: u8 = 3;

impl Expression {
    fn write(&self, list: Message) -> Message {
        match self {
            Self::Load(place) => place.write(list),
            // NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR
            Self::Mask(mask) => element(list, "bitwise", |data| {
                let data = data.be32(1, REGISTER).be32(2, REGISTER).be32(3, mask.len() as u32);
                let data = data.nest(4, |value| value.attribute(1, mask));
                data.nest(5, |value| value.attribute(1, &vec![0; mask.len()]))
            }),
            // NFTA_CMP_SREG, _OP (0: equal), _DATA
            Self::Equals(bytes) => element(list, "cmp", |data| {
                data.be32(1, REGISTER).be32(2, 0).nest(3, |value| value.attribute(1, bytes))
            }),
            // the port goes to the register first: NFTA_REDIR_REG_PROTO_MIN, _FLAGS
            Self::Redirect(port) => element(
                element(list, "immediate", |data| {
                    data.be32(1, REGISTER).nest(2, |value| value.attribute(1, &port.to_be_bytes()))
                }),
                "redir",
                |data| data.be32(1, REGISTER).be32(3, PORT_SPECIFIED),
            ),
            // NFTA_VERDICT_CODE, _CHAIN
            Self::Goto(chain) => element(list, "immediate", |data| {
                data.be32(1, VERDICT_REGISTER)
                    .nest(2, |value| value.nest(2, |verdict| verdict.be32(1, NFT_GOTO).text(2, chain)))
            }),
            Self::Accept => element(list, "immediate", |data| {
                data.be32(1, VERDICT_REGISTER).nest(2, |value| value.nest(2, |verdict| verdict.be32(1, NF_ACCEPT)))
            }),
            Self::Counter => element(list, "counter", |data| data),
            Self::Reject => {
                element(list, "reject", |data| data.be32(1, REJECT_ICMPX).attribute(2, &[ADMIN_PROHIBITED]))
            }
        }
    }
}

impl Place {
    fn write(&self, list: Message) -> Message {
        // NFTA_META_KEY, _DREG
        let meta = |list, key| element(list, "meta", |data| data.be32(2, key).be32(1, REGISTER));
        // NFTA_PAYLOAD_DREG, _BASE, _OFFSET, _LEN
        let payload = |list, base, offset, length| {
            element(list, "payload", |data| data.be32(1, REGISTER).be32(2, base).be32(3, offset).be32(4, length))
        };
        match *self {
            Self::Family => meta(list, 15),
            Self::TransportProtocol => meta(list, 16),
            Self::Network(offset, length) => payload(list, 1, offset, length),
            Self::Transport(offset, length) => payload(list, 2, offset, length),
        }
    }
}

/// One element of a rule's list: NFTA_LIST_ELEM with NFTA_EXPR_NAME and NFTA_EXPR_DATA.
fn element(list: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    list.nest(1, |expression| expression.text(1, name).nest(2, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole batch, one message a line. The payloads were compared with what `nft` 1.1 sends for the same rules: they
    /// are the same byte for byte, save that it also sends the table's flags, which are zero; the rule for workloads' addresses
    /// was not compared.
    #[test]
    fn golden() {
        let redirection = Redirection { outbound: 15001, dns: 15053, bypass: 15002 };
        check(Batch::of(redirection, &Redirects::default()), include_str!("nftables.golden"));
        let rules = Redirects {
            include_blocks: Some(vec!["2001:db8::/32".parse().unwrap()]),
            exclude_blocks: vec!["10.0.0.0/9".parse().unwrap()],
            include_ports: vec![8080],
            exclude_ports: vec![5432],
        };
        check(Batch::of(redirection, &rules), include_str!("nftables-narrowed.golden"));
    }

    fn check(batch: Batch, golden: &str) {
        let mut names = vec!["begin".to_owned()];
        names.extend(batch.steps);
        names.push("end".to_owned());
        let mut rest = &batch.bytes[..];
        let mut lines = String::new();
        for name in names {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
            let (message, after) = rest.split_at(length);
            let hex: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
            lines.push_str(&format!("{name}: {hex}\n"));
            rest = after;
        }
        assert!(rest.is_empty());
        if cfg!(target_endian = "little") {
            assert_eq!(lines, golden, "got:\n{lines}");
        }
    }
}
