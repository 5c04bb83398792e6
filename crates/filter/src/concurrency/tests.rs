//! Places are taken and given back, and controllers live on.

use model::concurrency::{Baseline, Measuring};
use model::http_proxy;
use telemetry::{Exposition, Registry};

use super::*;
use crate::around::Alone;
use crate::chain::Run;
use crate::{Chain, NoExtensions, Stats};

const SECOND: Duration = Duration::from_secs(1);

/// One request at once, as long as none is quick.
fn settings() -> AdaptiveConcurrency {
    let interval = SECOND / 10;
    AdaptiveConcurrency { min: 1, ..AdaptiveConcurrency::new(interval, Baseline::Fixed(SECOND / 10)) }
}

fn measured(requests: u32) -> AdaptiveConcurrency {
    AdaptiveConcurrency {
        baseline: Baseline::Measured(Measuring { requests, ..Measuring::new(SECOND * 60) }),
        ..settings()
    }
}

fn chain(settings: &[AdaptiveConcurrency], stats: &Stats, before: Option<&Chain>) -> Chain {
    let filter = |one: &AdaptiveConcurrency| http_proxy::HttpFilter::AdaptiveConcurrency(Arc::new(one.clone()));
    Chain::new(&settings.iter().map(filter).collect::<Vec<_>>(), stats, before, &NoExtensions).unwrap()
}

fn stats(registry: &Registry) -> Stats {
    Stats::new(&registry.shard(), "in").unwrap()
}

/// What `name` says of the controller.
fn shown(registry: &Registry, name: &str) -> Option<String> {
    let name = format!("envoy_http_adaptive_concurrency_gradient_controller_{name}{{");
    let text = registry.expose(&Exposition::default());
    text.lines().find(|line| line.starts_with(&name)).and_then(|line| Some(line.rsplit_once(' ')?.1.to_owned()))
}

/// A request comes: is it let through?
async fn comes(chain: &Chain) -> (bool, Run<'_>) {
    let mut run = chain.begin(None, 1);
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    let passed = match run.on_request(&mut request, &Alone::default()).await {
        Flow::Continue => true,
        Flow::Respond(local) => {
            assert_eq!((&*local.text(), &*local.details), ("reached concurrency limit", "reached_concurrency_limit"));
            assert_eq!((local.status.as_u16(), local.flags), (503, ResponseFlags::NONE));
            false
        }
        other => panic!("{other:?}"),
    };
    (passed, run)
}

async fn passes(chain: &Chain) -> bool {
    comes(chain).await.0
}

#[tokio::test(start_paused = true)]
async fn a_place_is_given_back_once() {
    let registry = Registry::new();
    let chain = chain(&[settings()], &stats(&registry), None);
    let (first, mut run) = comes(&chain).await;
    let (second, mut refused) = comes(&chain).await;
    assert!(first && !second && refused.places().0.is_none(), "what is refused takes no place");
    // Held by the run, then by whoever takes it from there.
    let places = run.places();
    assert!(run.places().0.is_none());
    drop(run);
    assert!(!passes(&chain).await);
    places.complete();
    let (again, run) = comes(&chain).await;
    assert!(again);
    // The client goes away while filters wait.
    drop(run);
    assert!(passes(&chain).await);
    let (third, mut run) = comes(&chain).await;
    assert!(third);
    drop(run.places());
    assert!(passes(&chain).await);
    assert_eq!(shown(&registry, "rq_blocked").as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_to_its_end_is_a_sample() {
    let registry = Registry::new();
    let chain = chain(&[measured(2)], &stats(&registry), None);
    let show = |name| shown(&registry, name);
    for (complete, measuring) in [(false, "1"), (true, "1"), (false, "1"), (true, "0")] {
        let (_, mut run) = comes(&chain).await;
        tokio::time::advance(SECOND / 20).await;
        let places = run.places();
        if complete {
            places.complete()
        } else {
            drop(places)
        }
        assert_eq!(show("min_rtt_calculation_active").as_deref(), Some(measuring));
    }
    // Half of [50 ms, 51 ms) lies below.
    assert_eq!((show("min_rtt_msecs").as_deref(), show("concurrency_limit").as_deref()), (Some("50"), Some("1")));
    let (_, mut run) = comes(&chain).await;
    run.places().complete();
    tokio::time::advance(SECOND / 10).await;
    // Three at once from now on: no time at all doubles the limit, and 1.41 come to it.
    let (first, _one) = comes(&chain).await;
    let (second, _two) = comes(&chain).await;
    let (third, _three) = comes(&chain).await;
    assert!(first && second && third && !passes(&chain).await);
    for (name, value) in
        [("concurrency_limit", "3"), ("gradient", "2000"), ("burst_queue_size", "1"), ("sample_rtt_msecs", "0")]
    {
        assert_eq!(show(name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_from_before_the_measuring_are_no_samples() {
    let registry = Registry::new();
    let settings = AdaptiveConcurrency { min: 2, ..measured(1) };
    let chain = chain(&[settings], &stats(&registry), None);
    let (_, mut first) = comes(&chain).await;
    first.places().complete();
    assert_eq!(shown(&registry, "min_rtt_calculation_active").as_deref(), Some("0"));
    let (_, mut old) = comes(&chain).await;
    tokio::time::advance(SECOND * 90).await;
    let (passed, mut young) = comes(&chain).await;
    assert!(passed);
    assert_eq!(shown(&registry, "min_rtt_calculation_active").as_deref(), Some("1"));
    tokio::time::advance(SECOND).await;
    old.places().complete();
    assert_eq!(shown(&registry, "min_rtt_calculation_active").as_deref(), Some("1"));
    young.places().complete();
    assert_eq!(shown(&registry, "min_rtt_calculation_active").as_deref(), Some("0"));
    assert_eq!(shown(&registry, "min_rtt_msecs").as_deref(), Some("1050"));
}

#[tokio::test(start_paused = true)]
async fn several_limits_at_once() {
    let registry = Registry::new();
    let chain = chain(&[AdaptiveConcurrency { min: 2, ..settings() }, settings()], &stats(&registry), None);
    let (first, mut run) = comes(&chain).await;
    // Refused by the second limit, so the place under the first one is free again.
    assert!(first && !passes(&chain).await && !passes(&chain).await && !passes(&chain).await);
    drop(run.places());
    assert!(passes(&chain).await);
}

#[tokio::test(start_paused = true)]
async fn controllers_live_on_with_their_settings() {
    let registry = Registry::new();
    let stats = stats(&registry);
    let first = chain(&[settings()], &stats, None);
    let (_, run) = comes(&first).await;
    let same = chain(&[settings(), AdaptiveConcurrency { min: 5, ..settings() }], &stats, Some(&first));
    assert!(!passes(&same).await, "the place is taken");
    let changed = chain(&[AdaptiveConcurrency { min: 4, ..settings() }], &stats, Some(&same));
    assert!(passes(&changed).await);
    drop(run);
    drop((first, same));
    assert_eq!(shown(&registry, "concurrency_limit").as_deref(), Some("4"), "others are gone, and it is still there");
    drop(changed);
    assert_eq!(shown(&registry, "concurrency_limit").as_deref(), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn switched_off_and_not_there() {
    let registry = Registry::new();
    let stats = stats(&registry);
    let none = chain(&[], &stats, None);
    let (passed, mut run) = comes(&none).await;
    assert!(passed && run.places().0.is_none());
    assert_eq!(shown(&registry, "concurrency_limit"), None, "nothing is counted for those who have none");
    let off = chain(&[AdaptiveConcurrency { enabled: false, ..settings() }], &stats, None);
    let (_, _held) = comes(&off).await;
    assert!(passes(&off).await);
}

#[test]
fn never_more_than_the_limit_whatever_the_threads() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let registry = Registry::new();
    let settings = AdaptiveConcurrency { min: 3, max: 3, ..settings() };
    let chain = runtime().block_on(async { chain(&[settings], &stats(&registry), None) });
    let inside = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                runtime().block_on(async {
                    for _ in 0..2000 {
                        let (passed, mut run) = comes(&chain).await;
                        if passed {
                            assert!(inside.fetch_add(1, Relaxed) < 3);
                            inside.fetch_sub(1, Relaxed);
                            run.places().complete();
                        }
                    }
                });
            });
        }
    });
    assert_eq!(chain.controllers()[0].under_way.load(Relaxed), 0);
}
