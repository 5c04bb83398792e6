//! A route table, compiled: from an authority to its virtual host.
//!
//! A table on demand knows only the authorities that were asked for: those that have a virtual host, and those that turned
//! out to have none, for which the host of `*` decides. Any other authority is unknown, and has to be asked for first
//! (`waiting`). Finding one that is known costs what it costs in any table; beside it a flag is set, once, by which the
//! side runtime learns that it is in use.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use base::host::split_authority;
use filter::RouteLimits;
use model::route::{self, Found, HostIndex, RequestView, host_name};
use model::{RouteConfiguration, VirtualHost};

use crate::route_stats::{CountedRoutes, RouteFamilies};

/// An authority that was asked for, as `<route configuration>/<authority>`, and what came of it.
pub(crate) type Decided = (Arc<str>, Option<Arc<VirtualHost>>);

/// A route table.
#[derive(Debug)]
pub(crate) struct Table {
    routes: Arc<RouteConfiguration>,
    hosts: Hosts,
    limits: RouteLimits,
    counted: CountedRoutes,
}

/// Where what a table's routes bring is counted.
#[derive(Clone, Copy)]
pub(crate) struct TableStats<'a> {
    /// By filters.
    pub filters: &'a filter::Stats,
    /// By the routes themselves.
    pub routes: &'a Arc<RouteFamilies>,
}

#[derive(Debug)]
enum Hosts {
    All(HostIndex),
    OnDemand(OnDemand),
}

#[derive(Debug)]
struct OnDemand {
    /// What it was made of.
    decided: Vec<Decided>,
    hosts: Vec<Arc<VirtualHost>>,
    /// The host of `*`.
    any: Option<usize>,
    by_name: HashMap<String, Slot>,
}

#[derive(Debug)]
struct Slot {
    /// None: no virtual host takes it, not even one of `*`.
    host: Option<usize>,
    /// Whom its use is told of; none for what stands in the table itself.
    decided: Option<usize>,
    used: AtomicBool,
}

/// Why a request found no route.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// There is none.
    NoRoute,
    /// That is not known yet: its authority has to be asked for by this name.
    Unknown(Arc<str>),
}

/// What a table has for an authority, where that did not lead to a route.
#[derive(Debug)]
pub(crate) enum Near<'a> {
    /// A virtual host, none of whose routes took the request.
    Host(&'a VirtualHost),
    /// None; of the names that the table knows, this is most like it.
    Name(Option<&'a str>),
}

/// Longer names are not asked for: no host name is (RFC 1035 allows 255).
const LONGEST: usize = 255;
/// As many names are compared with one that is unknown; a flood of such requests must not cost more.
const MOST_COMPARED: usize = 500;

impl Table {
    /// A table that holds all of its hosts.
    pub(crate) fn new(routes: Arc<RouteConfiguration>) -> Self {
        Self::of(Hosts::All(HostIndex::new(&routes)), routes)
    }

    /// A table on demand, of what was decided so far. What was in use stays so.
    pub(crate) fn on_demand(routes: Arc<RouteConfiguration>, decided: Vec<Decided>, old: Option<&Self>) -> Self {
        let mut hosts = OnDemand::of(&routes, decided);
        if let Some(Self { hosts: Hosts::OnDemand(old), .. }) = old {
            hosts.continue_use(old);
        }
        Self::of(Hosts::OnDemand(hosts), routes)
    }

    fn of(hosts: Hosts, routes: Arc<RouteConfiguration>) -> Self {
        Self { routes, hosts, limits: RouteLimits::default(), counted: CountedRoutes::default() }
    }

    /// With the limits and statistics that its routes bring; what was counted in a table `before` lives on.
    pub(crate) fn counting(self, stats: TableStats<'_>, before: Option<&Self>) -> Self {
        let hosts: Vec<&VirtualHost> = match &self.hosts {
            Hosts::All(_) => self.routes.hosts.iter().collect(),
            Hosts::OnDemand(hosts) => hosts.hosts.iter().map(|host| &**host).collect(),
        };
        let limits = RouteLimits::new(hosts.iter().copied(), before.map(|before| &before.limits), stats.filters);
        let counted = CountedRoutes::new(hosts.into_iter(), stats.routes, before.map(|before| &before.counted));
        Self { limits, counted, ..self }
    }

    /// The statistics that its routes bring.
    pub(crate) fn counted(&self) -> &CountedRoutes {
        &self.counted
    }

    /// The limits that its routes bring.
    pub(crate) fn limits(&self) -> &RouteLimits {
        &self.limits
    }

    /// Is it made of this? Nothing decided is a table that holds all of its hosts.
    pub(crate) fn is_of(&self, routes: &Arc<RouteConfiguration>, decided: Option<&[Decided]>) -> bool {
        let same_hosts = match (&self.hosts, decided) {
            (Hosts::All(_), None) => true,
            (Hosts::OnDemand(own), Some(decided)) => own.decided == decided,
            _ => false,
        };
        same_hosts && (Arc::ptr_eq(&self.routes, routes) || self.routes == *routes)
    }

    /// The route of a request. `draw` decides routes that take only a share.
    pub(crate) fn find(&self, request: &RequestView<'_>, draw: u64) -> Result<Found<'_>, Miss> {
        match &self.hosts {
            Hosts::All(index) => route::find(&self.routes, index, request, draw).map_err(|_| Miss::NoRoute),
            Hosts::OnDemand(hosts) => {
                let host = hosts.find(&self.routes, request.authority)?.ok_or(Miss::NoRoute)?;
                route::find_in(host, request, draw).map_err(|_| Miss::NoRoute)
            }
        }
    }

    /// What is there for an authority for which no route was found.
    pub(crate) fn near(&self, authority: &str) -> Near<'_> {
        let (host, all): (_, Vec<&VirtualHost>) = match &self.hosts {
            Hosts::All(index) => (route::find_host(&self.routes, index, authority), self.routes.hosts.iter().collect()),
            Hosts::OnDemand(hosts) => {
                (hosts.find(&self.routes, authority).ok().flatten(), hosts.hosts.iter().map(|host| &**host).collect())
            }
        };
        let domains = all.into_iter().flat_map(|host| host.domains.iter().map(String::as_str));
        host.map_or_else(|| Near::Name(Self::nearest(authority, domains)), Near::Host)
    }

    /// Of `names` the one that is most like the host of an authority, if one is like it at all.
    pub(crate) fn nearest<'a>(authority: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let wanted = split_authority(authority).0.to_ascii_lowercase();
        let wanted = wanted.get(..LONGEST).unwrap_or(&wanted);
        let distance = |name: &str| strsim::damerau_levenshtein(wanted, split_authority(name).0);
        // A third of it may be wrong. What is too long or too short for that is not compared at all.
        let most = wanted.chars().count() / 3;
        let like = |name: &&str| name.chars().count().abs_diff(wanted.chars().count()) <= most;
        let names = names.filter(|name| *name != "*").filter(|name| like(&split_authority(name).0)).take(MOST_COMPARED);
        let near = names.map(|name| (distance(name), name)).min_by_key(|near| near.0)?;
        (near.0 <= most).then_some(near.1)
    }

    /// Need nobody wait for this authority (in the form of a name that was asked for)?
    pub(crate) fn knows(&self, authority: &str) -> bool {
        match &self.hosts {
            Hosts::All(_) => true,
            Hosts::OnDemand(hosts) => hosts.by_name.contains_key(authority),
        }
    }

    /// Are all that were decided among these?
    pub(crate) fn asked_for_only(&self, names: &BTreeSet<Arc<str>>) -> bool {
        match &self.hosts {
            Hosts::All(_) => true,
            Hosts::OnDemand(hosts) => hosts.decided.iter().all(|(name, _)| names.contains(name)),
        }
    }

    /// The names asked for that were used since the last call.
    pub(crate) fn take_used(&self) -> Vec<Arc<str>> {
        let Hosts::OnDemand(hosts) = &self.hosts else { return Vec::new() };
        let used = hosts.by_name.values().filter(|slot| slot.used.swap(false, Relaxed));
        used.filter_map(|slot| Some(hosts.decided[slot.decided?].0.clone())).collect()
    }
}

impl OnDemand {
    fn of(routes: &RouteConfiguration, decided: Vec<Decided>) -> Self {
        let mut hosts: Vec<Arc<VirtualHost>> = routes.hosts.iter().cloned().map(Arc::new).collect();
        let own = hosts.len();
        let any = hosts.iter().position(|host| host.domains.iter().any(|domain| domain == "*"));
        let mut by_name = HashMap::new();
        for (number, host) in hosts.iter().enumerate() {
            for domain in exact(host) {
                by_name.entry(domain.to_owned()).or_insert(Slot::new(Some(number), None));
            }
        }
        for (place, (name, found)) in decided.iter().enumerate() {
            // Two authorities may have one host.
            let number = found.as_ref().map(|found| {
                let known = hosts[own..].iter().position(|host| host.name == found.name);
                known.map_or_else(
                    || {
                        hosts.push(found.clone());
                        hosts.len() - 1
                    },
                    |at| own + at,
                )
            });
            for domain in found.iter().flat_map(|host| exact(host)) {
                by_name.entry(domain.to_owned()).or_insert(Slot::new(number, Some(place)));
            }
            let authority = name.rsplit_once('/').map_or(&**name, |(_, authority)| authority);
            let slot = by_name.entry(authority.to_owned()).or_insert(Slot::new(number.or(any), Some(place)));
            // What stands in the table itself needs no asking.
            if slot.decided.is_some() {
                *slot = Slot::new(number.or(any), Some(place));
            }
        }
        Self { decided, hosts, any, by_name }
    }

    fn continue_use(&mut self, old: &Self) {
        for (name, slot) in &mut self.by_name {
            *slot.used.get_mut() = old.by_name.get(name).is_some_and(|old| old.used.load(Relaxed));
        }
    }

    fn find(&self, routes: &RouteConfiguration, authority: &str) -> Result<Option<&VirtualHost>, Miss> {
        let name = lower(host_name(routes, authority));
        let host = match self.by_name.get(&*name) {
            Some(slot) => {
                if !slot.used.load(Relaxed) {
                    slot.used.store(true, Relaxed);
                }
                slot.host
            }
            None if can_be_asked_for(&name) => return Err(Miss::Unknown(format!("{}/{name}", routes.name).into())),
            None => self.any,
        };
        Ok(host.map(|number| &*self.hosts[number]))
    }
}

impl Slot {
    fn new(host: Option<usize>, decided: Option<usize>) -> Self {
        Self { host, decided, used: AtomicBool::new(false) }
    }
}

fn exact(host: &VirtualHost) -> impl Iterator<Item = &str> {
    host.domains.iter().map(String::as_str).filter(|domain| !domain.contains('*'))
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|c| c.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() }
}

/// Names of resources are cut at their last slash, and a star stands for more than one host.
fn can_be_asked_for(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST && !name.contains(['/', '*'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Route;
    use model::route::{Action, Forward, PathMatch};

    fn host(name: &str, domains: &[&str]) -> VirtualHost {
        VirtualHost {
            name: name.into(),
            domains: domains.iter().map(|d| (*d).to_owned()).collect(),
            routes: vec![Route::new(PathMatch::Prefix("/".into()), Action::Forward(Box::new(Forward::to(name))))],
            ..VirtualHost::default()
        }
    }

    fn routes() -> Arc<RouteConfiguration> {
        let own = vec![host("any", &["*"]), host("own", &["own"])];
        Arc::new(RouteConfiguration { on_demand: true, ..RouteConfiguration::new("80", own) })
    }

    fn table() -> Table {
        let reviews = Arc::new(host("reviews", &["reviews", "reviews.default"]));
        let wild = Arc::new(host("wild", &["*.example.org"]));
        let decided: Vec<Decided> = vec![
            ("80/reviews".into(), Some(reviews.clone())),
            ("80/reviews.default".into(), Some(reviews)),
            ("80/a.example.org".into(), Some(wild)),
            ("80/elsewhere".into(), None),
        ];
        Table::on_demand(routes(), decided, None)
    }

    fn found(table: &Table, authority: &str) -> String {
        match table.find(&RequestView::get(authority, "/"), 0) {
            Ok(found) => found.host.name.to_string(),
            Err(Miss::NoRoute) => "none".to_owned(),
            Err(Miss::Unknown(name)) => format!("? {name}"),
        }
    }

    #[test]
    fn known_and_unknown() {
        let table = table();
        for (authority, expected) in [
            ("reviews", "reviews"),
            ("Reviews:9080", "reviews"),
            ("reviews.default", "reviews"),
            ("own", "own"),
            ("a.example.org", "wild"),
            // There may be a host of its own.
            ("b.example.org", "? 80/b.example.org"),
            ("elsewhere", "any"),
            ("Ratings:80", "? 80/ratings"),
            ("[::1]:80", "? 80/[::1]"),
            // Nobody can be asked for these.
            ("", "any"),
            ("a/b", "any"),
            ("*.example.org", "any"),
            (&"x".repeat(256), "any"),
        ] {
            assert_eq!(found(&table, authority), expected, "{authority}");
        }
        assert!(table.knows("reviews") && table.knows("elsewhere") && !table.knows("ratings"));
        assert_eq!(found(&Table::new(routes()), "ratings"), "any", "a table of all hosts asks nobody");
    }

    #[test]
    fn use_is_told_once_and_lives_on() {
        let first = table();
        for authority in ["reviews", "elsewhere", "own"] {
            found(&first, authority);
        }
        let second = Table::on_demand(routes(), vec![("80/reviews".into(), None)], Some(&first));
        assert_eq!(second.take_used(), ["80/reviews".into()]);
        assert_eq!(second.take_used(), []);
        let mut used = first.take_used();
        used.sort();
        assert_eq!(used, ["80/elsewhere".into(), "80/reviews".into()]);
    }

    #[test]
    fn the_same_again() {
        let table = table();
        let Hosts::OnDemand(hosts) = &table.hosts else { panic!("on demand") };
        assert!(table.is_of(&routes(), Some(&hosts.decided)));
        assert!(!table.is_of(&routes(), Some(&hosts.decided[1..])) && !table.is_of(&routes(), None));
    }
}
