//! Reserved memory of a devicetree, and the devices that use it, as a recorded machine stores them.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::strict_list;
use covalent_solver::constraint::{AddressWindow, Pool, PoolId};
use covalent_solver::reading::{ExtraFields, keeps_extra_fields};

keeps_extra_fields! {
    /// The reserved regions of a machine's devicetree, and the devices that use them.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct ReservedMemory {
        /// The children of `/reserved-memory`.
        #[serde(default)]
        pub regions: Vec<Region>,
        /// The devices with a `memory-region`.
        #[serde(default)]
        pub users: Vec<RegionUser>,
        /// JSON fields that a newer version of Covalent wrote.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

keeps_extra_fields! {
    /// A region of reserved memory.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(default)]
    pub struct Region {
        /// The path of the region's node, such as `/reserved-memory/isp@90000000`.
        pub path: String,
        /// The `compatible` strings of the region's node, such as `shared-dma-pool`.
        #[serde(deserialize_with = "bounded")]
        pub compatible: Vec<String>,
        /// The physical addresses of the region (`reg`); empty if the kernel chooses them.
        #[serde(deserialize_with = "strict_list")]
        pub ranges: Vec<AddressWindow>,
        /// The size of the region in bytes; `None` if the devicetree does not state one.
        pub size_bytes: Option<u64>,
        /// The addresses at which the kernel may place the region (`alloc-ranges`); empty if any address is allowed.
        #[serde(deserialize_with = "strict_list")]
        pub allowed: Vec<AddressWindow>,
        /// The alignment of the region's address, in bytes (`alignment`).
        pub alignment_bytes: Option<u64>,
        /// Whether the kernel uses free pages of the region for other purposes (`reusable`), as in a CMA area.
        pub reusable: bool,
        /// Whether the kernel does not map the region (`no-map`).
        pub no_map: bool,
        /// Whether the region serves every device that has no region of its own (`linux,cma-default`).
        pub is_default: bool,
        /// JSON fields that a newer version of Covalent wrote.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

keeps_extra_fields! {
    /// A device whose node has a `memory-region`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RegionUser {
        /// The path of the device's node.
        pub node: String,
        /// The `compatible` strings of the device's node.
        #[serde(default, deserialize_with = "bounded")]
        pub compatible: Vec<String>,
        /// The paths of the regions' nodes, in the order of `memory-region`.
        #[serde(deserialize_with = "bounded")]
        pub regions: Vec<String>,
        /// JSON fields that a newer version of Covalent wrote.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

/// The name of the default CMA area's dma-heap since Linux 6.17.
const DEFAULT_CMA_HEAP: &str = "default_cma_region";

impl ReservedMemory {
    /// The maximum number of regions of one device, and the maximum number of `compatible` strings of one node.
    ///
    /// Real devicetrees have only a few of either. Without a limit, a hostile file could repeat one long path many times.
    pub const MAXIMUM_LISTED: usize = 64;

    /// Removes the regions that the devicetree has, but that a kernel with this command line does not create.
    ///
    /// With `cma=` on the command line, the kernel reserves the default CMA area as that option says, and ignores the node with
    /// `linux,cma-default`. That node then has neither a pool nor a heap.
    ///
    /// # References
    /// Linux, `kernel/dma/contiguous.c`, `rmem_cma_setup`: "bypass %s node, using cmdline CMA params instead".
    #[must_use]
    pub fn with_command_line(mut self, command_line: &str) -> Self {
        let mut words = command_line.split_whitespace();
        if words.any(|word| word.starts_with("cma=")) {
            self.regions
                .retain(|region| !(region.is_default && region.is_cma()));
        }
        self
    }

    /// Returns the region whose node has this path.
    #[must_use]
    pub fn region(&self, path: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.path == path)
    }

    /// Returns the regions of the device whose node has this path.
    pub fn of_device<'own>(&'own self, node: &'own str) -> impl Iterator<Item = &'own Region> {
        self.users
            .iter()
            .filter(move |user| user.node == node)
            .flat_map(|user| &user.regions)
            .filter_map(|path| self.region(path))
    }

    /// Returns the region from which the dma-heap of this name allocates; `None` for a heap without a reserved region.
    ///
    /// # References
    /// Linux 7.3, `drivers/dma-buf/heaps/cma_heap.c` (`default_cma_region`, and each other CMA area by its name) and
    /// `kernel/dma/contiguous.c`, `rmem_cma_setup` (an area has the name of its node; vendors' kernels leave the address out).
    #[must_use]
    pub fn region_of_heap(&self, heap: &str) -> Option<&Region> {
        // The names that kernels have given the dma-heap of the default CMA area.
        const DEFAULT: [&str; 4] = [
            "default_cma_region",
            "linux,cma",
            "reserved",
            "default-pool",
        ];
        let mut pools = self.regions.iter().filter(|region| region.is_cma());
        if DEFAULT.contains(&heap) {
            return pools.find(|region| region.is_default);
        }
        pools.find(|region| region.heap_names().contains(&heap))
    }
}

/// Reads a list of at most [`ReservedMemory::MAXIMUM_LISTED`] strings.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let most = ReservedMemory::MAXIMUM_LISTED;
    if texts.len() > most {
        let count = texts.len();
        return Err(D::Error::custom(format!(
            "the list has {count} texts, and at most {most} are read"
        )));
    }
    Ok(texts)
}

impl Region {
    /// Returns whether drivers allocate DMA buffers from the region (`shared-dma-pool`).
    #[must_use]
    pub fn is_pool(&self) -> bool {
        self.compatible
            .iter()
            .any(|compatible| compatible == "shared-dma-pool")
    }

    /// Returns the region as a pool, from which heaps, queues and dumb buffers allocate.
    ///
    /// A CMA area allocates whole pages. A region that is no CMA area allocates a power of two of pages
    /// (`dma_alloc_from_dev_coherent`).
    ///
    /// # References
    /// Linux 7.3, `kernel/dma/coherent.c`.
    #[must_use]
    pub fn to_pool(&self) -> Pool {
        let name = if self.is_default {
            DEFAULT_CMA_HEAP
        } else {
            self.name()
        };
        if self.is_cma() {
            return Pool::cma(self.pool_id(), name, self.size_bytes);
        }
        Pool {
            capacity_bytes: self.size_bytes,
            unit_bytes: Pool::CMA_UNIT_BYTES,
            alignment_bytes: u64::MAX,
            ..Pool::new(self.pool_id(), name)
        }
    }

    /// Returns the identifier of the region's pool. The identifier of a CMA area contains the name of its heap, as the
    /// declaration of that heap does.
    #[must_use]
    pub fn pool_id(&self) -> PoolId {
        PoolId::new(match (self.is_cma(), self.is_default) {
            (true, true) => format!("cma:{DEFAULT_CMA_HEAP}"),
            (true, false) => format!("cma:{}", self.name()),
            (false, _) => format!("reserved:{}", self.name()),
        })
    }

    /// Returns whether the region is a CMA area. The kernel also offers a CMA area as a dma-heap.
    pub(super) fn is_cma(&self) -> bool {
        self.is_pool() && self.reusable && !self.no_map
    }

    /// Returns the name of the region's node: the last component of its path.
    #[must_use]
    pub fn name(&self) -> &str {
        let whole = self.path.as_str();
        whole.rsplit_once('/').map_or(whole, |(_, name)| name)
    }

    /// Returns the smallest address window that contains the region: of `ranges`, or if there are none of `allowed`, or else
    /// every address.
    #[must_use]
    pub fn window(&self) -> AddressWindow {
        let hull = |windows: &[AddressWindow]| {
            let lowest = windows.iter().map(|window| window.lowest).min()?;
            let highest = windows.iter().map(|window| window.highest).max()?;
            Some(AddressWindow { lowest, highest })
        };
        hull(&self.ranges)
            .or_else(|| hull(&self.allowed))
            .unwrap_or_default()
    }

    /// Returns the names that the region's heap may have: the name of its node, with and without the unit address.
    fn heap_names(&self) -> [&str; 2] {
        let name = self.name();
        [name, name.split_once('@').map_or(name, |(name, _)| name)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(path: &str, is_default: bool) -> Region {
        Region {
            path: path.to_owned(),
            compatible: vec!["shared-dma-pool".to_owned()],
            size_bytes: Some(64 << 20),
            reusable: true,
            is_default,
            ..Region::default()
        }
    }

    fn reserved() -> ReservedMemory {
        ReservedMemory {
            regions: vec![
                pool("/reserved-memory/linux,cma", true),
                pool("/reserved-memory/isp", false),
            ],
            ..ReservedMemory::default()
        }
    }

    #[test]
    fn default_area_of_the_tree_gives_way_to_the_command_line() {
        let heap = "default_cma_region";
        let kept = reserved().with_command_line("console=ttyS0 quiet");
        assert!(kept.region_of_heap(heap).is_some());
        let overridden = reserved().with_command_line("console=ttyS0 cma=32M quiet");
        assert_eq!(overridden.region_of_heap(heap), None);
        assert!(overridden.region_of_heap("isp").is_some());
        // Only an option named exactly `cma` counts, and not one whose name ends with `cma`.
        let other = reserved().with_command_line("hugetlb_cma=1G");
        assert!(other.region_of_heap(heap).is_some());
    }

    #[test]
    fn region_that_is_not_mapped_is_no_heap() {
        let mut reserved = reserved();
        for region in &mut reserved.regions {
            region.no_map = true;
        }
        for heap in ["default_cma_region", "isp"] {
            assert_eq!(reserved.region_of_heap(heap), None);
        }
    }
}
