//! The board's devicetree: QEMU's own, and what overlays make of it.
//!
//! QEMU describes the machine that it is to the kernel, and dumps that description when it is asked. `dtc` and `fdtoverlay`
//! edit it in the root as a board's maker or loader would; QEMU then boots with the result.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use super::image::Image;
use super::platform::Platform;
use super::qemu::{self, Machine};
use super::root::{Root, RootCommand};

/// The board's camera, which QEMU does not have: vivid serves it.
pub const CAMERA: &str = include_str!("../../board/camera.dts");
/// Memory that is set aside, and the camera's link to it.
pub const POOLS: &str = include_str!("../../board/pools.dts");

/// Where a step's files are in the root.
const PLACE: &str = "/run/covalent/tree";

/// Dumps QEMU's own tree, for which it leaves a megabyte of room: the words behind `$0` are QEMU's.
const DUMP: &str =
    r#""$0" "$@" -machine dumpdtb=dump.dtb && exec dtc -q -I dtb -O dtb -o own.dtb dump.dtb"#;
/// Makes an overlay of its source.
const COMPILE: &str = "dtc -q -@ -I dts -O dtb -o overlay.dtbo overlay.dts";
/// Lays the overlay with the name `$0` over the tree.
const APPLY: &str = r#"exec fdtoverlay -i tree.dtb -o made.dtb "$0""#;
/// Prints the tree's source.
const SOURCE: &str = "exec dtc -q -I dtb -O dts tree.dtb";

/// Why there is no such tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevicetreeError {
    /// A tool is not content.
    #[error("{step}: {words}")]
    Tool {
        /// What was done.
        step: &'static str,
        /// What the tool said.
        words: String,
    },
    /// The file system refused.
    #[error("{operation} {path}: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
}

/// A flattened tree.
#[derive(Debug, Clone)]
pub struct Devicetree {
    root: Root,
    bytes: Vec<u8>,
}

impl Devicetree {
    /// The tree that QEMU itself makes for this machine.
    ///
    /// # Errors
    /// Where QEMU does not dump it.
    pub fn of_qemu(image: &Image, machine: &Machine) -> Result<Self, DevicetreeError> {
        let mut step = Step::begin(&image.root)?;
        step.run("dump QEMU's devicetree", DUMP, |command| {
            command
                .arg(image.platform.qemu())
                .args(qemu::hardware(machine));
        })?;
        Ok(Self {
            root: image.root.clone(),
            bytes: step.read("own.dtb")?,
        })
    }

    /// The tree that a machine boots with: the one that was asked for, else the board's usual one, QEMU's with a camera and
    /// memory for it; `None` for a PC.
    ///
    /// # Errors
    /// Those of [`Devicetree::of_qemu`] and [`Devicetree::overlaid`].
    pub fn chosen(image: &Image, machine: &Machine) -> Result<Option<Self>, DevicetreeError> {
        if image.platform == Platform::Pc || machine.devicetree.is_some() {
            return Ok(machine.devicetree.clone());
        }
        let board = Self::of_qemu(image, machine)?;
        board.overlaid(CAMERA)?.overlaid(POOLS).map(Some)
    }

    /// This tree with an overlay, given as source.
    ///
    /// # Errors
    /// Where the source is none, or does not fit the tree.
    pub fn overlaid(&self, source: &str) -> Result<Self, DevicetreeError> {
        let mut step = Step::begin(&self.root)?;
        step.write("overlay.dts", source.as_bytes())?;
        step.run("compile an overlay", COMPILE, |_| {})?;
        self.apply(step, "overlay.dtbo")
    }

    /// This tree with the overlay that a line of shell makes, as somebody would who was told that line.
    ///
    /// # Errors
    /// Where the line fails, makes no file of this name, or what it makes does not fit the tree.
    pub fn overlaid_by(&self, line: &str, file: &str) -> Result<Self, DevicetreeError> {
        let mut step = Step::begin(&self.root)?;
        step.run("run the line that makes an overlay", line, |_| {})?;
        self.apply(step, file)
    }

    fn apply(&self, mut step: Step, overlay: &str) -> Result<Self, DevicetreeError> {
        step.write("tree.dtb", &self.bytes)?;
        step.run("lay an overlay over the tree", APPLY, |command| {
            command.arg(overlay);
        })?;
        Ok(Self {
            root: self.root.clone(),
            bytes: step.read("made.dtb")?,
        })
    }

    /// The tree's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The tree's source, for who wants to read it.
    ///
    /// # Errors
    /// Where `dtc` does not read it.
    pub fn source(&self) -> Result<String, DevicetreeError> {
        let mut step = Step::begin(&self.root)?;
        step.write("tree.dtb", &self.bytes)?;
        step.run("read the tree", SOURCE, |_| {})
    }
}

/// A folder in which tools of the root work, and which is gone afterwards.
struct Step {
    root: Root,
    folder: tempfile::TempDir,
}

impl Step {
    fn begin(root: &Root) -> Result<Self, DevicetreeError> {
        Ok(Self {
            root: root.clone(),
            folder: tempfile::tempdir().map_err(at("make a folder in", std::env::temp_dir()))?,
        })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DevicetreeError> {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).map_err(at("write", path))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, DevicetreeError> {
        let path = self.folder.path().join(name);
        fs::read(&path).map_err(at("read", path))
    }

    /// Runs a line of shell there, and returns what it prints.
    fn run(
        &mut self,
        step: &'static str,
        line: &str,
        with: impl FnOnce(&mut RootCommand),
    ) -> Result<String, DevicetreeError> {
        let mut command = self.root.command("sh");
        command.args(["-c", line]);
        with(&mut command);
        command.bind(self.folder.path(), PLACE).workdir(PLACE);
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(at("start a shell in", self.root.folder().to_owned()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let words = format!("{}: {}", output.status, text(&output.stderr).trim_end());
        Err(DevicetreeError::Tool { step, words })
    }
}

fn at(operation: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> DevicetreeError {
    move |source| DevicetreeError::File {
        operation,
        path,
        source,
    }
}
