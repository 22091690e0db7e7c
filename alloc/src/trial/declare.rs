//! Lists the userspace drivers of GBM and Vulkan. They run in the process that calls them, so only a helper process loads them to
//! declare their sources and participants.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A set of drivers that are loaded together into one helper process. If one of them crashes, the process ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Drivers {
    /// The GBM driver of one card.
    Gbm {
        /// The card's primary node.
        card: PathBuf,
    },
    /// All drivers that the Vulkan loader finds, because the loader always loads all of them.
    Vulkan,
}

impl Drivers {
    /// Lists the driver sets of this machine without loading any driver.
    pub(super) fn list() -> Vec<Self> {
        #[cfg(any(feature = "drm", feature = "gbm"))]
        let cards = crate::backend::cards();
        #[cfg(not(any(feature = "drm", feature = "gbm")))]
        let cards: [PathBuf; 0] = [];
        let gbm = cards.into_iter().map(|card| Self::Gbm { card });
        gbm.chain([Self::Vulkan]).collect()
    }

    /// Returns the name of the backend that loads these drivers.
    pub(super) fn backend(&self) -> &'static str {
        match self {
            Self::Gbm { .. } => "gbm",
            Self::Vulkan => "vulkan",
        }
    }

    /// Returns the device node if the set is for one device; otherwise `None`.
    pub(super) fn node(&self) -> Option<&Path> {
        match self {
            Self::Gbm { card } => Some(card),
            Self::Vulkan => None,
        }
    }

    /// Returns the name of the driver set in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Gbm { card } => format!("GBM on {}", card.display()),
            Self::Vulkan => "Vulkan".to_owned(),
        }
    }
}
