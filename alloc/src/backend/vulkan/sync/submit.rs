//! Submissions to a device: the fences and points that they wait for, and those that they signal.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ash::vk;

use super::sys::{self, RawFence, SemaphorePoint};
use super::{DeviceFence, DeviceTimeline, Semaphore, nanoseconds};
use crate::backend::vulkan::sys::{Device, PendingWork};
use crate::backend::vulkan::{Gpu, VulkanError};
use crate::sync::Fence;

/// The fences and points that submitted work waits for, and those that it signals.
#[derive(Debug, Default)]
pub struct Submission {
    /// Fences for which the device waits.
    pub wait_fences: Vec<Fence>,
    /// Timeline points for which the device waits. The work that signals a point may be submitted later.
    pub wait_points: Vec<(DeviceTimeline, u64)>,
    /// Timeline points that the work signals. Each value must be larger than the current value of its timeline.
    pub signal_points: Vec<(DeviceTimeline, u64)>,
    /// A fence that the work signals, created by [`Gpu::fence`].
    pub fence: Option<DeviceFence>,
    /// Whether the caller will call [`Submitted::export`], so that the work has to signal a semaphore for it.
    pub exported: bool,
}

/// A recorded command buffer, with a value that owns the objects that the commands use.
pub(in crate::backend::vulkan) struct Commands {
    pub(in crate::backend::vulkan) raw: vk::CommandBuffer,
    pub(in crate::backend::vulkan) uses: Box<dyn Any + Send>,
}

/// Work that was submitted to a device.
///
/// If this value is dropped before the work has finished, the device keeps the objects that the work uses until then.
pub struct Submitted {
    gpu: Gpu,
    /// The fence that is signalled when all of the work has finished. If this value is dropped earlier, the device keeps the
    /// fence and the objects.
    completion: Option<RawFence>,
    uses: Option<Box<dyn Any + Send>>,
    semaphore: Option<Semaphore>,
    fence: Option<DeviceFence>,
}

impl fmt::Debug for Submitted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Submitted")
            .field("gpu", &self.gpu)
            .finish_non_exhaustive()
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        let Some(completion) = self.completion.take() else {
            return;
        };
        if completion.is_signalled() == Ok(false) {
            let used_objects = (self.uses.take(), self.semaphore.take(), self.fence.take());
            let pending = PendingWork {
                completion,
                _uses: Box::new(used_objects),
            };
            self.gpu.device().keep(pending);
        }
    }
}

impl Gpu {
    /// Submits a batch without commands, which waits for the fences and points of `submission` and then signals its fence and
    /// points.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] if the device does not support these objects, or a timeline or the fence belongs to another device;
    /// [`VulkanError::NotIncreasing`] for a signal value that is not larger than the current value of its timeline;
    /// [`VulkanError::Call`]. After an error nothing was submitted.
    pub fn submit(&self, submission: Submission) -> Result<Submitted, VulkanError> {
        submit(self, submission, None)
    }
}

/// Submits commands, which wait for the fences and points of `submission` and then signal its fence and points.
pub(in crate::backend::vulkan) fn submit(
    gpu: &Gpu,
    submission: Submission,
    commands: Option<Commands>,
) -> Result<Submitted, VulkanError> {
    let Submission {
        wait_fences,
        wait_points,
        signal_points,
        mut fence,
        exported,
    } = submission;
    // Vulkan does not define what a submission with objects of another device does.
    let timelines = wait_points.iter().chain(&signal_points);
    let mut owners = timelines
        .map(|(timeline, _)| &timeline.gpu)
        .chain(fence.as_ref().map(|fence| &fence.gpu));
    if owners.any(|owner| owner.handle().handle() != gpu.handle().handle()) {
        return Err(gpu.lacks(
            "access to a timeline or fence of another device (create or import it on this device)",
        ));
    }
    for (timeline, value) in &signal_points {
        let current = timeline.value()?;
        if *value <= current {
            return Err(VulkanError::NotIncreasing {
                device: gpu.name().to_owned(),
                requested: *value,
                current,
            });
        }
    }
    let waits = wait_fences
        .into_iter()
        .map(|fence| gpu.semaphore_from_sync_file(fence))
        .collect::<Result<Vec<_>, _>>()?;
    let mut semaphore = exported.then(|| gpu.semaphore()).transpose()?;
    let device: &Arc<Device> = gpu.device();
    let completion = RawFence::new(device, false).map_err(gpu.failed("vkCreateFence"))?;
    let point = |(timeline, value): &(DeviceTimeline, u64)| -> SemaphorePoint {
        (timeline.raw.raw, *value)
    };
    let binary = |semaphore: &Semaphore| -> SemaphorePoint { (semaphore.raw.raw, 0) };
    let before: Vec<SemaphorePoint> = waits
        .iter()
        .map(binary)
        .chain(wait_points.iter().map(point))
        .collect();
    let signals: Vec<SemaphorePoint> = semaphore
        .iter()
        .map(binary)
        .chain(signal_points.iter().map(point))
        .collect();
    let (raw, uses) = commands.map_or((None, None), |commands| {
        (Some(commands.raw), Some(commands.uses))
    });
    device.release_finished();
    let fences = (fence.as_ref().map(|fence| fence.raw.raw), completion.raw);
    sys::submit(device, raw.as_slice(), &before, &signals, fences)
        .map_err(gpu.failed("vkQueueSubmit"))?;
    if let Some(fence) = &mut fence {
        fence.signal_submitted = true;
    }
    if let Some(semaphore) = &mut semaphore {
        semaphore.signal_submitted = true;
    }
    Ok(Submitted {
        gpu: gpu.clone(),
        completion: Some(completion),
        uses: Some(Box::new((uses, waits, wait_points, signal_points))),
        semaphore,
        fence,
    })
}

impl Submitted {
    /// Returns whether the work has finished, without waiting.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn is_finished(&self) -> Result<bool, VulkanError> {
        self.completion.as_ref().map_or(Ok(true), |completion| {
            completion
                .is_signalled()
                .map_err(self.gpu.failed("vkGetFenceStatus"))
        })
    }

    /// Waits until the work has finished; returns `false` after `timeout`. It blocks, so an event loop must not call it.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn wait(&self, timeout: Duration) -> Result<bool, VulkanError> {
        self.completion.as_ref().map_or(Ok(true), |completion| {
            completion
                .wait(nanoseconds(timeout))
                .map_err(self.gpu.failed("vkWaitForFences"))
        })
    }

    /// Exports a sync_file that is signalled when the work has finished; `None` if the work has already finished. The export is
    /// possible once.
    ///
    /// On a device for which [`Gpu::exports_wait`] is true, the call blocks until the work has finished.
    ///
    /// # Errors
    /// [`VulkanError::NotSubmitted`] if [`Submission::exported`] was not set, and for a second export; the errors of
    /// [`Semaphore::export`].
    pub fn export(&mut self) -> Result<Option<Fence>, VulkanError> {
        match &mut self.semaphore {
            Some(semaphore) => semaphore.export(),
            None => Err(VulkanError::NotSubmitted {
                device: self.gpu.name().to_owned(),
            }),
        }
    }

    /// Returns the fence that was passed in [`Submission::fence`].
    pub fn fence(&mut self) -> Option<&mut DeviceFence> {
        self.fence.as_mut()
    }
}
