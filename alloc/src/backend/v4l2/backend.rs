//! The V4L2 devices of this machine as one backend. A trial queues a buffer without VIDIOC_STREAMON, so that the driver attaches
//! and maps it.

use std::fs;
use std::path::{Path, PathBuf};

use covalent_machine::trial_results::Outcome;

use super::{Device, Direction, Error, Queue, Stream};
use crate::backend::contract::import_once;
use crate::backend::{Allocated, Backend, BackendError, BackendErrorKind, Declared, Importer};
use crate::constraint::{CopyDevice, Participant, Role, Source, SourceKind};
use crate::model::Extent;
use crate::solve::Plan;

/// The V4L2 devices of this machine. This backend keeps no device open, because a queue has only one owner at a time, and the
/// program itself needs the queue.
#[derive(Debug, Default)]
pub struct VideoDevices;

impl VideoDevices {
    /// Lists the device nodes of all video devices, in the order of their numbers.
    #[must_use]
    pub fn list() -> Vec<PathBuf> {
        let number = |path: &Path| {
            let digits = path.file_name()?.to_str()?.strip_prefix("video")?;
            digits.parse::<u32>().ok()
        };
        let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
        let mut nodes: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| Some((number(&entry.path())?, entry.path())))
            .collect();
        nodes.sort();
        nodes.into_iter().map(|(_, path)| path).collect()
    }
}

impl Backend for VideoDevices {
    fn name(&self) -> &'static str {
        "v4l2"
    }

    fn discover(&mut self, extent: Extent, node: Option<&Path>) -> Declared {
        let nodes = match node {
            Some(node) => vec![node.to_owned()],
            None => Self::list(),
        };
        let mut declared = Declared::default();
        for node in nodes {
            let name = node.display().to_string();
            let device = match Device::open(&node) {
                Ok(device) => device,
                Err(error) => {
                    declared.add_unavailable(name, &error);
                    continue;
                }
            };
            for direction in [Direction::Capture, Direction::Output] {
                match device
                    .queue(direction)
                    .and_then(|queue| declare(&queue, extent))
                {
                    Ok((participant, source)) => {
                        declared.participants.push(participant);
                        declared.sources.extend(source);
                    }
                    Err(Error::NoQueue { .. }) => {}
                    Err(error) => declared.add_unavailable(name.clone(), &error),
                }
            }
        }
        declared
    }

    /// Declares nothing: a queue's own memory is available only to the program that has the queue open, and is declared together
    /// with that queue.
    fn sources(&mut self, _: Extent) -> Declared {
        Declared::default()
    }

    fn copiers(&mut self, extent: Extent) -> Vec<CopyDevice> {
        let copier = |node: &PathBuf| {
            let found = Device::open(node).and_then(|device| device.copier(extent));
            found
                .inspect_err(
                    |error| tracing::debug!(%error, "a V4L2 device is not declared as a copier"),
                )
                .ok()?
        };
        Self::list().iter().filter_map(copier).collect()
    }

    fn redeclare(&mut self, participant: &Participant, extent: Extent) -> Option<Participant> {
        let direction = direction(participant)?;
        let queue = open(Path::new(&participant.device.node), direction).ok()?;
        let mut declared = queue.participant(extent, None).ok()?;
        declared.name.clone_from(&participant.name);
        Some(declared)
    }

    fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        if SourceKind::of(&source.id) != SourceKind::Queue {
            return None;
        }
        let device = Device::open(Path::new(&source.device.as_ref()?.node)).ok()?;
        [Direction::Capture, Direction::Output]
            .into_iter()
            .find_map(|direction| {
                let queue = device.queue(direction).ok()?;
                let participant = queue.participant(extent, None).ok()?;
                let declared = queue.source(&participant).ok()??;
                (declared.id == source.id).then_some(declared)
            })
    }

    /// Allocates the buffers from the queue's own memory (MMAP). The [`Stream`] in [`Allocated::owner`] owns them.
    fn allocate(&mut self, plan: &Plan) -> Option<Result<Allocated, BackendError>> {
        if SourceKind::of(plan.source()) != SourceKind::Queue {
            return None;
        }
        let node = plan.source_device()?.node.clone();
        let device = match Device::open(Path::new(&node)) {
            Ok(device) => device,
            Err(error) => return Some(Err(error.into())),
        };
        // The plan's source id is that of one of the device's two queues. Only that queue allocates; the other returns
        // `NotPlanned`.
        for direction in [Direction::Capture, Direction::Output] {
            let Ok(queue) = device.queue(direction) else {
                continue;
            };
            match queue.allocate(plan) {
                Ok(stream) => {
                    return Some(Ok(Allocated {
                        buffers: stream.buffers().to_vec(),
                        owner: Some(Box::new(stream)),
                    }));
                }
                Err(Error::NotPlanned { .. }) => {}
                Err(error) => return Some(Err(error.into())),
            }
        }
        let why = format!("{node} has no queue with the source id {}", plan.source());
        let kind = BackendErrorKind::NotPlanned;
        Some(Err(BackendError::new(
            node,
            device.driver(),
            "allocate",
            kind,
            why,
        )))
    }

    fn importer(&mut self, participant: &Participant) -> Option<Result<Importer, BackendError>> {
        let direction = direction(participant)?;
        let queue = match open(Path::new(&participant.device.node), direction) {
            Ok(queue) => queue,
            Err(error) => return Some(Err(error.into())),
        };
        Some(Ok(Box::new(move |buffer| {
            // The buffer is queued because the driver attaches it only at VIDIOC_QBUF. `import` has checked the sizes, because
            // the kernel leaks a dma-buf that is too small.
            let mut stream = queue.import(std::slice::from_ref(buffer))?;
            stream.queue(0)?;
            Ok(Box::new(stream))
        })))
    }

    fn trial(&mut self, allocated: &mut Allocated, participant: &Participant) -> Option<Outcome> {
        let direction = direction(participant)?;
        let node = Path::new(&participant.device.node);
        let outcome = |error: Error| BackendError::from(error).outcome();
        if let Some(stream) = allocated.owner_mut::<Stream>() {
            let own = stream.as_queue();
            if own.device().path() == node && own.direction() == direction {
                // Buffers of the queue's own memory are queued by index, without an import.
                let queued = stream.queue(0).and_then(|()| stream.stop());
                return Some(queued.map_or_else(outcome, |()| Outcome::Accepted));
            }
        }
        let buffer = allocated.buffers.first()?.clone();
        Some(import_once(self.importer(participant)?, &buffer))
    }
}

fn declare(queue: &Queue, extent: Extent) -> Result<(Participant, Option<Source>), Error> {
    let participant = queue.participant(extent, None)?;
    let source = queue.source(&participant)?;
    Ok((participant, source))
}

fn direction(participant: &Participant) -> Option<Direction> {
    match participant.role {
        Role::Capture => Some(Direction::Capture),
        Role::Output => Some(Direction::Output),
        _ => None,
    }
}

fn open(node: &Path, direction: Direction) -> Result<Queue, Error> {
    Device::open(node)?.queue(direction)
}

impl From<Error> for BackendError {
    fn from(error: Error) -> Self {
        use BackendErrorKind as Kind;
        let (operation, kind) = match &error {
            Error::Open { .. } => ("open", Kind::Open),
            Error::NotVideo { .. } => ("VIDIOC_QUERYCAP", Kind::Open),
            Error::NoQueue { .. } => ("VIDIOC_QUERYCAP", Kind::Unsuitable),
            Error::Busy { operation, .. } => (*operation, Kind::Busy),
            Error::Gone { operation, .. } => (*operation, Kind::Gone),
            Error::Request { operation, .. }
            | Error::Pipeline { operation, .. }
            | Error::StreamError { operation, .. } => (*operation, Kind::Refused),
            Error::Requeue { .. } => ("VIDIOC_QBUF", Kind::Refused),
            Error::Count { .. } => ("VIDIOC_REQBUFS", Kind::Refused),
            Error::CreateBuffers { .. } => ("VIDIOC_CREATE_BUFS", Kind::Refused),
            Error::Control { .. } => ("VIDIOC_S_CTRL", Kind::Refused),
            Error::Format { .. } => ("VIDIOC_S_FMT", Kind::Refused),
            Error::NoPixelFormat { .. } => ("VIDIOC_S_FMT", Kind::Unsuitable),
            Error::InvalidLayout { operation, .. } | Error::OutsideFrame { operation, .. } => {
                (*operation, Kind::Unusable)
            }
            Error::Visible { .. } => ("VIDIOC_S_SELECTION", Kind::Refused),
            Error::NotPlanned { .. } => ("allocate", Kind::NotPlanned),
            Error::Pool { .. } => ("VIDIOC_REQBUFS", Kind::Exhausted),
            Error::Unusable { .. } => ("VIDIOC_EXPBUF", Kind::Unusable),
            _ => ("import", Kind::Refused),
        };
        let (device, driver) = error.device();
        let (device, driver) = (device.display().to_string(), driver.to_owned());
        Self::new(device, driver, operation, kind, error)
    }
}
