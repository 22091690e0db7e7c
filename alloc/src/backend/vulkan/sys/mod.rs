//! The loader, the instance, physical devices and devices: all Vulkan calls that precede the creation of an image.
#![allow(
    unsafe_code,
    reason = "every call of Vulkan goes through a table of functions that was loaded"
)]

mod device;
mod instance;
mod physical;

pub(super) use device::{Device, DeviceAndQueue, EnabledOnDevice, PendingWork, TimelineFunctions};
pub(super) use instance::{Instance, InstanceError};
pub(super) use physical::{DeviceProperties, ImageKind, ImageSupport, Physical};
