//! Finding a program as `execvp` would, before anything is started for it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access, access};

/// Is there such a program? The error says what is wrong.
pub(crate) fn find(program: &OsStr) -> Result<(), &'static str> {
    if program.as_bytes().contains(&b'/') {
        return executable(Path::new(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    match std::env::split_paths(&path).any(|dir| executable(&dir.join(program)).is_ok()) {
        true => Ok(()),
        false => Err("is not found on PATH"),
    }
}

fn executable(path: &Path) -> Result<(), &'static str> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err("is in a directory that cannot be read")
        }
        Err(_) => Err("does not exist"),
        Ok(meta) if !meta.is_file() => Err("is no file"),
        Ok(_) if access(path, Access::EXEC_OK).is_err() => Err("is not executable"),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs() {
        for (program, expected) in [
            ("/bin/sh", Ok(())),
            ("sh", Ok(())),
            ("/nowhere/x", Err("does not exist")),
            ("/tmp/", Err("is no file")),
            ("/etc/passwd", Err("is not executable")),
            ("no-such-program-here", Err("is not found on PATH")),
        ] {
            assert_eq!(find(OsStr::new(program)), expected, "{program}");
        }
    }
}
