//! Memory that a devicetree sets aside, and the devices that are given it.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::understood;
use covalent_solver::constraint::AddressWindow;
use covalent_solver::reading::{ExtraFields, keeps_extra_fields};

keeps_extra_fields! {
    /// The regions of a machine's devicetree, and who is given them.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct ReservedMemory {
        /// The children of `/reserved-memory`.
        #[serde(default)]
        pub regions: Vec<Region>,
        /// The devices with a `memory-region`.
        #[serde(default)]
        pub users: Vec<RegionUser>,
        /// Fields of a newer version.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

keeps_extra_fields! {
    /// A region of memory that is set aside.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(default)]
    pub struct Region {
        /// The node, such as `/reserved-memory/isp@90000000`.
        pub path: String,
        /// What it is for, such as `shared-dma-pool`.
        #[serde(deserialize_with = "few")]
        pub compatible: Vec<String>,
        /// Where it lies (`reg`); empty where the kernel chooses.
        #[serde(deserialize_with = "understood")]
        pub ranges: Vec<AddressWindow>,
        /// How large it is, in bytes; none where nothing tells.
        pub size_bytes: Option<u64>,
        /// Where the kernel may put it (`alloc-ranges`); empty where that is anywhere.
        #[serde(deserialize_with = "understood")]
        pub allowed: Vec<AddressWindow>,
        /// In which steps of addresses, in bytes.
        pub alignment_bytes: Option<u64>,
        /// Whether the kernel uses it while nobody else does (CMA).
        pub reusable: bool,
        /// Whether the processor does not map it.
        pub no_map: bool,
        /// Whether it serves every device that has none of its own (`linux,cma-default`).
        pub is_default: bool,
        /// Fields of a newer version.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

keeps_extra_fields! {
    /// A device that is given regions.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RegionUser {
        /// Its node.
        pub node: String,
        /// What the node says it is.
        #[serde(default, deserialize_with = "few")]
        pub compatible: Vec<String>,
        /// The regions' nodes, in the order in which it takes them.
        #[serde(deserialize_with = "few")]
        pub regions: Vec<String>,
        /// Fields of a newer version.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

impl ReservedMemory {
    /// The most regions that a device is given, and the most texts of a `compatible`. No binding has more than a few; each may name the
    /// same long path again.
    pub const MAXIMUM_LISTED: usize = 64;

    /// Returns the region of this node.
    #[must_use]
    pub fn region(&self, path: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.path == path)
    }

    /// Lists the regions that a device is given.
    pub fn of_device<'own>(&'own self, node: &'own str) -> impl Iterator<Item = &'own Region> {
        self.users
            .iter()
            .filter(move |user| user.node == node)
            .flat_map(|user| &user.regions)
            .filter_map(|path| self.region(path))
    }

    /// Returns the region behind a dma-heap of this name; `None` where it is not one of these.
    ///
    /// # References
    /// Linux 7.3, `drivers/dma-buf/heaps/cma_heap.c` (`default_cma_region`, and each other CMA area by its name) and
    /// `kernel/dma/contiguous.c`, `rmem_cma_setup` (an area has the name of its node; vendors' kernels leave the address out).
    #[must_use]
    pub fn behind_heap(&self, heap: &str) -> Option<&Region> {
        /// Names of the default region; see [`HeapKind`](crate::backend::heap::HeapKind).
        const DEFAULT: [&str; 3] = ["default_cma_region", "linux,cma", "reserved"];
        let mut pools = self.regions.iter().filter(|region| region.is_cma());
        if DEFAULT.contains(&heap) {
            return pools.find(|region| region.is_default);
        }
        pools.find(|region| region.heap_names().contains(&heap))
    }
}

/// Reads a list of at most [`ReservedMemory::MAXIMUM_LISTED`] texts.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let most = ReservedMemory::MAXIMUM_LISTED;
    if texts.len() > most {
        let count = texts.len();
        return Err(D::Error::custom(format!(
            "a list of {count} texts, and at most {most} are read"
        )));
    }
    Ok(texts)
}

impl Region {
    /// Whether devices can be given pieces of it.
    #[must_use]
    pub fn is_pool(&self) -> bool {
        self.compatible
            .iter()
            .any(|compatible| compatible == "shared-dma-pool")
    }

    /// Whether it is a pool that is a CMA area, which the kernel gives out as a dma-heap too.
    fn is_cma(&self) -> bool {
        self.is_pool() && self.reusable && !self.no_map
    }

    /// The last part of its path.
    #[must_use]
    pub fn name(&self) -> &str {
        let whole = self.path.as_str();
        whole.rsplit_once('/').map_or(whole, |(_, name)| name)
    }

    /// The window in which it lies: its range, or where the kernel may put it. Where nothing tells it may be anywhere.
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

    /// The names that its heap may have: the node's, with and without its address.
    fn heap_names(&self) -> [&str; 2] {
        let name = self.name();
        [name, name.split_once('@').map_or(name, |(name, _)| name)]
    }
}
