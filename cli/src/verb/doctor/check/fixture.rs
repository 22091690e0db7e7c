//! The snapshot of a desktop machine without problems. Tests modify it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::snapshot::*;

/// Returns the snapshot of a desktop machine on which no check finds a problem.
pub(super) fn desktop() -> Snapshot {
    let file = |group: &str| NodeFile {
        owner: 0,
        group: group.to_owned(),
        mode: 0o660,
        acl: Vec::new(),
        open_error: None,
    };
    let node = |path: &str, kind, number, group| Node {
        path: path.to_owned(),
        kind,
        number: Some(number),
        file: Some(file(group)),
    };
    let options = [
        "UDMABUF",
        "DMABUF_HEAPS",
        "DMABUF_HEAPS_SYSTEM",
        "DRM",
        "SW_SYNC",
    ];
    Snapshot {
        version: VERSION,
        kernel: Kernel {
            release: "7.3.4".to_owned(),
            options: Some(
                options
                    .iter()
                    .map(|name| ((*name).to_owned(), "y".to_owned()))
                    .collect(),
            ),
            modules: BTreeMap::new(),
        },
        user: User {
            id: 1000,
            name: Some("ada".to_owned()),
            groups: BTreeSet::from(["video".to_owned(), "render".to_owned()]),
            listed_groups: BTreeSet::from(["video".to_owned(), "render".to_owned()]),
        },
        nodes: vec![
            node("/dev/udmabuf", NodeKind::Udmabuf, (10, 124), "kvm"),
            node("/dev/dma_heap/system", NodeKind::Heap, (251, 0), "video"),
            node("/dev/dri/card0", NodeKind::Card, (226, 0), "video"),
            node(
                "/dev/dri/renderD128",
                NodeKind::Render,
                (226, 128),
                "render",
            ),
            node("/dev/video0", NodeKind::Video, (81, 0), "video"),
        ],
        cards: vec![CardInfo {
            node: "/dev/dri/card0".to_owned(),
            driver: "amdgpu".to_owned(),
            imports_foreign: true,
            import: "it says that it imports".to_owned(),
            drives_display: true,
            has_timelines: true,
            has_render_node: true,
        }],
        queues: vec![QueueInfo {
            name: "vivid capture".to_owned(),
            node: "/dev/video0".to_owned(),
            needs_contiguous: Some(false),
        }],
        pipelines: Vec::new(),
        limits: Limits {
            files: Some(1024),
            files_hard: Some(524_288),
            locked_bytes: None,
            file_bytes: None,
            group_bytes: None,
        },
        udmabuf: Some(UdmabufLimits {
            size_mebibytes: 64,
            list_entries: 1024,
        }),
        huge_pages: vec![HugePagePool {
            kibibytes: 2048,
            total: 16,
            free: 16,
        }],
        cma_kibibytes: None,
        vulkan: Vulkan {
            has_loader: true,
            drivers: vec!["/usr/share/vulkan/icd.d/lvp_icd.json".to_owned()],
        },
        seat: None,
        missing_pools: Vec::new(),
        helper_error: None,
        container: None,
        unbound_devices: Vec::new(),
        distribution: vec!["debian".to_owned()],
    }
}

/// Returns the device node with this path, so that a test can change it.
pub(super) fn node<'a>(snapshot: &'a mut Snapshot, path: &str) -> &'a mut Node {
    snapshot
        .nodes
        .iter_mut()
        .find(|node| node.path == path)
        .unwrap()
}

/// Changes a node of the snapshot so that opening it fails with EACCES.
pub(super) fn deny_open(snapshot: &mut Snapshot, path: &str, group: &str, mode: u32) {
    node(snapshot, path).file = Some(NodeFile {
        owner: 0,
        group: group.to_owned(),
        mode,
        acl: Vec::new(),
        open_error: Some(OpenError {
            errno: 13,
            words: "Permission denied".to_owned(),
        }),
    });
}
