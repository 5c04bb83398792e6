//! The statistics of filters by Envoy's names: `envoy_http_fault_*`, `envoy_http_cors_*`, `envoy_http_compressor_*`,
//! `envoy_http_rbac_*`, `envoy_http_jwt_authn_*` and `envoy_http_adaptive_concurrency_*` with the label
//! `envoy_http_conn_manager_prefix`, `envoy_http_local_rate_limit_*` with `local_http_ratelimit_prefix`, and
//! `envoy_cluster_ratelimit_*` with `cluster_name`. `envoy_http_ext_authz_*` have `envoy_ext_authz_prefix` too,
//! `envoy_http_oauth_*` `envoy_oauth_prefix`, and
//! `envoy_cluster_ext_authz_*` `cluster_name`.

use std::fmt;

use telemetry::{Counter, DeclareError, Desc, Family, Gauge, Shard};

const AUTHZ_OK: &str = "Requests that the service let pass.";
const AUTHZ_DENIED: &str = "Requests that the service refused.";
const AUTHZ_ERROR: &str = "Requests that the service could not be asked about.";
const AUTHZ_ALLOWED: &str = "Requests that passed though the service could not be asked.";
const AUTHZ_INVALID: &str = "Requests that the service wanted to be changed as HTTP does not allow.";

/// Where the filters of one HTTP proxy count. What they count is rare, so that workers may share it.
#[derive(Clone)]
pub struct Stats {
    pub(crate) prefix: Box<str>,
    /// Where extensions declare what they count.
    pub(crate) shard: Shard,
    pub(crate) delays: Family<Counter>,
    pub(crate) aborts: Family<Counter>,
    pub(crate) active: Family<Gauge>,
    pub(crate) origins_valid: Family<Counter>,
    pub(crate) origins_invalid: Family<Counter>,
    /// Of limits that are kept here, by their own prefix.
    pub(crate) local_enabled: Family<Counter>,
    pub(crate) local_enforced: Family<Counter>,
    pub(crate) local_ok: Family<Counter>,
    pub(crate) local_limited: Family<Counter>,
    /// Of limits that a service keeps, by the cluster that requests go to.
    pub(crate) global_ok: Family<Counter>,
    pub(crate) global_error: Family<Counter>,
    pub(crate) global_limited: Family<Counter>,
    pub(crate) global_allowed: Family<Counter>,
    pub(crate) compressed: Family<Counter>,
    pub(crate) not_compressed: Family<Counter>,
    pub(crate) bytes_before: Family<Counter>,
    pub(crate) bytes_after: Family<Counter>,
    pub(crate) tokens_allowed: Family<Counter>,
    pub(crate) tokens_denied: Family<Counter>,
    pub(crate) preflights_passed: Family<Counter>,
    pub(crate) keys_fetched: Family<Counter>,
    pub(crate) keys_failed: Family<Counter>,
    /// Of limits that move with the latency.
    pub(crate) concurrency_blocked: Family<Counter>,
    pub(crate) concurrency_limit: Family<Gauge>,
    pub(crate) concurrency_measuring: Family<Gauge>,
    pub(crate) concurrency_baseline: Family<Gauge>,
    pub(crate) concurrency_sample: Family<Gauge>,
    pub(crate) concurrency_gradient: Family<Gauge>,
    pub(crate) concurrency_headroom: Family<Gauge>,
    /// Of rules of access, by the prefix that they are given.
    pub(crate) access_allowed: Family<Counter>,
    pub(crate) access_denied: Family<Counter>,
    pub(crate) access_shadow_allowed: Family<Counter>,
    pub(crate) access_shadow_denied: Family<Counter>,
    /// Of services that authorize requests, by the prefix that they are given.
    pub(crate) authz_ok: Family<Counter>,
    pub(crate) authz_denied: Family<Counter>,
    pub(crate) authz_error: Family<Counter>,
    pub(crate) authz_failure_allowed: Family<Counter>,
    pub(crate) authz_disabled: Family<Counter>,
    pub(crate) authz_invalid: Family<Counter>,
    /// The same by the cluster that requests go to.
    pub(crate) authz_cluster_ok: Family<Counter>,
    pub(crate) authz_cluster_denied: Family<Counter>,
    pub(crate) authz_cluster_error: Family<Counter>,
    pub(crate) authz_cluster_failure_allowed: Family<Counter>,
    pub(crate) authz_cluster_invalid: Family<Counter>,
    /// Of logins, by the prefix that they are given.
    pub(crate) login_begun: Family<Counter>,
    pub(crate) login_success: Family<Counter>,
    pub(crate) login_failure: Family<Counter>,
    pub(crate) login_passed: Family<Counter>,
    pub(crate) login_refreshed: Family<Counter>,
    pub(crate) login_not_refreshed: Family<Counter>,
    pub(crate) login_failure_allowed: Family<Counter>,
    /// Of rules of access, policy by policy.
    pub(crate) policy_allowed: Family<Counter>,
    pub(crate) policy_denied: Family<Counter>,
    pub(crate) policy_shadow_allowed: Family<Counter>,
    pub(crate) policy_shadow_denied: Family<Counter>,
}

impl Stats {
    /// The statistics under `prefix` ([`HttpProxy::stat_prefix`](model::HttpProxy)).
    ///
    /// # Errors
    /// Somebody else has declared one of them in another way: a mistake of the program.
    pub fn new(shard: &Shard, prefix: &str) -> Result<Self, DeclareError> {
        let desc = |name: &str, help: &str| {
            Desc::new(&format!("envoy_http_{name}"), help).labels(&["envoy_http_conn_manager_prefix"])
        };
        let local = |name: &str, help: &str| {
            Desc::new(&format!("envoy_http_local_rate_limit_{name}"), help).labels(&["local_http_ratelimit_prefix"])
        };
        let cluster = |name: &str, help: &str| {
            Desc::new(&format!("envoy_cluster_ratelimit_{name}"), help).labels(&["cluster_name"])
        };
        let compressor = |name: &str, help: &str| {
            let labels = ["envoy_http_conn_manager_prefix", "encoding"];
            Desc::new(&format!("envoy_http_compressor_{name}"), help).labels(&labels)
        };
        let concurrency =
            |name: &str, help: &str| desc(&format!("adaptive_concurrency_gradient_controller_{name}"), help);
        let access = |name: &str, help: &str| {
            let labels = ["envoy_http_conn_manager_prefix", "envoy_rbac_prefix"];
            Desc::new(&format!("envoy_http_rbac_{name}"), help).labels(&labels)
        };
        let authz = |name: &str, help: &str| {
            let labels = ["envoy_http_conn_manager_prefix", "envoy_ext_authz_prefix"];
            Desc::new(&format!("envoy_http_ext_authz_{name}"), help).labels(&labels)
        };
        let authz_cluster = |name: &str, help: &str| {
            Desc::new(&format!("envoy_cluster_ext_authz_{name}"), help).labels(&["cluster_name"])
        };
        let login = |name: &str, help: &str| {
            let labels = ["envoy_http_conn_manager_prefix", "envoy_oauth_prefix"];
            Desc::new(&format!("envoy_http_oauth_{name}"), help).labels(&labels)
        };
        let policy = |name: &str, help: &str| {
            let labels = ["envoy_http_conn_manager_prefix", "envoy_rbac_prefix", "envoy_rbac_policy_name"];
            Desc::new(&format!("envoy_http_rbac_policy_{name}"), help).labels(&labels)
        };
        Ok(Self {
            prefix: prefix.into(),
            shard: shard.clone(),
            delays: shard.counters(desc("fault_delays_injected", "Requests that were delayed."))?,
            aborts: shard.counters(desc("fault_aborts_injected", "Requests that were aborted."))?,
            active: shard.gauges(desc("fault_active_faults", "Delays under way."))?,
            origins_valid: shard.counters(desc("cors_origin_valid", "Requests of origins that are allowed."))?,
            origins_invalid: shard.counters(desc("cors_origin_invalid", "Requests of other origins."))?,
            local_enabled: shard.counters(local("enabled", "Requests that were counted."))?,
            local_enforced: shard.counters(local("enforced", "Requests that were refused."))?,
            local_ok: shard.counters(local("ok", "Requests that were not too many."))?,
            local_limited: shard.counters(local("rate_limited", "Requests that were too many."))?,
            global_ok: shard.counters(cluster("ok", "Requests that were not too many, as the service said."))?,
            global_error: shard.counters(cluster("error", "Requests of which the service said nothing."))?,
            global_limited: shard
                .counters(cluster("over_limit", "Requests that were too many, as the service said."))?,
            global_allowed: shard
                .counters(cluster("failure_mode_allowed", "Requests that went on though the service said nothing."))?,
            compressed: shard.counters(compressor("compressed", "Responses that were compressed."))?,
            not_compressed: shard.counters(compressor("not_compressed", "Responses that stayed as they were."))?,
            bytes_before: shard.counters(compressor("total_uncompressed_bytes", "Bytes that were compressed."))?,
            bytes_after: shard.counters(compressor("total_compressed_bytes", "What they were compressed to."))?,
            tokens_allowed: shard.counters(desc("jwt_authn_allowed", "Requests whose tokens sufficed."))?,
            tokens_denied: shard.counters(desc("jwt_authn_denied", "Requests whose tokens did not suffice."))?,
            preflights_passed: shard
                .counters(desc("jwt_authn_cors_preflight_bypassed", "Preflight requests that needed no token."))?,
            keys_fetched: shard.counters(desc("jwt_authn_jwks_fetch_success", "Key sets that were fetched."))?,
            keys_failed: shard.counters(desc("jwt_authn_jwks_fetch_failed", "Key sets that could not be fetched."))?,
            concurrency_blocked: shard.counters(concurrency("rq_blocked", "Requests beyond the limit."))?,
            concurrency_limit: shard.gauges(concurrency("concurrency_limit", "Requests that may be under way."))?,
            concurrency_measuring: shard
                .gauges(concurrency("min_rtt_calculation_active", "1 while the baseline is measured."))?,
            concurrency_baseline: shard.gauges(concurrency("min_rtt_msecs", "The baseline, in milliseconds."))?,
            concurrency_sample: shard
                .gauges(concurrency("sample_rtt_msecs", "The latency of the last interval, in milliseconds."))?,
            concurrency_gradient: shard
                .gauges(concurrency("gradient", "What the limit was multiplied by last, in thousandths."))?,
            concurrency_headroom: shard.gauges(concurrency("burst_queue_size", "What was added to the limit last."))?,
            access_allowed: shard.counters(access("allowed", "Requests that rules of access let pass."))?,
            access_denied: shard.counters(access("denied", "Requests that rules of access refused."))?,
            access_shadow_allowed: shard
                .counters(access("shadow_allowed", "Requests that shadow rules would let pass."))?,
            access_shadow_denied: shard
                .counters(access("shadow_denied", "Requests that shadow rules would refuse."))?,
            authz_ok: shard.counters(authz("ok", AUTHZ_OK))?,
            authz_denied: shard.counters(authz("denied", AUTHZ_DENIED))?,
            authz_error: shard.counters(authz("error", AUTHZ_ERROR))?,
            authz_failure_allowed: shard.counters(authz("failure_mode_allowed", AUTHZ_ALLOWED))?,
            authz_disabled: shard.counters(authz("disabled", "Requests that the service is not asked about."))?,
            authz_invalid: shard.counters(authz("invalid", AUTHZ_INVALID))?,
            authz_cluster_ok: shard.counters(authz_cluster("ok", AUTHZ_OK))?,
            authz_cluster_denied: shard.counters(authz_cluster("denied", AUTHZ_DENIED))?,
            authz_cluster_error: shard.counters(authz_cluster("error", AUTHZ_ERROR))?,
            authz_cluster_failure_allowed: shard.counters(authz_cluster("failure_mode_allowed", AUTHZ_ALLOWED))?,
            authz_cluster_invalid: shard.counters(authz_cluster("invalid", AUTHZ_INVALID))?,
            login_begun: shard.counters(login("unauthorized_rq", "Requests that were sent to log in."))?,
            login_success: shard.counters(login("success", "Requests of people who have logged in."))?,
            login_failure: shard.counters(login("failure", "Requests that were refused."))?,
            login_passed: shard.counters(login("passthrough", "Requests that need no login."))?,
            login_refreshed: shard.counters(login("refreshtoken_success", "Tokens that were refreshed."))?,
            login_not_refreshed: shard
                .counters(login("refreshtoken_failure", "Tokens that could not be refreshed."))?,
            login_failure_allowed: shard
                .counters(login("allow_failed_passthrough", "Requests that passed though nobody has logged in."))?,
            policy_allowed: shard.counters(policy("allowed", "Requests that the policy let pass."))?,
            policy_denied: shard.counters(policy("denied", "Requests that the policy refused."))?,
            policy_shadow_allowed: shard
                .counters(policy("shadow_allowed", "Requests that the policy would let pass."))?,
            policy_shadow_denied: shard.counters(policy("shadow_denied", "Requests that the policy would refuse."))?,
        })
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
