//! The backends, which discover devices, declare constraints, allocate, import and try buffers: one folder and one feature for
//! each kind of device. No backend depends on another.
//!
//! Each folder can be used by itself ([`heap::Heap`], [`v4l2::Queue`], …) and implements [`Backend`], the interface for the rest
//! of the crate. [`all`] and [`in_process`] list the backends.
//!
//! ```text
//! collection, trial helper, discovery
//!        │ trait Backend
//!        ▼
//! drm  gbm  heap  udmabuf  v4l2  vulkan  cpu
//! ```

#[cfg(any(feature = "v4l2", feature = "vulkan"))]
mod character_device;
#[cfg(any(feature = "drm", feature = "heap", feature = "v4l2"))]
mod cma;
mod contract;
pub mod cpu;
pub mod devicetree;
#[cfg(feature = "drm")]
pub mod drm;
mod error;
mod format_filter;
#[cfg(feature = "gbm")]
pub mod gbm;
#[cfg(feature = "heap")]
pub mod heap;
mod member;
#[cfg(any(
    feature = "drm",
    feature = "gbm",
    feature = "heap",
    feature = "udmabuf",
    feature = "v4l2",
    feature = "vulkan"
))]
mod meminfo;
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
mod node;
#[cfg(any(feature = "gbm", feature = "vulkan"))]
mod pattern;
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
mod prime;
#[cfg(feature = "udmabuf")]
pub mod udmabuf;
#[cfg(feature = "v4l2")]
pub mod v4l2;
#[cfg(feature = "vulkan")]
pub mod vulkan;

pub use contract::{Allocated, Backend, Declared, Imported, Importer, Owner, Unavailable};
pub use error::{BackendError, BackendErrorKind};
pub use format_filter::FormatFilter;
pub use member::{Member, MemberAllocator, MemberDeclaration};
#[cfg(any(feature = "gbm", feature = "vulkan"))]
pub(crate) use meminfo::fd_limit_error;
#[cfg(any(feature = "drm", feature = "gbm"))]
pub(crate) use node::cards;

/// Returns the pools of memory that these sources name and that this machine has, with their sizes and the bytes that are free
/// now. If a request contains the pools, the solver checks that all buffers of a plan together fit in them.
#[must_use]
pub fn pools(sources: &[crate::constraint::Source]) -> Vec<crate::constraint::Pool> {
    #[cfg(any(feature = "drm", feature = "heap", feature = "v4l2"))]
    {
        cma::pools(sources)
    }
    #[cfg(not(any(feature = "drm", feature = "heap", feature = "v4l2")))]
    {
        let _ = sources;
        Vec::new()
    }
}

/// Returns the backends of this crate whose drivers run in the kernel, so that a fault of a driver cannot end this process. No
/// device is opened.
#[must_use]
pub fn all() -> Vec<Box<dyn Backend>> {
    vec![
        #[cfg(feature = "v4l2")]
        Box::new(v4l2::VideoDevices),
        #[cfg(feature = "drm")]
        Box::new(drm::Cards::default()),
        #[cfg(feature = "heap")]
        Box::new(heap::Heaps::default()),
        #[cfg(feature = "udmabuf")]
        Box::new(udmabuf::Udmabufs::default()),
        Box::new(cpu::Cpu),
    ]
}

/// Returns the backends whose drivers run in this process and can end it: GBM and Vulkan. No driver is loaded.
#[must_use]
pub fn in_process() -> Vec<Box<dyn Backend>> {
    vec![
        #[cfg(feature = "gbm")]
        Box::new(gbm::GbmDevices::new(gbm_candidates)),
        #[cfg(feature = "vulkan")]
        Box::new(vulkan::Gpus::default()),
    ]
}

/// Returns the formats and modifiers about which GBM is queried for a card, because GBM cannot list them: the linear formats, and
/// those of the card's planes.
#[cfg(feature = "gbm")]
fn gbm_candidates(path: &std::path::Path) -> crate::constraint::FormatSet {
    let linear = gbm::Gbm::linear_candidates();
    #[cfg(feature = "drm")]
    if let Ok(card) = drm::Card::open(path) {
        return linear.iter().chain(card.listed_formats()).collect();
    }
    let _ = path;
    linear
}
