//! A small matrix for tests, in which every status occurs.

use covalent_alloc::constraint::{Role, SourceId};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_alloc::trial::{Environment, Interface, Outcome, Refusal};

use super::cell::{Cell, SolverVerdict};
use super::compare::Comparison;
use super::record::{MatrixParticipant, MatrixSource, RecordedMatrix, Summary};

/// Returns the recorded matrix, in which every status occurs.
pub(super) fn machine() -> RecordedMatrix {
    let source = |id: &str, name: &str, may_allocate_tiled| MatrixSource {
        id: SourceId::new(id),
        name: name.to_owned(),
        may_allocate_tiled,
    };
    let participant = |name: &str, role, interface| MatrixParticipant {
        name: name.to_owned(),
        role,
        interface,
    };
    let environment = Environment {
        kernel: "7.3.4".to_owned(),
        mesa: "26.1.6".to_owned(),
        memory_mebibytes: 2048,
        ..Environment::default()
    };
    let mut recorded = RecordedMatrix::new(environment, &[size()]);
    recorded.sources = vec![
        source("heap:system", "dma-heap system", false),
        source("dumb:virtio_gpu@0000:00:02.0", "virtio_gpu dumb", false),
        source("vulkan:llvmpipe@", "llvmpipe Vulkan", true),
    ];
    recorded.participants = vec![
        participant("processor reading", Role::CpuRead, Interface::Kernel),
        participant("vivid capture", Role::Capture, Interface::Kernel),
        participant(
            "vivid capture (/dev/video2)",
            Role::Capture,
            Interface::Kernel,
        ),
        participant(
            "virtio_gpu primary plane 34",
            Role::Display,
            Interface::Kernel,
        ),
        participant(
            "virtio_gpu overlay plane 35",
            Role::Display,
            Interface::Kernel,
        ),
        participant(
            "virtio_gpu overlay plane 36",
            Role::Display,
            Interface::Kernel,
        ),
        participant("llvmpipe image", Role::Import, Interface::Vulkan),
    ];
    recorded.unavailable = vec![
        "Vulkan: Virtio-GPU Venus has no VK_EXT_image_drm_format_modifier, without which it shares no images".to_owned(),
    ];
    recorded.cells = cells();
    recorded.summary = Summary::of(&recorded.cells);
    recorded
}

fn size() -> Extent {
    Extent::new(640, 480).unwrap()
}

fn cells() -> Vec<Cell> {
    const OWN: &str = "takes only buffers of virtio_gpu (0000:00:02.0): this virtio-gpu has no RESOURCE_BLOB (QEMU: blob=on, which needs /dev/udmabuf on the host)";
    let mut cells = Vec::new();
    for id in [
        "heap:system",
        "dumb:virtio_gpu@0000:00:02.0",
        "vulkan:llvmpipe@",
    ] {
        for name in ["processor reading", "vivid capture", "llvmpipe image"] {
            cells.push(cell(id, name, Fourcc::XRGB8888));
        }
        let mut possible = cell(id, "vivid capture (/dev/video2)", Fourcc::XRGB8888);
        possible.verdict = SolverVerdict::Possible;
        possible.comparison = Comparison::Listed;
        possible.reasons = vec![
            "vivid capture (/dev/video2) needs memory in one piece, which this source does not promise".to_owned(),
        ];
        cells.push(possible);
        for plane in [
            "virtio_gpu primary plane 34",
            "virtio_gpu overlay plane 35",
            "virtio_gpu overlay plane 36",
        ] {
            let mut shown = cell(id, plane, Fourcc::XRGB8888);
            if !id.starts_with("dumb:") {
                shown.verdict = SolverVerdict::Impossible;
                shown.reasons = vec![format!("is refused: {plane} {OWN}")];
                shown.outcome = Some(refused());
            }
            cells.push(shown);
        }
    }
    // The NV12 cells have three results: an impossible pair, a buffer that was not tried, and a mismatch.
    let mut nv12 = cell("vulkan:llvmpipe@", "vivid capture", Fourcc::NV12);
    nv12.verdict = SolverVerdict::Impossible;
    nv12.reasons =
        vec!["gives none of the formats that the participants have in common".to_owned()];
    nv12.outcome = None;
    cells.push(nv12);
    let mut busy = cell("heap:system", "processor reading", Fourcc::NV12);
    busy.outcome = Some(Outcome::Untestable("the queue is busy".to_owned()));
    busy.comparison = Comparison::Untested;
    cells.push(busy);
    let mut wrong = cell(
        "dumb:virtio_gpu@0000:00:02.0",
        "llvmpipe image",
        Fourcc::NV12,
    );
    wrong.outcome = Some(refused());
    wrong.comparison = Comparison::Mismatch;
    cells.push(wrong);
    cells
}

/// Returns a cell with a guaranteed verdict that its trial confirmed.
pub(super) fn cell(source: &str, participant: &str, fourcc: Fourcc) -> Cell {
    Cell {
        source: SourceId::new(source),
        participant: participant.to_owned(),
        format: FormatModifier::linear(fourcc),
        size: size(),
        verdict: SolverVerdict::Guaranteed,
        reasons: Vec::new(),
        is_listed: true,
        outcome: Some(Outcome::Accepted),
        comparison: Comparison::Agrees,
    }
}

fn refused() -> Outcome {
    Outcome::Refused(Refusal::of_errno("card0", "PRIME", 19, "no"))
}
