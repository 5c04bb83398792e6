//! Localities of one priority that have shares of its load: by their weights (Envoy's locality-weighted balancing), or by how
//! near they are (see `zones`).

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Locality;
use model::endpoint::{Health, Spread};

use crate::balance::{Group, scale};
use crate::endpoint::Endpoint;
use crate::hashing::{Member, key};
use crate::table::Growth;

/// The weights of the localities of one priority; one that is missing has none.
pub(crate) type Weights = BTreeMap<Arc<Locality>, u32>;

/// The localities of one priority and tier.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Running sums of their effective weights.
    sums: Box<[u64]>,
    groups: Box<[Group]>,
}

/// A locality's endpoints, with their places in the table.
type ByLocality<'a> = BTreeMap<&'a Arc<Locality>, Vec<(u32, &'a Arc<Endpoint>)>>;

/// Effective weights are kept as whole numbers of this part of a weight.
const FINE: f64 = (1 << 20) as f64;

impl Parts {
    /// The localities among the endpoints of a priority. Each counts by its weight while its share of endpoints of this
    /// health, times the factor of overprovisioning, reaches the whole, and by less below.
    pub fn weighted<'a>(
        endpoints: impl Iterator<Item = (u32, &'a Arc<Endpoint>)>,
        weights: &Weights,
        spread: Spread,
        health: Health,
        growth: &Growth<'_>,
    ) -> Self {
        Self::of(endpoints, health, growth, |locality, part| {
            let available = (f64::from(spread.overprovisioning) / 100.0 * part).min(1.0);
            let weight = f64::from(weights.get(locality).copied().unwrap_or(0)) * available;
            (weight * FINE).round() as u64
        })
    }

    /// The localities among the endpoints of a priority, each with a share.
    pub fn shared<'a>(
        endpoints: impl Iterator<Item = (u32, &'a Arc<Endpoint>)>,
        shares: &BTreeMap<&Locality, u64>,
        health: Health,
        growth: &Growth<'_>,
    ) -> Self {
        Self::of(endpoints, health, growth, |locality, part| match part {
            0.0 => 0,
            _ => shares.get(&**locality).copied().unwrap_or(0),
        })
    }

    /// `weight` is given each locality, and which part of its endpoints have this health.
    fn of<'a>(
        endpoints: impl Iterator<Item = (u32, &'a Arc<Endpoint>)>,
        health: Health,
        growth: &Growth<'_>,
        weight: impl Fn(&Arc<Locality>, f64) -> u64,
    ) -> Self {
        let (mut sums, mut groups, mut sum) = (Vec::new(), Vec::new(), 0);
        for (locality, members) in by_locality(endpoints) {
            let fit = || members.iter().filter(|(_, endpoint)| endpoint.health() == health);
            let weight = weight(locality, fit().count() as f64 / members.len() as f64);
            if weight > 0 {
                sum += weight;
                sums.push(sum);
                groups.push(Group::new(fit().map(|(at, endpoint)| (*at, growth.of(endpoint)))));
            }
        }
        Self { sums: sums.into(), groups: groups.into() }
    }

    /// The endpoints of a locality, by an even draw; none if no locality has a share.
    pub fn pick(&self, draw: u64) -> Option<&Group> {
        let point = scale(draw, *self.sums.last()?);
        self.groups.get(self.sums.partition_point(|sum| *sum <= point))
    }
}

/// The members of a table of hashes: endpoints by their weight, within localities by theirs if those have any.
pub(crate) fn hash_members<'a>(
    endpoints: impl Iterator<Item = (u32, &'a Arc<Endpoint>)>,
    weights: Option<&Weights>,
    takes: impl Fn(&Endpoint) -> bool,
) -> Vec<Member> {
    let Some(weights) = weights else {
        return normalized(endpoints.filter(|(_, endpoint)| takes(endpoint)).collect(), 1.0);
    };
    let groups = by_locality(endpoints);
    let weight = |locality: &Arc<Locality>| f64::from(weights.get(locality).copied().unwrap_or(0));
    // Localities without an endpoint that takes anything count too: Envoy's rule.
    let total: f64 = groups.keys().map(|locality| weight(locality)).sum();
    let with_share = groups.into_iter().filter(|(locality, _)| weight(locality) > 0.0);
    let members = with_share.flat_map(|(locality, mut members)| {
        members.retain(|(_, endpoint)| takes(endpoint));
        normalized(members, weight(locality) / total)
    });
    members.collect()
}

fn normalized(members: Vec<(u32, &Arc<Endpoint>)>, share: f64) -> Vec<Member> {
    let weight = |endpoint: &Endpoint| f64::from(endpoint.weight().max(1));
    let total: f64 = members.iter().map(|(_, endpoint)| weight(endpoint)).sum();
    let member = |(at, endpoint): (u32, &Arc<Endpoint>)| Member {
        at,
        key: key(endpoint.address()),
        weight: weight(endpoint) * share / total,
    };
    members.into_iter().map(member).collect()
}

fn by_locality<'a>(endpoints: impl Iterator<Item = (u32, &'a Arc<Endpoint>)>) -> ByLocality<'a> {
    let mut groups = ByLocality::new();
    for (at, endpoint) in endpoints {
        groups.entry(endpoint.place()).or_default().push((at, endpoint));
    }
    groups
}
