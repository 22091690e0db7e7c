//! What a heap is, by its name: the same memory has had several.

/// Names under which kernels have given out the default CMA region: since 6.17 the first. A kernel may give it out under
/// two of them at once (CONFIG_DMABUF_HEAPS_CMA_LEGACY).
pub(super) const DEFAULT_CMA: [&str; 3] = ["default_cma_region", "linux,cma", "reserved"];

/// What kind of memory a heap gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HeapKind {
    /// Pages.
    System,
    /// The default CMA region, under any of its names.
    DefaultCma,
    /// Memory that a trusted system keeps from the processor (the TEE subsystem's heaps).
    Protected,
    /// Another region, or a heap of a vendor.
    Other,
}

impl HeapKind {
    /// The kind of the heap with this name, as it stands under `/dev/dma_heap`.
    ///
    /// # References
    /// Kernel documentation, "Allocating dma-buf using heaps".
    #[must_use]
    pub fn of(name: &str) -> Self {
        if name == "system" {
            Self::System
        } else if DEFAULT_CMA.contains(&name) {
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
    fn names_of_the_default_region_are_one_kind() {
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
