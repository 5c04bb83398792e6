//! Filters that change heads and bodies, and what routes say to them.

use model::buffer::BufferRule;
use model::compression::{Brotli, BrotliMode, CompressorRule, ETags, Encoding, Gzip, Zstd};
use model::mutation::{HeaderEdit, Mutations};
use model::route::FilterRule;

use super::*;

pub fn filter_name() -> impl Strategy<Value = Arc<str>> {
    "f-[a-z]{1,3}".prop_map(Arc::from)
}

fn encoding() -> impl Strategy<Value = Encoding> {
    let gzip = (1u8..=9, 9u8..=15).prop_map(|(level, window_bits)| Gzip { level, window_bits });
    let mode = select(vec![BrotliMode::Generic, BrotliMode::Text, BrotliMode::Font]);
    let brotli = (0u8..=11, mode, 10u8..=24, 16u8..=24, any::<bool>()).prop_map(
        |(quality, mode, window_bits, block_bits, literal_contexts)| Brotli {
            quality,
            mode,
            window_bits,
            block_bits,
            literal_contexts,
        },
    );
    let zstd = (1u8..=22, any::<bool>(), of(1u8..=9)).prop_map(|(level, checksum, strategy)| Zstd {
        level,
        checksum,
        strategy,
    });
    prop_oneof![gzip.prop_map(Encoding::Gzip), brotli.prop_map(Encoding::Brotli), zstd.prop_map(Encoding::Zstd)]
}

fn compressor() -> impl Strategy<Value = Compressor> {
    let etags = select(vec![ETags::Remove, ETags::Weaken, ETags::Refrain]);
    let statuses = vec(200u16..600, 0..3);
    (filter_name(), encoding(), 1u32..9000, vec(string_match(), 0..3), etags, statuses, any::<[bool; 3]>()).prop_map(
        |(name, encoding, min_length, types, etags, except_statuses, flags)| Compressor {
            name,
            encoding,
            enabled: flags[0],
            min_length,
            types,
            etags,
            hide_accept_encoding: flags[1],
            except_statuses,
            preferred: flags[2],
        },
    )
}

fn mutations() -> impl Strategy<Value = Mutations> {
    let edits = || {
        let edit = prop_oneof![
            header_name().prop_map(HeaderEdit::Remove),
            string_match().prop_map(HeaderEdit::RemoveMatching),
            header_write().prop_map(HeaderEdit::Write),
        ];
        vec(edit, 0..4)
    };
    (edits(), edits()).prop_map(|(request, response)| Mutations { request, response })
}

/// What a route or virtual host says, by the filters' names.
pub fn filter_rule() -> BoxedStrategy<(Arc<str>, FilterRule)> {
    let compressor = prop_oneof![
        Just(CompressorRule::Off),
        Just(CompressorRule::Same),
        of(any::<bool>()).prop_map(|hide_accept_encoding| CompressorRule::On { hide_accept_encoding }),
    ];
    let buffer = prop_oneof![Just(BufferRule::Off), (1..=u32::MAX).prop_map(BufferRule::Limit)];
    let rule = prop_oneof![
        compressor.prop_map(FilterRule::Compressor),
        mutations().prop_map(FilterRule::HeaderMutation),
        buffer.prop_map(FilterRule::Buffer),
        Just(FilterRule::Access(None)),
        jwt::route_rule().prop_map(FilterRule::Jwt).boxed(),
        ext_authz::route_rule().prop_map(FilterRule::ExtAuthz).boxed(),
        extension::lua_rule().prop_map(|rule| FilterRule::Lua(Arc::new(rule))).boxed(),
    ];
    // Rules of access have the name under which they are said.
    let access = access::access(filter_name())
        .prop_map(|access| (access.name.clone(), FilterRule::Access(Some(Arc::new(access)))));
    prop_oneof![5 => (filter_name(), rule), 1 => access].boxed()
}

/// A filter of a chain.
pub fn http_filter() -> BoxedStrategy<HttpFilter> {
    let own = fault().prop_filter("a filter without faults has none", |f| f.delay.is_some() || f.abort.is_some());
    let mutation = (filter_name(), mutations(), any::<bool>()).prop_map(|(name, own, route_last)| HeaderMutation {
        name,
        own,
        route_last,
    });
    let buffer = (filter_name(), 1..=u32::MAX).prop_map(|(name, max_bytes)| Buffer { name, max_bytes });
    prop_oneof![
        of(own).prop_map(HttpFilter::Fault),
        Just(HttpFilter::Cors),
        compressor().prop_map(|it| HttpFilter::Compressor(Box::new(it))),
        Just(HttpFilter::GrpcWeb),
        dns_cache().prop_map(HttpFilter::DynamicForward),
        mutation.prop_map(|it| HttpFilter::HeaderMutation(Box::new(it))),
        buffer.prop_map(HttpFilter::Buffer),
        access::access(filter_name()).prop_map(|access| HttpFilter::Access(Box::new(access))),
        (limits::local(), of(name()))
            .prop_map(|(limits, policy)| { HttpFilter::LocalRateLimit(Arc::new(LocalRateLimit { policy, ..limits })) }),
        (limits::global(), of(name())).prop_map(|(limits, policy)| {
            HttpFilter::GlobalRateLimit(Arc::new(GlobalRateLimit { policy, ..limits }))
        }),
        jwt::jwt().prop_map(|it| HttpFilter::Jwt(Arc::new(it))).boxed(),
        ext_authz::ext_authz().prop_map(|it| HttpFilter::ExtAuthz(Arc::new(it))).boxed(),
        oauth2::oauth2().prop_map(|it| HttpFilter::OAuth2(Arc::new(it))).boxed(),
        extension::lua(filter_name()).prop_map(|it| HttpFilter::Lua(Arc::new(it))).boxed(),
        extension::wasm(filter_name()).prop_map(|it| HttpFilter::Wasm(Arc::new(it))).boxed(),
        limits::concurrency().prop_map(|limit| HttpFilter::AdaptiveConcurrency(Arc::new(limit))),
    ]
    .boxed()
}
