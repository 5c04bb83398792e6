//! Where clients are: looked up in databases of MaxMind's format before a route is chosen, so that routes may ask for it,
//! and told in headers that nobody else can write.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Weak};

use ::http::{HeaderMap, HeaderName, HeaderValue};
use arc_swap::ArcSwap;
use maxminddb::{Reader, geoip2};
use model::Geo;
use model::geo::GeoClient;
use serde::Deserialize;
use tokio::time::Instant;

use crate::edge::forwarded_client;
use crate::files::{LOOK, Look};

/// The look-up of one HTTP proxy.
#[derive(Debug)]
pub(crate) struct GeoLookup {
    settings: Geo,
    cities: Option<Arc<Database>>,
    countries: Option<Arc<Database>>,
    systems: Option<Arc<Database>>,
}

impl GeoLookup {
    /// Writes where the client is into a request's headers, in place of what the client claims. `peer` is the other end of
    /// the connection.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, peer: IpAddr) {
        let address = self.client(headers).unwrap_or(peer).to_canonical();
        self.settings.headers().for_each(|name| while headers.remove(name).is_some() {});
        if let Some(cities) = &self.cities {
            let reader = cities.reader.load();
            let found: Option<geoip2::City<'_>> = looked_up(&reader, address);
            if let Some(found) = found {
                put(headers, self.settings.city.as_ref(), found.city.names.english);
                let region = found.subdivisions.first().and_then(|region| region.iso_code);
                put(headers, self.settings.region.as_ref(), region);
                if self.countries.is_none() {
                    put(headers, self.settings.country.as_ref(), found.country.iso_code);
                }
            }
        }
        if let Some(countries) = &self.countries {
            let reader = countries.reader.load();
            let found: Option<geoip2::Country<'_>> = looked_up(&reader, address);
            put(headers, self.settings.country.as_ref(), found.and_then(|found| found.country.iso_code));
        }
        if let Some(systems) = &self.systems {
            let reader = systems.reader.load();
            let found: Option<geoip2::Asn<'_>> = looked_up(&reader, address);
            if let Some(found) = found {
                let number = found.autonomous_system_number.map(|number| number.to_string());
                put(headers, self.settings.system.as_ref(), number.as_deref());
                put(headers, self.settings.organization.as_ref(), found.autonomous_system_organization);
            }
        }
    }

    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        match &self.settings.client {
            GeoClient::Peer => None,
            GeoClient::Forwarded { hops } => forwarded_client(headers, *hops as usize),
            GeoClient::Header(name) => headers.get(name)?.to_str().ok()?.trim().parse().ok(),
        }
    }
}

fn looked_up<'r, T: Deserialize<'r>>(reader: &'r Reader<Vec<u8>>, address: IpAddr) -> Option<T> {
    reader.lookup(address).ok()?.decode().ok().flatten()
}

/// Names may have letters beyond ASCII: headers carry them as UTF-8.
fn put(headers: &mut HeaderMap, name: Option<&HeaderName>, value: Option<&str>) {
    if let (Some(name), Some(Ok(value))) = (name, value.map(|text| HeaderValue::from_bytes(text.as_bytes()))) {
        headers.insert(name, value);
    }
}

/// A database, read anew when its file changes.
#[derive(Debug)]
struct Database {
    path: Arc<str>,
    reader: ArcSwap<Reader<Vec<u8>>>,
}

/// The databases that are in use.
#[derive(Debug, Default)]
pub(crate) struct Databases {
    open: HashMap<Arc<str>, (Weak<Database>, Option<Look>)>,
    looked: Option<Instant>,
}

impl Databases {
    /// What a proxy looks up, with its databases open.
    ///
    /// # Errors
    /// One cannot be read; says which and why.
    pub(crate) fn lookup(&mut self, settings: &Geo) -> Result<GeoLookup, String> {
        let mut open = |path: &Option<Arc<str>>| path.as_ref().map(|path| self.open(path)).transpose();
        let (cities, countries, systems) =
            (open(&settings.cities)?, open(&settings.countries)?, open(&settings.systems)?);
        Ok(GeoLookup { settings: settings.clone(), cities, countries, systems })
    }

    fn open(&mut self, path: &Arc<str>) -> Result<Arc<Database>, String> {
        if let Some(open) = self.open.get(path).and_then(|(open, _)| open.upgrade()) {
            return Ok(open);
        }
        let look = Look::at(Path::new(&**path));
        let database = Arc::new(Database { path: path.clone(), reader: ArcSwap::from_pointee(read(path)?) });
        self.open.insert(path.clone(), (Arc::downgrade(&database), look));
        Ok(database)
    }

    /// When they are to be looked at again.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        if self.open.is_empty() { None } else { Some(self.looked.map_or_else(Instant::now, |at| at + LOOK)) }
    }

    /// Reads those whose files have changed. What cannot be read stays as it was.
    pub(crate) fn look(&mut self, now: Instant) {
        self.looked = Some(now);
        self.open.retain(|_, (open, _)| open.strong_count() > 0);
        for (open, seen) in self.open.values_mut() {
            let Some(database) = open.upgrade() else { continue };
            let look = Look::at(Path::new(&*database.path));
            if look.is_none() || *seen == look {
                continue;
            }
            *seen = look;
            match read(&database.path) {
                Ok(reader) => {
                    database.reader.store(Arc::new(reader));
                    tracing::info!("database {}: read anew", database.path);
                }
                Err(reason) => tracing::warn!("{reason}; what was read before stays in use"),
            }
        }
    }
}

fn read(path: &str) -> Result<Reader<Vec<u8>>, String> {
    Reader::open_readfile(path)
        .map_err(|e| format!("database {path}: {e}; expected a file of MaxMind's format (.mmdb)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::geo::{Place, database};

    fn name(text: &'static str) -> Option<HeaderName> {
        Some(HeaderName::from_static(text))
    }

    #[test]
    fn where_clients_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cities.mmdb");
        let munich = Place { country: "DE", region: "BY", city: "München" };
        let paris = Place { country: "FR", region: "IDF", city: "Paris" };
        std::fs::write(&path, database(&[("10.1.0.0/16", munich), ("10.2.3.0/24", paris)])).unwrap();
        let settings = Geo {
            cities: Some(path.to_str().unwrap().into()),
            client: GeoClient::Forwarded { hops: 0 },
            country: name("x-geo-country"),
            region: name("x-geo-region"),
            city: name("x-geo-city"),
            ..Geo::default()
        };
        let mut databases = Databases::default();
        let lookup = databases.lookup(&settings).unwrap();
        let told = |forwarded: Option<&'static str>, peer: &str| {
            let mut headers = HeaderMap::new();
            headers.append("x-geo-country", HeaderValue::from_static("US"));
            headers.append("x-geo-country", HeaderValue::from_static("CA"));
            forwarded.map(|text| headers.insert("x-forwarded-for", HeaderValue::from_static(text)));
            lookup.tell(&mut headers, peer.parse().unwrap());
            let all = ["x-geo-country", "x-geo-region", "x-geo-city"].map(|name| headers.get(name));
            let all =
                all.map(|value| value.map_or("-", |value| std::str::from_utf8(value.as_bytes()).unwrap()).to_owned());
            all.join(" ")
        };
        for (forwarded, peer, expected) in [
            (None, "10.1.2.3", "DE BY München"),
            (None, "10.2.3.4", "FR IDF Paris"),
            (None, "::ffff:10.2.3.4", "FR IDF Paris"),
            (None, "10.3.0.1", "- - -"),
            (None, "::1", "- - -"),
            (Some("10.2.3.9"), "10.1.2.3", "FR IDF Paris"),
            (Some("junk"), "10.1.2.3", "DE BY München"),
        ] {
            assert_eq!(told(forwarded, peer), expected, "{forwarded:?} {peer}");
        }
        // The file is exchanged; then it is spoilt.
        let place = folder.path().join("new");
        std::fs::write(&place, database(&[("10.0.0.0/8", paris)])).unwrap();
        std::fs::rename(&place, &path).unwrap();
        databases.look(Instant::now());
        assert_eq!(told(None, "10.1.2.3"), "FR IDF Paris");
        std::fs::write(&path, "junk").unwrap();
        databases.look(Instant::now());
        assert_eq!(told(None, "10.1.2.3"), "FR IDF Paris");
        let other = Geo { cities: Some("/nowhere.mmdb".into()), ..Geo::default() };
        assert!(databases.lookup(&other).unwrap_err().starts_with("database /nowhere.mmdb: "));
    }
}
