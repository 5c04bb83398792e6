//! Series in, text out.

use std::time::Duration;

use telemetry::{DEFAULT_BUCKETS, DeclareError, Desc, Exposition, Registry, TextFormat};

fn shown(registry: &Registry) -> String {
    registry.expose(&Exposition::default())
}

#[test]
fn names_are_the_same_in_both_formats() {
    let registry = Registry::new();
    registry.shard().counters(Desc::new("envoy_cluster_upstream_rq_retry", "Retries.")).unwrap().with(&[]).inc();
    let exposition = Exposition { format: TextFormat::OpenMetrics, ..Exposition::default() };
    let expected = "# HELP envoy_cluster_upstream_rq_retry Retries.\n# TYPE envoy_cluster_upstream_rq_retry unknown\n\
                    envoy_cluster_upstream_rq_retry 1\n# EOF\n";
    assert_eq!(registry.expose(&exposition), expected);
    assert!(
        shown(&registry).ends_with("TYPE envoy_cluster_upstream_rq_retry counter\nenvoy_cluster_upstream_rq_retry 1\n")
    );
}

#[test]
fn golden() {
    let registry = Registry::new();
    let shard = registry.shard();
    let requests = shard
        .counters(Desc::new("istio_requests_total", "Requests,\nby \"code\" \\ reporter.").labels(&["code", "path"]))
        .unwrap();
    requests.with(&["200", "/b"]).add(3);
    requests.with(&["200", "/a\"\\\n"]).inc();
    shard.gauges(Desc::new("connections", "Open connections.")).unwrap().with(&[]).add(-2);
    let times = shard
        .histograms(Desc::new("request_duration_milliseconds", "Time.").unit("milliseconds").bounds(&[0.5, 1.0, 25.0]))
        .unwrap()
        .with(&[]);
    [0.5, 0.6, 1.0, 30.25, f64::NAN].into_iter().for_each(|value| times.observe(value));

    assert_eq!(
        shown(&registry),
        r#"# HELP connections Open connections.
# TYPE connections gauge
connections -2
# HELP istio_requests_total Requests,\nby "code" \\ reporter.
# TYPE istio_requests_total counter
istio_requests_total{code="200",path="/a\"\\\n"} 1
istio_requests_total{code="200",path="/b"} 3
# HELP request_duration_milliseconds Time.
# TYPE request_duration_milliseconds histogram
request_duration_milliseconds_bucket{le="0.5"} 1
request_duration_milliseconds_bucket{le="1"} 3
request_duration_milliseconds_bucket{le="25"} 3
request_duration_milliseconds_bucket{le="+Inf"} 4
request_duration_milliseconds_sum 32.35
request_duration_milliseconds_count 4
"#
    );
    assert_eq!(
        registry.expose(&Exposition { format: TextFormat::OpenMetrics, ..Exposition::default() }),
        r#"# HELP connections Open connections.
# TYPE connections gauge
connections -2
# HELP istio_requests Requests,\nby \"code\" \\ reporter.
# TYPE istio_requests counter
istio_requests_total{code="200",path="/a\"\\\n"} 1
istio_requests_total{code="200",path="/b"} 3
# HELP request_duration_milliseconds Time.
# TYPE request_duration_milliseconds histogram
# UNIT request_duration_milliseconds milliseconds
request_duration_milliseconds_bucket{le="0.5"} 1
request_duration_milliseconds_bucket{le="1.0"} 3
request_duration_milliseconds_bucket{le="25.0"} 3
request_duration_milliseconds_bucket{le="+Inf"} 4
request_duration_milliseconds_sum 32.35
request_duration_milliseconds_count 4
# EOF
"#
    );
}

#[test]
fn filters() {
    let registry = Registry::new();
    let shard = registry.shard();
    let a = shard.counters(Desc::new("a_total", "A.").labels(&["x"])).unwrap();
    a.with(&["used"]).inc();
    a.with(&["unused"]);
    shard.gauges(Desc::new("b", "B.")).unwrap().with(&[]);
    for (prefix, used_only, expected) in [
        ("", false, &["a_total{x=\"unused\"} 0", "a_total{x=\"used\"} 1", "b 0"][..]),
        ("", true, &["a_total{x=\"used\"} 1"]),
        ("b", false, &["b 0"]),
        ("b", true, &[]),
        ("c", false, &[]),
    ] {
        let text = registry.expose(&Exposition { prefix: prefix.to_owned(), used_only, ..Exposition::default() });
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, expected, "{prefix} {used_only}");
    }
    assert_eq!(TextFormat::from_accept("application/openmetrics-text;version=1.0.0,*/*"), TextFormat::OpenMetrics);
    assert_eq!(TextFormat::from_accept("text/plain"), TextFormat::Prometheus);
}

#[test]
fn shards_are_summed() {
    let registry = Registry::new();
    let workers: Vec<_> = (1..=4u64)
        .map(|worker| {
            let shard = registry.shard();
            std::thread::spawn(move || {
                let desc = || Desc::new("n_total", "N.").labels(&["who"]);
                let all = shard.counters(desc()).unwrap().with(&["all"]);
                (0..1000).for_each(|_| all.inc());
                shard.counters(desc()).unwrap().with(&[&worker.to_string()]).add(worker);
                shard.gauges(Desc::new("g", "G.")).unwrap().with(&[]).set(worker as i64);
                let times = shard.histograms(Desc::new("h", "H.").bounds(&[2.0])).unwrap().with(&[]);
                times.observe(worker as f64);
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let samples: Vec<String> = shown(&registry).lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect();
    assert_eq!(
        samples,
        [
            "g 10",
            "h_bucket{le=\"2\"} 2",
            "h_bucket{le=\"+Inf\"} 4",
            "h_sum 10",
            "h_count 4",
            "n_total{who=\"1\"} 1",
            "n_total{who=\"2\"} 2",
            "n_total{who=\"3\"} 3",
            "n_total{who=\"4\"} 4",
            "n_total{who=\"all\"} 4000",
        ]
    );
}

#[test]
fn cardinality_is_bounded() {
    let registry = Registry::new();
    let family = registry.shard().counters(Desc::new("n_total", "N.").labels(&["a", "b"]).limit(3)).unwrap();
    for value in 0..100 {
        family.with(&[&value.to_string(), "x"]).inc();
    }
    family.with(&["0", "x"]).inc();
    assert_eq!((family.len(), family.overflowed()), (4, 97));
    let text = shown(&registry);
    assert!(text.contains("n_total{a=\"_overflow\",b=\"_overflow\"} 97\n"), "{text}");
    assert!(text.contains("n_total{a=\"0\",b=\"x\"} 2\n"), "{text}");
}

#[test]
fn idle_series_expire() {
    let registry = Registry::new();
    let shard = registry.shard();
    let family = shard.counters(Desc::new("n_total", "N.").labels(&["x"])).unwrap();
    let gauges = shard.gauges(Desc::new("g", "G.").labels(&["x"])).unwrap();
    let (held, busy) = (family.with(&["held"]), family.with(&["busy"]));
    family.with(&["gone"]).inc();
    held.inc();
    gauges.with(&["zero"]);
    gauges.with(&["one"]).set(1);
    let _none_now = gauges.with(&["none now"]);
    shard.counters(Desc::new("alone_total", "A.")).unwrap().with(&[]).inc();
    let sweep = |minute: u64| registry.sweep(Duration::from_secs(minute * 60), Duration::from_secs(150));
    let is_shown = |name: &str| shown(&registry).contains(&format!("{{x=\"{name}\"}}"));

    for minute in 0..3 {
        busy.inc();
        sweep(minute);
        assert!(["held", "busy", "gone", "zero", "one"].into_iter().all(is_shown), "minute {minute}");
    }
    for minute in 3..8 {
        busy.inc();
        sweep(minute);
    }
    // A gauge that says something stays; a held handle keeps its series for when it counts again.
    assert!(["busy", "one", "none now"].into_iter().all(is_shown));
    assert!(!["held", "gone", "zero"].into_iter().any(is_shown));
    assert_eq!((family.len(), gauges.len()), (2, 2));
    assert!(shown(&registry).contains("alone_total 1\n"), "the only one of its family");
    held.inc();
    assert!(shown(&registry).contains("n_total{x=\"held\"} 2\n"));
    sweep(8);
    assert!(is_shown("held"));
    assert_eq!(family.with(&["gone"]).get(), 0);
}

#[test]
fn declarations() {
    let registry = Registry::new();
    let shard = registry.shard();
    shard.counters(Desc::new("n_total", "N.").labels(&["a"])).unwrap().with(&["x"]).inc();
    assert_eq!(shard.counters(Desc::new("n_total", "N.").labels(&["a"])).unwrap().with(&["x"]).get(), 1);
    let conflict = |family: &str| Some(DeclareError::Conflict { family: family.to_owned() });
    assert_eq!(shard.gauges(Desc::new("n_total", "N.").labels(&["a"])).err(), conflict("n_total"));
    assert_eq!(registry.shard().counters(Desc::new("n_total", "N.").labels(&["b"])).err(), conflict("n_total"));
    shard.histograms(Desc::new("h", "H.")).unwrap();
    assert_eq!(shard.histograms(Desc::new("h", "H.").bounds(&[1.0])).err(), conflict("h"));
    let name = |family: &str, name: &str| Some(DeclareError::Name { family: family.to_owned(), name: name.to_owned() });
    assert_eq!(shard.counters(Desc::new("1n", "N.")).err(), name("1n", "1n"));
    assert_eq!(shard.counters(Desc::new("n", "N.").labels(&["a-b"])).err(), name("n", "a-b"));
    assert!(matches!(shard.histograms(Desc::new("x", "X.").bounds(&[1.0, 1.0])), Err(DeclareError::Bounds { .. })));
    assert_eq!(DEFAULT_BUCKETS.len(), 19);
}
