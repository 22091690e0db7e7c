//! What a backend is: the one trait that all kinds of devices implement.
//!
//! A backend is one kind of device behind one API: dma-heaps, cards through the kernel, GBM, V4L2. It finds the machine's devices,
//! declares what they take and give, allocates by a plan, imports, and tries. Everything above (discovery, the
//! [collection](crate::collection), the helper process that tries plans) goes through this trait, so a new backend is a folder and
//! a line in [`all`](super::all); one outside of this crate is handed to
//! [`BufferCollection::add_backend`](crate::collection::BufferCollection::add_backend) and to
//! [`serve_with`](crate::trial::serve_with).

use std::any::Any;
use std::fmt;
use std::path::Path;

use covalent_machine::trial_results::Outcome;
use serde::{Deserialize, Serialize};

use super::error::BackendError;
use crate::buffer::Buffer;
use crate::constraint::{Participant, Source};
use crate::model::Extent;
use crate::solve::Plan;
use crate::text::Printable;

/// One kind of device behind one API.
///
/// Methods that are asked about a participant, a source or a plan answer `None` where it belongs to another backend: backends are
/// asked in turn, and the first that answers counts. A backend keeps what it has opened, so the same node is opened once.
pub trait Backend: fmt::Debug {
    /// Returns the backend's name, such as `dma-heap`. It is unique among those of a process.
    fn name(&self) -> &'static str;

    /// Opens this machine's devices and declares what they take and give for pictures of `extent`, in pixels.
    ///
    /// With `node` only the device of that node is looked at. What is there and cannot be used is among
    /// [`Declared::unavailable`] with the reason.
    fn discover(&mut self, extent: Extent, node: Option<&Path>) -> Declared;

    /// Declares the memory that any participant's buffers can come from, for pictures of `extent`, in pixels.
    ///
    /// Without a definition of its own it is what [`Backend::discover`] declares, without the participants.
    fn sources(&mut self, extent: Extent) -> Declared {
        Declared {
            participants: Vec::new(),
            ..self.discover(extent, None)
        }
    }

    /// Declares a participant for pictures of another size; `None` where its declaration holds for every size.
    fn redeclare(&mut self, participant: &Participant, extent: Extent) -> Option<Participant> {
        let _ = (participant, extent);
        None
    }

    /// Declares a source for pictures of another size; `None` where its declaration holds for every size.
    fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        let _ = (source, extent);
        None
    }

    /// Allocates the buffers of a plan; `None` where the plan's source is not this backend's.
    ///
    /// Nothing stays allocated after an error.
    fn allocate(&mut self, plan: &Plan) -> Option<Result<Allocated, BackendError>> {
        let _ = plan;
        None
    }

    /// Opens a participant to import buffers; `None` where it is not this backend's, or imports nothing.
    fn importer(&mut self, participant: &Participant) -> Option<Result<Importer, BackendError>> {
        let _ = participant;
        None
    }

    /// Tries the first buffer on a participant; `None` where it is not this backend's.
    ///
    /// Without a definition of its own it imports the buffer and lets go of it. A backend that can also look at the pixels, or
    /// test a commit, does that here.
    fn trial(&mut self, allocated: &mut Allocated, participant: &Participant) -> Option<Outcome> {
        let buffer = allocated.buffers.first()?.clone();
        Some(import_once(self.importer(participant)?, &buffer))
    }
}

/// Imports a buffer, lets go of it, and returns how that ended.
pub(super) fn import_once(importer: Result<Importer, BackendError>, buffer: &Buffer) -> Outcome {
    match importer.and_then(|mut import| import(buffer)) {
        Ok(_) => Outcome::Proved,
        Err(error) => error.outcome(),
    }
}

/// Imports one buffer each time it is called; what it returns holds the import until it is dropped.
pub type Importer = Box<dyn FnMut(&Buffer) -> Result<Imported, BackendError>>;

/// What holds an import: a framebuffer, an image, a stream.
pub type Imported = Box<dyn Any>;

/// Buffers that a backend has allocated.
#[derive(Debug)]
pub struct Allocated {
    /// The buffers, all of one layout.
    pub buffers: Vec<Buffer>,
    /// What the memory belongs to where that is more than the buffers: the stream of a V4L2 queue's own memory.
    pub owner: Option<Box<dyn Owner>>,
}

/// What memory belongs to, apart from its buffers.
pub trait Owner: Any + fmt::Debug {}

impl<T: Any + fmt::Debug> Owner for T {}

impl Allocated {
    /// Takes buffers whose memory lives as long as they do.
    #[must_use]
    pub fn of(buffers: Vec<Buffer>) -> Self {
        Self {
            buffers,
            owner: None,
        }
    }

    /// Returns what the memory belongs to, where it is a `T`.
    #[must_use]
    pub fn owner_mut<T: Any>(&mut self) -> Option<&mut T> {
        let owner: &mut dyn Any = self.owner.as_mut()?.as_mut();
        owner.downcast_mut()
    }

    /// Takes what the memory belongs to out of it, where it is a `T`.
    #[must_use]
    pub fn take_owner<T: Any>(&mut self) -> Option<T> {
        self.owner_mut::<T>()?;
        let owner: Box<dyn Any> = self.owner.take()?;
        owner.downcast().ok().map(|owner| *owner)
    }
}

/// What devices say of themselves for pictures of one size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// Who takes buffers.
    pub participants: Vec<Participant>,
    /// Who gives them.
    pub sources: Vec<Source>,
    /// What is there and cannot be asked, and why.
    pub unavailable: Vec<Unavailable>,
}

impl Declared {
    /// Takes what another has.
    pub fn extend(&mut self, other: Self) {
        self.participants.extend(other.participants);
        self.sources.extend(other.sources);
        self.unavailable.extend(other.unavailable);
    }

    /// Declares nothing, and says why.
    #[must_use]
    pub fn nothing(name: String, why: String) -> Self {
        Self {
            unavailable: vec![Unavailable { name, why }],
            ..Self::default()
        }
    }

    /// Adds a device that is there and cannot be used.
    pub fn add_unavailable(&mut self, name: impl Into<String>, why: &dyn fmt::Display) {
        self.unavailable.push(Unavailable {
            name: name.into(),
            why: why.to_string(),
        });
    }
}

/// A device or source that is there and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// What it is.
    pub name: String,
    /// Why it cannot be used, and what would help.
    pub why: String,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", Printable(&self.name), Printable(&self.why))
    }
}
