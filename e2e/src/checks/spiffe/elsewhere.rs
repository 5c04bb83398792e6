//! Workloads whose certificates another authority gives: they are believed where the mesh's settings name it.

use std::path::Path;

use super::*;

const IDENTITY: [&str; 2] = ["default", "default"];

pub fn check(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        place.python()?;
        let mut domain = Domain::start(&place, "elsewhere", A).await?;
        let outcome = certified_elsewhere(&mut domain).await;
        domain.end().await?;
        outcome
    })
}

async fn certified_elsewhere(domain: &mut Domain) -> Result<String> {
    let other = Authority::create(A.parse()?, SystemTime::now())?;
    let folder = domain.data.join("certificates");
    let given = ["--certificate-dir", &*folder.display().to_string()];
    domain.apply("strict.yaml", STRICT).await?;
    serve(domain, &[])?;
    poll::until("a call within the mesh", PATIENCE, async || is_answered(domain, &[]).await).await?;
    // Nobody has said yet that this authority is to be believed.
    let (roots, at): (_, SocketAddr) = (domain.roots().await?, format!("{CALLED}:9080").parse()?);
    let answer = async || identity::answers(&roots, A, at, write(&other, &folder)?).await;
    let early = answer().await;
    ensure!(early.is_err(), "an authority that nobody has named is believed: {early:?}");
    domain.believe(&other.bundle().concat()).await?;
    poll::until("a member whom the other authority has certified", PATIENCE, answer).await?;
    poll::until("a caller of the other authority", PATIENCE, async || is_answered(domain, &given).await).await?;

    let mut called = domain.others.pop().context("nobody is called")?;
    called.end(Signal::TERM, LEAVE).await?;
    let admin: SocketAddr = format!("{CALLED}:15000").parse()?;
    let first = write(&other, &folder)?;
    serve(domain, &given)?;
    until_shown(admin, &first).await?;
    poll::until("a server of the other authority", PATIENCE, async || is_answered(domain, &[]).await).await?;
    let second = write(&other, &folder)?;
    until_shown(admin, &second).await.context("after it was renewed")?;
    is_answered(domain, &[]).await.context("after it was renewed")?;
    Ok("a caller, a server, a certificate that was renewed".to_owned())
}

async fn is_answered(domain: &Domain, more: &[&str]) -> Result<()> {
    let status = calls(domain, "details", more).await?;
    ensure!(status == "200", "the answer is {status}");
    Ok(())
}

impl Domain {
    /// Members of the trust domain are believed by these roots, too.
    async fn believe(&self, roots: &str) -> Result<()> {
        let roots = roots.replace('\n', "\n        ");
        let mesh = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    \
             caCertificates:\n    - pem: |\n        {roots}\n"
        );
        self.apply("mesh.yaml", &mesh).await.map(drop)
    }
}

/// A new certificate, which is in the files, too.
fn write(authority: &Authority, folder: &Path) -> Result<LiveCert> {
    let [namespace, account] = IDENTITY;
    let (key, id) = (Key::generate()?, SpiffeId::workload(&A.parse()?, namespace, account)?);
    let issued = authority.issue(key.csr(&id)?.as_bytes(), &id, Duration::from_secs(3600), SystemTime::now())?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("cert-chain.pem"), issued.chain.concat())?;
    std::fs::write(folder.join("key.pem"), key.secret_pem())?;
    Ok(LiveCert::from_pem(&issued.chain.concat(), &key.secret_pem())?)
}

async fn until_shown(admin: SocketAddr, certificate: &LiveCert) -> Result<()> {
    let expected = certificate.certificate().context("no certificate")?;
    poll::until("the certificate of the other authority", PATIENCE, async || {
        let shown = get(admin, "/certs", &[]).await?.text();
        ensure!(shown.contains(&expected.fingerprint), "{shown}");
        Ok(())
    })
    .await
}
