//! udmabuf as a backend: one source for each page size.

use std::path::Path;

use super::{Udmabuf, UdmabufError};
use crate::backend::{Allocated, Backend, BackendError, BackendErrorKind, Declared};
use crate::model::Extent;
use crate::solve::Plan;

/// The device node of udmabuf, which is opened once for each page size.
const NODE: &str = "/dev/udmabuf";

/// The open udmabuf devices: one for each page size.
#[derive(Debug, Default)]
pub struct Udmabufs {
    open: Vec<Udmabuf>,
}

impl Udmabufs {
    /// Opens udmabuf for ordinary pages and for each size of huge pages.
    ///
    /// If udmabuf cannot be opened, the second value contains the reason.
    #[must_use]
    fn open() -> (Self, Declared) {
        let mut declared = Declared::default();
        let mut open = Vec::new();
        let huge = Udmabuf::huge_page_sizes().into_iter().map(Some);
        for page_bytes in std::iter::once(None).chain(huge) {
            match page_bytes.map_or_else(Udmabuf::open, Udmabuf::open_huge) {
                Ok(udmabuf) => {
                    declared.sources.push(udmabuf.source());
                    open.push(udmabuf);
                }
                Err(error) => {
                    declared.add_unavailable("udmabuf", &error);
                    break;
                }
            }
        }
        (Self { open }, declared)
    }
}

impl Backend for Udmabufs {
    fn name(&self) -> &'static str {
        "udmabuf"
    }

    fn discover(&mut self, _: Extent, node: Option<&Path>) -> Declared {
        if node.is_some_and(|node| node != Path::new(NODE)) {
            return Declared::default();
        }
        let (udmabufs, declared) = Self::open();
        *self = udmabufs;
        declared
    }

    fn allocate(&mut self, plan: &Plan) -> Option<Result<Allocated, BackendError>> {
        if self.open.is_empty() {
            *self = Self::open().0;
        }
        let is_own = |udmabuf: &&Udmabuf| udmabuf.id() == *plan.source();
        let udmabuf = self.open.iter().find(is_own)?;
        let allocated = udmabuf.allocate(plan).map(Allocated::of);
        Some(allocated.map_err(BackendError::from))
    }
}

impl From<UdmabufError> for BackendError {
    fn from(error: UdmabufError) -> Self {
        let (kind, operation) = match &error {
            UdmabufError::Open { .. } => (BackendErrorKind::Open, "open"),
            UdmabufError::NotPlanned { .. } => (BackendErrorKind::NotPlanned, "allocate"),
            UdmabufError::Limit { .. } => (BackendErrorKind::Refused, "UDMABUF_CREATE"),
            UdmabufError::Budget { .. } => (BackendErrorKind::Exhausted, "allocate"),
            UdmabufError::Allocate { operation, .. } => (BackendErrorKind::Refused, *operation),
            UdmabufError::Memfd { .. } => (BackendErrorKind::Unsuitable, "UDMABUF_CREATE"),
            UdmabufError::Unusable { .. } => (BackendErrorKind::Unusable, "UDMABUF_CREATE"),
        };
        Self::new(NODE, "udmabuf", operation, kind, error)
    }
}
