//! The board's devicetree: QEMU's own tree, and overlays that change it.
//!
//! QEMU passes a devicetree of its machine to the kernel, and can write it to a file. In the root file system, `dtc` and
//! `fdtoverlay` apply overlays to this file, as the manufacturer or the boot loader of a board does. QEMU then boots with the
//! result.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use super::image::Image;
use super::platform::Platform;
use super::qemu::{self, Machine};
use super::root::{Root, RootCommand};

/// The overlay with the board's camera. QEMU emulates no camera, so vivid binds to this node.
pub const CAMERA: &str = include_str!("../../board/camera.dts");
/// The overlay with reserved memory, and with the `memory-region` property that links the camera to it.
pub const POOLS: &str = include_str!("../../board/pools.dts");

/// The path in the root file system where the folder with the files of a step is mounted.
const MOUNT_PATH: &str = "/run/covalent/tree";

/// Writes QEMU's own devicetree, and compacts it, because QEMU leaves a megabyte of free space in it. The arguments after `$0`
/// are QEMU's options.
const DUMP: &str =
    r#""$0" "$@" -machine dumpdtb=dump.dtb && exec dtc -q -I dtb -O dtb -o own.dtb dump.dtb"#;
/// Compiles the source of an overlay.
const COMPILE: &str = "dtc -q -@ -I dts -O dtb -o overlay.dtbo overlay.dts";
/// Applies the overlay in the file `$0` to the devicetree.
const APPLY: &str = r#"exec fdtoverlay -i tree.dtb -o made.dtb "$0""#;
/// Prints the source of the devicetree.
const SOURCE: &str = "exec dtc -q -I dtb -O dts tree.dtb";

/// The reason why a devicetree could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevicetreeError {
    /// A tool failed.
    #[error("{step}: {message}")]
    Tool {
        /// The step of the build that failed.
        step: &'static str,
        /// The tool's exit status and stderr.
        message: String,
    },
    /// A file operation failed.
    #[error("{operation} {path}: {source}")]
    File {
        /// The file operation that failed.
        operation: &'static str,
        /// The path of the file or folder.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
}

/// A compiled (flattened) devicetree.
#[derive(Debug, Clone)]
pub struct Devicetree {
    root: Root,
    bytes: Vec<u8>,
}

impl Devicetree {
    /// Returns the devicetree that QEMU generates for this machine.
    ///
    /// # Errors
    /// QEMU does not write the devicetree.
    pub fn from_qemu(image: &Image, machine: &Machine) -> Result<Self, DevicetreeError> {
        let mut work_folder = WorkFolder::new(&image.root)?;
        work_folder.run("dump QEMU's devicetree", DUMP, |command| {
            command
                .arg(image.platform.qemu())
                .args(qemu::hardware(machine));
        })?;
        Ok(Self {
            root: image.root.clone(),
            bytes: work_folder.read("own.dtb")?,
        })
    }

    /// Returns the devicetree with which a machine boots: the one in `machine`, or else the board's usual devicetree, which is
    /// QEMU's own with a camera and memory for the camera. Returns `None` for a PC.
    ///
    /// # Errors
    /// Those of [`Devicetree::from_qemu`] and [`Devicetree::with_overlay`].
    pub fn for_machine(image: &Image, machine: &Machine) -> Result<Option<Self>, DevicetreeError> {
        if image.platform == Platform::Pc || machine.devicetree.is_some() {
            return Ok(machine.devicetree.clone());
        }
        let board = Self::from_qemu(image, machine)?;
        board.with_overlay(CAMERA)?.with_overlay(POOLS).map(Some)
    }

    /// Returns this devicetree with an overlay. `source` is the source of the overlay.
    ///
    /// # Errors
    /// The source does not compile, or the overlay does not apply to this devicetree.
    pub fn with_overlay(&self, source: &str) -> Result<Self, DevicetreeError> {
        let mut work_folder = WorkFolder::new(&self.root)?;
        work_folder.write("overlay.dts", source.as_bytes())?;
        work_folder.run("compile an overlay", COMPILE, |_| {})?;
        self.apply(work_folder, "overlay.dtbo")
    }

    /// Returns this devicetree with the overlay that a shell command writes to `file`. This runs a command that a tool printed as
    /// a user would.
    ///
    /// # Errors
    /// The command fails, writes no file of this name, or the overlay does not apply to this devicetree.
    pub fn with_overlay_from(&self, line: &str, file: &str) -> Result<Self, DevicetreeError> {
        let mut work_folder = WorkFolder::new(&self.root)?;
        work_folder.run("run the line that makes an overlay", line, |_| {})?;
        self.apply(work_folder, file)
    }

    /// Returns the devicetree with an overlay from the work folder.
    fn apply(&self, mut work_folder: WorkFolder, overlay: &str) -> Result<Self, DevicetreeError> {
        work_folder.write("tree.dtb", &self.bytes)?;
        work_folder.run("apply an overlay to the devicetree", APPLY, |command| {
            command.arg(overlay);
        })?;
        Ok(Self {
            root: self.root.clone(),
            bytes: work_folder.read("made.dtb")?,
        })
    }

    /// Returns the flattened tree.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the tree's source.
    ///
    /// # Errors
    /// `dtc` cannot read the devicetree.
    pub fn source(&self) -> Result<String, DevicetreeError> {
        let mut work_folder = WorkFolder::new(&self.root)?;
        work_folder.write("tree.dtb", &self.bytes)?;
        work_folder.run("read the tree", SOURCE, |_| {})
    }
}

/// A temporary folder in which programs of the root file system run.
struct WorkFolder {
    root: Root,
    folder: tempfile::TempDir,
}

impl WorkFolder {
    fn new(root: &Root) -> Result<Self, DevicetreeError> {
        Ok(Self {
            root: root.clone(),
            folder: tempfile::tempdir()
                .map_err(file_error("make a folder in", std::env::temp_dir()))?,
        })
    }

    /// Writes a file in the folder.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DevicetreeError> {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).map_err(file_error("write", path))
    }

    /// Reads a file in the folder.
    fn read(&self, name: &str) -> Result<Vec<u8>, DevicetreeError> {
        let path = self.folder.path().join(name);
        fs::read(&path).map_err(file_error("read", path))
    }

    /// Runs a shell command in the folder, and returns its stdout.
    fn run(
        &mut self,
        step: &'static str,
        line: &str,
        with: impl FnOnce(&mut RootCommand),
    ) -> Result<String, DevicetreeError> {
        let mut command = self.root.command("sh");
        command.args(["-c", line]);
        with(&mut command);
        command
            .bind(self.folder.path(), MOUNT_PATH)
            .workdir(MOUNT_PATH);
        let output = command.stdin(Stdio::null()).output().map_err(file_error(
            "start a shell in",
            self.root.folder().to_owned(),
        ))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let message = format!("{}: {}", output.status, text(&output.stderr).trim_end());
        Err(DevicetreeError::Tool { step, message })
    }
}

/// Returns a function that makes the error of a failed operation on a file.
fn file_error(operation: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> DevicetreeError {
    move |source| DevicetreeError::File {
        operation,
        path,
        source,
    }
}
