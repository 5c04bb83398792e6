//! What is compressed and how its head changes; and that what comes out is what went in.

use std::io::Read;

use bytes::Bytes;
use mesh_http::BodyMap;
use model::compression::{Brotli, Encoding, Gzip, Zstd};
use model::route::{DirectResponse, FilterRules, Found, PathMatch};
use model::{Route, VirtualHost, http_proxy};
use telemetry::{Exposition, Registry};

use super::*;
use crate::{Alone, Chain, NoExtensions};

fn gzip() -> Compressor {
    Compressor::new("gzip", Encoding::Gzip(Gzip::default()))
}

fn undone(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let read = match name {
        "gzip" => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain),
        "zstd" => zstd::stream::read::Decoder::new(bytes).and_then(|mut reader| reader.read_to_end(&mut plain)),
        _ => panic!("{name}"),
    };
    // A stream that only was flushed has no end yet.
    read.map_or_else(|_| (), |_| ());
    plain
}

fn encoded(encoding: Encoding) -> Encoded {
    let (shard, labels) = (Registry::new().shard(), ["", ""]);
    let stats = Stats::new(&shard, "in").unwrap();
    let counts = (stats.bytes_before.with(&labels), stats.bytes_after.with(&labels));
    Encoded::new(encode::Stream::new(&encoding).unwrap(), counts)
}

#[test]
fn every_encoding_and_setting() {
    let long: Vec<u8> = (0..200_000u32).flat_map(|n| n.to_string().into_bytes()).collect();
    let mut all: Vec<Encoding> = Vec::new();
    for (level, window_bits) in [(1, 9), (6, 12), (9, 15)] {
        all.push(Encoding::Gzip(Gzip { level, window_bits }));
    }
    for (quality, window_bits, literal_contexts) in [(0, 10, true), (3, 18, true), (11, 24, false)] {
        all.push(Encoding::Brotli(Brotli { quality, window_bits, literal_contexts, ..Brotli::default() }));
    }
    for (level, strategy) in [(1, Some(1)), (3, Some(9)), (22, None)] {
        all.push(Encoding::Zstd(Zstd { level, checksum: true, strategy }));
    }
    for encoding in all {
        // The slow ones are given less.
        let input =
            if matches!(encoding, Encoding::Brotli(Brotli { quality: 11, .. })) { &long[..30_000] } else { &long };
        let mut stream = encoded(encoding);
        let (mut out, mut given) = (Vec::new(), 0);
        for piece in input.chunks(17_000) {
            out.extend_from_slice(&stream.data(Bytes::copy_from_slice(piece)).unwrap());
            given += piece.len();
            assert_eq!(undone(encoding.name(), &out).len(), given, "{encoding:?}: a piece waits for the next");
        }
        assert!(stream.data(Bytes::new()).unwrap().is_empty(), "{encoding:?}");
        out.extend_from_slice(&stream.end(None).unwrap().data);
        assert!(undone(encoding.name(), &out) == *input, "{encoding:?}");
        assert!(out.len() < input.len() * 3 / 4, "{encoding:?}: {} of {}", out.len(), input.len());
        let mut empty = encoded(encoding);
        assert!(undone(encoding.name(), &empty.end(None).unwrap().data).is_empty());
    }
}

struct Case {
    filters: Vec<Compressor>,
    rules: Option<(&'static str, CompressorRule)>,
    status: u16,
    body: Body,
}

impl Default for Case {
    fn default() -> Self {
        Self { filters: vec![gzip()], rules: None, status: 200, body: Body::full("x".repeat(100)) }
    }
}

impl Case {
    /// What the upstream is told of encodings; what the client is told of the body; and the body as it was meant.
    async fn run(
        self,
        accepted: &[&'static str],
        told: &[(&'static str, &'static str)],
    ) -> (String, Vec<String>, String) {
        let filters: Vec<_> =
            self.filters.into_iter().map(|one| http_proxy::HttpFilter::Compressor(Box::new(one))).collect();
        let chain =
            Chain::new(&filters, &Stats::new(&Registry::new().shard(), "in").unwrap(), None, &NoExtensions).unwrap();
        let named = self.rules.map(|(name, rule)| (name.into(), FilterRule::Compressor(rule)));
        let rules = FilterRules { named: named.into_iter().collect(), ..FilterRules::default() };
        let answer = model::route::Action::Respond(DirectResponse { status: 200, body: "".into() });
        let route = Route { filters: rules.boxed(), ..Route::new(PathMatch::Prefix("/".into()), answer) };
        let host = VirtualHost::default();
        let mut run = chain.begin(Some(&Found { host: &host, route: &route }), 1);
        let mut request = Request::new(Body::empty());
        for line in accepted {
            request.headers_mut().append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        assert!(matches!(run.on_request(&mut request, &Alone::default()).await, Flow::Continue));
        let upstream = list(request.headers(), header::ACCEPT_ENCODING);
        let mut response = Response::new(self.body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap();
        for (name, value) in told {
            response.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        run.on_response(&mut response, &Alone::default()).await;
        let mut fields: Vec<String> =
            response.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        fields.sort();
        let encoding = response.headers().get(header::CONTENT_ENCODING).cloned();
        let body = response.into_body().collect(1 << 20).await.unwrap().data;
        let plain = match encoding.filter(|_| !told.iter().any(|(name, _)| *name == "content-encoding")) {
            Some(name) => undone(name.to_str().unwrap(), &body),
            None => body.to_vec(),
        };
        let upstream = upstream.map_or_else(String::new, |value| value.to_str().unwrap().to_owned());
        (upstream, fields, String::from_utf8(plain).unwrap())
    }
}

#[tokio::test]
async fn heads() {
    const DONE: &[&str] = &["content-encoding: gzip", "vary: Accept-Encoding"];
    const VARIES: &[&str] = &["vary: Accept-Encoding"];
    for (accepted, told, expected) in [
        (&["gzip"][..], &[("content-length", "100")][..], DONE),
        (&["gzip"], &[("content-length", "29")], &["content-length: 29"]),
        (&["gzip"], &[("content-length", "30")], DONE),
        (&["gzip"], &[], DONE),
        (&["br", "gzip;q=0.5"], &[], DONE),
        (&["br"], &[("content-length", "100")], &["content-length: 100", "vary: Accept-Encoding"]),
        (&[], &[], VARIES),
        (&["gzip"], &[("content-type", "image/png")], &["content-type: image/png"]),
        (&["gzip"], &[("cache-control", "max-age=1, No-Transform")], &["cache-control: max-age=1, No-Transform"]),
        (&["gzip"], &[("content-encoding", "br")], &["content-encoding: br"]),
        (&["gzip"], &[("transfer-encoding", "gzip, chunked")], &["transfer-encoding: gzip, chunked", VARIES[0]]),
        (&["gzip"], &[("etag", "\"a\"")], DONE),
        (&["gzip"], &[("etag", "W/\"a\"")], &[DONE[0], "etag: W/\"a\"", DONE[1]]),
        (&["gzip"], &[("vary", "Cookie")], &[DONE[0], "vary: Cookie, Accept-Encoding"]),
        (&["gzip"], &[("vary", "accept-encoding, cookie")], &[DONE[0], "vary: accept-encoding, cookie"]),
    ] {
        let (upstream, fields, body) = Case::default().run(accepted, told).await;
        assert_eq!(fields, expected, "{accepted:?} {told:?}");
        assert_eq!((upstream, body), (accepted.join(","), "x".repeat(100)));
    }
}

#[tokio::test]
async fn settings_and_rules() {
    let with = |change: &dyn Fn(&mut Compressor)| {
        let mut one = gzip();
        change(&mut one);
        Case { filters: vec![one], ..Case::default() }
    };
    let etag = [("etag", "\"a\"")];
    let (_, fields, _) = with(&|it| it.etags = ETags::Weaken).run(&["gzip"], &etag).await;
    assert_eq!(fields, ["content-encoding: gzip", "etag: W/\"a\"", "vary: Accept-Encoding"]);
    let (_, fields, _) = with(&|it| it.etags = ETags::Refrain).run(&["gzip"], &etag).await;
    assert_eq!(fields, ["etag: \"a\""]);
    let (_, fields, _) = with(&|it| it.except_statuses = vec![200]).run(&["gzip"], &[]).await;
    assert!(fields.is_empty());
    let (upstream, fields, _) = with(&|it| it.hide_accept_encoding = true).run(&["gzip"], &[]).await;
    assert_eq!((&*upstream, fields.len()), ("", 2));
    let on = |hide_accept_encoding| CompressorRule::On { hide_accept_encoding };
    for (enabled, rule, works, told) in [
        (true, ("gzip", CompressorRule::Off), false, "gzip"),
        (true, ("other", CompressorRule::Off), true, "gzip"),
        (false, ("gzip", CompressorRule::Same), false, "gzip"),
        (false, ("gzip", on(None)), true, "gzip"),
        (false, ("gzip", on(Some(true))), true, ""),
        (true, ("gzip", on(Some(false))), true, "gzip"),
    ] {
        let case = Case { rules: Some(rule), ..with(&|it| it.enabled = enabled) };
        let (upstream, fields, _) = case.run(&["gzip"], &[]).await;
        assert_eq!((&*upstream, !fields.is_empty()), (told, works), "{enabled} {rule:?}");
    }
    let none = Case { body: Body::empty(), ..Case::default() };
    assert_eq!(none.run(&["gzip"], &[]).await.1, ["vary: Accept-Encoding"], "nothing to compress, as for HEAD");
    let switched = Case { status: 101, ..Case::default() };
    assert!(switched.run(&["gzip"], &[]).await.1.is_empty());
}

#[tokio::test]
async fn one_of_several() {
    let brotli = Compressor::new("br", Encoding::Brotli(Brotli::default()));
    let zstd = Compressor::new("zstd", Encoding::Zstd(Zstd::default()));
    for (accepted, encoding) in [("gzip, br;q=0.9", "gzip"), ("br, gzip;q=0.2", "br"), ("*", "gzip"), ("zstd", "zstd")]
    {
        let filters = vec![gzip(), brotli.clone(), zstd.clone()];
        let (_, fields, body) = Case { filters, ..Case::default() }.run(&[accepted], &[]).await;
        assert_eq!(fields, [format!("content-encoding: {encoding}"), "vary: Accept-Encoding".into()], "{accepted}");
        assert_eq!(body, "x".repeat(100));
    }
}

#[tokio::test]
async fn counted() {
    let registry = Registry::new();
    let filters = [http_proxy::HttpFilter::Compressor(Box::new(gzip()))];
    let chain = Chain::new(&filters, &Stats::new(&registry.shard(), "in").unwrap(), None, &NoExtensions).unwrap();
    for accepted in ["gzip", "br"] {
        let mut run = chain.begin(None, 1);
        let mut request = Request::get("/").header("accept-encoding", accepted).body(Body::empty()).unwrap();
        assert!(matches!(run.on_request(&mut request, &Alone::default()).await, Flow::Continue));
        let mut response = Response::new(Body::full("x".repeat(100)));
        run.on_response(&mut response, &Alone::default()).await;
        response.into_body().collect(1000).await.unwrap();
    }
    let text = registry.expose(&Exposition::default());
    for (name, count) in [("compressed", 1), ("not_compressed", 1), ("total_uncompressed_bytes", 100)] {
        let labels = "{envoy_http_conn_manager_prefix=\"in\",encoding=\"gzip\"}";
        let line = format!("envoy_http_compressor_{name}{labels} {count}");
        assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
    }
}
