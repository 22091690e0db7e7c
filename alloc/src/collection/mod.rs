//! Buffers that several devices share: the entry point of this crate.
//!
//! A [`BufferCollection`] has the devices of the program as members. It reads the constraints of each member, finds the memory sources
//! of this machine, solves, and allocates according to the plan. Each member then imports the buffers. Every layer below can be used
//! alone: the collection calls [`solve`](fn@crate::solve::solve) with [`BufferCollection::request`], and [`Backend`] for the rest.
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
    fourcc: Option<Fourcc>,
    only_fourcc: Option<Fourcc>,
    participants: Vec<Participant>,
    backends: Vec<Box<dyn Backend>>,
    /// The memory sources that members bring, each with its allocator.
    own: Vec<(Source, Box<dyn MemberAllocator>)>,
    /// The memory sources of this machine; `None` before [`BufferCollection::discover`].
    machine: Option<Declared>,
    /// The devices that the program copies with.
    own_copiers: Vec<CopyDevice>,
    /// The devices of this machine that copy; `None` before [`BufferCollection::copiers`].
    machine_copiers: Option<Vec<CopyDevice>>,
    only: Option<SourceId>,
    refused: BTreeSet<SourceId>,
    /// The reserved memory of the devicetree. The outer `None` means that it was not read yet, the inner that there is no devicetree.
    reserved: Option<Option<ReservedMemory>>,
    trial_results: Option<TrialResults>,
    /// The owner of the last allocated buffers, such as the queue of a camera; `None` where the buffers own their memory.
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
            own: Vec::new(),
            machine: None,
            own_copiers: Vec::new(),
            machine_copiers: None,
            only: None,
            refused: BTreeSet::new(),
            reserved: None,
            trial_results: None,
            owner: None,
        }
    }

    /// Requests at least this many buffers. More are planned where the members hold more.
    #[must_use]
    pub fn with_count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// Prefers a format among those that serve equally well.
    #[must_use]
    pub fn with_format(mut self, fourcc: Fourcc) -> Self {
        self.fourcc = Some(fourcc);
        self
    }

    /// Restricts the members that are added from now on to this format.
    #[must_use]
    pub fn with_only_format(mut self, fourcc: Fourcc) -> Self {
        self.only_fourcc = Some(fourcc);
        self
    }

    /// Requests buffers that can hold pictures of these sizes in pixels too, as for a display that is rotated.
    #[must_use]
    pub fn with_more_extents(mut self, extents: impl IntoIterator<Item = Extent>) -> Self {
        self.more_extents.extend(extents);
        self
    }

    /// Restricts the plan to this source, such as `heap:system`.
    #[must_use]
    pub fn with_only_source(mut self, source: SourceId) -> Self {
        self.only = Some(source);
        self
    }

    /// Adds the memory sources of drivers that run in this process: those of GBM and Vulkan. A GPU that is a member brings its own
    /// memory without this call.
    ///
    /// The drivers are loaded now. Some abort or crash the process when they are asked for what they do not support.
    /// [`BufferCollection::solve_and_try`] tries them in a helper process first.
    #[must_use]
    pub fn with_in_process_drivers(mut self) -> Self {
        self.backends.extend(backend::in_process());
        self
    }

    /// Adds a backend of the application. It comes before the others.
    pub fn add_backend(&mut self, backend: Box<dyn Backend>) -> &mut Self {
        self.backends.insert(0, backend);
        self.machine = None;
        self.machine_copiers = None;
        self
    }

    /// Reads the constraints of a device and adds it as a member. The device's own memory becomes one of the sources.
    ///
    /// Members with equal names are numbered.
    ///
    /// # Errors
    /// [`BackendError`] where a query of the device fails.
    pub fn add<M: Member>(&mut self, member: &M) -> Result<&mut Self, BackendError> {
        let joined = member.join(self.extent, self.only_fourcc)?;
        self.participants.push(joined.participant);
        unique_names(&mut self.participants);
        self.own.extend(joined.memory);
        Ok(self)
    }

    /// Adds a device with which the program copies where members share no buffer, such as an entry of `Gpu::copiers`. A split names it as the
    /// copier ([`Split::copies`]) if it reads and writes the formats and costs least.
    ///
    /// The devices that the backends find are added without this call.
    pub fn add_copier(&mut self, copier: CopyDevice) -> &mut Self {
        self.own_copiers.push(copier);
        self
    }

    /// Removes all members and copiers and sets another picture size, in pixels. Each has to be added again, since its constraints may
    /// depend on the size. Devices that are open stay open.
    pub fn restart(&mut self, extent: Extent) -> &mut Self {
        self.extent = extent;
        self.participants.clear();
        self.own.clear();
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

    /// Finds the memory sources of this machine. Only the first call has an effect, and the other methods call it where they need it.
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

    /// Returns the sources that plans may use, with those that members bring.
    pub fn sources(&mut self) -> Vec<Source> {
        self.discover();
        let machine = self.machine.iter().flat_map(|machine| &machine.sources);
        let mut known = BTreeSet::new();
        self.own
            .iter()
            .map(|(source, _)| source)
            .chain(machine)
            .filter(|source| self.only.as_ref().is_none_or(|only| source.id == *only))
            .filter(|source| !self.refused.contains(&source.id))
            // A member's memory may be one of the machine's sources too.
            .filter(|source| known.insert(source.id.clone()))
            .cloned()
            .collect()
    }

    /// Finds the devices of this machine that copy frames, and returns them after those of the program. Every video device is opened for that,
    /// and the Vulkan drivers of [`BufferCollection::with_in_process_drivers`] are loaded, so the other methods call it only where members
    /// share no buffer, or before trials.
    pub fn copiers(&mut self) -> Vec<CopyDevice> {
        if self.machine_copiers.is_none() {
            let backends = self.backends.iter_mut();
            let found = backends.flat_map(|backend| backend.copiers(self.extent));
            self.machine_copiers = Some(found.collect());
        }
        self.known_copiers()
    }

    /// Returns the copiers that are known without a query, each once.
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

    /// Returns the request for the solver, without the trial results: plain data that can be written to a file and solved elsewhere. It has
    /// the machine's copiers after [`BufferCollection::copiers`].
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
            // A member that accepts any format gets the one that the others are restricted to.
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
            // The copiers of a request only determine which device makes each copy. They change nothing else in a solution.
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

    /// Solves the request, allocates one buffer according to the plan, imports it into each participant, and solves again without
    /// what was refused.
    ///
    /// `trials` are called in order, and the first that can try a participant decides. A [`Helper`](crate::trial::Helper) tries in a
    /// process of its own, so a driver that hangs or aborts does not end the program. Its program `covalent-prove` has to be in the
    /// folder of this program, or `COVALENT_PROVE` has to name it. Refusals that are learnt are kept in the user's file.
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

    /// Excludes this source from plans, because a participant that the trials do not reach refused its memory, such as a compositor.
    pub fn refuse(&mut self, source: &SourceId) -> &mut Self {
        self.refused.insert(source.clone());
        self
    }

    /// Permits every source again.
    pub fn forget_refusals(&mut self) -> &mut Self {
        self.refused.clear();
        self
    }

    /// Allocates the buffers of a plan from its source.
    ///
    /// The memory of a member, such as that of a V4L2 queue, is owned by this collection until the member imports it. It is freed when
    /// other buffers are allocated.
    ///
    /// # Errors
    /// [`BackendError`]. Nothing is allocated then.
    pub fn allocate(&mut self, plan: &Plan) -> Result<Vec<Buffer>, BackendError> {
        // A queue can allocate only after its earlier buffers are freed.
        self.owner = None;
        let own = self
            .own
            .iter()
            .find(|(source, _)| source.id == *plan.source());
        let start = trace::begin();
        let allocated = match own {
            // A queue emits the trace event of its allocation itself.
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

    /// Imports the last allocated buffers into a member. A queue returns a stream, a plane framebuffers, a GPU images. The buffers have
    /// their layout with them.
    ///
    /// # Errors
    /// [`BackendError`] where the device refuses the buffers.
    pub fn import<M: Member>(
        &mut self,
        member: &M,
        buffers: &[Buffer],
    ) -> Result<M::Imported, BackendError> {
        member.import(buffers, &mut self.owner)
    }
}

/// Reads the reserved memory of this machine's devicetree. Where it cannot be read, the error is logged and plans do not use it.
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
