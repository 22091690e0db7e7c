//! The kind of memory of a dma-heap, which follows from the heap's name.

use crate::backend::cma::DEFAULT_NAMES;

/// The kind of memory that a dma-heap allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HeapKind {
    /// Ordinary pages, cached by the CPU.
    System,
    /// Ordinary pages with these properties, from a heap with another name, such as a vendor's.
    Pages {
        /// Whether the physical addresses of all pages are below 4 GiB.
        is_below_4_gib: bool,
        /// Whether the CPU maps the pages cached; `None` if the name does not tell.
        is_cached: Option<bool>,
    },
    /// The default CMA region, with any of its names.
    DefaultCma,
    /// Physically contiguous memory, cached by the CPU unless the name says otherwise: a vendor's heap of the default CMA region,
    /// or a heap that the kernel's naming convention calls contiguous.
    Contiguous {
        /// Whether the CPU maps the memory uncached.
        is_uncached: bool,
    },
    /// Protected memory that the CPU cannot access: the heaps of the TEE subsystem, and those that vendors call restricted or
    /// secure.
    Protected,
    /// Another CMA region, or a vendor's heap with a name that is not known.
    Other,
}

impl HeapKind {
    /// Returns the kind of the heap with this name in `/dev/dma_heap`.
    ///
    /// # References
    /// Kernel documentation, "Allocating dma-buf using heaps": the names of mainline Linux, and what `contiguous` and `protected`
    /// mean in a name. Rockchip's kernel, `drivers/dma-buf/rk_heaps`: `system-dma32`, `cma`, and `uncached` of both. MediaTek's
    /// kernel: `restricted_mtk_cma`. Android's kernels: `system-uncached`, and `secure` in the names of protected heaps.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if name == "system" {
            return Self::System;
        }
        if DEFAULT_NAMES.contains(&name) {
            return Self::DefaultCma;
        }
        let words: Vec<&str> = name.split(['-', '_', ',', '@']).collect();
        let has = |word: &str| words.contains(&word);
        if ["protected", "restricted", "secure"].into_iter().any(has) {
            return Self::Protected;
        }
        let is_uncached = has("uncached");
        let plain: Vec<&str> = words
            .iter()
            .copied()
            .filter(|word| !["uncached", "cached"].contains(word))
            .collect();
        match plain.as_slice() {
            // `system_cc_shared` is memory of a confidential guest that devices can access.
            ["system"] | ["system", "cc", "shared"] => Self::Pages {
                is_below_4_gib: false,
                is_cached: Some(!is_uncached),
            },
            ["system", "dma32"] | ["dma32"] => Self::Pages {
                is_below_4_gib: true,
                is_cached: Some(!is_uncached),
            },
            ["cma"] | ["linux", "cma"] | ["contiguous"] => Self::Contiguous { is_uncached },
            _ if has("contiguous") => Self::Contiguous { is_uncached },
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_default_region_have_one_kind() {
        for name in [
            "default_cma_region",
            "linux,cma",
            "reserved",
            "default-pool",
        ] {
            assert_eq!(HeapKind::of(name), HeapKind::DefaultCma, "{name}");
        }
        assert_eq!(HeapKind::of("system"), HeapKind::System);
    }

    #[test]
    fn names_of_vendors_have_the_kind_that_they_state() {
        let pages = |is_below_4_gib, is_cached| HeapKind::Pages {
            is_below_4_gib,
            is_cached: Some(is_cached),
        };
        for (name, kind) in [
            ("system-uncached", pages(false, false)),
            ("system-dma32", pages(true, true)),
            ("system-uncached-dma32", pages(true, false)),
            ("dma32", pages(true, true)),
            ("system_cc_shared", pages(false, true)),
            ("cma", HeapKind::Contiguous { is_uncached: false }),
            ("cma-uncached", HeapKind::Contiguous { is_uncached: true }),
            (
                "linux,cma-uncached",
                HeapKind::Contiguous { is_uncached: true },
            ),
            ("contiguous", HeapKind::Contiguous { is_uncached: false }),
            (
                "video@42000000-contiguous",
                HeapKind::Contiguous { is_uncached: false },
            ),
            ("protected,secure-video", HeapKind::Protected),
            ("restricted_mtk_cma", HeapKind::Protected),
            ("restricted", HeapKind::Protected),
            ("vframe-secure", HeapKind::Protected),
        ] {
            assert_eq!(HeapKind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn other_names_say_nothing() {
        for name in ["vframe", "systematic", "video@42000000", ""] {
            assert_eq!(HeapKind::of(name), HeapKind::Other, "{name}");
        }
    }
}
