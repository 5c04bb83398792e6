//! Whatever the rules and the call, looking up gives what asking one policy after the other gives.

use proptest::prelude::*;

use super::*;

/// Choices, one byte each, so that fewer bytes mean a simpler case; zero after the last.
struct Choices<I>(I);

impl<I: Iterator<Item = u8>> Choices<I> {
    fn below(&mut self, end: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % end
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn text(&mut self, words: &[&str]) -> StringMatch {
        let whole = self.one(words);
        let part = whole.floor_char_boundary(self.below(whole.len() + 1));
        let ignore_case = self.below(8) == 7;
        match self.below(6) {
            0..3 => StringMatch::Exact { value: whole.into(), ignore_case },
            3 => StringMatch::Prefix { value: whole[..part].into(), ignore_case },
            4 => StringMatch::Suffix { value: whole[part..].into(), ignore_case },
            _ => StringMatch::Contains { value: whole[..part].into(), ignore_case },
        }
    }

    fn condition<T>(&mut self, depth: usize, fact: &mut dyn FnMut(&mut Self) -> T) -> Condition<T> {
        match if depth == 0 { 0 } else { self.below(10) } {
            0..6 => Condition::Is(fact(self)),
            6 => Condition::All(self.conditions(depth - 1, 4, fact)),
            // Sometimes long enough for a table.
            7 => Condition::Either(self.conditions(depth - 1, 14, fact)),
            8 => Condition::Not(Box::new(self.condition(depth - 1, fact))),
            _ => Condition::Any,
        }
    }

    fn conditions<T>(&mut self, depth: usize, most: usize, fact: &mut dyn FnMut(&mut Self) -> T) -> Vec<Condition<T>> {
        (0..self.below(most)).map(|_| self.condition(depth, fact)).collect()
    }

    fn operation(&mut self) -> Operation {
        match self.below(7) {
            0 | 1 => Operation::Path(self.text(&PATHS)),
            2 => Operation::Template(PathTemplate::new(self.one(&TEMPLATES)).unwrap()),
            3 => Operation::DestinationIp(net(self.one(&BLOCKS))),
            4 => {
                let first = self.one(&PORTS);
                Operation::DestinationPort(first..=first + self.one(&[0, 1, 15, 16, 500]))
            }
            5 => Operation::ServerName(self.text(&HOSTS)),
            _ => Operation::Header(header("x-user", ValueMatch::Present(self.below(2) == 0))),
        }
    }

    fn source(&mut self) -> Source {
        match self.below(8) {
            0..3 => Source::Authenticated(Some(self.text(&NAMES))),
            3 => Source::Authenticated(None),
            4 => Source::DirectRemoteIp(net(self.one(&BLOCKS))),
            5 => Source::SourceIp(net(self.one(&BLOCKS))),
            6 => Source::RemoteIp(net(self.one(&BLOCKS))),
            _ => Source::Path(self.text(&PATHS)),
        }
    }

    fn rules(&mut self) -> Rules {
        let action = self.one(&[Action::Allow, Action::Deny, Action::Log]);
        let policies = (0..self.below(10)).map(|at| {
            let permissions = self.conditions(2, 4, &mut Self::operation);
            let principals = self.conditions(2, 12, &mut Self::source);
            (at.to_string().into(), Policy { permissions, principals })
        });
        Rules { action, policies: policies.collect() }
    }

    fn names(&mut self) -> Vec<String> {
        (0..self.below(3)).map(|_| self.one(&NAMES).to_owned()).collect()
    }

    /// Does looking up give what asking gives?
    fn check(&mut self, calls: usize) {
        let rules = self.rules();
        let compiled = Compiled::new(rules.clone());
        for _ in 0..calls {
            let (uris, dns) = (self.names(), self.names());
            let names = Names { uris: &uris, dns: &dns, subject: self.one(&NAMES) };
            let call = Call {
                request: (self.below(5) != 4).then(|| RequestView::get("reviews", "/")),
                peer: self.one(&[Some(names), Some(names), Some(Names::default()), None]),
                direct_remote: self.one(&ADDRESSES).parse().unwrap(),
                source: self.one(&ADDRESSES).parse().unwrap(),
                remote: self.one(&ADDRESSES).parse().unwrap(),
                destination: (self.one(&ADDRESSES).parse::<IpAddr>().unwrap(), self.one(&PORTS)).into(),
                server_name: self.one(&[None, Some("a.b"), Some("b")]),
            };
            let path = self.one(&PATHS);
            let call = Call { request: call.request.map(|request| RequestView { path, ..request }), ..call };
            assert_eq!(compiled.decide(&call), rules.decide(&call), "{rules:#?}\n{call:#?}");
            assert_eq!(compiled.why(&call).is_some(), !rules.decide(&call).allowed);
        }
    }
}

const NAMES: [&str; 6] =
    ["spiffe://td/ns/a/sa/x", "spiffe://td/ns/a/sa/y", "spiffe://td/ns/b/sa/x", "x.a.svc", "CN=x", ""];
const PATHS: [&str; 7] = ["/", "/a", "/a/b", "/a/b/ü", "/A", "//a", ""];
const TEMPLATES: [&str; 5] = ["/*", "/a/*", "/a/**", "/**/b", "/a/{x}/c"];
const BLOCKS: [&str; 8] =
    ["10.0.0.0/8", "10.1.2.3/32", "10.1.9.9/16", "0.0.0.0/0", "::/0", "fd00::/8", "fd00::1/128", "10.1.2.0/24"];
const ADDRESSES: [&str; 6] = ["10.1.2.3", "10.1.3.4", "11.0.0.1", "fd00::1", "fe80::1", "::ffff:10.1.2.3"];
const PORTS: [u16; 4] = [80, 81, 95, 9080];
const HOSTS: [&str; 3] = ["a.b", "b", ""];

#[test]
fn a_hundred_thousand() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut choices = Choices(std::iter::repeat_with(move || {
        // xorshift64*, of which the upper bits are good.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    }));
    for _ in 0..25_000 {
        choices.check(4);
    }
}

proptest! {
    #[test]
    fn any_and_the_simplest_if_not(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        Choices(bytes.into_iter()).check(3);
    }
}
