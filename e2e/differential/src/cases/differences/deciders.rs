//! Where services decide, and where people log in.

use super::Difference;

pub(super) const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "What is left of a request's body is read, within bounds, so that the connection can be used again; Envoy closes it",
        lines: &["header connection"],
        cases: &[
            "authorization over HTTP, answers: 400",
            "authorization over HTTP, bodies: longer",
            "authorization over HTTP, bodies: long",
            "authorization over HTTP, bodies: longer, refused",
            "authorization over gRPC, bodies: too long",
            "logins begun: a form",
        ],
    },
    Difference {
        reason: "Bytes of a body that was not taken are not counted",
        lines: &["log received"],
        cases: &[
            "authorization over HTTP, answers: 403 for a POST",
            "authorization over HTTP, bodies: longer",
            "authorization over HTTP, bodies: long",
            "authorization over HTTP, bodies: longer, refused",
            "authorization over gRPC, bodies: too long",
        ],
    },
    Difference {
        reason: "A redirect of a HEAD has no `transfer-encoding`",
        lines: &["header transfer-encoding"],
        cases: &["authorization over HTTP, answers: 403 for a HEAD", "logins begun: a HEAD"],
    },
    Difference {
        reason: "A body that is kept for a retry is sent with its length",
        lines: &["try 2 request header content-length", "try 2 request header transfer-encoding"],
        cases: &[
            "authorization over HTTP, bodies: short, with trailers",
            "authorization over HTTP, bodies: short, by HTTP/2",
        ],
    },
    Difference {
        reason: "A body that is too long for a buffer is refused however it comes; Envoy lets one pass that comes in one piece",
        lines: &["backend", "body", "header", "log", "request", "status", "tries", "try 2"],
        cases: &["authorization over HTTP, bodies: longer, by HTTP/2"],
    },
    Difference {
        reason: "Cookies in several lines are sent to an upstream of HTTP/1.1 in one (RFC 9113, section 8.2.3)",
        lines: &["try 2 request header cookie"],
        cases: &["authorization over gRPC: cookies"],
    },
    Difference {
        reason: "A value that is percent-encoded is a valid one of a query",
        lines: &["body", "header", "log", "status", "tries", "try 2"],
        cases: &["authorization over gRPC, validated: a query"],
    },
    Difference {
        reason: "Headers of an answer by which a service refuses are all sent, also those that are set and appended under one name; Envoy sends what is set",
        lines: &["header set-cookie"],
        cases: &["authorization over gRPC, refusals: cookies"],
    },
    Difference {
        reason: "Headers of an answer by which a service refuses are all sent, also those that are set and appended under one name; Envoy sends what is set",
        lines: &["header x-a"],
        cases: &["authorization over gRPC, refusals: set and appended"],
    },
    Difference {
        reason: "A parameter that a query cannot have is left out",
        lines: &["try 2 request"],
        cases: &["authorization over gRPC, changes: a query with what is none"],
    },
    Difference {
        reason: "A header that HTTP does not have is not sent to a client",
        lines: &["header x a"],
        cases: &["authorization over gRPC, changes: a response with what is none"],
    },
    Difference {
        reason: "What tokens are asked for with is percent-encoded whole, blanks and quotes of a secret too (RFC 6749, appendix B)",
        lines: &["request header authorization", "request header cookie"],
        cases: &["logins refreshed: over", "logins refreshed: over, by HTTP/2", "logins refreshed: unknown"],
    },
    Difference {
        reason: "What tokens are asked for with is percent-encoded whole, blanks and quotes of a secret too (RFC 6749, appendix B)",
        lines: &["header set-cookie"],
        cases: &["logins refreshed: over", "logins refreshed: over, by HTTP/2", "logins refreshed: unknown"],
    },
    Difference {
        reason: "What a client has sent is escaped in a line of a log: quotes, backslashes and what is no printable character",
        lines: &["log details"],
        cases: &["logins come back: a state that is none", "logins come back: a state without a URL"],
    },
    Difference {
        reason: "A header that a service asks for and HTTP does not have ends a request before an endpoint is chosen",
        lines: &["log host", "log tries"],
        cases: &[
            "authorization over gRPC, changes: a header with what is none",
            "authorization over gRPC, changes: a value with what is none",
        ],
    },
];
