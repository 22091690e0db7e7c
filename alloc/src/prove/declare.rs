//! Sources and participants whose drivers run in the process that asks them: GBM's and Vulkan's.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::constraint::{Participant, Source};
use crate::sources::Unavailable;

/// What drivers say of themselves for pictures of one size.
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
    pub(super) fn extend(&mut self, other: Self) {
        self.participants.extend(other.participants);
        self.sources.extend(other.sources);
        self.unavailable.extend(other.unavailable);
    }

    /// Declares nothing, and says why.
    pub(super) fn nothing(name: String, why: String) -> Self {
        Self {
            unavailable: vec![Unavailable { name, why }],
            ..Self::default()
        }
    }
}

/// Drivers that are loaded together, and may end a process together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Drivers {
    /// GBM's for this card.
    Gbm {
        /// The card's primary node.
        card: PathBuf,
    },
    /// All that the machine's Vulkan loader finds. It loads all of them or none.
    Vulkan,
}

impl Drivers {
    /// Lists all of this machine, without loading any.
    pub(super) fn list() -> Vec<Self> {
        #[cfg(any(feature = "drm", feature = "gbm"))]
        let cards = crate::backend::cards();
        #[cfg(not(any(feature = "drm", feature = "gbm")))]
        let cards: [PathBuf; 0] = [];
        let gbm = cards.into_iter().map(|card| Self::Gbm { card });
        gbm.chain([Self::Vulkan]).collect()
    }

    /// What messages call them.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Gbm { card } => format!("GBM on {}", card.display()),
            Self::Vulkan => "Vulkan".to_owned(),
        }
    }
}
