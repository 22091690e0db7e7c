//! Sources and participants whose drivers run in the process that asks them: GBM's and Vulkan's.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

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

    /// The name of the backend that drives them.
    pub(super) fn backend(&self) -> &'static str {
        match self {
            Self::Gbm { .. } => "gbm",
            Self::Vulkan => "vulkan",
        }
    }

    /// The node of the one device that is meant.
    pub(super) fn node(&self) -> Option<&Path> {
        match self {
            Self::Gbm { card } => Some(card),
            Self::Vulkan => None,
        }
    }

    /// What messages call them.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Gbm { card } => format!("GBM on {}", card.display()),
            Self::Vulkan => "Vulkan".to_owned(),
        }
    }
}
