//! Where clients are: the HTTP filter `geoip` with the provider `maxmind`.

use std::sync::Arc;

use http::HeaderName;
use model::Geo;
use model::geo::GeoClient;
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::extensions::filters::http::geoip::v3 as wire;
use proto::envoy::extensions::geoip_providers::common::v3::CommonGeoipProviderConfig;
use proto::envoy::extensions::geoip_providers::common::v3::common_geoip_provider_config::{
    GeolocationFieldKeys, GeolocationHeadersToAdd,
};
use proto::envoy::extensions::geoip_providers::maxmind::v3::MaxMindConfig;
use proto::google::protobuf::Any;

use super::{At, Decoded, required, take, unpack};

/// The filter.
pub(super) const GEOIP: &str = "envoy.extensions.filters.http.geoip.v3.Geoip";

pub(super) fn geo(any: &Any, at: &At<'_>) -> Decoded<Geo> {
    take!(unpack::<wire::Geoip>(any, at)?, at, wire::Geoip {
        used { xff_config, custom_header_config, provider }
        harmless {}
        refused {}
    });
    let client = match (xff_config, custom_header_config) {
        (Some(_), Some(_)) => {
            return Err(at.field("custom_header_config").error("stands beside `xff_config`", "one of the two"));
        }
        (Some(xff), None) => GeoClient::Forwarded { hops: xff.xff_num_trusted_hops },
        (None, Some(custom)) => {
            let at = at.field("custom_header_config");
            let name = header(custom.header_name, &at.field("header_name"))?;
            GeoClient::Header(required(name, &at.field("header_name"))?)
        }
        (None, None) => GeoClient::Peer,
    };
    let at = at.field("provider");
    take!(required(provider, &at)?, &at, TypedExtensionConfig {
        used { typed_config }
        harmless { name }
        refused {}
    });
    let at = at.field("typed_config");
    take!(unpack::<MaxMindConfig>(&required(typed_config, &at)?, &at)?, &at, MaxMindConfig {
        used { city_db_path, country_db_path, asn_db_path, common_provider_config }
        harmless {}
        refused { anon_db_path, isp_db_path }
    });
    let path = |text: String| (!text.is_empty()).then(|| Arc::<str>::from(text));
    let (cities, countries, systems) = (path(city_db_path), path(country_db_path), path(asn_db_path));
    if cities.is_none() && countries.is_none() && systems.is_none() {
        return Err(at.field("city_db_path").error("is missing, as is every other", "a database"));
    }
    let at = at.field("common_provider_config");
    let geo = Geo { cities, countries, systems, client, ..Geo::default() };
    common(required(common_provider_config, &at)?, geo, &at)
}

#[allow(deprecated)]
fn common(value: CommonGeoipProviderConfig, geo: Geo, at: &At<'_>) -> Decoded<Geo> {
    take!(value, at, CommonGeoipProviderConfig {
        used { geo_headers_to_add, geo_field_keys }
        harmless {}
        refused {}
    });
    // Both name headers here; the newer field counts.
    if let Some(keys) = geo_field_keys {
        let at = at.field("geo_field_keys");
        take!(keys, &at, GeolocationFieldKeys {
            used { country, city, region, asn, asn_org }
            harmless {}
            refused { anon, anon_vpn, anon_hosting, anon_tor, anon_proxy, isp, apple_private_relay }
        });
        return named(geo, (country, city, region, asn, asn_org), &at);
    }
    let at = at.field("geo_headers_to_add");
    take!(required(geo_headers_to_add, &at)?, &at, GeolocationHeadersToAdd {
        used { country, city, region, asn, asn_org }
        harmless {}
        refused { is_anon, anon, anon_vpn, anon_hosting, anon_tor, anon_proxy, isp, apple_private_relay }
    });
    named(geo, (country, city, region, asn, asn_org), &at)
}

type Names = (String, String, String, String, String);

fn named(geo: Geo, (country, city, region, asn, asn_org): Names, at: &At<'_>) -> Decoded<Geo> {
    Ok(Geo {
        country: header(country, &at.field("country"))?,
        city: header(city, &at.field("city"))?,
        region: header(region, &at.field("region"))?,
        system: header(asn, &at.field("asn"))?,
        organization: header(asn_org, &at.field("asn_org"))?,
        ..geo
    })
}

fn header(name: String, at: &At<'_>) -> Decoded<Option<HeaderName>> {
    if name.is_empty() {
        return Ok(None);
    }
    HeaderName::try_from(&name).map(Some).map_err(|_| at.error(format!("is `{name}`"), "the name of a header"))
}
