//! The Vulkan calls that precede the creation of an image: for the loader, the instance, physical devices and devices.
#![allow(
    unsafe_code,
    reason = "Vulkan functions are called through pointers that are loaded at run time"
)]

mod device;
mod instance;
mod physical;

pub(super) use device::{Device, DeviceAndQueue, EnabledOnDevice, PendingWork, TimelineFunctions};
pub(super) use instance::{Instance, InstanceError};
pub(super) use physical::{DeviceProperties, ImageKind, ImageSupport, Physical};
