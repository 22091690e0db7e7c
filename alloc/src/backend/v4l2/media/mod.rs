//! Media-controller cameras. Their video node is at the end of a pipeline of sub-devices, and programs set the links and formats
//! of the pipeline.
//!
//! The kernel checks a pipeline when its stream starts, and reports every fault as EPIPE or ENOLINK. This module finds the pad
//! that fails ([`MediaDevice::report`]), and sets up a pipeline ([`MediaDevice::set_up`]).
//!
//! `topology` checks the kernel's description of the graph, `graph` follows its links, `check` finds the fault, and `search` and
//! `setup` choose and set formats. They use the trait `access`, which `hardware` implements with ioctls.

mod access;
mod bus_code;
mod bus_format;
mod check;
mod device;
mod error;
mod fault;
#[cfg(test)]
mod fixture;
mod graph;
mod hardware;
#[cfg(test)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
mod layout;
mod node_format;
mod search;
mod setup;
mod sys;
mod topology;

pub use bus_code::BusCode;
pub use bus_format::BusFormat;
pub use device::{MediaDevice, PipelineReport};
pub use error::MediaError;
pub use fault::{PadName, PipelineFault};
#[cfg(test)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
pub(super) use layout::entries;
pub use node_format::NodeFormat;
pub use setup::{PipelineChange, PipelineRequest};
pub use topology::TopologyError;
