//! Where clients are: the filter `geoip`, with a database that the run writes.

use crate::bootstrap::routes;
use crate::case::{Group, case, get};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![geoip()]
}

const GEOIP: &str = "type.googleapis.com/envoy.extensions.filters.http.geoip.v3.Geoip";
const MAXMIND: &str = "type.googleapis.com/envoy.extensions.geoip_providers.maxmind.v3.MaxMindConfig";

fn filter(client: &str, names: &str) -> String {
    format!(
        "- name: geoip
  typed_config:
    '@type': {GEOIP}
{client}
    provider:
      name: maxmind
      typed_config:
        '@type': {MAXMIND}
        city_db_path: $DIR/cities.mmdb
        common_provider_config: {{{names}}}"
    )
}

const NEW_NAMES: &str = "geo_field_keys: {country: x-geo-country, region: x-geo-region, city: x-geo-city}";
const OLD_NAMES: &str = "geo_headers_to_add: {country: x-old-country, city: x-old-city}";

fn geoip() -> Group {
    let hops = filter("    xff_config: {xff_num_trusted_hops: 0}", NEW_NAMES);
    let file = routes("- {match: {prefix: /}, route: {cluster: one}}");
    let by_header = file.clone().http_filters(&filter("    custom_header_config: {header_name: x-client}", OLD_NAMES));
    let second = format!(
        "- name: SECOND\n  address: {{socket_address: {{address: 127.0.0.1, port_value: $SECOND}}}}\n  filter_chains:\n  - filters:\n{}\n",
        crate::bootstrap::indent(&by_header.manager(""), 4)
    );
    let from = |address: &str| get("/").header("x-forwarded-for", address);
    let said = |address: &str| get("/").to("SECOND").header("x-client", address);
    Group::new(
        "geoip",
        file.http_filters(&hops).listeners(&second).text(),
        vec![
            case("Berlin", from("10.1.2.3")),
            case("Paris", from("10.2.2.3")),
            case("a city that is not ASCII", from("10.3.2.3")),
            case("the last of several", from("10.1.2.3, 10.2.2.3")),
            case("nobody knows", from("10.9.9.9")),
            case("an address of version 6", from("2001:db8::1")),
            case("no address", from("nonsense")),
            case("the peer", get("/")),
            case("its own claim, where something is found", from("10.1.2.3").header("x-geo-country", "XX")),
            case("its own claim, where nothing is found", from("10.9.9.9").header("x-geo-country", "XX")),
            case("by HTTP/2", from("10.1.2.3").h2()),
            case("a header", said("10.1.2.3")),
            case("a header with no address", said("nonsense")),
            case("a header that is not there", get("/").to("SECOND")),
        ],
    )
}
