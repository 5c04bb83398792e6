//! Bookinfo as its visitors see it: the page, the API, who is signed in, and which version of reviews answered.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use http::Method;
use serde_json::Value;

use crate::web::{self, Connection};

/// The reviews as productpage's API hands them on.
pub const REVIEWS: &str = "/api/v1/products/0/reviews";
/// The same for ratings.
pub const RATINGS: &str = "/api/v1/products/0/ratings";

/// How many connections ask at once.
const WIDTH: usize = 8;

/// Which reviews answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// No stars.
    V1,
    /// Black stars.
    V2,
    /// Red stars.
    V3,
    /// A version with stars, but without ratings.
    NoStars,
    /// No reviews at all.
    Failed,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
            Self::NoStars => "stars missing",
            Self::Failed => "failed",
        })
    }
}

/// The product page.
#[derive(Debug)]
pub struct Page {
    /// Does it show the book's details?
    pub details: bool,
    /// What it shows of reviews.
    pub reviews: Seen,
    /// How long it took.
    pub took: Duration,
}

impl Page {
    /// Reads the text of a page.
    pub fn read(text: &str, took: Duration) -> Self {
        let has = |what: &str| text.contains(what);
        let reviews = match () {
            () if has("The reviews of this book are not available right now") || !has("Reviewer1") => Seen::Failed,
            () if has("No stars: ") => Seen::NoStars,
            () if has("of 5 stars, black") => Seen::V2,
            () if has("of 5 stars, red") => Seen::V3,
            () => Seen::V1,
        };
        Self { details: has("William Shakespeare") && has("PublisherA"), reviews, took }
    }
}

/// A visitor, signed in or not.
#[derive(Debug, Clone)]
pub struct Visitor {
    gateway: SocketAddr,
    cookie: Option<String>,
    user_agent: Option<&'static str>,
}

impl Visitor {
    /// Somebody.
    pub fn anonymous(gateway: SocketAddr) -> Self {
        Self { gateway, cookie: None, user_agent: None }
    }

    /// Somebody whose browser says that it is this one.
    pub fn with_browser(gateway: SocketAddr, user_agent: &'static str) -> Self {
        Self { user_agent: Some(user_agent), ..Self::anonymous(gateway) }
    }

    /// Signs in by the page's form.
    pub async fn signed_in(gateway: SocketAddr, name: &str) -> Result<Self> {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let body = format!("username={name}&passwd=any");
        let answer = Connection::open(gateway).await?.send(Method::POST, "/login", &form, &body).await?;
        ensure!(answer.status == 302, "signing in: status {}; expected 302", answer.status);
        let cookie = answer.headers.get("set-cookie").context("signing in gives no cookie")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        Ok(Self { cookie: Some(cookie), ..Self::anonymous(gateway) })
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let cookie = self.cookie.iter().map(|cookie| ("cookie", cookie.as_str()));
        cookie.chain(self.user_agent.map(|agent| ("user-agent", agent))).collect()
    }

    /// Looks at the product page.
    pub async fn page(&self) -> Result<Page> {
        let answer = web::get(self.gateway, "/productpage", &self.headers()).await?;
        ensure!(answer.status == 200, "/productpage: status {}; expected 200", answer.status);
        Ok(Page::read(&answer.text(), answer.took))
    }

    /// Asks the API.
    pub async fn ask(&self, path: &str) -> Result<web::Answer> {
        web::get(self.gateway, path, &self.headers()).await
    }

    /// Asks for the reviews `count` times, on several connections, and counts who answered.
    pub async fn spread(&self, count: u32) -> Result<Spread> {
        let (left, spread) = (Cell::new(count), RefCell::new(Spread::default()));
        let (left, spread_of) = (&left, &spread);
        try_join_all((0..WIDTH).map(|_| async move {
            let mut connection = Connection::open(self.gateway).await?;
            while left.get() > 0 {
                left.set(left.get() - 1);
                let answer = connection.get(REVIEWS, &self.headers()).await?;
                spread_of.borrow_mut().add(seen(&answer));
            }
            anyhow::Ok(())
        }))
        .await?;
        Ok(spread.into_inner())
    }
}

/// Which reviews answered, by the answer of the API.
pub fn seen(answer: &web::Answer) -> Seen {
    answer.json().map_or(Seen::Failed, |json| version(&json))
}

fn version(json: &Value) -> Seen {
    let Some(first) = json.pointer("/reviews/0") else { return Seen::Failed };
    match (first.get("rating"), first.pointer("/rating/color").and_then(Value::as_str)) {
        (None, _) => Seen::V1,
        (_, Some("black")) => Seen::V2,
        (_, Some("red")) => Seen::V3,
        _ => Seen::NoStars,
    }
}

/// How often each was seen.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Spread(BTreeMap<Seen, u32>);

impl Spread {
    /// One more.
    pub fn add(&mut self, seen: Seen) {
        *self.0.entry(seen).or_default() += 1;
    }

    /// Another count on top.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(seen, count)| *self.0.entry(*seen).or_default() += count);
    }

    /// How often in all.
    pub fn total(&self) -> u32 {
        self.0.values().sum()
    }

    /// How often this one.
    pub fn count(&self, seen: Seen) -> u32 {
        self.0.get(&seen).copied().unwrap_or(0)
    }

    /// Is each within so many points of its share in percent? What is not named must not be seen.
    pub fn is_within(&self, points: f64, shares: &[(Seen, f64)]) -> bool {
        let total = f64::from(self.total().max(1));
        let near = |(seen, share): &(Seen, f64)| (100.0 * f64::from(self.count(*seen)) / total - share).abs() <= points;
        self.0.keys().all(|seen| shares.iter().any(|(named, _)| named == seen)) && shares.iter().all(near)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = f64::from(self.total().max(1));
        let parts = self.0.iter().map(|(seen, count)| format!("{seen} {:.1} %", 100.0 * f64::from(*count) / total));
        write!(f, "{} of {} requests", parts.collect::<Vec<_>>().join(", "), self.total())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions() {
        let check = |rating: Value, expected| {
            let mut review = json!({ "reviewer": "Reviewer1" });
            if !rating.is_null() {
                review["rating"] = rating;
            }
            assert_eq!(version(&json!({ "reviews": [review] })), expected);
        };
        check(Value::Null, Seen::V1);
        check(json!({ "stars": 5, "color": "black" }), Seen::V2);
        check(json!({ "stars": 5, "color": "red" }), Seen::V3);
        check(json!({ "error": "the ratings service is unavailable" }), Seen::NoStars);
        assert_eq!(version(&json!({ "error": "x" })), Seen::Failed);
    }

    #[test]
    fn shares() {
        let spread = |v1, v3| Spread([(Seen::V1, v1), (Seen::V3, v3)].into());
        let check = |spread: &Spread, expected| {
            assert_eq!(spread.is_within(4.0, &[(Seen::V1, 50.0), (Seen::V3, 50.0)]), expected);
        };
        check(&spread(500, 500), true);
        check(&spread(540, 460), true);
        check(&spread(541, 459), false);
        check(&spread(1000, 0), false);
        check(&Spread::default(), false);
        let mut stranger = spread(500, 500);
        stranger.add(Seen::V2);
        check(&stranger, false);
        assert_eq!(stranger.total(), 1001);
        assert_eq!(spread(1, 3).to_string(), "v1 25.0 %, v3 75.0 % of 4 requests");
    }

    #[test]
    fn pages() {
        let check = |text: &str, details, reviews| {
            let page = Page::read(text, Duration::ZERO);
            assert_eq!((page.details, page.reviews), (details, reviews), "{text}");
        };
        check("William Shakespeare PublisherA Reviewer1 Reviewer2", true, Seen::V1);
        check("Reviewer1 aria-label=\"5 of 5 stars, red\"", false, Seen::V3);
        check("Reviewer1 aria-label=\"5 of 5 stars, black\"", false, Seen::V2);
        check("Reviewer1 No stars: the ratings service is unavailable", false, Seen::NoStars);
        check("The reviews of this book are not available right now", false, Seen::Failed);
        check("", false, Seen::Failed);
    }
}
