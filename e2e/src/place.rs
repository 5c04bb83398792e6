//! Where the programs, the samples and this run's own files are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::runner::Skipped;

/// The variable by which every process that this run started can be told, whatever became of its parents.
pub const MARK: &str = "HALCYON_E2E";

/// Where everything is.
#[derive(Debug)]
pub struct Place {
    /// Programs stand here.
    programs: PathBuf,
    samples: PathBuf,
    integrations: PathBuf,
    shared: PathBuf,
    /// A stock Envoy, if there is one.
    pub envoy: Option<PathBuf>,
    /// A Python that has gRPC and WebSockets, if there is one.
    python: Option<PathBuf>,
    /// Zipkin's own server, a Java archive, if there is one.
    zipkin: Option<PathBuf>,
    /// Data, logs and temporary files of this run.
    pub run: PathBuf,
    /// The value of [`MARK`].
    pub mark: String,
    keep: bool,
}

/// A Unix socket's path may have some 100 bytes, and ours lies four folders below.
const LONGEST_TEMP: usize = 24;

impl Place {
    /// Reads the environment, checks that the programs are there, and makes the run's folder.
    pub fn find(keep: bool) -> Result<Self> {
        let me = env::current_exe().context("the path of this program")?;
        let programs = me.parent().context("the folder of this program")?.to_owned();
        for name in ["halcyon", "halcyon-proxy", "bookinfo", "origins"] {
            let path = programs.join(name);
            ensure!(path.exists(), "{}: not there; `cargo xtask demo --check` builds it first", path.display());
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let folder = |name: &str, otherwise: &str| env::var_os(name).map_or_else(|| source.join(otherwise), Into::into);
        let peer = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.exists());
        let temp = Some(env::temp_dir()).filter(|t| t.as_os_str().len() <= LONGEST_TEMP);
        let mark = format!("e2e-{}", std::process::id());
        let run = temp.unwrap_or_else(|| "/tmp".into()).join(format!("halcyon-{mark}"));
        std::fs::create_dir_all(run.join("tmp")).with_context(|| run.display().to_string())?;
        Ok(Self {
            programs,
            samples: folder("HALCYON_SAMPLES", "samples"),
            integrations: folder("HALCYON_INTEGRATIONS", "integrations"),
            shared: folder("HALCYON_SHARED", "../shared"),
            envoy: peer("HALCYON_ENVOY"),
            python: peer("HALCYON_PYTHON"),
            zipkin: peer("HALCYON_ZIPKIN"),
            run,
            mark,
            keep,
        })
    }

    /// One of our programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A program that others wrote and the machine may have; in a package of Debian's of that name.
    pub fn installed(&self, name: &str, package: &str) -> Result<PathBuf> {
        let folders = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
        found.ok_or_else(|| Skipped(format!("`{name}` is not on the PATH (Debian has it in {package})")).into())
    }

    /// A Python that has gRPC and WebSockets.
    pub fn python(&self) -> Result<PathBuf> {
        let missing = || Skipped("no Python with grpcio, websockets and spiffe at HALCYON_PYTHON".to_owned());
        self.python.clone().ok_or_else(|| missing().into())
    }

    /// Zipkin's own server, a Java archive.
    pub fn zipkin(&self) -> Result<PathBuf> {
        self.zipkin.clone().ok_or_else(|| Skipped("no server of Zipkin at HALCYON_ZIPKIN".to_owned()).into())
    }

    /// A file of our Bookinfo rules.
    pub fn rule(&self, name: &str) -> PathBuf {
        self.samples.join("bookinfo/mesh").join(name)
    }

    /// A file, or folder, for those beside whom we work.
    pub fn integration(&self, name: &str) -> PathBuf {
        self.integrations.join(name)
    }

    /// Istio's own Bookinfo rules, where they are at hand.
    pub fn istio_rules(&self) -> Option<PathBuf> {
        let folder = self.shared.join("inputs/istio-samples/bookinfo/networking");
        folder.is_dir().then(|| folder.canonicalize().unwrap_or(folder))
    }

    /// Where the programs of this run put temporary files.
    pub fn temp(&self) -> PathBuf {
        self.run.join("tmp")
    }

    /// Writes a file of this run and says where it is.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let folder = self.run.join("files");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Removes the run's folder, unless it is to be kept.
    pub fn remove(&self) {
        if self.keep {
            println!("data and logs are in {}", self.run.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.run) {
            eprintln!("e2e: {}: cannot be removed: {error}", self.run.display());
        }
    }
}
