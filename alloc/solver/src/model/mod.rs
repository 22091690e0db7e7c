//! Types for formats, modifiers, extents and layouts. This module does no I/O.

mod device;
mod extent;
mod format;
mod fourcc;
mod in_formats;
mod layout;
mod layout_error;
mod modifier;
mod names;
mod rect;

pub use device::DeviceIdentity;
pub use extent::{Extent, ExtentError};
pub(crate) use format::{ColourLoss, Colours};
pub use format::{FormatInfo, PlaneInfo};
pub use fourcc::{Fourcc, FourccError};
pub use in_formats::{InFormatsError, read_in_formats};
pub use layout::{Layout, PlaneLayout, VisibleBytes};
pub use layout_error::LayoutError;
pub(crate) use modifier::WrittenFormat;
pub use modifier::{DecodedModifier, FormatModifier, Modifier, ModifierError, ModifierField};
pub use rect::Rect;
