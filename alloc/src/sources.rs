//! Every source on this machine that needs no participant: heaps, udmabuf, the cards' dumb buffers, GBM and Vulkan.
//!
//! The last two run drivers in this process, which take their time to load and may end it: they are there only for who asks
//! for them ([`Sources::discover_with_drivers`]).
//!
//! A V4L2 queue's own memory is not among them: it belongs to a queue that somebody has open and can import from.

use thiserror::Error;

use crate::backend::BackendError;
pub use crate::backend::Unavailable;
use crate::buffer::Buffer;
#[cfg(feature = "gbm")]
use crate::constraint::FormatSet;
use crate::constraint::Source;
use crate::solve::Plan;
use crate::trace::{self, Action};

#[cfg(feature = "drm")]
use crate::backend::drm::Card;
#[cfg(feature = "gbm")]
use crate::backend::gbm::Gbm;
#[cfg(feature = "heap")]
use crate::backend::heap::{Heap, Heaps};
#[cfg(feature = "udmabuf")]
use crate::backend::udmabuf::{Udmabuf, Udmabufs};
#[cfg(feature = "vulkan")]
use crate::backend::vulkan::{Gpu, Vulkan};

/// An allocator that is open.
#[derive(Debug)]
enum Allocator {
    #[cfg(feature = "heap")]
    Heap(Heap),
    #[cfg(feature = "udmabuf")]
    Udmabuf(Udmabuf),
    #[cfg(feature = "drm")]
    Dumb(Card),
    #[cfg(feature = "gbm")]
    Gbm(Gbm),
    #[cfg(feature = "vulkan")]
    Vulkan(Gpu),
}

/// Every source that could be opened, and why others could not.
#[derive(Debug, Default)]
pub struct Sources {
    open: Vec<(Source, Allocator)>,
    #[cfg(feature = "gbm")]
    gbm: Vec<(Gbm, FormatSet)>,
    #[cfg(feature = "vulkan")]
    gpus: Vec<Gpu>,
    unavailable: Vec<Unavailable>,
}

/// Why a plan was not allocated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No source of that name is open.
    #[error("{name} ({id}) is not among the sources of this machine that could be opened")]
    Missing {
        /// The source's identifier.
        id: String,
        /// Its name in words.
        name: String,
    },
    /// The source did not give it.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Sources {
    /// Opens every source on this machine that this process may open and that needs no driver in this process. A card that nobody drives is left without a master.
    #[must_use]
    pub fn discover() -> Self {
        #[allow(unused_mut, reason = "each kind of source is a feature")]
        let mut sources = Self::default();
        #[cfg(feature = "heap")]
        sources.add_heaps();
        #[cfg(feature = "udmabuf")]
        sources.add_udmabuf();
        #[cfg(feature = "drm")]
        sources.add_cards();
        sources
    }

    /// Opens every source on this machine, those of GBM and Vulkan included.
    ///
    /// Their drivers are loaded into this process; opening and declaring is harmless, and allocating may end the process with
    /// some of them.
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

    /// Returns the GBM devices that are open, each with the formats that it has.
    #[cfg(feature = "gbm")]
    pub fn gbm_devices(&self) -> impl Iterator<Item = (&Gbm, &FormatSet)> {
        self.gbm.iter().map(|(gbm, formats)| (gbm, formats))
    }

    /// Returns the Vulkan devices that are open.
    #[cfg(feature = "vulkan")]
    pub fn gpus(&self) -> impl Iterator<Item = &Gpu> {
        self.gpus.iter()
    }

    /// Adds the dumb buffers of a card that is open already; nothing where it has none, or they are known.
    #[cfg(feature = "drm")]
    pub fn add_card(&mut self, card: &Card) {
        if let Some(source) = card.own_source() {
            if self.open.iter().all(|(known, _)| known.id != source.id) {
                self.open.push((source, Allocator::Dumb(card.clone())));
            }
        }
    }

    /// Returns the cards whose dumb buffers or textures are among the sources. Clones share one file with them, and its
    /// handles.
    #[cfg(feature = "drm")]
    pub fn cards(&self) -> impl Iterator<Item = &Card> {
        self.open
            .iter()
            .filter_map(|(_, allocator)| match allocator {
                Allocator::Dumb(card) => Some(card),
                #[allow(unreachable_patterns, reason = "each kind of source is a feature")]
                _ => None,
            })
    }

    /// Declares every source that is open.
    #[must_use]
    pub fn declarations(&self) -> Vec<Source> {
        self.open.iter().map(|(source, _)| source.clone()).collect()
    }

    /// Returns the sources that are there and cannot be used.
    #[must_use]
    pub fn unavailable(&self) -> &[Unavailable] {
        &self.unavailable
    }

    /// Allocates the buffers of a plan from the source that it names.
    ///
    /// # Errors
    /// [`SourceError`]. Nothing stays allocated then.
    pub fn allocate(&self, plan: &Plan) -> Result<Vec<Buffer>, SourceError> {
        let begun = trace::begin();
        let buffers = self.allocate_untold(plan)?;
        trace::end(plan.source_name(), Action::Allocate, &buffers, begun);
        Ok(buffers)
    }

    fn allocate_untold(&self, plan: &Plan) -> Result<Vec<Buffer>, SourceError> {
        let named = self
            .open
            .iter()
            .find(|(source, _)| source.id == *plan.source());
        match named.map(|(_, allocator)| allocator) {
            #[cfg(feature = "heap")]
            Some(Allocator::Heap(heap)) => Ok(heap.allocate(plan).map_err(BackendError::from)?),
            #[cfg(feature = "udmabuf")]
            Some(Allocator::Udmabuf(udmabuf)) => {
                Ok(udmabuf.allocate(plan).map_err(BackendError::from)?)
            }
            #[cfg(feature = "drm")]
            Some(Allocator::Dumb(card)) => Ok(card.allocate(plan).map_err(BackendError::from)?),
            #[cfg(feature = "gbm")]
            Some(Allocator::Gbm(gbm)) => Ok(gbm.allocate(plan).map_err(BackendError::from)?),
            #[cfg(feature = "vulkan")]
            Some(Allocator::Vulkan(gpu)) => Ok(gpu.allocate(plan).map_err(BackendError::from)?),
            _ => Err(SourceError::Missing {
                id: plan.source().to_string(),
                name: plan.source_name().to_owned(),
            }),
        }
    }

    #[cfg(feature = "heap")]
    fn add_heaps(&mut self) {
        let (heaps, declared) = Heaps::open();
        self.unavailable.extend(declared.unavailable);
        let open = heaps.into_open();
        self.open
            .extend(open.map(|heap| (heap.source(), Allocator::Heap(heap))));
    }

    #[cfg(feature = "udmabuf")]
    fn add_udmabuf(&mut self) {
        let (udmabufs, declared) = Udmabufs::open();
        self.unavailable.extend(declared.unavailable);
        let open = udmabufs.into_open();
        self.open
            .extend(open.map(|udmabuf| (udmabuf.source(), Allocator::Udmabuf(udmabuf))));
    }

    #[cfg(feature = "drm")]
    fn add_cards(&mut self) {
        for path in Card::list() {
            match Card::open(&path) {
                Ok(card) => self.add_card(&card),
                Err(error) => self.refused(&path.display().to_string(), &error),
            }
        }
    }

    /// Adds every GBM device, and what it exports.
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
            let formats = gbm.formats(&gbm_candidates(&path));
            if let Some(source) = gbm.source(&formats) {
                self.open.push((source, Allocator::Gbm(gbm.clone())));
            }
            self.gbm.push((gbm, formats));
        }
    }

    /// Adds the devices of a Vulkan loader that is open already, and what they export.
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
                Ok(source) => self
                    .open
                    .extend(source.map(|source| (source, Allocator::Vulkan(gpu.clone())))),
                Err(error) => self.refused(gpu.name(), &error),
            }
            self.gpus.push(gpu);
        }
    }

    #[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
    fn refused(&mut self, name: &str, error: &dyn std::error::Error) {
        self.unavailable.push(Unavailable {
            name: name.to_owned(),
            why: error.to_string(),
        });
    }
}

/// What to ask GBM for, which lists nothing: what is linear, and what the card's planes show.
#[cfg(feature = "gbm")]
pub(crate) fn gbm_candidates(path: &std::path::Path) -> FormatSet {
    let linear = Gbm::linear_candidates();
    #[cfg(feature = "drm")]
    if let Ok(card) = Card::open(path) {
        return linear.iter().chain(card.listed_formats()).collect();
    }
    let _ = path;
    linear
}
