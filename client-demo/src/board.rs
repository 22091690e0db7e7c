//! Memory that the machine's devicetree sets aside for devices, in the plans of clients.

use covalent_alloc::backend::devicetree;
use covalent_alloc::machine::ReservedMemory;
use covalent_alloc::solve::Request;

/// What the devicetree sets aside; nothing where the machine has none, as most PCs.
#[derive(Clone, Debug, Default)]
pub struct Board {
    reserved: Option<ReservedMemory>,
}

impl Board {
    /// Reads this machine's. A tree that cannot be read is told, and planned without.
    #[must_use]
    pub fn here() -> Self {
        let tree = devicetree::here().unwrap_or_else(|error| {
            tracing::warn!(%error, "/proc/device-tree cannot be read: plans do without it");
            None
        });
        Self {
            reserved: tree.map(|tree| ReservedMemory::of(&tree)),
        }
    }

    /// Adds to a request which memory its devices are given, and what is known of heaps that lie in it.
    pub fn refine(&self, request: &mut Request) {
        if let Some(reserved) = &self.reserved {
            devicetree::refine(reserved, &mut request.participants, &mut request.sources);
        }
    }
}

#[cfg(test)]
mod tests {
    use covalent_alloc::constraint::{Source, SourceId};
    use covalent_alloc::machine::Region;
    use covalent_alloc::model::Extent;

    use super::*;

    fn request() -> Request {
        let mut request = Request::new(Extent::new(640, 480).unwrap());
        let id = SourceId::new("heap:camera-pool");
        request
            .sources
            .push(Source::new(id, "dma-heap camera-pool"));
        request
    }

    #[test]
    fn heap_of_a_pool_promises_what_the_tree_says_of_it() {
        let mut reserved = ReservedMemory::default();
        reserved.regions.push(Region {
            path: "/reserved-memory/camera-pool".to_owned(),
            compatible: vec!["shared-dma-pool".to_owned()],
            reusable: true,
            size_bytes: Some(64 << 20),
            ..Region::default()
        });
        let board = Board {
            reserved: Some(reserved),
        };
        let mut refined = request();
        board.refine(&mut refined);
        assert_eq!(refined.sources[0].guarantees.maximum_bytes, Some(64 << 20));
    }

    #[test]
    fn machine_without_a_tree_changes_nothing() {
        let mut refined = request();
        Board::default().refine(&mut refined);
        assert_eq!(refined, request());
    }
}
