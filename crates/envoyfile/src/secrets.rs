//! Certificates, keys and roots: those that a file names are read when it is looked at, so that what cannot be read or does
//! not go together is told before anything runs.

use model::cluster::Transport;
use model::secret::{Secret, SecretValue};
use model::tls::{DownstreamTls, SecretFiles, Validation};
use proto::envoy::config::bootstrap::v3 as wire;
use proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use transport::tls::{Crls, LiveCert, Roots};

use crate::whole::{Wrong, wrong};

type Checked = Result<(), Wrong>;

/// Puts what is in files in the place of their names, for secrets that stand in the file by themselves.
///
/// # Errors
/// [`Wrong`]: a file that cannot be read.
pub fn fill_in(message: &mut wire::Bootstrap) -> Checked {
    let Some(given) = &mut message.static_resources else { return Ok(()) };
    for (index, secret) in given.secrets.iter_mut().enumerate() {
        let sources: Vec<(&str, &mut Option<DataSource>)> = match &mut secret.r#type {
            Some(Type::TlsCertificate(pair)) => vec![
                ("tls_certificate.certificate_chain", &mut pair.certificate_chain),
                ("tls_certificate.private_key", &mut pair.private_key),
            ],
            Some(Type::ValidationContext(context)) => vec![
                ("validation_context.trusted_ca", &mut context.trusted_ca),
                ("validation_context.crl", &mut context.crl),
            ],
            Some(Type::GenericSecret(secret)) => vec![("generic_secret.secret", &mut secret.secret)],
            _ => continue,
        };
        for (name, source) in sources {
            if let Some(DataSource { specifier: Some(specifier @ Specifier::Filename(_)), .. }) = source
                && let Specifier::Filename(path) = &*specifier
            {
                let bytes = read(path, &format!("static_resources.secrets[{index}].{name}.filename"))?;
                *specifier = Specifier::InlineBytes(bytes);
            }
        }
    }
    Ok(())
}

/// A secret that is given as a whole.
pub fn inline(secret: &Secret, path: &str) -> Checked {
    match &secret.value {
        SecretValue::Generic(_) => Ok(()),
        SecretValue::Certificate { chain, private_key } => pair(chain, private_key, &format!("{path}.tls_certificate")),
        SecretValue::Trust { roots, crl, .. } => {
            let path = format!("{path}.validation_context");
            if !roots.is_empty() {
                self::roots(roots, &format!("{path}.trusted_ca"))?;
            }
            lists(crl, &format!("{path}.crl"))
        }
    }
}

/// The files of TLS towards an upstream.
pub fn of_upstream(transport: &Transport, path: &str) -> Checked {
    let tls = match transport {
        Transport::Plain => return Ok(()),
        Transport::Tls(tls) | Transport::MeshTls(tls) => tls,
    };
    if let Some(name) = &tls.certificate {
        files(name, &format!("{path}.tls_certificates[0]"))?;
    }
    trust(tls.validation.as_ref(), path)
}

/// The files of TLS from downstream, which needs a certificate.
pub fn of_downstream(tls: &DownstreamTls, path: &str) -> Checked {
    if tls.certificates.is_empty() {
        return wrong(path, "has no certificate; expected one or more in `tls_certificates`");
    }
    // Those that are discovered stand first.
    let named = tls.certificates.iter().filter(|name| SecretFiles::of(name).is_some());
    for (index, name) in named.enumerate() {
        files(name, &format!("{path}.tls_certificates[{index}]"))?;
    }
    trust(tls.validation.as_ref(), path)
}

fn trust(validation: Option<&Validation>, path: &str) -> Checked {
    validation.map_or(Ok(()), |validation| files(&validation.trust, &format!("{path}.validation_context")))
}

/// What a name stands for, if that is files.
fn files(name: &str, path: &str) -> Checked {
    match SecretFiles::of(name) {
        Some(SecretFiles::Certificate { chain, key }) => {
            let chain = read(chain, &format!("{path}.certificate_chain.filename"))?;
            pair(&chain, &read(key, &format!("{path}.private_key.filename"))?, path)
        }
        Some(SecretFiles::Roots { roots, crl }) => {
            let at_roots = format!("{path}.trusted_ca.filename");
            self::roots(&read(roots, &at_roots)?, &at_roots)?;
            let at_crl = format!("{path}.crl.filename");
            crl.map_or(Ok(()), |crl| lists(&read(crl, &at_crl)?, &at_crl))
        }
        Some(SecretFiles::SystemRoots) | None => Ok(()),
    }
}

fn read(path: &str, at: &str) -> Result<Vec<u8>, Wrong> {
    std::fs::read(path).map_err(|error| Wrong {
        path: at.to_owned(),
        problem: format!("is `{path}`, which cannot be read: {error}; expected a readable PEM file"),
    })
}

fn pair(chain: &[u8], key: &[u8], at: &str) -> Checked {
    let (chain, key) = (String::from_utf8_lossy(chain), String::from_utf8_lossy(key));
    LiveCert::from_pem(&chain, &key).map_or_else(|error| wrong(at, error.to_string()), |_| Ok(()))
}

fn roots(pem: &[u8], at: &str) -> Checked {
    Roots::from_pem(&String::from_utf8_lossy(pem)).map_or_else(|error| wrong(at, error.to_string()), |_| Ok(()))
}

fn lists(pem: &[u8], at: &str) -> Checked {
    if pem.is_empty() {
        return Ok(());
    }
    Crls::from_pem(&String::from_utf8_lossy(pem)).map_or_else(|error| wrong(at, error.to_string()), |_| Ok(()))
}
