//! Plans with demands that few layouts satisfy, and searches that are cut short.

use crate::plan;
use covalent_solver::constraint::{Exports, Participant, Protection, Role};
use covalent_solver::model::{Extent, Fourcc, Layout};
use covalent_solver::solve::{Request, Solution, solve};
use covalent_solver_tests::common::*;

#[test]
fn rows_without_a_gap_and_a_wide_alignment_conflict_where_the_width_does_not_fit() {
    let mut texture = dumb("virtio_gpu");
    texture.name = "virtio_gpu texture".to_owned();
    texture.constraints.image.stride.packed = true;
    let mut other = virtio_display();
    other.for_each_choice(|own| own.image.stride.alignment = 256);
    let mut request = request(vec![other], vec![texture]);
    assert_eq!(plan(&request).layout().planes()[0].stride_bytes, 2560);
    request.extent = Extent::new(650, 480).unwrap();
    insta::assert_snapshot!(solve(&request).explain());
    request.participants[0].for_each_choice(|own| own.image.stride.alignment = 1);
    let free = plan(&request);
    let [plane] = free.layout().planes() else {
        panic!("XRGB8888 has one plane")
    };
    assert_eq!(plane.stride_bytes, 2600);
    let wider = Layout::linear(request.extent, Fourcc::XRGB8888, 1, 2604).unwrap();
    assert_eq!(
        free.accepts(&wider).unwrap_err().to_string(),
        "the layout is not one that the plan's participants accept: the stride of plane 0, 2604 bytes, leaves a gap between rows"
    );
}

#[test]
fn device_that_exports_nothing_is_no_source() {
    let mut request = request(vec![display("vkms")], vec![dumb("vkms")]);
    request.participants[0].for_each_choice(|own| {
        own.memory.exports = Exports::Nothing {
            reason: "its driver has no PRIME export".to_owned(),
        }
    });
    let Solution::Split(split) = solve(&request) else {
        panic!("it exports nothing")
    };
    assert_eq!(
        split.rejections()[0].words,
        "cannot export its memory: vkms primary plane cannot export its own memory, because its driver has no PRIME export"
    );
}

#[test]
fn alternatives_beyond_the_limit_are_reported_as_not_tried() {
    let mut participants = Vec::new();
    for number in 0..9 {
        let mut one = Participant::new(format!("device {number}"), device("gpu"), Role::Import);
        one.for_each_choice(|own| own.memory.protection = Protection::Required);
        one.push_alternative(one.constraints().clone());
        participants.push(one);
    }
    let Solution::Split(split) = solve(&request(participants, vec![system_heap(2)])) else {
        panic!("nothing is protected")
    };
    assert!(split.is_capped());
    assert!(split.explain().contains("only the 256 best combinations"));
}

/// Makes a participant whose strides are multiples of this number, or with its alternatives of twice or four times this number.
fn stepping(name: String, stride_bytes: u32) -> Participant {
    let mut one = Participant::new(name, device("gpu"), Role::Import);
    one.for_each_choice(|own| {
        own.formats = Some(linear(&[Fourcc::R8]));
        own.image.stride.alignment = stride_bytes;
    });
    for times in [2, 4] {
        let mut worse = one.constraints().clone();
        worse.image.stride.alignment = stride_bytes * times;
        one.push_alternative(worse);
    }
    one
}

#[test]
fn conflict_of_nine_is_found_among_many_with_alternatives() {
    // The common multiple of all nine primes exceeds the maximum stride. That of any eight of them does not.
    let primes = [2, 3, 5, 7, 11, 13, 17, 19, 23];
    let mut participants: Vec<_> = primes
        .into_iter()
        .map(|prime| stepping(format!("prime {prime}"), prime))
        .collect();
    participants[0].for_each_choice(|own| own.image.stride.maximum = 223_092_870 - 1);
    let mut heap = system_heap(2);
    heap.guarantees.contiguous_up_to_bytes = u64::MAX;
    let small = |participants| Request {
        extent: Extent::new(1, 1).unwrap(),
        ..request(participants, vec![heap.clone()])
    };
    for bystanders in [0, 24] {
        for number in 0..bystanders {
            participants.push(stepping(format!("bystander {number}"), 1));
        }
        let Solution::Split(split) = solve(&small(participants.clone())) else {
            panic!("the least common multiple is above the greatest stride")
        };
        assert!(split.is_capped() && !split.is_cut_short());
        let owners: Vec<_> = split
            .conflict()
            .iter()
            .map(|demand| &demand.owner)
            .collect();
        assert_eq!(owners.len(), primes.len());
        assert!(owners.iter().all(|owner| owner.starts_with("prime")));
        assert_eq!(split.relaxed().len(), 1);
    }
}
