//! What can be set.

/// How much is kept and allowed.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most bytes of the history's file. 2,560 MB.
    pub history_bytes: u64,
    /// Most edges that are told apart; what is more is counted as `_overflow`. 20,000.
    pub most_edges: usize,
    /// Most bytes of traces, in memory and in their file each. 32 MB.
    pub trace_bytes: u64,
    /// Most traces. 10,000.
    pub most_traces: usize,
    /// Most taps at once. 16.
    pub most_taps: usize,
    /// Most proxies that tell at once. 10,000.
    pub most_tellers: usize,
    /// Where history is read from instead of our own file: Prometheus' HTTP API, such as `http://127.0.0.1:9090`.
    pub prometheus: Option<http::Uri>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history_bytes: 2560 << 20,
            most_edges: 20_000,
            trace_bytes: 32 << 20,
            most_traces: 10_000,
            most_taps: 16,
            most_tellers: 10_000,
            prometheus: None,
        }
    }
}
