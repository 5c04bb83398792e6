//! One request's way through a requirement: which tokens are asked for, and whether they are good.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use mesh_http::Body;
use model::jwt::{JwtProvider, Requirement};
use model::metadata::{Fields, Value};

use crate::jwt::keys::KeySet;
use crate::jwt::places::{Found, Places};
use crate::jwt::status::Status;
use crate::jwt::token::Token;
use crate::jwt::{Had, Keys, Provider, Tokens, claims};

/// A request that is checked.
pub(super) struct Visit<'v> {
    tokens: &'v Tokens,
    had: &'v Had,
    request: &'v mut Request<Body>,
    /// In seconds since 1970.
    now: u64,
    said: Fields,
    reroute: bool,
}

/// What is asked of the tokens at some places.
struct Asked<'a> {
    /// Whose they must be; none: by their issuers.
    provider: Option<&'a Provider>,
    /// For whom, in place of what the provider says.
    audiences: &'a [String],
    /// Bad ones pass too.
    lenient: bool,
}

impl<'v> Visit<'v> {
    /// A request, at this time (in seconds since 1970), with keys that were fetched for it.
    pub fn new(tokens: &'v Tokens, had: &'v Had, request: &'v mut Request<Body>, now: u64) -> Self {
        Self { tokens, had, request, now, said: Fields::new(), reroute: false }
    }

    /// What is to be said in metadata, and whether the route is to be chosen anew.
    pub fn done(self) -> (Fields, bool) {
        (self.said, self.reroute)
    }

    /// Does the request meet the requirement? On the way tokens are taken off, and what they say is told.
    pub fn check(&mut self, requirement: &Requirement) -> Result<(), Status> {
        let tokens = self.tokens;
        match requirement {
            Requirement::Nothing => Ok(()),
            Requirement::Provider { name, audiences } => {
                // Discovery has checked that it is there.
                let provider = tokens.providers.get(name).ok_or(Status::UnknownIssuer)?;
                claims::sanitize(&provider.settings, self.request.headers_mut());
                self.all_at(&provider.places, &Asked { provider: Some(provider), audiences, lenient: false })
            }
            Requirement::Any(list) => self.any(list),
            Requirement::All(list) => list.iter().try_for_each(|one| self.check(one)),
            Requirement::AllowMissing => match self.anywhere(false) {
                Err(Status::Missing) => Ok(()),
                other => other,
            },
            Requirement::AllowMissingOrFailed => {
                // What was found out of good tokens is told.
                let _ = self.anywhere(true);
                Ok(())
            }
        }
    }

    /// One suffices. Where none does, the caller is told of a token that was meant for one of them first.
    fn any(&mut self, list: &[Requirement]) -> Result<(), Status> {
        let may = |wanted: Requirement| list.contains(&wanted);
        let (failed, missing) = (may(Requirement::AllowMissingOrFailed), may(Requirement::AllowMissing));
        let lax = |one: &&Requirement| matches!(one, Requirement::AllowMissing | Requirement::AllowMissingOrFailed);
        let mut strict = list.iter().filter(|one| !lax(one)).peekable();
        if strict.peek().is_none() {
            return self.check(if failed { &Requirement::AllowMissingOrFailed } else { &Requirement::AllowMissing });
        }
        let mut last = Status::Missing;
        for one in strict {
            match self.check(one) {
                Ok(()) => return Ok(()),
                Err(status) if status.is_about_token() || last == Status::Missing => last = status,
                Err(_) => {}
            }
        }
        if failed || missing && last == Status::Missing { Ok(()) } else { Err(last) }
    }

    /// The tokens of any provider.
    fn anywhere(&mut self, lenient: bool) -> Result<(), Status> {
        let tokens = self.tokens;
        for provider in tokens.providers.values() {
            claims::sanitize(&provider.settings, self.request.headers_mut());
        }
        self.all_at(&tokens.everywhere, &Asked { provider: None, audiences: &[], lenient })
    }

    /// All tokens at these places must be good, from the last to the first.
    fn all_at(&mut self, places: &Places, asked: &Asked<'_>) -> Result<(), Status> {
        let found = places.find(self.request);
        let mut outcome = if found.is_empty() { Err(Status::Missing) } else { Ok(()) };
        for one in found.iter().rev() {
            let checked = self.one(one, asked);
            if let Err(status) = checked {
                outcome = checked;
                self.tell_failure(status, asked);
                if !asked.lenient {
                    break;
                }
            }
        }
        if found.is_empty() {
            self.tell_failure(Status::Missing, asked);
        }
        outcome
    }

    fn one(&mut self, found: &Found<'_>, asked: &Asked<'_>) -> Result<(), Status> {
        let token = Token::parse(&found.text)?;
        if !found.issuers.has(&token.issuer) {
            return Err(Status::UnknownIssuer);
        }
        let provider = asked.provider.or_else(|| self.tokens.of_issuer(&token.issuer)).ok_or(Status::UnknownIssuer)?;
        let settings = &provider.settings;
        token.holds_at(self.now, settings.clock_skew.into())?;
        if !lives_as_allowed(settings, &token, self.now) || !is_of_subject(settings, &token) {
            return Err(Status::VerificationFails);
        }
        let audiences = if asked.audiences.is_empty() { &settings.audiences } else { asked.audiences };
        if !is_for(audiences, &token) {
            return Err(Status::AudienceNotAllowed);
        }
        self.keys(provider)?.check(&token)?;
        self.is_good(provider, &token, found);
        Ok(())
    }

    fn keys(&self, provider: &Provider) -> Result<Arc<KeySet>, Status> {
        match &provider.keys {
            Keys::Given(keys) => keys.clone().ok_or(Status::NoValidKeys),
            Keys::Fetched(_) => {
                let had = self.had.iter().find(|(of, _)| *of == provider.name);
                had.and_then(|(_, keys)| keys.clone()).ok_or(Status::FetchFails)
            }
        }
    }

    fn is_good(&mut self, provider: &Provider, token: &Token<'_>, found: &Found<'_>) {
        let settings = &provider.settings;
        let told = claims::tell(settings, token, self.request.headers_mut());
        if !settings.forward {
            found.take_off(self.request);
        }
        claims::say(settings, token, &mut self.said);
        self.reroute |= settings.reroute && (told || settings.payload_in_metadata.is_some());
    }

    fn tell_failure(&mut self, status: Status, asked: &Asked<'_>) {
        let only = || Some(self.tokens.providers.values().next()?).filter(|_| self.tokens.providers.len() == 1);
        let key = asked.provider.or_else(only).and_then(|provider| provider.settings.failure_in_metadata.clone());
        let Some(key) = key else { return };
        let told = [
            ("code".to_owned(), Value::Number(status.code().into())),
            ("message".to_owned(), Value::Text(status.text().to_owned())),
        ];
        self.said.insert(key, Value::Fields(Fields::from(told)));
    }
}

fn lives_as_allowed(provider: &JwtProvider, token: &Token<'_>, now: u64) -> bool {
    if token.expires == 0 {
        return !provider.require_expiration && provider.max_lifetime.is_none();
    }
    provider.max_lifetime.is_none_or(|longest| Duration::from_secs(token.expires.saturating_sub(now)) <= longest)
}

fn is_of_subject(provider: &JwtProvider, token: &Token<'_>) -> bool {
    provider.subjects.as_ref().is_none_or(|subjects| subjects.matches(&token.subject))
}

/// Is it for one of these? None: for anybody. As with Envoy, neither `https://` before nor a slash after makes a difference.
fn is_for(audiences: &[String], token: &Token<'_>) -> bool {
    let bare = |text: &str| {
        let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        text.strip_suffix('/').unwrap_or(text).to_owned()
    };
    audiences.is_empty() || token.audiences.iter().any(|one| audiences.iter().any(|wanted| bare(wanted) == bare(one)))
}
