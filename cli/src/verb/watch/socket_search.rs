//! Finds the control socket if the command line names no socket.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use covalent_alloc::text::printable_path;
use covalent_protocols::control::{NAME_PREFIX, runtime_directory};

use super::connection::Connection;

/// The maximum number of sockets of the folder to which a connection is tried.
const CANDIDATES_MAX: usize = 64;

/// Connects to the control socket of the display in `WAYLAND_DISPLAY`, or else to the only control socket that answers.
///
/// # Errors
/// No control socket answers, or several do.
pub(super) fn find() -> Result<(PathBuf, Connection)> {
    let folder = runtime_directory();
    let display = std::env::var_os("WAYLAND_DISPLAY");
    find_in(&folder, display.as_deref())
}

/// Does what [`find`] does, with the sockets in `folder` and the display `display`.
fn find_in(folder: &Path, display: Option<&OsStr>) -> Result<(PathBuf, Connection)> {
    if let Some(path) = display.and_then(|name| beside(folder, name)) {
        match Connection::open(&path) {
            Ok(connection) => return Ok((path, connection)),
            // If the socket of this display exists, the error of the connection is returned. If it does not exist,
            // `WAYLAND_DISPLAY` may name another compositor, and the other sockets are tried.
            Err(error) if path.exists() => return Err(error),
            Err(_) => {}
        }
    }
    let mut found: Vec<(PathBuf, Connection)> = Vec::new();
    let mut candidates: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(OsStr::to_str);
            name.is_some_and(|name| name.starts_with(NAME_PREFIX))
        })
        .take(CANDIDATES_MAX)
        .collect();
    candidates.sort();
    for path in candidates {
        if let Ok(connection) = Connection::open(&path) {
            found.push((path, connection));
        }
    }
    match found.len() {
        0 => bail!(
            "no compositor of Covalent answers: {} has no control socket {NAME_PREFIX}NAME that a compositor listens on; \
             start covalent-compositor, or pass --socket PATH (its `ready` line has the path as `control`)",
            printable_path(folder)
        ),
        1 => Ok(found.remove(0)),
        _ => {
            let paths: Vec<String> = found.iter().map(|(path, _)| printable_path(path)).collect();
            bail!(
                "several compositors run: pass one of these to --socket: {}",
                paths.join(", ")
            )
        }
    }
}

/// Returns the path of the control socket of the display in `WAYLAND_DISPLAY`.
fn beside(folder: &Path, display: &OsStr) -> Option<PathBuf> {
    let name = Path::new(display).file_name()?;
    let mut file = OsString::from(NAME_PREFIX);
    file.push(name);
    Some(folder.join(file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn socket_of_the_display_is_preferred_and_the_only_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let error = find_in(folder.path(), None).unwrap_err().to_string();
        assert!(
            error.contains("no compositor of Covalent answers") && error.contains("--socket"),
            "{error}"
        );
        drop(UnixListener::bind(at("covalent-wayland-7")).unwrap());
        let _one = UnixListener::bind(at("covalent-wayland-1")).unwrap();
        let (path, _) = find_in(folder.path(), None).unwrap();
        assert_eq!(path, at("covalent-wayland-1"));
        // `WAYLAND_DISPLAY` names another compositor, so the only socket that answers is used.
        let (path, _) = find_in(folder.path(), Some(OsStr::new("wayland-0"))).unwrap();
        assert_eq!(path, at("covalent-wayland-1"));
        let _two = UnixListener::bind(at("covalent-wayland-2")).unwrap();
        let error = find_in(folder.path(), None).unwrap_err().to_string();
        assert!(
            error.contains("covalent-wayland-1, ") && error.contains("covalent-wayland-2"),
            "{error}"
        );
        let (path, _) = find_in(folder.path(), Some(OsStr::new("/x/wayland-2"))).unwrap();
        assert_eq!(path, at("covalent-wayland-2"));
        let left = find_in(folder.path(), Some(OsStr::new("wayland-7")));
        let error = left.unwrap_err().to_string();
        assert!(
            error.contains("the compositor of the socket has ended"),
            "{error}"
        );
    }
}
