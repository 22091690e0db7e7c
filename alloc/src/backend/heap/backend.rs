//! The dma-heaps of this machine as one backend.

use std::path::Path;

use super::{Heap, HeapError, HeapKind};
use crate::backend::{Allocated, Backend, BackendError, BackendErrorKind, Declared};
use crate::model::Extent;
use crate::solve::Plan;

/// The dma-heaps of this machine.
#[derive(Debug, Default)]
pub struct Heaps {
    open: Vec<Heap>,
}

impl Heaps {
    /// Opens every heap that this process may open. If the default CMA region has two heaps, only the heap whose name sorts first
    /// is opened.
    ///
    /// The second value lists the heaps that cannot be opened in [`Declared::unavailable`].
    #[must_use]
    fn open() -> (Self, Declared) {
        let mut declared = Declared::default();
        let paths = Heap::list().unwrap_or_else(|error| {
            declared.add_unavailable("dma-heaps", &error);
            Vec::new()
        });
        let mut open: Vec<Heap> = Vec::new();
        for path in paths {
            match Heap::open(&path) {
                // This heap allocates from the default CMA region, for which another heap is open already. The names are sorted,
                // so `default_cma_region`, the name since Linux 6.17, comes first.
                Ok(heap)
                    if heap.kind() == HeapKind::DefaultCma
                        && open
                            .iter()
                            .any(|other| other.kind() == HeapKind::DefaultCma) => {}
                Ok(heap) => {
                    declared.sources.push(heap.source());
                    open.push(heap);
                }
                Err(error) => declared.add_unavailable(path.display().to_string(), &error),
            }
        }
        (Self { open }, declared)
    }
}

impl Backend for Heaps {
    fn name(&self) -> &'static str {
        "dma-heap"
    }

    fn discover(&mut self, _: Extent, node: Option<&Path>) -> Declared {
        let (heaps, mut declared) = Self::open();
        if let Some(node) = node {
            let id = |heap: &Heap| heap.source().id;
            let named: Vec<_> = heaps
                .open
                .iter()
                .filter(|heap| heap.path == node)
                .map(id)
                .collect();
            declared.sources.retain(|source| named.contains(&source.id));
        }
        *self = heaps;
        declared
    }

    fn allocate(&mut self, plan: &Plan) -> Option<Result<Allocated, BackendError>> {
        if self.open.is_empty() {
            *self = Self::open().0;
        }
        let heap = self.open.iter().find(|heap| heap.id() == *plan.source())?;
        let allocated = heap.allocate(plan).map(Allocated::of);
        Some(allocated.map_err(BackendError::from))
    }
}

impl From<HeapError> for BackendError {
    fn from(error: HeapError) -> Self {
        let (heap, kind) = match &error {
            HeapError::Open { heap, .. } => (heap, BackendErrorKind::Open),
            HeapError::NotPlanned { heap, .. } => (heap, BackendErrorKind::NotPlanned),
            HeapError::Budget { heap, .. } | HeapError::Pool { heap, .. } => {
                (heap, BackendErrorKind::Exhausted)
            }
            HeapError::Allocate { heap, .. } => (heap, BackendErrorKind::Refused),
            HeapError::Unusable { heap, .. } => (heap, BackendErrorKind::Unusable),
        };
        let operation = match kind {
            BackendErrorKind::Open => "open",
            _ => "DMA_HEAP_IOCTL_ALLOC",
        };
        Self::new(
            heap.display().to_string(),
            "dma-heap",
            operation,
            kind,
            error,
        )
    }
}
