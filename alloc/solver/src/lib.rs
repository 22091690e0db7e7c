//! Finds a buffer that several devices can share: merges their constraints and solves them. This crate has no I/O and no unsafe
//! code.
//!
//! | module | content |
//! | --- | --- |
//! | [`model`] | formats, modifiers, extents, layouts, device identities |
//! | [`constraint`] | what participants accept, what sources guarantee, and how constraints merge |
//! | [`mod@solve`] | solves a request: the result is a plan, or a split with the cheapest copy and the reason for it |
//! | [`text`] | escapes untrusted text for printing and pasting |
//! | [`reading`] | bounded deserialisation that keeps the fields of newer versions |
//!
//! # Example
//!
//! A camera accepts scattered memory, and a display imports only its own card's memory:
//!
//! ```
//! use covalent_solver::constraint::{FormatSet, Imports, Participant, Role, Source, SourceId};
//! use covalent_solver::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
//! use covalent_solver::solve::{Request, Solution, solve};
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

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod constraint;
pub mod model;
pub mod reading;
pub mod solve;
pub mod text;
