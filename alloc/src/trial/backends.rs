//! The backends of the helper process. Each request is passed to them in order, and the result of the first that supports it is
//! used.

use covalent_machine::trial_results::{Outcome, Refusal};

use super::declare::Drivers;
use crate::backend::{Allocated, Backend, Declared, FormatFilter, Importer};
use crate::constraint::{CopyDevice, Participant, Source};
use crate::model::Extent;
use crate::solve::Plan;

/// The backends of the process, with the devices that they have opened.
#[derive(Debug)]
pub(super) struct Backends(Vec<Box<dyn Backend>>);

impl Backends {
    pub(super) fn new(backends: Vec<Box<dyn Backend>>) -> Self {
        Self(backends)
    }

    pub(super) fn set_format_filter(&mut self, filter: &FormatFilter) {
        for backend in &mut self.0 {
            backend.set_format_filter(filter);
        }
    }

    fn first_result<T>(
        &mut self,
        call: impl FnMut(&mut Box<dyn Backend>) -> Option<T>,
    ) -> Option<T> {
        self.0.iter_mut().find_map(call)
    }

    pub(super) fn allocate(&mut self, plan: &Plan) -> Result<Allocated, Outcome> {
        let allocated = self.first_result(|backend| backend.allocate(plan));
        match allocated {
            Some(allocated) => allocated.map_err(|error| {
                let operation = error.operation().to_owned();
                error.in_operation(plan.source_name(), &operation).outcome()
            }),
            None => {
                let (name, id) = (plan.source_name(), plan.source());
                let words = format!(
                    "{name} ({id}) is not among the sources of this machine that could be opened"
                );
                Err(Outcome::Refused(Refusal::structural(
                    name, "allocate", words,
                )))
            }
        }
    }

    pub(super) fn trial(
        &mut self,
        allocated: &mut Allocated,
        participant: &Participant,
    ) -> Option<Outcome> {
        self.first_result(|backend| backend.trial(allocated, participant))
    }

    pub(super) fn importer(&mut self, participant: &Participant) -> Result<Importer, Outcome> {
        match self.first_result(|backend| backend.importer(participant)) {
            Some(importer) => importer.map_err(|error| error.outcome()),
            None => Err(Outcome::Untestable(
                "no backend imports into this participant".to_owned(),
            )),
        }
    }

    pub(super) fn redeclare(
        &mut self,
        participant: &Participant,
        extent: Extent,
    ) -> Option<Participant> {
        self.first_result(|backend| backend.redeclare(participant, extent))
    }

    pub(super) fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        self.first_result(|backend| backend.redeclare_source(source, extent))
    }

    pub(super) fn copiers(&mut self, extent: Extent) -> Vec<CopyDevice> {
        let backends = self.0.iter_mut();
        backends
            .flat_map(|backend| backend.copiers(extent))
            .collect()
    }

    pub(super) fn declare(&mut self, drivers: &Drivers, extent: Extent) -> Declared {
        self.first_result(|backend| {
            (backend.name() == drivers.backend()).then(|| backend.discover(extent, drivers.node()))
        })
        .unwrap_or_else(|| {
            Declared::only_unavailable(
                drivers.name(),
                "the helper program is compiled without it (cargo's features `gbm` and `vulkan`)"
                    .to_owned(),
            )
        })
    }
}
