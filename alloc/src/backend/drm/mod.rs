//! DRM cards: dumb buffers as a memory source, PRIME import and framebuffers.
//!
//! A GEM handle belongs to the file description and is not reference-counted: importing a dma-buf twice returns the same handle,
//! and one GEM_CLOSE ends both imports. So no handle leaves this module, and each is closed by the call that opened it. The
//! exceptions are those of [`HostTransfer`], which has a file description of its own, and those of the backend's imports, which
//! are counted. A lock of the card prevents two threads that import one buffer from closing each other's handle.

mod backend;
mod card;
mod dumb;
mod formats;
mod framebuffer;
mod host_transfer;
mod member;
mod participant;
mod plane;
mod scanout_framebuffer;
mod sys;
mod texture;
mod trial;

pub use crate::backend::prime::ImportAbility;
pub use backend::Cards;
pub use card::Card;
pub use formats::PlaneKind;
pub use framebuffer::Framebuffer;
pub use host_transfer::HostTransfer;
pub use plane::{CardPlane, PlaneId};
pub use scanout_framebuffer::{ScanoutFramebuffer, ScanoutPlane};

use crate::text::printable_path;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::model::{FormatModifier, Fourcc};

pub use drm;

/// Why a DRM operation failed.
#[derive(Error)]
#[non_exhaustive]
pub enum DrmError {
    /// The device node cannot be opened.
    #[error("{card} cannot be opened: {source}{}", open_remedy(source), card = printable_path(card))]
    Open {
        /// The device node of the card.
        card: PathBuf,
        /// The error of the kernel.
        source: io::Error,
    },
    /// The file is not a DRM device.
    #[error("{card} is not a DRM card: DRM_IOCTL_VERSION returned {source}; `ls /dev/dri` lists the cards", card = printable_path(card))]
    NotCard {
        /// The device node of the card.
        card: PathBuf,
        /// The error of the kernel.
        source: io::Error,
    },
    /// The device number belongs to no DRM device.
    #[error("device {major}:{minor} is not a DRM device of this machine")]
    NoSuchDevice {
        /// The major number of the device.
        major: u32,
        /// The minor number of the device.
        minor: u32,
    },
    /// The card has no plane of this type.
    #[error("{card} ({driver}) has no {} plane: this card drives no display", kind.label(), card = printable_path(card))]
    NoPlane {
        /// The device node of the card.
        card: PathBuf,
        /// The card's driver.
        driver: String,
        /// The type of the plane.
        kind: PlaneKind,
    },
    /// An ioctl failed.
    #[error("{card} ({driver}): {operation} failed: {source}", card = printable_path(card))]
    Request {
        /// The device node of the card.
        card: PathBuf,
        /// The card's driver.
        driver: String,
        /// The ioctl that failed.
        operation: &'static str,
        /// The error of the kernel.
        source: io::Error,
    },
    /// The card cannot import the memory of another device.
    #[error("{card} ({driver}) refused to import a buffer from {origin}: {source}; {ability}", card = printable_path(card))]
    Import {
        /// The device node of the card.
        card: PathBuf,
        /// The card's driver.
        driver: String,
        /// The source that allocated the buffer.
        origin: String,
        /// Whether the card imports the memory of other devices.
        ability: ImportAbility,
        /// The error of the kernel.
        source: io::Error,
    },
    /// The card's ioctls cannot express the layout.
    #[error("{card} cannot allocate or scan out a buffer in {format}: {why}", card = printable_path(card))]
    Unsuitable {
        /// The device node of the card.
        card: PathBuf,
        /// The format of the buffer.
        format: FormatModifier,
        /// Why the card's ioctls cannot express the layout.
        why: &'static str,
    },
    /// The stride of the dumb buffer differs from the planned stride, and a participant does not accept it.
    #[error(
        "{card}: the dumb buffer for {fourcc} has a stride of {found} bytes instead of the planned {planned}: {why}", card = printable_path(card))]
    Allocated {
        /// The device node of the card.
        card: PathBuf,
        /// The planned format.
        fourcc: Fourcc,
        /// The planned stride in bytes.
        planned: u32,
        /// The stride of the dumb buffer in bytes.
        found: u32,
        /// The participant that does not accept the stride, or why the layout with that stride is not valid.
        why: String,
    },
    /// The allocation would exceed the available memory, and the kernel would kill processes to free some.
    #[error(
        "{card}: {needed_bytes} bytes are needed, and only {available_bytes} are available without harm to other programs; nothing was allocated", card = printable_path(card))]
    Budget {
        /// The device node of the card.
        card: PathBuf,
        /// The size of all buffers of the plan, in bytes.
        needed_bytes: u64,
        /// The available memory, in bytes.
        available_bytes: u64,
    },
    /// The plan is for another source than this card's.
    #[error("{card} cannot allocate this plan, which is for the source {planned}; allocate from that source", card = printable_path(card))]
    NotPlanned {
        /// The device node of the card.
        card: PathBuf,
        /// The source that the plan names.
        planned: String,
    },
    /// The exported dma-buf cannot be used for the plan.
    #[error("{card}: the allocated buffer cannot be used: {why}", card = printable_path(card))]
    Unusable {
        /// The device node of the card.
        card: PathBuf,
        /// Why the dma-buf cannot be used.
        why: String,
    },
}

crate::debug_as_display!(DrmError);

fn open_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; add the user to the group `video`, or run the program in an active session"
        }
        io::ErrorKind::NotFound => "; `ls /dev/dri` lists the cards",
        _ => "",
    }
}
