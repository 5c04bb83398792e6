//! From a hash to an endpoint: the ring and Maglev's table, made as Envoy makes them, so that both choose the same.

use model::Address;
use model::cluster::Balancing;
use xxhash_rust::xxh64::xxh64;

/// An endpoint that a table of hashes knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its place in the table of endpoints.
    pub at: u32,
    /// What its places are made of.
    pub key: String,
    /// Its part of the whole, which is 1.
    pub weight: f64,
}

/// A table of hashes. Immutable.
#[derive(Debug, Clone, PartialEq)]
pub enum HashTable {
    /// Places on a ring; a hash belongs to the next one.
    Ring {
        /// Where the places are, in rising order.
        hashes: Box<[u64]>,
        /// Who has them.
        members: Box<[u32]>,
    },
    /// As many places as a prime number says; a hash belongs to the one of its remainder.
    Maglev {
        /// Who has them.
        members: Box<[u32]>,
    },
}

/// What the places of an endpoint are made of: its address.
pub fn key(address: &Address) -> String {
    match address {
        Address::Socket { addr, .. } => addr.to_string(),
        Address::Host { host, port } => format!("{host}:{port}"),
        Address::Pipe { path, .. } => path.to_string_lossy().into_owned(),
    }
}

impl HashTable {
    /// The table that a policy asks for; none for policies that do not hash.
    pub fn new(balancing: &Balancing, members: Vec<Member>) -> Option<Self> {
        match balancing {
            Balancing::RingHash { min_size, max_size } => Some(ring(&members, *min_size, *max_size)),
            Balancing::Maglev { table_size } => Some(maglev(members, *table_size)),
            _ => None,
        }
    }

    /// The endpoint for a hash. Further attempts give others: on a ring the next ones, in a table those of other hashes.
    pub fn pick(&self, hash: u64, attempt: u32) -> Option<u32> {
        match self {
            Self::Ring { hashes, members } => {
                let place = hashes.partition_point(|place| *place < hash) + attempt as usize;
                members.get(place.checked_rem(hashes.len())?).copied()
            }
            Self::Maglev { members } => {
                let hash = if attempt == 0 { hash } else { hash ^ u64::MAX.wrapping_sub(u64::from(attempt) - 1) };
                members.get(hash.checked_rem(members.len() as u64)? as usize).copied()
            }
        }
    }
}

/// Each member gets places by its weight, the lightest a whole number of them, so many that there are `min_size` in all
/// or more, unless that would be over `max_size`.
fn ring(members: &[Member], min_size: u64, max_size: u64) -> HashTable {
    let least = members.iter().map(|member| member.weight).fold(1.0, f64::min);
    let scale = ((least * min_size as f64).ceil() / least).min(max_size as f64);
    let mut places = Vec::with_capacity(if members.is_empty() { 0 } else { scale.ceil() as usize });
    let (mut made, mut target) = (0.0, 0.0);
    let mut text = String::new();
    for member in members {
        target += scale * member.weight;
        let mut number = 0u64;
        while made < target {
            text.clear();
            text.push_str(&member.key);
            text.push('_');
            text.push_str(&number.to_string());
            places.push((xxh64(text.as_bytes(), 0), member.at));
            number += 1;
            made += 1.0;
        }
    }
    places.sort_by_key(|(hash, _)| *hash);
    let (hashes, members): (Vec<u64>, Vec<u32>) = places.into_iter().unzip();
    HashTable::Ring { hashes: hashes.into(), members: members.into() }
}

/// A member of a Maglev table while that is made.
struct Turn {
    at: u32,
    weight: f64,
    /// Its next place is due when the rounds so far have brought it this weight.
    due: f64,
    next: u64,
    skip: u64,
}

/// Members take turns, those with less weight in fewer of the rounds; each takes the next free place of its own row.
fn maglev(mut members: Vec<Member>, size: u64) -> HashTable {
    members.sort_by(|a, b| a.key.cmp(&b.key));
    let heaviest = members.iter().map(|member| member.weight).fold(0.0, f64::max);
    let turn = |member: &Member| Turn {
        at: member.at,
        weight: member.weight,
        due: 0.0,
        next: xxh64(member.key.as_bytes(), 0) % size,
        skip: xxh64(member.key.as_bytes(), 1) % (size - 1) + 1,
    };
    let mut turns: Vec<Turn> = members.iter().map(turn).collect();
    const FREE: u32 = u32::MAX;
    let mut table = vec![FREE; if turns.is_empty() { 0 } else { size as usize }];
    let (mut free, mut round) = (table.len(), 0.0);
    while free > 0 {
        round += 1.0;
        for turn in &mut turns {
            if free == 0 {
                break;
            }
            if round * turn.weight < turn.due {
                continue;
            }
            turn.due += heaviest;
            while table[turn.next as usize] != FREE {
                turn.next = (turn.next + turn.skip) % size;
            }
            table[turn.next as usize] = turn.at;
            turn.next = (turn.next + turn.skip) % size;
            free -= 1;
        }
    }
    HashTable::Maglev { members: table.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(weights: &[(u16, f64)]) -> Vec<Member> {
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let member = |(port, weight): &(u16, f64)| Member {
            at: u32::from(*port),
            key: format!("127.0.0.1:{port}"),
            weight: weight / total,
        };
        weights.iter().map(member).collect()
    }

    fn six() -> Vec<Member> {
        members(&[(90, 1.0), (91, 1.0), (92, 1.0), (93, 1.0), (94, 1.0), (95, 1.0)])
    }

    #[test]
    fn the_ring_of_envoys_tests() {
        let ring = HashTable::new(&Balancing::RingHash { min_size: 12, max_size: 1 << 23 }, six()).unwrap();
        let HashTable::Ring { hashes, members } = &ring else { panic!("{ring:?}") };
        assert_eq!(**members, [94, 92, 90, 95, 93, 91, 91, 93, 95, 92, 94, 90]);
        assert_eq!((hashes[0], hashes[11]), (833_437_586_790_550_860, 16_117_243_373_044_804_889));
        for (hash, attempt, expected) in [
            (0, 0, 94),
            (u64::MAX, 0, 94),
            (3_551_244_743_356_806_947, 0, 95),
            (3_551_244_743_356_806_948, 0, 93),
            (0, 1, 92),
            (u64::MAX, 1, 92),
            (3_551_244_743_356_806_947, 2, 91),
            (16_117_243_373_044_804_889, 1, 94),
        ] {
            assert_eq!(ring.pick(hash, attempt), Some(expected), "{hash} {attempt}");
        }
    }

    #[test]
    fn places_by_weight() {
        for (min_size, max_size, expected) in
            [(1, 1 << 23, [1, 2, 4]), (12, 1 << 23, [2, 4, 8]), (1 << 20, 7, [1, 2, 4])]
        {
            let policy = Balancing::RingHash { min_size, max_size };
            let ring = HashTable::new(&policy, members(&[(1, 1.0), (2, 2.0), (3, 4.0)])).unwrap();
            let HashTable::Ring { members, .. } = &ring else { panic!("{ring:?}") };
            let places = |of: u32| members.iter().filter(|at| **at == of).count();
            assert_eq!([places(1), places(2), places(3)], expected, "{min_size} {max_size}");
        }
    }

    #[test]
    fn the_tables_of_envoys_tests() {
        let table = HashTable::new(&Balancing::Maglev { table_size: 7 }, six()).unwrap();
        let picked: Vec<_> = (0..7).filter_map(|hash| table.pick(hash, 0)).collect();
        assert_eq!(picked, [92, 94, 90, 91, 95, 90, 93]);
        // !0 % 7 is 1, and (1 ^ !0) % 7 is 0.
        assert_eq!((table.pick(0, 1), table.pick(1, 1)), (Some(94), Some(92)));
        let weighted = HashTable::new(&Balancing::Maglev { table_size: 17 }, members(&[(91, 2.0), (90, 1.0)])).unwrap();
        let picked: Vec<_> = (0..17).filter_map(|hash| weighted.pick(hash, 0)).collect();
        assert_eq!(picked, [91, 90, 90, 91, 90, 91, 91, 90, 91, 91, 91, 91, 91, 90, 91, 90, 91]);
    }

    #[test]
    fn nobody() {
        for policy in
            [Balancing::RingHash { min_size: 1024, max_size: 1 << 23 }, Balancing::Maglev { table_size: 65537 }]
        {
            let table = HashTable::new(&policy, Vec::new()).unwrap();
            assert_eq!((table.pick(3, 0), table.pick(3, 2)), (None, None), "{policy:?}");
        }
        assert_eq!(HashTable::new(&Balancing::Random, six()), None);
    }
}
