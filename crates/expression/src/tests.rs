//! What expressions read, and what they come to.

use proptest::prelude::*;

use super::*;

/// A request that failed.
struct Failed;

const HEADERS: [(&str, &str); 2] = [("x-team", "blue"), ("user-agent", "curl/8")];

impl Facts for Failed {
    fn attribute(&self, attribute: Attribute) -> Option<Value> {
        let text = |text: &str| Some(value::text(text));
        match attribute {
            Attribute::RequestPath => text("/orders?id=7"),
            Attribute::RequestHost => text("shop.example"),
            Attribute::RequestHeaders => {
                Some(value::map(HEADERS.iter().map(|(name, value)| (*name, (*value).to_owned()))))
            }
            Attribute::ResponseCode => Some(Value::Int(503)),
            Attribute::ConnectionMtls => Some(Value::Bool(true)),
            _ => None,
        }
    }

    fn entry(&self, attribute: Attribute, key: &str) -> Option<Value> {
        assert_eq!(attribute, Attribute::RequestHeaders, "only maps are asked for entries");
        let (_, value) = HEADERS.iter().find(|(name, _)| *name == key)?;
        Some(super::value::text(*value))
    }
}

#[test]
fn what_expressions_come_to() {
    for (text, expected) in [
        ("response.code >= 400", Some("true")),
        ("response.code", Some("503")),
        ("request.host", Some("shop.example")),
        ("request['host']", Some("shop.example")),
        ("request.headers['x-team']", Some("blue")),
        ("request.headers['x-team'] + '/' + string(response.code)", Some("blue/503")),
        ("request.headers['x-other']", None),
        ("'x-other' in request.headers", Some("false")),
        ("has(request.headers.referer) ? 'yes' : 'no'", Some("no")),
        ("response.code == 503 || request.headers['x-other'] == '1'", Some("true")),
        ("request.path.startsWith('/orders') && connection.mtls", Some("true")),
        ("request.path.matches('^/orders[?]id=[0-9]+$')", Some("true")),
        ("request.host.upperAscii()", Some("SHOP.EXAMPLE")),
        ("[503, 504].exists(code, code == response.code)", Some("true")),
        ("request.headers.exists(name, name == 'x-team')", Some("true")),
        ("upstream.address", None),
        ("metadata.anything", None),
        ("response.code / 0", None),
        ("'constant'", Some("constant")),
        ("{'a': request.host}", None),
    ] {
        let parsed = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.text_of(&Failed).as_deref(), expected, "{text}");
        assert_eq!(parsed.holds(&Failed), expected == Some("true"), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (text, expected) in [
        ("response.cod >= 400", "there is no attribute `response.cod`; did you mean `response.code`?"),
        ("status >= 400", "there is no attribute `status`"),
        ("response", "`response` is a group of attributes; expected one of them by its name, such as `response.code`"),
        ("response.code >=", "at 1:17: "),
        ("", "at 1:1: "),
    ] {
        let error = Expression::parse(text).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
        assert!(!error.contains('\n'), "one line: {error}");
    }
    let pairs = "request.headers.exists(a, request.headers.exists(b, a != b))";
    assert_eq!(Expression::parse(pairs), Err(ParseError::Nested), "as many steps as there are pairs");
    assert!(Expression::parse("[1, 2].map(a, a + 1).exists(b, b == response.code)").is_ok(), "one after the other");
    assert_eq!(Expression::parse(&" ".repeat(MOST_BYTES + 1)), Err(ParseError::Long(MOST_BYTES + 1)));
}

#[test]
fn what_is_known_elsewhere_is_named() {
    let parsed =
        Expression::parse("response.trailers['x'] == '1' || filter_state.a == 'b' || response.code == 1").unwrap();
    assert_eq!(parsed.elsewhere(), ["response.trailers", "filter_state.a"]);
    assert!(parsed.reads(Attribute::ResponseCode) && !parsed.reads(Attribute::RequestPath));
}

#[test]
fn deep_expressions_are_refused() {
    let text = format!("{}1{}", "(".repeat(1000), ")".repeat(1000));
    assert!(Expression::parse(&text).is_err());
}

proptest! {
    #[test]
    fn nothing_panics(text in "[a-z_.()\\[\\]'\"&|=<>!?:+*/ 0-9-]{0,80}") {
        if let Ok(parsed) = Expression::parse(&text) {
            let _ = parsed.text_of(&Failed);
        }
    }
}
