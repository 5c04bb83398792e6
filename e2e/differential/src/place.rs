//! Where a run stands: ports under names, a folder, and certificates in it.
//!
//! A bootstrap says `$B1`, `$B2`, `$B3` for the backends, `$TLS` for the one that wants a handshake, `$ECHO` for one that
//! sends TCP back, `$TUNNEL` for an HTTP proxy, `$TOLD` for one behind PROXY headers, `$DEAD` for a port where nobody listens,
//! `$SHUT` for one that closes what it accepted, `$LISTEN` and `$SECOND` to `$TENTH` for the proxy's own listeners, `$ADMIN`,
//! `$LOG` for the access log, and `$DIR` for the folder.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use testkit::geo::Place;

/// The names of a proxy's ports.
const OWN: [&str; 11] =
    ["LISTEN", "SECOND", "THIRD", "FOURTH", "FIFTH", "SIXTH", "SEVENTH", "EIGHTH", "NINTH", "TENTH", "ADMIN"];

/// Ports and files under names.
#[derive(Debug, Clone, Default)]
pub struct Names(Vec<(&'static str, String)>);

impl Names {
    /// One name more.
    pub fn add(&mut self, name: &'static str, value: impl ToString) {
        self.0.push((name, value.to_string()));
    }

    /// What stands for a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The port of a name.
    pub fn port(&self, name: &str) -> Result<u16> {
        let value = self.get(name).with_context(|| format!("nothing is named `{name}`"))?;
        value.parse().with_context(|| format!("`{name}` is {value}; expected a port"))
    }

    /// The text with every `$NAME` filled in.
    pub fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
    }

    /// The text with every `:port` that has a name under its name, so that both sides say the same.
    pub fn unfill(&self, text: &str) -> String {
        let ports = self.0.iter().filter(|(_, value)| value.len() > 3 && value.bytes().all(|b| b.is_ascii_digit()));
        ports.fold(text.to_owned(), |text, (name, port)| match text == *port {
            true => format!("${name}"),
            false => text.replace(&format!(":{port}"), &format!(":${name}")),
        })
    }
}

/// A proxy's ports, which nobody has now, and its files in a folder of its own.
pub fn own_names(origins: &Names, folder: &Path, shared: &Path) -> Result<Names> {
    let mut names = origins.clone();
    // All are held at once, so that none comes twice.
    let held = OWN.map(|_| TcpListener::bind("127.0.0.1:0"));
    for (name, listener) in OWN.into_iter().zip(held) {
        names.add(name, listener?.local_addr()?.port());
    }
    names.add("LOG", log(folder).display());
    names.add("DIR", shared.display());
    Ok(names)
}

/// The access log.
pub fn log(folder: &Path) -> PathBuf {
    folder.join("access.log")
}

/// Writes `cities.mmdb`, a database of where addresses are.
pub fn cities(folder: &Path) -> Result<()> {
    let place = |country, region, city| Place { country, region, city };
    let places = [
        ("10.1.0.0/16", place("DE", "BE", "Berlin")),
        ("10.2.0.0/16", place("FR", "IDF", "Paris")),
        ("10.3.0.0/16", place("BR", "SP", "S\u{e3}o Paulo")),
    ];
    fs::write(folder.join("cities.mmdb"), testkit::geo::database(&places)).context("the database of cities")
}

/// Writes `ca.pem`, and `NAME.pem` with `NAME.key` for `server`, `other`, `origin`, `client` (with a name as SPIFFE has
/// them) and, from another authority, `stranger`.
pub fn certificates(folder: &Path) -> Result<()> {
    let (ca, key) = authority()?;
    fs::write(folder.join("ca.pem"), ca.pem())?;
    let signer = Issuer::from_ca_cert_pem(&ca.pem(), key)?;
    for (name, hosts) in [
        ("server", vec![dns("a.example")?, dns("*.wild.example")?]),
        ("other", vec![dns("b.example")?]),
        ("origin", vec![dns("origin.example")?]),
        ("client", vec![SanType::URI("spiffe://example/ns/default/sa/client".try_into()?)]),
    ] {
        leaf(folder, name, hosts, &signer)?;
    }
    let (ca, key) = authority()?;
    fs::write(folder.join("strange-ca.pem"), ca.pem())?;
    leaf(folder, "stranger", vec![dns("a.example")?], &Issuer::from_ca_cert_pem(&ca.pem(), key)?)
}

fn dns(name: &str) -> Result<SanType> {
    Ok(SanType::DnsName(name.try_into()?))
}

fn authority() -> Result<(rcgen::Certificate, KeyPair)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok((params.self_signed(&key)?, key))
}

fn leaf(folder: &Path, name: &str, hosts: Vec<SanType>, signer: &Issuer<'_, KeyPair>) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = hosts;
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, signer)?;
    fs::write(folder.join(format!("{name}.pem")), certificate.pem())?;
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
    Ok(())
}
