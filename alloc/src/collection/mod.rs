//! Buffers that several devices share: the entry point of this crate.
//!
//! A [`BufferCollection`] is told who takes part. It asks each member what it takes, finds the memory of this machine, solves, and
//! allocates by the plan; then each member imports the buffers. Every layer below can be used alone: what it does is
//! [`solve`](fn@crate::solve::solve) over [`BufferCollection::request`], and [`Backend`] for the rest.
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
//! let plan = collection.solve().guaranteed()?; // the error prints who cannot go together, and the cheapest way round
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

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::path::Path;

use covalent_machine::facts::TrialResults;
use covalent_machine::{ReservedMemory, unique_names};

use crate::backend::{
    self, Backend, BackendError, BackendErrorKind, Declared, Member, OwnMemory, Owner, Unavailable,
    devicetree,
};
use crate::buffer::Buffer;
use crate::constraint::{Participant, Source, SourceId};
use crate::model::{Extent, Fourcc};
use crate::solve::{NoPlan, Plan, Request, Solution, solve};
use crate::trace::{self, Action};
use crate::trial::{
    Limits, Trial, TrialResultError, TriedSolution, keep_trial_results, load_trial_results,
    solve_with_trials,
};

/// Where the kernel has dma-heaps.
const DMA_HEAPS: &str = "/dev/dma_heap";

/// Devices that are to share buffers, and the memory that there is for them.
pub struct BufferCollection {
    extent: Extent,
    more_extents: Vec<Extent>,
    count: u32,
    fourcc: Option<Fourcc>,
    only_fourcc: Option<Fourcc>,
    participants: Vec<Participant>,
    backends: Vec<Box<dyn Backend>>,
    /// Memory of members, with who allocates it.
    own: Vec<(Source, Box<dyn OwnMemory>)>,
    /// Memory of this machine; nothing until it was looked for.
    machine: Option<Declared>,
    only: Option<SourceId>,
    refused: BTreeSet<SourceId>,
    /// What the devicetree sets aside; nothing until it was read, and none on a machine without a tree.
    reserved: Option<Option<ReservedMemory>>,
    facts: Option<TrialResults>,
    /// What buffers belong to that were allocated last, where that is more than themselves.
    owner: Option<Box<dyn Owner>>,
}

/// A solution, with what the collection knows besides.
#[derive(Clone, Debug)]
pub struct Solved {
    solution: Solution,
    notes: Vec<String>,
}

impl Deref for Solved {
    type Target = Solution;

    fn deref(&self) -> &Solution {
        &self.solution
    }
}

impl Solved {
    /// Takes the plan where every device is sure to take its buffers; see [`Solution::guaranteed`].
    ///
    /// # Errors
    /// [`NoPlan`] where the plan is only possible or there is none; it prints the reason and what to do instead.
    pub fn guaranteed(self) -> Result<Plan, NoPlan> {
        let notes = self.notes;
        self.solution
            .guaranteed()
            .map_err(|error| error.with_notes(notes))
    }

    /// Takes the plan also where it is only possible; see [`Solution::possible`].
    ///
    /// # Errors
    /// [`NoPlan`] where there is none.
    pub fn possible(self) -> Result<Plan, NoPlan> {
        let notes = self.notes;
        self.solution
            .possible()
            .map_err(|error| error.with_notes(notes))
    }
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
    /// Begins a collection of buffers for pictures of `extent`, in pixels, with all backends whose drivers are the kernel's.
    ///
    /// The size is the program's choice. A camera lists its own by `Queue::frame_sizes`, a display by its modes.
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
            only: None,
            refused: BTreeSet::new(),
            reserved: None,
            facts: None,
            owner: None,
        }
    }

    /// Asks for at least this many buffers; more are planned where the members hold more.
    #[must_use]
    pub fn with_count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// Prefers a format where it serves as well as others.
    #[must_use]
    pub fn with_format(mut self, fourcc: Fourcc) -> Self {
        self.fourcc = Some(fourcc);
        self
    }

    /// Asks the members that are added from now on for this format alone.
    #[must_use]
    pub fn with_only_format(mut self, fourcc: Fourcc) -> Self {
        self.only_fourcc = Some(fourcc);
        self
    }

    /// Asks for buffers that hold pictures of these sizes too, as when a screen is turned.
    #[must_use]
    pub fn with_more_extents(mut self, extents: impl IntoIterator<Item = Extent>) -> Self {
        self.more_extents.extend(extents);
        self
    }

    /// Takes memory from this source alone, such as `heap:system`.
    #[must_use]
    pub fn with_only_source(mut self, source: SourceId) -> Self {
        self.only = Some(source);
        self
    }

    /// Takes memory of drivers that run in this process too: GBM's and Vulkan's. The memory of a GPU that is a member is taken
    /// without it.
    ///
    /// The drivers are loaded now. Some end the process (by `abort` or a fault) where they are asked for what they do not
    /// support; [`BufferCollection::solve_and_try`] has a helper process try them first.
    #[must_use]
    pub fn with_in_process_drivers(mut self) -> Self {
        self.backends.extend(backend::in_process());
        self
    }

    /// Adds a backend that this crate does not have. It is asked before the others.
    pub fn add_backend(&mut self, backend: Box<dyn Backend>) -> &mut Self {
        self.backends.insert(0, backend);
        self.machine = None;
        self
    }

    /// Asks a device what it takes, and adds it. The device's own memory is among the sources then.
    ///
    /// Members of one name are numbered.
    ///
    /// # Errors
    /// [`BackendError`] where the device does not answer.
    pub fn add<M: Member>(&mut self, member: &M) -> Result<&mut Self, BackendError> {
        let joined = member.join(self.extent, self.only_fourcc)?;
        self.participants.push(joined.participant);
        unique_names(&mut self.participants);
        self.own.extend(joined.memory);
        Ok(self)
    }

    /// Begins anew for pictures of another size, without members: each has to be asked again. Devices that are open stay open.
    pub fn restart(&mut self, extent: Extent) -> &mut Self {
        self.extent = extent;
        self.participants.clear();
        self.own.clear();
        self.machine = None;
        self
    }

    /// Returns who takes part, in the order in which they were added.
    #[must_use]
    pub fn participants(&self) -> &[Participant] {
        &self.participants
    }

    /// Finds the memory of this machine. Once: the other methods do it where it was not done.
    ///
    /// Sources that cannot be opened are among [`BufferCollection::unavailable`].
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

    /// Plans with these facts rather than with those that are kept for the user.
    pub fn set_trial_results(&mut self, facts: TrialResults) -> &mut Self {
        self.facts = Some(facts);
        self
    }

    /// Returns the sources that are there and cannot be used, and why; nothing before [`BufferCollection::discover`].
    #[must_use]
    pub fn unavailable(&self) -> &[Unavailable] {
        self.machine
            .as_ref()
            .map_or(&[], |machine| &machine.unavailable)
    }

    /// Returns the sources that plans may take, members' own memory among them.
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
            // A member's own memory may be a source of the machine as well.
            .filter(|source| known.insert(source.id.clone()))
            .cloned()
            .collect()
    }

    /// Returns what the solver is asked, without what is known of drivers' refusals: plain data that can be kept in a file and
    /// solved elsewhere.
    pub fn request(&mut self) -> Request {
        self.request_with(&[])
    }

    /// Returns what the solver is asked where others take part besides the members: a compositor, in one of the ways in which it
    /// could use the buffers.
    pub fn request_with(&mut self, others: &[Participant]) -> Request {
        let mut participants = self.participants.clone();
        participants.extend(others.iter().cloned());
        unique_names(&mut participants);
        let mut request = Request {
            more_extents: self.more_extents.clone(),
            count: self.count,
            participants,
            sources: self.sources(),
            // A member that takes any format takes the one that all are asked for.
            preferred_fourcc: self.fourcc.or(self.only_fourcc),
            ..Request::new(self.extent)
        };
        if let Some(reserved) = self.reserved.get_or_insert_with(reserved_memory) {
            devicetree::refine(reserved, &mut request.participants, &mut request.sources);
        }
        request
    }

    /// Plans. [`Solved::guaranteed`] takes the plan out of it, or says why there is none.
    pub fn solve(&mut self) -> Solved {
        let request = self.request();
        let facts = self.facts.get_or_insert_with(|| load_trial_results(tell));
        let informed = facts.inform(&request).request;
        let solution = solve(&informed);
        let notes = match &solution {
            Solution::Share(_) => Vec::new(),
            _ => self.notes(informed),
        };
        Solved { solution, notes }
    }

    /// Says what the solver does not know of a request that has no plan: which sources could not be opened, and whether devices
    /// would agree if there were memory.
    fn notes(&self, mut request: Request) -> Vec<String> {
        let unavailable = self.unavailable().iter();
        let mut notes: Vec<String> = unavailable.map(|one| format!("not used: {one}")).collect();
        if !request.sources.is_empty() {
            return notes;
        }
        notes.insert(
            0,
            "This machine has no memory that could be allocated from, or none was asked for."
                .to_owned(),
        );
        if !Path::new(DMA_HEAPS).exists() {
            notes.push(format!(
                "not used: {DMA_HEAPS} is not there: the kernel needs CONFIG_DMABUF_HEAPS, and a container has to be given the folder"
            ));
        }
        notes.push(
            "`covalent doctor` says what else is missing, and what to do about it.".to_owned(),
        );
        let anything = Source::new(SourceId::new("any"), "memory of any kind");
        request.sources.push(anything);
        let besides = solve(&request);
        if !matches!(besides, Solution::Share(_)) {
            notes.push(format!(
                "With memory there would be no plan either:\n{}",
                besides.explain().trim_end()
            ));
        }
        notes
    }

    /// Plans, allocates one buffer by the plan, has each participant import it, and plans again without what was refused.
    ///
    /// `trials` are asked in their order; the first that can try a participant decides. A [`Helper`](crate::trial::Helper) tries in a
    /// process of its own (`covalent-prove`, which has to be beside the program or named by `COVALENT_PROVE`), so that a driver
    /// that hangs or aborts costs one answer. Refusals that hold from now on are kept for the user, where they can be.
    ///
    /// ```no_run
    /// # fn plan(mut collection: covalent_alloc::collection::BufferCollection) -> Result<(), Box<dyn std::error::Error>> {
    /// use covalent_alloc::trial::{Helper, Limits};
    ///
    /// let mut helper = Helper::find()?;
    /// let tried = collection.solve_and_try(&mut [&mut helper], Limits::default());
    /// let plan = tried.solution.possible()?; // every device that could be asked has imported a buffer of it
    /// # let _ = plan;
    /// # Ok(())
    /// # }
    /// ```
    pub fn solve_and_try(
        &mut self,
        trials: &mut [&mut dyn Trial],
        limits: Limits,
    ) -> TriedSolution {
        let request = self.request();
        let facts = self.facts.get_or_insert_with(|| load_trial_results(tell));
        let proven = solve_with_trials(&request, trials, facts, limits);
        keep_trial_results(&proven.learnt_results, tell);
        proven
    }

    /// Plans no longer for this source, because somebody who cannot be asked here refused its memory: a compositor, say.
    pub fn refuse(&mut self, source: &SourceId) -> &mut Self {
        self.refused.insert(source.clone());
        self
    }

    /// Plans for every source again.
    pub fn forget_refusals(&mut self) -> &mut Self {
        self.refused.clear();
        self
    }

    /// Allocates the buffers of a plan from the source that it names, whoever has it.
    ///
    /// Memory of a member's own (a V4L2 queue's) stays with this collection until the member imports it, and is given back when
    /// other buffers are allocated.
    ///
    /// # Errors
    /// [`BackendError`]. Nothing stays allocated then.
    pub fn allocate(&mut self, plan: &Plan) -> Result<Vec<Buffer>, BackendError> {
        // A queue allocates only once what it had is given back.
        self.owner = None;
        let own = self
            .own
            .iter()
            .find(|(source, _)| source.id == *plan.source());
        let begun = trace::begin();
        let allocated = match own {
            // A queue tells of its allocation itself.
            Some((_, memory)) => memory.allocate(plan)?,
            None => {
                let mut backends = self.backends.iter_mut();
                let allocated = backends.find_map(|backend| backend.allocate(plan));
                let allocated = allocated.unwrap_or_else(|| Err(missing(plan)))?;
                trace::end(
                    plan.source_name(),
                    Action::Allocate,
                    &allocated.buffers,
                    begun,
                );
                allocated
            }
        };
        self.owner = allocated.owner;
        Ok(allocated.buffers)
    }

    /// Has a member import the buffers that were allocated last: a queue makes a stream of them, a plane framebuffers, a GPU
    /// images. The layout comes with the buffers.
    ///
    /// # Errors
    /// [`BackendError`] where the device refuses them.
    pub fn import<M: Member>(
        &mut self,
        member: &M,
        buffers: &[Buffer],
    ) -> Result<M::Imported, BackendError> {
        member.import(buffers, &mut self.owner)
    }
}

/// Reads what this machine's devicetree sets aside. A tree that cannot be read is logged, and planned without.
fn reserved_memory() -> Option<ReservedMemory> {
    match devicetree::here() {
        Ok(tree) => tree.map(|tree| ReservedMemory::of(&tree)),
        Err(error) => {
            tracing::warn!(%error, "/proc/device-tree cannot be read: plans do without it");
            None
        }
    }
}

fn tell(error: &TrialResultError) {
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
