//! Formats, modifiers, extents and layouts as types. There is no I/O.

mod device;
mod extent;
mod format;
mod fourcc;
mod in_formats;
mod layout;
mod layout_error;
mod modifier;
mod names;

pub use device::DeviceIdentity;
pub use extent::{Extent, ExtentError};
pub use format::{FormatInfo, PlaneInfo};
pub use fourcc::{Fourcc, FourccError};
pub use in_formats::{InFormatsError, read_in_formats};
pub use layout::{Layout, PlaneLayout};
pub use layout_error::LayoutError;
pub use modifier::{DecodedModifier, FormatModifier, Modifier, ModifierError, ModifierField};
