//! Clusters at run time: endpoint tables, balancing, pools, DNS.
//!
//! Knows no listener, no route and nothing of the downstream. A [`Cluster`] is shared by all workers and immutable
//! save for its table of endpoints, which is swapped. Each [`Worker`] has pools of its own ([`ClusterPools`]) and so
//! needs no lock: on the way of a request stand a few relaxed atomics, and nothing is allocated if a connection is
//! ready.
//!
//! ```text
//! Cluster::build(config, previous, secrets)   off the workers, when the configuration changes
//! cluster.set_endpoints(set)                  likewise, when endpoint discovery speaks
//! cluster.resolve_on(runtime, resolver)       for clusters of host names
//! cluster.watch(watch)                        for clusters that find out about their endpoints' health
//!
//! worker.cluster(&cluster)                    in a worker, per request
//!       .send(request, &pick)                 pick an endpoint -> take a connection -> send -> Sent or Failure
//!       .choose(&pick), .send_to(chosen, ..)  the same in two steps, for who wants to know the endpoint early
//!       .connect(&pick)                       the same for raw bytes
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `cluster` | settings, table and TLS of one cluster; what survives an update |
//! | `table`, `priority`, `locality`, `zones`, `balance`, `hashing`, `ewma` | who is picked: pure |
//! | `vantage` | where the proxy stands itself, for clusters whose localities count by that |
//! | `pools`, `pool` | connections of one worker to one cluster, to one endpoint |
//! | `dial`, `tls` | one new connection |
//! | `breaker` | how much at once |
//! | `health`, `outlier`, `check` | which endpoints we find to fail, off the workers |
//! | `exchange` | what the caller holds meanwhile |
//! | `failure` | why there is no response, and what it means for a retry |
//! | `dns`, `dynamic` | host names kept resolved: those of endpoints, and those that requests name |
//! | `stats` | Envoy's `cluster.*` statistics |

pub mod balance;
mod breaker;
mod check;
mod cluster;
mod dial;
pub mod dns;
mod dynamic;
mod endpoint;
pub mod ewma;
mod exchange;
mod failure;
pub mod hashing;
mod health;
mod locality;
mod outlier;
mod pool;
mod pools;
pub mod priority;
mod stats;
mod table;
mod tls;
mod vantage;
mod worker;
pub mod zones;

pub use breaker::Retry;
pub use cluster::{BuildError, Cluster};
pub use dial::{Dialer, Ends};
pub use dynamic::{NoTarget, Target};
pub use endpoint::{Counts, Endpoint, EndpointId};
pub use exchange::{Connected, Connection, Exchange, Sent};
pub use failure::{Failure, FailureKind};
pub use health::Watch;
pub use pools::{Chosen, ClusterPools, Pick};
pub use priority::PastPriorities;
pub use stats::{ClusterStats, Event};
pub use table::{EndpointTable, Order, Rules};
pub use tls::Secrets;
pub use vantage::Vantage;
pub use worker::{ROUND, Worker};
