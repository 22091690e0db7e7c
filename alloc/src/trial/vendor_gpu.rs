//! GPUs that this machine does not have. Their Mesa drivers run with Mesa's drm-shims, libraries that replace the ioctls of the
//! kernel's driver.
//!
//! Without the GPU, a driver still lists its formats and modifiers, chooses image layouts and refuses layouts, because that is
//! its own code. It draws nothing, so nothing is known of pixels, of timing, and of what the displays and codecs of such a
//! machine accept.
//!
//! # References
//! Mesa, `src/drm-shim/README.md`; Debian's package `mesa-drm-shim`.

mod table;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::backend::Declared;
use crate::constraint::{Imports, SourceId};
use crate::model::DeviceIdentity;
use crate::text::printable;

use self::table::GPUS;

/// The environment variable with the path of an additional folder of drm-shims.
const SHIM_FOLDER: &str = "COVALENT_DRM_SHIMS";

/// The folders in which distributions and Mesa's own build install drm-shims.
const SHIM_FOLDERS: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib/x86_64-linux-gnu",
    "/usr/local/lib",
];

/// The folders with the driver manifests of the Vulkan loader.
///
/// # References
/// The Vulkan loader, `docs/LoaderDriverInterface.md`, "Driver Discovery on Linux".
const MANIFEST_FOLDERS: [&str; 3] = [
    "/usr/share/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
];

/// A drm-shim: its library, how its GPU is selected, and the Vulkan driver that runs with it.
struct Shim {
    /// The part of the library's file name between `lib` and `_noop_drm_shim.so`.
    library: &'static str,
    /// The environment variable that selects the GPU; `None` if the shim supports only one GPU.
    variable: Option<&'static str>,
    /// The beginning of the file name of the driver's manifest.
    manifest: &'static str,
    /// The driver's name.
    driver: &'static str,
}

/// A GPU whose driver can run with a drm-shim instead of the hardware.
pub struct VendorGpu {
    name: &'static str,
    title: &'static str,
    shim: &'static Shim,
    /// The value of the shim's environment variable that selects this GPU.
    value: &'static str,
}

/// Why the driver of a GPU cannot be run.
#[derive(Error)]
#[non_exhaustive]
pub enum VendorGpuError {
    /// No GPU has this name.
    #[error("no GPU is called {}; the known ones are {known}", printable(name))]
    Unknown {
        /// The name that was requested.
        name: String,
        /// The names of all GPUs that are known.
        known: String,
    },
    /// The library of the drm-shim is not installed.
    #[error(
        "the driver of {gpu} runs on {library}, which is in none of {looked}: install it with `apt install mesa-drm-shim mesa-vulkan-drivers` (Debian 13 with backports and newer), or build Mesa with -Dtools=drm-shim and set {SHIM_FOLDER} to its folder"
    )]
    NoShim {
        /// The GPU's name.
        gpu: &'static str,
        /// The library's file name.
        library: String,
        /// The folders that were searched.
        looked: String,
    },
    /// The Vulkan driver is not installed.
    #[error(
        "{driver}, the driver of {gpu}, is not installed: no {manifest}*.json is in {looked}; install it with `apt install mesa-vulkan-drivers`"
    )]
    NoDriver {
        /// The GPU's name.
        gpu: &'static str,
        /// The driver's name.
        driver: &'static str,
        /// The beginning of the file name of the driver's manifest.
        manifest: &'static str,
        /// The folders that were searched.
        looked: String,
    },
}

crate::debug_as_display!(VendorGpuError);

impl VendorGpu {
    /// Lists every GPU for which there is a drm-shim, whether the shim is installed or not.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        GPUS.iter()
    }

    /// Finds a GPU by its name, such as `navi31`.
    ///
    /// # Errors
    /// [`VendorGpuError::Unknown`].
    pub fn find(name: &str) -> Result<&'static Self, VendorGpuError> {
        Self::all().find(|gpu| gpu.name == name).ok_or_else(|| {
            let known: Vec<&str> = Self::all().map(Self::name).collect();
            VendorGpuError::Unknown {
                name: name.to_owned(),
                known: known.join(", "),
            }
        })
    }

    /// Returns the name, such as `navi31`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the name for display, such as `AMD Radeon RX 7900 (RDNA3, GFX11)`.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// Returns the name of the GPU's Vulkan driver, such as `RADV`.
    #[must_use]
    pub fn driver(&self) -> &'static str {
        self.shim.driver
    }

    /// Returns the file name of the drm-shim's library.
    #[must_use]
    pub fn library(&self) -> String {
        format!("lib{}_noop_drm_shim.so", self.shim.library)
    }

    /// Returns the environment variables of a process in which the driver finds only this GPU. `LD_PRELOAD` names the drm-shim.
    ///
    /// # Errors
    /// [`VendorGpuError::NoShim`], [`VendorGpuError::NoDriver`].
    pub fn variables(&self) -> Result<Vec<(&'static str, OsString)>, VendorGpuError> {
        let library = self.library();
        let extra_folder = std::env::var_os(SHIM_FOLDER).map(PathBuf::from);
        let folders = extra_folder
            .into_iter()
            .chain(SHIM_FOLDERS.map(PathBuf::from));
        let folders: Vec<PathBuf> = folders.collect();
        let shim = folders.iter().map(|folder| folder.join(&library));
        let shim = shim.into_iter().find(|path| path.is_file());
        let shim = shim.ok_or_else(|| VendorGpuError::NoShim {
            gpu: self.name,
            library,
            looked: folder_list(&folders),
        })?;
        let manifest = MANIFEST_FOLDERS
            .iter()
            .find_map(|folder| manifest_in(Path::new(folder), self.shim.manifest));
        let manifest = manifest.ok_or_else(|| VendorGpuError::NoDriver {
            gpu: self.name,
            driver: self.shim.driver,
            manifest: self.shim.manifest,
            looked: folder_list(&MANIFEST_FOLDERS.map(PathBuf::from)),
        })?;
        let mut variables = vec![
            ("LD_PRELOAD", shim.into_os_string()),
            ("VK_DRIVER_FILES", manifest.clone().into_os_string()),
            // Vulkan loaders before 1.3.207 support only this variable.
            ("VK_ICD_FILENAMES", manifest.into_os_string()),
        ];
        if let Some(variable) = self.shim.variable {
            variables.push((variable, self.value.into()));
        }
        Ok(variables)
    }

    /// Sets the names and the identity of this GPU in a declaration by its driver, and removes properties of the machine on which
    /// the driver ran.
    pub(super) fn adopt(&self, declared: &mut Declared) {
        // All shims report the same bus address for their device, so the identities that drivers report do not distinguish the
        // GPUs.
        let identity = |driver: &str| DeviceIdentity {
            driver: driver.to_owned(),
            location: format!("drm-shim:{}", self.name),
            node: String::new(),
        };
        for unavailable in &mut declared.unavailable {
            let driver = self.shim.driver;
            unavailable.name = unavailable.name.replacen("Vulkan", driver, 1);
            unavailable.why = unavailable.why.replacen("Vulkan: ", "", 1);
        }
        for participant in &mut declared.participants {
            participant.device = identity(&participant.device.driver);
            participant.name = format!("{} image", self.name);
            participant.for_each_choice(|choice| {
                if choice.memory.imports == Imports::Any {
                    let reason = format!(
                        "{} ran without this GPU, and accepts all memory then",
                        self.shim.driver
                    );
                    choice.memory.imports = Imports::Unknown { reason };
                }
            });
        }
        for source in &mut declared.sources {
            if let Some(device) = &mut source.device {
                *device = identity(&device.driver);
                source.id = SourceId::new(format!("vulkan:{}@{}", device.driver, device.location));
            }
            source.name = format!("{} Vulkan", self.name);
            // The shim reports an arbitrary amount of memory.
            source.guarantees.available_bytes = None;
        }
    }
}

fn folder_list(folders: &[PathBuf]) -> String {
    let names: Vec<String> = folders
        .iter()
        .map(|folder| printable(&folder.to_string_lossy()))
        .collect();
    names.join(", ")
}

/// Finds the manifest of a driver. Some distributions add the architecture to its name.
fn manifest_in(folder: &Path, beginning: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut manifests: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(beginning) && name.ends_with(".json"))
        })
        .collect();
    manifests.sort();
    let arch_name = format!("{beginning}.{}.json", std::env::consts::ARCH);
    let is_for_arch = |path: &&PathBuf| path.ends_with(&arch_name);
    manifests
        .iter()
        .find(is_for_arch)
        .or(manifests.first())
        .cloned()
}

impl std::fmt::Debug for VendorGpu {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("VendorGpu").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::constraint::{Participant, Role, Source};

    #[test]
    fn names_are_unique_and_found() {
        let names: BTreeSet<&str> = VendorGpu::all().map(VendorGpu::name).collect();
        assert_eq!(names.len(), GPUS.len());
        for gpu in VendorGpu::all() {
            assert!(std::ptr::eq(VendorGpu::find(gpu.name()).unwrap(), gpu));
        }
        let error = VendorGpu::find("navi\u{1b}[31m").unwrap_err().to_string();
        assert!(
            error.contains("navi31") && !error.contains('\u{1b}'),
            "{error}"
        );
    }

    #[test]
    fn declarations_of_two_gpus_with_one_driver_have_different_identities() {
        let declared = |name: &str| {
            let device = DeviceIdentity {
                driver: "radv".to_owned(),
                location: "uuid:04".to_owned(),
                node: String::new(),
            };
            let mut source = Source::new(SourceId::new("vulkan:radv@uuid:04"), "radv Vulkan");
            source.device = Some(device.clone());
            source.guarantees.available_bytes = Some(1);
            let mut declared = Declared {
                participants: vec![Participant::new("radv image", device, Role::Import)],
                sources: vec![source],
                unavailable: Vec::new(),
            };
            VendorGpu::find(name).unwrap().adopt(&mut declared);
            declared
        };
        let (one, two) = (declared("navi21"), declared("navi31"));
        assert_eq!(one.participants[0].name, "navi21 image");
        assert_eq!(one.sources[0].id.as_str(), "vulkan:radv@drm-shim:navi21");
        assert_eq!(one.sources[0].guarantees.available_bytes, None);
        assert!(one.sources[0].is_of(&one.participants[0].device));
        assert!(!one.sources[0].is_of(&two.participants[0].device));
    }

    #[test]
    fn manifest_of_this_architecture_is_preferred() {
        let folder = tempfile::tempdir().unwrap();
        let own = format!("radeon_icd.{}.json", std::env::consts::ARCH);
        for name in [
            "radeon_icd.i686.json",
            &own,
            "radeon_icd.txt",
            "intel_icd.json",
        ] {
            fs::write(folder.path().join(name), "{}").unwrap();
        }
        let found = |beginning| manifest_in(folder.path(), beginning);
        assert_eq!(found("radeon_icd"), Some(folder.path().join(own)));
        assert_eq!(
            found("intel_icd"),
            Some(folder.path().join("intel_icd.json"))
        );
        assert_eq!(found("asahi_icd"), None);
    }
}
