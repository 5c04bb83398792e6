//! `GET /v1/tap`: single exchanges as server-sent events.

use std::convert::Infallible;

use axum::extract::{RawQuery, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{self, Stream};
use http::StatusCode;
use serde_json::json;

use super::query::{Refused, Words, wrong};
use crate::observe::Observe;
use crate::taps::{MOST_BODY, MOST_PER_SECOND, TapFilter, TapItem, Tapped};

pub(super) async fn tap_call(
    State(observe): State<Observe>,
    RawQuery(query): RawQuery,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>, Refused> {
    let filter = filter(query.as_deref())?;
    let too_many =
        |e: crate::taps::TooManyTaps| Refused::new(StatusCode::TOO_MANY_REQUESTS, e.to_string(), "close one of them");
    let tapped = observe.tap(&filter).map_err(too_many)?;
    let proxies = observe.tellers().seats.len();
    let hello = event("hello", &json!({ "proxies": proxies }));
    let events = stream::unfold((tapped, Some(hello)), |(mut tapped, hello): (Tapped, Option<Event>)| async move {
        let event = match hello {
            Some(hello) => hello,
            None => match tapped.next().await? {
                TapItem::Exchange(exchange) => event("exchange", &*exchange),
                TapItem::Loss { count, why } => event("loss", &json!({ "count": count, "why": words(why) })),
            },
        };
        Some((Ok(event), (tapped, None)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn words(why: &str) -> &'static str {
    match why {
        "proxy" => "more exchanges fit than a proxy may send",
        _ => "they came faster than they were read",
    }
}

fn event(name: &str, data: &impl serde::Serialize) -> Event {
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}

fn filter(query: Option<&str>) -> Result<TapFilter, Refused> {
    let known = [
        "source",
        "destination",
        "method",
        "path",
        "authority",
        "status",
        "headers",
        "bodyBytes",
        "perSecond",
        "minMs",
    ];
    let words = Words::read(query, &known)?;
    words.pair("source")?;
    let status = words.text("status");
    let digits = status.strip_suffix("xx").unwrap_or(&status);
    let length = if status.ends_with("xx") { 1 } else { 3 };
    if !status.is_empty() && (digits.len() != length || !digits.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(wrong("status", &status, "a status such as 503, or 5xx"));
    }
    for name in ["destination", "method", "path", "authority"] {
        if let Some(text) = words.get(name).filter(|text| text.len() > 1024) {
            return Err(wrong(name, text, "no more than 1024 bytes"));
        }
    }
    Ok(TapFilter {
        source: words.text("source"),
        destination: words.text("destination"),
        method: words.text("method"),
        authority: words.text("authority"),
        path: words.text("path"),
        status,
        least_micros: (words.millis("minMs")?.unwrap_or(0.0) * 1000.0) as u64,
        headers: words.flag("headers")?,
        body_bytes: words.number("bodyBytes", 0, MOST_BODY.into(), 0)? as u32,
        per_second: words.number("perSecond", 1, MOST_PER_SECOND.into(), 100)? as u32,
    })
}
