//! The small texts that strangers send: hosts, authorities, identities, durations, trace contexts. What is read is
//! written and read back to the same value.

#![no_main]

use std::time::Duration;

use base::trace::TraceContext;
use base::{HostPattern, SpiffeId, TrustDomain};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(pattern) = text.parse::<HostPattern>() {
        assert_eq!(pattern.to_string().parse::<HostPattern>().as_ref(), Ok(&pattern));
        assert!(pattern.covers(&pattern));
    }
    let (host, port) = base::host::split_authority(text);
    assert!(text.starts_with(host) && port.is_none_or(|_| host.len() < text.len()));
    if let Ok(id) = text.parse::<SpiffeId>() {
        assert_eq!(id.as_str().parse::<SpiffeId>().as_ref(), Ok(&id));
        assert_eq!(id.namespace().is_some(), id.service_account().is_some());
    }
    if let Ok(domain) = text.parse::<TrustDomain>() {
        assert_eq!(domain.as_str().parse::<TrustDomain>().as_ref(), Ok(&domain));
    }
    // Longer ones may lose nanoseconds.
    if let Ok(duration) = base::parse_duration(text)
        && duration < Duration::from_secs(24 * 3600)
    {
        let written = base::format_duration(duration);
        assert_eq!(base::parse_duration(&written).as_ref(), Ok(&duration), "{written}");
    }
    if let Some(context) = TraceContext::from_traceparent(text) {
        assert!(
            std::str::from_utf8(&context.traceparent())
                .is_ok_and(|again| TraceContext::from_traceparent(again).is_some()),
            "{text}"
        );
    }
    if let Some(context) = TraceContext::from_b3_single(text) {
        assert!(TraceContext::from_b3_single(&context.to_b3_single()).is_some(), "{text}");
    }
});
