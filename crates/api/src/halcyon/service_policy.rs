//! ServicePolicy: what the owner of a service asks of all of its clients and of its workloads' proxies, where Istio has no
//! word for it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decode::{Decode, IntOrString, Spanned, object};
use crate::istio::check_host;
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{is_header_name, is_header_value};
use crate::yaml::Node;

object! {
    /// How clients of a service choose among its workloads, how they find out which of them are well, and how much each
    /// workload takes at once.
    Exact struct ServicePolicy {
        /// The host: a service's name, or `*.suffix`. A short name belongs to the policy's namespace.
        host "host" (required): Spanned<String>,
        /// How a workload is chosen, where no DestinationRule names an algorithm.
        load_balancer "loadBalancer": Option<LoadBalancing>,
        /// Every client asks every workload how it is.
        health_check "healthCheck": Option<HealthCheck>,
        /// A request that is not answered soon is sent to another workload too.
        hedging "hedging": Option<Hedging>,
        /// The proxy of each workload refuses what is too much at once.
        concurrency_limit "concurrencyLimit": Option<ConcurrencyLimit>,
    }
}

object! {
    /// How a workload is chosen.
    Exact struct LoadBalancing {
        /// Of two that are drawn, the one that is expected to answer sooner.
        peak_ewma "peakEwma" (required): PeakEwma,
    }
}

object! {
    /// The estimate of how soon a workload answers: a slow answer counts at once, quicker ones bring it down little by little.
    Exact struct PeakEwma {
        /// After this time without an answer, an estimate counts for 1/e of what it was; none means 10 s.
        decay "decay": Option<Duration>,
        /// The estimate for a workload that has not answered yet; none means 30 ms.
        initial "initial": Option<Duration>,
    }
}

object! {
    /// Requests that are sent again while the first is still waited for; the first good answer counts. For services that
    /// may get a request twice.
    Exact struct Hedging {
        /// How long a request is waited for before the next one joins it.
        delay "delay" (required): Duration,
        /// How many requests are sent at most, the first among them; none means 2.
        requests "requests": Option<u32>,
    }
}

object! {
    /// An active health check. Exactly one of `http`, `tcp` and `grpc` says what is asked.
    Exact struct HealthCheck {
        /// Time between two checks of a workload; none means 10 s. While a client sends the service nothing, it asks once
        /// in 60 s, or less often if this is longer.
        interval "interval": Option<Duration>,
        /// How long a workload may take to answer; none means 1 s.
        timeout "timeout": Option<Duration>,
        /// Failed checks in a row after which a workload gets nothing; none means 3.
        unhealthy_threshold "unhealthyThreshold": Option<u32>,
        /// Good checks in a row after which it does again; none means 2. The first check of all decides alone.
        healthy_threshold "healthyThreshold": Option<u32>,
        /// Time between two checks of a workload that failed; none means `interval`.
        unhealthy_interval "unhealthyInterval": Option<Duration>,
        /// A request whose answer has an expected status.
        http "http": Option<HttpCheck>,
        /// A connection.
        tcp "tcp": Option<TcpCheck>,
        /// `grpc.health.v1.Health/Check`.
        grpc "grpc": Option<GrpcCheck>,
    }
}

object! {
    /// A health check by HTTP.
    Exact struct HttpCheck {
        /// The path, with a query if need be.
        path "path" (required): Spanned<String>,
        /// The host that is asked for; none means the service's.
        host "host": Option<String>,
        /// Headers of the request.
        headers "headers": BTreeMap<String, String>,
        /// The statuses of a workload that is well; none means 200.
        expected_statuses "expectedStatuses": Vec<Statuses>,
        /// The check speaks HTTP/2.
        http2 "http2": bool,
    }
}

object! {
    /// A health check by TCP: a connection can be made.
    Exact struct TcpCheck {
    }
}

object! {
    /// A health check by gRPC.
    Exact struct GrpcCheck {
        /// The service that is asked about; empty means the server as a whole.
        service "service": String,
    }
}

object! {
    /// How many requests a workload takes at once, by how long they take. More are refused.
    Exact struct ConcurrencyLimit {
        /// Never more than this; none means 1000.
        max "max": Option<u32>,
        /// Never less than this, and just as many while the baseline is measured; none means 3.
        min "min": Option<u32>,
        /// How often the limit is found out anew; none means 1 s.
        interval "interval": Option<Duration>,
        /// The percentile of an interval's latencies that stands for all of them; none means 50.
        percentile "percentile": Option<f64>,
        /// By how much of the baseline, in percent, requests may take longer before the limit falls; none means 25.
        tolerance "tolerance": Option<f64>,
        /// How long requests take where nothing makes them wait.
        baseline "baseline": Option<LatencyBaseline>,
        /// The status of what is refused; none means 503.
        status "status": Option<u16>,
    }
}

object! {
    /// How long requests take where nothing makes them wait: given, or measured now and then.
    Exact struct LatencyBaseline {
        /// So long.
        fixed "fixed": Option<Duration>,
        /// How long after one measuring the next one begins; none means 60 s.
        interval "interval": Option<Duration>,
        /// By how much later it may begin, by chance, in percent; none means 15.
        jitter "jitter": Option<f64>,
        /// How many requests are measured; none means 50.
        requests "requests": Option<u32>,
    }
}

/// A status, or a range of them: `204`, `200-299`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statuses {
    /// The first one.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

impl Decode for Statuses {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let text = match IntOrString::decode(node, report)? {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(text) => text,
        };
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let status = |text: &str| text.trim().parse().ok().filter(|status| (100..600).contains(status));
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Some(Self { first, last }),
            _ => {
                report
                    .error(format!("{} is neither a status nor a range of them", quoted(&text)))
                    .expected("such as `204` or `200-299`, from 100 to 599");
                None
            }
        }
    }
}

impl ServicePolicy {
    pub(crate) fn check(&self, report: &mut Report) {
        report.field("host", |r| {
            check_host(&self.host, r);
        });
        let for_clients = self.load_balancer.is_some() || self.health_check.is_some() || self.hedging.is_some();
        if !for_clients && self.concurrency_limit.is_none() {
            let parts = "`loadBalancer`, `healthCheck`, `hedging` or `concurrencyLimit`";
            report.warning("the policy asks for nothing").expected(parts);
        }
        report.opt("loadBalancer", &self.load_balancer, |balancer, r| {
            r.field("peakEwma", |r| {
                check_positive("decay", balancer.peak_ewma.decay, r);
                check_positive("initial", balancer.peak_ewma.initial, r);
            });
        });
        report.opt("healthCheck", &self.health_check, HealthCheck::check);
        report.opt("hedging", &self.hedging, Hedging::check);
        report.opt("concurrencyLimit", &self.concurrency_limit, ConcurrencyLimit::check);
    }
}

impl Hedging {
    fn check(&self, report: &mut Report) {
        check_positive("delay", Some(self.delay), report);
        report.opt("requests", &self.requests, |requests, r| {
            if !(2..=MOST_REQUESTS).contains(requests) {
                r.error(format!("{requests} requests cannot be sent for one"))
                    .expected(format!("2 to {MOST_REQUESTS}"));
            }
        });
    }
}

/// More for one would rather be an attack.
const MOST_REQUESTS: u32 = 5;

impl HealthCheck {
    fn check(&self, report: &mut Report) {
        let asked = [self.http.is_some(), self.tcp.is_some(), self.grpc.is_some()];
        if asked.into_iter().filter(|asked| *asked).count() != 1 {
            report.error("it has to be said what is asked").expected("exactly one of `http`, `tcp` and `grpc`");
        }
        for (name, time) in
            [("interval", self.interval), ("timeout", self.timeout), ("unhealthyInterval", self.unhealthy_interval)]
        {
            check_positive(name, time, report);
        }
        for (name, number) in
            [("unhealthyThreshold", self.unhealthy_threshold), ("healthyThreshold", self.healthy_threshold)]
        {
            report.opt(name, &number, |number, r| {
                if *number == 0 {
                    r.error("0 checks decide nothing").expected("1 or more");
                }
            });
        }
        report.opt("http", &self.http, |http, r| {
            if !http.path.starts_with('/') {
                r.field("path", |r| {
                    r.error(format!("{} is not a path", quoted(&http.path))).expected("such as `/healthz`");
                });
            }
            r.entries("headers", &http.headers, |name, value, r| {
                if !is_header_name(name) || !is_header_value(value) {
                    r.error(format!("{} cannot be sent as a header", quoted(name)))
                        .expected("a name and a value of HTTP");
                }
            });
        });
    }
}

/// A time of zero would be no time at all.
fn check_positive(name: &'static str, time: Option<Duration>, report: &mut Report) {
    report.opt(name, &time, |time, r| {
        if time.is_zero() {
            r.error("0 s is no time").expected("more than 0 s, such as `10s`");
        }
    });
}

impl ConcurrencyLimit {
    fn check(&self, report: &mut Report) {
        for (name, number) in [("max", self.max), ("min", self.min)] {
            check_some(name, number, report);
        }
        if let (Some(max), Some(min)) = (self.max, self.min)
            && max < min
        {
            report.field("max", |r| {
                r.error(format!("{max} is less than the {min} of `min`")).expected("as much or more");
            });
        }
        check_milliseconds("interval", self.interval, report);
        for (name, share) in [("percentile", self.percentile), ("tolerance", self.tolerance)] {
            check_percent(name, share, report);
        }
        report.opt("status", &self.status, |status, r| {
            if !(400..600).contains(status) {
                r.error(format!("{status} says of no error")).expected("a status of 400 to 599");
            }
        });
        report.opt("baseline", &self.baseline, LatencyBaseline::check);
    }
}

impl LatencyBaseline {
    fn check(&self, report: &mut Report) {
        let is_measured = self.interval.is_some() || self.jitter.is_some() || self.requests.is_some();
        if self.fixed.is_some() && is_measured {
            let expected = "`fixed`, or how it is measured (`interval`, `jitter`, `requests`)";
            report.error("a baseline that is given is not measured").expected(expected);
        }
        for (name, time) in [("fixed", self.fixed), ("interval", self.interval)] {
            check_milliseconds(name, time, report);
        }
        check_percent("jitter", self.jitter, report);
        check_some("requests", self.requests, report);
    }
}

/// Latency is told in whole milliseconds.
fn check_milliseconds(name: &'static str, time: Option<Duration>, report: &mut Report) {
    report.opt(name, &time, |time, r| {
        if *time < Duration::from_millis(1) {
            r.error(format!("{} is too short", base::format_duration(*time))).expected("1 ms or more");
        }
    });
}

fn check_percent(name: &'static str, share: Option<f64>, report: &mut Report) {
    report.opt(name, &share, |share, r| {
        if !(0.0..=100.0).contains(share) {
            r.error(format!("{share} is no percentage")).expected("a number from 0 to 100");
        }
    });
}

fn check_some(name: &'static str, number: Option<u32>, report: &mut Report) {
    report.opt(name, &number, |number, r| {
        if *number == 0 {
            r.error("0 lets nothing through").expected("1 or more");
        }
    });
}
