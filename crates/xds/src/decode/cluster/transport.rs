//! What lies between TCP and HTTP: TLS, and a PROXY header before it.

use model::cluster::Transport;
use model::limits::ProxyVersion;
use proto::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use proto::envoy::config::core::v3::proxy_protocol_config::Version;
use proto::envoy::config::core::v3::{ProxyProtocolConfig, TransportSocket, transport_socket};
use proto::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;

use crate::decode::{At, Decoded, required, take, text, tls, type_name, unpack};

const PROXY_HEADER: &str = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";

/// TLS or none, and which PROXY header.
type Layers = (Transport, Option<ProxyVersion>);

pub(super) fn transport(
    socket: Option<TransportSocket>,
    matches: Vec<TransportSocketMatch>,
    at: &At<'_>,
) -> Decoded<Layers> {
    if matches.is_empty() {
        return match socket {
            None => Ok((Transport::Plain, None)),
            Some(socket) => layers(socket, &at.field("transport_socket")),
        };
    }
    at.refuse("transport_socket", &socket)?;
    let at = at.field("transport_socket_matches");
    let [mesh, plain] = <[TransportSocketMatch; 2]>::try_from(matches).map_err(|_| at.unsupported(PAIR))?;
    let mode = mesh.r#match.as_ref().filter(|fields| fields.fields.len() == 1).and_then(|f| text(f, "tlsMode"));
    let any = plain.r#match.as_ref().is_none_or(|fields| fields.fields.is_empty());
    let mesh = layers(required(mesh.transport_socket, &at.index(0))?, &at.index(0).field("transport_socket"))?;
    let plain = layers(required(plain.transport_socket, &at.index(1))?, &at.index(1).field("transport_socket"))?;
    match (mode, mesh, any, plain) {
        (Some("istio"), (Transport::Tls(settings), one), true, (Transport::Plain, other)) if one == other => {
            Ok((Transport::MeshTls(settings), one))
        }
        _ => Err(at.unsupported(PAIR)),
    }
}

const PAIR: &str =
    "the mesh's TLS for `tlsMode: istio` and then plain text for every other endpoint, both with the same PROXY header";

fn layers(socket: TransportSocket, at: &At<'_>) -> Decoded<Layers> {
    let at = at.field("typed_config");
    let transport_socket::ConfigType::TypedConfig(any) = required(socket.config_type, &at)?;
    match type_name(&any.type_url) {
        tls::RAW_BUFFER => Ok((Transport::Plain, None)),
        tls::UPSTREAM => Ok((Transport::Tls(tls::upstream(unpack(&any, &at)?, &at)?), None)),
        PROXY_HEADER => with_header(unpack(&any, &at)?, &at),
        _ => Err(at.error(
            format!("is of type `{}`", any.type_url),
            "TLS towards an upstream, plain text, or a PROXY header before either",
        )),
    }
}

fn with_header(value: ProxyProtocolUpstreamTransport, at: &At<'_>) -> Decoded<Layers> {
    // Extensions, which would make a difference between connections, are refused below.
    take!(value, at, ProxyProtocolUpstreamTransport {
        used { config, transport_socket }
        harmless { tlv_as_pool_key }
        refused { allow_unspecified_address }
    });
    let at_inner = at.field("transport_socket");
    match layers(required(transport_socket, &at_inner)?, &at_inner)? {
        (transport, None) => Ok((transport, Some(version(config.unwrap_or_default(), &at.field("config"))?))),
        (_, Some(_)) => Err(at_inner.unsupported("one PROXY header")),
    }
}

fn version(value: ProxyProtocolConfig, at: &At<'_>) -> Decoded<ProxyVersion> {
    take!(value, at, ProxyProtocolConfig {
        used { version }
        harmless {}
        refused { pass_through_tlvs, added_tlvs }
    });
    match Version::try_from(version) {
        Ok(Version::V1) => Ok(ProxyVersion::V1),
        Ok(Version::V2) => Ok(ProxyVersion::V2),
        Err(_) => Err(at.field("version").error(format!("is {version}"), "a version of the PROXY protocol")),
    }
}
