//! Buffers that several devices share: the entry point of this crate.
//!
//! A [`BufferCollection`] has the devices of the program as members. It reads the constraints of each member, finds the memory
//! sources of this machine, solves for a plan, and allocates buffers according to the plan. Each member then imports the buffers.
//! Each layer can also be used alone: the collection calls [`solve`](fn@crate::solve::solve) with [`BufferCollection::request`],
//! and the methods of [`Backend`] for discovery, allocation and import.
//!
//! # Example
//!
//! A camera's frames on a display, without a copy:
//!
//! ```no_run
//! # #[cfg(all(feature = "v4l2", feature = "drm"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::path::Path;
//!
//! use covalent_alloc::backend::drm::Card;
//! use covalent_alloc::backend::v4l2::{Device, Direction};
//! use covalent_alloc::collection::BufferCollection;
//! use covalent_alloc::model::Extent;
//!
//! let camera = Device::open(Path::new("/dev/video0"))?.queue(Direction::Capture)?;
//! let plane = Card::open(Path::new("/dev/dri/card0"))?.primary_plane()?;
//! let mut collection = BufferCollection::new(Extent::new(1280, 720)?).with_count(4);
//! collection.add(&camera)?.add(&plane)?;
//! let plan = collection.solve().guaranteed()?; // the error names the constraints that conflict, and the cheapest copy
//! println!("{plan}");
//! let buffers = collection.allocate(&plan)?;
//! let mut stream = collection.import(&camera, &buffers)?;
//! let framebuffers = collection.import(&plane, &buffers)?;
//! # let _ = (&mut stream, framebuffers);
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "v4l2", feature = "drm")))]
//! # fn main() {}
//! ```

mod solved;

pub use solved::Solved;

use std::collections::BTreeSet;
use std::fmt;

use covalent_machine::trial_results::TrialResults;
use covalent_machine::{ReservedMemory, unique_names};

use crate::backend::{
    self, Backend, BackendError, BackendErrorKind, Declared, Member, MemberAllocator, Owner,
    Unavailable, devicetree,
};
use crate::buffer::Buffer;
use crate::constraint::{CopyDevice, Participant, Source, SourceId};
use crate::model::{Extent, Fourcc};
#[cfg(doc)]
use crate::solve::Split;
use crate::solve::{Plan, Request, Solution, solve};
use crate::trace::{self, Action};
use crate::trial::{
    Limits, Trial, TrialResultError, TriedSolution, keep_trial_results, load_trial_results,
    solve_with_trials,
};

/// Devices that share buffers, and the memory sources for them.
pub struct BufferCollection {
    extent: Extent,
    more_extents: Vec<Extent>,
    count: u32,
    /// The preferred format.
    fourcc: Option<Fourcc>,
    /// The only format that is permitted.
    only_fourcc: Option<Fourcc>,
    participants: Vec<Participant>,
    backends: Vec<Box<dyn Backend>>,
    /// The memory that the members can allocate, as sources, each with its allocator.
    member_sources: Vec<(Source, Box<dyn MemberAllocator>)>,
    /// The memory sources of this machine; `None` before [`BufferCollection::discover`].
    machine: Option<Declared>,
    /// The copiers that the program added with [`BufferCollection::add_copier`].
    own_copiers: Vec<CopyDevice>,
    /// The copiers that the backends found on this machine; `None` before [`BufferCollection::copiers`].
    machine_copiers: Option<Vec<CopyDevice>>,
    only_source: Option<SourceId>,
    refused: BTreeSet<SourceId>,
    /// The reserved memory of this machine's devicetree. The outer `None` means that the devicetree was not read yet, and the
    /// inner `None` that there is none.
    reserved: Option<Option<ReservedMemory>>,
    trial_results: Option<TrialResults>,
    /// The owner of the memory of the last allocated buffers, such as the stream of a camera's queue; `None` if the buffers own
    /// their memory.
    owner: Option<Box<dyn Owner>>,
}

impl fmt::Debug for BufferCollection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |one: &Participant| one.name.clone();
        out.debug_struct("BufferCollection")
            .field("extent", &self.extent)
            .field("count", &self.count)
            .field(
                "participants",
                &self.participants.iter().map(names).collect::<Vec<_>>(),
            )
            .field("backends", &self.backends)
            .finish_non_exhaustive()
    }
}

impl BufferCollection {
    /// Creates a collection of buffers for pictures of `extent`, in pixels, with all backends whose drivers are in the kernel.
    ///
    /// The program chooses the size. A camera lists its sizes by `Queue::frame_sizes`, a display by its modes.
    #[must_use]
    pub fn new(extent: Extent) -> Self {
        Self {
            extent,
            more_extents: Vec::new(),
            count: 1,
            fourcc: None,
            only_fourcc: None,
            participants: Vec::new(),
            backends: backend::all(),
            member_sources: Vec::new(),
            machine: None,
            own_copiers: Vec::new(),
            machine_copiers: None,
            only_source: None,
            refused: BTreeSet::new(),
            reserved: None,
            trial_results: None,
            owner: None,
        }
    }

    /// Requests at least this many buffers. The plan has more if the members together hold more at the same time.
    #[must_use]
    pub fn with_count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// Sets the preferred format. The solver chooses it if no other format costs less.
    #[must_use]
    pub fn with_format(mut self, fourcc: Fourcc) -> Self {
        self.fourcc = Some(fourcc);
        self
    }

    /// Restricts the members that are added after this call to one format.
    #[must_use]
    pub fn with_only_format(mut self, fourcc: Fourcc) -> Self {
        self.only_fourcc = Some(fourcc);
        self
    }

    /// Requests buffers that can also hold pictures of these sizes, in pixels, for example for a display that can be rotated.
    #[must_use]
    pub fn with_more_extents(mut self, extents: impl IntoIterator<Item = Extent>) -> Self {
        self.more_extents.extend(extents);
        self
    }

    /// Restricts the plan to this source, such as `heap:system`.
    #[must_use]
    pub fn with_only_source(mut self, source: SourceId) -> Self {
        self.only_source = Some(source);
        self
    }

    /// Adds the memory sources of drivers that run in this process: those of GBM and Vulkan. The own memory of a GPU that is a
    /// member is a source without this call.
    ///
    /// The drivers are loaded at discovery. Some drivers abort or crash the process at operations that they do not support.
    /// [`BufferCollection::solve_and_try`] tries a plan in a helper process first.
    #[must_use]
    pub fn with_in_process_drivers(mut self) -> Self {
        self.backends.extend(backend::in_process());
        self
    }

    /// Adds a backend of the application, which is called before the other backends.
    pub fn add_backend(&mut self, backend: Box<dyn Backend>) -> &mut Self {
        self.backends.insert(0, backend);
        self.machine = None;
        self.machine_copiers = None;
        self
    }

    /// Reads the constraints of a device and adds it as a member. The device's own memory becomes one of the sources.
    ///
    /// If several members have the same name, a number is appended to the name.
    ///
    /// # Errors
    /// [`BackendError`] if a query of the device fails.
    pub fn add<M: Member>(&mut self, member: &M) -> Result<&mut Self, BackendError> {
        let joined = member.join(self.extent, self.only_fourcc)?;
        self.participants.push(joined.participant);
        unique_names(&mut self.participants);
        self.member_sources.extend(joined.memory);
        Ok(self)
    }

    /// Adds a device with which the program can copy if the members cannot share a buffer, such as an entry of `Gpu::copiers`.
    /// The solution names it as the copier ([`Split::copies`]) if it can read and write the formats at the lowest cost.
    ///
    /// The devices that the backends find are added without this call.
    pub fn add_copier(&mut self, copier: CopyDevice) -> &mut Self {
        self.own_copiers.push(copier);
        self
    }

    /// Removes all members and copiers and sets another picture size, in pixels. The program has to add each of them again,
    /// because their constraints can depend on the size. Open devices stay open.
    pub fn restart(&mut self, extent: Extent) -> &mut Self {
        self.extent = extent;
        self.participants.clear();
        self.member_sources.clear();
        self.machine = None;
        self.own_copiers.clear();
        self.machine_copiers = None;
        self
    }

    /// Returns the participants, in the order in which they were added.
    #[must_use]
    pub fn participants(&self) -> &[Participant] {
        &self.participants
    }

    /// Finds the memory sources of this machine. Only the first call has an effect. The other methods call it when they need the
    /// sources.
    ///
    /// [`BufferCollection::unavailable`] lists sources that cannot be opened.
    pub fn discover(&mut self) -> &mut Self {
        if self.machine.is_some() {
            return self;
        }
        let mut machine = Declared::default();
        for backend in &mut self.backends {
            machine.extend(backend.sources(self.extent));
        }
        self.machine = Some(machine);
        self
    }

    /// Sets the trial results that plans use, instead of those in the user's file.
    pub fn set_trial_results(&mut self, results: TrialResults) -> &mut Self {
        self.trial_results = Some(results);
        self
    }

    /// Returns the sources that exist and cannot be used, each with the reason. The list is empty before
    /// [`BufferCollection::discover`].
    #[must_use]
    pub fn unavailable(&self) -> &[Unavailable] {
        self.machine
            .as_ref()
            .map_or(&[], |machine| &machine.unavailable)
    }

    /// Returns the sources that plans may use: those of this machine, and the own memory of members.
    pub fn sources(&mut self) -> Vec<Source> {
        self.discover();
        let machine = self.machine.iter().flat_map(|machine| &machine.sources);
        let mut source_ids = BTreeSet::new();
        self.member_sources
            .iter()
            .map(|(source, _)| source)
            .chain(machine)
            .filter(|source| {
                self.only_source
                    .as_ref()
                    .is_none_or(|only| source.id == *only)
            })
            .filter(|source| !self.refused.contains(&source.id))
            // A member's own memory can also be among the machine's sources, and is listed once.
            .filter(|source| source_ids.insert(source.id.clone()))
            .cloned()
            .collect()
    }

    /// Finds the devices of this machine that can copy frames, and returns them after the copiers that the program added. The
    /// call opens every video device, and loads the Vulkan drivers of [`BufferCollection::with_in_process_drivers`]. So the other
    /// methods call it only if the members cannot share a buffer, or before trials.
    pub fn copiers(&mut self) -> Vec<CopyDevice> {
        if self.machine_copiers.is_none() {
            let backends = self.backends.iter_mut();
            let found = backends.flat_map(|backend| backend.copiers(self.extent));
            self.machine_copiers = Some(found.collect());
        }
        self.known_copiers()
    }

    /// Returns, without duplicates, the copiers that the program added and those that [`BufferCollection::copiers`] has found
    /// already.
    fn known_copiers(&self) -> Vec<CopyDevice> {
        let mut known: Vec<CopyDevice> = Vec::new();
        let machine = self.machine_copiers.iter().flatten();
        for copier in self.own_copiers.iter().chain(machine) {
            if known.len() < Request::MAXIMUM_COPIERS && !known.contains(copier) {
                known.push(copier.clone());
            }
        }
        known
    }

    /// Returns the request for the solver, without the trial results: plain data that can be written to a file and solved
    /// elsewhere. It contains the machine's copiers only after a call of [`BufferCollection::copiers`].
    pub fn request(&mut self) -> Request {
        self.request_with(&[])
    }

    /// Returns the request for the solver with further participants, such as a compositor with one of its tranches.
    pub fn request_with(&mut self, others: &[Participant]) -> Request {
        let mut participants = self.participants.clone();
        participants.extend(others.iter().cloned());
        unique_names(&mut participants);
        let mut request = Request {
            more_extents: self.more_extents.clone(),
            count: self.count,
            participants,
            sources: self.sources(),
            copiers: self.known_copiers(),
            // If the members are restricted to a format, it is also the preferred format, for members that accept any format.
            preferred_fourcc: self.fourcc.or(self.only_fourcc),
            ..Request::new(self.extent)
        };
        if let Some(reserved) = self.reserved.get_or_insert_with(reserved_memory) {
            devicetree::refine(reserved, &mut request.participants, &mut request.sources);
        }
        request.pools = backend::pools(&request.sources);
        if let Some(Some(reserved)) = &self.reserved {
            reserved.add_pools(&request.sources, &mut request.pools);
        }
        request
    }

    /// Solves the request. [`Solved::guaranteed`] returns the plan, or why there is none.
    pub fn solve(&mut self) -> Solved {
        let request = self.request();
        let results = self
            .trial_results
            .get_or_insert_with(|| load_trial_results(log_error));
        let mut applied = results.apply(&request).request;
        let mut solution = solve(&applied);
        if matches!(&solution, Solution::Split(split) if split.copies().next().is_some()) {
            let copiers = self.copiers();
            // The request is solved again with the machine's copiers. They only determine which device makes each copy of a
            // split.
            if applied.copiers != copiers {
                applied.copiers = copiers;
                solution = solve(&applied);
            }
        }
        let notes = match &solution {
            Solution::Share(_) => Vec::new(),
            _ => solved::notes(self.unavailable(), applied),
        };
        Solved { solution, notes }
    }

    /// Solves the request, allocates one buffer according to the plan, and imports it into each participant. If a driver refuses,
    /// that candidate is excluded and the request is solved again.
    ///
    /// `trials` are called in order, and the result of the first that can try a participant is used. A
    /// [`Helper`](crate::trial::Helper) tries in a separate process, so a driver that hangs or aborts does not end the program.
    /// The program of that process, `covalent-prove`, must be in the folder of this program, or `COVALENT_PROVE` must name it.
    /// Learnt refusals are stored in the user's file of trial results.
    ///
    /// ```no_run
    /// # fn plan(mut collection: covalent_alloc::collection::BufferCollection) -> Result<(), Box<dyn std::error::Error>> {
    /// use covalent_alloc::trial::{Helper, Limits};
    ///
    /// let mut helper = Helper::find()?;
    /// let tried = collection.solve_and_try(&mut [&mut helper], Limits::default());
    /// let plan = tried.solution.possible()?; // every device that could be tried has imported a buffer of it
    /// # let _ = plan;
    /// # Ok(())
    /// # }
    /// ```
    pub fn solve_and_try(
        &mut self,
        trials: &mut [&mut dyn Trial],
        limits: Limits,
    ) -> TriedSolution {
        self.copiers();
        let request = self.request();
        let results = self
            .trial_results
            .get_or_insert_with(|| load_trial_results(log_error));
        let tried = solve_with_trials(&request, trials, results, limits);
        keep_trial_results(&tried.learnt_results, log_error);
        tried
    }

    /// Excludes this source from plans. A program calls this function if a participant that the trials cannot try, such as a
    /// compositor, has rejected buffers of the source.
    pub fn refuse(&mut self, source: &SourceId) -> &mut Self {
        self.refused.insert(source.clone());
        self
    }

    /// Permits the sources again that [`BufferCollection::refuse`] has excluded.
    pub fn forget_refusals(&mut self) -> &mut Self {
        self.refused.clear();
        self
    }

    /// Allocates the buffers of a plan from its source.
    ///
    /// If the source is the memory of a member, such as a V4L2 queue, this collection owns the memory until the member imports
    /// the buffers. The next call of this function frees memory that no member has imported.
    ///
    /// # Errors
    /// [`BackendError`]. After an error no buffer stays allocated.
    pub fn allocate(&mut self, plan: &Plan) -> Result<Vec<Buffer>, BackendError> {
        // The earlier buffers are freed first, because a V4L2 queue can have only one set of buffers.
        self.owner = None;
        let member_source = self
            .member_sources
            .iter()
            .find(|(source, _)| source.id == *plan.source());
        let start = trace::begin();
        let allocated = match member_source {
            // A V4L2 queue emits the trace event of the allocation itself, so none is emitted here.
            Some((_, memory)) => memory.allocate(plan)?,
            None => {
                let mut backends = self.backends.iter_mut();
                let allocated = backends.find_map(|backend| backend.allocate(plan));
                let allocated = allocated.unwrap_or_else(|| Err(missing(plan)))?;
                trace::end(
                    plan.source_name(),
                    Action::Allocate,
                    &allocated.buffers,
                    start,
                );
                allocated
            }
        };
        self.owner = allocated.owner;
        Ok(allocated.buffers)
    }

    /// Imports the last allocated buffers into a member. The result is a stream for a V4L2 queue, framebuffers for a plane, and
    /// images for a GPU.
    ///
    /// # Errors
    /// [`BackendError`] if the device refuses a buffer.
    pub fn import<M: Member>(
        &mut self,
        member: &M,
        buffers: &[Buffer],
    ) -> Result<M::Imported, BackendError> {
        member.import(buffers, &mut self.owner)
    }
}

/// Reads the reserved memory of this machine's devicetree. If it cannot be read, the error is logged, and plans do not take
/// reserved memory into account.
fn reserved_memory() -> Option<ReservedMemory> {
    match devicetree::reserved_memory() {
        Ok(reserved) => reserved,
        Err(error) => {
            tracing::warn!(%error, "/proc/device-tree cannot be read; plans do not take reserved memory into account");
            None
        }
    }
}

fn log_error(error: &TrialResultError) {
    tracing::warn!("{error}");
}

/// Makes the error for a plan whose source is not open.
fn missing(plan: &Plan) -> BackendError {
    let why = format!(
        "{} ({}) is not among the sources of this machine that could be opened",
        plan.source_name(),
        plan.source()
    );
    BackendError::new(
        plan.source_name(),
        "",
        "allocate",
        BackendErrorKind::NotPlanned,
        why,
    )
}

#[cfg(test)]
mod tests;
