//! `halcyon ca`: the certificate authority.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use ca::Passphrase;
use control::v1::{CaFiles, CaStatus, RevocationRequest, RotationRequest, RotationStep};

use crate::cli::{CaCommand, RotateArgs};
use crate::client::Client;
use crate::print::{self, out};
use crate::proxy_setup::write_private;

/// Does what was typed.
pub async fn run(client: Client, command: CaCommand) -> Result<ExitCode> {
    match command {
        CaCommand::Status { json: true } => out!("{}", serde_json::to_string_pretty(&client.ca_status().await?)?),
        CaCommand::Status { json: false } => show(&client.ca_status().await?),
        CaCommand::Rotate(args) => rotate(&client, &args).await?,
        CaCommand::Import(args) => {
            let mut files = read(&args.folder)?;
            let passphrase = passphrase(args.passphrase_file.as_deref())?;
            files.ca_key = ca::open_key(&files.ca_key, passphrase.as_ref())
                .with_context(|| args.folder.join("ca-key.pem").display().to_string())?;
            let status = client.ca_import(&files).await?;
            print::note("the files are good:");
            told(&status);
        }
        CaCommand::Revoke { what } => revoke(&client, what).await?,
        CaCommand::Restore { what } => {
            let done = client.ca_revoke(&RevocationRequest { what, restore: true }).await?;
            print::note(&format!("{} is good again, as soon as the proxies know it", done.what));
        }
        CaCommand::Export { with_key: None, .. } => out!("{}", client.ca_export(false).await?.root_cert.trim_end()),
        CaCommand::Export { with_key: Some(folder), passphrase_file } => {
            let passphrase = passphrase(passphrase_file.as_deref())?;
            let mut files = client.ca_export(true).await?;
            if let Some(passphrase) = &passphrase {
                files.ca_key = ca::seal_key(&files.ca_key, passphrase)?;
            }
            write(&folder, &files)?;
            print::note(&format!("{}: whoever has the key there can be anybody in the mesh", folder.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn rotate(client: &Client, args: &RotateArgs) -> Result<()> {
    let step = match (args.finish, args.cancel) {
        (true, _) => RotationStep::Finish,
        (_, true) => RotationStep::Cancel,
        _ => RotationStep::Start,
    };
    told(&client.ca_rotate(&RotationRequest { step, force: args.force }).await?);
    Ok(())
}

async fn revoke(client: &Client, what: String) -> Result<()> {
    let done = client.ca_revoke(&RevocationRequest { what, restore: false }).await?;
    if done.certificates.is_empty() {
        print::note(&format!(
            "{} is revoked, and has no certificate that is in date; if that surprises you, compare it with `halcyon status`, and \
             take it back with `halcyon ca restore`",
            done.what
        ));
        return Ok(());
    }
    let rows = done.certificates.iter().map(|it| [it.identity.clone(), it.serial.clone(), it.not_after.clone()]);
    out!("{}", print::table(["REVOKED CERTIFICATE OF", "SERIAL", "ON THE LIST UNTIL"], rows));
    print::note(&format!("{} is revoked: proxies are told, and close connections with it", done.what));
    Ok(())
}

/// What happens now.
fn told(status: &CaStatus) {
    print::note(match status.phase.as_str() {
        "prepared" => {
            "proxies are told of the new root; when all have acknowledged it, it is used. See `halcyon ca status`"
        }
        "retiring" => {
            "the new root is used, and proxies renew their certificates; the old one is trusted until nobody uses it any \
             more. See `halcyon ca status`"
        }
        _ => "the authority is in use; no rotation is under way",
    });
}

fn show(status: &CaStatus) {
    let kind = if status.self_signed { "a root that signs by itself" } else { "an intermediate" };
    out!("trust domain  {}", status.trust_domain);
    out!("authority     {kind}, good until {}", status.not_after);
    out!(
        "rotation      {}",
        match status.phase.as_str() {
            "prepared" => "prepared: the new root is used when every connected proxy has acknowledged it",
            "retiring" => "retiring: the new root is used, the old one is trusted until nobody uses it",
            _ => "none",
        }
    );
    let roots = status
        .roots
        .iter()
        .map(|root| [root.state.clone(), root.subject.clone(), root.not_after.clone(), root.fingerprint.clone()]);
    out!("\n{}", print::table(["ROOT", "SUBJECT", "GOOD UNTIL", "SHA-256"], roots));
    if !status.revoked.is_empty() {
        let rows = status.revoked.iter().map(|it| {
            let serial = if it.serial.is_empty() { "every one".to_owned() } else { it.serial.clone() };
            [it.identity.clone(), serial, it.since.clone()]
        });
        out!("\n{}", print::table(["REVOKED", "SERIAL", "SINCE"], rows));
    }
    if !status.waiting_for.is_empty() {
        let rows = status.waiting_for.iter().map(|it| [it.node.clone(), it.reason.clone()]);
        out!("\n{}", print::table(["WAITED FOR", "BECAUSE"], rows));
    }
    if !status.old_leaves.is_empty() {
        let rows = status.old_leaves.iter().map(|leaf| {
            let nodes =
                if leaf.nodes.is_empty() { "nobody who is connected".to_owned() } else { leaf.nodes.join(", ") };
            [leaf.identity.clone(), leaf.serial.clone(), leaf.not_after.clone(), nodes]
        });
        out!("\n{}", print::table(["OLD CERTIFICATE OF", "SERIAL", "GOOD UNTIL", "USED BY"], rows));
    }
}

fn passphrase(file: Option<&Path>) -> Result<Option<Passphrase>> {
    let Some(path) = file else { return Ok(None) };
    let content = std::fs::read(path).with_context(|| path.display().to_string())?;
    Passphrase::new(&content).map(Some).with_context(|| path.display().to_string())
}

/// The files of `cacerts`; the chain may be missing.
fn read(folder: &Path) -> Result<CaFiles> {
    let file = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let cert_chain = match std::fs::read_to_string(folder.join("cert-chain.pem")) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        other => other.with_context(|| folder.join("cert-chain.pem").display().to_string())?,
    };
    Ok(CaFiles {
        ca_cert: file("ca-cert.pem")?,
        ca_key: file("ca-key.pem")?,
        root_cert: file("root-cert.pem")?,
        cert_chain,
    })
}

/// Into a new folder, which is closed to others before anything is in it.
fn write(folder: &Path, files: &CaFiles) -> Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{}: it is there already; expected the name of a new folder", folder.display())
        }
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    }
    for (name, text) in [
        ("ca-cert.pem", &files.ca_cert),
        ("ca-key.pem", &files.ca_key),
        ("root-cert.pem", &files.root_cert),
        ("cert-chain.pem", &files.cert_chain),
    ] {
        write_private(folder, name, text.as_bytes())?;
    }
    Ok(())
}
