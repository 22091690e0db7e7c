//! Whether a DRM driver imports memory of other devices, and whether other devices can use its buffers, by driver and kernel.
//!
//! A capability bit does not show whether a driver imports: since Linux 6.6, `DRM_CAP_PRIME` reports import and export for every
//! driver. Whether foreign memory is imported depends on how the driver manages its memory, and that changes from kernel to
//! kernel. A driver that keeps its buffers in the card's memory with the GEM VRAM helpers has neither `gem_prime_import_sg_table`
//! nor `get_sg_table`. Such a card imports no foreign memory. Its own memory can be used only by the card itself and by
//! participants that map the memory with the CPU.
//!
//! A driver with TTM moves a buffer out of the card's memory when another device attaches to it, unless both devices support
//! peer-to-peer transfers: amdgpu, nouveau and radeon pin the buffer in GTT or GART. So every device can use its buffers.
//! NVIDIA's own driver does not move buffers, so only the card can use them ([`limit_source`]).
//!
//! The table states what was read in the sources of three kernels: 6.1, 6.12 and 7.3. If two of these kernels differ, the
//! behaviour of the kernels between them is not known. A live machine then tries an import; for a recorded machine the verdict
//! has a caveat.
//!
//! # References
//! Linux, `drivers/gpu/drm/drm_prime.c`: `drm_gem_prime_import_dev` fails with EINVAL without `gem_prime_import_sg_table`, and
//! `drm_gem_map_attach` with ENOSYS without `get_sg_table`. `drivers/gpu/drm/drm_ioctl.c`, `drm_getcap`.
//! `amd/amdgpu/amdgpu_dma_buf.c`, `amdgpu_dma_buf_pin`; `nouveau/nouveau_prime.c`, `nouveau_gem_prime_pin`;
//! `radeon/radeon_prime.c`, `radeon_gem_prime_pin`.

mod table;

use std::fmt;

use crate::KernelVersion;
use covalent_solver::constraint::{
    Imports, Interface, MemoryCost, MemoryScope, Participant, Role, Source, SourceKind,
};
use covalent_solver::model::DeviceIdentity;
use covalent_solver::solve::Request;

/// The first kernel whose `DRM_CAP_PRIME` reports import and export for every driver.
const PRIME_FOR_ALL: KernelVersion = KernelVersion::new(6, 6);

/// Drivers that import scattered pages, through page tables of the device or with the CPU. A driver that is not listed may
/// require contiguous memory.
const SCATTER_GATHER_DRIVERS: [&str; 12] = [
    "amdgpu",
    "bochs-drm",
    "gud",
    "i915",
    "nouveau",
    "radeon",
    "simpledrm",
    "udl",
    "vgem",
    "virtio_gpu",
    "vkms",
    "xe",
];

/// How a driver manages the memory of its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ManagerKind {
    /// The driver uses the GEM VRAM helpers: its buffers are in the card's memory.
    VramHelper,
    /// The driver uses TTM: its buffers move between the card's memory and the system's memory.
    Ttm,
    /// The driver uses the GEM SHMEM helpers: its buffers are pages of the system's memory.
    Shmem,
    /// The driver uses the GEM DMA helpers: each buffer is contiguous in the device's address space.
    Dma,
    /// The driver has its own memory manager.
    Own,
}

impl fmt::Display for ManagerKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::VramHelper => "GEM VRAM helpers",
            Self::Ttm => "TTM",
            Self::Shmem => "GEM SHMEM helpers",
            Self::Dma => "GEM DMA helpers",
            Self::Own => "its own memory manager",
        })
    }
}

/// The memory management of a driver in a range of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryManager {
    /// The driver's name, as DRM_IOCTL_VERSION returns it.
    pub driver: &'static str,
    /// How the driver manages memory.
    pub kind: ManagerKind,
    /// Whether the driver imports the memory of other devices, and other devices can attach to the dma-bufs that it exports.
    pub shares: bool,
    /// The oldest kernel for which this entry is known to be true.
    pub since: KernelVersion,
    /// The newest kernel for which this entry is known to be true; `None` if it is taken to be true of all later kernels.
    pub until: Option<KernelVersion>,
    /// The file below `drivers/gpu/drm` in Linux that shows how the driver manages memory.
    pub source_file: &'static str,
}

impl MemoryManager {
    /// Returns the entry for a driver in a kernel; `None` if that kernel's behaviour is not known.
    #[must_use]
    pub fn of(driver: &str, kernel: KernelVersion) -> Option<&'static Self> {
        table::TABLE.iter().find(|known| {
            known.driver == driver
                && known.since <= kernel
                && known.until.is_none_or(|until| kernel <= until)
        })
    }

    /// Returns why the driver imports no foreign memory, as a clause that follows "because"; `None` if it imports foreign memory.
    #[must_use]
    pub fn import_limit(&self) -> Option<String> {
        (!self.shares).then(|| {
            format!(
                "{} ({}) manages memory by {} and imports no memory of other devices ({})",
                self.driver,
                self.kernels(),
                self.kind,
                self.reference()
            )
        })
    }

    /// Returns the reference to the source file of Linux that shows how the driver manages memory.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("Linux, drivers/gpu/drm/{}", self.source_file)
    }

    /// Describes the kernels for which the entry is known to be true.
    fn kernels(&self) -> String {
        match self.until {
            Some(until) if until == self.since => format!("Linux {until}"),
            Some(until) => format!("Linux {} to {until}", self.since),
            None => format!("since Linux {}", self.since),
        }
    }

    /// Limits a source of the driver's own buffers to the devices that can use them.
    pub fn limit_source(&self, source: &mut Source) {
        if !self.shares {
            limit_to_card(source);
        }
    }
}

/// Limits a source to the device that owns it, because its buffers stay in the card's memory. A source that already states which
/// devices it serves is not changed.
pub fn limit_to_card(source: &mut Source) {
    if source.guarantees.scope != MemoryScope::Everybody {
        return;
    }
    source.guarantees.scope = MemoryScope::Device;
    if source.guarantees.cost == MemoryCost::System {
        source.guarantees.cost = MemoryCost::Reserved;
    }
    // The declared number is the free memory of the system. The amount of free memory on the card is not known.
    source.guarantees.available_bytes = None;
}

/// Limits a source of a card's own buffers to the devices that can use them, if the driver and the kernel decide which devices
/// these are. `kernel` is `None` if its version is not known.
///
/// NVIDIA's own driver lets other devices import a buffer that its GBM allocated on a card, but these devices fail when they use
/// the buffer. On a Tegra, whose GPU has no PCI address, the buffer is in the system's memory, so the source is not limited.
///
/// # References
/// NVIDIA/open-gpu-kernel-modules, issue 1037 and pull request 1317.
pub fn limit_source(source: &mut Source, kernel: Option<KernelVersion>) {
    let Some(device) = &source.device else {
        return;
    };
    if matches!(device.driver.as_str(), "nvidia" | "nvidia-drm") && is_on_pci(device) {
        limit_to_card(source);
        return;
    }
    let manager = kernel.and_then(|kernel| MemoryManager::of(&device.driver, kernel));
    if let Some(manager) = manager {
        manager.limit_source(source);
    }
}

/// Returns whether the location of a device is a PCI address.
fn is_on_pci(device: &DeviceIdentity) -> bool {
    let location = &device.location;
    let address = location.strip_prefix("pci:").unwrap_or(location);
    let parts: Vec<&str> = address.split([':', '.']).collect();
    let is_number = |part: &&str| part.chars().all(|digit| digit.is_ascii_hexdigit());
    parts.len() == 4 && parts.iter().all(is_number)
}

/// Returns whether this kernel reports the same `DRM_CAP_PRIME` for every driver. The capability then does not show whether a
/// particular driver imports.
#[must_use]
pub fn reports_prime_for_all(kernel: KernelVersion) -> bool {
    kernel >= PRIME_FOR_ALL
}

/// Returns whether a driver is known to import scattered pages. For all other drivers it is not known.
#[must_use]
pub fn takes_scattered_pages(driver: &str) -> bool {
    SCATTER_GATHER_DRIVERS.contains(&driver)
}

/// Limits the cards in a request from a recorded machine to what their drivers share in the machine's kernel. A card for which
/// the recording already states stricter limits is not changed.
///
/// The limits are needed because older versions of this crate, and people who wrote a file from the capability bits, declared
/// that such cards import any memory.
pub(crate) fn apply(request: &mut Request, release: &str) {
    let kernel = KernelVersion::of_release(release);
    for participant in &mut request.participants {
        let Some(limit) = kernel.and_then(|kernel| card_limit(participant, kernel)) else {
            continue;
        };
        let own = participant.device.clone();
        participant.for_each_choice(|choice| {
            if choice.memory.imports == Imports::Any {
                choice.memory.imports = Imports::only_from(own.clone(), &limit);
            }
        });
    }
    for source in &mut request.sources {
        let is_of_card = matches!(
            SourceKind::of(&source.id),
            SourceKind::Dumb | SourceKind::Gbm | SourceKind::Vulkan
        );
        if is_of_card {
            limit_source(source, kernel);
        }
    }
}

/// Returns why a card or one of its planes imports no foreign memory.
fn card_limit(participant: &Participant, kernel: KernelVersion) -> Option<String> {
    let is_card = matches!(participant.role, Role::Display | Role::Import)
        && Interface::of(participant) == Interface::Kernel;
    let manager = MemoryManager::of(&participant.device.driver, kernel).filter(|_| is_card)?;
    manager.import_limit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use covalent_solver::constraint::SourceId;
    use covalent_solver::model::Extent;
    use covalent_solver::solve::{Solution, Verdict, solve};

    fn kernel(release: &str) -> KernelVersion {
        KernelVersion::of_release(release).unwrap()
    }

    fn card(driver: &str) -> DeviceIdentity {
        DeviceIdentity {
            driver: driver.to_owned(),
            location: "0000:00:02.0".to_owned(),
            node: "/dev/dri/card0".to_owned(),
        }
    }

    #[test]
    fn driver_that_changed_its_helpers_is_known_by_kernel() {
        let shares = |release: &str| {
            MemoryManager::of("bochs-drm", kernel(release)).map(|manager| manager.shares)
        };
        assert_eq!(shares("6.1.0-57-amd64"), Some(false));
        assert_eq!(shares("6.12.117+deb13-amd64"), Some(false));
        assert_eq!(shares("7.3.4+deb13-amd64"), Some(true));
        // 6.15 is between two kernels of the table that behave differently, and 5.10 is older than every kernel of the table.
        assert_eq!(shares("6.15.1"), None);
        assert_eq!(shares("5.10.0"), None);
        assert_eq!(MemoryManager::of("nobody", kernel("7.3")), None);
    }

    #[test]
    fn table_has_one_row_for_a_driver_and_a_kernel() {
        for (number, row) in table::TABLE.iter().enumerate() {
            assert!(row.until.is_none_or(|until| until >= row.since), "{row:?}");
            let others = table::TABLE.iter().skip(number + 1);
            for other in others.filter(|other| other.driver == row.driver) {
                let apart = row.until.is_some_and(|until| until < other.since)
                    || other.until.is_some_and(|until| until < row.since);
                assert!(apart, "{row:?} and {other:?}");
            }
        }
    }

    /// Solves a request for the machine of a bug report: bochs on Debian 13's kernel, recorded from its capability bits.
    fn recorded(release: &str, other: &str) -> Verdict {
        let mut display = Participant::new("plane", card("bochs-drm"), Role::Display);
        display.plane = None;
        let mut source = Source::new(SourceId::new(other), other);
        if other.starts_with("dumb:") {
            source.device = Some(card("bochs-drm"));
            display = Participant::new("vgem import", card("vgem"), Role::Import);
        }
        let mut request = Request::new(Extent::new(640, 480).unwrap());
        request.participants.push(display);
        request.sources.push(source);
        apply(&mut request, release);
        match solve(&request) {
            Solution::Share(plan) => plan.verdict(),
            _ => Verdict::Impossible,
        }
    }

    #[test]
    fn recorded_card_that_keeps_its_memory_shares_none() {
        for source in ["heap:system", "dumb:bochs-drm@0000:00:02.0"] {
            assert_eq!(
                recorded("6.12.117+deb13-amd64", source),
                Verdict::Impossible
            );
            assert_eq!(recorded("7.3.4+deb13-amd64", source), Verdict::Guaranteed);
            assert_eq!(recorded("", source), Verdict::Guaranteed);
        }
    }

    #[test]
    fn memory_of_a_card_serves_the_card_and_whoever_maps_it() {
        let manager = MemoryManager::of("bochs-drm", kernel("6.12")).unwrap();
        let mut source = Source::new(SourceId::new("dumb:bochs-drm@0000:00:02.0"), "dumb");
        source.device = Some(card("bochs-drm"));
        source.guarantees.available_bytes = Some(1 << 30);
        manager.limit_source(&mut source);
        assert_eq!(source.guarantees.available_bytes, None);
        let verdict = |participant: Participant| {
            let mut request = Request::new(Extent::new(640, 480).unwrap());
            request.participants.push(participant);
            request.sources.push(source.clone());
            matches!(solve(&request), Solution::Share(_))
        };
        let mut software = Participant::new("lavapipe", card("llvmpipe"), Role::Import);
        assert!(!verdict(software.clone()));
        software.maps = true;
        assert!(verdict(software));
        assert!(verdict(Participant::processor(Role::CpuRead)));
        assert!(verdict(Participant::new(
            "plane",
            card("bochs-drm"),
            Role::Display
        )));
    }

    #[test]
    fn memory_of_a_card_serves_others_where_its_driver_moves_it() {
        let scope = |driver: &str, location: &str| {
            let mut source = Source::new(SourceId::new(format!("gbm:{driver}")), driver);
            source.device = Some(DeviceIdentity {
                driver: driver.to_owned(),
                location: location.to_owned(),
                node: String::new(),
            });
            limit_source(&mut source, Some(kernel("6.12")));
            source.guarantees.scope
        };
        for driver in ["amdgpu", "nouveau", "radeon"] {
            assert_eq!(scope(driver, "0000:03:00.0"), MemoryScope::Everybody);
        }
        assert_eq!(scope("nvidia-drm", "0000:03:00.0"), MemoryScope::Device);
        assert_eq!(scope("nvidia-drm", "pci:0000:03:00.0"), MemoryScope::Device);
        assert_eq!(scope("nvidia-drm", "platform:gpu"), MemoryScope::Everybody);
        assert_eq!(scope("bochs-drm", "0000:00:08.0"), MemoryScope::Device);
    }

    #[test]
    fn limit_names_driver_kernels_and_where_it_can_be_read() {
        let manager = MemoryManager::of("bochs-drm", kernel("6.12")).unwrap();
        let limit = manager.import_limit().unwrap();
        for part in ["bochs-drm", "6.1 to 6.12", "VRAM helpers", "tiny/bochs.c"] {
            assert!(limit.contains(part), "{limit}");
        }
    }
}
