//! Which formats a backend asks its drivers about.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::model::Fourcc;

/// Gets each format before a driver is asked about it.
type Visitor = dyn Fn(Fourcc) + Send + Sync;

/// The formats about which drivers are not asked, and the visitor that gets each other format before they are asked about it.
///
/// Some drivers end their process when they are asked about certain formats. Then the last format that the visitor got is the one to leave
/// out, and the driver's other formats can still be declared.
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

    /// Calls `visitor` with each format before a driver is asked about it.
    #[must_use]
    pub fn with_visitor(mut self, visitor: impl Fn(Fourcc) + Send + Sync + 'static) -> Self {
        self.visitor = Some(Arc::new(visitor));
        self
    }

    /// Returns whether the driver may be asked about a format. If it may, the visitor gets it.
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
