//! Where endpoints are, seen from the client: priorities and weights of localities, as Istio's control plane computes them.

use std::collections::BTreeMap;

use api::istio::{LoadBalancerSettings, LocalityDistribute, LocalityFailover, LocalityLbSetting, ZoneAwareLbSetting};
use model::cluster::{Localities, ZoneRouting};
use model::{Endpoint, Locality, LocalityEndpoints};

use crate::node::Node;
use crate::settings::MeshSettings;

/// The label of a workload's region.
const REGION: &str = "topology.kubernetes.io/region";
/// The label of its zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// The label of its rack or the like.
const SUB_ZONE: &str = "topology.istio.io/subzone";
/// The label of its network. As the first one asked for it does not end the comparison of the others.
const NETWORK: &str = "topology.istio.io/network";
/// The label of the machine that it runs on.
pub(crate) const HOST_NAME: &str = "kubernetes.io/hostname";
/// The label by which a workload says where it runs in one word, with dots for slashes; it counts before the others.
const IN_ONE: &str = "istio-locality";

type Labels = BTreeMap<String, String>;

/// Where something runs: as it was told, else as its labels say.
pub fn locality_of(told: Locality, labels: &Labels) -> Locality {
    if told != Locality::default() {
        return told;
    }
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    match labels.get(IN_ONE) {
        Some(word) if !word.is_empty() => read(&word.replace('.', "/")),
        _ => Locality { region: label(REGION), zone: label(ZONE), sub_zone: label(SUB_ZONE) },
    }
}

/// Reads `region/zone/subzone`, or its first parts.
pub fn read(text: &str) -> Locality {
    let mut parts = text.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Locality { region: next(), zone: next(), sub_zone: next() }
}

/// Where requests to a service prefer to go, as the service says (`trafficDistribution`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distribution {
    /// Anywhere.
    #[default]
    Any,
    /// Within the zone, then the region.
    SameZone,
    /// On the machine, then within the subzone, the zone, the region.
    SameNode,
}

impl Distribution {
    /// By the field, which counts first, or the annotation, whose case is not looked at.
    pub fn read(field: &str, annotations: &Labels) -> Self {
        match field {
            "PreferSameZone" | "PreferClose" => return Self::SameZone,
            "PreferSameNode" => return Self::SameNode,
            _ => {}
        }
        let annotation = annotations.get("networking.istio.io/traffic-distribution");
        match annotation.map(|text| text.to_ascii_lowercase()).as_deref() {
            Some("preferclose" | "prefersamezone") => Self::SameZone,
            Some("prefersamenode") => Self::SameNode,
            _ => Self::Any,
        }
    }

    /// The labels by which workloads are near, the most important first.
    pub(crate) fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Any => &[],
            Self::SameZone => &[NETWORK, REGION, ZONE],
            Self::SameNode => &[NETWORK, REGION, ZONE, SUB_ZONE, HOST_NAME],
        }
    }
}

/// What localities have to do with one cluster.
#[derive(Debug, Clone, PartialEq)]
pub enum Near {
    /// Nothing.
    Alike,
    /// They have shares, by where the client is.
    Distribute(Vec<LocalityDistribute>),
    /// Those nearer to the client come first, the others when these fail.
    Failover {
        /// Which region takes over for which.
        to: Vec<LocalityFailover>,
        /// Labels by whose equality workloads are near, in place of the locality; the most important first.
        labels: Vec<String>,
    },
    /// The client's region comes first, whether or not anything tells that an endpoint fails; within it the client's zone.
    Region {
        /// As for [`Near::Failover`].
        to: Vec<LocalityFailover>,
        /// Labels that count before the region.
        labels: Vec<String>,
        /// How the zone comes first.
        zones: ZoneRouting,
    },
}

/// An endpoint on its way into a set.
pub struct Placed<'a> {
    /// Where it is.
    pub locality: &'a Locality,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its labels.
    pub labels: &'a Labels,
}

/// Endpoints of one locality and priority.
struct Group<'a> {
    locality: Locality,
    priority: u32,
    /// The weights of its endpoints, or what the rule makes of them.
    weight: u32,
    members: Vec<Placed<'a>>,
}

impl Near {
    /// What holds by the rule, else by the service, else for the mesh, where localities count as soon as outlier detection
    /// tells that an endpoint fails. A service that says where its requests go needs none.
    pub fn of(
        balancer: Option<&LoadBalancerSettings>,
        service: Distribution,
        has_outlier_detection: bool,
        mesh: Option<&MeshSettings>,
    ) -> Self {
        let by_rule = |setting: &LocalityLbSetting| match () {
            _ if setting.enabled == Some(false) => Self::Alike,
            _ if !setting.distribute.is_empty() => Self::Distribute(setting.distribute.clone()),
            _ if has_outlier_detection => {
                Self::Failover { to: setting.failover.clone(), labels: setting.failover_priority.clone() }
            }
            _ => Self::Alike,
        };
        let by_zone = |zones: &ZoneAwareLbSetting| match zones.enabled {
            Some(false) => Self::Alike,
            _ => {
                let default = ZoneRouting::default();
                let min_cluster_size = zones.min_cluster_size.unwrap_or(default.min_cluster_size);
                let (to, labels) = (zones.failover.clone(), zones.failover_priority.clone());
                Self::Region { to, labels, zones: ZoneRouting { min_cluster_size, ..default } }
            }
        };
        if let Some(zones) = balancer.and_then(|b| b.zone_aware_lb_setting.as_ref()) {
            return by_zone(zones);
        }
        match (balancer.and_then(|b| b.locality_lb_setting.as_ref()), service.labels()) {
            (Some(setting), _) => by_rule(setting),
            (None, []) if mesh.is_some_and(|mesh| mesh.zones.is_some() || mesh.localities.is_some()) => {
                let zones = mesh.and_then(|mesh| mesh.zones.as_ref()).map(by_zone);
                let localities = mesh.and_then(|mesh| mesh.localities.as_ref()).map(by_rule);
                zones.or(localities).unwrap_or(Self::Alike)
            }
            (None, []) if has_outlier_detection => Self::Failover { to: Vec::new(), labels: Vec::new() },
            (None, []) => Self::Alike,
            (None, labels) => {
                Self::Failover { to: Vec::new(), labels: labels.iter().map(|label| (*label).to_owned()).collect() }
            }
        }
    }

    /// What localities have to do with a choice. They have shares as soon as a rule says anything of them: Istio's rule.
    pub fn localities(&self) -> Localities {
        match self {
            Self::Distribute(_) => Localities::Weighted,
            Self::Failover { to, labels } if !to.is_empty() || !labels.is_empty() => Localities::Weighted,
            Self::Region { zones, .. } => Localities::Zones(*zones),
            Self::Failover { .. } | Self::Alike => Localities::Alike,
        }
    }

    /// The endpoints by locality and priority, for a client.
    pub fn arrange<'a>(&self, members: impl Iterator<Item = Placed<'a>>, client: &Node) -> Vec<LocalityEndpoints> {
        let mut groups = by_locality(members);
        match self {
            Self::Alike => {}
            Self::Distribute(rules) => distribute(rules, &mut groups, &client.locality),
            Self::Failover { to, labels } => {
                groups = by_labels(groups, labels, client);
                if labels.is_empty() || !to.is_empty() {
                    groups.iter_mut().for_each(|group| group.by_distance(to, &client.locality));
                }
                close_gaps(&mut groups);
            }
            Self::Region { to, labels, .. } => {
                groups = by_labels(groups, labels, client);
                groups.iter_mut().for_each(|group| group.by_region(to, &client.locality));
                close_gaps(&mut groups);
            }
        }
        let is_weighted = self.localities() == Localities::Weighted;
        groups.into_iter().map(|group| group.finish(is_weighted)).collect()
    }
}

impl Group<'_> {
    /// How far away it is, behind what was found before: 0 for the same subzone, 1 for the zone, 2 for the region, 3 for
    /// others, and 4 for others where a rule names another one.
    fn by_distance(&mut self, failover: &[LocalityFailover], client: &Locality) {
        let here = &self.locality;
        let distance = match () {
            _ if client.region != here.region => match failover.iter().find(|rule| rule.from == client.region) {
                Some(rule) if rule.to != here.region => 4,
                _ => 3,
            },
            _ if client.zone != here.zone => 2,
            _ if client.sub_zone != here.sub_zone => 1,
            _ => 0,
        };
        self.priority = self.priority * 5 + distance;
    }

    /// The same with only the region looked at: 0 for the client's, 1 for the one that a rule names, 2 for others.
    fn by_region(&mut self, failover: &[LocalityFailover], client: &Locality) {
        let to = failover.iter().find(|rule| rule.from == client.region).map(|rule| &rule.to);
        let distance = match () {
            _ if self.locality.region == client.region => 0,
            _ if to == Some(&self.locality.region) => 1,
            _ => 2,
        };
        self.priority = self.priority * 3 + distance;
    }

    fn finish(self, is_weighted: bool) -> LocalityEndpoints {
        LocalityEndpoints {
            locality: self.locality,
            priority: self.priority,
            weight: is_weighted.then_some(self.weight),
            endpoints: self.members.into_iter().map(|member| member.endpoint).collect(),
        }
    }
}

fn by_locality<'a>(members: impl Iterator<Item = Placed<'a>>) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<&Locality, Vec<Placed<'a>>> = BTreeMap::new();
    for member in members {
        groups.entry(member.locality).or_default().push(member);
    }
    groups.into_iter().map(|(locality, members)| group(locality.clone(), 0, members)).collect()
}

fn group(locality: Locality, priority: u32, members: Vec<Placed<'_>>) -> Group<'_> {
    let weight = members.iter().map(|member| member.endpoint.weight).fold(0, u32::saturating_add);
    Group { locality, priority, weight, members }
}

/// The first rule for the client's locality gives each of the localities that it names a share, which theirs below divide
/// by their weights; others get nothing. Without such a rule each has the share of its endpoints.
fn distribute(rules: &[LocalityDistribute], groups: &mut Vec<Group<'_>>, client: &Locality) {
    let Some(rule) = rules.iter().find(|rule| covers(&rule.from, client)) else { return };
    let mut rest: Vec<Group<'_>> = std::mem::take(groups);
    // Where two of them overlap, the narrower one comes first.
    let said = |place: &str| place.split('/').filter(|part| *part != "*").count();
    let mut shares: Vec<(&String, &u32)> = rule.to.iter().collect();
    shares.sort_by_key(|(place, _)| std::cmp::Reverse(said(place)));
    for (place, share) in shares {
        let (meant, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|group| covers(place, &group.locality));
        rest = others;
        let total: f64 = meant.iter().map(|group| f64::from(group.weight)).sum();
        groups.extend(meant.into_iter().map(|group| {
            let part = f64::from(group.weight) * f64::from(*share) / total;
            Group { weight: part.ceil() as u32, ..group }
        }));
    }
    groups.sort_by(|a, b| a.locality.cmp(&b.locality));
}

/// Is a locality meant by `region/zone/subzone`, where `*` and what is left out stand for anything?
fn covers(pattern: &str, locality: &Locality) -> bool {
    let Locality { region, zone, sub_zone } = read(pattern);
    let fits = |wanted: &str, is: &str| wanted == "*" || wanted == is;
    fits(&region, &locality.region)
        && (zone.is_empty() || fits(&zone, &locality.zone))
        && (sub_zone.is_empty() || fits(&sub_zone, &locality.sub_zone))
}

/// Divides localities by how many of the labels agree with the client's, counted from the first. Without labels they stay
/// as they are.
fn by_labels<'a>(groups: Vec<Group<'a>>, labels: &[String], client: &Node) -> Vec<Group<'a>> {
    if labels.is_empty() {
        return groups;
    }
    groups.into_iter().flat_map(|group| divided(group, labels, client)).collect()
}

/// A label may bring the value that it is compared with (`key=value`).
fn divided<'a>(whole: Group<'a>, labels: &[String], client: &Node) -> Vec<Group<'a>> {
    let count = labels.len() as u32;
    let mut by_priority: BTreeMap<u32, Vec<Placed<'a>>> = BTreeMap::new();
    for member in whole.members {
        let differs = |asked: &String| {
            let (name, given) = asked.split_once('=').map_or((&**asked, None), |(name, value)| (name, Some(value)));
            let wanted = given.unwrap_or_else(|| label(&client.labels, &client.locality, name));
            wanted != label(member.labels, member.locality, name)
        };
        // Another network puts it behind all others, among which the labels after it decide.
        let elsewhere = labels.first().is_some_and(|first| first == NETWORK && differs(first));
        let first_other = labels.iter().enumerate().skip(usize::from(elsewhere)).find(|(_, label)| differs(label));
        let behind = first_other.map_or(0, |(at, _)| count - at as u32);
        by_priority.entry(behind + if elsewhere { count } else { 0 }).or_default().push(member);
    }
    by_priority.into_iter().map(|(priority, members)| group(whole.locality.clone(), priority, members)).collect()
}

/// The value of a label; those of the locality come from there.
fn label<'a>(labels: &'a Labels, locality: &'a Locality, name: &str) -> &'a str {
    let of_locality = match name {
        REGION => locality.region.as_str(),
        ZONE => locality.zone.as_str(),
        SUB_ZONE => locality.sub_zone.as_str(),
        _ => "",
    };
    if of_locality.is_empty() { labels.get(name).map_or("", String::as_str) } else { of_locality }
}

/// Priorities begin with 0 and leave none out.
fn close_gaps(groups: &mut [Group<'_>]) {
    let mut priorities: Vec<u32> = groups.iter().map(|group| group.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    for group in groups {
        group.priority = priorities.partition_point(|priority| *priority < group.priority) as u32;
    }
}
