//! Plans with memory for which a device has a shadow copy.

use crate::plan;
use covalent_solver::constraint::{Coherency, Contiguity, CpuUse, Participant, Role};
use covalent_solver::solve::{Request, Solution, Verdict, solve};
use covalent_solver_tests::common::*;

/// Makes a request of a virtio-gpu that renders and imports only GBM's buffers, and of a writer.
fn renderer_and(writer: Participant, has_shadow_copy: Option<bool>) -> Request {
    let mut gpu = virtio_display();
    gpu.name = "virtio_gpu GBM".to_owned();
    gpu.role = Role::Import;
    gpu.for_each_choice(|own| own.memory.coherency = Coherency::Untransferred);
    let mut gbm = dumb("virtio_gpu");
    gbm.id = covalent_solver::constraint::SourceId::new("gbm:virtio_gpu");
    gbm.name = "virtio_gpu GBM".to_owned();
    gbm.guarantees.has_shadow_copy = has_shadow_copy;
    request(vec![writer, gpu], vec![gbm, system_heap(2)])
}

fn writing_processor() -> Participant {
    let mut writer = Participant::new("processor", device("cpu"), Role::CpuWrite);
    writer.for_each_choice(|own| own.memory.cpu = CpuUse::Often);
    writer
}

#[test]
fn shadow_copy_with_a_writer_without_transfers_is_split() {
    let request = renderer_and(writing_processor(), Some(true));
    let Solution::Split(split) = solve(&request) else {
        panic!("nobody transfers")
    };
    insta::assert_snapshot!(split.explain());
    assert_eq!(split.copied_bytes_per_frame(), 640 * 480 * 4);
    let copied = split.copies().next().unwrap().to.plan.as_ref().unwrap();
    assert!(copied.needs_transfers());
}

#[test]
fn shadow_copy_that_is_unknown_is_a_caveat() {
    for writer in [writing_processor(), camera(Contiguity::Scattered)] {
        let known = plan(&renderer_and(writer.clone(), Some(false)));
        assert_eq!(known.verdict(), Verdict::Guaranteed);
        assert!(!known.needs_transfers());
        let unknown = plan(&renderer_and(writer.clone(), None));
        assert_eq!(unknown.verdict(), Verdict::Possible);
        assert_eq!(
            unknown.caveats(),
            [
                "it is unknown whether the device of virtio_gpu GBM works on a shadow copy, which no driver would update for virtio_gpu GBM"
            ]
        );
        let copied = solve(&renderer_and(writer, Some(true)));
        assert!(matches!(copied, Solution::Split(_)));
    }
}

#[test]
fn shadow_copy_with_transfers_or_with_one_side_alone_is_shared() {
    let mut transferring = renderer_and(writing_processor(), Some(true));
    transferring.participants[1].for_each_choice(|own| own.memory.coherency = Coherency::Synced);
    let shared = plan(&transferring);
    assert_eq!(shared.verdict(), Verdict::Guaranteed);
    assert!(shared.needs_transfers() && shared.explain().contains("works on a shadow copy"));
    let mut alone = renderer_and(writing_processor(), Some(true));
    alone.participants.remove(0);
    assert!(!plan(&alone).needs_transfers());
    // A compositor's feedback accesses no pixels. Two participants on other devices than the source's see the same memory.
    let mut strangers = renderer_and(writing_processor(), Some(true));
    strangers.participants[1].role = Role::Compositor;
    strangers.sources.truncate(1);
    strangers.participants.push(camera(Contiguity::Scattered));
    assert_eq!(plan(&strangers).verdict(), Verdict::Guaranteed);
}
