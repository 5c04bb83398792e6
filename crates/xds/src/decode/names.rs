//! The name table (Istio's NDS).

use std::net::IpAddr;

use model::{NameLimit, NameTable, ResourceKind};
use proto::google::protobuf::Any;
use proto::istio::networking::nds::v1 as wire;

use super::{At, DecodeError, each, open};

/// The name table.
pub fn names(any: &Any) -> Result<NameTable, DecodeError> {
    let value: wire::NameTable = open(ResourceKind::Names, any)?;
    let resource = At::resource(NameTable::RESOURCE);
    let table = resource.field("table");
    let entry = |(name, entry): (String, wire::name_table::NameInfo)| {
        let at = table.key(&name);
        let ips = each(entry.ips, &at.field("ips"), |ip, at| {
            ip.parse::<IpAddr>().map_err(|_| at.error(format!("is {ip:?}"), "an IP address"))
        })?;
        Ok((name.trim_end_matches('.').to_ascii_lowercase(), ips))
    };
    let limit = value.limit.map(|limit| NameLimit {
        names: limit.names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect(),
        policies: limit.policies.into(),
    });
    Ok(NameTable { names: value.table.into_iter().map(entry).collect::<Result<_, _>>()?, limit })
}
