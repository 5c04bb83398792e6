//! The two pages. No script, no address outside of this server.

use std::fmt::{self, Write as _};
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;

use super::Product;
use super::calls::Outcome;
use super::markup::text;
use crate::options::{Options, Role};
use crate::outgoing::Destination;

/// Where the services are, for the landing page.
pub struct Tree {
    page: Destination,
    details: Destination,
    reviews: Destination,
    ratings: Destination,
}

impl Tree {
    /// As the options say.
    pub fn of(options: &Options) -> Self {
        Self {
            page: options.destination(Role::Productpage),
            details: options.destination(Role::Details),
            reviews: options.destination(Role::Reviews),
            ratings: options.destination(Role::Ratings),
        }
    }
}

/// All that the product page shows.
pub struct ProductView<'a> {
    /// The book.
    pub product: &'a Product,
    /// What details said.
    pub details: &'a Outcome,
    /// What reviews said.
    pub reviews: &'a Outcome,
    /// Who is signed in.
    pub user: Option<&'a str>,
    /// The name of this instance.
    pub instance: &'a str,
}

/// The landing page: what this is, and the tree of services.
pub fn index(tree: &Tree, user: Option<&str>) -> String {
    let row = |depth: u32, name: &str, at: &Destination, does: &str| {
        format!(
            "<tr class=\"depth-{depth}\"><th scope=\"row\">{}</th><td><code>{}</code></td><td>{}</td></tr>",
            text(name),
            text(&at.to_string()),
            text(does)
        )
    };
    let rows = [
        row(0, "productpage", &tree.page, "Puts the page together. You are talking to it now."),
        row(1, "details", &tree.details, "Facts about a book: author, pages, numbers."),
        row(1, "reviews", &tree.reviews, "What readers wrote. v1 shows no stars, v2 black ones, v3 red ones."),
        row(2, "ratings", &tree.ratings, "How many stars each reader gave. Called by reviews v2 and v3."),
    ]
    .concat();
    let main = format!(
        "<main class=\"landing\"><section class=\"intro\"><img src=\"/static/cover.svg\" alt=\"\" width=\"150\" height=\"210\">\
         <div><h1>One small bookshop, four services</h1>\
         <p class=\"lead\">Every visit to the product page is a handful of calls between small programs. \
         Route them, delay them, break them: the page shows what comes of it.</p>\
         <a class=\"button\" href=\"/productpage\">Open the product page</a></div></section>\
         <section class=\"card\"><h2>Who calls whom</h2><div class=\"scroll\"><table class=\"tree\">\
         <thead><tr><th scope=\"col\">Service</th><th scope=\"col\">Address</th><th scope=\"col\">What it does</th></tr></thead>\
         <tbody>{rows}</tbody></table></div></section></main>"
    );
    page("Bookinfo", user, &main)
}

/// The product page. A part whose call failed says so in its place; the rest stands.
pub fn product(view: &ProductView<'_>) -> String {
    let main = format!(
        "<main><article class=\"book\"><img class=\"cover\" src=\"/static/cover.svg\" width=\"240\" height=\"336\" \
         alt=\"Cover: two masks that mirror each other\"><div><h1>{}</h1>{}<p class=\"lead\">{}</p>{}</div></article>\
         {}{}</main>",
        text(view.product.title),
        byline(view.details),
        view.product.description,
        facts(view.details),
        reviews(view.reviews),
        journey(view),
    );
    page(view.product.title, view.user, &main)
}

fn page(title: &str, user: Option<&str>, main: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{} · Bookinfo</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <link rel=\"icon\" href=\"/static/icon.svg\"><link rel=\"stylesheet\" href=\"/static/bookinfo.css\"></head><body>\
         <svg class=\"sprites\" aria-hidden=\"true\"><symbol id=\"star\" viewBox=\"0 0 24 24\"><path d=\"M12 2.2l3 6.2 6.8 1-4.9 4.8 1.2 6.8L12 17.8 5.9 21l1.2-6.8L2.2 9.4l6.8-1z\"/></symbol></svg>\
         <header class=\"top\"><a class=\"brand\" href=\"/productpage\"><img src=\"/static/icon.svg\" alt=\"\" width=\"28\" height=\"28\">Bookinfo</a>{}</header>\
         {main}</body></html>",
        text(title),
        sign_in(user),
    )
}

fn sign_in(user: Option<&str>) -> String {
    match user {
        Some(name) => format!(
            "<div class=\"who\"><span class=\"user\" title=\"Calls carry the header end-user: {0}\">{0}</span>\
             <a class=\"quiet\" href=\"/logout\">Sign out</a></div>",
            text(name)
        ),
        None => "<details class=\"who\"><summary class=\"button\">Sign in</summary>\
             <form class=\"pop\" method=\"post\" action=\"/login\">\
             <label>Name<input name=\"username\" required maxlength=\"64\" autocomplete=\"username\" placeholder=\"jason\"></label>\
             <label>Password<input name=\"passwd\" type=\"password\" autocomplete=\"current-password\" placeholder=\"any will do\"></label>\
             <button class=\"button\">Sign in</button></form></details>"
            .to_owned(),
    }
}

fn byline(details: &Outcome) -> String {
    match details.json.get("author").and_then(Value::as_str) {
        Some(author) => {
            let year = details.json.get("year").map(|y| format!(", {}", text(&plain(y)))).unwrap_or_default();
            format!("<p class=\"byline\">{}{year}</p>", text(author))
        }
        None => String::new(),
    }
}

const FACTS: [(&str, &str); 6] = [
    ("type", "Binding"),
    ("pages", "Pages"),
    ("publisher", "Publisher"),
    ("language", "Language"),
    ("ISBN-10", "ISBN-10"),
    ("ISBN-13", "ISBN-13"),
];

fn facts(details: &Outcome) -> String {
    if details.status != StatusCode::OK {
        return failure("The details of this book are not available right now", details);
    }
    let known = FACTS.iter().filter_map(|(key, label)| match details.json.get(key) {
        None | Some(Value::Null) => None,
        Some(value) => Some(format!("<div><dt>{label}</dt><dd>{}</dd></div>", text(&plain(value)))),
    });
    format!("<dl class=\"facts\">{}</dl>", known.collect::<String>())
}

fn reviews(outcome: &Outcome) -> String {
    let mut out = String::from("<section class=\"reviews\"><div class=\"heading\"><h2>What readers say</h2>");
    if outcome.status == StatusCode::OK {
        let name = |key: &str| outcome.json.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
        if let Some(pod) = name("podname") {
            let _ = write!(out, "<p class=\"served\">served by <b>{}</b>", text(pod));
            if let Some(cluster) = name("clustername") {
                let _ = write!(out, " in <b>{}</b>", text(cluster));
            }
            out.push_str("</p>");
        }
        out.push_str("</div><div class=\"columns\">");
        let rows = outcome.json.get("reviews").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        out.extend(rows.iter().map(review));
        out.push_str("</div></section>");
    } else {
        out.push_str("</div>");
        out.push_str(&failure("The reviews of this book are not available right now", outcome));
        out.push_str("</section>");
    }
    out
}

fn review(row: &Value) -> String {
    let said = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
    format!(
        "<figure class=\"card review\">{}<blockquote>{}</blockquote><figcaption>{}</figcaption></figure>",
        row.get("rating").map(rating).unwrap_or_default(),
        text(said("text")),
        text(said("reviewer"))
    )
}

fn rating(rating: &Value) -> String {
    let Some(stars) = rating.get("stars").and_then(Value::as_i64) else {
        let why = rating.get("error").and_then(Value::as_str).unwrap_or("no stars were given");
        return format!("<p class=\"stars missing\">No stars: {}</p>", text(why));
    };
    let color = rating.get("color").and_then(Value::as_str).unwrap_or("black");
    let mut out = format!("<p class=\"stars\" role=\"img\" aria-label=\"{stars} of 5 stars, {}\">", text(color));
    for n in 1..=5 {
        let (class, fill) = if n <= stars { ("star", color) } else { ("star hollow", "none") };
        // A presentation attribute: the page's policy allows no inline style.
        let _ = write!(out, "<svg class=\"{class}\" fill=\"{}\"><use href=\"#star\"/></svg>", text(shade(fill)));
    }
    out.push_str("</p>");
    out
}

/// The well-known red is too shrill beside black print; every other colour is shown as it is named.
fn shade(color: &str) -> &str {
    match color {
        "red" => "#d3263a",
        "black" => "#15171c",
        other => other,
    }
}

fn failure(title: &str, outcome: &Outcome) -> String {
    let why = outcome.json.get("error").and_then(Value::as_str).unwrap_or("no reason was given");
    let attempts =
        if outcome.attempts == 1 { "1 attempt".to_owned() } else { format!("{} attempts", outcome.attempts) };
    format!(
        "<div class=\"failure\" role=\"alert\"><b>{}</b><p>{}; gave up after {attempts} and {}.</p></div>",
        text(title),
        text(why),
        Span(outcome.took)
    )
}

fn journey(view: &ProductView<'_>) -> String {
    let call = |name: &str, outcome: &Outcome| {
        let mood = if outcome.status == StatusCode::OK { "good" } else { "bad" };
        let again = if outcome.attempts > 1 { format!(" · {} attempts", outcome.attempts) } else { String::new() };
        format!(
            "<li><b>{name}</b><span class=\"status {mood}\">{}</span><span class=\"took\">{}{again}</span></li>",
            outcome.status.as_u16(),
            Span(outcome.took)
        )
    };
    format!(
        "<footer class=\"journey\"><h2>How this page came together</h2><ol><li><b>productpage</b><span class=\"took\">{}</span></li>{}{}</ol></footer>",
        text(view.instance),
        call("details", view.details),
        call("reviews", view.reviews)
    )
}

/// A JSON value as a reader wants it: text without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A time span for readers.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs_f64() {
            s if s >= 1.0 => write!(f, "{s:.1} s"),
            s if s >= 0.01 => write!(f, "{:.0} ms", s * 1e3),
            s => write!(f, "{:.1} ms", s * 1e3),
        }
    }
}
