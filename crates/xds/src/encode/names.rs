//! The name table (Istio's NDS).

use model::NameTable;
use prost::Message;
use proto::google::protobuf::Any;

use super::ordered;
use crate::resource::NAME_TABLE_URL;

/// The name table.
pub fn names(table: &NameTable) -> Any {
    let entry = |(name, ips): (&String, &Vec<std::net::IpAddr>)| {
        (name.clone(), ordered::NameInfo { ips: ips.iter().map(ToString::to_string).collect() })
    };
    let limit = table.limit.as_ref();
    let limit =
        limit.map(|limit| ordered::NameLimit { names: limit.names.clone(), policies: limit.policies.to_string() });
    let wire = ordered::NameTable { table: table.names.iter().map(entry).collect(), limit };
    Any { type_url: NAME_TABLE_URL.to_owned(), value: wire.encode_to_vec() }
}
