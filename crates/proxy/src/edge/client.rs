//! Who the client is: the peer itself, or an address that trusted proxies in front of us wrote into `x-forwarded-for`.

use std::net::IpAddr;

use http::header::{HeaderMap, HeaderName};
use model::HttpProxy;

use super::Caller;
use crate::marks::Marks;

pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A client, and whether its address is all that there was of `x-forwarded-for`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    /// The address; none if there is no trusted one.
    pub address: Option<IpAddr>,
    /// Nobody else stands in the header.
    pub alone: bool,
}

/// The client of a request as it came in, before anything is appended to its head.
pub(super) fn of(headers: &HeaderMap, marks: Marks, proxy: &HttpProxy, caller: &Caller) -> Client {
    let hops = proxy.edge.trusted_hops as usize;
    if !proxy.use_remote_address {
        return from_end(headers, hops);
    }
    let alone = !marks.has(Marks::FORWARDED_FOR);
    let trusted = if hops > 0 { from_end(headers, hops - 1).address } else { None };
    Client { address: trusted.or(Some(caller.address)), alone }
}

/// The client of a request whose head is complete, for logs.
pub(crate) fn address(headers: &HeaderMap, proxy: &HttpProxy, caller: &Caller) -> IpAddr {
    let hops = proxy.edge.trusted_hops as usize;
    let appended = proxy.use_remote_address && !proxy.edge.skip_forwarded_for;
    let found = match proxy.use_remote_address {
        true if hops == 0 => None,
        // The peer, which we have appended, is one of the hops.
        true => from_end(headers, hops - usize::from(!appended)).address,
        false => from_end(headers, hops).address,
    };
    found.unwrap_or(caller.address)
}

/// The address in `x-forwarded-for` before the last `skip` ones.
pub(crate) fn forwarded(headers: &HeaderMap, skip: usize) -> Option<IpAddr> {
    from_end(headers, skip).address
}

/// The address before the last `skip` ones.
fn from_end(headers: &HeaderMap, skip: usize) -> Client {
    let lines = headers.get_all(FORWARDED_FOR).iter().rev().map(|line| line.to_str().unwrap_or_default());
    let mut entries = lines.flat_map(|line| line.rsplit(',')).skip(skip);
    let address = entries.next().and_then(|entry| entry.trim().parse().ok());
    let alone = skip == 0 && address.is_some() && entries.next().is_none();
    Client { address, alone }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use model::http_proxy::RouteSource;

    #[test]
    fn who_it_is() {
        let caller = Caller::new("10.0.0.9:1".parse().unwrap(), "10.0.0.1:80".parse().unwrap(), None, None);
        for (remote, hops, lines, expected, alone) in [
            (true, 0, &["1.1.1.1"][..], "10.0.0.9", false),
            (true, 0, &[], "10.0.0.9", true),
            (true, 1, &["1.1.1.1, 2.2.2.2"], "2.2.2.2", false),
            (true, 2, &["1.1.1.1, 2.2.2.2"], "1.1.1.1", false),
            (true, 3, &["1.1.1.1, 2.2.2.2"], "10.0.0.9", false),
            (true, 2, &["1.1.1.1", "2.2.2.2"], "1.1.1.1", false),
            (true, 1, &["junk"], "10.0.0.9", false),
            (false, 0, &["1.1.1.1"], "1.1.1.1", true),
            (false, 0, &["1.1.1.1,::2"], "::2", false),
            (false, 1, &["1.1.1.1,::2"], "1.1.1.1", false),
            (false, 0, &[], "10.0.0.9", false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
            }
            let mut proxy = HttpProxy::new("x", RouteSource::Rds("r".into()));
            (proxy.use_remote_address, proxy.edge.trusted_hops) = (remote, hops);
            let client = of(&headers, Marks::of(&headers), &proxy, &caller);
            let case = format!("{remote} {hops} {lines:?}");
            assert_eq!(client.address.unwrap_or(caller.address).to_string(), expected, "{case}");
            assert_eq!(client.alone, alone, "{case}");
            for skip in [false, true] {
                proxy.edge.skip_forwarded_for = skip;
                let mut sent = headers.clone();
                if remote && !skip {
                    sent.append(FORWARDED_FOR, HeaderValue::from_static("10.0.0.9"));
                }
                assert_eq!(address(&sent, &proxy, &caller).to_string(), expected, "{case}, after");
            }
        }
    }
}
