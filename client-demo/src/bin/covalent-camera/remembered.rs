//! The remembered controls of each camera, which every start sets: `$XDG_STATE_HOME/covalent/cameras.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use covalent_alloc::backend::v4l2::Device;
use covalent_alloc::files::{self, FileAccess};
use serde::{Deserialize, Serialize};

/// The maximum size of `cameras.json` in bytes. A camera with a hundred controls takes 4 KiB.
const MOST_BYTES: usize = 1 << 20;

const FORMAT: &str = "covalent-cameras";
const VERSION: u32 = 1;

/// The values of the controls of one camera, by the controls' names.
pub(crate) type Values = BTreeMap<String, i32>;

/// The contents of `cameras.json`.
#[derive(Debug, Serialize, Deserialize)]
struct CamerasFile {
    format: String,
    version: u32,
    cameras: Vec<Camera>,
}

/// A camera is identified by driver, name and bus location. Two cameras of the same model differ in the bus location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Camera {
    driver: String,
    card: String,
    bus: String,
    controls: Values,
}

impl Camera {
    /// Returns whether the entry is for this camera.
    fn is(&self, device: &Device) -> bool {
        self.driver == device.driver() && self.card == device.card() && self.bus == device.bus()
    }
}

/// Returns the path of `cameras.json`.
fn path() -> anyhow::Result<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/state")))
        .context(
            "there is no folder for the remembered controls: neither XDG_STATE_HOME nor HOME is an absolute path; set one of them",
        )?;
    Ok(state.join("covalent/cameras.json"))
}

/// Reads the remembered controls of all cameras; empty if the file does not exist.
fn read(path: &Path) -> anyhow::Result<Vec<Camera>> {
    let bytes = match files::read_own(path, MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let contents: CamerasFile =
        serde_json::from_slice(&bytes).with_context(|| format!("{}", path.display()))?;
    if contents.format != FORMAT || contents.version != VERSION {
        bail!(
            "{} is not a {FORMAT} file of version {VERSION}; a newer version of this program may have written it",
            path.display()
        );
    }
    Ok(contents.cameras)
}

/// Returns the remembered controls of a camera.
///
/// # Errors
/// The file exists and cannot be read.
pub(crate) fn load(device: &Device) -> anyhow::Result<Values> {
    // Without a state folder no controls can have been stored.
    let Ok(path) = path() else {
        return Ok(Values::new());
    };
    let cameras = read(&path)?;
    let remembered_camera = cameras.into_iter().find(|camera| camera.is(device));
    Ok(remembered_camera
        .map(|camera| camera.controls)
        .unwrap_or_default())
}

/// Replaces the remembered controls of a camera. Those of other cameras stay unchanged.
///
/// # Errors
/// The file cannot be read or written.
pub(crate) fn store(device: &Device, controls: Values) -> anyhow::Result<()> {
    let path = path()?;
    let mut cameras = read(&path)?;
    let is_known = cameras.iter().any(|camera| camera.is(device));
    if controls.is_empty() && !is_known {
        return Ok(());
    }
    cameras.retain(|camera| !camera.is(device));
    if !controls.is_empty() {
        cameras.push(Camera {
            driver: device.driver().to_owned(),
            card: device.card().to_owned(),
            bus: device.bus().to_owned(),
            controls,
        });
    }
    let contents = CamerasFile {
        format: FORMAT.to_owned(),
        version: VERSION,
        cameras,
    };
    if let Some(folder) = path.parent() {
        files::make_folder(folder, FileAccess::Private)?;
    }
    let text = serde_json::to_string_pretty(&contents)? + "\n";
    files::replace(&path, text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_of_another_kind_or_version_is_an_error_and_a_missing_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cameras.json");
        assert_eq!(read(&path).unwrap(), []);
        for (text, message) in [
            ("{", "EOF"),
            (
                r#"{"format":"covalent-cameras","version":2,"cameras":[]}"#,
                "version 1",
            ),
            (
                r#"{"format":"facts","version":1,"cameras":[]}"#,
                "is not a covalent-cameras",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains(message), "{error}");
        }
        let text = r#"{"format":"covalent-cameras","version":1,"cameras":
            [{"driver":"vivid","card":"vivid","bus":"platform:vivid-000","controls":{"gain":40}}]}"#;
        std::fs::write(&path, text).unwrap();
        assert_eq!(read(&path).unwrap()[0].controls["gain"], 40);
    }
}
