//! Compresses responses (Envoy's `envoy.filters.http.compressor`), each filter in its own encoding, piece by piece: a
//! piece that came in goes out at once, whatever it compresses to.
//!
//! Of several filters in a chain one compresses: which one is decided once per exchange, by the first that looks.

mod encode;
mod negotiate;

use std::fmt;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use mesh_http::Body;
use model::Compressor;
use model::compression::{CompressorRule, ETags};
use model::route::FilterRule;
use telemetry::Counter;

use crate::chain::{Facts, Flow, HttpFilter};
use crate::stats::Stats;

use self::encode::Encoded;

/// A compressor filter.
#[derive(Debug)]
pub(crate) struct CompressorFilter {
    /// All of its chain, for the choice between them.
    all: Arc<[Compressor]>,
    /// Which of them this one is.
    own: usize,
    counts: Counts,
}

struct Counts {
    compressed: Counter,
    left: Counter,
    before: Counter,
    after: Counter,
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}

/// What the compressors of a chain know of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Encodings {
    /// What the client accepts, as each of them saw it: one may have hidden it from those behind.
    accepted: Vec<(usize, HeaderValue)>,
    /// The encoding that was decided on, or none.
    decided: Option<Option<&'static str>>,
}

impl CompressorFilter {
    /// The filter at place `own` of a chain's compressors.
    pub(crate) fn new(all: Arc<[Compressor]>, own: usize, stats: &Stats) -> Self {
        let labels = [&*stats.prefix, all[own].encoding.name()];
        let counts = Counts {
            compressed: stats.compressed.with(&labels),
            left: stats.not_compressed.with(&labels),
            before: stats.bytes_before.with(&labels),
            after: stats.bytes_after.with(&labels),
        };
        Self { all, own, counts }
    }

    fn settings(&self) -> &Compressor {
        &self.all[self.own]
    }

    /// Is it at work on this route, and does it hide what the client accepts?
    fn rules(&self, facts: &Facts<'_>) -> (bool, bool) {
        let settings = self.settings();
        let hides = settings.hide_accept_encoding;
        match facts.rule(&settings.name) {
            Some(FilterRule::Compressor(CompressorRule::Off)) => (false, hides),
            Some(FilterRule::Compressor(CompressorRule::On { hide_accept_encoding })) => {
                (true, hide_accept_encoding.unwrap_or(hides))
            }
            _ => (settings.enabled, hides),
        }
    }

    /// Is this filter the one that compresses for the client?
    fn is_chosen(&self, headers: &HeaderMap, facts: &mut Facts<'_>) -> bool {
        let Some(left) = &mut facts.left else { return false };
        let encodings = &mut left.encodings;
        let Some((_, accepted)) = encodings.accepted.iter().find(|(filter, _)| *filter == self.own) else {
            return false;
        };
        let decided = *encodings.decided.get_or_insert_with(|| {
            let accepted = String::from_utf8_lossy(accepted.as_bytes());
            negotiate::choose(&self.all, &accepted, content_type(headers))
        });
        decided == Some(self.settings().encoding.name())
    }

    /// May a response with this head be compressed, whoever asks for it?
    fn may_compress(&self, response: &Response<Body>) -> bool {
        let (settings, headers) = (self.settings(), response.headers());
        let status = response.status();
        let stays = status == StatusCode::SWITCHING_PROTOCOLS
            || settings.except_statuses.contains(&status.as_u16())
            || has(headers, header::CACHE_CONTROL, "no-transform")
            || headers.contains_key(header::CONTENT_ENCODING)
            || (settings.etags == ETags::Refrain && headers.contains_key(header::ETAG));
        !stays && settings.takes_type(content_type(headers))
    }

    fn compress(&self, response: &mut Response<Body>) -> bool {
        let Some(stream) = encode::Stream::new(&self.settings().encoding) else { return false };
        let headers = response.headers_mut();
        if let Some(etag) = headers.get(header::ETAG)
            && is_strong(etag)
        {
            match weak(etag).filter(|_| self.settings().etags == ETags::Weaken) {
                Some(weak) => drop(headers.insert(header::ETAG, weak)),
                None => drop(headers.remove(header::ETAG)),
            }
        }
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(self.settings().encoding.name()));
        let body = std::mem::take(response.body_mut());
        let counts = (self.counts.before.clone(), self.counts.after.clone());
        *response.body_mut() = Body::mapped(body, Encoded::new(stream, counts));
        true
    }
}

impl HttpFilter for CompressorFilter {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let (works, hides) = self.rules(facts);
        if works && let Some(accepted) = list(request.headers(), header::ACCEPT_ENCODING) {
            facts.left.get_or_insert_default().encodings.accepted.push((self.own, accepted));
            if hides {
                request.headers_mut().remove(header::ACCEPT_ENCODING);
            }
        }
        Flow::Continue
    }

    async fn on_response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        let (works, _) = self.rules(facts);
        if !works || !is_long_enough(response.headers(), self.settings().min_length) {
            return self.counts.left.inc();
        }
        let may = self.may_compress(response);
        // The choice is made for all of them, even if this one may not.
        let compressed = !response.body().is_end_stream()
            && self.is_chosen(response.headers(), facts)
            && may
            && !is_encoded_on_the_way(response.headers())
            && self.compress(response);
        let counter = if compressed { &self.counts.compressed } else { &self.counts.left };
        counter.inc();
        if may {
            vary(response.headers_mut());
        }
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default())
}

/// All lines of a field as one.
fn list(headers: &HeaderMap, name: HeaderName) -> Option<HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let mut all = first.as_bytes().to_vec();
    lines.for_each(|line| {
        all.push(b',');
        all.extend_from_slice(line.as_bytes());
    });
    if all.len() == first.len() { Some(first.clone()) } else { HeaderValue::from_bytes(&all).ok() }
}

/// Does a field list this word, in whatever case?
fn has(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// What does not say how long it is may be.
fn is_long_enough(headers: &HeaderMap, least: u32) -> bool {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return true };
    length.to_str().ok().and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length >= least.into())
}

fn is_encoded_on_the_way(headers: &HeaderMap) -> bool {
    ["gzip", "br", "deflate", "compress", "zstd"].iter().any(|name| has(headers, header::TRANSFER_ENCODING, name))
}

/// `W/` begins a weak one (RFC 9110, section 8.8.3).
fn is_strong(etag: &HeaderValue) -> bool {
    !matches!(etag.as_bytes(), [b'W' | b'w', b'/', ..])
}

fn weak(strong: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&[b"W/", strong.as_bytes()].concat()).ok()
}

/// Caches are told that another client may get other bytes.
fn vary(headers: &mut HeaderMap) {
    if has(headers, header::VARY, "accept-encoding") {
        return;
    }
    let value = match list(headers, header::VARY) {
        None => Some(HeaderValue::from_static("Accept-Encoding")),
        Some(before) => HeaderValue::from_bytes(&[before.as_bytes(), b", Accept-Encoding"].concat()).ok(),
    };
    value.into_iter().for_each(|value| drop(headers.insert(header::VARY, value)));
}

#[cfg(test)]
mod tests;
