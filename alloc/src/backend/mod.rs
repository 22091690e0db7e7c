//! Where memory comes from and who imports it: one folder a kind of device, one feature each. No backend knows another.
//!
//! Each folder can be used by itself ([`heap::Heap`], [`v4l2::Queue`], …) and implements [`Backend`], through which everything above
//! reaches it. [`all`] lists them.

mod contract;
pub mod cpu;
pub mod devicetree;
#[cfg(feature = "drm")]
pub mod drm;
mod error;
#[cfg(feature = "gbm")]
pub mod gbm;
#[cfg(feature = "heap")]
pub mod heap;
#[cfg(any(
    feature = "drm",
    feature = "gbm",
    feature = "heap",
    feature = "udmabuf",
    feature = "vulkan"
))]
mod machine;
mod member;
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
#[cfg(any(feature = "gbm", feature = "vulkan"))]
pub(crate) use machine::fds_are_out;
pub use member::{Joined, Member, OwnMemory};
#[cfg(any(feature = "drm", feature = "gbm"))]
pub(crate) use node::cards;

/// Returns every backend of this crate whose drivers run in the kernel: asking them is harmless. Nothing is open yet.
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
        Box::new(cpu::Processor),
    ]
}

/// Returns the backends whose drivers run in this process, GBM's and Vulkan's, and may end it. Nothing is loaded yet.
#[must_use]
pub fn in_process() -> Vec<Box<dyn Backend>> {
    vec![
        #[cfg(feature = "gbm")]
        Box::new(gbm::GbmDevices::new(gbm_candidates)),
        #[cfg(feature = "vulkan")]
        Box::new(vulkan::Gpus::default()),
    ]
}

/// What to ask GBM for, which lists nothing: what is linear, and what the card's planes show.
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
