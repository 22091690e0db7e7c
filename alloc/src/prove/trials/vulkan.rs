//! Vulkan: a buffer is exported by it, or becomes an image that is copied out and held against what was written.

use super::pattern::Pattern;
use super::{Backend, Held, Importer, Machine};
use crate::backend::fds_are_out;
use crate::backend::vulkan::{Gpu, Purpose, Vulkan, VulkanError};
use crate::buffer::Buffer;
use crate::constraint::{FormatSet, Interface, Participant, Role, Source, SourceKind};
use crate::model::{DeviceIdentity, Extent};
use crate::prove::declare::{Declared, Drivers};
use crate::solve::Plan;
use crate::sources::Unavailable;
use covalent_machine::facts::{Outcome, Refusal, RefusalKind};

pub(super) const BACKEND: Backend = Backend {
    allocate,
    attempt,
    importer,
    redeclare,
    redeclare_source,
    declare,
};

/// The devices that are open, and why others are not.
#[derive(Debug)]
pub(super) struct Gpus {
    open: Vec<Gpu>,
    closed: Vec<String>,
}

impl Machine {
    fn gpus(&mut self) -> Result<&Gpus, VulkanError> {
        let gpus = match self.gpus.take() {
            Some(gpus) => gpus,
            None => {
                let (open, closed) = Vulkan::load()?.gpus()?;
                Gpus {
                    open,
                    closed: closed.iter().map(ToString::to_string).collect(),
                }
            }
        };
        Ok(self.gpus.insert(gpus))
    }

    fn gpu(&mut self, device: &DeviceIdentity) -> Result<&Gpu, Outcome> {
        let gpus = self.gpus().map_err(|error| outcome("Vulkan", &error))?;
        gpus.open
            .iter()
            .find(|gpu| gpu.identity().same_device(device))
            .ok_or_else(|| Outcome::Untestable(format!("Vulkan has no {device} now")))
    }
}

fn declare(machine: &mut Machine, drivers: &Drivers, extent: Extent) -> Option<Declared> {
    if *drivers != Drivers::Vulkan {
        return None;
    }
    let gpus = match machine.gpus() {
        Ok(gpus) => gpus,
        Err(error) => return Some(Declared::nothing(drivers.name(), error.to_string())),
    };
    let unavailable = |name: &str, why: String| Unavailable {
        name: name.to_owned(),
        why,
    };
    let mut declared = Declared::default();
    for why in &gpus.closed {
        declared
            .unavailable
            .push(unavailable("Vulkan", why.clone()));
    }
    for gpu in &gpus.open {
        match gpu.participant(extent, None) {
            Ok(participant) => declared.participants.push(participant),
            Err(error) => declared
                .unavailable
                .push(unavailable(gpu.name(), error.to_string())),
        }
        match gpu.source_of_size(extent) {
            Ok(source) => declared.sources.extend(source),
            Err(error) => declared
                .unavailable
                .push(unavailable(gpu.name(), error.to_string())),
        }
    }
    Some(declared)
}

fn redeclare(
    machine: &mut Machine,
    participant: &Participant,
    extent: Extent,
) -> Option<Participant> {
    if Interface::of(participant) != Interface::Vulkan {
        return None;
    }
    let gpu = machine.gpu(&participant.device).ok()?;
    let mut fourccs = participant
        .constraints()
        .formats
        .iter()
        .flat_map(FormatSet::iter)
        .map(|format| format.fourcc);
    // Asking for each format is many questions, and most who ask have one left.
    let only = fourccs
        .next()
        .filter(|first| fourccs.all(|other| other == *first));
    let mut declared = gpu
        .participant_for(purpose(participant), extent, only)
        .ok()?;
    declared.name.clone_from(&participant.name);
    Some(declared)
}

fn redeclare_source(machine: &mut Machine, source: &Source, extent: Extent) -> Option<Source> {
    if SourceKind::of(&source.id) != SourceKind::Vulkan {
        return None;
    }
    let gpu = machine.gpu(source.device.as_ref()?).ok()?;
    gpu.source_of_size(extent).ok()?
}

fn allocate(machine: &mut Machine, plan: &Plan) -> Option<Result<Held, Outcome>> {
    if SourceKind::of(plan.source()) != SourceKind::Vulkan {
        return None;
    }
    let device = plan.source_device()?;
    let answered = machine.gpu(device).and_then(|gpu| {
        gpu.allocate(plan)
            .map(Held::Buffers)
            .map_err(|error| outcome(plan.source_name(), &error))
    });
    Some(answered)
}

fn attempt(
    machine: &mut Machine,
    _: &Plan,
    held: &mut Held,
    participant: &Participant,
) -> Option<Outcome> {
    if Interface::of(participant) != Interface::Vulkan {
        return None;
    }
    let buffer = held.buffer()?;
    let tried = match machine.gpu(&participant.device) {
        Ok(gpu) => import(gpu, buffer, participant),
        Err(outcome) => return Some(outcome),
    };
    if matches!(&tried, Err(error) if error.is_device_lost()) {
        // Nothing works on it any more: the next trial opens it anew.
        machine.gpus = None;
    }
    Some(tried.unwrap_or_else(|error| outcome(&participant.name, &error)))
}

/// What a participant does with its images.
fn purpose(participant: &Participant) -> Purpose {
    match participant.role {
        Role::Render => Purpose::Render,
        _ => Purpose::Copy,
    }
}

fn importer(
    machine: &mut Machine,
    held: &Held,
    participant: &Participant,
) -> Option<Result<Importer, Outcome>> {
    if Interface::of(participant) != Interface::Vulkan {
        return None;
    }
    let buffer = held.buffer()?.clone();
    let name = participant.name.clone();
    let gpu = machine.gpu(&participant.device).cloned();
    Some(gpu.map(|gpu| -> Importer {
        Box::new(move || {
            let image = gpu
                .import(&buffer)
                .map_err(|error| outcome(&name, &error))?;
            Ok(Box::new(image))
        })
    }))
}

fn import(gpu: &Gpu, buffer: &Buffer, participant: &Participant) -> Result<Outcome, VulkanError> {
    let name = &participant.name;
    if purpose(participant) == Purpose::Render {
        // Before the pixels are held against the processor's: what may be copied out need not be what may be drawn to.
        drop(gpu.import_for(Purpose::Render, buffer)?);
    }
    let pattern = Pattern::write(buffer);
    let image = match gpu.import(buffer) {
        Ok(image) => image,
        Err(VulkanError::Unsuitable { .. }) if purpose(participant) == Purpose::Render => {
            return Ok(Outcome::Proved);
        }
        Err(error) => return Err(error),
    };
    let Some(pattern) = pattern.filter(|_| image.is_readable()) else {
        return Ok(Outcome::Proved);
    };
    Ok(match pattern.differs(&image.read()?) {
        Some(words) => Outcome::Refused(Refusal::structural(
            name,
            "vkCmdCopyImageToBuffer",
            format!("{name}: {words}"),
        )),
        None => Outcome::Proved,
    })
}

fn outcome(name: &str, error: &VulkanError) -> Outcome {
    let is_short = matches!(error, VulkanError::Budget { .. })
        || error.is_out_of_memory()
        || error.is_device_lost()
        || fds_are_out().is_some();
    Outcome::Refused(Refusal {
        kind: if is_short {
            RefusalKind::Transient
        } else {
            RefusalKind::Structural
        },
        ..Refusal::structural(name, operation(error), error.to_string())
    })
}

fn operation(error: &VulkanError) -> &'static str {
    match error {
        VulkanError::Call { operation, .. } | VulkanError::Import { operation, .. } => operation,
        VulkanError::Unsuitable { .. } => "vkCreateImage",
        VulkanError::TooSmall { .. } => "vkGetImageMemoryRequirements2",
        _ => "Vulkan",
    }
}
