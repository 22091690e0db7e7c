//! The loader, the instance, physical devices and devices: all Vulkan calls that precede the creation of an image.
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
