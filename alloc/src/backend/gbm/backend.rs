//! GBM: a buffer is allocated by it, or imported and, where Mesa maps it, read back.

use std::path::Path;

use super::pattern::Pattern;
use super::{Backend, Held, Importer, Machine};
use crate::backend::fds_are_out;
use crate::backend::gbm::{Gbm, GbmError};
use crate::buffer::Buffer;
use crate::constraint::{Interface, Participant, Source, SourceKind};
use crate::model::Extent;
use crate::prove::declare::{Declared, Drivers};
use crate::solve::Plan;
use crate::sources::gbm_candidates;
use covalent_machine::facts::{Outcome, Refusal, RefusalKind};

pub(super) const BACKEND: Backend = Backend {
    allocate,
    attempt,
    importer,
    // What it imports does not depend on the size.
    redeclare: |_, _, _| None,
    redeclare_source,
    declare,
};

impl Machine {
    /// Opens GBM for a card, once.
    fn gbm_of_card(&mut self, card: &Path) -> Result<&Gbm, GbmError> {
        let open = match self.gbm.remove(card) {
            Some(open) => open,
            None => Gbm::open(card)?,
        };
        Ok(self.gbm.entry(card.to_owned()).or_insert(open))
    }

    /// Opens GBM for the card of the node under which it was declared, once.
    fn gbm(&mut self, node: &str) -> Result<&Gbm, Outcome> {
        let card = Gbm::card_of(Path::new(node))
            .ok_or_else(|| Outcome::Untestable(format!("no card is reached through {node} now")))?;
        self.gbm_of_card(&card).map_err(|error| outcome(&error))
    }
}

fn declare(machine: &mut Machine, drivers: &Drivers, extent: Extent) -> Option<Declared> {
    let Drivers::Gbm { card } = drivers else {
        return None;
    };
    let gbm = match machine.gbm_of_card(card) {
        Ok(gbm) => gbm,
        Err(error) => return Some(Declared::nothing(drivers.name(), error.to_string())),
    };
    let candidates = gbm_candidates(card);
    let imports = gbm.imports(&candidates);
    if imports.is_empty() {
        return Some(Declared::nothing(
            drivers.name(),
            "it has no format whose arrangement it tells".to_owned(),
        ));
    }
    Some(Declared {
        participants: vec![gbm.participant(&imports)],
        sources: gbm
            .source_of_size(&gbm.formats(&candidates), extent)
            .into_iter()
            .collect(),
        unavailable: Vec::new(),
    })
}

fn redeclare_source(machine: &mut Machine, source: &Source, extent: Extent) -> Option<Source> {
    if SourceKind::of(&source.id) != SourceKind::Gbm {
        return None;
    }
    let node = &source.device.as_ref()?.node;
    let candidates = gbm_candidates(&Gbm::card_of(Path::new(node))?);
    let gbm = machine.gbm(node).ok()?;
    gbm.source_of_size(&gbm.formats(&candidates), extent)
}

fn allocate(machine: &mut Machine, plan: &Plan) -> Option<Result<Held, Outcome>> {
    if SourceKind::of(plan.source()) != SourceKind::Gbm {
        return None;
    }
    let node = plan.source_device()?.node.clone();
    Some(machine.gbm(&node).and_then(|gbm| {
        gbm.allocate(plan)
            .map(Held::Buffers)
            .map_err(|error| outcome(&error))
    }))
}

fn attempt(
    machine: &mut Machine,
    _: &Plan,
    held: &mut Held,
    participant: &Participant,
) -> Option<Outcome> {
    if Interface::of(participant) != Interface::Gbm {
        return None;
    }
    let buffer = held.buffer()?;
    Some(match machine.gbm(&participant.device.node) {
        Ok(gbm) => import(gbm, buffer, &participant.name),
        Err(outcome) => outcome,
    })
}

fn importer(
    machine: &mut Machine,
    held: &Held,
    participant: &Participant,
) -> Option<Result<Importer, Outcome>> {
    if Interface::of(participant) != Interface::Gbm {
        return None;
    }
    let buffer = held.buffer()?.clone();
    let gbm = machine.gbm(&participant.device.node).cloned();
    Some(gbm.map(|gbm| -> Importer {
        Box::new(move || {
            let imported = gbm.import(&buffer).map_err(|error| outcome(&error))?;
            Ok(Box::new(imported))
        })
    }))
}

fn import(gbm: &Gbm, buffer: &Buffer, name: &str) -> Outcome {
    // A copy of the device's own is not reached by what the processor writes.
    let pattern = (gbm.device_copy() == Some(false))
        .then(|| Pattern::write(buffer))
        .flatten();
    let imported = match gbm.import(buffer) {
        Ok(imported) => imported,
        Err(error) => return outcome(&error),
    };
    let Some(pattern) = pattern else {
        return Outcome::Proved;
    };
    match imported.read() {
        Ok(pixels) => match pattern.differs(&[pixels]) {
            Some(words) => Outcome::Refused(Refusal::structural(
                name,
                "gbm_bo_map",
                format!("{name}: {words}"),
            )),
            None => Outcome::Proved,
        },
        // A buffer of several planes, or one that this driver does not map: it took it all the same.
        Err(error) => {
            tracing::debug!(%error, "pixels are not judged");
            Outcome::Proved
        }
    }
}

fn outcome(error: &GbmError) -> Outcome {
    let mut refusal = super::of_error("GBM", operation(error), error);
    let is_short = matches!(error, GbmError::Budget { .. }) || fds_are_out().is_some();
    if is_short {
        refusal.kind = RefusalKind::Transient;
    }
    Outcome::Refused(refusal)
}

fn operation(error: &GbmError) -> &'static str {
    match error {
        GbmError::Open { .. } => "open",
        GbmError::Device { .. } => "gbm_create_device",
        GbmError::Import { .. } => "gbm_bo_import",
        GbmError::Map { .. } => "gbm_bo_map",
        GbmError::Unsuitable { .. } => "describe",
        _ => "gbm_bo_create_with_modifiers2",
    }
}
