//! What a ServicePolicy makes of a cluster: how quick endpoints are, and how well.

use std::time::Duration;

use api::halcyon::{HealthCheck as Written, HttpCheck, LoadBalancing};
use http::{HeaderName, HeaderValue};
use model::HeaderChanges;
use model::cluster::{Balancing, PeakEwma};
use model::headers::{HeaderWrite, WriteAction};
use model::health_check::{HealthCheck, HttpProbe, Probe};

/// The quicker one of two.
pub fn quickest(written: &LoadBalancing) -> Balancing {
    let defaults = PeakEwma::default();
    let written = &written.peak_ewma;
    Balancing::PeakEwma(PeakEwma {
        decay: written.decay.unwrap_or(defaults.decay),
        initial: written.initial.unwrap_or(defaults.initial),
    })
}

/// The check of every endpoint.
pub fn check(written: &Written) -> HealthCheck {
    let interval = written.interval.unwrap_or(INTERVAL);
    let timeout = written.timeout.unwrap_or(TIMEOUT);
    let thresholds = (written.unhealthy_threshold.unwrap_or(FAILURES), written.healthy_threshold.unwrap_or(SUCCESSES));
    let probe = match (&written.http, &written.grpc) {
        (Some(http), _) => Probe::Http(Box::new(http_probe(http))),
        (None, Some(grpc)) => Probe::Grpc { service: grpc.service.clone(), authority: String::new() },
        (None, None) => Probe::Tcp { send: Vec::new(), receive: Vec::new() },
    };
    HealthCheck {
        no_traffic_interval: interval.max(IDLE_INTERVAL),
        unhealthy_interval: written.unhealthy_interval,
        // So that clients do not all ask at the same moment.
        interval_jitter_percent: JITTER,
        ..HealthCheck::new(timeout, interval, thresholds, probe)
    }
}

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(1);
const IDLE_INTERVAL: Duration = Duration::from_secs(60);
const FAILURES: u32 = 3;
const SUCCESSES: u32 = 2;
const JITTER: u32 = 10;

fn http_probe(written: &HttpCheck) -> HttpProbe {
    let write = written.headers.iter().filter_map(|(name, value)| {
        let (name, value) = (HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        Some(HeaderWrite { name, value, action: WriteAction::Overwrite })
    });
    HttpProbe {
        host: written.host.clone().unwrap_or_default(),
        headers: HeaderChanges::new(Vec::new(), write.collect()),
        expected: written.expected_statuses.iter().map(|range| (range.first, range.last + 1)).collect(),
        http2: written.http2,
        ..HttpProbe::get(written.path.value.clone())
    }
}

/// The check as it is for a service: its host is asked for where nothing else is said.
pub fn of_service(mut check: HealthCheck, host: &str) -> HealthCheck {
    let asked = match &mut check.probe {
        Probe::Http(http) => &mut http.host,
        Probe::Grpc { authority, .. } => authority,
        Probe::Tcp { .. } => return check,
    };
    if asked.is_empty() && !host.starts_with('*') {
        host.clone_into(asked);
    }
    check
}
