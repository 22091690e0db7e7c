//! The loader, an instance and a device: everything of Vulkan that is asked before an image is made.
#![allow(
    unsafe_code,
    reason = "every call of Vulkan goes through a table of functions that was loaded"
)]

mod device;
mod instance;
mod physical;

pub(super) use device::{Device, Given, Kept, Switched, TimelineFunctions};
pub(super) use instance::{Instance, NoInstance};
pub(super) use physical::{Facts, ImageKind, ImageSupport, Physical};
