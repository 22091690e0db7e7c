//! What programs that check devices have in common: patterns of pixels, fences that are held back, what is held before and
//! after.

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

/// The processor, which writes and reads linear pictures in one format.
#[must_use]
pub fn processor(fourcc: Fourcc) -> Participant {
    let mut processor = Participant::processor(Role::CpuWrite);
    processor.for_each_choice(|own| {
        own.formats = Some(FormatSet::from([FormatModifier::linear(fourcc)]))
    });
    processor
}

/// 640x480, which every device of the guest has.
///
/// # Errors
/// None: the size is one.
pub fn vga() -> Result<Extent> {
    Ok(Extent::new(640, 480)?)
}
