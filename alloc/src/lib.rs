//! Finds, allocates and imports dma-bufs that several devices can share: cameras, GPUs, displays, codecs and the CPU.
//!
//! A camera's queue may return EINVAL for a buffer that the display allocated, and the display may not be able to import a buffer
//! of the camera. This crate finds a buffer that both accept. Each *participant* (one use of a device, such as a V4L2 queue or a
//! KMS plane) declares its constraints as plain data, and each *source* of memory (such as a dma-heap) declares its guarantees.
//! The solver returns a plan: which source allocates the buffers, in which format and layout, and which devices import them. If
//! no buffer satisfies all participants, the solver returns the cheapest copy, and the constraints that conflict, each with its
//! owner.
//!
//! # The first buffer
//!
//! `collection::BufferCollection` is the entry point: it queries the devices, solves, allocates and imports.
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
//! let plan = collection.solve().guaranteed()?; // the error names the constraints that conflict
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
//! The folder `examples` has complete programs: the frames of a camera on a display (`camera-to-kms`), in a Vulkan device
//! (`camera-to-vulkan`), in an encoder (`camera-to-encoder`) and in another process (`camera-to-process`), decoded pictures in a
//! GPU and on a display (`decoder-to-gpu`), the images of a Vulkan device on a display (`vulkan-to-kms`), a buffer for an
//! untrusted process (`share-with-process`), a plan for a recorded machine (`plan-on-paper`), and a plan that fails with its
//! reason (`why-no-plan`).
//!
//! # Layers
//!
//! Each layer can be used alone. The first five are the crates `covalent-solver` and `covalent-machine`, which open no device.
//!
//! | module | contains | needs |
//! | --- | --- | --- |
//! | [`model`] | formats, modifiers, extents, layouts, devices | nothing |
//! | [`constraint`] | the constraints of participants, the guarantees of sources, and the merge of constraints | nothing |
//! | [`mod@solve`] | the solver: from declarations to a plan, or to a split with its reason | nothing |
//! | [`machine`] | recorded machines, which can be solved elsewhere and compared, and trial results | nothing |
//! | [`kernel`], [`text`] | parsers of the kernel's text about dma-bufs; functions that make foreign text printable | nothing |
//! | `collection` | the entry point | feature `buffer` |
//! | `backend` | one folder and one feature for each kind of device, behind one trait | feature `buffer` |
//! | `buffer` | dma-bufs, untrusted descriptors, the guard of CPU access | feature `buffer` |
//! | [`sync`] | the order of accesses to a buffer; fences and timelines | nothing; its fences feature `buffer` |
//! | [`trial`] | trials of plans in a helper process, and the results that are kept | feature `buffer` |
//! | `files` | safe reading and replacing of files that people name | feature `buffer` |
//! | [`trace`] | trace events of buffers | nothing; its writer feature `trace` |

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

/// Implements `Debug` for an error with the text of its `Display`. A `main` that returns an error prints its `Debug`, and a user
/// needs the operation, device, cause and remedy.
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
mod system_error;
#[cfg(feature = "buffer")]
pub use system_error::SystemError;

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
