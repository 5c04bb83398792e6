//! What lies between TCP and HTTP: TLS, and a PROXY header before it.

use model::Cluster;
use model::cluster::Transport;
use model::limits::ProxyVersion;
use proto::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use proto::envoy::config::core::v3::proxy_protocol_config::Version;
use proto::envoy::config::core::v3::transport_socket::ConfigType;
use proto::envoy::config::core::v3::{ProxyProtocolConfig, TransportSocket};
use proto::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use proto::google::protobuf::{Struct, Value, value::Kind};

use crate::encode::{pack, tls};

pub(super) fn transport(cluster: &Cluster) -> (Option<TransportSocket>, Vec<TransportSocketMatch>) {
    let version = cluster.connections.as_ref().and_then(|options| options.proxy_header);
    match &cluster.transport {
        Transport::Plain => (version.map(|version| after_header(version, tls::plain())), Vec::new()),
        Transport::Tls(settings) => (Some(layers(version, tls::upstream(settings))), Vec::new()),
        Transport::MeshTls(settings) => {
            let mode = Value { kind: Some(Kind::StringValue("istio".into())) };
            let mesh = TransportSocketMatch {
                name: "tlsMode-istio".into(),
                r#match: Some(Struct { fields: [("tlsMode".to_owned(), mode)].into() }),
                transport_socket: Some(layers(version, tls::upstream(settings))),
            };
            let plain = TransportSocketMatch {
                name: "tlsMode-disabled".into(),
                r#match: Some(Struct::default()),
                transport_socket: Some(layers(version, tls::plain())),
            };
            (None, vec![mesh, plain])
        }
    }
}

fn layers(version: Option<ProxyVersion>, inner: TransportSocket) -> TransportSocket {
    match version {
        Some(version) => after_header(version, inner),
        None => inner,
    }
}

fn after_header(version: ProxyVersion, inner: TransportSocket) -> TransportSocket {
    let version = match version {
        ProxyVersion::V1 => Version::V1,
        ProxyVersion::V2 => Version::V2,
    };
    let config = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig { version: version.into(), ..ProxyProtocolConfig::default() }),
        transport_socket: Some(inner),
        ..ProxyProtocolUpstreamTransport::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.upstream_proxy_protocol".into(),
        config_type: Some(ConfigType::TypedConfig(pack(&config))),
    }
}
