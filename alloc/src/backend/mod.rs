//! Where memory comes from and who imports it: one module a kind of device, one feature each. No backend knows another.

#[cfg(feature = "drm")]
pub mod drm;
#[cfg(feature = "heap")]
pub mod heap;
#[cfg(any(feature = "drm", feature = "heap", feature = "udmabuf"))]
mod machine;
#[cfg(feature = "udmabuf")]
pub mod udmabuf;
#[cfg(feature = "v4l2")]
pub mod v4l2;
