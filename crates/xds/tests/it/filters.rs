//! What is refused of filters that change heads and bodies, by its path; and what of Envoy's older forms is understood.

use model::compression::{ETags, Encoding, Gzip};
use model::concurrency::{Baseline, Measuring};
use model::http_proxy::HttpFilter;
use model::{AdaptiveConcurrency, NetworkFilter, StringMatch};
use prost::Name;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::listener::v3 as listener;
use proto::envoy::config::route::v3 as route;
use proto::envoy::extensions::compression::{brotli, gzip, zstd};
use proto::envoy::extensions::filters::http as wire;
use proto::envoy::extensions::filters::http::adaptive_concurrency::v3::GradientControllerConfig;
use proto::envoy::extensions::filters::http::adaptive_concurrency::v3::adaptive_concurrency::ConcurrencyControllerConfig;
use proto::envoy::extensions::filters::http::adaptive_concurrency::v3::gradient_controller_config::{
    ConcurrencyLimitCalculationParams, MinimumRttCalculationParams,
};
use proto::envoy::extensions::filters::http::compressor::v3::compressor::{
    CommonDirectionConfig, RequestDirectionConfig, ResponseDirectionConfig,
};
use proto::envoy::extensions::filters::http::jwt_authn::v3 as jwt;
use proto::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::r#type::v3::{HttpStatus, Percent};
use proto::google::protobuf::{Any, BoolValue, Duration, UInt32Value};
use xds::decode::{self, DecodeError};

pub fn pack<M: Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// The filter of a listener that has this one and the router.
pub fn read(config: Any) -> Result<HttpFilter, DecodeError> {
    let router = wire::router::v3::Router::default();
    let filter = |name: &str, config| hcm::HttpFilter {
        name: name.into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    let table = route::RouteConfiguration::default();
    let http = hcm::HttpConnectionManager {
        http_filters: vec![filter("mine", config), filter("router", pack(&router))],
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(table)),
        ..Default::default()
    };
    let http = listener::Filter {
        name: "f".into(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(pack(&http))),
    };
    let wire = listener::Listener {
        name: "l".into(),
        address: Some(core::Address {
            address: Some(core::address::Address::Pipe(core::Pipe { path: "/p".into(), mode: 0 })),
        }),
        filter_chains: vec![listener::FilterChain { filters: vec![http], ..Default::default() }],
        ..Default::default()
    };
    let mut found = decode::listener(&pack(&wire))?;
    match found.chains.remove(0).filter {
        NetworkFilter::Http(http) => Ok(http.filters[0].clone()),
        other => panic!("{other:?}"),
    }
}

fn library<M: Name>(settings: &M) -> Option<core::TypedExtensionConfig> {
    Some(core::TypedExtensionConfig { name: "text".into(), typed_config: Some(pack(settings)) })
}

fn compressor(change: impl FnOnce(&mut wire::compressor::v3::Compressor)) -> Any {
    let compressor_library = library(&gzip::compressor::v3::Gzip::default());
    let mut compressor = wire::compressor::v3::Compressor { compressor_library, ..Default::default() };
    change(&mut compressor);
    pack(&compressor)
}

fn flag(value: bool) -> Option<core::RuntimeFeatureFlag> {
    Some(core::RuntimeFeatureFlag { default_value: Some(BoolValue { value }), runtime_key: "x".into() })
}

fn requests(value: bool) -> Option<RequestDirectionConfig> {
    let common_config = Some(CommonDirectionConfig { enabled: flag(value), ..Default::default() });
    Some(RequestDirectionConfig { common_config })
}

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn concurrency(change: impl FnOnce(&mut wire::adaptive_concurrency::v3::AdaptiveConcurrency)) -> Any {
    let controller = GradientControllerConfig {
        concurrency_limit_params: Some(ConcurrencyLimitCalculationParams {
            concurrency_update_interval: time(100_000_000),
            ..Default::default()
        }),
        min_rtt_calc_params: Some(MinimumRttCalculationParams { interval: time(500_000_000), ..Default::default() }),
        ..Default::default()
    };
    let mut filter = wire::adaptive_concurrency::v3::AdaptiveConcurrency {
        concurrency_controller_config: Some(ConcurrencyControllerConfig::GradientControllerConfig(controller)),
        ..Default::default()
    };
    change(&mut filter);
    pack(&filter)
}

fn gradient(change: impl FnOnce(&mut GradientControllerConfig)) -> Any {
    concurrency(|filter| {
        let Some(ConcurrencyControllerConfig::GradientControllerConfig(controller)) =
            &mut filter.concurrency_controller_config
        else {
            panic!("no controller")
        };
        change(controller);
    })
}

fn limit(controller: &mut GradientControllerConfig) -> &mut ConcurrencyLimitCalculationParams {
    controller.concurrency_limit_params.as_mut().unwrap()
}

fn baseline(controller: &mut GradientControllerConfig) -> &mut MinimumRttCalculationParams {
    controller.min_rtt_calc_params.as_mut().unwrap()
}

fn time(nanos: i32) -> Option<Duration> {
    Some(Duration { seconds: 0, nanos })
}

#[test]
fn refused_by_path() {
    let responses = |status_header_enabled, uncompressible_response_codes| ResponseDirectionConfig {
        status_header_enabled,
        uncompressible_response_codes,
        ..Default::default()
    };
    let gzip = |compression_strategy, window_bits| gzip::compressor::v3::Gzip {
        compression_strategy,
        window_bits,
        ..Default::default()
    };
    let brotli = brotli::compressor::v3::Brotli { quality: number(12), ..Default::default() };
    let zstd = zstd::compressor::v3::Zstd { dictionary: Some(core::DataSource::default()), ..Default::default() };
    let mutation = |change: fn(&mut wire::header_mutation::v3::Mutations)| {
        let mut mutations = wire::header_mutation::v3::Mutations::default();
        change(&mut mutations);
        pack(&wire::header_mutation::v3::HeaderMutation { mutations: Some(mutations), ..Default::default() })
    };
    let buffer = |max_request_bytes| pack(&wire::buffer::v3::Buffer { max_request_bytes });
    for (config, path, problem) in [
        (compressor(|it| it.compressor_library = None), ".compressor_library", "is missing"),
        (
            compressor(|it| it.compressor_library = library(&core::DataSource::default())),
            ".compressor_library.typed_config",
            "is of type",
        ),
        (
            compressor(|it| it.request_direction_config = requests(true)),
            ".request_direction_config.common_config.enabled",
            "is set",
        ),
        (
            compressor(|it| it.request_direction_config = Some(Default::default())),
            ".request_direction_config.common_config.enabled",
            "is set",
        ),
        (
            compressor(|it| it.response_direction_config = Some(responses(true, vec![]))),
            ".response_direction_config.status_header_enabled",
            "is set",
        ),
        (
            compressor(|it| it.response_direction_config = Some(responses(false, vec![404, 99]))),
            ".response_direction_config.uncompressible_response_codes[1]",
            "is 99",
        ),
        (
            compressor(|it| it.compressor_library = library(&gzip(1, None))),
            ".compressor_library.typed_config.compression_strategy",
            "is set",
        ),
        (
            compressor(|it| it.compressor_library = library(&gzip(0, number(8)))),
            ".compressor_library.typed_config.window_bits",
            "is 8",
        ),
        (
            compressor(|it| it.compressor_library = library(&brotli)),
            ".compressor_library.typed_config.quality",
            "is 12",
        ),
        (
            compressor(|it| it.compressor_library = library(&zstd)),
            ".compressor_library.typed_config.dictionary",
            "is set",
        ),
        (
            mutation(|it| it.query_parameter_mutations.push(Default::default())),
            ".mutations.query_parameter_mutations",
            "is set",
        ),
        (
            mutation(|it| it.response_trailers_mutations.push(Default::default())),
            ".mutations.response_trailers_mutations",
            "is set",
        ),
        (mutation(|it| it.request_mutations.push(Default::default())), ".mutations.request_mutations[0]", "is missing"),
        (concurrency(|it| it.concurrency_controller_config = None), ".gradient_controller_config", "is missing"),
        (
            concurrency(|it| it.concurrency_limit_exceeded_status = Some(HttpStatus { code: 600 })),
            ".concurrency_limit_exceeded_status.code",
            "is 600",
        ),
        (
            gradient(|it| it.concurrency_limit_params = None),
            ".gradient_controller_config.concurrency_limit_params",
            "is missing",
        ),
        (
            gradient(|it| it.sample_aggregate_percentile = Some(Percent { value: 100.5 })),
            ".gradient_controller_config.sample_aggregate_percentile",
            "is 100.5",
        ),
        (
            gradient(|it| it.concurrency_limit_params = Some(Default::default())),
            ".gradient_controller_config.concurrency_limit_params.concurrency_update_interval",
            "is missing",
        ),
        (
            gradient(|it| limit(it).concurrency_update_interval = time(999_999)),
            ".gradient_controller_config.concurrency_limit_params.concurrency_update_interval",
            "is 999999ns",
        ),
        (
            gradient(|it| limit(it).max_concurrency_limit = number(0)),
            ".gradient_controller_config.concurrency_limit_params.max_concurrency_limit",
            "is 0",
        ),
        (gradient(|it| it.min_rtt_calc_params = None), ".gradient_controller_config.min_rtt_calc_params", "is missing"),
        (
            gradient(|it| it.min_rtt_calc_params = Some(Default::default())),
            ".gradient_controller_config.min_rtt_calc_params",
            "says no baseline",
        ),
        (
            gradient(|it| baseline(it).fixed_value = time(0)),
            ".gradient_controller_config.min_rtt_calc_params.fixed_value",
            "is 0s",
        ),
        (
            gradient(|it| baseline(it).request_count = number(0)),
            ".gradient_controller_config.min_rtt_calc_params.request_count",
            "is 0",
        ),
        (buffer(None), ".max_request_bytes", "is missing"),
        (buffer(number(0)), ".max_request_bytes", "is 0"),
    ] {
        let error = read(config).expect_err(path);
        let place = "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config";
        assert_eq!(error.path.strip_prefix(place), Some(path), "{error}");
        assert!(error.problem.starts_with(problem), "{error}");
    }
}

#[test]
fn compressors_of_all_forms() {
    let compressed = |config| match read(config).expect("a compressor") {
        HttpFilter::Compressor(compressor) => *compressor,
        other => panic!("{other:?}"),
    };
    let plain = compressed(compressor(|it| it.request_direction_config = requests(false)));
    assert_eq!(plain, model::Compressor::new("mine", Encoding::Gzip(Gzip { level: 6, window_bits: 12 })));
    #[allow(deprecated)]
    let old = compressed(compressor(|it| {
        it.content_length = number(100);
        it.content_type = vec!["text/x".into()];
        it.disable_on_etag_header = true;
        it.runtime_enabled = flag(false);
    }));
    assert_eq!((old.min_length, old.etags, old.enabled), (100, ETags::Refrain, false));
    assert_eq!(old.types, [StringMatch::Exact { value: "text/x".into(), ignore_case: true }]);
    #[allow(deprecated)]
    let new = compressed(compressor(|it| {
        it.content_length = number(100);
        it.response_direction_config =
            Some(ResponseDirectionConfig { weaken_etag_on_compress: true, ..Default::default() });
    }));
    assert_eq!((new.min_length, new.etags), (30, ETags::Weaken), "the older fields do not count beside it");
}

#[test]
fn limits_of_concurrency_by_envoys_defaults() {
    let read = |config| match read(config).expect("a limit") {
        HttpFilter::AdaptiveConcurrency(limit) => (*limit).clone(),
        other => panic!("{other:?}"),
    };
    let milliseconds = std::time::Duration::from_millis;
    let measured = Measuring { interval: milliseconds(500), jitter_percent: 15.0, requests: 50 };
    let plain = AdaptiveConcurrency {
        enabled: true,
        status: 503,
        percentile: 50.0,
        update_interval: milliseconds(100),
        max: 1000,
        lower_bound: None,
        min: 3,
        baseline: Baseline::Measured(measured),
        buffer_percent: 25.0,
    };
    for (config, expected) in [
        (concurrency(|_| ()), plain.clone()),
        (concurrency(|it| it.enabled = flag(false)), AdaptiveConcurrency { enabled: false, ..plain.clone() }),
        // What is no error is 503.
        (concurrency(|it| it.concurrency_limit_exceeded_status = Some(HttpStatus { code: 302 })), plain.clone()),
        (
            concurrency(|it| it.concurrency_limit_exceeded_status = Some(HttpStatus { code: 429 })),
            AdaptiveConcurrency { status: 429, ..plain.clone() },
        ),
        // A value that is given is not measured, whatever is said of measuring.
        (
            gradient(|it| baseline(it).fixed_value = time(20_000_000)),
            AdaptiveConcurrency { baseline: Baseline::Fixed(milliseconds(20)), ..plain.clone() },
        ),
        (
            gradient(|it| {
                limit(it).min_concurrency_limit = number(7);
                baseline(it).min_concurrency = number(4);
            }),
            AdaptiveConcurrency { lower_bound: Some(7), min: 4, ..plain },
        ),
    ] {
        assert_eq!(read(config), expected);
    }
}

fn tokens(change: impl FnOnce(&mut jwt::JwtAuthentication)) -> Any {
    let keys = core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString("{}".into())),
        watched_directory: None,
    };
    let provider = jwt::JwtProvider {
        jwks_source_specifier: Some(jwt::jwt_provider::JwksSourceSpecifier::LocalJwks(keys)),
        ..Default::default()
    };
    let mut tokens = jwt::JwtAuthentication { providers: [("a".to_owned(), provider)].into(), ..Default::default() };
    change(&mut tokens);
    pack(&tokens)
}

fn provider(change: impl FnOnce(&mut jwt::JwtProvider)) -> Any {
    tokens(|it| change(it.providers.get_mut("a").unwrap()))
}

fn remote(change: impl FnOnce(&mut jwt::RemoteJwks)) -> Any {
    let mut keys = jwt::RemoteJwks {
        http_uri: Some(core::HttpUri {
            uri: "https://k/set".into(),
            timeout: time(500_000_000),
            http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster("k".into())),
        }),
        ..Default::default()
    };
    change(&mut keys);
    provider(|it| it.jwks_source_specifier = Some(jwt::jwt_provider::JwksSourceSpecifier::RemoteJwks(keys)))
}

fn requires(kind: RequiresType) -> Any {
    tokens(|it| {
        let matches = route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
            ..Default::default()
        };
        let requirement = jwt::JwtRequirement { requires_type: Some(kind) };
        it.rules = vec![jwt::RequirementRule {
            r#match: Some(matches),
            requirement_type: Some(jwt::requirement_rule::RequirementType::Requires(requirement)),
        }];
    })
}

#[test]
fn what_is_refused_of_tokens() {
    let named = |name: &str| jwt::JwtRequirement { requires_type: Some(RequiresType::ProviderName(name.into())) };
    for (config, expected) in [
        (
            tokens(|it| it.filter_state_rules = Some(Default::default())),
            "filter_state_rules: is set, but this proxy does not support it",
        ),
        (provider(|it| it.jwks_source_specifier = None), "providers[\"a\"].jwks_source_specifier: is missing"),
        (provider(|it| it.from_params = vec![String::new()]), "providers[\"a\"].from_params[0]: is empty"),
        (
            provider(|it| it.forward_payload_header = "a b".into()),
            "providers[\"a\"].forward_payload_header: is \"a b\"",
        ),
        (
            provider(|it| {
                it.claim_to_headers = vec![jwt::JwtClaimToHeader { header_name: "x".into(), ..Default::default() }]
            }),
            "providers[\"a\"].claim_to_headers[0].claim_name: is missing",
        ),
        (
            remote(|it| it.retry_policy = Some(Default::default())),
            "providers[\"a\"].remote_jwks.retry_policy: is set, but this proxy does not support it",
        ),
        (remote(|it| it.http_uri = None), "providers[\"a\"].remote_jwks.http_uri: is missing"),
        (
            remote(|it| it.http_uri.as_mut().unwrap().timeout = None),
            "providers[\"a\"].remote_jwks.http_uri.timeout: is missing",
        ),
        (
            remote(|it| it.http_uri.as_mut().unwrap().uri = "/set".into()),
            "providers[\"a\"].remote_jwks.http_uri.uri: is \"/set\"",
        ),
        (remote(|it| it.cache_duration = time(10)), "providers[\"a\"].remote_jwks.cache_duration: is 10ns"),
        (requires(RequiresType::ProviderName("b".into())), "rules[0].requires: asks for the provider \"b\""),
        (
            requires(RequiresType::RequiresAny(jwt::JwtRequirementOrList { requirements: vec![named("a")] })),
            "rules[0].requires.requires_any.requirements: has 1",
        ),
        (
            requires(RequiresType::ExtractOnlyWithoutValidation(Default::default())),
            "rules[0].requires.extract_only_without_validation: is set, but this proxy does not support it",
        ),
        (
            tokens(|it| {
                it.rules = vec![jwt::RequirementRule {
                    r#match: Some(route::RouteMatch {
                        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
                        ..Default::default()
                    }),
                    requirement_type: Some(jwt::requirement_rule::RequirementType::RequirementName("x".into())),
                }];
            }),
            "rules[0].requirement_name: is \"x\"",
        ),
    ] {
        let error = read(config).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}\n{error}");
    }
}
