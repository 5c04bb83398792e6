//! The HTTP filters: known ones, then the router.

use std::sync::Arc;

use model::Fault;
use model::http_proxy::HttpFilter;
use proto::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use proto::google::protobuf::Any;

use crate::decode::fault::{HTTP_FAULT, fault};
use crate::decode::filter_rules::CORS;
use crate::decode::geo::{GEOIP, geo};
use crate::decode::rate_limit::{GLOBAL, LOCAL, global, local};
use crate::decode::{At, Decoded, take, type_name, unpack};

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";

/// The filters before the router, which must be the last. Unknown ones may be dropped if they say so themselves.
pub(super) fn filters(list: Vec<wire::HttpFilter>, at: &At<'_>) -> Decoded<Vec<HttpFilter>> {
    let mut filters = Vec::new();
    let last = list.len().checked_sub(1);
    let mut routed = false;
    for (index, filter) in list.into_iter().enumerate() {
        let at = at.index(index);
        let at_config = at.field("typed_config");
        take!(filter, at, wire::HttpFilter {
            used { is_optional, config_type }
            harmless { name }
            refused { disabled }
        });
        let any = match config_type {
            Some(wire::http_filter::ConfigType::TypedConfig(any)) => any,
            _ if is_optional => continue,
            _ => return Err(at_config.error("is missing", "the filter's settings")),
        };
        match type_name(&any.type_url) {
            ROUTER if Some(index) == last => {
                router(&any, &at_config)?;
                routed = true;
            }
            ROUTER => return Err(at_config.error("is a router, but not the last filter", "the router at the end")),
            HTTP_FAULT => filters.push(HttpFilter::Fault(fault_filter(&any, &at_config)?)),
            CORS => filters.push(HttpFilter::Cors),
            LOCAL => {
                let limits = local(unpack(&any, &at_config)?, &at_config)?;
                filters.push(HttpFilter::LocalRateLimit(Arc::new(limits)));
            }
            GLOBAL => {
                let limits = global(unpack(&any, &at_config)?, &at_config)?;
                filters.push(HttpFilter::GlobalRateLimit(Arc::new(limits)));
            }
            GEOIP => filters.push(HttpFilter::Geo(Box::new(geo(&any, &at_config)?))),
            _ if is_optional => {}
            _ => {
                let problem = format!("is of type `{}`", any.type_url);
                return Err(at_config.error(problem, "a filter that this proxy has, or `is_optional`"));
            }
        }
    }
    if routed { Ok(filters) } else { Err(at.error("has no router", "the router at the end")) }
}

/// A filter without faults of its own only serves the routes'.
fn fault_filter(any: &Any, at: &At<'_>) -> Decoded<Option<Fault>> {
    let fault = fault(unpack(any, at)?, at)?;
    Ok(Some(fault).filter(|fault| fault.delay.is_some() || fault.abort.is_some()))
}

#[allow(deprecated)]
fn router(any: &Any, at: &At<'_>) -> Decoded<()> {
    // Statistics, and headers that only Envoy writes.
    take!(unpack::<Router>(any, at)?, at, Router {
        used {}
        harmless {
            dynamic_stats, start_child_span, suppress_envoy_headers, suppress_grpc_request_failure_code_stats,
            reject_connect_request_early_data,
        }
        refused {
            upstream_log, upstream_log_options, strict_check_headers, respect_expected_rq_timeout,
            upstream_http_filters,
        }
    });
    Ok(())
}
