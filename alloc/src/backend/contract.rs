//! The trait that every backend implements.
//!
//! A backend is one kind of device behind one API: dma-heaps, DRM cards, GBM, V4L2. It discovers the machine's devices, declares
//! their constraints and memory sources, allocates the buffers of a plan, imports buffers, and tries them. Discovery, the
//! [collection](crate::collection) and the helper process for trials use only this trait. So a new backend of this crate is a
//! folder and a line in [`all`](super::all); one of another crate is passed to
//! [`BufferCollection::add_backend`](crate::collection::BufferCollection::add_backend) and to
//! [`serve_with`](crate::trial::serve_with).

use std::any::Any;
use std::fmt;
use std::path::Path;

use covalent_machine::trial_results::Outcome;
use serde::{Deserialize, Serialize};

use super::error::BackendError;
use super::format_filter::FormatFilter;
use crate::buffer::Buffer;
use crate::constraint::{CopyDevice, Participant, Source};
use crate::model::Extent;
use crate::solve::Plan;
use crate::text::Printable;

/// The devices of this machine that have one API, such as all V4L2 devices.
///
/// A method with a parameter of type `Participant`, `Source` or `Plan` returns `None` if the argument belongs to another backend:
/// the backends are called in order, and the first result that is `Some` is used. A backend keeps its devices open, so each
/// device node is opened once.
pub trait Backend: fmt::Debug {
    /// Returns the name of the backend, such as `dma-heap`. It is unique in a process.
    fn name(&self) -> &'static str;

    /// Sets the formats about which the backend must not query its drivers. It is called before any device is opened.
    ///
    /// The default implementation ignores the filter. A backend applies it if its drivers run in this process and can crash it.
    fn set_format_filter(&mut self, filter: &FormatFilter) {
        let _ = filter;
    }

    /// Opens this machine's devices and declares their constraints and sources for images of `extent`, in pixels.
    ///
    /// If `node` is given, only the device with that device node is opened. A device that exists and cannot be used is listed in
    /// [`Declared::unavailable`] with the reason.
    fn discover(&mut self, extent: Extent, node: Option<&Path>) -> Declared;

    /// Declares the memory sources that are independent of a participant, for images of `extent`, in pixels.
    ///
    /// The default implementation returns the result of [`Backend::discover`] without the participants.
    fn sources(&mut self, extent: Extent) -> Declared {
        Declared {
            participants: Vec::new(),
            ..self.discover(extent, None)
        }
    }

    /// Declares the devices that copy images of `extent`, in pixels, between buffers that participants do not share, each with
    /// the formats that it reads and writes.
    ///
    /// It is called only if the participants cannot share a buffer. A device whose query fails is left out, since the CPU can
    /// copy instead. The default implementation declares no device.
    fn copiers(&mut self, extent: Extent) -> Vec<CopyDevice> {
        let _ = extent;
        Vec::new()
    }

    /// Declares a participant for images of another size; `None` if its declaration does not depend on the size.
    fn redeclare(&mut self, participant: &Participant, extent: Extent) -> Option<Participant> {
        let _ = (participant, extent);
        None
    }

    /// Declares a source for images of another size; `None` if its declaration does not depend on the size.
    fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        let _ = (source, extent);
        None
    }

    /// Allocates the buffers of a plan; `None` if the plan's source belongs to another backend.
    ///
    /// After an error no buffer stays allocated.
    fn allocate(&mut self, plan: &Plan) -> Option<Result<Allocated, BackendError>> {
        let _ = plan;
        None
    }

    /// Opens the device of a participant to import buffers; `None` if the participant belongs to another backend, or imports no
    /// buffers.
    fn importer(&mut self, participant: &Participant) -> Option<Result<Importer, BackendError>> {
        let _ = participant;
        None
    }

    /// Tries the first allocated buffer on a participant; `None` if the participant belongs to another backend.
    ///
    /// The default implementation imports the buffer and ends the import. A backend that can do more, such as compare pixels or
    /// make a TEST_ONLY commit, overrides it.
    fn trial(&mut self, allocated: &mut Allocated, participant: &Participant) -> Option<Outcome> {
        let buffer = allocated.buffers.first()?.clone();
        Some(import_once(self.importer(participant)?, &buffer))
    }
}

/// Imports a buffer, ends the import, and returns the outcome.
pub(super) fn import_once(importer: Result<Importer, BackendError>, buffer: &Buffer) -> Outcome {
    match importer.and_then(|mut import| import(buffer)) {
        Ok(_) => Outcome::Accepted,
        Err(error) => error.outcome(),
    }
}

/// A function that imports one buffer. The import lasts until the returned value is dropped.
pub type Importer = Box<dyn FnMut(&Buffer) -> Result<Imported, BackendError>>;

/// An import that ends on drop: a DRM framebuffer, a Vulkan image or a V4L2 stream.
pub type Imported = Box<dyn Any>;

/// The buffers that a backend has allocated.
#[derive(Debug)]
pub struct Allocated {
    /// The buffers, which all have the same layout.
    pub buffers: Vec<Buffer>,
    /// The owner of the memory, if the buffers do not own it: the V4L2 stream whose queue allocated the buffers.
    pub owner: Option<Box<dyn Owner>>,
}

/// A value that owns the memory of buffers, such as a V4L2 stream.
pub trait Owner: Any + fmt::Debug {}

impl<T: Any + fmt::Debug> Owner for T {}

impl Allocated {
    /// Wraps buffers that own their memory.
    #[must_use]
    pub fn of(buffers: Vec<Buffer>) -> Self {
        Self {
            buffers,
            owner: None,
        }
    }

    /// Returns the owner of the memory, if it is a `T`.
    #[must_use]
    pub fn owner_mut<T: Any>(&mut self) -> Option<&mut T> {
        let owner: &mut dyn Any = self.owner.as_mut()?.as_mut();
        owner.downcast_mut()
    }

    /// Removes and returns the owner of the memory, if it is a `T`.
    #[must_use]
    pub fn take_owner<T: Any>(&mut self) -> Option<T> {
        self.owner_mut::<T>()?;
        let owner: Box<dyn Any> = self.owner.take()?;
        owner.downcast().ok().map(|owner| *owner)
    }
}

/// The declarations of devices for images of one size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// The participants.
    pub participants: Vec<Participant>,
    /// The memory sources.
    pub sources: Vec<Source>,
    /// The devices that exist and cannot be used, with the reasons.
    pub unavailable: Vec<Unavailable>,
}

impl Declared {
    /// Appends the declarations of `other`.
    pub fn extend(&mut self, other: Self) {
        self.participants.extend(other.participants);
        self.sources.extend(other.sources);
        self.unavailable.extend(other.unavailable);
    }

    /// Makes a declaration of one device that cannot be used, with the reason.
    #[must_use]
    pub fn only_unavailable(name: String, why: String) -> Self {
        Self {
            unavailable: vec![Unavailable { name, why }],
            ..Self::default()
        }
    }

    /// Adds a device that exists and cannot be used.
    pub fn add_unavailable(&mut self, name: impl Into<String>, why: &dyn fmt::Display) {
        self.unavailable.push(Unavailable {
            name: name.into(),
            why: why.to_string(),
        });
    }
}

/// A device or source that exists and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// The name of the device or source.
    pub name: String,
    /// The reason, with the remedy if there is one.
    pub why: String,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", Printable(&self.name), Printable(&self.why))
    }
}
