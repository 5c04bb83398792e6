//! Runs a group: both proxies at the same time, one case after the other, and compares.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

use crate::case::{Case, Compare, Group, Request, Step};
use crate::client::{self, Answer};
use crate::http1::latin1;
use crate::origin::{Origins, Seen};
use crate::outcome::{self, Outcome};
use crate::proxy::{Programs, Proxy, Side};

/// What of the access log is compared, and the operator that writes it.
pub const LOG_FIELDS: [(&str, &str); 12] = [
    ("code", "%RESPONSE_CODE%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("cluster", "%UPSTREAM_CLUSTER%"),
    ("host", "%UPSTREAM_HOST%"),
    ("route", "%ROUTE_NAME%"),
    ("protocol", "%PROTOCOL%"),
    ("received", "%BYTES_RECEIVED%"),
    ("sent", "%BYTES_SENT%"),
    ("transport failure", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("tries", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ("termination", "%CONNECTION_TERMINATION_DETAILS%"),
];

/// What of them depends on whether an origin was asked.
const OF_ORIGINS: [&str; 4] = ["cluster", "host", "tries", "received"];

/// How long a line of the access log may take on a busy machine.
const LOG_PATIENCE: Duration = Duration::from_millis(1500);
/// What "at once" means on a busy machine, if no other time is expected.
const AT_ONCE: Duration = Duration::from_secs(6);

/// What came of a group.
pub struct Report {
    /// How many cases ran.
    pub cases: usize,
    /// How many of them have a documented difference.
    pub documented: usize,
    /// What is wrong, by the cases' names.
    pub wrong: Vec<(String, String)>,
}

/// What was seen of a case on one side, and how often each backend or status was met.
struct Observed {
    outcome: Outcome,
    counts: BTreeMap<String, usize>,
}

/// Runs a group whose cases have `wanted` names.
pub async fn group(
    group: &Group,
    wanted: impl Fn(&Case) -> bool,
    programs: &Programs,
    origins: &Origins,
    folder: &Path,
) -> Result<Report> {
    let folder = folder.join(group.name.replace(' ', "-"));
    std::fs::create_dir_all(&folder)?;
    let start = |side| Proxy::start(side, programs, group, &origins.names, &folder);
    let (envoy, halcyon) = tokio::join!(start(Side::Envoy), start(Side::Halcyon));
    let (mut envoy, mut halcyon) = (envoy?, halcyon?);
    tokio::time::sleep(group.settle).await;
    let mut report = Report { cases: 0, documented: 0, wrong: Vec::new() };
    for (number, case) in group.cases.iter().enumerate().filter(|(_, case)| wanted(case)) {
        report.cases += 1;
        report.documented += usize::from(!case.differs.is_empty());
        let id = format!("{}-{number}", group.name.replace(' ', "-"));
        let (id_envoy, id_ours) = (format!("{id}-e"), format!("{id}-h"));
        let (theirs, ours) =
            tokio::join!(observe(case, &id_envoy, &envoy, origins), observe(case, &id_ours, &halcyon, origins));
        let mut wrong = match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => judge(case, theirs, ours),
            (Err(error), _) => Some(format!("envoy: {error:#}")),
            (_, Err(error)) => Some(format!("halcyon: {error:#}")),
        };
        for (proxy, name) in [(&mut envoy, "envoy"), (&mut halcyon, "halcyon")] {
            if proxy.has_ended() {
                wrong = Some(format!("{name} has ended, and said: {}", proxy.said()));
            }
        }
        report.wrong.extend(wrong.map(|text| (format!("{}: {}", group.name, case.name), text)));
    }
    envoy.end().await;
    halcyon.end().await;
    Ok(report)
}

fn judge(case: &Case, mut theirs: Observed, mut ours: Observed) -> Option<String> {
    if case.compare == Compare::Spread {
        let far = |name: &&String| {
            let of = |side: &Observed| side.counts.get(*name).copied().unwrap_or_default();
            !outcome::alike(of(&theirs), of(&ours))
        };
        let names: Vec<&String> = theirs.counts.keys().chain(ours.counts.keys()).collect();
        let word = if names.iter().any(far) { "unlike" } else { "alike" };
        for (side, name) in [(&mut theirs, "as Envoy's"), (&mut ours, word)] {
            side.outcome.push("spread", if word == "alike" { "alike" } else { name });
        }
        let shown = format!("envoy: {:?}\nhalcyon: {:?}\n", theirs.counts, ours.counts);
        return outcome::verdict(&theirs.outcome, &ours.outcome, &case.differs).map(|text| text + &shown);
    }
    outcome::verdict(&theirs.outcome, &ours.outcome, &case.differs)
}

async fn observe(case: &Case, id: &str, proxy: &Proxy, origins: &Origins) -> Result<Observed> {
    let logged = proxy.logged(0).len();
    let begun = Instant::now();
    let mut requests: Vec<(String, Answer)> = Vec::new();
    for (number, step) in case.steps.iter().enumerate() {
        tokio::time::sleep(step.pause).await;
        let id = format!("{id}-{number}");
        requests.extend(match &step.during {
            None => run(step, &id, proxy).await?,
            Some(held) => beside(held, &format!("held-{id}"), (proxy, origins), run(step, &id, proxy)).await?,
        });
    }
    let took = begun.elapsed();
    let mut observed = Observed { outcome: Outcome::default(), counts: BTreeMap::new() };
    let many = requests.len() > 1;
    for (number, (id, answer)) in requests.iter_mut().enumerate() {
        let before = if many { format!("{}: ", number + 1) } else { String::new() };
        let tries = origins.memory.of(id);
        match case.compare {
            Compare::Everything | Compare::Answer | Compare::AnyBackend => {
                observed.outcome.append(&before, std::mem::take(&mut answer.outcome));
                if case.compare == Compare::Answer {
                    continue;
                }
                observed.outcome.push(format!("{before}tries"), tries.len().to_string());
                for (number, seen) in tries.iter().enumerate() {
                    observed.outcome.append(&before, said(seen, number + 1));
                }
            }
            Compare::Choice => observed.outcome.push(format!("{before}backend"), &answer.body),
            Compare::Spread | Compare::Counts => *observed.counts.entry(answer.body.clone()).or_default() += 1,
            Compare::Statuses => *observed.counts.entry(answer.status.clone()).or_default() += 1,
        }
    }
    summarise(case.compare, &mut observed);
    if matches!(case.compare, Compare::Everything | Compare::Answer | Compare::AnyBackend) {
        observed.outcome.push("takes", class(took, case.about));
        let bytes = case.steps.iter().any(|step| step.request.is_bytes());
        let answered = requests.iter().filter(|(_, answer)| answer.status.len() == 3).count();
        let encoded = requests.iter().any(|(_, answer)| answer.encoded);
        log((&mut observed.outcome, case.compare, encoded), proxy, logged, id, bytes, answered.max(usize::from(bytes)))
            .await;
        observed.outcome.map(|value| proxy.names.unfill(value));
    }
    if case.compare == Compare::AnyBackend {
        observed.outcome.map(|value| match value {
            "b1" | "b2" | "b3" => "b".to_owned(),
            value => ["$B1", "$B2", "$B3"].iter().fold(value.to_owned(), |value, name| value.replace(name, "$B")),
        });
    }
    Ok(observed)
}

/// Does something while an origin has a request.
async fn beside<T>(
    held: &Request,
    id: &str,
    (proxy, origins): (&Proxy, &Origins),
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let work = async {
        while origins.memory.of(id).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        work.await
    };
    tokio::select! {
        done = work => done,
        answer = client::send(held, id, &proxy.names) => {
            bail!("the request that was to be held was answered with {}", answer?.status)
        }
    }
}

async fn run(step: &Step, id: &str, proxy: &Proxy) -> Result<Vec<(String, Answer)>> {
    let one = |number: usize| {
        let mut request = step.request.clone();
        request.path = request.path.replace("{n}", &number.to_string());
        request.headers.iter_mut().for_each(|(_, value)| *value = value.replace("{n}", &number.to_string()));
        let id = format!("{id}-{number}");
        async move { client::send(&request, &id, &proxy.names).await.map(|answer| (id, answer)) }
    };
    if step.together {
        return futures_util::future::try_join_all((0..step.times).map(one)).await;
    }
    let mut all = Vec::new();
    for number in 0..step.times {
        all.push(one(number).await?);
    }
    Ok(all)
}

fn summarise(compare: Compare, observed: &mut Observed) {
    match compare {
        Compare::Counts => {
            let mut sizes: Vec<usize> = observed.counts.values().copied().collect();
            sizes.sort_unstable();
            observed.outcome.push("counts", format!("{sizes:?}"));
        }
        Compare::Statuses => {
            observed.counts.iter().for_each(|(status, count)| observed.outcome.push(status, count.to_string()));
        }
        _ => {}
    }
}

/// What an origin got.
fn said(seen: &Seen, number: usize) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.push("backend", seen.backend);
    outcome.push("request", &seen.line);
    outcome.headers("request header", &headers(seen, number));
    if !seen.body.is_empty() {
        let body = latin1(&seen.body);
        outcome.push("request body", if body.len() > 400 { format!("{} bytes", body.len()) } else { body });
    }
    outcome.headers("request trailer", &seen.trailers);
    let mut all = Outcome::default();
    let before = if number > 1 { format!("try {number} ") } else { String::new() };
    all.append(&before, outcome);
    all
}

/// What is left of a time limit: of the first try the limit itself, in steps that a busy machine does not miss; of later
/// ones it differs from run to run.
fn headers(seen: &Seen, number: usize) -> Vec<(String, String)> {
    const STEP: u64 = 50;
    let left = |text: &str| match text.parse::<u64>() {
        Ok(milliseconds) if number == 1 => (milliseconds.div_ceil(STEP) * STEP).to_string(),
        Ok(_) => "(is there)".to_owned(),
        Err(_) => text.to_owned(),
    };
    let value =
        |name: &str, text: &str| if name == "x-envoy-expected-rq-timeout-ms" { left(text) } else { text.to_owned() };
    seen.headers.iter().map(|(name, text)| (name.clone(), value(name, text))).collect()
}

fn class(took: Duration, about: Option<Duration>) -> &'static str {
    match about {
        None if took < AT_ONCE => "no time",
        None => "long",
        Some(about) if took < about.mul_f64(0.6) => "less than expected",
        Some(about) if took < about.mul_f64(2.5) + Duration::from_millis(700) => "about as expected",
        Some(_) => "longer than expected",
    }
}

/// Takes in the lines of the access log that are about the case: with its id, or, of bytes that may have none, those
/// without any since it began.
async fn log(
    (outcome, compare, encoded): (&mut Outcome, Compare, bool),
    proxy: &Proxy,
    from: usize,
    id: &str,
    bytes: bool,
    expected: usize,
) {
    let until = Instant::now() + LOG_PATIENCE;
    let nameless = |line: &String| bytes && line.starts_with("-\t");
    let own = |line: &String| nameless(line) || line.strip_prefix(id).is_some_and(|rest| rest.starts_with('-'));
    let read = || proxy.logged(from).into_iter().filter(own).collect::<Vec<String>>();
    let mut lines = read();
    while lines.len() < expected && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
        lines = read();
    }
    // Lines of connections that end together come in any order.
    lines.sort();
    let many = lines.len() > 1;
    for (number, line) in lines.iter().enumerate() {
        let before = if many { format!("{}: ", number + 1) } else { String::new() };
        let values: Vec<&str> = line.splitn(LOG_FIELDS.len() + 1, '\t').skip(1).collect();
        let told = LOG_FIELDS
            .iter()
            .zip(values)
            .filter(|((name, _), _)| compare != Compare::Answer || !OF_ORIGINS.contains(name));
        for ((name, _), value) in told {
            let value = if encoded && *name == "sent" { "(is there)" } else { value };
            outcome.push(format!("{before}log {name}"), value);
        }
    }
    outcome.push("log lines", lines.len().to_string());
}
