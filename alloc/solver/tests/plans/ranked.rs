//! Tests of the order of plans by copied bytes and by the bytes of a frame, and of the copies that devices make for themselves.

use crate::plan;
use covalent_solver::constraint::{
    Contiguity, ExtraFields, FormatSet, InternalCopy, Participant, Role,
};
use covalent_solver::model::{FormatModifier, Fourcc, Modifier};
use covalent_solver::solve::{Request, Solution, Verdict, solve};
use covalent_solver_tests::common::*;

/// `DRM_FORMAT_MOD_BROADCOM_UIF`.
const UIF: Modifier = Modifier(0x0700_0000_0000_0006);

/// Makes a request of a camera that writes some formats, and of a display that shows them.
fn shown(fourccs: &[Fourcc]) -> Request {
    let mut camera = camera(Contiguity::Scattered);
    let mut display = display("card");
    for participant in [&mut camera, &mut display] {
        participant.for_each_choice(|own| own.formats = Some(linear(fourccs)));
    }
    request(vec![camera, display], vec![system_heap(2)])
}

/// Makes a GPU that samples only tiled images, and copies linear pictures of these formats into its own tiled images.
fn sampler(copied: &[Fourcc]) -> Participant {
    let mut gpu = Participant::new("v3d GBM", device("v3d"), Role::Import);
    gpu.for_each_choice(|own| {
        own.internal_copies.push(InternalCopy {
            from: linear(copied),
            to: UIF,
            reason: "its texture units read tiles alone".to_owned(),
            extra_fields: ExtraFields::default(),
        });
    });
    gpu
}

fn chosen(request: &Request) -> Fourcc {
    plan(request).layout().format().fourcc
}

#[test]
fn format_with_fewer_bytes_a_frame_is_before_the_order_of_the_table() {
    let both = [Fourcc::XRGB8888, Fourcc::NV12];
    assert_eq!(chosen(&shown(&both)), Fourcc::NV12);
    assert_eq!(chosen(&shown(&[Fourcc::YUYV, Fourcc::NV12])), Fourcc::NV12);
    // If the frames are drawn, a format with less chroma is not chosen.
    let mut drawn = shown(&both);
    drawn.participants[0].role = Role::Render;
    assert_eq!(chosen(&drawn), Fourcc::XRGB8888);
    // The request's preferred format is more important than the chroma.
    let mut preferred = shown(&both);
    preferred.preferred_fourcc = Some(Fourcc::XRGB8888);
    assert_eq!(chosen(&preferred), Fourcc::XRGB8888);
}

#[test]
fn format_with_fewer_bytes_and_less_depth_is_not_before_the_order_of_the_table() {
    for shallow in [Fourcc::RGB565, Fourcc::R8] {
        let request = shown(&[shallow, Fourcc::XRGB8888]);
        assert_eq!(chosen(&request), Fourcc::XRGB8888);
    }
}

#[test]
fn copy_that_a_device_makes_for_itself_is_reported_with_who_and_why() {
    let mut request = shown(&[Fourcc::NV12]);
    request.participants.push(sampler(&[Fourcc::NV12]));
    let plan = plan(&request);
    assert_eq!(plan.verdict(), Verdict::Guaranteed);
    assert_eq!(plan.copied_bytes_per_frame(), 640 * 480 * 3 / 2);
    // A participant that draws the frames does not sample them, so it makes no copy.
    let mut drawn = request.clone();
    drawn.participants[2].role = Role::Render;
    assert_eq!(crate::plan(&drawn).copied_bytes_per_frame(), 0);
    let copy = &plan.internal_copies()[0];
    assert_eq!(copy.participant, "v3d GBM");
    assert_eq!(copy.to.modifier, UIF);
    insta::assert_snapshot!(plan.explain());
}

#[test]
fn pair_that_no_device_copies_for_itself_is_preferred() {
    let mut request = shown(&[Fourcc::NV12, Fourcc::YUYV]);
    request.participants.push(sampler(&[Fourcc::NV12]));
    assert_eq!(chosen(&request), Fourcc::YUYV);
    assert_eq!(plan(&request).copied_bytes_per_frame(), 0);
    // Two copies take more bytes than one.
    request.participants.push(sampler(&[Fourcc::YUYV]));
    request.participants[3].name = "second".to_owned();
    assert_eq!(chosen(&request), Fourcc::NV12);
    let tiled = FormatModifier::new(Fourcc::NV12, UIF);
    let pairs: FormatSet = [tiled, FormatModifier::linear(Fourcc::NV12)].into();
    let mut both = shown(&[Fourcc::NV12]);
    both.participants.push(sampler(&[Fourcc::NV12]));
    for participant in &mut both.participants {
        participant.for_each_choice(|own| own.formats = Some(pairs.clone()));
    }
    both.sources[0].constraints.formats = Some(pairs);
    assert_eq!(plan(&both).layout().format(), tiled);
}

#[test]
fn split_counts_the_copies_that_devices_make_for_themselves() {
    let mut request = shown(&[Fourcc::NV12]);
    request.participants[1].for_each_choice(|own| {
        own.formats = Some(linear(&[Fourcc::XRGB8888]));
    });
    let mut gpu = sampler(&[Fourcc::NV12]);
    gpu.for_each_choice(|own| own.formats = Some(linear(&[Fourcc::NV12])));
    request.participants.push(gpu);
    let Solution::Split(split) = solve(&request) else {
        panic!("the display shows RGB alone")
    };
    let (nv12, xrgb) = (640 * 480 * 3 / 2, 640 * 480 * 4);
    assert_eq!(split.copied_bytes_per_frame(), nv12 + xrgb);
    assert_eq!(split.copies().next().unwrap().bytes_per_frame, xrgb);
    insta::assert_snapshot!(split.explain());
}

#[test]
fn display_keeps_the_buffer_of_the_producer_where_the_copies_are_equal() {
    let mut request = shown(&[Fourcc::NV12]);
    let mut encoder = Participant::new("encoder", device("codec"), Role::Output);
    encoder.for_each_choice(|own| {
        own.formats = Some(linear(&[Fourcc::NV12]));
        own.image.stride.minimum = 1024;
    });
    request.participants.insert(1, encoder);
    request.participants[2].for_each_choice(|own| own.image.stride.maximum = 640);
    for more in [0, 6] {
        for number in 0..more {
            let mut other = request.participants[1].clone();
            other.name = format!("encoder {number}");
            request.participants.insert(1, other);
        }
        let Solution::Split(split) = solve(&request) else {
            panic!("no stride serves both")
        };
        let first = &split.groups()[0].participants;
        assert_eq!(first[..], ["vivid capture", "card primary plane"], "{more}");
    }
}

#[test]
fn copies_of_a_device_are_read_and_written_and_their_number_is_bounded() {
    let mut request = shown(&[Fourcc::NV12]);
    let text = serde_json::to_string(&request).unwrap();
    assert!(!text.contains("internal_copies"), "{text}");
    request.participants.push(sampler(&[Fourcc::NV12]));
    let text = serde_json::to_string(&request).unwrap();
    assert_eq!(Request::from_json(text.as_bytes()).unwrap(), request);
    request.participants[2].for_each_choice(|own| {
        let one = own.internal_copies[0].clone();
        own.internal_copies = vec![one; 65];
    });
    let text = serde_json::to_string(&request).unwrap();
    let error = Request::from_json(text.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("internal copies of a participant"),
        "{error}"
    );
}
