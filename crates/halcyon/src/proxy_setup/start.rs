//! What documents say that a proxy is told at its start.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Result;
use control::v1::{Start, StartRequest};

use crate::cli::{Join, Place};
use crate::print;

/// The annotation of a pod that holds the settings of its proxy.
const ANNOTATION: &str = "proxy.istio.io/config";
/// What variables of our own begin with: they belong to the launcher.
const OURS: &str = "HALCYON_";
/// Istio's default of `terminationDrainDuration`.
const DRAIN: Duration = Duration::from_secs(5);

/// What a process is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its worker threads.
    pub workers: usize,
    /// Variables beside the inherited ones.
    pub env: Vec<(OsString, OsString)>,
    /// How long it finishes what it has begun when it leaves.
    pub drain: Duration,
}

impl Started {
    /// Asks the control plane of this machine. That of another one does not tell it: then what was typed holds.
    pub async fn ask(
        place: &Place,
        join: &Join,
        typed: Option<usize>,
        (namespace, workload): (&str, &str),
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self> {
        if join.control.is_some() {
            return Ok(Self::of(Start::default(), typed));
        }
        let request = StartRequest {
            namespace: namespace.to_owned(),
            workload: workload.to_owned(),
            labels: labels.clone(),
            annotation: annotations.get(ANNOTATION).cloned(),
        };
        Ok(Self::of(crate::commands::client(place)?.start(&request).await?, typed))
    }

    fn of(said: Start, typed: Option<usize>) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let concurrency = said.concurrency.map(|number| if number == 0 { cores() } else { number as usize });
        let (ours, env): (Vec<_>, Vec<_>) = said.environment.into_iter().partition(|(name, _)| name.starts_with(OURS));
        for (name, _) in ours {
            print::note(&format!("halcyon: the variable `{name}` belongs to the launcher and is left out"));
        }
        let drain = said.termination_drain_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self {
            workers: typed.or(concurrency).unwrap_or(1),
            env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            drain: drain.unwrap_or(DRAIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_counts_more() {
        let said = Start {
            concurrency: Some(3),
            environment: [("A", "b"), ("HALCYON_LISTEN_FDS", "x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            termination_drain_s: Some(0.5),
        };
        let started = Started::of(said.clone(), None);
        assert_eq!((started.workers, started.drain), (3, Duration::from_millis(500)));
        assert_eq!(started.env, [("A".into(), "b".into())]);
        assert_eq!(Started::of(said, Some(2)).workers, 2);
        assert_eq!(Started::of(Start::default(), None), Started { workers: 1, env: vec![], drain: DRAIN });
        let each = Start { concurrency: Some(0), ..Start::default() };
        assert_eq!(Started::of(each, None).workers, std::thread::available_parallelism().unwrap().get());
    }
}
