//! Selecting the filter chain of a connection, by Envoy's order of criteria.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::FilterChain;

/// When a chain is used. An empty criterion fits everything, but less well than one that names the value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainMatch {
    /// The (original) destination port.
    pub destination_port: Option<u16>,
    /// The (original) destination address.
    pub destination_ranges: Vec<IpNet>,
    /// The server name sent in TLS: exact, or `*.suffix`.
    pub server_names: Vec<String>,
    /// TLS or not.
    pub transport: Option<TransportKind>,
    /// A protocol offered by ALPN, or found by looking at the first bytes (`http/1.0`, `http/1.1`, `h2c`).
    pub application_protocols: Vec<String>,
    /// The address of the peer.
    pub source_ranges: Vec<IpNet>,
}

/// TLS or not (xDS `transport_protocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// `raw_buffer`
    Plain,
    /// `tls`
    Tls,
}

/// What is known of a connection before its chain is selected.
#[derive(Debug, Clone)]
pub struct Inspected<'a> {
    /// Where it was meant to go.
    pub destination: SocketAddr,
    /// Who opened it.
    pub source: SocketAddr,
    /// TLS or not.
    pub transport: TransportKind,
    /// The server name sent in TLS, in lower case.
    pub server_name: Option<&'a str>,
    /// The protocols offered by ALPN or found by inspection.
    pub application_protocols: &'a [String],
}

/// The index of the chain that fits best. As in Envoy, criteria are compared one after the other (port, address,
/// server name, transport, application protocols, source), at each only the most specific fits stay, and there is no
/// way back to a chain that fell out.
pub fn select(chains: &[FilterChain], seen: &Inspected<'_>) -> Option<usize> {
    let mut left: Vec<usize> = (0..chains.len()).collect();
    let steps: [&dyn Fn(&ChainMatch) -> Option<u32>; 6] = [
        &|m| rank(m.destination_port.as_slice(), |p| (*p == seen.destination.port()).then_some(1)),
        &|m| rank(&m.destination_ranges, |net| range_rank(net, seen.destination.ip())),
        &|m| rank(&m.server_names, |name| server_name_rank(name, seen.server_name)),
        &|m| rank(m.transport.as_slice(), |t| (*t == seen.transport).then_some(1)),
        &|m| rank(&m.application_protocols, |p| seen.application_protocols.contains(p).then_some(1)),
        &|m| rank(&m.source_ranges, |net| range_rank(net, seen.source.ip())),
    ];
    for step in steps {
        let best = left.iter().filter_map(|i| step(&chains[*i].matches)).max()?;
        left.retain(|i| step(&chains[*i].matches) == Some(best));
    }
    left.first().copied()
}

/// Zero for an empty criterion, else the best rank of its values; none when no value fits.
fn rank<T>(values: &[T], fit: impl Fn(&T) -> Option<u32>) -> Option<u32> {
    if values.is_empty() { Some(0) } else { values.iter().filter_map(fit).max() }
}

fn range_rank(net: &IpNet, ip: IpAddr) -> Option<u32> {
    net.contains(&ip).then(|| 1 + u32::from(net.prefix_len()))
}

fn server_name_rank(pattern: &str, name: Option<&str>) -> Option<u32> {
    let name = name?;
    match pattern.strip_prefix('*') {
        Some(suffix) => (name.len() > suffix.len() && name.ends_with(suffix)).then(|| 1 + suffix.len() as u32),
        None => (pattern == name).then_some(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NetworkFilter, TcpProxy};

    fn chain(matches: ChainMatch) -> FilterChain {
        FilterChain { matches, ..FilterChain::new("c", NetworkFilter::Tcp(TcpProxy::to("x"))) }
    }

    fn check(chains: &[ChainMatch], seen: Inspected<'_>, expected: Option<usize>) {
        let built: Vec<_> = chains.iter().cloned().map(chain).collect();
        assert_eq!(select(&built, &seen), expected, "{chains:?} on {seen:?}");
    }

    fn plain(destination: &str) -> Inspected<'static> {
        Inspected {
            destination: destination.parse().unwrap(),
            source: "10.0.0.9:1000".parse().unwrap(),
            transport: TransportKind::Plain,
            server_name: None,
            application_protocols: &[],
        }
    }

    #[test]
    fn ports_and_ranges() {
        let port = |p| ChainMatch { destination_port: Some(p), ..ChainMatch::default() };
        let range = |n: &str| ChainMatch { destination_ranges: vec![n.parse().unwrap()], ..ChainMatch::default() };
        check(&[ChainMatch::default(), port(80)], plain("1.2.3.4:80"), Some(1));
        check(&[ChainMatch::default(), port(80)], plain("1.2.3.4:81"), Some(0));
        check(&[port(80)], plain("1.2.3.4:81"), None);
        check(&[range("1.0.0.0/8"), range("1.2.0.0/16")], plain("1.2.3.4:81"), Some(1));
        check(&[range("2.0.0.0/8"), ChainMatch::default()], plain("1.2.3.4:81"), Some(1));
    }

    #[test]
    fn tls_and_protocols() {
        let tls = ChainMatch { transport: Some(TransportKind::Tls), ..ChainMatch::default() };
        let name = |n: &str| ChainMatch { server_names: vec![n.into()], ..tls.clone() };
        let http = ChainMatch { application_protocols: vec!["http/1.1".into(), "h2c".into()], ..ChainMatch::default() };
        let alpn = ["h2".to_owned()];
        let hello = |n| Inspected {
            transport: TransportKind::Tls,
            server_name: Some(n),
            application_protocols: &alpn,
            ..plain("1.2.3.4:443")
        };
        check(&[tls.clone(), ChainMatch::default()], hello("a.b.c"), Some(0));
        check(&[name("*.b.c"), name("a.b.c"), name("*.c")], hello("a.b.c"), Some(1));
        check(&[name("*.b.c"), name("a.b.c"), name("*.c")], hello("x.b.c"), Some(0));
        check(&[name("*.b.c")], hello("b.c"), None);
        let found = ["h2c".to_owned()];
        check(
            &[ChainMatch::default(), http],
            Inspected { application_protocols: &found, ..plain("1.1.1.1:1") },
            Some(1),
        );
    }

    #[test]
    fn no_way_back() {
        let by_port =
            ChainMatch { destination_port: Some(80), transport: Some(TransportKind::Tls), ..ChainMatch::default() };
        check(&[by_port, ChainMatch::default()], plain("1.2.3.4:80"), None);
    }
}
