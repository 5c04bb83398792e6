//! The controller against Envoy's formulas, worked out by hand, in simulated time.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// The lowest latency of a window counts, so that a sample is the lower end of its bin.
fn settings(baseline: Baseline) -> AdaptiveConcurrency {
    AdaptiveConcurrency { percentile: 0.0, min: 10, max: 50, ..AdaptiveConcurrency::new(100 * MS, baseline) }
}

/// A controller and its samples, at some time.
struct World {
    gradient: Gradient,
    samples: Samples,
    now: Duration,
}

impl World {
    fn new(settings: AdaptiveConcurrency) -> Self {
        let gradient = Gradient::new(Arc::new(settings), Draws::new(7));
        Self { gradient, samples: Samples::new(), now: Duration::ZERO }
    }

    /// Time goes on to then.
    fn at(&mut self, milliseconds: u32) -> &mut Self {
        self.now = milliseconds * MS;
        if self.gradient.due() <= self.now {
            self.gradient.advance(self.now, &self.samples);
        }
        self
    }

    /// A request ends that took so long.
    fn took(&mut self, milliseconds: u64) -> &mut Self {
        self.samples.add(milliseconds * 1000);
        self.gradient.sampled(self.now, &self.samples);
        self
    }

    fn limit(&self) -> u32 {
        self.gradient.limit()
    }

    fn is_measuring(&self) -> bool {
        self.gradient.needed().is_some()
    }

    /// The limit after each of these latencies, in an interval of its own.
    fn limits(&mut self, latencies: &[u64]) -> Vec<u32> {
        let step = |latency: &u64| {
            self.took(*latency);
            let next = (self.gradient.due().as_millis()) as u32;
            self.at(next).limit()
        };
        latencies.iter().map(step).collect()
    }
}

#[test]
fn steps_by_hand() {
    let baseline = Baseline::Fixed(100 * MS);
    // What Envoy 1.40 shows for one request of a second: `gradient` 500, `burst_queue_size` 2, the limit stays.
    let mut slow = World::new(AdaptiveConcurrency { percentile: 50.0, ..settings(baseline) });
    assert_eq!(slow.limits(&[1002]), [10]);
    assert_eq!(slow.gradient.last(), Step { sample: 1_050_000, gradient: 0.5, headroom: 5f64.sqrt() });
    for (name, settings, latencies, expected) in [
        // 10 * 1.25 + sqrt(12.5) = 16.04; 20 + 4.47; 30 + 5.48; 43.75 + 6.61 is above the highest.
        ("as quick as the baseline", settings(baseline), &[100, 100, 100, 100][..], &[16, 24, 35, 50][..]),
        // 10 * 2 + sqrt(20) = 24.47; 48 + 6.93 = 54.93. Quicker is no better than twice as quick.
        ("very quick", settings(baseline), &[10, 1], &[24, 50]),
        ("no time at all", settings(baseline), &[0], &[24]),
        // 125 / 120 * 10 = 10.42 + 3.23; 13.54 + 3.68; 17.71 + 4.21.
        ("slower, but within the buffer", settings(baseline), &[120, 120, 120], &[13, 17, 21]),
        // After 24: 24 * 125 / 200 = 15 + 3.87; 11.25 + 3.35; 8.75 + 2.96 = 11.71.
        ("slower", settings(baseline), &[50, 200, 200, 200], &[24, 18, 14, 11]),
        // After 24: 12 + 3.46; 7.5 + 2.74 = 10.24; then 5 + 2.24 = 7.24, below the lowest.
        ("very slow", settings(baseline), &[50, 9_000, 9_000, 9_000], &[24, 15, 10, 10]),
        // 10 * 1 + sqrt(10) = 13.16; 13 + 3.61; 16 + 4.
        (
            "no buffer",
            AdaptiveConcurrency { buffer_percent: 0.0, ..settings(baseline) },
            &[100, 100, 100],
            &[13, 16, 20],
        ),
        // A bound of its own: 4 * 0.5 + 1.41 = 3.41, then again.
        (
            "a bound of its own",
            AdaptiveConcurrency { lower_bound: Some(4), ..settings(baseline) },
            &[9_000, 100, 9_000, 9_000],
            // 4 * 1.25 + 2.24 = 7.24; 3.5 + 1.87.
            &[4, 7, 5, 4],
        ),
        // The least counts before the most, as in Envoy.
        ("least above most", AdaptiveConcurrency { max: 5, ..settings(baseline) }, &[100, 9_000], &[10, 10]),
    ] {
        assert_eq!(World::new(settings).limits(latencies), expected, "{name}");
    }
}

#[test]
fn an_interval_without_samples_moves_nothing() {
    let mut world = World::new(settings(Baseline::Fixed(100 * MS)));
    assert_eq!((world.limit(), world.gradient.due()), (10, 100 * MS));
    assert_eq!(world.at(99).took(100).limit(), 10);
    assert_eq!((world.at(100).limit(), world.gradient.due()), (16, 200 * MS));
    // Nothing came for a long time; the intervals go on as they would have.
    assert_eq!((world.at(1234).limit(), world.gradient.due()), (16, 1300 * MS));
    world.took(100).at(1299);
    assert_eq!((world.limit(), world.at(1300).limit()), (16, 24));
    assert!(!world.is_measuring(), "a fixed baseline is not measured");
}

fn measured(jitter_percent: f64) -> AdaptiveConcurrency {
    settings(Baseline::Measured(Measuring { requests: 3, jitter_percent, ..Measuring::new(1000 * MS) }))
}

#[test]
fn the_baseline_is_measured_by_turns() {
    let mut world = World::new(measured(0.0));
    assert_eq!((world.limit(), world.is_measuring(), world.gradient.due()), (10, true, Duration::MAX));
    // However long it takes; the quickest one counts here.
    world.at(5_000).took(120).took(100);
    assert!(world.is_measuring());
    world.at(6_000).took(300);
    assert_eq!((world.is_measuring(), world.gradient.baseline()), (false, 100_000));
    assert_eq!((world.limit(), world.gradient.due(), world.gradient.since()), (10, 6_100 * MS, Duration::ZERO));
    assert_eq!(world.limits(&[100, 100]), [16, 24]);
    // Its turn comes again a second after it ended; what came in the interval before is forgotten.
    world.at(6_999).took(5_000);
    world.at(7_050);
    assert_eq!((world.is_measuring(), world.limit(), world.gradient.since()), (true, 10, 7_050 * MS));
    world.at(7_060).took(50).took(50).took(50);
    assert_eq!((world.gradient.baseline(), world.limit(), world.is_measuring()), (50_000, 24, false));
    assert_eq!((world.gradient.due(), world.gradient.since()), (7_160 * MS, 7_050 * MS));
    // 24 * 62.5 / 100 = 15 + 3.87.
    assert_eq!(world.limits(&[100]), [18]);
}

#[test]
fn at_the_lowest_limit_for_long_the_baseline_may_be_wrong() {
    let mut world = World::new(measured(0.0));
    world.took(10).took(10).took(10);
    assert_eq!(world.limits(&[10, 500, 500]), [16, 10, 10], "8 + 2.83 = 10.83, then 7.24");
    assert_eq!(world.limits(&[500, 500, 500]), [10, 10, 10]);
    assert!(!world.is_measuring(), "four times it began and ended there");
    assert_eq!(world.limits(&[500]), [10]);
    assert!(world.is_measuring());
    world.took(500).took(500).took(500);
    assert_eq!((world.gradient.baseline(), world.limit()), (500_000, 10));
    // Counted from the beginning.
    assert_eq!(world.limits(&[9_000, 9_000, 9_000, 9_000]), [10; 4]);
    assert!(!world.is_measuring());
}

#[test]
fn while_measuring_the_least_holds_whatever_the_bound() {
    let settings = AdaptiveConcurrency { lower_bound: Some(20), ..measured(0.0) };
    let mut world = World::new(settings.clone());
    assert_eq!(world.limit(), 10);
    world.took(100).took(100).took(100);
    assert_eq!(world.limit(), 10, "Envoy 1.40 goes back to where it began");
    assert_eq!(world.limits(&[9_000, 100]), [20, 30], "7.24 is too few; 20 * 1.25 + 5");
    let fixed = AdaptiveConcurrency { baseline: Baseline::Fixed(100 * MS), ..settings };
    assert_eq!(World::new(fixed).limit(), 20);
}

#[test]
fn pauses_differ_by_chance() {
    let mut pauses = Vec::new();
    let mut world = World::new(measured(15.0));
    for _ in 0..50 {
        let ended = world.now;
        world.took(100).took(100).took(100);
        let Window::Limit { measure, .. } = world.gradient.window else { panic!("it is measured") };
        pauses.push((measure - ended).as_millis());
        world.at(measure.as_millis() as u32);
        assert!(world.is_measuring());
    }
    assert!(pauses.iter().all(|pause| (1000..1150).contains(pause)), "{pauses:?}");
    pauses.sort_unstable();
    pauses.dedup();
    assert!(pauses.len() > 30, "{pauses:?}");
}

#[test]
fn never_out_of_bounds() {
    // A long walk with latencies from nothing to a second.
    for (settings, seed) in [(measured(15.0), 3), (settings(Baseline::Fixed(20 * MS)), 5)] {
        let (mut world, mut chance) = (World::new(settings), Draws::new(seed));
        for step in 0..20_000 {
            world.at(step * 7).took(chance.draw() % 1000);
            assert!((10..=50).contains(&world.limit()), "{:?}", world.gradient);
            assert!(world.gradient.due() > world.now || world.is_measuring());
            let Step { gradient, .. } = world.gradient.last();
            assert!(gradient == 0.0 || (0.5..=2.0).contains(&gradient), "{gradient}");
        }
    }
}
