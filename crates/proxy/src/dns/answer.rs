//! What is answered to a DNS question, without any socket.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use model::NameTables;

/// The largest datagram that we send or take (the DNS flag day's advice).
pub(super) const MAX_UDP: usize = 1232;
/// What a datagram holds for a client that says nothing of its buffer (RFC 1035, section 2.3.4).
const PLAIN_UDP: usize = 512;
/// Seconds that an answer may be kept, as Istio's proxy says.
const TTL: u32 = 30;

/// The option of EDNS that says more of an error (RFC 8914).
const EXTENDED_ERROR: u16 = 15;
/// Its code for what a policy forbids.
const PROHIBITED: u16 = 18;
/// The longest text beside it, so that it fits into a datagram.
const MAX_WORDS: usize = 200;

/// What to do with a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Send these bytes.
    Reply(Vec<u8>),
    /// The name may not be asked for: send these bytes, and count it for these policies.
    Forbidden(Vec<u8>, Arc<str>),
    /// It is not ours: ask another server.
    Forward,
    /// It is no question; say nothing.
    Ignore,
}

/// The answer to the message `bytes`. A name of the table without addresses of the type asked for exists
/// nevertheless (NODATA), so that no resolver asks elsewhere. Of several addresses `turn` decides which comes first, since
/// many clients take that.
///
/// Where policies limit the names, others are answered NXDOMAIN: resolvers then go on with their search list and ask no other
/// server, as they would after REFUSED. Clients that speak EDNS are told why (RFC 8914, `Prohibited`).
pub(super) fn answer(names: &NameTables, bytes: &[u8], udp: bool, turn: u32) -> Answer {
    let Ok(question) = Message::from_vec(bytes) else { return Answer::Ignore };
    if question.metadata.message_type != MessageType::Query {
        return Answer::Ignore;
    }
    let query = match &question.queries[..] {
        [query] if question.metadata.op_code == OpCode::Query && query.query_class() == DNSClass::IN => query,
        // What is no plain question for a name has none that could be allowed.
        _ => return elsewhere(names, &question, ""),
    };
    let name = query.name().to_ascii();
    let Some(addresses) = names.find(&name) else { return elsewhere(names, &question, &name) };
    let mut reply = head(&question, ResponseCode::NoError);
    reply.metadata.authoritative = true;
    reply.add_query(query.clone());
    let (before, from) = addresses.split_at(turn as usize % addresses.len().max(1));
    let data = from.iter().chain(before).filter_map(|ip| match (ip, query.query_type()) {
        (IpAddr::V4(ip), RecordType::A | RecordType::ANY) => Some(RData::A(A(*ip))),
        (IpAddr::V6(ip), RecordType::AAAA | RecordType::ANY) => Some(RData::AAAA(AAAA(*ip))),
        _ => None,
    });
    reply.add_answers(data.map(|data| Record::from_rdata(query.name().clone(), TTL, data)));
    if let Some(edns) = &question.edns {
        reply.set_edns(ours(edns));
    }
    let room = match &question.edns {
        _ if !udp => usize::from(u16::MAX),
        Some(edns) => usize::from(edns.max_payload()).clamp(PLAIN_UDP, MAX_UDP),
        None => PLAIN_UDP,
    };
    match reply.to_vec() {
        Ok(bytes) if bytes.len() <= room => Answer::Reply(bytes),
        Ok(_) => reply.truncate().to_vec().map_or(Answer::Ignore, Answer::Reply),
        Err(_) => Answer::Ignore,
    }
}

/// What we say of EDNS to who speaks it.
fn ours(theirs: &Edns) -> Edns {
    let mut ours = Edns::new();
    ours.set_max_payload(MAX_UDP as u16).set_version(0).set_dnssec_ok(theirs.flags().dnssec_ok);
    ours
}

/// What becomes of a question that is not ours.
fn elsewhere(names: &NameTables, question: &Message, name: &str) -> Answer {
    let Some(policies) = names.forbids(name) else { return Answer::Forward };
    let mut reply = head(question, ResponseCode::NXDomain);
    reply.add_queries(question.queries.clone());
    if let Some(edns) = &question.edns {
        let mut ours = ours(edns);
        let mut why = PROHIBITED.to_be_bytes().to_vec();
        why.extend(format!("not allowed by the EgressPolicy {policies}").bytes().take(MAX_WORDS));
        ours.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, why));
        reply.set_edns(ours);
    }
    reply.to_vec().map_or(Answer::Ignore, |bytes| Answer::Forbidden(bytes, policies.clone()))
}

/// SERVFAIL to the question `bytes`; empty if it is none.
pub(super) fn refusal(bytes: &[u8]) -> Vec<u8> {
    let Ok(question) = Message::from_vec(bytes) else { return Vec::new() };
    let mut reply = head(&question, ResponseCode::ServFail);
    reply.add_queries(question.queries.clone());
    reply.to_vec().unwrap_or_default()
}

fn head(question: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use hickory_proto::rr::Name;
    use model::{NameLimit, NameTable};

    fn names() -> NameTables {
        let ips = |last: std::ops::Range<u8>| last.map(|i| IpAddr::from([240, 240, 0, i])).collect::<Vec<_>>();
        let names = [("reviews.default", ips(1..2)), ("*.wild.test", ips(2..3)), ("many.test", ips(0..100))];
        NameTables(vec![Arc::new(NameTable {
            names: names.map(|(name, ips)| (name.to_owned(), ips)).into(),
            limit: None,
        })])
    }

    fn ask(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    /// `None`: forwarded. Otherwise the addresses and whether the answer was cut.
    fn check(name: &str, kind: RecordType, udp: bool, expected: Option<(usize, bool)>) {
        let found = match answer(&names(), &ask(name, kind), udp, 0) {
            Answer::Reply(bytes) => {
                let reply = Message::from_vec(&bytes).unwrap();
                assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
                assert!(reply.answers.iter().all(|a| a.ttl == TTL));
                Some((reply.answers.len(), reply.metadata.truncation))
            }
            Answer::Forward => None,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(found, expected, "{name} {kind}");
    }

    #[test]
    fn questions() {
        for (name, kind, udp, expected) in [
            ("reviews.default.", RecordType::A, true, Some((1, false))),
            ("Reviews.Default", RecordType::A, true, Some((1, false))),
            ("reviews.default.", RecordType::AAAA, true, Some((0, false))),
            ("reviews.default.", RecordType::TXT, true, Some((0, false))),
            ("x.wild.test.", RecordType::A, true, Some((1, false))),
            ("example.org.", RecordType::A, true, None),
            ("many.test.", RecordType::A, true, Some((0, true))),
            ("many.test.", RecordType::A, false, Some((100, false))),
        ] {
            check(name, kind, udp, expected);
        }
    }

    #[test]
    fn every_address_comes_first_at_times() {
        let first = |turn| match answer(&names(), &ask("many.test.", RecordType::A), false, turn) {
            Answer::Reply(bytes) => Message::from_vec(&bytes).unwrap().answers.first().unwrap().data.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 1, 99, 100].map(first), ["240.240.0.0", "240.240.0.1", "240.240.0.99", "240.240.0.0"]);
    }

    #[test]
    fn names_that_may_not_be_asked_for() {
        let limit = NameLimit { names: vec!["*.example.org".to_owned()], policies: "default/a".into() };
        let mut names = names();
        names.0.push(Arc::new(NameTable { limit: Some(limit), ..NameTable::default() }));
        for (name, kind, expected) in [
            ("reviews.default.", RecordType::TXT, "reply"),
            ("a.example.org.", RecordType::TXT, "forward"),
            ("example.org.", RecordType::A, "forbidden"),
            ("c2VjcmV0.tunnel.test.", RecordType::TXT, "forbidden"),
            ("1.0.0.127.in-addr.arpa.", RecordType::PTR, "forbidden"),
        ] {
            let found = match answer(&names, &ask(name, kind), true, 0) {
                Answer::Reply(_) => "reply",
                Answer::Forward => "forward",
                Answer::Forbidden(bytes, by) => {
                    let reply = Message::from_vec(&bytes).unwrap();
                    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
                    assert!(reply.edns.is_none() && &*by == "default/a");
                    "forbidden"
                }
                Answer::Ignore => "ignore",
            };
            assert_eq!(found, expected, "{name}");
        }
        // Questions in other forms would carry data away too.
        let mut chaos = Message::from_vec(&ask("a.example.org.", RecordType::TXT)).unwrap();
        chaos.queries[0].set_query_class(DNSClass::CH);
        let mut twice = Message::from_vec(&ask("a.example.org.", RecordType::A)).unwrap();
        twice.add_query(Query::query(Name::from_ascii("tunnel.test.").unwrap(), RecordType::A));
        for other in [chaos, twice] {
            let answered = answer(&names, &other.to_vec().unwrap(), true, 0);
            assert!(matches!(answered, Answer::Forbidden(..)), "{answered:?}");
        }
    }

    #[test]
    fn why_is_told_by_edns() {
        let limit = NameLimit { names: Vec::new(), policies: "default/a".into() };
        let names = NameTables(vec![Arc::new(NameTable { limit: Some(limit), ..NameTable::default() })]);
        let mut question = Message::from_vec(&ask("evil.test.", RecordType::A)).unwrap();
        question.set_edns(Edns::new());
        let Answer::Forbidden(bytes, _) = answer(&names, &question.to_vec().unwrap(), true, 0) else { panic!() };
        let reply = Message::from_vec(&bytes).unwrap();
        let option = reply.edns.as_ref().unwrap().option(EXTENDED_ERROR.into()).cloned();
        let mut told = vec![0, 18];
        told.extend(b"not allowed by the EgressPolicy default/a");
        assert_eq!(option, Some(EdnsOption::Unknown(15, told)));
    }

    #[test]
    fn what_is_no_question() {
        let reply = match answer(&names(), &ask("reviews.default.", RecordType::A), true, 0) {
            Answer::Reply(bytes) => bytes,
            other => panic!("{other:?}"),
        };
        for bytes in [&b""[..], b"\0", &[0xff; 12], &reply] {
            assert_eq!(answer(&names(), bytes, true, 0), Answer::Ignore, "{bytes:?}");
        }
        let refused = Message::from_vec(&refusal(&ask("a.", RecordType::A))).unwrap();
        assert_eq!(refused.metadata.response_code, ResponseCode::ServFail);
    }
}
