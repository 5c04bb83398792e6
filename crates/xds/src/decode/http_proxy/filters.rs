//! The HTTP filters: known ones, then the router.

use std::sync::Arc;

use model::Fault;
use model::http_proxy::HttpFilter;
use model::rate_limit::{GlobalRateLimit, LocalRateLimit, OWN_FILTERS};
use proto::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use proto::google::protobuf::Any;

use crate::decode::access::{ACCESS, access};
use crate::decode::buffer::{BUFFER, buffer};
use crate::decode::compressor::{COMPRESSOR, compressor};
use crate::decode::concurrency::{ADAPTIVE_CONCURRENCY, adaptive_concurrency};
use crate::decode::dynamic_forward::{HTTP_FILTER, http_filter};
use crate::decode::ext_authz::{EXT_AUTHZ, ext_authz};
use crate::decode::extension::{LUA, WASM, lua, wasm};
use crate::decode::fault::{HTTP_FAULT, fault};
use crate::decode::filter_rules::CORS;
use crate::decode::geo::{GEOIP, geo};
use crate::decode::jwt::{JWT, jwt};
use crate::decode::mutation::{HEADER_MUTATION, header_mutation};
use crate::decode::oauth2::{OAUTH2, oauth2};
use crate::decode::rate_limit::{GLOBAL, LOCAL, global, local};
use crate::decode::{At, Decoded, take, type_name, unpack};

const GRPC_WEB: &str = "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";

/// What a chain of filters says.
pub(super) struct Filters {
    /// Those before the router.
    pub list: Vec<HttpFilter>,
    /// The router writes no headers of Envoy's own.
    pub suppress_own_headers: bool,
}

/// The filters before the router, which must be the last. Unknown ones may be dropped if they say so themselves.
pub(super) fn filters(list: Vec<wire::HttpFilter>, at: &At<'_>) -> Decoded<Filters> {
    let mut filters = Vec::new();
    let last = list.len().checked_sub(1);
    let mut routed = None;
    for (index, filter) in list.into_iter().enumerate() {
        let at = at.index(index);
        let at_config = at.field("typed_config");
        take!(filter, at, wire::HttpFilter {
            used { name, is_optional, config_type }
            harmless {}
            refused { disabled }
        });
        let any = match config_type {
            Some(wire::http_filter::ConfigType::TypedConfig(any)) => any,
            _ if is_optional => continue,
            _ => return Err(at_config.error("is missing", "the filter's settings")),
        };
        match type_name(&any.type_url) {
            ROUTER if Some(index) == last => {
                routed = Some(router(&any, &at_config)?);
            }
            ROUTER => return Err(at_config.error("is a router, but not the last filter", "the router at the end")),
            HTTP_FAULT => filters.push(HttpFilter::Fault(fault_filter(&any, &at_config)?)),
            CORS => filters.push(HttpFilter::Cors),
            LOCAL => {
                let limits = local(unpack(&any, &at_config)?, &at_config)?;
                let limits = LocalRateLimit { policy: limit_name(&name), ..limits };
                filters.push(HttpFilter::LocalRateLimit(Arc::new(limits)));
            }
            GLOBAL => {
                let limits = global(unpack(&any, &at_config)?, &at_config)?;
                let limits = GlobalRateLimit { policy: limit_name(&name), ..limits };
                filters.push(HttpFilter::GlobalRateLimit(Arc::new(limits)));
            }
            GEOIP => filters.push(HttpFilter::Geo(Box::new(geo(&any, &at_config)?))),
            COMPRESSOR => {
                let compressor = compressor(unpack(&any, &at_config)?, &name, &at_config)?;
                filters.push(HttpFilter::Compressor(Box::new(compressor)));
            }
            HTTP_FILTER => filters.push(HttpFilter::DynamicForward(http_filter(&any, &at_config)?)),
            GRPC_WEB => filters.push(HttpFilter::GrpcWeb),
            HEADER_MUTATION => {
                let mutation = header_mutation(unpack(&any, &at_config)?, &name, &at_config)?;
                filters.push(HttpFilter::HeaderMutation(Box::new(mutation)));
            }
            ACCESS => filters.push(HttpFilter::Access(Box::new(access(unpack(&any, &at_config)?, &name, &at_config)?))),
            BUFFER => filters.push(HttpFilter::Buffer(buffer(unpack(&any, &at_config)?, &name, &at_config)?)),
            ADAPTIVE_CONCURRENCY => {
                let limit = adaptive_concurrency(unpack(&any, &at_config)?, &at_config)?;
                filters.push(HttpFilter::AdaptiveConcurrency(Arc::new(limit)));
            }
            JWT => filters.push(HttpFilter::Jwt(Arc::new(jwt(unpack(&any, &at_config)?, &name, &at_config)?))),
            EXT_AUTHZ => {
                let asks = ext_authz(unpack(&any, &at_config)?, &name, &at_config)?;
                filters.push(HttpFilter::ExtAuthz(Arc::new(asks)));
            }
            OAUTH2 => filters.push(HttpFilter::OAuth2(Arc::new(oauth2(unpack(&any, &at_config)?, &name, &at_config)?))),
            LUA => filters.push(HttpFilter::Lua(Arc::new(lua(unpack(&any, &at_config)?, &name, &at_config)?))),
            WASM => filters.push(HttpFilter::Wasm(Arc::new(wasm(unpack(&any, &at_config)?, &name, &at_config)?))),
            _ if is_optional => {}
            _ => {
                let problem = format!("is of type `{}`", any.type_url);
                return Err(at_config.error(problem, "a filter that this proxy has, or `is_optional`"));
            }
        }
    }
    match routed {
        Some(suppress_own_headers) => Ok(Filters { list: filters, suppress_own_headers }),
        None => Err(at.error("has no router", "the router at the end")),
    }
}

/// The limit of ours that a filter of this name is.
fn limit_name(name: &str) -> Option<Arc<str>> {
    name.strip_prefix(OWN_FILTERS).map(Arc::from)
}

/// A filter without faults of its own only serves the routes'.
fn fault_filter(any: &Any, at: &At<'_>) -> Decoded<Option<Fault>> {
    let fault = fault(unpack(any, at)?, at)?;
    Ok(Some(fault).filter(|fault| fault.delay.is_some() || fault.abort.is_some()))
}

/// Does it suppress Envoy's own headers?
#[allow(deprecated)]
fn router(any: &Any, at: &At<'_>) -> Decoded<bool> {
    // Statistics.
    take!(unpack::<Router>(any, at)?, at, Router {
        used { suppress_envoy_headers }
        harmless {
            dynamic_stats, start_child_span, suppress_grpc_request_failure_code_stats,
            reject_connect_request_early_data,
        }
        refused {
            upstream_log, upstream_log_options, strict_check_headers, respect_expected_rq_timeout,
            upstream_http_filters,
        }
    });
    Ok(suppress_envoy_headers)
}
