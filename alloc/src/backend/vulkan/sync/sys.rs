//! Semaphores and fences, and their import from and export to file descriptors.
#![allow(
    unsafe_code,
    reason = "Vulkan functions are called through pointers that are loaded at run time"
)]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use ash::vk;

use super::{DeviceFence, Semaphore};
use crate::backend::vulkan::sys::{Device, TimelineFunctions};

const SYNC_FILE: vk::ExternalSemaphoreHandleTypeFlags =
    vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD;
const OPAQUE: vk::ExternalSemaphoreHandleTypeFlags =
    vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;
const FENCE_SYNC_FILE: vk::ExternalFenceHandleTypeFlags = vk::ExternalFenceHandleTypeFlags::SYNC_FD;

/// The result code that is returned if the function of an extension is not loaded.
const NOT_LOADED: vk::Result = vk::Result::ERROR_EXTENSION_NOT_PRESENT;

/// The type of a semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SemaphoreKind {
    /// A binary semaphore.
    Binary {
        /// Whether the semaphore can be exported as a sync_file.
        exportable: bool,
    },
    /// A timeline semaphore.
    Timeline {
        /// Whether the semaphore can be exported as an opaque fd for another process or driver.
        shared: bool,
    },
}

/// An owned VkSemaphore.
pub(in crate::backend::vulkan) struct RawSemaphore {
    device: Arc<Device>,
    pub(in crate::backend::vulkan) raw: vk::Semaphore,
}

impl Drop for RawSemaphore {
    fn drop(&mut self) {
        // SAFETY: the semaphore is of this device, and work that was submitted with it keeps it until the work has finished.
        unsafe { self.device.raw.destroy_semaphore(self.raw, None) };
    }
}

impl RawSemaphore {
    /// Creates a semaphore. The device must support this kind.
    pub(super) fn new(device: &Arc<Device>, kind: SemaphoreKind) -> Result<Self, vk::Result> {
        let (kind, handles) = match kind {
            SemaphoreKind::Binary { exportable } => {
                (vk::SemaphoreType::BINARY, exportable.then_some(SYNC_FILE))
            }
            SemaphoreKind::Timeline { shared } => {
                (vk::SemaphoreType::TIMELINE, shared.then_some(OPAQUE))
            }
        };
        let mut type_info = vk::SemaphoreTypeCreateInfo::default().semaphore_type(kind);
        let mut export =
            vk::ExportSemaphoreCreateInfo::default().handle_types(handles.unwrap_or_default());
        let mut info = vk::SemaphoreCreateInfo::default();
        if kind == vk::SemaphoreType::TIMELINE {
            info = info.push_next(&mut type_info);
        }
        if handles.is_some() {
            info = info.push_next(&mut export);
        }
        // SAFETY: the chain is complete and outlives the call; the device supports semaphores of this kind.
        let raw = unsafe { device.raw.create_semaphore(&info, None) }?;
        Ok(Self {
            device: Arc::clone(device),
            raw,
        })
    }

    /// Imports a sync_file as the payload of the next wait (a temporary import).
    pub(super) fn import_sync_file(&self, fd: OwnedFd) -> Result<(), vk::Result> {
        // Vulkan permits only temporary imports of a sync_file, because its payload is copied.
        self.import_fd(fd, SYNC_FILE, vk::SemaphoreImportFlags::TEMPORARY)
    }

    /// Imports the semaphore of another process or driver from an opaque fd, permanently.
    pub(super) fn import_opaque(&self, fd: OwnedFd) -> Result<(), vk::Result> {
        self.import_fd(fd, OPAQUE, vk::SemaphoreImportFlags::empty())
    }

    fn import_fd(
        &self,
        fd: OwnedFd,
        kind: vk::ExternalSemaphoreHandleTypeFlags,
        flags: vk::SemaphoreImportFlags,
    ) -> Result<(), vk::Result> {
        let functions = self.device.semaphore_fd.as_ref().ok_or(NOT_LOADED)?;
        let number = fd.into_raw_fd();
        let info = vk::ImportSemaphoreFdInfoKHR::default()
            .semaphore(self.raw)
            .flags(flags)
            .handle_type(kind)
            .fd(number);
        // SAFETY: the semaphore is of this device and no work uses it; the fd is owned, and ownership passes to the driver.
        unsafe { functions.import_semaphore_fd(&info) }.inspect_err(|_| {
            // SAFETY: a failed import does not take ownership of the fd (VkImportSemaphoreFdInfoKHR).
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        })
    }

    /// Exports the payload that submitted work signals as a sync_file; `None` if the driver reports that it is already signalled.
    ///
    /// Some drivers block in this call until the payload is signalled.
    pub(super) fn export_sync_file(&self) -> Result<Option<OwnedFd>, vk::Result> {
        self.export_fd(SYNC_FILE)
    }

    /// Exports the semaphore as an opaque fd for another process or driver.
    pub(super) fn export_opaque(&self) -> Result<OwnedFd, vk::Result> {
        self.export_fd(OPAQUE)?
            .ok_or(vk::Result::ERROR_TOO_MANY_OBJECTS)
    }

    fn export_fd(
        &self,
        kind: vk::ExternalSemaphoreHandleTypeFlags,
    ) -> Result<Option<OwnedFd>, vk::Result> {
        let functions = self.device.semaphore_fd.as_ref().ok_or(NOT_LOADED)?;
        let info = vk::SemaphoreGetFdInfoKHR::default()
            .semaphore(self.raw)
            .handle_type(kind);
        // SAFETY: the semaphore was created with this handle type; for a sync_file a signal operation is submitted and not yet
        // waited for.
        let number = unsafe { functions.get_semaphore_fd(&info) }?;
        Ok(owned(number))
    }

    /// Returns the current value of a timeline semaphore.
    pub(super) fn value(&self) -> Result<u64, vk::Result> {
        let functions = self.device.timeline.as_ref().ok_or(NOT_LOADED)?;
        // SAFETY: the semaphore is a timeline of this device.
        unsafe {
            match functions {
                TimelineFunctions::Core => self.device.raw.get_semaphore_counter_value(self.raw),
                TimelineFunctions::Extension(own) => own.get_semaphore_counter_value(self.raw),
            }
        }
    }

    /// Signals a timeline semaphore from the CPU.
    pub(super) fn signal(&self, value: u64) -> Result<(), vk::Result> {
        let functions = self.device.timeline.as_ref().ok_or(NOT_LOADED)?;
        let info = vk::SemaphoreSignalInfo::default()
            .semaphore(self.raw)
            .value(value);
        // SAFETY: the semaphore is a timeline of this device; the caller has checked that the value is larger than the current
        // one.
        unsafe {
            match functions {
                TimelineFunctions::Core => self.device.raw.signal_semaphore(&info),
                TimelineFunctions::Extension(own) => own.signal_semaphore(&info),
            }
        }
    }

    /// Waits until a timeline semaphore reaches a value; returns `false` after the timeout.
    pub(super) fn wait(&self, value: u64, nanoseconds: u64) -> Result<bool, vk::Result> {
        let functions = self.device.timeline.as_ref().ok_or(NOT_LOADED)?;
        let (semaphores, values) = ([self.raw], [value]);
        let info = vk::SemaphoreWaitInfo::default()
            .semaphores(&semaphores)
            .values(&values);
        // SAFETY: the semaphore is a timeline of this device and lives until the call returns.
        timeout_as_false(unsafe {
            match functions {
                TimelineFunctions::Core => self.device.raw.wait_semaphores(&info, nanoseconds),
                TimelineFunctions::Extension(own) => own.wait_semaphores(&info, nanoseconds),
            }
        })
    }
}

impl Semaphore {
    /// Records that the application has submitted work that signals this semaphore, so that [`Semaphore::export`] may export a
    /// sync_file.
    ///
    /// # Safety
    /// Since the semaphore was created or last exported, work that signals it was submitted, and also all work on which that
    /// depends. No other submitted work waits for the semaphore.
    ///
    /// # References
    /// VUID-VkSemaphoreGetFdInfoKHR-handleType-03254 and -handleType-03253.
    pub unsafe fn assume_signal_submitted(&mut self) {
        self.signal_submitted = true;
    }
}

impl DeviceFence {
    /// Records that the application has submitted work that signals this fence, so that [`DeviceFence::export`] may export a
    /// sync_file.
    ///
    /// # Safety
    /// Since the fence was created or last exported, work that signals it was submitted.
    ///
    /// # References
    /// VUID-VkFenceGetFdInfoKHR-handleType-01454.
    pub unsafe fn assume_signal_submitted(&mut self) {
        self.signal_submitted = true;
    }
}

/// An owned VkFence.
pub(in crate::backend::vulkan) struct RawFence {
    device: Arc<Device>,
    pub(in crate::backend::vulkan) raw: vk::Fence,
}

impl Drop for RawFence {
    fn drop(&mut self) {
        // SAFETY: the fence is of this device, and work that was submitted with it keeps it until the work has finished.
        unsafe { self.device.raw.destroy_fence(self.raw, None) };
    }
}

impl RawFence {
    /// Creates a fence. The device must support the export of fences if `exportable` is set.
    pub(in crate::backend::vulkan) fn new(
        device: &Arc<Device>,
        exportable: bool,
    ) -> Result<Self, vk::Result> {
        let mut export = vk::ExportFenceCreateInfo::default().handle_types(FENCE_SYNC_FILE);
        let mut info = vk::FenceCreateInfo::default();
        if exportable {
            info = info.push_next(&mut export);
        }
        // SAFETY: the chain is complete and outlives the call.
        let raw = unsafe { device.raw.create_fence(&info, None) }?;
        Ok(Self {
            device: Arc::clone(device),
            raw,
        })
    }

    /// Imports a sync_file as the payload of the fence, until the fence is reset (a temporary import).
    pub(super) fn import_sync_file(&self, fd: OwnedFd) -> Result<(), vk::Result> {
        let functions = self.device.fence_fd.as_ref().ok_or(NOT_LOADED)?;
        let number = fd.into_raw_fd();
        let info = vk::ImportFenceFdInfoKHR::default()
            .fence(self.raw)
            .flags(vk::FenceImportFlags::TEMPORARY)
            .handle_type(FENCE_SYNC_FILE)
            .fd(number);
        // SAFETY: the fence is of this device and no work uses it; the fd is owned, and ownership passes to the driver.
        unsafe { functions.import_fence_fd(&info) }.inspect_err(|_| {
            // SAFETY: a failed import does not take ownership of the fd (VkImportFenceFdInfoKHR).
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        })
    }

    /// Exports the fence as a sync_file, and resets it; `None` if the driver reports that it is already signalled.
    pub(super) fn export_sync_file(&self) -> Result<Option<OwnedFd>, vk::Result> {
        let functions = self.device.fence_fd.as_ref().ok_or(NOT_LOADED)?;
        let info = vk::FenceGetFdInfoKHR::default()
            .fence(self.raw)
            .handle_type(FENCE_SYNC_FILE);
        // SAFETY: the fence was created with this handle type, and a signal operation is submitted.
        let number = unsafe { functions.get_fence_fd(&info) }?;
        Ok(owned(number))
    }

    /// Returns whether the fence is signalled, without waiting.
    pub(in crate::backend::vulkan) fn is_signalled(&self) -> Result<bool, vk::Result> {
        // SAFETY: the fence is of this device.
        unsafe { self.device.raw.get_fence_status(self.raw) }
    }

    /// Waits until the fence is signalled; returns `false` after the timeout.
    pub(in crate::backend::vulkan) fn wait(&self, nanoseconds: u64) -> Result<bool, vk::Result> {
        // SAFETY: the fence is of this device and lives until the call returns.
        timeout_as_false(unsafe {
            self.device
                .raw
                .wait_for_fences(&[self.raw], true, nanoseconds)
        })
    }
}

fn timeout_as_false(result: Result<(), vk::Result>) -> Result<bool, vk::Result> {
    match result {
        Ok(()) => Ok(true),
        Err(vk::Result::TIMEOUT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes ownership of an exported fd. The value -1 means a sync_file that is already signalled.
///
/// # References
/// Vulkan, VkImportSemaphoreFdInfoKHR and vkGetSemaphoreFdKHR.
fn owned(number: i32) -> Option<OwnedFd> {
    // SAFETY: the call succeeded, so a number that is not negative is a new fd that no other value owns.
    (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// A semaphore to wait for or to signal, with the value of the point. The value is ignored for a binary semaphore.
pub(super) type SemaphorePoint = (vk::Semaphore, u64);

/// Submits work to the device's queue.
///
/// Commands, semaphores and fences are of this device, complete and not used by other work. The caller keeps them until
/// `completion` is signalled, or passes them to [`Device::keep`]. A binary semaphore must have a submitted or imported signal
/// before it is waited for.
pub(super) fn submit(
    device: &Device,
    commands: &[vk::CommandBuffer],
    waits: &[SemaphorePoint],
    signals: &[SemaphorePoint],
    (fence, completion): (Option<vk::Fence>, vk::Fence),
) -> Result<(), vk::Result> {
    let split = |points: &[SemaphorePoint]| -> (Vec<vk::Semaphore>, Vec<u64>) {
        points.iter().copied().unzip()
    };
    let (wait_semaphores, wait_values) = split(waits);
    let (signal_semaphores, signal_values) = split(signals);
    let stages = vec![vk::PipelineStageFlags::ALL_COMMANDS; wait_semaphores.len()];
    let mut values = vk::TimelineSemaphoreSubmitInfo::default()
        .wait_semaphore_values(&wait_values)
        .signal_semaphore_values(&signal_values);
    let mut info = vk::SubmitInfo::default()
        .command_buffers(commands)
        .wait_semaphores(&wait_semaphores)
        .wait_dst_stage_mask(&stages)
        .signal_semaphores(&signal_semaphores);
    if device.timeline.is_some() {
        info = info.push_next(&mut values);
    }
    let raw = &device.raw;
    device.on_queue(|queue| {
        let Some(fence) = fence else {
            // SAFETY: the queue is used under its lock; the caller guarantees the other conditions, as documented above.
            return unsafe { raw.queue_submit(queue, &[info], completion) };
        };
        // SAFETY: the queue is used under its lock; the caller guarantees the other conditions, as documented above.
        unsafe { raw.queue_submit(queue, &[info], fence) }?;
        // The fence of an empty submission is signalled when all earlier submissions have finished.
        // SAFETY: the queue is used under its lock; the caller guarantees the other conditions, as documented above.
        unsafe { raw.queue_submit(queue, &[], completion) }.inspect_err(|_| {
            // The first submission succeeded, and no fence will report when it has finished. So the call waits, because its
            // objects must not be destroyed while they are in use. SAFETY: as above.
            let _ = unsafe { raw.queue_wait_idle(queue) };
        })
    })
}
