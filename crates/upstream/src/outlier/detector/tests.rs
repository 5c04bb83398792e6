//! Who is left out, and when it returns, in simulated time.

use model::outlier::Enforcing;

use super::*;
use crate::outlier::Outcome;

/// A detector of some endpoints, and the time that has passed.
struct Rig {
    detector: Detector,
    hosts: Vec<(EndpointId, Arc<Monitor>)>,
    settings: OutlierDetection,
    begun: Instant,
    now: Instant,
    draw: u64,
}

impl Rig {
    fn new(hosts: usize, settings: OutlierDetection) -> Self {
        let hosts: Vec<_> = (0..hosts).map(|_| (EndpointId::next(), Arc::<Monitor>::default())).collect();
        let begun = Instant::now();
        let mut rig = Self { detector: Detector::new(settings.clone()), hosts, settings, begun, now: begun, draw: 0 };
        rig.detector.follow(rig.hosts.clone().into_iter());
        rig
    }

    fn secs(&self) -> u64 {
        (self.now - self.begun).as_secs()
    }

    /// Answers of one endpoint, told to the detector as workers do.
    fn answers(&mut self, host: usize, status: u16, times: usize) -> &mut Self {
        for _ in 0..times {
            let (id, monitor) = &self.hosts[host];
            let reached = monitor.count(&self.settings, Outcome::Answer(status, None));
            if reached.any() {
                self.detector.reached(*id, reached, self.now, &mut || self.draw);
            }
        }
        self
    }

    /// An interval passes.
    fn sweep(&mut self) -> &mut Self {
        self.now += self.settings.interval;
        self.detector.sweep(self.now, &mut || self.draw);
        self
    }

    /// What was found, by the endpoints' places.
    fn found(&mut self) -> Vec<String> {
        let place = |id: EndpointId| self.hosts.iter().position(|(of, _)| *of == id).unwrap();
        let told = |finding: Finding| match finding {
            Finding::Detected(kind) => format!("{} found", kind.name()),
            Finding::Ejected(id, kind) => format!("{} out: {}", place(id), kind.name()),
            Finding::Overflow => "overflow".to_owned(),
            Finding::Returned(id) => format!("{} back", place(id)),
        };
        self.detector.findings().into_iter().map(told).collect()
    }

    /// The time at which the endpoint that is out comes back.
    fn back_at(&mut self) -> u64 {
        while self.detector.ejected() > 0 {
            self.sweep();
        }
        self.found();
        self.secs()
    }
}

fn all_may_go() -> OutlierDetection {
    OutlierDetection { max_ejection_percent: 100, ..OutlierDetection::default() }
}

#[test]
fn failures_in_a_row() {
    let mut rig = Rig::new(10, OutlierDetection::default());
    assert_eq!(rig.answers(3, 500, 4).answers(3, 200, 1).answers(3, 500, 4).found(), [""; 0]);
    assert_eq!(rig.answers(3, 500, 1).found(), ["consecutive_5xx found", "3 out: consecutive_5xx"]);
    // One in ten is as many as may be; who is found is found again.
    let too_many = ["consecutive_5xx found", "overflow"];
    assert_eq!(rig.answers(4, 500, 5).found(), too_many);
    assert_eq!(rig.answers(4, 500, 5).found(), too_many);
    // Gateway errors are found first, but by default nothing follows.
    let expected = ["consecutive_gateway_failure found", "overflow", "consecutive_5xx found", "overflow"];
    assert_eq!(rig.answers(5, 503, 5).found(), expected);
}

#[test]
fn how_many_may_go() {
    for (hosts, percent, always, expected) in [
        (3, 10, false, 0),
        (3, 10, true, 1),
        (3, 34, false, 1),
        (3, 100, false, 3),
        (3, 0, false, 0),
        (20, 10, false, 2),
    ] {
        let settings =
            OutlierDetection { max_ejection_percent: percent, always_eject_one: always, ..OutlierDetection::default() };
        let mut rig = Rig::new(hosts, settings);
        for host in 0..hosts {
            rig.answers(host, 500, 5);
        }
        assert_eq!(rig.detector.ejected(), expected, "{hosts} {percent} {always}");
    }
}

#[test]
fn the_time_out_grows_and_shrinks() {
    let settings = OutlierDetection { max_ejection_time: Duration::from_secs(70), ..all_may_go() };
    let mut rig = Rig::new(2, settings);
    assert_eq!(rig.answers(0, 500, 5).back_at(), 30);
    assert_eq!(rig.answers(0, 500, 5).back_at(), 30 + 60);
    assert_eq!(rig.answers(0, 500, 5).back_at(), 90 + 70, "the longest time");
    // Four intervals in which it does well.
    rig.sweep().sweep().sweep().sweep();
    assert_eq!(rig.answers(0, 500, 5).back_at(), 200 + 30);
}

#[test]
fn chance_adds_to_the_time() {
    let settings = OutlierDetection { max_ejection_time_jitter: Duration::from_secs(9), ..all_may_go() };
    let mut rig = Rig::new(2, settings);
    rig.draw = 5000;
    rig.settings.enforcing.consecutive_5xx = 100;
    assert_eq!(rig.answers(0, 500, 5).back_at(), 40, "30 s and 5 s, seen at the next interval");
}

#[test]
fn shares_of_enforcement() {
    for (draw, expected) in [(0, 1), (29, 1), (30, 0), (99, 0), (130, 0)] {
        let enforcing = Enforcing { consecutive_5xx: 30, ..OutlierDetection::default().enforcing };
        let mut rig = Rig::new(2, OutlierDetection { enforcing, ..all_may_go() });
        rig.draw = draw;
        rig.answers(0, 500, 5);
        assert_eq!(rig.detector.ejected(), expected, "{draw}");
    }
}

#[test]
fn success_rates() {
    // The example of Envoy's source: the mean is 90, the deviation 20.
    let rates = [50, 100, 100, 100, 100];
    for (factor, volume, hosts, expected) in [
        (1900, 100, 5, vec!["success_rate found", "0 out: success_rate"]),
        (2000, 100, 5, vec![]),
        (1900, 101, 5, vec![]),
        (1900, 100, 6, vec![]),
    ] {
        let mut settings = all_may_go();
        settings.consecutive_5xx = 0;
        settings.success_rate.stdev_factor = factor;
        settings.success_rate.request_volume = volume;
        settings.success_rate.minimum_hosts = hosts;
        settings.failure_percentage.request_volume = 1000;
        let mut rig = Rig::new(rates.len(), settings);
        for (host, good) in rates.iter().enumerate() {
            rig.answers(host, 200, *good).answers(host, 500, 100 - good);
        }
        assert_eq!(rig.sweep().found(), expected, "{factor} {volume} {hosts}");
        assert_eq!(rig.hosts[0].1.success_rate(), (volume == 100).then_some(50.0));
        assert_eq!(rig.sweep().found(), [""; 0], "an interval without requests finds nothing");
    }
}

#[test]
fn shares_of_failures() {
    let mut settings = all_may_go();
    settings.enforcing.success_rate = 0;
    settings.enforcing.failure_percentage = 100;
    settings.consecutive_5xx = 0;
    let mut rig = Rig::new(5, settings);
    for (host, bad) in [43, 42, 50, 0, 0].into_iter().enumerate() {
        rig.answers(host, 200, 50 - bad).answers(host, 500, bad);
    }
    let found = "failure_percentage found";
    let expected = [found, "0 out: failure_percentage", found, "2 out: failure_percentage"];
    assert_eq!(rig.sweep().found(), expected, "85 % is enough, 84 % is not");
}

#[test]
fn endpoints_come_and_go() {
    let mut rig = Rig::new(2, all_may_go());
    rig.answers(0, 500, 5).answers(1, 500, 5).found();
    rig.detector.follow(rig.hosts[1..].iter().cloned());
    assert_eq!(rig.detector.ejected(), 1, "one that is gone is not out");
    let (id, now) = (rig.hosts[1].0, rig.now);
    rig.detector.health_check_passed(id, now);
    assert_eq!(rig.found(), ["1 back"]);
    rig.detector.follow(rig.hosts.clone().into_iter());
    assert_eq!(rig.detector.ejected(), 0, "one that comes again is a new one");
}
