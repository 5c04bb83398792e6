//! Databases of MaxMind's format (version 2.0, <https://maxmind.github.io/MaxMind-DB/>) with a few places in them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The country's code.
    pub country: &'static str,
    /// The region's code.
    pub region: &'static str,
    /// The city's English name.
    pub city: &'static str,
}

/// A database of cities: blocks of IPv4 addresses such as `10.1.0.0/16`, and where they are.
///
/// # Panics
/// A block cannot be read, or lies within another one.
pub fn database(blocks: &[(&str, Place)]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut places = BTreeMap::new();
    let mut tree = Tree::default();
    for (block, place) in blocks {
        let at = *places.entry(*place).or_insert_with(|| {
            let at = data.len();
            write_place(&mut data, place);
            at
        });
        let (address, length) = block.split_once('/').expect("address/length");
        let bits = u32::from(address.parse::<Ipv4Addr>().expect("an IPv4 address"));
        tree.insert(bits, length.parse().expect("a length"), at);
    }
    let mut file = tree.write();
    file.extend([0; 16]);
    file.extend(&data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    write_metadata(&mut file, tree.nodes.len());
    file
}

#[derive(Debug, Clone, Copy)]
enum Record {
    Nothing,
    Node(usize),
    Data(usize),
}

/// The search tree over 32 bits.
#[derive(Debug)]
struct Tree {
    nodes: Vec<[Record; 2]>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![[Record::Nothing; 2]] }
    }
}

impl Tree {
    fn insert(&mut self, bits: u32, length: u32, data: usize) {
        let mut node = 0;
        for depth in 0..length {
            let side = (bits >> (31 - depth) & 1) as usize;
            if depth + 1 == length {
                self.nodes[node][side] = Record::Data(data);
                return;
            }
            node = match self.nodes[node][side] {
                Record::Node(next) => next,
                Record::Nothing => {
                    let next = self.nodes.len();
                    self.nodes.push([Record::Nothing; 2]);
                    self.nodes[node][side] = Record::Node(next);
                    next
                }
                Record::Data(_) => panic!("a block lies within another one"),
            };
        }
    }

    /// Records of 32 bits: another node, nothing, or a place in the data behind 16 bytes of separator.
    fn write(&self) -> Vec<u8> {
        let count = self.nodes.len();
        let value = |record: &Record| match record {
            Record::Nothing => count,
            Record::Node(node) => *node,
            Record::Data(at) => count + 16 + at,
        };
        self.nodes.iter().flatten().flat_map(|record| (value(record) as u32).to_be_bytes()).collect()
    }
}

fn write_place(data: &mut Vec<u8>, place: &Place) {
    map(data, 3);
    text(data, "city");
    named(data, place.city);
    text(data, "country");
    coded(data, place.country);
    text(data, "subdivisions");
    // An array of one: an extended type.
    data.extend([1, 11 - 7]);
    coded(data, place.region);
}

fn named(data: &mut Vec<u8>, name: &str) {
    map(data, 1);
    text(data, "names");
    map(data, 1);
    text(data, "en");
    text(data, name);
}

fn coded(data: &mut Vec<u8>, code: &str) {
    map(data, 1);
    text(data, "iso_code");
    text(data, code);
}

fn write_metadata(file: &mut Vec<u8>, nodes: usize) {
    map(file, 9);
    text(file, "node_count");
    number(file, 6, nodes as u64, 4);
    text(file, "record_size");
    number(file, 5, 32, 2);
    text(file, "ip_version");
    number(file, 5, 4, 2);
    text(file, "database_type");
    text(file, "Test-City");
    text(file, "languages");
    file.extend([1, 11 - 7]);
    text(file, "en");
    text(file, "binary_format_major_version");
    number(file, 5, 2, 2);
    text(file, "binary_format_minor_version");
    number(file, 5, 0, 2);
    text(file, "build_epoch");
    // An unsigned number of 64 bits: an extended type.
    file.extend([8, 9 - 7]);
    file.extend(1_700_000_000_u64.to_be_bytes());
    text(file, "description");
    map(file, 1);
    text(file, "en");
    text(file, "places for tests");
}

fn map(data: &mut Vec<u8>, entries: u8) {
    data.push(7 << 5 | entries);
}

/// Texts are short: below 285 bytes.
fn text(data: &mut Vec<u8>, value: &str) {
    match value.len() {
        short @ ..29 => data.push(2 << 5 | short as u8),
        long => data.extend([2 << 5 | 29, u8::try_from(long - 29).expect("a short text")]),
    }
    data.extend(value.as_bytes());
}

fn number(data: &mut Vec<u8>, kind: u8, value: u64, bytes: usize) {
    data.push(kind << 5 | bytes as u8);
    data.extend(&value.to_be_bytes()[8 - bytes..]);
}
