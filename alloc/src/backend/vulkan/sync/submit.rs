//! Work of a device: what it waits for, and what it signals.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ash::vk;

use super::sys::{self, Place, RawFence};
use super::{DeviceFence, DeviceTimeline, Semaphore, nanoseconds};
use crate::backend::vulkan::sys::{Device, Kept};
use crate::backend::vulkan::{Gpu, VulkanError};
use crate::sync::Fence;

/// What work of a device waits for, and what it signals.
#[derive(Debug, Default)]
pub struct Submission {
    /// Fences that the device waits for.
    pub after: Vec<Fence>,
    /// Points of its timelines that it waits for, also such as nobody has submitted yet.
    pub after_points: Vec<(DeviceTimeline, u64)>,
    /// Points of its timelines that the work signals; each larger than all before it.
    pub signal_points: Vec<(DeviceTimeline, u64)>,
    /// A fence that the work signals, by [`Gpu::fence`].
    pub fence: Option<DeviceFence>,
    /// Whether [`Submitted::export`] will be asked for.
    pub exported: bool,
}

/// Commands that are complete, with what they use.
pub(in crate::backend::vulkan) struct Commands {
    pub(in crate::backend::vulkan) raw: vk::CommandBuffer,
    pub(in crate::backend::vulkan) uses: Box<dyn Any + Send>,
}

/// Work that a device has been given.
///
/// What it uses lives until it is over, also when this value is dropped before.
pub struct Submitted {
    gpu: Gpu,
    /// Signals when everything of it is over; its work is kept by the device when this value goes.
    last: Option<RawFence>,
    kept: Option<Box<dyn Any + Send>>,
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
        let Some(last) = self.last.take() else {
            return;
        };
        if last.is_signalled() == Ok(false) {
            let rest = (self.kept.take(), self.semaphore.take(), self.fence.take());
            let kept = Kept {
                last,
                _uses: Box::new(rest),
            };
            self.gpu.device().keep(kept);
        }
    }
}

impl Gpu {
    /// Has the device wait for moments and signal others, without work in between.
    ///
    /// # Errors
    /// [`VulkanError::Lacks`] where the device does not speak of moments so; [`VulkanError::Backwards`] for a point that is not
    /// larger than what its timeline has; [`VulkanError::Call`]. Nothing was submitted then.
    pub fn submit(&self, submission: Submission) -> Result<Submitted, VulkanError> {
        submit(self, submission, None)
    }
}

/// Gives the device commands to do between moments.
pub(in crate::backend::vulkan) fn submit(
    gpu: &Gpu,
    submission: Submission,
    commands: Option<Commands>,
) -> Result<Submitted, VulkanError> {
    let Submission {
        after,
        after_points,
        signal_points,
        mut fence,
        exported,
    } = submission;
    for (timeline, value) in &signal_points {
        let found = timeline.value()?;
        if *value <= found {
            return Err(VulkanError::Backwards {
                device: gpu.name().to_owned(),
                asked: *value,
                found,
            });
        }
    }
    let waits = after
        .into_iter()
        .map(|fence| gpu.semaphore_after(fence))
        .collect::<Result<Vec<_>, _>>()?;
    let mut semaphore = exported.then(|| gpu.semaphore()).transpose()?;
    let device: &Arc<Device> = gpu.device();
    let last = RawFence::new(device, false).map_err(gpu.failed("vkCreateFence"))?;
    let point = |(timeline, value): &(DeviceTimeline, u64)| -> Place { (timeline.raw.raw, *value) };
    let binary = |semaphore: &Semaphore| -> Place { (semaphore.raw.raw, 0) };
    let before: Vec<Place> = waits
        .iter()
        .map(binary)
        .chain(after_points.iter().map(point))
        .collect();
    let signals: Vec<Place> = semaphore
        .iter()
        .map(binary)
        .chain(signal_points.iter().map(point))
        .collect();
    let (raw, uses) = commands.map_or((None, None), |commands| {
        (Some(commands.raw), Some(commands.uses))
    });
    device.sweep();
    let fences = (fence.as_ref().map(|fence| fence.raw.raw), last.raw);
    sys::submit(device, raw.as_slice(), &before, &signals, fences)
        .map_err(gpu.failed("vkQueueSubmit"))?;
    if let Some(fence) = &mut fence {
        fence.is_given = true;
    }
    if let Some(semaphore) = &mut semaphore {
        semaphore.is_given = true;
    }
    Ok(Submitted {
        gpu: gpu.clone(),
        last: Some(last),
        kept: Some(Box::new((uses, waits, after_points, signal_points))),
        semaphore,
        fence,
    })
}

impl Submitted {
    /// Asks whether it is over, and never waits.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn is_over(&self) -> Result<bool, VulkanError> {
        self.last.as_ref().map_or(Ok(true), |last| {
            last.is_signalled()
                .map_err(self.gpu.failed("vkGetFenceStatus"))
        })
    }

    /// Waits until it is over; `false` when it is not by then. Not for an event loop.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn wait(&self, patience: Duration) -> Result<bool, VulkanError> {
        self.last.as_ref().map_or(Ok(true), |last| {
            last.wait(nanoseconds(patience))
                .map_err(self.gpu.failed("vkWaitForFences"))
        })
    }

    /// Takes the moment out at which it is over; `None` where it is already. There is one to take out.
    ///
    /// Waits with a device that says [`Gpu::exports_wait`].
    ///
    /// # Errors
    /// [`VulkanError::NotSubmitted`] unless [`Submission::exported`] asked for it, and a second time; as
    /// [`Semaphore::export`].
    pub fn export(&mut self) -> Result<Option<Fence>, VulkanError> {
        match &mut self.semaphore {
            Some(semaphore) => semaphore.export(),
            None => Err(VulkanError::NotSubmitted {
                device: self.gpu.name().to_owned(),
            }),
        }
    }

    /// The fence that was given along.
    pub fn fence(&mut self) -> Option<&mut DeviceFence> {
        self.fence.as_mut()
    }
}
