//! Log formats as tables.

use std::time::{Duration, UNIX_EPOCH};

use telemetry::ResponseFlags;
use telemetry::log::{Fields, FormatError, LogFormat, Operator, Slot};

/// One exchange with hostile headers.
#[derive(Default)]
struct Exchange {
    flags: ResponseFlags,
}

impl Exchange {
    fn header(name: &str) -> Option<&'static [u8]> {
        Some(match name {
            ":method" => b"GET",
            ":path" => b"/a?b=\"c\"",
            ":authority" => b"reviews:9080",
            "user-agent" => b"evil\"\r\n[2024] \x1b[31m\\\xff\xc2\x85",
            "x-long" => "äöü-rest".as_bytes(),
            "x-empty" => b"",
            _ => return None,
        })
    }
}

impl Fields for Exchange {
    fn put(&self, operator: &Operator, slot: &mut Slot<'_>) {
        match operator {
            Operator::StartTime(format) => slot.time(format, UNIX_EPOCH + Duration::from_millis(1_709_216_595_456)),
            Operator::Request { name, other } => {
                let other = || other.as_deref().and_then(Self::header);
                if let Some(value) = Self::header(name).or_else(other) {
                    slot.bytes(value);
                }
            }
            Operator::Protocol => slot.text("HTTP/1.1"),
            Operator::ResponseCode => slot.number(503),
            Operator::ResponseFlags | Operator::ResponseFlagsLong => slot.flags(operator, self.flags),
            Operator::Duration => slot.millis(Duration::from_micros(12_345)),
            Operator::UpstreamHost => slot.display("10.0.0.1:80"),
            Operator::GrpcStatus(form) => slot.grpc_status(*form, 4, Some("DeadlineExceeded")),
            Operator::DynamicMetadata { namespace, path } => {
                slot.display(format_args!("{namespace}|{}", path.join("|")))
            }
            _ => {}
        }
    }
}

fn line(format: &LogFormat, fields: &dyn Fields) -> String {
    let mut text = String::new();
    format.write(fields, &mut text);
    text
}

#[test]
fn text() {
    let uf = Exchange { flags: ResponseFlags::UPSTREAM_CONNECTION_FAILURE | ResponseFlags::UPSTREAM_OVERFLOW };
    for (format, expected) in [
        ("plain", "plain\n"),
        ("100%% %PROTOCOL%", "100% HTTP/1.1\n"),
        ("%START_TIME% %START_TIME(%s.%3f)%", "2024-02-29T14:23:15.456Z 1709216595.456\n"),
        ("%REQ(:METHOD)% %REQ(X-NO?:PATH)%\n", "GET /a?b=\\\"c\\\"\n"),
        ("%REQ(X-NO)% %REQ(X-NO?X-NEITHER)% %REQ(X-EMPTY)%", "- - -\n"),
        ("\"%REQ(User-Agent)%\"", "\"evil\\\"\\r\\n[2024] \\x1b[31m\\\\\\xff\\x85\"\n"),
        ("%REQ(X-LONG):4%|%REQ(X-LONG):0%", "äöü-|\n"),
        ("%RESPONSE_CODE% %DURATION% %UPSTREAM_HOST%", "503 12 10.0.0.1:80\n"),
        ("%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", "UF,UO UpstreamConnectionFailure,UpstreamOverflow\n"),
        (
            "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%",
            "DeadlineExceeded DEADLINE_EXCEEDED 4 4\n",
        ),
        ("%DYNAMIC_METADATA(a.b:c:d)% %DYNAMIC_METADATA(a)%", "a.b|c|d a|\n"),
        ("%ENVIRONMENT(NO_SUCH_VARIABLE_HERE)% %ROUTE_NAME% %TRAILER(x)% %RESP(x)%", "- - - -\n"),
        ("%REQ(:PATH)%%PROTOCOL%", "/a?b=\\\"c\\\"HTTP/1.1\n"),
    ] {
        assert_eq!(line(&LogFormat::text(format).unwrap(), &uf), expected, "{format}");
    }
    assert_eq!(line(&LogFormat::text("%RESPONSE_FLAGS%").unwrap(), &Exchange::default()), "-\n");
    let path = std::env::var("PATH").unwrap();
    assert_eq!(line(&LogFormat::text("%ENVIRONMENT(PATH)%").unwrap(), &uf), format!("{path}\n"));
    assert_ne!(line(&LogFormat::text("%HOSTNAME%").unwrap(), &uf), "-\n");
}

#[test]
fn defaults() {
    let exchange = Exchange::default();
    let agent = "evil\\\"\\r\\n[2024] \\x1b[31m\\\\\\xff\\x85";
    assert_eq!(
        line(&LogFormat::istio_text(), &exchange),
        format!(
            "[2024-02-29T14:23:15.456Z] \"GET /a?b=\\\"c\\\" HTTP/1.1\" 503 - - - \"-\" - - 12 - \"-\" \"{agent}\" \"-\" \"reviews:9080\" \"10.0.0.1:80\" - - - - - -\n"
        )
    );
    assert_eq!(
        line(&LogFormat::envoy_text(), &exchange),
        format!(
            "[2024-02-29T14:23:15.456Z] \"GET /a?b=\\\"c\\\" HTTP/1.1\" 503 - - - 12 - \"-\" \"{agent}\" \"-\" \"reviews:9080\" \"10.0.0.1:80\"\n"
        )
    );
    let json: serde_json::Value = serde_json::from_str(&line(&LogFormat::istio_json(), &exchange)).unwrap();
    assert_eq!(json.as_object().unwrap().len(), 25);
    assert_eq!(json["user_agent"], "evil\"\r\n[2024] \u{1b}[31m\\\u{fffd}\u{85}");
    assert_eq!((&json["response_code"], &json["duration"]), (&503.into(), &12.into()));
    assert_eq!((&json["route_name"], &json["response_flags"]), (&serde_json::Value::Null, &"-".into()));
}

#[test]
fn json() {
    let format = serde_json::json!({
        "code": "%RESPONSE_CODE%",
        "both": "%REQ(:METHOD)% \"%REQ(X-NO)%\"",
        "na\"me": {"inner": ["%PROTOCOL%", 7, true, null]},
        "fixed": "text",
        "empty": "",
    });
    let text = line(&LogFormat::json(&format).unwrap(), &Exchange::default());
    assert_eq!(
        text,
        "{\"code\":503,\"both\":\"GET \\\"-\\\"\",\"na\\\"me\":{\"inner\":[\"HTTP/1.1\",7,true,null]},\"fixed\":\"text\",\"empty\":\"\"}\n"
    );
}

#[test]
fn refused() {
    let argument = |at, name: &str, expected: &str| FormatError::Argument {
        at,
        name: name.to_owned(),
        expected: expected.to_owned(),
    };
    for (format, expected) in [
        (
            "é %RESPONSE_CODES%",
            FormatError::Unknown { at: 3, name: "RESPONSE_CODES".to_owned(), nearest: "RESPONSE_CODE" },
        ),
        ("%DURATIO%", FormatError::Unknown { at: 1, name: "DURATIO".to_owned(), nearest: "DURATION" }),
        ("a %", FormatError::Open { at: 3 }),
        ("%REQ(x", FormatError::Open { at: 1 }),
        ("%PROTOCOL", FormatError::Open { at: 1 }),
        ("%REQ(x):5", FormatError::Open { at: 1 }),
        ("%REQ%", argument(1, "REQ", "a header name in brackets")),
        ("%REQ(?x)%", argument(1, "REQ", "a header name, or two with `?` between")),
        ("%REQ(x):y%", argument(1, "REQ", "a number of characters after `:`")),
        ("%PROTOCOL(x)%", argument(1, "PROTOCOL", "no argument in brackets")),
        ("%START_TIME(%Q)%", argument(1, "START_TIME", "a time pattern; `%Q` is not known in it")),
        ("%GRPC_STATUS(x)%", argument(1, "GRPC_STATUS", "CAMEL_STRING, SNAKE_STRING or NUMBER")),
    ] {
        assert_eq!(LogFormat::text(format).unwrap_err(), expected, "{format}");
    }
    let nested = LogFormat::json(&serde_json::json!({"a": {"b": "%NO%"}})).unwrap_err();
    assert_eq!(
        nested.to_string(),
        "log format, member `a.b`: log format, character 1: `%NO%` is not a known operator: did you mean `%REQ%`?"
    );
    assert_eq!(LogFormat::json(&serde_json::json!("x")).unwrap_err(), FormatError::NotAnObject);
}
