//! Writes this machine to a file in the format of recorded machines.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use covalent_alloc::backend::{self, devicetree};
use covalent_alloc::constraint::{
    AddressWindow, Contiguity, Participant, Role, Source, SourceKind,
};
use covalent_alloc::machine::{
    Declared, Machine, MissingDevice, Provenance, RecordedParticipant, RecordedPool,
    RecordedSource, ReservedMemory,
};
use covalent_alloc::trial::{Interface, environment};

use super::Found;
use crate::{file, machine};

/// Writes the participants and sources for each size, the environment on which trial results depend, and the trial results that
/// apply to this machine.
pub(super) fn write(path: &Path, all: &[Found], reserved: Option<&ReservedMemory>) -> Result<()> {
    let mut recorded = Machine::new(
        name(),
        format!(
            "covalent probe --record, version {}",
            env!("CARGO_PKG_VERSION")
        ),
    );
    recorded.recorded_at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    recorded.environment = environment();
    let results = machine::trial_results();
    let learnt = results.learnt().filter(|result| results.is_valid(result));
    recorded.trial_results = learnt.cloned().collect();
    recorded.devicetree = reserved.cloned();
    recorded.declared = all.iter().map(declared).collect();
    let sources = all.iter().flat_map(|found| found.sources.clone());
    let pools = backend::pools(&sources.collect::<Vec<_>>());
    recorded.pools = pools.into_iter().map(RecordedPool::measured).collect();
    let text = recorded.to_json()?;
    file::write(path, (text + "\n").as_bytes())
}

/// Returns the name that the manufacturer gave the machine.
///
/// # References
/// Kernel documentation, `/proc/device-tree/model` (devicetree) and `/sys/class/dmi/id` (x86).
fn name() -> String {
    let read = |path: &str| {
        let text = fs::read_to_string(path).ok()?;
        let text = text.trim_end_matches('\0').trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    read("/proc/device-tree/model")
        .or_else(|| {
            let vendor = read("/sys/class/dmi/id/sys_vendor")?;
            Some(format!(
                "{vendor} {}",
                read("/sys/class/dmi/id/product_name")?
            ))
        })
        .unwrap_or_else(|| "a machine without a name".to_owned())
}

/// Converts what was found at one size to the declarations of a recorded machine.
fn declared(found: &Found) -> Declared {
    Declared {
        size: Some(found.size),
        participants: found.participants.iter().map(participant).collect(),
        sources: found.sources.iter().map(source).collect(),
        copiers: found.copiers.clone(),
        missing: found
            .unavailable
            .iter()
            .map(|unavailable| MissingDevice {
                name: unavailable.name.clone(),
                reason: unavailable.why.clone(),
                ..MissingDevice::default()
            })
            .collect(),
        ..Declared::default()
    }
}

/// Records a participant. A value that no driver reports is recorded with its provenance: derived from the driver's name or the
/// device's IOMMU group, taken from documentation, or unknown.
fn participant(participant: &Participant) -> RecordedParticipant {
    let mut recorded = RecordedParticipant::measured(participant.clone());
    recorded.tree_node = devicetree::node_of(&participant.device);
    let memory = &participant.constraints().memory;
    let is_queue = matches!(participant.role, Role::Capture | Role::Output);
    let (contiguity, address) = (
        "participant.constraints.memory.contiguity",
        "participant.constraints.memory.address",
    );
    if memory.contiguity == Contiguity::Unknown {
        recorded.provenance = recorded.provenance.and(
            contiguity,
            Provenance::Unknown {
                what: "whether the memory has to be physically contiguous".to_owned(),
            },
        );
    } else if !is_queue && Interface::of(participant) != Interface::Vulkan {
        recorded.provenance = recorded.provenance.and(
            contiguity,
            Provenance::DriverSource {
                place: "covalent-alloc, backend/prime: by the driver's name, or by its IOMMU group"
                    .to_owned(),
            },
        );
    }
    if is_queue && memory.address != AddressWindow::default() {
        recorded.provenance = recorded.provenance.and(
            address,
            Provenance::Documentation {
                place: "dma_mask_bits of the PCI device above it; of other devices the kernel's first 32 bits".to_owned(),
            },
        );
    }
    recorded
}

/// Records a source. The provenance of a dma-heap's guarantees is the documentation of the heap's name.
fn source(source: &Source) -> RecordedSource {
    let mut recorded = RecordedSource::measured(source.clone());
    if SourceKind::of(&source.id) == SourceKind::Heap {
        recorded.provenance = recorded.provenance.and(
            "source.guarantees",
            Provenance::Documentation {
                place: "kernel documentation, \"Allocating dma-buf using heaps\": by the heap's name; where a region lies is from debugfs".to_owned(),
            },
        );
    }
    recorded
}
