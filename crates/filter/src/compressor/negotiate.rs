//! Which encoding a client gets: what it accepts, weighed as it says, against what a chain can do (Envoy's rules).

use model::Compressor;

/// The encoding for a response of this type to a client that accepts this; none: it stays as it is.
pub(super) fn choose(all: &[Compressor], accepted: &str, content_type: Option<&str>) -> Option<&'static str> {
    let content_type = content_type.filter(|text| !text.is_empty());
    let mut able: Vec<&Compressor> = Vec::with_capacity(all.len());
    for one in all.iter().filter(|one| one.takes_type(content_type)) {
        // Of two with the same encoding the first counts.
        if able.iter().all(|known| known.encoding.name() != one.encoding.name()) {
            able.push(one);
        }
    }
    let wishes: Vec<(&str, f32)> = accepted.split(',').filter_map(wish).collect();
    able.retain(|one| !wishes.contains(&(one.encoding.name(), 0.0)));
    let mut best = ("identity", 0.0);
    for (name, weight) in wishes {
        let known = able.iter().find(|one| one.encoding.name() == name);
        let counts = known.is_some() || matches!(name, "identity" | "*");
        let preferred = known.is_some_and(|one| one.preferred);
        if counts && (weight > best.1 || (weight == best.1 && preferred)) {
            best = (name, weight);
        }
    }
    let found = match best {
        (_, 0.0) | ("identity", _) => None,
        ("*", _) => able.first(),
        (name, _) => able.iter().find(|one| one.encoding.name() == name),
    };
    found.map(|one| one.encoding.name())
}

/// An encoding and its weight, 1 if none is said; nothing if the weight is no number.
fn wish(token: &str) -> Option<(&str, f32)> {
    let (name, parameters) = token.split_once(';').unwrap_or((token, ""));
    let name = name.trim();
    if name.is_empty() {
        return None;
    }
    match parameters.split_once('=') {
        Some((q, weight)) if q.trim().eq_ignore_ascii_case("q") => {
            weight.trim().parse().ok().filter(|weight: &f32| weight.is_finite()).map(|weight| (name, weight))
        }
        _ => Some((name, 1.0)),
    }
}

#[cfg(test)]
mod tests {
    use model::StringMatch;
    use model::compression::{Brotli, Encoding, Gzip, Zstd};

    use super::*;

    fn three() -> Vec<Compressor> {
        let all =
            [Encoding::Gzip(Gzip::default()), Encoding::Brotli(Brotli::default()), Encoding::Zstd(Zstd::default())];
        all.map(|encoding| Compressor::new(encoding.name(), encoding)).into()
    }

    #[test]
    fn by_weight() {
        for (accepted, expected) in [
            ("gzip", Some("gzip")),
            ("gzip, br, zstd", Some("gzip")),
            ("zstd, br, gzip", Some("zstd")),
            ("gzip;q=0.5, br;q=0.8", Some("br")),
            ("gzip ; q=0.5 ,br ; q = 0.8", Some("br")),
            ("gzip;Q=0.1, zstd;q=0.2", Some("zstd")),
            ("*", Some("gzip")),
            ("gzip;q=0, *", Some("br")),
            ("*;q=0.5, br;q=0.1", Some("gzip")),
            ("deflate", None),
            ("deflate, gzip;q=0.1", Some("gzip")),
            ("identity, gzip", None),
            ("identity;q=0.5, gzip", Some("gzip")),
            ("identity;q=0, br", Some("br")),
            ("gzip;q=0", None),
            ("*;q=0", None),
            ("gzip;q=0, br;q=0, zstd;q=0, *", None),
            ("GZIP", None),
            ("", None),
            (",,", None),
            ("gzip;q=x, br;q=0.1", Some("br")),
            ("gzip;q=-1", None),
            ("gzip;q=nan", None),
            ("gzip;level=9", Some("gzip")),
        ] {
            assert_eq!(choose(&three(), accepted, Some("text/html")), expected, "{accepted:?}");
        }
    }

    #[test]
    fn who_is_there() {
        let mut all = three();
        all[1].preferred = true;
        assert_eq!(choose(&all, "gzip, br", None), Some("br"), "as welcome, and preferred");
        assert_eq!(choose(&all, "gzip, br;q=0.9", None), Some("gzip"));
        all[2].preferred = true;
        assert_eq!(choose(&all, "gzip, br, zstd", None), Some("zstd"), "the last to be named");
        all[0].types = vec![StringMatch::exact("text/x")];
        assert_eq!(choose(&all, "gzip, br;q=0.1", Some("text/html")), Some("br"), "gzip does not take it");
        assert_eq!(choose(&all, "*", Some("text/html; charset=utf-8")), Some("br"));
        assert_eq!(choose(&all, "gzip", Some("text/x")), Some("gzip"));
        assert_eq!(choose(&[], "gzip, *", None), None);
    }
}
