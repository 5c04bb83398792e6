//! Why something was refused or failed.

use clap::Args;

use super::Form;

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The request's id: `x-request-id`, as access logs and traces tell it (default: the newest refusals and failures).
    #[arg(value_name = "REQUEST_ID")]
    pub request_id: Option<String>,
    /// Told by the proxy of this workload, or with this node id.
    #[arg(long, short, value_name = "NAME")]
    pub workload: Option<String>,
    /// Told by proxies of this namespace (default: all).
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Of requests to this service, told by its own workloads or by those who called it.
    #[arg(long, short, value_name = "NAMESPACE/NAME")]
    pub service: Option<String>,
    /// Of this caller: its identity, its account, `NAMESPACE/ACCOUNT`, or its address.
    #[arg(long, value_name = "CALLER")]
    pub from: Option<String>,
    /// So many, the newest.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    pub last: usize,
    /// Go on and show what comes, until it is interrupted.
    #[arg(long, conflicts_with = "request_id")]
    pub follow: bool,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}
