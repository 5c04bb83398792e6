//! Certificates of every kind, right and wrong ones: what an authority that keeps the rules (see [`crate::TestCa`]) would never
//! sign.

use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use time::OffsetDateTime;
use transport::tls::{LiveCert, LiveTrust, Roots, TrustBundles};

/// One trust domain's root.
pub struct Authority {
    domain: String,
    /// Its certificate.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What to put into a leaf; begin with [`Leaf::spiffe`] or [`Leaf::dns`].
pub struct Leaf {
    params: CertificateParams,
}

fn around(now: SystemTime, before: i64, after: i64) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::from(now);
    (now + time::Duration::hours(before), now + time::Duration::hours(after))
}

impl Authority {
    /// A new one.
    pub fn new(domain: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, domain);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { domain: domain.to_owned(), pem, issuer: Issuer::new(params, key) }
    }

    /// One that has its certificate and key already, in PEM.
    pub fn of(domain: &str, certificate: &str, key: &str) -> Self {
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key).unwrap()).unwrap();
        Self { domain: domain.to_owned(), pem: certificate.to_owned(), issuer }
    }

    /// It alone is trusted.
    pub fn roots(&self) -> Roots {
        Roots::from_pem(&self.pem).unwrap()
    }

    /// Believed for its own trust domain.
    pub fn trust(&self) -> LiveTrust {
        LiveTrust::new(self.bundles())
    }

    /// The same, to be added to.
    pub fn bundles(&self) -> TrustBundles {
        TrustBundles::domain(self.domain.parse().unwrap(), self.roots())
    }

    /// A list of these serial numbers, valid for so many hours, in PEM.
    pub fn revoke(&self, serials: &[u8], hours: i64) -> String {
        let now = OffsetDateTime::from(SystemTime::now());
        let revoked = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from(u64::from(*serial)),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now - time::Duration::hours(48),
            next_update: now + time::Duration::hours(hours),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// Chain and key in PEM.
    pub fn issue_pem(&self, leaf: Leaf) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let cert = leaf.params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    /// A certificate with its key.
    pub fn issue(&self, leaf: Leaf) -> LiveCert {
        let (chain, key) = self.issue_pem(leaf);
        LiveCert::from_pem(&chain, &key).unwrap()
    }

    /// A leaf below a chain of certificates that claim to be of authorities, or do not; the first is signed by this one. No
    /// authority at all: it signs itself.
    pub fn issue_below(&self, links: Option<&[IsCa]>, leaf: Leaf) -> LiveCert {
        let key = KeyPair::generate().unwrap();
        let Some(links) = links else {
            let cert = leaf.params.self_signed(&key).unwrap();
            return LiveCert::from_pem(&cert.pem(), &key.serialize_pem()).unwrap();
        };
        let (mut above, mut chain) = (None, Vec::new());
        for (number, is_ca) in links.iter().enumerate() {
            let mut params = Leaf::spiffe(&format!("spiffe://{}/ns/a/sa/link{number}", self.domain)).params;
            params.distinguished_name.push(DnType::CommonName, format!("link {number}"));
            if !matches!(is_ca, IsCa::ExplicitNoCa) {
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            }
            params.is_ca = *is_ca;
            let key = KeyPair::generate().unwrap();
            let cert = params.signed_by(&key, above.as_ref().unwrap_or(&self.issuer)).unwrap();
            chain.insert(0, cert.pem());
            above = Some(Issuer::new(params, key));
        }
        let cert = leaf.params.signed_by(&key, above.as_ref().unwrap_or(&self.issuer)).unwrap();
        LiveCert::from_pem(&(cert.pem() + &chain.concat()), &key.serialize_pem()).unwrap()
    }

    /// A workload of this trust domain.
    pub fn workload(&self, name: &str) -> LiveCert {
        self.issue(Leaf::spiffe(&format!("spiffe://{}/ns/default/sa/{name}", self.domain)))
    }
}

impl Leaf {
    fn bare() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        (params.not_before, params.not_after) = around(SystemTime::now(), -1, 24);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Self { params }
    }

    /// For this URI.
    pub fn spiffe(uri: &str) -> Self {
        Self::bare().uri(uri)
    }

    /// For this name.
    pub fn dns(name: &str) -> Self {
        let mut leaf = Self::bare();
        leaf.params.subject_alt_names.push(SanType::DnsName(name.try_into().unwrap()));
        leaf
    }

    /// One more URI.
    pub fn uri(mut self, uri: &str) -> Self {
        self.params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        self
    }

    /// Valid from so many hours after now to so many.
    pub fn hours(mut self, from: i64, to: i64) -> Self {
        (self.params.not_before, self.params.not_after) = around(SystemTime::now(), from, to);
        self
    }

    /// With this serial number.
    pub fn serial(mut self, serial: u8) -> Self {
        self.params.serial_number = Some(SerialNumber::from(u64::from(serial)));
        self
    }

    /// Good for servers alone (extended key usage).
    pub fn only_for_servers(mut self) -> Self {
        self.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    /// That claims to sign others.
    pub fn may_sign(mut self) -> Self {
        self.params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        self
    }
}
