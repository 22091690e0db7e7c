//! The solution of a collection's request.

use std::ops::Deref;
use std::path::Path;

use crate::backend::Unavailable;
use crate::constraint::{Source, SourceId};
use crate::solve::{NoPlan, Plan, Request, Solution, solve};

/// The folder of the dma-heap nodes.
const DMA_HEAPS: &str = "/dev/dma_heap";

/// A solution of the solver, with notes that the collection adds to the error if there is no plan.
#[derive(Clone, Debug)]
pub struct Solved {
    pub(super) solution: Solution,
    pub(super) notes: Vec<String>,
}

impl Deref for Solved {
    type Target = Solution;

    fn deref(&self) -> &Solution {
        &self.solution
    }
}

impl Solved {
    /// Returns the plan if every device is guaranteed to accept its buffers; see [`Solution::guaranteed`].
    ///
    /// # Errors
    /// [`NoPlan`], whose message has the reason and the remedy, if there is no plan or the plan is only possible.
    pub fn guaranteed(self) -> Result<Plan, NoPlan> {
        let notes = self.notes;
        self.solution
            .guaranteed()
            .map_err(|error| error.with_notes(notes))
    }

    /// Returns the plan, also if it is possible and not guaranteed; see [`Solution::possible`].
    ///
    /// # Errors
    /// [`NoPlan`] if there is no plan.
    pub fn possible(self) -> Result<Plan, NoPlan> {
        let notes = self.notes;
        self.solution
            .possible()
            .map_err(|error| error.with_notes(notes))
    }
}

/// Returns notes for the error of a request without a plan, which the solver does not know: which sources could not be opened,
/// and whether the participants would have a plan with any other memory.
pub(super) fn notes(unavailable: &[Unavailable], mut request: Request) -> Vec<String> {
    let mut notes: Vec<String> = unavailable
        .iter()
        .map(|one| format!("not used: {one}"))
        .collect();
    if !request.sources.is_empty() {
        return notes;
    }
    notes.insert(
        0,
        "This machine has no memory source that can be used, or the request permits none."
            .to_owned(),
    );
    if !Path::new(DMA_HEAPS).exists() {
        notes.push(format!(
            "not used: {DMA_HEAPS} does not exist: build the kernel with CONFIG_DMABUF_HEAPS, or give the folder to the container"
        ));
    }
    notes.push("Run `covalent doctor` to find what else is missing, and the remedy.".to_owned());
    let anything = Source::new(SourceId::new("any"), "memory of any kind");
    request.sources.push(anything);
    let with_memory = solve(&request);
    if !matches!(with_memory, Solution::Share(_)) {
        notes.push(format!(
            "No plan would exist with any other memory either:\n{}",
            with_memory.explain().trim_end()
        ));
    }
    notes
}
