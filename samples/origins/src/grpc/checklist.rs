//! Every kind of gRPC call once, each checked: what must still work with a mesh in between.

use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::stream;
use proto::halcyon::samples::v1::echo_client::EchoClient;
use proto::halcyon::samples::v1::{EchoRequest, EchoResponse};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// A large message: many frames and several flow-control windows.
const LARGE: usize = 1 << 20;
const CONCURRENT: usize = 50;

/// One line of the checklist.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was tried.
    pub name: &'static str,
    /// Who answered, if that is known.
    pub served_by: Option<String>,
    /// Why it failed; nothing when it is as it should be.
    pub fault: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
}

/// Which checks there are, in their order.
pub const NAMES: [&str; 10] = [
    "unary",
    "metadata",
    "server-stream",
    "client-stream",
    "bidi",
    "status",
    "status-after-messages",
    "large-message",
    "deadline",
    "concurrent",
];

/// Calls the echo service at `endpoint`; only the checks named in `only`, or all. Each may take `within`.
///
/// # Errors
/// When no connection can be made at all.
pub async fn run(endpoint: Endpoint, only: &[String], within: Duration) -> Result<Vec<Check>, tonic::transport::Error> {
    let channel = tokio::time::timeout(within, endpoint.connect());
    let channel = match channel.await {
        Ok(connected) => connected?,
        // The lazy channel reports in each check what keeps it from connecting.
        Err(_) => endpoint.connect_lazy(),
    };
    let client = EchoClient::new(channel).max_decoding_message_size(2 * LARGE).max_encoding_message_size(2 * LARGE);
    let mut checks = Vec::new();
    for name in NAMES {
        if !only.is_empty() && !only.iter().any(|o| o == name) {
            continue;
        }
        let began = Instant::now();
        let result = tokio::time::timeout(within, check(name, client.clone())).await;
        let result = result.unwrap_or_else(|_| Err(Fault(format!("no end within {} s", within.as_secs_f64()))));
        let (served_by, fault) = match result {
            Ok(name) => (Some(name), None),
            Err(Fault(why)) => (None, Some(why)),
        };
        checks.push(Check { name, served_by, fault, took_ms: began.elapsed().as_secs_f64() * 1e3 });
    }
    Ok(checks)
}

type Client = EchoClient<Channel>;
/// Who answered, or what went wrong.
type Verdict = Result<String, Fault>;

struct Fault(String);

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self(format!("status {:?}: {}", status.code(), status.message()))
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), Fault> {
    if got == expected { Ok(()) } else { Err(Fault(format!("{what}: expected {expected:?}, got {got:?}"))) }
}

fn say(message: &str) -> EchoRequest {
    EchoRequest { message: message.to_owned(), ..EchoRequest::default() }
}

async fn check(name: &str, client: Client) -> Verdict {
    match name {
        "unary" => unary(client).await,
        "metadata" => metadata(client).await,
        "server-stream" => server_stream(client).await,
        "client-stream" => client_stream(client).await,
        "bidi" => bidi(client).await,
        "status" => status(client).await,
        "status-after-messages" => status_after_messages(client).await,
        "large-message" => large_message(client).await,
        "deadline" => deadline(client).await,
        _ => concurrent(client).await,
    }
}

async fn unary(mut client: Client) -> Verdict {
    let answer = client.unary(say("hello")).await?.into_inner();
    expect("message", answer.message.as_str(), "hello")?;
    Ok(answer.served_by)
}

async fn metadata(mut client: Client) -> Verdict {
    let mut request = Request::new(say("hello"));
    request.metadata_mut().insert("x-echo-color", MetadataValue::from_static("green"));
    let answer = client.unary(request).await?;
    let color = answer.metadata().get("x-echo-color").and_then(|v| v.to_str().ok()).map(str::to_owned);
    expect("metadata x-echo-color", color.as_deref(), Some("green"))?;
    Ok(answer.into_inner().served_by)
}

async fn server_stream(mut client: Client) -> Verdict {
    let request = EchoRequest { message: "again".to_owned(), count: 5, interval_ms: 1, fail_code: 0 };
    let mut answers = client.server_stream(request).await?.into_inner();
    let mut all: Vec<EchoResponse> = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    expect("indexes", all.iter().map(|a| a.index).collect(), vec![0, 1, 2, 3, 4])?;
    Ok(all.remove(0).served_by)
}

async fn client_stream(mut client: Client) -> Verdict {
    let answer = client.client_stream(stream::iter(["one", "two", "three"].map(say))).await?.into_inner();
    expect("message", answer.message.as_str(), "one two three")?;
    Ok(answer.served_by)
}

/// Ping-pong: each question waits for the answer before it, so nothing in between may hold a message back.
async fn bidi(mut client: Client) -> Verdict {
    let (questions, asked) = mpsc::channel(1);
    let gone = |_| Fault("the stream of questions was closed early".to_owned());
    questions.send(say("0")).await.map_err(gone)?;
    let mut answers = client.bidi(ReceiverStream::new(asked)).await?.into_inner();
    let mut served_by = String::new();
    for index in 0..5u32 {
        let answer =
            answers.message().await?.ok_or_else(|| Fault(format!("the stream ended after {index} answers")))?;
        expect("answer", (answer.index, answer.message), (index, index.to_string()))?;
        served_by = answer.served_by;
        questions.send(say(&(index + 1).to_string())).await.map_err(gone)?;
    }
    drop(questions);
    let left = answers.message().await?.map(|a| a.message);
    expect("the sixth answer", left.as_deref(), Some("5"))?;
    expect("after the end", answers.message().await?.is_none(), true)?;
    Ok(served_by)
}

async fn status(mut client: Client) -> Verdict {
    let request = EchoRequest { fail_code: Code::NotFound as u32, ..say("hello") };
    match client.unary(request).await {
        Ok(_) => Err(Fault("expected status NotFound, got an answer".to_owned())),
        Err(status) => ended_as_asked(&status, Code::NotFound),
    }
}

async fn status_after_messages(mut client: Client) -> Verdict {
    let request = EchoRequest { fail_code: Code::DataLoss as u32, count: 3, ..say("hello") };
    let mut answers = client.server_stream(request).await?.into_inner();
    for index in 0..3 {
        expect("index", answers.message().await?.map(|a| a.index), Some(index))?;
    }
    match answers.message().await {
        Ok(_) => Err(Fault("expected status DataLoss in the trailers, got none".to_owned())),
        Err(status) => ended_as_asked(&status, Code::DataLoss),
    }
}

fn ended_as_asked(status: &Status, code: Code) -> Verdict {
    expect("status", status.code(), code)?;
    expect("status message", status.message(), &format!("ended with {code:?}, as asked"))?;
    let name = status.metadata().get("x-served-by").and_then(|v| v.to_str().ok());
    name.map(str::to_owned).ok_or_else(|| Fault("the trailers lost x-served-by".to_owned()))
}

async fn large_message(mut client: Client) -> Verdict {
    let answer = client.unary(say(&"x".repeat(LARGE))).await?.into_inner();
    expect("length", answer.message.len(), LARGE)?;
    Ok(answer.served_by)
}

/// The server would answer after a minute; the deadline must end the call, whoever watches it.
async fn deadline(mut client: Client) -> Verdict {
    let mut request = Request::new(EchoRequest { interval_ms: 60_000, ..say("hello") });
    request.set_timeout(Duration::from_millis(100));
    match client.unary(request).await {
        Ok(_) => Err(Fault("expected the deadline to end the call, got an answer".to_owned())),
        // tonic itself ends a call at its deadline with Cancelled.
        Err(status) if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => Ok("deadline".to_owned()),
        Err(status) => Err(status.into()),
    }
}

async fn concurrent(client: Client) -> Verdict {
    let calls = (0..CONCURRENT).map(|n| {
        let mut client = client.clone();
        async move {
            let answer = client.unary(say(&n.to_string())).await?.into_inner();
            expect("message", answer.message, n.to_string())?;
            Ok::<_, Fault>(answer.served_by)
        }
    });
    let mut names = try_join_all(calls).await?;
    names.sort();
    names.dedup();
    Ok(names.join(", "))
}
