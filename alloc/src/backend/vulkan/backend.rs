//! The Vulkan devices of this machine as one backend. A trial imports a buffer as an image, copies its pixels out on the device
//! and compares them with what the CPU wrote.

use std::path::Path;

use covalent_machine::trial_results::{Outcome, Refusal};

use super::{Gpu, Purpose, Vulkan, VulkanError};
use crate::backend::pattern::TestPattern;
use crate::backend::{
    Allocated, Backend, BackendError, BackendErrorKind, Declared, FormatFilter, Importer,
    fd_limit_error,
};
use crate::buffer::Buffer;
use crate::constraint::{CopyDevice, FormatSet, Interface, Participant, Role, Source, SourceKind};
use crate::model::{DeviceIdentity, Extent};
use crate::solve::Plan;

/// The Vulkan devices of this machine. Their drivers run in this process and can end it.
#[derive(Debug, Default)]
pub struct Gpus {
    /// The devices, which are opened once and kept, because the Vulkan loader loads every installed driver.
    loaded: Option<OpenGpus>,
    filter: FormatFilter,
}

/// The devices that were opened, and the reasons why other devices could not be opened.
#[derive(Debug)]
struct OpenGpus {
    open: Vec<Gpu>,
    unavailable: Vec<String>,
}

impl Gpus {
    fn load(&mut self) -> Result<&OpenGpus, VulkanError> {
        let loaded = match self.loaded.take() {
            Some(loaded) => loaded,
            None => {
                let (open, unavailable) = Vulkan::load()?.gpus()?;
                let filtered = |gpu: Gpu| gpu.with_format_filter(self.filter.clone());
                OpenGpus {
                    open: open.into_iter().map(filtered).collect(),
                    unavailable: unavailable.iter().map(ToString::to_string).collect(),
                }
            }
        };
        Ok(self.loaded.insert(loaded))
    }

    /// Returns the open Vulkan device of a device.
    fn gpu(&mut self, device: &DeviceIdentity) -> Result<&Gpu, BackendError> {
        let open = &self.load()?.open;
        open.iter()
            .find(|gpu| gpu.identity().same_device(device))
            .ok_or_else(|| {
                // The kind is `Busy`, so that a trial counts as untestable and not as a refusal: the device may be there again at
                // the next attempt.
                let why = format!("Vulkan does not list {device} at present");
                let name = device.to_string();
                BackendError::new(
                    name,
                    "",
                    "vkEnumeratePhysicalDevices",
                    BackendErrorKind::Busy,
                    why,
                )
            })
    }
}

impl Backend for Gpus {
    fn name(&self) -> &'static str {
        "vulkan"
    }

    fn set_format_filter(&mut self, filter: &FormatFilter) {
        self.filter = filter.clone();
    }

    fn discover(&mut self, extent: Extent, node: Option<&Path>) -> Declared {
        let loaded = match self.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                return Declared::only_unavailable("Vulkan".to_owned(), error.to_string());
            }
        };
        let mut declared = Declared::default();
        for why in &loaded.unavailable {
            declared.add_unavailable("Vulkan", why);
        }
        let matches_node =
            |gpu: &&Gpu| node.is_none_or(|node| Path::new(&gpu.identity().node) == node);
        for gpu in loaded.open.iter().filter(matches_node) {
            match gpu.participant(extent, None) {
                Ok(participant) => declared.participants.push(participant),
                Err(error) => declared.add_unavailable(gpu.name(), &error),
            }
            match gpu.source_of_size(extent) {
                Ok(source) => declared.sources.extend(source),
                Err(error) => declared.add_unavailable(gpu.name(), &error),
            }
        }
        declared
    }

    fn copiers(&mut self, extent: Extent) -> Vec<CopyDevice> {
        let loaded = match self.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::debug!(%error, "no Vulkan device is declared as a copier");
                return Vec::new();
            }
        };
        let copiers = loaded.open.iter().filter_map(|gpu| {
            let found = gpu.copiers(extent);
            found
                .inspect_err(
                    |error| tracing::debug!(%error, "a Vulkan device is not declared as a copier"),
                )
                .ok()
        });
        copiers.flatten().collect()
    }

    fn redeclare(&mut self, participant: &Participant, extent: Extent) -> Option<Participant> {
        if Interface::of(participant) != Interface::Vulkan {
            return None;
        }
        let gpu = self.gpu(&participant.device).ok()?;
        let mut fourccs = participant
            .constraints()
            .formats
            .iter()
            .flat_map(FormatSet::iter)
            .map(|format| format.fourcc);
        // If all formats of the participant have the same fourcc, only this fourcc is declared again, because the declaration of
        // a format takes many calls of the driver.
        let only_fourcc = fourccs
            .next()
            .filter(|first| fourccs.all(|other| other == *first));
        let mut declared = gpu
            .participant_for(purpose(participant), extent, only_fourcc)
            .ok()?;
        declared.name.clone_from(&participant.name);
        Some(declared)
    }

    fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        if SourceKind::of(&source.id) != SourceKind::Vulkan {
            return None;
        }
        let gpu = self.gpu(source.device.as_ref()?).ok()?;
        gpu.source_of_size(extent).ok()?
    }

    fn allocate(&mut self, plan: &Plan) -> Option<Result<Allocated, BackendError>> {
        if SourceKind::of(plan.source()) != SourceKind::Vulkan {
            return None;
        }
        let gpu = self.gpu(plan.source_device()?);
        Some(gpu.and_then(|gpu| Ok(Allocated::of(gpu.allocate(plan)?))))
    }

    fn importer(&mut self, participant: &Participant) -> Option<Result<Importer, BackendError>> {
        if Interface::of(participant) != Interface::Vulkan {
            return None;
        }
        let gpu = self.gpu(&participant.device).cloned();
        Some(
            gpu.map(|gpu| -> Importer {
                Box::new(move |buffer| Ok(Box::new(gpu.import(buffer)?)))
            }),
        )
    }

    fn trial(&mut self, allocated: &mut Allocated, participant: &Participant) -> Option<Outcome> {
        if Interface::of(participant) != Interface::Vulkan {
            return None;
        }
        let buffer = allocated.buffers.first()?;
        let tried = match self.gpu(&participant.device) {
            Ok(gpu) => import(gpu, buffer, participant),
            Err(error) => return Some(error.outcome()),
        };
        if matches!(&tried, Err(error) if error.is_device_lost()) {
            // After VK_ERROR_DEVICE_LOST a device cannot be used any more. The next trial opens the devices again.
            self.loaded = None;
        }
        Some(tried.unwrap_or_else(|error| {
            let error = BackendError::from(error);
            let operation = error.operation().to_owned();
            error.in_operation(&participant.name, &operation).outcome()
        }))
    }
}

/// Returns the purpose for which a participant uses its images.
fn purpose(participant: &Participant) -> Purpose {
    match participant.role {
        Role::Render => Purpose::Render,
        _ => Purpose::Copy,
    }
}

fn import(gpu: &Gpu, buffer: &Buffer, participant: &Participant) -> Result<Outcome, VulkanError> {
    let name = &participant.name;
    if purpose(participant) == Purpose::Render {
        // The import for rendering is tried too, because the device cannot render to every format that it can copy.
        drop(gpu.import_for(Purpose::Render, buffer)?);
    }
    let pattern = TestPattern::write(buffer);
    let image = match gpu.import(buffer) {
        Ok(image) => image,
        Err(VulkanError::Unsuitable { .. }) if purpose(participant) == Purpose::Render => {
            return Ok(Outcome::Accepted);
        }
        Err(error) => return Err(error),
    };
    let Some(pattern) = pattern.filter(|_| image.is_readable()) else {
        return Ok(Outcome::Accepted);
    };
    Ok(match pattern.first_difference(&image.read()?) {
        Some(difference) => Outcome::Refused(Refusal::structural(
            name,
            "vkCmdCopyImageToBuffer",
            format!("{name}: {difference}"),
        )),
        None => Outcome::Accepted,
    })
}

impl From<VulkanError> for BackendError {
    fn from(error: VulkanError) -> Self {
        use BackendErrorKind as Kind;
        let is_short =
            error.is_out_of_memory() || error.is_device_lost() || fd_limit_error().is_some();
        let operation = match &error {
            VulkanError::Call { operation, .. } | VulkanError::Import { operation, .. } => {
                operation
            }
            VulkanError::Unsuitable { .. } => "vkCreateImage",
            VulkanError::Copy { .. } => "vkCmdCopyImage",
            VulkanError::TooSmall { .. } => "vkGetImageMemoryRequirements2",
            _ => "Vulkan",
        };
        let kind = match &error {
            VulkanError::Budget { .. } => Kind::Exhausted,
            _ if is_short => Kind::Exhausted,
            VulkanError::Loader { .. }
            | VulkanError::Lacks { .. }
            | VulkanError::Missing { .. } => Kind::Open,
            VulkanError::Unsuitable { .. }
            | VulkanError::Sampling { .. }
            | VulkanError::Copy { .. } => Kind::Unsuitable,
            VulkanError::NotPlanned { .. } => Kind::NotPlanned,
            VulkanError::Unusable { .. } => Kind::Unusable,
            _ => Kind::Refused,
        };
        let device = error.device().unwrap_or("Vulkan").to_owned();
        Self::new(device, "", operation, kind, error)
    }
}
