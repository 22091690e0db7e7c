//! Kernel interfaces that buffer sharing uses: the Linux version that introduced each, and what does not work without it.

use crate::KernelVersion;

/// The part of buffer sharing for which an interface is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterfacePurpose {
    /// Allocating and sharing memory.
    Memory,
    /// Synchronising accesses to a buffer.
    Sync,
    /// Showing buffers with KMS planes and framebuffers.
    Display,
}

/// A kernel interface that older kernels in use do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelInterface {
    /// An identifier for scripts, such as `syncobj-eventfd`.
    pub id: &'static str,
    /// The name of the interface in the kernel's headers or documentation.
    pub name: &'static str,
    /// The first version of Linux that has the interface.
    pub since: KernelVersion,
    /// The part of buffer sharing for which the interface is needed.
    pub purpose: InterfacePurpose,
    /// What a machine without the interface cannot do, as a sentence.
    pub effect: &'static str,
}

/// Returns the interfaces that this kernel version does not have yet, the oldest interface first. A newer kernel may still lack
/// an interface if the distribution has not enabled it.
pub fn missing_interfaces(kernel: KernelVersion) -> impl Iterator<Item = &'static KernelInterface> {
    INTERFACES
        .iter()
        .filter(move |interface| kernel < interface.since)
}

/// The interfaces, sorted by the version that introduced them.
///
/// # References
/// Linux, `include/uapi/linux/udmabuf.h`, `dma-heap.h` and `dma-buf.h`; `include/uapi/drm/drm.h`; `drivers/gpu/drm/drm_ioctl.c`,
/// `drm_getcap`; `drivers/dma-buf/heaps/cma_heap.c`.
const INTERFACES: &[KernelInterface] = &[
    KernelInterface {
        id: "udmabuf",
        name: "udmabuf",
        since: KernelVersion::new(4, 20),
        purpose: InterfacePurpose::Memory,
        effect: "No dma-buf can be made from ordinary memory, so devices can share only buffers that one of them allocates.",
    },
    KernelInterface {
        id: "syncobj-timeline",
        name: "DRM_CAP_SYNCOBJ_TIMELINE",
        since: KernelVersion::new(5, 2),
        purpose: InterfacePurpose::Sync,
        effect: "Buffers are synchronised with implicit fences, and clients get no linux-drm-syncobj.",
    },
    KernelInterface {
        id: "dma-heap",
        name: "dma-heaps",
        since: KernelVersion::new(5, 6),
        purpose: InterfacePurpose::Memory,
        effect: "Only udmabuf can allocate memory that belongs to no device.",
    },
    KernelInterface {
        id: "export-sync-file",
        name: "DMA_BUF_IOCTL_EXPORT_SYNC_FILE",
        since: KernelVersion::new(6, 0),
        purpose: InterfacePurpose::Sync,
        effect: "The implicit fences of a buffer cannot be passed to a device that accepts only explicit fences, or the other way round, so the CPU waits between the two devices.",
    },
    KernelInterface {
        id: "syncobj-eventfd",
        name: "DRM_IOCTL_SYNCOBJ_EVENTFD",
        since: KernelVersion::new(6, 6),
        purpose: InterfacePurpose::Sync,
        effect: "An event loop cannot wait for a timeline point, so the compositor does not offer linux-drm-syncobj to clients.",
    },
    KernelInterface {
        id: "prime-for-every-driver",
        name: "PRIME for every driver",
        since: KernelVersion::new(6, 6),
        purpose: InterfacePurpose::Memory,
        effect: "A card whose driver has no PRIME functions of its own, such as one with GEM VRAM helpers, exports nothing: neither its dumb buffers nor those of GBM can be shared.",
    },
    KernelInterface {
        id: "cursor-hotspot",
        name: "DRM_CLIENT_CAP_CURSOR_PLANE_HOTSPOT",
        since: KernelVersion::new(6, 8),
        purpose: InterfacePurpose::Display,
        effect: "An atomic client cannot state the hotspot of the cursor, so the pointer of a virtual machine's window may be displaced.",
    },
    KernelInterface {
        id: "cma-heap-name",
        name: "heap named default_cma_region",
        since: KernelVersion::new(6, 17),
        purpose: InterfacePurpose::Memory,
        effect: "The heap of the default CMA area has the name of its region, such as `reserved` or `linux,cma`.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(major: u16, minor: u16) -> Vec<&'static str> {
        missing_interfaces(KernelVersion::new(major, minor))
            .map(|interface| interface.id)
            .collect()
    }

    #[test]
    fn older_kernel_lacks_what_came_later() {
        let newer = ["prime-for-every-driver", "cursor-hotspot", "cma-heap-name"];
        let of_6_1 = missing(6, 1);
        assert_eq!(of_6_1[0], "syncobj-eventfd");
        assert_eq!(of_6_1[1..], newer);
        assert_eq!(missing(6, 12), ["cma-heap-name"]);
        assert_eq!(missing(7, 3), [""; 0]);
        assert!(missing(5, 10).contains(&"export-sync-file"));
    }

    #[test]
    fn interfaces_are_sorted_by_version_and_state_an_effect() {
        assert!(INTERFACES.is_sorted_by_key(|interface| interface.since));
        for interface in INTERFACES {
            assert!(interface.effect.ends_with('.'), "{}", interface.id);
        }
    }
}
