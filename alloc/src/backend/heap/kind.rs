//! The kind of a heap, by its name.

use crate::backend::cma::DEFAULT_NAMES;

/// The kind of memory of a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HeapKind {
    /// Ordinary pages.
    System,
    /// The default CMA region, with any of its names.
    DefaultCma,
    /// Protected memory that the CPU cannot access (the heaps of the TEE subsystem).
    Protected,
    /// Another CMA region, or a vendor's heap.
    Other,
}

impl HeapKind {
    /// Returns the kind of the heap with this name in `/dev/dma_heap`.
    ///
    /// # References
    /// Kernel documentation, "Allocating dma-buf using heaps".
    #[must_use]
    pub fn of(name: &str) -> Self {
        if name == "system" {
            Self::System
        } else if DEFAULT_NAMES.contains(&name) {
            Self::DefaultCma
        } else if name.starts_with("protected") {
            Self::Protected
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_default_region_have_one_kind() {
        for name in ["default_cma_region", "linux,cma", "reserved"] {
            assert_eq!(HeapKind::of(name), HeapKind::DefaultCma, "{name}");
        }
        assert_eq!(HeapKind::of("system"), HeapKind::System);
        assert_eq!(HeapKind::of("protected,secure-video"), HeapKind::Protected);
        for name in ["vframe", "system-uncached", ""] {
            assert_eq!(HeapKind::of(name), HeapKind::Other, "{name}");
        }
    }
}
