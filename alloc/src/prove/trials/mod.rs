//! The trials of the helper process, one file a backend, and the table in which another finds its place.

mod cpu;
#[cfg(feature = "drm")]
mod drm;
#[cfg(feature = "gbm")]
mod gbm;
#[cfg(any(feature = "gbm", feature = "vulkan"))]
mod pattern;
#[cfg(feature = "v4l2")]
mod v4l2;
#[cfg(feature = "vulkan")]
mod vulkan;

use std::any::Any;
#[cfg(any(feature = "drm", feature = "gbm"))]
use std::collections::BTreeMap;
use std::error::Error;
use std::io;

use rustix::io::Errno;

use super::declare::{Declared, Drivers};
use crate::buffer::Buffer;
use crate::constraint::{Participant, Source};
use crate::model::Extent;
use crate::solve::{Plan, Request};
use crate::sources::{SourceError, Sources};
use covalent_machine::facts::plan_of;
use covalent_machine::facts::{Outcome, Refusal, RefusalKind};

/// What the helper process has open between questions.
#[derive(Debug, Default)]
pub(super) struct Machine {
    sources: Option<Sources>,
    #[cfg(feature = "drm")]
    cards: BTreeMap<String, crate::backend::drm::Card>,
    /// By node and number.
    #[cfg(feature = "drm")]
    planes: BTreeMap<
        (String, u32),
        (
            ::drm::control::plane::Handle,
            crate::backend::drm::PlaneKind,
        ),
    >,
    /// By the card's primary node.
    #[cfg(feature = "gbm")]
    gbm: BTreeMap<std::path::PathBuf, crate::backend::gbm::Gbm>,
    /// The loader is asked once: it loads every driver that there is.
    #[cfg(feature = "vulkan")]
    gpus: Option<vulkan::Gpus>,
}

impl Machine {
    fn sources(&mut self) -> &Sources {
        self.sources.get_or_insert_with(Sources::discover)
    }
}

/// A buffer that was allocated, with whatever it lives on.
#[derive(Debug)]
pub(super) enum Held {
    /// Memory that lives by itself.
    Buffers(Vec<Buffer>),
    /// A queue's own memory: it is there while the queue has it.
    #[cfg(feature = "v4l2")]
    Stream(crate::backend::v4l2::Stream),
}

impl Held {
    /// The buffer to try.
    pub(super) fn buffer(&self) -> Option<&Buffer> {
        match self {
            Self::Buffers(buffers) => buffers.first(),
            #[cfg(feature = "v4l2")]
            Self::Stream(stream) => stream.buffers().first(),
        }
    }
}

/// Imports the buffer once; what it returns lets go of it when it is dropped.
pub(super) type Importer = Box<dyn FnMut() -> Result<Box<dyn Any>, Outcome>>;

/// What one backend can try.
struct Backend {
    /// Allocates by a plan; `None` where the plan's source is not this backend's.
    allocate: fn(&mut Machine, &Plan) -> Option<Result<Held, Outcome>>,
    /// Tries the buffer on a participant; `None` for participants of others.
    attempt: fn(&mut Machine, &Plan, &mut Held, &Participant) -> Option<Outcome>,
    /// Opens a participant to import the buffer again and again; `None` for participants of others.
    importer: fn(&mut Machine, &Held, &Participant) -> Option<Result<Importer, Outcome>>,
    /// Declares a participant for another size; `None` where its declaration holds for every size.
    redeclare: fn(&mut Machine, &Participant, Extent) -> Option<Participant>,
    /// The same for a source.
    redeclare_source: fn(&mut Machine, &Source, Extent) -> Option<Source>,
    /// Declares what drivers give and take; `None` for drivers of others.
    declare: fn(&mut Machine, &Drivers, Extent) -> Option<Declared>,
}

/// Every backend, asked in this order: a new one is a line here and a file beside.
const BACKENDS: &[Backend] = &[
    #[cfg(feature = "v4l2")]
    v4l2::BACKEND,
    // Before DRM, which would take a card's GBM for the card.
    #[cfg(feature = "gbm")]
    gbm::BACKEND,
    #[cfg(feature = "vulkan")]
    vulkan::BACKEND,
    #[cfg(feature = "drm")]
    drm::BACKEND,
    cpu::BACKEND,
    NEUTRAL,
];

/// Heaps, udmabuf and dumb buffers, which the sources of the machine give by themselves.
const NEUTRAL: Backend = Backend {
    allocate: |machine, plan| {
        Some(
            machine
                .sources()
                .allocate(plan)
                .map(Held::Buffers)
                .map_err(|error| Outcome::Refused(of_source(plan, &error))),
        )
    },
    attempt: |_, _, _, _| None,
    importer: |_, _, _| None,
    redeclare: |_, _, _| None,
    redeclare_source: |_, _, _| None,
    declare: |_, _, _| None,
};

pub(super) fn allocate(machine: &mut Machine, plan: &Plan) -> Result<Held, Outcome> {
    BACKENDS
        .iter()
        .find_map(|backend| (backend.allocate)(machine, plan))
        .unwrap_or_else(|| Err(Outcome::Untestable("no backend has this source".to_owned())))
}

pub(super) fn attempt(
    machine: &mut Machine,
    request: &Request,
    held: &mut Held,
    participant: &Participant,
) -> Option<Outcome> {
    let plan = plan_of(request)?;
    BACKENDS
        .iter()
        .find_map(|backend| (backend.attempt)(machine, &plan, held, participant))
}

pub(super) fn importer(
    machine: &mut Machine,
    held: &Held,
    participant: &Participant,
) -> Result<Importer, Outcome> {
    BACKENDS
        .iter()
        .find_map(|backend| (backend.importer)(machine, held, participant))
        .unwrap_or_else(|| Err(Outcome::Untestable("it imports nothing".to_owned())))
}

pub(super) fn redeclare(
    machine: &mut Machine,
    participant: &Participant,
    extent: Extent,
) -> Option<Participant> {
    BACKENDS
        .iter()
        .find_map(|backend| (backend.redeclare)(machine, participant, extent))
}

pub(super) fn redeclare_source(
    machine: &mut Machine,
    source: &Source,
    extent: Extent,
) -> Option<Source> {
    BACKENDS
        .iter()
        .find_map(|backend| (backend.redeclare_source)(machine, source, extent))
}

pub(super) fn declare(machine: &mut Machine, drivers: &Drivers, extent: Extent) -> Declared {
    BACKENDS
        .iter()
        .find_map(|backend| (backend.declare)(machine, drivers, extent))
        .unwrap_or_else(|| {
            Declared::nothing(
                drivers.name(),
                "the helper program is compiled without it (cargo's features `gbm` and `vulkan`)"
                    .to_owned(),
            )
        })
}

fn of_source(plan: &Plan, error: &SourceError) -> Refusal {
    let mut refusal = of_error(plan.source_name(), "allocate", error);
    if is_budget(error) {
        refusal.kind = RefusalKind::Transient;
    }
    refusal
}

/// Whether the source was not asked at all, because the machine has not so much to spare now.
fn is_budget(error: &SourceError) -> bool {
    match error {
        #[cfg(feature = "heap")]
        SourceError::Heap(error) => matches!(error, crate::backend::heap::HeapError::Budget { .. }),
        #[cfg(feature = "udmabuf")]
        SourceError::Udmabuf(error) => {
            matches!(error, crate::backend::udmabuf::UdmabufError::Budget { .. })
        }
        #[cfg(feature = "drm")]
        SourceError::Drm(error) => matches!(error, crate::backend::drm::DrmError::Budget { .. }),
        _ => false,
    }
}

/// Makes a refusal of an error: of its kernel's number, where there is one among its causes.
fn of_error(device: &str, operation: &str, error: &(dyn Error + 'static)) -> Refusal {
    let words = error.to_string();
    let mut cause = Some(error);
    while let Some(inner) = cause {
        let errno = inner
            .downcast_ref::<Errno>()
            .map(|errno| errno.raw_os_error())
            .or_else(|| inner.downcast_ref::<io::Error>()?.raw_os_error());
        if let Some(errno) = errno {
            return Refusal::of_errno(device, operation, errno, words);
        }
        cause = inner.source();
    }
    Refusal::structural(device, operation, words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use covalent_machine::facts::Cause;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer {
        #[source]
        inner: io::Error,
    }

    #[test]
    fn number_of_an_error_is_found_among_its_causes() {
        let error = Outer {
            inner: io::Error::from_raw_os_error(16),
        };
        let refusal = of_error("card0", "ADDFB2", &error);
        assert_eq!(refusal.cause, Cause::Errno(16));
        assert_eq!(refusal.kind, RefusalKind::Transient);
        assert_eq!(refusal.words, "outer");
        let none = of_error("card0", "ADDFB2", &io::Error::other("words"));
        assert_eq!(
            (none.cause, none.kind),
            (Cause::Answer, RefusalKind::Structural)
        );
    }
}
