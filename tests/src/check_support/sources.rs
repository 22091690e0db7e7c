//! The sources of this machine that need no participant, with their open devices: dma-heaps, udmabuf, the cards' dumb buffers,
//! GBM and Vulkan.
//!
//! Applications use a [`BufferCollection`](covalent_alloc::collection::BufferCollection), which does not expose its devices. The
//! checks need the devices.

use std::sync::{Mutex, PoisonError};

use covalent_alloc::backend::drm::Card;
#[cfg(feature = "gbm")]
use covalent_alloc::backend::gbm::Gbm;
use covalent_alloc::backend::heap::Heaps;
use covalent_alloc::backend::udmabuf::Udmabufs;
#[cfg(feature = "vulkan")]
use covalent_alloc::backend::vulkan::{Gpu, Vulkan};
use covalent_alloc::backend::{Backend, BackendError, BackendErrorKind, Unavailable};
use covalent_alloc::buffer::Buffer;
#[cfg(feature = "gbm")]
use covalent_alloc::constraint::FormatSet;
use covalent_alloc::constraint::{Source, SourceId};
use covalent_alloc::model::Extent;
use covalent_alloc::solve::Plan;

/// The sources that could be opened, and the reasons why other sources could not be opened.
#[derive(Debug, Default)]
pub struct Sources {
    /// The declarations of all open sources.
    declared: Vec<Source>,
    heaps: Mutex<Heaps>,
    udmabufs: Mutex<Udmabufs>,
    /// The cards, each with the identifier of its source. The identifier is stored because an unplugged card cannot report it.
    cards: Vec<(SourceId, Card)>,
    #[cfg(feature = "gbm")]
    gbm: Vec<(Gbm, FormatSet)>,
    #[cfg(feature = "vulkan")]
    gpus: Vec<Gpu>,
    unavailable: Vec<Unavailable>,
}

impl Sources {
    /// Opens every source that this process may open, except sources that would load a driver into this process.
    #[must_use]
    pub fn discover() -> Self {
        // The declarations of heaps and udmabuf do not depend on the size.
        let extent = Extent::new(64, 64).unwrap_or_else(|_| unreachable!("a small size is a size"));
        let mut sources = Self::default();
        let mut heaps = Heaps::default();
        let mut udmabufs = Udmabufs::default();
        for declared in [heaps.sources(extent), udmabufs.sources(extent)] {
            sources.declared.extend(declared.sources);
            sources.unavailable.extend(declared.unavailable);
        }
        sources.heaps = Mutex::new(heaps);
        sources.udmabufs = Mutex::new(udmabufs);
        for path in Card::list() {
            match Card::open(&path) {
                Ok(card) => sources.add_card(&card),
                Err(error) => sources.refused(&path.display().to_string(), &error),
            }
        }
        sources
    }

    /// Opens every source of this machine, including GBM and Vulkan.
    ///
    /// GBM and Vulkan load drivers into this process. Drivers can be opened and queried safely, but some drivers crash the
    /// process when they allocate.
    #[must_use]
    pub fn discover_with_drivers() -> Self {
        #[allow(unused_mut, reason = "each kind of source is a feature")]
        let mut sources = Self::discover();
        #[cfg(feature = "gbm")]
        sources.add_gbm();
        #[cfg(feature = "vulkan")]
        match Vulkan::load() {
            Ok(vulkan) => sources.add_vulkan(&vulkan),
            Err(error) => sources.refused("Vulkan", &error),
        }
        sources
    }

    /// Returns the open GBM devices, each with its formats.
    #[cfg(feature = "gbm")]
    pub fn gbm_devices(&self) -> impl Iterator<Item = (&Gbm, &FormatSet)> {
        self.gbm.iter().map(|(gbm, formats)| (gbm, formats))
    }

    /// Returns the open Vulkan devices.
    #[cfg(feature = "vulkan")]
    pub fn gpus(&self) -> impl Iterator<Item = &Gpu> {
        self.gpus.iter()
    }

    /// Adds the source of a card's own memory, unless a source with this identifier is known.
    fn add_card(&mut self, card: &Card) {
        if let Some(source) = card.own_source() {
            if self.declared.iter().all(|known| known.id != source.id) {
                self.cards.push((source.id.clone(), card.clone()));
                self.declared.push(source);
            }
        }
    }

    /// Returns the cards whose dumb buffers or textures are sources. A clone of a card shares its open file and its GEM handles.
    pub fn cards(&self) -> impl Iterator<Item = &Card> {
        self.cards.iter().map(|(_, card)| card)
    }

    /// Returns the declarations of all open sources.
    #[must_use]
    pub fn declarations(&self) -> Vec<Source> {
        self.declared.clone()
    }

    /// Returns the sources that exist but cannot be used, with the reasons.
    #[must_use]
    pub fn unavailable(&self) -> &[Unavailable] {
        &self.unavailable
    }

    /// Allocates the buffers of a plan from the source that it names.
    ///
    /// # Errors
    /// [`BackendError`]. After an error, no buffer stays allocated.
    pub fn allocate(&self, plan: &Plan) -> Result<Vec<Buffer>, BackendError> {
        let heap = |heaps: &Mutex<Heaps>| {
            let mut heaps = heaps.lock().unwrap_or_else(PoisonError::into_inner);
            heaps.allocate(plan)
        };
        let udmabuf = |udmabufs: &Mutex<Udmabufs>| {
            let mut udmabufs = udmabufs.lock().unwrap_or_else(PoisonError::into_inner);
            udmabufs.allocate(plan)
        };
        if let Some(allocated) = heap(&self.heaps).or_else(|| udmabuf(&self.udmabufs)) {
            return Ok(allocated?.buffers);
        }
        if let Some((_, card)) = self.cards.iter().find(|(id, _)| id == plan.source()) {
            return Ok(card.allocate(plan)?);
        }
        #[cfg(any(feature = "gbm", feature = "vulkan"))]
        let is_named = |source: Option<Source>| source.is_some_and(|own| own.id == *plan.source());
        #[cfg(feature = "gbm")]
        for (gbm, formats) in &self.gbm {
            if is_named(gbm.source(formats)) {
                return Ok(gbm.allocate(plan)?);
            }
        }
        #[cfg(feature = "vulkan")]
        for gpu in &self.gpus {
            if is_named(gpu.source()?) {
                return Ok(gpu.allocate(plan)?);
            }
        }
        let why = format!("{} is not an open source", plan.source());
        let kind = BackendErrorKind::NotPlanned;
        let name = plan.source_name();
        Err(BackendError::new(name, "", "allocate", kind, why))
    }

    /// Opens every GBM device, and adds the memory source of each.
    #[cfg(feature = "gbm")]
    pub fn add_gbm(&mut self) {
        for path in Gbm::list() {
            let gbm = match Gbm::open(&path) {
                Ok(gbm) => gbm,
                Err(error) => {
                    self.refused(&format!("GBM on {}", path.display()), &error);
                    continue;
                }
            };
            // GBM cannot list its formats, so linear formats and those of the card's planes are queried.
            let mut candidates = Gbm::linear_candidates();
            if let Ok(card) = Card::open(&path) {
                candidates = candidates.iter().chain(card.listed_formats()).collect();
            }
            let formats = gbm.formats(&candidates);
            self.declared.extend(gbm.source(&formats));
            self.gbm.push((gbm, formats));
        }
    }

    /// Adds the devices of a loaded Vulkan library and their sources.
    #[cfg(feature = "vulkan")]
    pub fn add_vulkan(&mut self, vulkan: &Vulkan) {
        let (gpus, closed) = match vulkan.gpus() {
            Ok(found) => found,
            Err(error) => {
                self.refused("Vulkan", &error);
                return;
            }
        };
        for error in closed {
            self.refused("Vulkan", &error);
        }
        for gpu in gpus {
            match gpu.source() {
                Ok(source) => self.declared.extend(source),
                Err(error) => self.refused(gpu.name(), &error),
            }
            self.gpus.push(gpu);
        }
    }

    /// Records that a device cannot be used.
    fn refused(&mut self, name: &str, error: &dyn std::error::Error) {
        self.unavailable.push(Unavailable {
            name: name.to_owned(),
            why: error.to_string(),
        });
    }
}
