//! What is told of an exchange and its connection: `streamInfo()`, `connection()` and what they lead to.

use std::net::SocketAddr;
use std::rc::Rc;

use filter::Facts;
use http::HeaderMap;
use mlua::{Error, Lua, UserDataMethods, UserDataRegistry, Value};

use crate::log;
use crate::metadata::Dynamic;
use crate::stream::Stream;

/// What is known of an exchange.
#[derive(Debug)]
pub(crate) struct Info {
    route: String,
    local: String,
    direct_remote: String,
    remote: String,
    server_name: String,
    tls: Option<Tls>,
}

/// What is known of its TLS.
#[derive(Debug)]
struct Tls {
    presented: bool,
    uris: Vec<String>,
    dns: Vec<String>,
    subject: String,
    own: Vec<String>,
    certificate: String,
}

impl Info {
    /// As it is now.
    pub(crate) fn of(facts: &Facts<'_>, headers: &HeaderMap) -> Self {
        let ends = facts.around.ends("");
        // Who has shown no certificate has no names.
        let tls = ends.peer.as_ref().map(|peer| Tls {
            presented: !peer.uris.is_empty() || !peer.dns.is_empty() || !peer.subject.is_empty(),
            uris: peer.uris.to_vec(),
            dns: peer.dns.to_vec(),
            subject: peer.subject.to_owned(),
            own: ends.own.map(str::to_owned).into_iter().collect(),
            certificate: ends.certificate.unwrap_or_default().to_owned(),
        });
        Self {
            route: facts.route.map(|route| route.name.to_string()).unwrap_or_default(),
            local: ends.destination.to_string(),
            direct_remote: ends.source.to_string(),
            remote: SocketAddr::from((facts.around.remote_address(headers), ends.source.port())).to_string(),
            server_name: ends.server_name.unwrap_or_default().to_owned(),
            tls,
        }
    }
}

/// `streamInfo()`.
pub(crate) struct StreamInfo {
    pub stream: Rc<Stream>,
    pub info: Rc<Info>,
}

/// `connection()`, and `connectionStreamInfo()`.
pub(crate) struct Connection {
    pub stream: Rc<Stream>,
    pub info: Rc<Info>,
}

/// `ssl()`, and `downstreamSslConnection()`.
struct Ssl {
    stream: Rc<Stream>,
    info: Rc<Info>,
}

/// The methods of Envoy's objects.
pub(crate) fn register(lua: &Lua) -> mlua::Result<()> {
    lua.register_userdata_type::<StreamInfo>(|registry| {
        log::methods(registry);
        text(registry, "routeName", |it| &it.info.route);
        text(registry, "virtualClusterName", |_| "");
        text(registry, "downstreamDirectLocalAddress", |it| &it.info.local);
        text(registry, "downstreamLocalAddress", |it| &it.info.local);
        text(registry, "downstreamDirectRemoteAddress", |it| &it.info.direct_remote);
        text(registry, "downstreamRemoteAddress", |it| &it.info.remote);
        text(registry, "requestedServerName", |it| &it.info.server_name);
        registry.add_method("protocol", |_, it, ()| {
            it.stream.check()?;
            Ok(it.stream.shared.protocol)
        });
        registry.add_method("dynamicMetadata", |lua, it, ()| lua.create_any_userdata(Dynamic(it.stream.clone())));
        registry.add_method("downstreamSslConnection", |lua, it, ()| ssl(lua, &it.stream, &it.info));
        for name in ["dynamicTypedMetadata", "filterState", "drainConnectionUponCompletion"] {
            unsupported(registry, name);
        }
    })?;
    lua.register_userdata_type::<Connection>(|registry| {
        log::methods(registry);
        registry.add_method("ssl", |lua, it, ()| ssl(lua, &it.stream, &it.info));
        for name in ["dynamicMetadata", "dynamicTypedMetadata"] {
            unsupported(registry, name);
        }
    })?;
    lua.register_userdata_type::<Ssl>(|registry| {
        log::methods(registry);
        of_tls(registry, "peerCertificatePresented", |tls| tls.presented);
        // Nobody gets here with a certificate that was not found good.
        of_tls(registry, "peerCertificateValidated", |tls| tls.presented);
        of_tls(registry, "uriSanPeerCertificate", |tls| tls.uris.clone());
        of_tls(registry, "dnsSansPeerCertificate", |tls| tls.dns.clone());
        of_tls(registry, "subjectPeerCertificate", |tls| tls.subject.clone());
        of_tls(registry, "uriSanLocalCertificate", |tls| tls.own.clone());
        of_tls(registry, "urlEncodedPemEncodedPeerCertificate", |tls| tls.certificate.clone());
        for name in [
            "sha256PeerCertificateDigest",
            "serialNumberPeerCertificate",
            "issuerPeerCertificate",
            "parsedSubjectPeerCertificate",
            "subjectLocalCertificate",
            "dnsSansLocalCertificate",
            "urlEncodedPemEncodedPeerCertificateChain",
            "oidsPeerCertificate",
            "oidsLocalCertificate",
            "validFromPeerCertificate",
            "expirationPeerCertificate",
            "sessionId",
            "ciphersuiteId",
            "ciphersuiteString",
            "tlsVersion",
        ] {
            unsupported(registry, name);
        }
    })
}

fn text(registry: &mut UserDataRegistry<StreamInfo>, name: &str, get: impl Fn(&StreamInfo) -> &str + 'static) {
    registry.add_method(name, move |_, it, ()| {
        it.stream.check()?;
        Ok(get(it).to_owned())
    });
}

fn of_tls<R: mlua::IntoLua + 'static>(
    registry: &mut UserDataRegistry<Ssl>,
    name: &str,
    get: impl Fn(&Tls) -> R + 'static,
) {
    registry.add_method(name, move |_, it, ()| {
        it.stream.check()?;
        Ok(it.info.tls.as_ref().map(&get))
    });
}

/// What Envoy has and we have not fails in words, not with an attempt to call nothing.
pub(crate) fn unsupported<T: 'static>(registry: &mut UserDataRegistry<T>, name: &'static str) {
    registry.add_method(name, move |_, _, _: mlua::MultiValue| {
        Err::<(), _>(Error::runtime(format!("{name}() is not supported here: docs/extensions.md says what is")))
    });
}

fn ssl(lua: &Lua, stream: &Rc<Stream>, info: &Rc<Info>) -> mlua::Result<Value> {
    stream.check()?;
    match info.tls {
        None => Ok(Value::Nil),
        Some(_) => {
            let ssl = Ssl { stream: stream.clone(), info: info.clone() };
            lua.create_any_userdata(ssl).map(Value::UserData)
        }
    }
}
