//! Where clients are, found in databases of MaxMind's format and told in headers (xDS HTTP filter `geoip` with the provider
//! `maxmind`).

use std::sync::Arc;

use http::HeaderName;

/// What is looked up, and how it is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Geo {
    /// The database of cities, a file of the proxy's machine. Countries are looked up in it too, unless there is one of them.
    pub cities: Option<Arc<str>>,
    /// The database of countries.
    pub countries: Option<Arc<str>>,
    /// The database of autonomous systems.
    pub systems: Option<Arc<str>>,
    /// Where the client's address is found.
    pub client: GeoClient,
    /// The header that tells the country: its code of ISO 3166, such as `DE`.
    pub country: Option<HeaderName>,
    /// The header that tells the region: the code of ISO 3166-2 of the widest subdivision, without its country.
    pub region: Option<HeaderName>,
    /// The header that tells the city: its English name.
    pub city: Option<HeaderName>,
    /// The header that tells the number of the autonomous system.
    pub system: Option<HeaderName>,
    /// The header that tells the organization behind it.
    pub organization: Option<HeaderName>,
}

impl Geo {
    /// The headers that tell where a client is; nobody else may write them.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        [&self.country, &self.region, &self.city, &self.system, &self.organization].into_iter().flatten()
    }
}

/// Where the client's address is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GeoClient {
    /// It is the peer of the connection.
    #[default]
    Peer,
    /// It stands in `x-forwarded-for`, before as many trusted proxies; the peer where there is none.
    Forwarded {
        /// How many.
        hops: u32,
    },
    /// It is the whole of a header; the peer where that holds none.
    Header(HeaderName),
}
