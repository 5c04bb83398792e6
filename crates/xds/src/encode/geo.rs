//! Where clients are: the HTTP filter `geoip` with the provider `maxmind`.

use http::HeaderName;
use model::Geo;
use model::geo::GeoClient;
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::extensions::filters::http::geoip::v3::{Geoip, geoip};
use proto::envoy::extensions::geoip_providers::common::v3::CommonGeoipProviderConfig;
use proto::envoy::extensions::geoip_providers::common::v3::common_geoip_provider_config::GeolocationFieldKeys;
use proto::envoy::extensions::geoip_providers::maxmind::v3::MaxMindConfig;
use proto::google::protobuf::Any;

use super::pack;

pub(super) fn geo(geo: &Geo) -> Any {
    let header = |name: &Option<HeaderName>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    let path = |path: &Option<std::sync::Arc<str>>| path.as_deref().unwrap_or_default().to_owned();
    let keys = GeolocationFieldKeys {
        country: header(&geo.country),
        city: header(&geo.city),
        region: header(&geo.region),
        asn: header(&geo.system),
        asn_org: header(&geo.organization),
        ..GeolocationFieldKeys::default()
    };
    let provider = MaxMindConfig {
        city_db_path: path(&geo.cities),
        country_db_path: path(&geo.countries),
        asn_db_path: path(&geo.systems),
        common_provider_config: Some(CommonGeoipProviderConfig {
            geo_field_keys: Some(keys),
            ..CommonGeoipProviderConfig::default()
        }),
        ..MaxMindConfig::default()
    };
    let xff = |hops| geoip::XffConfig { xff_num_trusted_hops: hops };
    let custom = |name: &HeaderName| geoip::CustomHeaderConfig { header_name: name.to_string() };
    pack(&Geoip {
        xff_config: if let GeoClient::Forwarded { hops } = geo.client { Some(xff(hops)) } else { None },
        custom_header_config: if let GeoClient::Header(name) = &geo.client { Some(custom(name)) } else { None },
        provider: Some(TypedExtensionConfig {
            name: "envoy.geoip_providers.maxmind".to_owned(),
            typed_config: Some(pack(&provider)),
        }),
    })
}
