//! One dma-buf for drivers that have never heard of each other: a camera, a GPU, a display, a codec, a program.
//!
//! A camera's queue answers EINVAL to a buffer that the display allocated; the display cannot import what the camera allocated. Which
//! buffer do both take? Each *participant* says as plain data what it accepts, each *source* of memory what it guarantees. The solver
//! returns a plan: who allocates, in which format and layout, who imports. Where no buffer can serve all, it returns the copy that
//! costs least, and the constraints that conflict, each with its owner.
//!
//! # The first buffer
//!
//! `collection::BufferCollection` does all of it: it asks the devices, solves, allocates, and imports.
//!
//! ```no_run
//! # #[cfg(all(feature = "v4l2", feature = "drm"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::path::Path;
//!
//! use covalent_alloc::backend::drm::Card;
//! use covalent_alloc::backend::v4l2::{Device, Direction};
//! use covalent_alloc::collection::BufferCollection;
//! use covalent_alloc::model::Extent;
//!
//! let camera = Device::open(Path::new("/dev/video0"))?.queue(Direction::Capture)?;
//! let plane = Card::open(Path::new("/dev/dri/card0"))?.primary_plane()?;
//! let mut collection = BufferCollection::new(Extent::new(1280, 720)?).with_count(4);
//! collection.add(&camera)?.add(&plane)?;
//! let plan = collection.solve().guaranteed()?; // the error prints who cannot go together
//! let buffers = collection.allocate(&plan)?;
//! let stream = collection.import(&camera, &buffers)?;
//! let framebuffers = collection.import(&plane, &buffers)?;
//! # let _ = (stream, framebuffers);
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "v4l2", feature = "drm")))]
//! # fn main() {}
//! ```
//!
//! The folder `examples` has this as a whole program that shows the frames, the same for Vulkan, a buffer for a process that is not
//! trusted, a plan for a machine that is not here, and one that fails with its reason.
//!
//! # Layers
//!
//! Each can be used alone. The first five are the crates `covalent-solver` and `covalent-machine`, which open nothing.
//!
//! | module | does | needs |
//! | --- | --- | --- |
//! | [`model`] | formats, modifiers, extents, layouts, devices | nothing |
//! | [`constraint`] | what participants accept and sources guarantee, and how constraints merge | nothing |
//! | [`mod@solve`] | from declarations to a plan, or a split with its reason | nothing |
//! | [`machine`] | machines on paper: recorded, solved elsewhere, compared; what drivers are known to refuse | nothing |
//! | [`kernel`], [`text`] | what the kernel writes of dma-bufs, parsed; text from outside, made safe to print | nothing |
//! | `collection` | the entry point | feature `buffer` |
//! | `backend` | one folder and one feature for each kind of device, all behind one trait | feature `buffer` |
//! | `buffer` | dma-bufs, untrusted descriptors, the guard for CPU access | feature `buffer` |
//! | [`sync`] | who may touch a buffer next; fences and timelines | nothing; its fences feature `buffer` |
//! | [`prove`] | plans tried in a helper process; what is refused is kept and solved around | feature `buffer` |
//! | `files` | files that people name, read and replaced without harm | feature `buffer` |
//! | [`trace`] | what happens to buffers, as tracing events | nothing; its writer feature `trace` |

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

/// Writes an error for programmers as it is displayed: a `main` that returns an error prints this, and its reader wants operation,
/// device, cause and remedy.
#[cfg(feature = "buffer")]
macro_rules! debug_as_display {
    ($error:ty) => {
        impl std::fmt::Debug for $error {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, out)
            }
        }
    };
}
#[cfg(feature = "buffer")]
pub(crate) use debug_as_display;

#[cfg(feature = "buffer")]
pub use rustix;

pub use covalent_machine as machine;
pub use covalent_machine::kernel;
pub use covalent_solver::{constraint, model, solve, text};

#[cfg(test)]
#[cfg(all(
    feature = "buffer",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")
))]
mod abi;
#[cfg(feature = "buffer")]
pub mod backend;
#[cfg(feature = "buffer")]
pub mod buffer;
#[cfg(feature = "buffer")]
pub mod collection;
#[cfg(feature = "buffer")]
pub mod files;
pub mod sync;
pub mod trace;
pub mod trial;
