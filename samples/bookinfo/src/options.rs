//! What the program can be told, on the command line or by the application's usual environment names.

use std::net::IpAddr;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Parser, ValueEnum};

use crate::outgoing::Destination;

/// Which of the four services this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// The page that people see; calls details and reviews.
    Productpage,
    /// Facts about a book.
    Details,
    /// Stars of a book.
    Ratings,
    /// Reviews of a book; v2 and v3 call ratings.
    Reviews,
}

impl Role {
    /// The name of the service, as in its host name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Productpage => "productpage",
            Self::Details => "details",
            Self::Ratings => "ratings",
            Self::Reviews => "reviews",
        }
    }
}

/// Why the options were refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The details service was asked to open TLS itself.
    #[error(
        "--enable-external-book-service: this program calls the book service over plain HTTP only; \
         expected --do-not-encrypt (or DO_NOT_ENCRYPT=true) beside it. \
         Set it, and let the sidecar or an egress gateway originate the TLS"
    )]
    PlainOnly,
    /// The colour cannot be a colour.
    #[error("--star-color: `{0}` is not the name of a colour; expected letters only, for example `black` or `red`")]
    StarColor(String),
    /// `host[:port]` expected.
    #[error(
        "--external-book-service: `{0}` is not an address; expected host or host:port, for example books.example:80"
    )]
    Address(String),
}

/// Every option of the program. Each has an environment name too; the command line wins.
#[derive(Debug, Clone, Parser)]
#[command(name = "bookinfo", version, about = "The Bookinfo demonstration application: one of its four services")]
pub struct Options {
    /// Which service to be.
    #[arg(long, env = "BOOKINFO_ROLE", value_enum)]
    pub role: Role,
    /// TCP port to listen on; 0 takes a free one.
    #[arg(long, env = "BOOKINFO_PORT", default_value_t = 9080)]
    pub port: u16,
    /// Address to listen on.
    #[arg(long, env = "BOOKINFO_BIND", default_value = "0.0.0.0")]
    pub bind: IpAddr,

    /// Host name of the details service (productpage).
    #[arg(long, env = "DETAILS_HOSTNAME", default_value = "details")]
    pub details_hostname: String,
    /// Port of the details service.
    #[arg(long, env = "DETAILS_SERVICE_PORT", default_value_t = 9080)]
    pub details_service_port: u16,
    /// Host name of the ratings service (productpage, reviews).
    #[arg(long, env = "RATINGS_HOSTNAME", default_value = "ratings")]
    pub ratings_hostname: String,
    /// Port of the ratings service.
    #[arg(long, env = "RATINGS_SERVICE_PORT", default_value_t = 9080)]
    pub ratings_service_port: u16,
    /// Host name of the reviews service (productpage).
    #[arg(long, env = "REVIEWS_HOSTNAME", default_value = "reviews")]
    pub reviews_hostname: String,
    /// Port of the reviews service.
    #[arg(long, env = "REVIEWS_SERVICE_PORT", default_value_t = 9080)]
    pub reviews_service_port: u16,
    /// Domain to append to those host names.
    #[arg(long, env = "SERVICES_DOMAIN", default_value = "")]
    pub services_domain: String,

    /// Extra calls to reviews for each product page, answers ignored (productpage; for rate limit exercises).
    #[arg(long, env = "FLOOD_FACTOR", default_value_t = 0)]
    pub flood_factor: u32,

    /// Ask ratings for stars (reviews: v2 and v3).
    #[arg(long, env = "ENABLE_RATINGS", action = ArgAction::Set, value_parser = BoolishValueParser::new(),
          default_value = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_ratings: bool,
    /// Colour of the stars (reviews): `black` for v2, `red` for v3. Black waits 10 s for ratings, others 2.5 s.
    #[arg(long, env = "STAR_COLOR", default_value = "black")]
    pub star_color: String,
    /// The name of this instance, shown as `podname`; the machine's name unless given.
    #[arg(long, env = "HOSTNAME")]
    pub hostname: Option<String>,
    /// The name of the cluster, shown as `clustername`.
    #[arg(long, env = "CLUSTER_NAME")]
    pub cluster_name: Option<String>,

    /// Behaviour of ratings: `v1`, `v2` (read only), `v-faulty`, `v-delayed`, `v-unavailable`, `v-unhealthy`.
    #[arg(long, env = "SERVICE_VERSION", default_value = "v1")]
    pub service_version: String,

    /// Ask a book service outside of the mesh (details v2).
    #[arg(long, env = "ENABLE_EXTERNAL_BOOK_SERVICE", action = ArgAction::Set, value_parser = BoolishValueParser::new(),
          default_value = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_external_book_service: bool,
    /// That service's `host[:port]`.
    #[arg(long, env = "EXTERNAL_BOOK_SERVICE", default_value = "www.googleapis.com:80")]
    pub external_book_service: String,
    /// Call it over plain HTTP; a sidecar or an egress gateway originates the TLS.
    #[arg(long, env = "DO_NOT_ENCRYPT", action = ArgAction::Set, value_parser = BoolishValueParser::new(),
          default_value = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub do_not_encrypt: bool,
}

impl Options {
    /// Where the service of `role` is to be found.
    pub fn destination(&self, role: Role) -> Destination {
        let (host, port) = match role {
            Role::Details => (&self.details_hostname, self.details_service_port),
            Role::Ratings => (&self.ratings_hostname, self.ratings_service_port),
            Role::Reviews => (&self.reviews_hostname, self.reviews_service_port),
            Role::Productpage => return Destination { host: role.name().to_owned(), port: self.port },
        };
        let domain = self.services_domain.trim_start_matches('.');
        let dot = if domain.is_empty() { "" } else { "." };
        Destination { host: format!("{host}{dot}{domain}"), port }
    }

    /// The name of this instance.
    pub fn instance(&self) -> String {
        self.hostname
            .clone()
            .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "unknown".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        let check = |args: &[&str], role, expected: &str| {
            let options = Options::parse_from(["bookinfo", "--role=reviews"].iter().chain(args));
            assert_eq!(options.destination(role).to_string(), expected);
        };
        check(&[], Role::Ratings, "ratings:9080");
        check(&["--services-domain=shop.svc"], Role::Details, "details.shop.svc:9080");
        check(&["--services-domain=.shop.svc"], Role::Details, "details.shop.svc:9080");
        check(&["--reviews-hostname=127.0.0.1", "--reviews-service-port=81"], Role::Reviews, "127.0.0.1:81");
    }

    #[test]
    fn switches() {
        let check = |args: &[&str], expected| {
            let options = Options::parse_from(["bookinfo", "--role=reviews"].iter().chain(args));
            assert_eq!(options.enable_ratings, expected);
        };
        check(&[], false);
        check(&["--enable-ratings"], true);
        check(&["--enable-ratings=true"], true);
        check(&["--enable-ratings=false"], false);
    }
}
