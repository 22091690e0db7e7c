//! One dma-buf for drivers that have never heard of each other.
//!
//! Every *participant* (a V4L2 queue, a KMS plane, a compositor's feedback, the CPU) says as plain data what it accepts. Every
//! *source* (a dma-heap, udmabuf, a card's dumb buffers, a V4L2 queue's own memory) says what it guarantees. The solver merges the
//! declarations and returns a plan: who allocates, in which format and layout, and who imports. Where no buffer can serve all, it
//! returns the split that copies least and the demands that cannot stand together.
//!
//! # Layers
//!
//! | module | does | needs |
//! | --- | --- | --- |
//! | [`model`] | formats, modifiers, extents, layouts, devices | nothing |
//! | [`constraint`] | what participants accept and sources guarantee, and how demands merge | nothing |
//! | [`mod@solve`] | from declarations to a plan, or a split with its reason | nothing |
//! | [`machine`] | machines on paper: recorded, solved elsewhere, compared | nothing |
//! | [`prove`] | plans tried on everybody; what is refused is learnt and solved around | nothing; its trials feature `buffer` |
//! | [`kernel`] | what the kernel writes of dma-bufs, parsed | nothing |
//! | [`text`] | text from outside, made safe to print and to paste | nothing |
//! | `files` | files that people name, read and replaced without harm | feature `buffer` |
//! | `buffer` | dma-bufs, untrusted descriptors, the guard for CPU access | feature `buffer` |
//! | [`sync`] | who may touch a buffer next; fences and timelines | nothing; its fences feature `buffer` |
//! | `backend` | heaps, udmabuf, DRM, GBM, Vulkan, V4L2; none knows another | one feature each |
//! | `sources` | all sources on this machine | feature `buffer` |
//! | [`trace`] | what happens to buffers, as tracing events | nothing; its writer feature `trace` |
//!
//! # Example
//!
//! A camera that takes scattered memory and a display that imports nothing but its own:
//!
//! ```
//! use covalent_alloc::constraint::{FormatSet, Imports, Participant, Role, Source, SourceId};
//! use covalent_alloc::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
//! use covalent_alloc::solve::{Request, Solution, solve};
//!
//! let card = DeviceIdentity {
//!     driver: "virtio_gpu".to_owned(),
//!     location: "virtio0".to_owned(),
//!     node: "/dev/dri/card0".to_owned(),
//! };
//! let formats = FormatSet::from([FormatModifier::linear(Fourcc::XRGB8888)]);
//!
//! let webcam = DeviceIdentity {
//!     driver: "vivid".to_owned(),
//!     location: "platform:vivid-000".to_owned(),
//!     node: "/dev/video0".to_owned(),
//! };
//! let mut camera = Participant::new("camera", webcam, Role::Capture);
//! camera.for_each_choice(|own| own.formats = Some(formats.clone()));
//! let mut display = Participant::new("display", card.clone(), Role::Display);
//! display.for_each_choice(|own| {
//!     own.formats = Some(formats.clone());
//!     own.memory.imports = Imports::only_from(card.clone(), "this card has no blob resources");
//! });
//!
//! let mut dumb = Source::new(SourceId::new("dumb:virtio_gpu"), "virtio_gpu dumb");
//! dumb.device = Some(card);
//! let heap = Source::new(SourceId::new("heap:system"), "dma-heap system");
//!
//! let solution = solve(&Request {
//!     count: 4,
//!     participants: vec![camera, display],
//!     sources: vec![heap, dumb],
//!     ..Request::new(Extent::new(640, 480)?)
//! });
//! let Solution::Share(plan) = solution else { panic!("{}", solution.explain()) };
//! assert_eq!(plan.source_name(), "virtio_gpu dumb");
//! assert_eq!(plan.layout().planes()[0].stride_bytes, 2560);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

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
pub mod prove;
#[cfg(feature = "buffer")]
pub mod sources;
pub mod sync;
pub mod trace;
