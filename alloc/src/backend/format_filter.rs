//! A filter of the formats about which a backend queries its drivers.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::model::Fourcc;

/// A function that is called with each format before a driver is queried about that format.
type Visitor = dyn Fn(Fourcc) + Send + Sync;

/// Lists the formats that a backend leaves out when it queries its drivers. A visitor function is called with each of the
/// remaining formats before a driver is queried about it.
///
/// Some drivers crash their process when they are queried about certain formats. The last format with which the visitor was
/// called is then the format to leave out, so that the driver's other formats can still be declared.
#[derive(Clone, Default)]
pub struct FormatFilter {
    left_out: BTreeSet<Fourcc>,
    visitor: Option<Arc<Visitor>>,
}

impl FormatFilter {
    /// Makes a filter that leaves these formats out.
    #[must_use]
    pub fn without(left_out: BTreeSet<Fourcc>) -> Self {
        Self {
            left_out,
            visitor: None,
        }
    }

    /// Sets the visitor, which is called with each format before a driver is queried about that format.
    #[must_use]
    pub fn with_visitor(mut self, visitor: impl Fn(Fourcc) + Send + Sync + 'static) -> Self {
        self.visitor = Some(Arc::new(visitor));
        self
    }

    /// Returns whether a driver may be queried about a format, and calls the visitor with the format if so.
    #[must_use]
    pub fn takes(&self, fourcc: Fourcc) -> bool {
        if self.left_out.contains(&fourcc) {
            return false;
        }
        if let Some(visitor) = &self.visitor {
            visitor(fourcc);
        }
        true
    }
}

impl fmt::Debug for FormatFilter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FormatFilter")
            .field("left_out", &self.left_out)
            .finish_non_exhaustive()
    }
}
