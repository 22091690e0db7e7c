//! Semaphores and fences, and the fds in which their moments travel.
#![allow(
    unsafe_code,
    reason = "every call of Vulkan goes through a table of functions that was loaded"
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

/// What a function that is not loaded would have answered.
const NOT_THERE: vk::Result = vk::Result::ERROR_EXTENSION_NOT_PRESENT;

/// Of which kind a semaphore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SemaphoreKind {
    /// One moment at a time, which can leave as a sync_file.
    Binary {
        /// Whether it is made to leave.
        leaves: bool,
    },
    /// DeviceSync with numbers.
    Timeline {
        /// Whether another process or driver is to share it.
        shared: bool,
    },
}

/// A semaphore.
pub(in crate::backend::vulkan) struct RawSemaphore {
    device: Arc<Device>,
    pub(in crate::backend::vulkan) raw: vk::Semaphore,
}

impl Drop for RawSemaphore {
    fn drop(&mut self) {
        // SAFETY: it is of this device, and whatever was submitted with it keeps it until it is over.
        unsafe { self.device.raw.destroy_semaphore(self.raw, None) };
    }
}

impl RawSemaphore {
    /// Makes one. The device has semaphores of this kind.
    pub(super) fn new(device: &Arc<Device>, kind: SemaphoreKind) -> Result<Self, vk::Result> {
        let (kind, handles) = match kind {
            SemaphoreKind::Binary { leaves } => {
                (vk::SemaphoreType::BINARY, leaves.then_some(SYNC_FILE))
            }
            SemaphoreKind::Timeline { shared } => {
                (vk::SemaphoreType::TIMELINE, shared.then_some(OPAQUE))
            }
        };
        let mut numbered = vk::SemaphoreTypeCreateInfo::default().semaphore_type(kind);
        let mut export =
            vk::ExportSemaphoreCreateInfo::default().handle_types(handles.unwrap_or_default());
        let mut info = vk::SemaphoreCreateInfo::default();
        if kind == vk::SemaphoreType::TIMELINE {
            info = info.push_next(&mut numbered);
        }
        if handles.is_some() {
            info = info.push_next(&mut export);
        }
        // SAFETY: the chain is complete and outlives the call; the device was asked whether it has such semaphores.
        let raw = unsafe { device.raw.create_semaphore(&info, None) }?;
        Ok(Self {
            device: Arc::clone(device),
            raw,
        })
    }

    /// Makes the next wait for it one for a sync_file.
    pub(super) fn take_sync_file(&self, fd: OwnedFd) -> Result<(), vk::Result> {
        // By sync_file a moment is handed over, never the semaphore: temporary is the only way that there is.
        self.take(fd, SYNC_FILE, vk::SemaphoreImportFlags::TEMPORARY)
    }

    /// Makes it one with the semaphore of another process or driver.
    pub(super) fn take_opaque(&self, fd: OwnedFd) -> Result<(), vk::Result> {
        self.take(fd, OPAQUE, vk::SemaphoreImportFlags::empty())
    }

    fn take(
        &self,
        fd: OwnedFd,
        kind: vk::ExternalSemaphoreHandleTypeFlags,
        flags: vk::SemaphoreImportFlags,
    ) -> Result<(), vk::Result> {
        let functions = self.device.semaphore_fd.as_ref().ok_or(NOT_THERE)?;
        let number = fd.into_raw_fd();
        let info = vk::ImportSemaphoreFdInfoKHR::default()
            .semaphore(self.raw)
            .flags(flags)
            .handle_type(kind)
            .fd(number);
        // SAFETY: the semaphore is of this device and no work uses it; the fd is ours to give.
        unsafe { functions.import_semaphore_fd(&info) }.inspect_err(|_| {
            // SAFETY: an import that fails does not take the fd (VkImportSemaphoreFdInfoKHR), so it is ours still.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        })
    }

    /// Takes the moment out that submitted work is to signal; `None` where the driver says that it is over.
    ///
    /// Some drivers wait here until it is.
    pub(super) fn give_sync_file(&self) -> Result<Option<OwnedFd>, vk::Result> {
        self.give(SYNC_FILE)
    }

    /// Makes an fd for another process or driver.
    pub(super) fn give_opaque(&self) -> Result<OwnedFd, vk::Result> {
        self.give(OPAQUE)?.ok_or(vk::Result::ERROR_TOO_MANY_OBJECTS)
    }

    fn give(
        &self,
        kind: vk::ExternalSemaphoreHandleTypeFlags,
    ) -> Result<Option<OwnedFd>, vk::Result> {
        let functions = self.device.semaphore_fd.as_ref().ok_or(NOT_THERE)?;
        let info = vk::SemaphoreGetFdInfoKHR::default()
            .semaphore(self.raw)
            .handle_type(kind);
        // SAFETY: the semaphore was made to leave as such, and, for a sync_file, its signal is submitted and not waited for.
        let number = unsafe { functions.get_semaphore_fd(&info) }?;
        Ok(owned(number))
    }

    /// The number that a timeline has come to.
    pub(super) fn value(&self) -> Result<u64, vk::Result> {
        let functions = self.device.timeline.as_ref().ok_or(NOT_THERE)?;
        // SAFETY: the semaphore is a timeline of this device.
        unsafe {
            match functions {
                TimelineFunctions::Core => self.device.raw.get_semaphore_counter_value(self.raw),
                TimelineFunctions::Extension(own) => own.get_semaphore_counter_value(self.raw),
            }
        }
    }

    /// Brings a timeline to a number from the processor.
    pub(super) fn signal(&self, value: u64) -> Result<(), vk::Result> {
        let functions = self.device.timeline.as_ref().ok_or(NOT_THERE)?;
        let info = vk::SemaphoreSignalInfo::default()
            .semaphore(self.raw)
            .value(value);
        // SAFETY: the semaphore is a timeline of this device; the caller has seen that the number is larger than what it has.
        unsafe {
            match functions {
                TimelineFunctions::Core => self.device.raw.signal_semaphore(&info),
                TimelineFunctions::Extension(own) => own.signal_semaphore(&info),
            }
        }
    }

    /// Waits until a timeline has come to a number; `false` when it has not by then.
    pub(super) fn wait(&self, value: u64, nanoseconds: u64) -> Result<bool, vk::Result> {
        let functions = self.device.timeline.as_ref().ok_or(NOT_THERE)?;
        let (semaphores, values) = ([self.raw], [value]);
        let info = vk::SemaphoreWaitInfo::default()
            .semaphores(&semaphores)
            .values(&values);
        // SAFETY: the semaphore is a timeline of this device and lives until the call returns.
        in_time(unsafe {
            match functions {
                TimelineFunctions::Core => self.device.raw.wait_semaphores(&info, nanoseconds),
                TimelineFunctions::Extension(own) => own.wait_semaphores(&info, nanoseconds),
            }
        })
    }
}

impl Semaphore {
    /// Says that the application has submitted work that signals this semaphore, so that [`Semaphore::export`] may take the
    /// sync_file out.
    ///
    /// # Safety
    /// Such work was submitted since the semaphore was made or last exported, everything that it depends on was submitted too,
    /// and nothing waits for the semaphore.
    ///
    /// # References
    /// VUID-VkSemaphoreGetFdInfoKHR-handleType-03254 and -handleType-03253.
    pub unsafe fn assume_signal_submitted(&mut self) {
        self.is_given = true;
    }
}

impl DeviceFence {
    /// Says that the application has submitted work that signals this fence, so that [`DeviceFence::export`] may take the
    /// sync_file out.
    ///
    /// # Safety
    /// Such work was submitted since the fence was made or last exported.
    ///
    /// # References
    /// VUID-VkFenceGetFdInfoKHR-handleType-01454.
    pub unsafe fn assume_signal_submitted(&mut self) {
        self.is_given = true;
    }
}

/// A fence.
pub(in crate::backend::vulkan) struct RawFence {
    device: Arc<Device>,
    pub(in crate::backend::vulkan) raw: vk::Fence,
}

impl Drop for RawFence {
    fn drop(&mut self) {
        // SAFETY: it is of this device, and whatever was submitted with it keeps it until it is over.
        unsafe { self.device.raw.destroy_fence(self.raw, None) };
    }
}

impl RawFence {
    /// Makes one; one that `leaves` can be exported, which the device was asked for.
    pub(in crate::backend::vulkan) fn new(
        device: &Arc<Device>,
        leaves: bool,
    ) -> Result<Self, vk::Result> {
        let mut export = vk::ExportFenceCreateInfo::default().handle_types(FENCE_SYNC_FILE);
        let mut info = vk::FenceCreateInfo::default();
        if leaves {
            info = info.push_next(&mut export);
        }
        // SAFETY: the chain is complete and outlives the call.
        let raw = unsafe { device.raw.create_fence(&info, None) }?;
        Ok(Self {
            device: Arc::clone(device),
            raw,
        })
    }

    /// Makes it signal with a sync_file.
    pub(super) fn take_sync_file(&self, fd: OwnedFd) -> Result<(), vk::Result> {
        let functions = self.device.fence_fd.as_ref().ok_or(NOT_THERE)?;
        let number = fd.into_raw_fd();
        let info = vk::ImportFenceFdInfoKHR::default()
            .fence(self.raw)
            .flags(vk::FenceImportFlags::TEMPORARY)
            .handle_type(FENCE_SYNC_FILE)
            .fd(number);
        // SAFETY: the fence is of this device and no work uses it; the fd is ours to give.
        unsafe { functions.import_fence_fd(&info) }.inspect_err(|_| {
            // SAFETY: an import that fails does not take the fd (VkImportFenceFdInfoKHR), so it is ours still.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        })
    }

    /// Takes the moment out; `None` where the driver says that it is over. The fence is as new afterwards.
    pub(super) fn give_sync_file(&self) -> Result<Option<OwnedFd>, vk::Result> {
        let functions = self.device.fence_fd.as_ref().ok_or(NOT_THERE)?;
        let info = vk::FenceGetFdInfoKHR::default()
            .fence(self.raw)
            .handle_type(FENCE_SYNC_FILE);
        // SAFETY: the fence was made to leave as such, and its signal is submitted.
        let number = unsafe { functions.get_fence_fd(&info) }?;
        Ok(owned(number))
    }

    /// Asks whether it is signalled, and never waits.
    pub(in crate::backend::vulkan) fn is_signalled(&self) -> Result<bool, vk::Result> {
        // SAFETY: the fence is of this device.
        unsafe { self.device.raw.get_fence_status(self.raw) }
    }

    /// Waits until it is signalled; `false` when it is not by then.
    pub(in crate::backend::vulkan) fn wait(&self, nanoseconds: u64) -> Result<bool, vk::Result> {
        // SAFETY: the fence is of this device and lives until the call returns.
        in_time(unsafe {
            self.device
                .raw
                .wait_for_fences(&[self.raw], true, nanoseconds)
        })
    }
}

fn in_time(answer: Result<(), vk::Result>) -> Result<bool, vk::Result> {
    match answer {
        Ok(()) => Ok(true),
        Err(vk::Result::TIMEOUT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// -1 stands for a sync_file that is signalled.
///
/// # References
/// Vulkan, VkImportSemaphoreFdInfoKHR and vkGetSemaphoreFdKHR.
fn owned(number: i32) -> Option<OwnedFd> {
    // SAFETY: the call succeeded, so a number that is none of an error is of a new fd that nobody else knows.
    (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// What is waited for or signalled, with its number where it is a timeline.
pub(super) type Place = (vk::Semaphore, u64);

/// Gives work to the device's queue.
///
/// Commands, semaphores and fences are of this device, complete and unused by other work, and the caller keeps them until `last`
/// is signalled, or gives them to [`Device::keep`]. A semaphore without a number has a signal submitted or imported before it is
/// waited for.
pub(super) fn submit(
    device: &Device,
    commands: &[vk::CommandBuffer],
    after: &[Place],
    signals: &[Place],
    (asked, last): (Option<vk::Fence>, vk::Fence),
) -> Result<(), vk::Result> {
    let split =
        |places: &[Place]| -> (Vec<vk::Semaphore>, Vec<u64>) { places.iter().copied().unzip() };
    let (waits, wait_values) = split(after);
    let (sets, set_values) = split(signals);
    let stages = vec![vk::PipelineStageFlags::ALL_COMMANDS; waits.len()];
    let mut numbers = vk::TimelineSemaphoreSubmitInfo::default()
        .wait_semaphore_values(&wait_values)
        .signal_semaphore_values(&set_values);
    let mut info = vk::SubmitInfo::default()
        .command_buffers(commands)
        .wait_semaphores(&waits)
        .wait_dst_stage_mask(&stages)
        .signal_semaphores(&sets);
    if device.timeline.is_some() {
        info = info.push_next(&mut numbers);
    }
    let raw = &device.raw;
    device.on_queue(|queue| {
        let Some(asked) = asked else {
            // SAFETY: the queue is used under its lock; what is submitted is as the caller promises above.
            return unsafe { raw.queue_submit(queue, &[info], last) };
        };
        // SAFETY: as above.
        unsafe { raw.queue_submit(queue, &[info], asked) }?;
        // The fence of an empty submission signals when everything before it is over.
        // SAFETY: as above.
        unsafe { raw.queue_submit(queue, &[], last) }.inspect_err(|_| {
            // What is in use must not be given back, and nothing tells any more when it is not.
            // SAFETY: as above.
            let _ = unsafe { raw.queue_wait_idle(queue) };
        })
    })
}
