//! Our own words in the metadata of resources, which other proxies read past.

/// The key under which they stand in `filter_metadata`.
pub(crate) const OURS: &str = "halcyon";
/// Of a cluster: what the address that the downstream dialled has to do with the choice of an endpoint.
pub(crate) const DIALLED: &str = "dialled";
/// Of a cluster: blocks of addresses in which a workload that is dialled has a cluster of its own.
pub(crate) const WORKLOADS: &str = "workloads";
/// It comes before any choice, if it is an endpoint's.
pub(crate) const PREFERRED: &str = "preferred";
