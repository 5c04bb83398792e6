//! Balancing by a hash: the ring and Maglev's table, in both of the forms in which xDS says it.

use model::cluster::{Balancing, Localities};
use proto::envoy::config::cluster::v3::cluster::ring_hash_lb_config::HashFunction;
use proto::envoy::config::cluster::v3::cluster::{LbConfig, MaglevLbConfig, RingHashLbConfig};
use proto::envoy::extensions::load_balancing_policies::common::v3::ConsistentHashingLbConfig;
use proto::envoy::extensions::load_balancing_policies::maglev::v3::Maglev;
use proto::envoy::extensions::load_balancing_policies::ring_hash::v3::{RingHash, ring_hash};
use proto::google::protobuf::{Any, UInt64Value};

use crate::decode::{At, Decoded, take, unpack};

/// Envoy's least size of a ring, and the largest that it allows.
const RING: (u64, u64) = (1024, 8 * 1024 * 1024);
/// Envoy's size of a Maglev table, and the largest that it allows.
const TABLE: (u64, u64) = (65_537, 5_000_011);

/// A ring, by the older form.
pub(super) fn ring(config: Option<LbConfig>, at: &At<'_>) -> Decoded<Balancing> {
    let Some(LbConfig::RingHashLbConfig(config)) = config else { return sizes(None, None, at) };
    let at = at.field("ring_hash_lb_config");
    take!(config, at, RingHashLbConfig {
        used { minimum_ring_size, hash_function, maximum_ring_size }
        harmless {}
        refused {}
    });
    if hash_function != HashFunction::XxHash as i32 {
        return Err(at.field("hash_function").unsupported("XX_HASH"));
    }
    sizes(minimum_ring_size, maximum_ring_size, &at)
}

/// A Maglev table, by the older form.
pub(super) fn maglev(config: Option<LbConfig>, at: &At<'_>) -> Decoded<Balancing> {
    let Some(LbConfig::MaglevLbConfig(config)) = config else { return table(None, at) };
    let at = at.field("maglev_lb_config");
    take!(config, at, MaglevLbConfig {
        used { table_size }
        harmless {}
        refused {}
    });
    table(table_size, &at)
}

/// A ring, as a typed policy.
pub(super) fn typed_ring(any: &Any, at: &At<'_>) -> Decoded<(Balancing, Localities)> {
    take!(unpack::<RingHash>(any, at)?, at, RingHash {
        used {
            hash_function, minimum_ring_size, maximum_ring_size, consistent_hashing_lb_config,
            locality_weighted_lb_config,
        }
        harmless {}
        refused { use_hostname_for_hashing, hash_balance_factor }
    });
    if hash_function == ring_hash::HashFunction::MurmurHash2 as i32 {
        return Err(at.field("hash_function").unsupported("XX_HASH"));
    }
    common(consistent_hashing_lb_config, &at.field("consistent_hashing_lb_config"))?;
    Ok((sizes(minimum_ring_size, maximum_ring_size, at)?, weighted(locality_weighted_lb_config.is_some())))
}

/// A Maglev table, as a typed policy.
pub(super) fn typed_maglev(any: &Any, at: &At<'_>) -> Decoded<(Balancing, Localities)> {
    take!(unpack::<Maglev>(any, at)?, at, Maglev {
        used { table_size, consistent_hashing_lb_config, locality_weighted_lb_config }
        harmless {}
        refused {}
    });
    common(consistent_hashing_lb_config, &at.field("consistent_hashing_lb_config"))?;
    Ok((table(table_size, at)?, weighted(locality_weighted_lb_config.is_some())))
}

fn weighted(are: bool) -> Localities {
    if are { Localities::Weighted } else { Localities::Alike }
}

fn common(value: Option<ConsistentHashingLbConfig>, at: &At<'_>) -> Decoded<()> {
    take!(value.unwrap_or_default(), at, ConsistentHashingLbConfig {
        used {}
        harmless {}
        refused { use_hostname_for_hashing, hash_balance_factor, hash_policy }
    });
    Ok(())
}

fn sizes(min: Option<UInt64Value>, max: Option<UInt64Value>, at: &At<'_>) -> Decoded<Balancing> {
    let (at_min, at_max) = (at.field("minimum_ring_size"), at.field("maximum_ring_size"));
    let min_size = min.map_or(RING.0, |size| size.value);
    let max_size = max.map_or(RING.1, |size| size.value);
    if min_size == 0 || min_size > RING.1 {
        return Err(at_min.error(format!("is {min_size}"), format!("1 to {}", RING.1)));
    }
    if max_size < min_size || max_size > RING.1 {
        let expected = format!("{min_size}, which is the least size, to {}", RING.1);
        return Err(at_max.error(format!("is {max_size}"), expected));
    }
    Ok(Balancing::RingHash { min_size, max_size })
}

fn table(size: Option<UInt64Value>, at: &At<'_>) -> Decoded<Balancing> {
    let table_size = size.map_or(TABLE.0, |size| size.value);
    if table_size > TABLE.1 || !is_prime(table_size) {
        let expected = format!("a prime number up to {}", TABLE.1);
        return Err(at.field("table_size").error(format!("is {table_size}"), expected));
    }
    Ok(Balancing::Maglev { table_size })
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}
