//! DRM cards: dumb buffers as a source, PRIME import and framebuffers as a participant.
//!
//! A GEM handle belongs to the file description and is not counted: importing a dma-buf twice gives the same handle, and
//! closing it once closes both. So no handle leaves this module, none outlives the call that made it, and a lock on the
//! card keeps two imports of one buffer from closing each other's handle.

mod backend;
mod card;
mod dumb;
mod formats;
mod framebuffer;
mod host_transfer;
mod member;
mod participant;
mod plane;
mod shown;
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
pub use shown::{Shown, ShownPlane};

use crate::text::printable_path;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::model::{FormatModifier, Fourcc};

pub use drm;

/// Why a card did not do what was asked.
#[derive(Error)]
#[non_exhaustive]
pub enum DrmError {
    /// The node cannot be opened.
    #[error("{card} cannot be opened: {source}{}", open_remedy(source), card = printable_path(card))]
    Open {
        /// The node.
        card: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The node is no DRM device.
    #[error("{card} is no DRM card: DRM_IOCTL_VERSION answered {source}; /dev/dri has those that are there", card = printable_path(card))]
    NotCard {
        /// The node.
        card: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// No node belongs to the device number.
    #[error("device {major}:{minor} is no DRM device of this machine")]
    NoSuchDevice {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// The card has no plane of this kind.
    #[error("{card} ({driver}) has no {} plane: it drives no display", kind.label(), card = printable_path(card))]
    NoPlane {
        /// The node.
        card: PathBuf,
        /// The card's driver.
        driver: String,
        /// The kind.
        kind: PlaneKind,
    },
    /// A request failed.
    #[error("{card} ({driver}): {operation} failed: {source}", card = printable_path(card))]
    Request {
        /// The node.
        card: PathBuf,
        /// The card's driver.
        driver: String,
        /// The request, as the kernel names it.
        operation: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The card refused memory that another device allocated.
    #[error("{card} ({driver}) refused to import a buffer from {origin}: {source}; {ability}", card = printable_path(card))]
    Import {
        /// The node.
        card: PathBuf,
        /// The card's driver.
        driver: String,
        /// Where the buffer came from.
        origin: String,
        /// What the card says of imports.
        ability: ImportAbility,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The buffer cannot be a framebuffer of any card.
    #[error("{card}: a framebuffer in {format} cannot be made: {why}", card = printable_path(card))]
    Unsuitable {
        /// The node.
        card: PathBuf,
        /// The buffer's format.
        format: FormatModifier,
        /// What stands in the way.
        why: &'static str,
    },
    /// What the card allocated is not what was planned.
    #[error(
        "{card}: the dumb buffer for {fourcc} came with a stride of {found} bytes, planned were {planned}: {why}", card = printable_path(card))]
    Allocated {
        /// The node.
        card: PathBuf,
        /// The planned format.
        fourcc: Fourcc,
        /// The planned stride.
        planned: u32,
        /// The stride that came.
        found: u32,
        /// Who does not accept it, or what is wrong with it.
        why: String,
    },
    /// More than the machine can give: the kernel would kill other processes to find it.
    #[error(
        "{card} was not asked for {needed_bytes} bytes: only {available_bytes} can be taken without harm to others", card = printable_path(card))]
    Budget {
        /// The node.
        card: PathBuf,
        /// What all buffers need.
        needed_bytes: u64,
        /// What there is.
        available_bytes: u64,
    },
    /// The plan names another source.
    #[error("{card}: the plan is for {planned}, which has to allocate it", card = printable_path(card))]
    NotPlanned {
        /// The node.
        card: PathBuf,
        /// The source that the plan names.
        planned: String,
    },
    /// What the card gave is no usable dma-buf.
    #[error("{card}: what was allocated is unusable: {why}", card = printable_path(card))]
    Unusable {
        /// The node.
        card: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

crate::debug_as_display!(DrmError);

fn open_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the user needs the group `video` or a seat of its own"
        }
        io::ErrorKind::NotFound => "; `ls /dev/dri` lists the cards that are there",
        _ => "",
    }
}
