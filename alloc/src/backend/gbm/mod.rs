//! GBM devices, as memory sources that allocate with explicit modifiers, and as importers.
//!
//! - Explicit and implicit modifiers are never mixed: a buffer is allocated with a list of modifiers, and the layout of each
//!   plane is read back. If a driver does not support modifiers, a linear buffer is allocated, and used only if the driver
//!   reports it as linear.
//! - Each device has a file description of its own, which no other module uses. Mesa keeps a table of the GEM handles of that
//!   file description, so a GEM_CLOSE by other code would free memory that Mesa still uses.
//! - Mesa's drivers run in this process and can end it. Opening a device and [`Gbm::formats`] only query it and allocate one
//!   small buffer; try [`Gbm::allocate`] and [`Gbm::import`] in a child process first.

mod backend;
mod device;
mod import;
mod member;
mod participant;
mod source;

pub use crate::backend::prime::ImportAbility;
pub use backend::GbmDevices;
pub use device::Gbm;
pub use import::Imported;
pub use member::GbmMember;

use crate::text::printable_path;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::model::FormatModifier;

/// Why a GBM operation failed.
#[derive(Error)]
#[non_exhaustive]
pub enum GbmError {
    /// The device node cannot be opened.
    #[error("{node} cannot be opened: {source}{}", open_remedy(source), node = printable_path(node))]
    Open {
        /// The device node of the GBM device.
        node: PathBuf,
        /// The error of the kernel.
        source: io::Error,
    },
    /// Mesa has no driver for the device.
    #[error(
        "{node} ({driver}) has no GBM: {source}; Debian's package libgl1-mesa-dri contains Mesa's drivers", node = printable_path(node))]
    Device {
        /// The device node of the GBM device.
        node: PathBuf,
        /// The name of the kernel driver.
        driver: String,
        /// The error of GBM.
        source: io::Error,
    },
    /// GBM cannot express the layout.
    #[error("{node}: GBM has no buffers in {format}: {why}", node = printable_path(node))]
    Unsuitable {
        /// The device node of the GBM device.
        node: PathBuf,
        /// The format of the layout.
        format: FormatModifier,
        /// Why GBM cannot express the layout.
        why: String,
    },
    /// The driver could not allocate a buffer.
    #[error("{node} ({driver}): gbm_bo_create_with_modifiers for {format} failed: {source}{hint}", node = printable_path(node))]
    Allocate {
        /// The device node of the GBM device.
        node: PathBuf,
        /// The name of the kernel driver.
        driver: String,
        /// The format of the buffer that was requested.
        format: FormatModifier,
        /// The error of GBM.
        source: io::Error,
        /// The probable cause, or empty.
        hint: String,
    },
    /// The driver cannot import the memory of another device.
    #[error("{node} ({driver}) refused to import a buffer from {origin}: {source}", node = printable_path(node))]
    Import {
        /// The device node of the GBM device.
        node: PathBuf,
        /// The name of the kernel driver.
        driver: String,
        /// The source that allocated the buffer.
        origin: String,
        /// The error of GBM.
        source: io::Error,
    },
    /// The driver cannot map a buffer.
    #[error("{node} ({driver}): gbm_bo_map failed: {source}", node = printable_path(node))]
    Map {
        /// The device node of the GBM device.
        node: PathBuf,
        /// The name of the kernel driver.
        driver: String,
        /// The error of GBM.
        source: io::Error,
    },
    /// The allocated buffer cannot be used for the plan.
    #[error("{node} ({driver}): the allocated buffer cannot be used: {why}", node = printable_path(node))]
    Unusable {
        /// The device node of the GBM device.
        node: PathBuf,
        /// The name of the kernel driver.
        driver: String,
        /// Why the buffer cannot be used.
        why: String,
    },
    /// The allocation would exceed the available memory.
    #[error(
        "{node}: {needed_bytes} bytes are needed, and only {available_bytes} are available without harm to other programs; nothing was allocated", node = printable_path(node))]
    Budget {
        /// The device node of the GBM device.
        node: PathBuf,
        /// The size of all buffers of the plan, in bytes.
        needed_bytes: u64,
        /// The available memory, in bytes.
        available_bytes: u64,
    },
    /// The plan is for another source than this device's.
    #[error("{node} cannot allocate this plan, which is for the source {planned}; allocate from that source", node = printable_path(node))]
    NotPlanned {
        /// The device node of the GBM device.
        node: PathBuf,
        /// The source that the plan names.
        planned: String,
    },
}

crate::debug_as_display!(GbmError);

fn open_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; add the user to the group `render` or `video`",
        io::ErrorKind::NotFound => "; `ls /dev/dri` lists the cards",
        _ => "",
    }
}
