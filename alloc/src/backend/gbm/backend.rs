//! GBM on every card as one backend. A trial writes a pattern with the CPU, imports the buffer and, if Mesa can map it, compares
//! the pixels.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use covalent_machine::trial_results::{Outcome, Refusal};

use super::{Gbm, GbmError};
use crate::backend::pattern::TestPattern;
use crate::backend::{
    Allocated, Backend, BackendError, BackendErrorKind, Declared, Importer, fd_limit_error,
};
use crate::buffer::Buffer;
use crate::constraint::{FormatSet, Interface, Participant, Source, SourceKind};
use crate::model::Extent;
use crate::solve::Plan;

/// Returns the formats and modifiers to query for a card, because GBM has no list of them.
type Candidates = fn(&Path) -> FormatSet;

/// GBM on this machine's cards. Mesa's drivers run in this process and can end it.
pub struct GbmDevices {
    /// The open devices, by the card's primary node.
    open: BTreeMap<PathBuf, Gbm>,
    candidates: Candidates,
}

impl fmt::Debug for GbmDevices {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("GbmDevices").field(&self.open).finish()
    }
}

impl GbmDevices {
    /// Makes the backend without opening a device. `candidates` returns the formats and modifiers to query for a card.
    #[must_use]
    pub fn new(candidates: Candidates) -> Self {
        Self {
            open: BTreeMap::new(),
            candidates,
        }
    }

    /// Returns the GBM device of a card, and opens it if it is not open yet.
    fn of_card(&mut self, card: &Path) -> Result<&Gbm, GbmError> {
        let open = match self.open.remove(card) {
            Some(open) => open,
            None => Gbm::open(card)?,
        };
        Ok(self.open.entry(card.to_owned()).or_insert(open))
    }

    /// Returns the GBM device of the card with this device node, and opens it if it is not open yet.
    fn of_node(&mut self, node: &str) -> Result<&Gbm, BackendError> {
        let card = Gbm::card_of(Path::new(node)).ok_or_else(|| {
            // The kind is `Busy`, so that a trial counts as untestable and not as a refusal: the device may be there again at the
            // next attempt.
            let why = format!("no card belongs to {node} at present");
            BackendError::new(node, "", "open", BackendErrorKind::Busy, why)
        })?;
        Ok(self.of_card(&card)?)
    }

    /// Declares the participant and the source of a card's GBM device.
    fn declare(&mut self, card: &Path, extent: Extent) -> Declared {
        let name = format!("GBM on {}", card.display());
        let candidates = (self.candidates)(card);
        let gbm = match self.of_card(card) {
            Ok(gbm) => gbm,
            Err(error) => return Declared::only_unavailable(name, error.to_string()),
        };
        let imports = gbm.imports(&candidates);
        if imports.is_empty() {
            let why = "GBM supports none of the formats with an explicit modifier".to_owned();
            return Declared::only_unavailable(name, why);
        }
        Declared {
            participants: vec![gbm.participant(&imports)],
            sources: gbm
                .source_of_size(&gbm.formats(&candidates), extent)
                .into_iter()
                .collect(),
            unavailable: Vec::new(),
        }
    }
}

impl Backend for GbmDevices {
    fn name(&self) -> &'static str {
        "gbm"
    }

    fn discover(&mut self, extent: Extent, node: Option<&Path>) -> Declared {
        let cards = match node {
            Some(node) => vec![node.to_owned()],
            None => Gbm::list(),
        };
        let mut declared = Declared::default();
        for card in cards {
            declared.extend(self.declare(&card, extent));
        }
        declared
    }

    fn redeclare_source(&mut self, source: &Source, extent: Extent) -> Option<Source> {
        if SourceKind::of(&source.id) != SourceKind::Gbm {
            return None;
        }
        let node = &source.device.as_ref()?.node;
        let candidates = (self.candidates)(&Gbm::card_of(Path::new(node))?);
        let gbm = self.of_node(node).ok()?;
        gbm.source_of_size(&gbm.formats(&candidates), extent)
    }

    fn allocate(&mut self, plan: &Plan) -> Option<Result<Allocated, BackendError>> {
        if SourceKind::of(plan.source()) != SourceKind::Gbm {
            return None;
        }
        let node = plan.source_device()?.node.clone();
        let allocated = self
            .of_node(&node)
            .and_then(|gbm| Ok(Allocated::of(gbm.allocate(plan)?)));
        Some(allocated)
    }

    fn importer(&mut self, participant: &Participant) -> Option<Result<Importer, BackendError>> {
        if Interface::of(participant) != Interface::Gbm {
            return None;
        }
        let gbm = self.of_node(&participant.device.node).cloned();
        Some(
            gbm.map(|gbm| -> Importer {
                Box::new(move |buffer| Ok(Box::new(gbm.import(buffer)?)))
            }),
        )
    }

    fn trial(&mut self, allocated: &mut Allocated, participant: &Participant) -> Option<Outcome> {
        if Interface::of(participant) != Interface::Gbm {
            return None;
        }
        let buffer = allocated.buffers.first()?;
        Some(match self.of_node(&participant.device.node) {
            Ok(gbm) => import(gbm, buffer, &participant.name),
            Err(error) => error.outcome(),
        })
    }
}

fn import(gbm: &Gbm, buffer: &Buffer, name: &str) -> Outcome {
    // A device with a shadow copy reads the copy and not what the CPU writes, so the pixels are compared only on a device without
    // one.
    let pattern = (gbm.has_shadow_copy() == Some(false))
        .then(|| TestPattern::write(buffer))
        .flatten();
    let imported = match gbm.import(buffer) {
        Ok(imported) => imported,
        Err(error) => return BackendError::from(error).outcome(),
    };
    let Some(pattern) = pattern else {
        return Outcome::Accepted;
    };
    match imported.read() {
        Ok(pixels) => match pattern.first_difference(&[pixels]) {
            Some(difference) => Outcome::Refused(Refusal::structural(
                name,
                "gbm_bo_map",
                format!("{name}: {difference}"),
            )),
            None => Outcome::Accepted,
        },
        // GBM cannot map a buffer of several planes, and not every driver maps every buffer. The import itself succeeded.
        Err(error) => {
            tracing::debug!(%error, "GBM cannot map the imported buffer, so its pixels are not compared");
            Outcome::Accepted
        }
    }
}

impl From<GbmError> for BackendError {
    fn from(error: GbmError) -> Self {
        use BackendErrorKind as Kind;
        const CREATE: &str = "gbm_bo_create_with_modifiers2";
        let driver = match &error {
            GbmError::Device { driver, .. }
            | GbmError::Allocate { driver, .. }
            | GbmError::Import { driver, .. }
            | GbmError::Map { driver, .. }
            | GbmError::Unusable { driver, .. } => driver.clone(),
            _ => String::new(),
        };
        let (node, operation, kind) = match &error {
            GbmError::Open { node, .. } => (node, "open", Kind::Open),
            GbmError::Device { node, .. } => (node, "gbm_create_device", Kind::Open),
            GbmError::Unsuitable { node, .. } => (node, "describe", Kind::Unsuitable),
            GbmError::Allocate { node, .. } => (node, CREATE, Kind::Refused),
            GbmError::Import { node, .. } => (node, "gbm_bo_import", Kind::Refused),
            GbmError::Map { node, .. } => (node, "gbm_bo_map", Kind::Refused),
            GbmError::Unusable { node, .. } => (node, CREATE, Kind::Unusable),
            GbmError::Budget { node, .. } => (node, CREATE, Kind::Exhausted),
            GbmError::NotPlanned { node, .. } => (node, CREATE, Kind::NotPlanned),
        };
        // Mesa returns arbitrary errors if this process can open no more file descriptors.
        let kind = match kind {
            Kind::Refused if fd_limit_error().is_some() => Kind::Exhausted,
            kind => kind,
        };
        Self::new(node.display().to_string(), driver, operation, kind, error)
    }
}
