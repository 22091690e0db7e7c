//! Where memory comes from and who imports it: one module a kind of device, one feature each. No backend knows another.

pub mod devicetree;
#[cfg(feature = "drm")]
pub mod drm;
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
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
mod node;
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
mod prime;
#[cfg(feature = "udmabuf")]
pub mod udmabuf;
#[cfg(feature = "v4l2")]
pub mod v4l2;
#[cfg(feature = "vulkan")]
pub mod vulkan;

#[cfg(any(feature = "gbm", feature = "vulkan"))]
pub(crate) use machine::fds_are_out;
#[cfg(any(feature = "drm", feature = "gbm"))]
pub(crate) use node::cards;
