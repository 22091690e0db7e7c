//! GBM devices: Mesa's allocator as a source with explicit modifiers, and its import.
//!
//! - Explicit and implicit modifiers never mix: a buffer is asked for with a list of modifiers, and what came is read back
//!   plane by plane. Where a driver knows no modifiers, a linear buffer is asked for and believed only if the driver says so.
//! - The file description is this module's own. Mesa keeps a table of the GEM handles of its file, and a handle that
//!   somebody else closes on the same file takes the memory away from under it.
//! - Mesa's drivers run in this process and may end it. Opening a device and [`Gbm::formats`] ask and make one small buffer;
//!   [`Gbm::allocate`] and [`Gbm::import`] should first be tried in a child process that may die.

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
pub use member::GbmUse;

use crate::text::printable_path;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::model::FormatModifier;

/// Why GBM did not do what was asked.
#[derive(Error)]
#[non_exhaustive]
pub enum GbmError {
    /// The node cannot be opened.
    #[error("{node} cannot be opened: {source}; the user needs the group `render` or `video`", node = printable_path(node))]
    Open {
        /// The node.
        node: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Mesa has no driver for it.
    #[error(
        "{node} ({driver}) has no GBM: {source}; Debian's package libgl1-mesa-dri brings Mesa's drivers", node = printable_path(node))]
    Device {
        /// The node.
        node: PathBuf,
        /// The kernel's driver.
        driver: String,
        /// What GBM answered.
        source: io::Error,
    },
    /// GBM has no way to describe the buffer.
    #[error("{node}: GBM has no buffers in {format}: {why}", node = printable_path(node))]
    Unsuitable {
        /// The node.
        node: PathBuf,
        /// The format.
        format: FormatModifier,
        /// What stands in the way.
        why: String,
    },
    /// The driver did not allocate.
    #[error("{node} ({driver}): gbm_bo_create_with_modifiers for {format} failed: {source}{hint}", node = printable_path(node))]
    Allocate {
        /// The node.
        node: PathBuf,
        /// The kernel's driver.
        driver: String,
        /// The format.
        format: FormatModifier,
        /// What GBM answered.
        source: io::Error,
        /// What may stand behind it.
        hint: String,
    },
    /// The driver refused memory that another device allocated.
    #[error("{node} ({driver}) refused to import a buffer from {origin}: {source}", node = printable_path(node))]
    Import {
        /// The node.
        node: PathBuf,
        /// The kernel's driver.
        driver: String,
        /// Where the buffer came from.
        origin: String,
        /// What GBM answered.
        source: io::Error,
    },
    /// The driver does not map a buffer.
    #[error("{node} ({driver}): gbm_bo_map failed: {source}", node = printable_path(node))]
    Map {
        /// The node.
        node: PathBuf,
        /// The kernel's driver.
        driver: String,
        /// What GBM answered.
        source: io::Error,
    },
    /// What the driver gave is not what was planned.
    #[error("{node} ({driver}): what it allocated is not usable: {why}", node = printable_path(node))]
    Unusable {
        /// The node.
        node: PathBuf,
        /// The kernel's driver.
        driver: String,
        /// What is wrong with it.
        why: String,
    },
    /// More than the machine can give.
    #[error(
        "{node} was not asked for {needed_bytes} bytes: only {available_bytes} can be taken without harm to others", node = printable_path(node))]
    Budget {
        /// The node.
        node: PathBuf,
        /// What all buffers need.
        needed_bytes: u64,
        /// What there is.
        available_bytes: u64,
    },
    /// The plan names another source.
    #[error("{node}: the plan is for {planned}, which has to allocate it", node = printable_path(node))]
    NotPlanned {
        /// The node.
        node: PathBuf,
        /// The source that the plan names.
        planned: String,
    },
}

crate::debug_as_display!(GbmError);
