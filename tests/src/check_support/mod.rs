//! The code that `covalent-alloc-check`, `covalent-alloc-bench` and `covalent-interop-check` share: this machine's sources, pixel
//! patterns, codecs, and the detection of leaked fds, dma-bufs and handles.

mod baseline;
pub mod codec;
mod handles;
pub mod pixels;
mod sources;
pub mod sys;

pub use baseline::Baseline;
pub use handles::CardHandles;
pub use sources::Sources;

use anyhow::Result;
use covalent_alloc::constraint::{FormatSet, Participant, Role};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};

/// Returns the CPU as a participant that writes linear buffers of one format.
#[must_use]
pub fn processor(fourcc: Fourcc) -> Participant {
    let mut processor = Participant::processor(Role::CpuWrite);
    processor.for_each_choice(|own| {
        own.formats = Some(FormatSet::from([FormatModifier::linear(fourcc)]))
    });
    processor
}

/// Returns the size 640x480, which every device of the guest supports.
///
/// # Errors
/// None, because the size is valid.
pub fn vga() -> Result<Extent> {
    Ok(Extent::new(640, 480)?)
}
