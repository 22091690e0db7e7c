//! The Vulkan devices that can render, in the order in which the program tries them.

use std::path::Path;

use anyhow::anyhow;
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::vulkan::{Gpu, Vulkan};
use covalent_alloc::model::DeviceIdentity;
use covalent_client_demo::exit::{Exit, Failure};

/// The devices that can render to dma-bufs, and the reasons why the other devices cannot be used.
#[derive(Debug)]
pub(crate) struct Gpus {
    pub(crate) open: Vec<Gpu>,
    pub(crate) unavailable_gpus: Vec<String>,
}

impl Gpus {
    /// Opens every device, or only those that `wanted` names.
    ///
    /// The target devices of the compositor's feedback come first, then other GPUs, then CPU drivers.
    ///
    /// # Errors
    /// [`Exit::NoPlan`] if no device can render to shared buffers; [`Exit::Usage`] if `wanted` names none of the devices that
    /// can.
    pub(crate) fn open(
        wanted: Option<&str>,
        compositor_devices: &[DeviceIdentity],
    ) -> Result<Self, Failure> {
        let (open, closed) = Vulkan::load()
            .and_then(|vulkan| vulkan.gpus())
            .map_err(|error| Failure::new(Exit::NoPlan, error))?;
        let mut unavailable_gpus: Vec<String> = closed.iter().map(ToString::to_string).collect();
        let (mut open, idle): (Vec<Gpu>, Vec<Gpu>) = open.into_iter().partition(Gpu::has_graphics);
        let does_not_draw = |gpu: &Gpu| format!("{} has no graphics queue", gpu.name());
        unavailable_gpus.extend(idle.iter().map(does_not_draw));
        open.sort_by_key(|gpu| {
            let is_compositor_device = compositor_devices
                .iter()
                .any(|one| gpu.identity().same_device(one));
            (gpu.is_cpu(), !is_compositor_device)
        });
        if open.is_empty() {
            return Err(Failure::new(
                Exit::NoPlan,
                anyhow!(
                    "no Vulkan device of this machine can render to buffers that it shares: {}",
                    or_none(&unavailable_gpus)
                ),
            ));
        }
        if let Some(wanted) = wanted {
            let names: Vec<String> = open.iter().map(display_name).collect();
            open.retain(|gpu| matches_name(gpu, wanted));
            if open.is_empty() {
                return Err(Failure::new(
                    Exit::Usage,
                    anyhow!(
                        "--device {wanted}: no Vulkan device with this name can render to buffers that it shares; usable devices: {}; not usable: {}",
                        names.join(", "),
                        or_none(&unavailable_gpus)
                    ),
                ));
            }
        }
        Ok(Self {
            open,
            unavailable_gpus,
        })
    }
}

/// Returns the device's name for messages, with its node if it has one.
pub(crate) fn display_name(gpu: &Gpu) -> String {
    let node = &gpu.identity().node;
    if node.is_empty() {
        gpu.name().to_owned()
    } else {
        format!("{} ({node})", gpu.name())
    }
}

/// Returns whether `wanted` is a device node of the GPU, or a part of its name or its driver's name.
fn matches_name(gpu: &Gpu, wanted: &str) -> bool {
    let identity = gpu.identity();
    if wanted.starts_with('/') {
        // A card's primary node and render node are the same device.
        return identity.node == wanted
            || Card::open(Path::new(wanted))
                .is_ok_and(|card| card.identity().same_device(identity));
    }
    let wanted = wanted.to_lowercase();
    [gpu.name(), &identity.driver]
        .iter()
        .any(|name| name.to_lowercase().contains(&wanted))
}

/// Joins texts by semicolons; "none" if there are none.
fn or_none(words: &[String]) -> String {
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join("; ")
    }
}
