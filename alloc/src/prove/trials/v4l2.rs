//! V4L2 queues: a buffer is queued and taken back, which attaches and maps it; nothing streams.

use std::path::Path;

use super::{Backend, Held, Importer, Machine};
use crate::backend::v4l2::{Device, Direction, Error, Queue};
use crate::constraint::{Participant, Role, Source, SourceKind};
use crate::model::Extent;
use crate::solve::Plan;
use covalent_machine::facts::{Outcome, Refusal, RefusalKind};

pub(super) const BACKEND: Backend = Backend {
    allocate,
    attempt,
    importer,
    redeclare,
    redeclare_source,
    declare: |_, _, _| None,
};

fn direction(participant: &Participant) -> Option<Direction> {
    match participant.role {
        Role::Capture => Some(Direction::Capture),
        Role::Output => Some(Direction::Output),
        _ => None,
    }
}

fn allocate(_: &mut Machine, plan: &Plan) -> Option<Result<Held, Outcome>> {
    if SourceKind::of(plan.source()) != SourceKind::Queue {
        return None;
    }
    let node = plan.source_device()?.node.clone();
    let device = match Device::open(Path::new(&node)) {
        Ok(device) => device,
        Err(error) => return Some(Err(outcome(&error))),
    };
    // The one of its queues that the plan is for says so; the others answer that they are not meant.
    for direction in [Direction::Capture, Direction::Output] {
        let Ok(queue) = device.queue(direction) else {
            continue;
        };
        match queue.allocate(plan) {
            Ok(stream) => return Some(Ok(Held::Stream(stream))),
            Err(Error::NotPlanned { .. }) => {}
            Err(error) => return Some(Err(outcome(&error))),
        }
    }
    Some(Err(Outcome::Refused(Refusal::structural(
        &node,
        "allocate",
        format!("{node} has no queue that is {}", plan.source()),
    ))))
}

fn attempt(
    _: &mut Machine,
    _: &Plan,
    held: &mut Held,
    participant: &Participant,
) -> Option<Outcome> {
    let direction = direction(participant)?;
    let node = Path::new(&participant.device.node);
    if let Held::Stream(stream) = held {
        let own = stream.queue_of();
        if own.device().path() == node && own.direction() == direction {
            // Its own memory, which it has already: it is queued by index.
            let queued = stream.queue(0).and_then(|()| stream.stop());
            return Some(queued.map_or_else(|error| outcome(&error), |()| Outcome::Proved));
        }
    }
    let buffer = held.buffer()?;
    let tried = open(node, direction).and_then(|queue| {
        // Sizes are checked before the kernel sees the buffer: one too small would be leaked for good.
        let mut stream = queue.import(std::slice::from_ref(buffer))?;
        stream.queue(0)
    });
    Some(tried.map_or_else(|error| outcome(&error), |()| Outcome::Proved))
}

fn importer(
    _: &mut Machine,
    held: &Held,
    participant: &Participant,
) -> Option<Result<Importer, Outcome>> {
    let direction = direction(participant)?;
    if matches!(held, Held::Stream(_)) {
        let why = "a queue's own memory keeps its device busy".to_owned();
        return Some(Err(Outcome::Untestable(why)));
    }
    let buffer = held.buffer()?.clone();
    let queue = match open(Path::new(&participant.device.node), direction) {
        Ok(queue) => queue,
        Err(error) => return Some(Err(outcome(&error))),
    };
    Some(Ok(Box::new(move || {
        // Queued, since a queue looks at a buffer only then.
        let stream = queue
            .import(std::slice::from_ref(&buffer))
            .and_then(|mut stream| stream.queue(0).map(|()| stream))
            .map_err(|error| outcome(&error))?;
        Ok(Box::new(stream))
    })))
}

fn redeclare(_: &mut Machine, participant: &Participant, extent: Extent) -> Option<Participant> {
    let direction = direction(participant)?;
    let queue = open(Path::new(&participant.device.node), direction).ok()?;
    let mut declared = queue.participant(extent, None).ok()?;
    declared.name.clone_from(&participant.name);
    Some(declared)
}

fn redeclare_source(_: &mut Machine, source: &Source, extent: Extent) -> Option<Source> {
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

fn open(node: &Path, direction: Direction) -> Result<Queue, Error> {
    Device::open(node)?.queue(direction)
}

fn outcome(error: &Error) -> Outcome {
    let words = error.to_string();
    let of = |device: &Path, operation: &str, errno: rustix::io::Errno| {
        Refusal::of_errno(
            device.display().to_string(),
            operation,
            errno.raw_os_error(),
            words.clone(),
        )
    };
    Outcome::Refused(match error {
        Error::Busy { .. } => return Outcome::Untestable(words),
        Error::Open { device, source } => of(device, "open", *source),
        Error::Request {
            device,
            operation,
            source,
            ..
        } => of(device, operation, *source),
        Error::Larger { device, source, .. } => of(device, "VIDIOC_CREATE_BUFS", *source),
        Error::Gone {
            device,
            operation,
            source,
            ..
        } => Refusal {
            // Plugged in again it may be another's.
            kind: RefusalKind::Transient,
            ..of(device, operation, *source)
        },
        Error::Format { device, .. } => {
            Refusal::structural(device.display().to_string(), "VIDIOC_S_FMT", words.clone())
        }
        error => super::of_error("V4L2", "import", error),
    })
}
