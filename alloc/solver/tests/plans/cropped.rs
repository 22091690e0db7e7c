//! Plans with coded extents that are larger than the picture: some participants demand them, some crop, and some cannot crop.

use crate::plan;
use covalent_solver::constraint::{
    CodedConstraints, Constraints, Contiguity, Crop, Field, Participant, PlanePlacement, Role,
};
use covalent_solver::model::{Extent, FormatModifier, Fourcc, Modifier, Rect};
use covalent_solver::solve::{Request, Solution, Verdict, solve};
use covalent_solver_tests::common::*;

fn participant(name: &str, role: Role, edit: impl FnMut(&mut Constraints)) -> Participant {
    let mut own = Participant::new(name, device(name), role);
    own.for_each_choice(|own| own.formats = Some(linear(&[Fourcc::NV12])));
    own.for_each_choice(edit);
    own
}

fn coded_rows(multiple_of: u32) -> Option<CodedConstraints> {
    let mut coded = CodedConstraints::default();
    coded.height.multiple_of = multiple_of;
    Some(coded)
}

/// Makes a decoder whose blocks have 16 rows and whose queue packs planes.
fn decoder() -> Participant {
    participant("decoder", Role::Capture, |own| {
        own.image.coded = coded_rows(16);
        own.image.packed_planes = true;
    })
}

fn screen(crop: Crop) -> Participant {
    participant("screen", Role::Display, |own| own.image.crop = crop)
}

fn of(participants: Vec<Participant>) -> Request {
    let mut request = request(participants, vec![system_heap(2)]);
    request.extent = Extent::new(1920, 1080).unwrap();
    request
}

fn split(request: &Request) -> covalent_solver::solve::Split {
    match solve(request) {
        Solution::Split(split) => split,
        Solution::Share(plan) => panic!("{plan}"),
    }
}

#[test]
fn decoder_of_1088_rows_serves_a_display_of_1080_that_crops() {
    let request = of(vec![decoder(), screen(Crop::Anywhere)]);
    let plan = plan(&request);
    let layout = plan.layout();
    assert_eq!(layout.extent(), Extent::new(1920, 1088).unwrap());
    assert_eq!(layout.visible(), Rect::new(0, 0, request.extent));
    assert_eq!(layout.planes()[1].offset_bytes, 1920 * 1088);
    assert_eq!(plan.verdict(), Verdict::Guaranteed);
    let words = plan.explain();
    for said in [
        "of 1920x1088 in NV12",
        "the picture is 1920x1080 at (0, 0) of 1920x1088 coded pixels, which screen crops",
        "because: a coded height in multiples of 16, set by decoder",
    ] {
        assert!(words.contains(said), "{said}: {words}");
    }
    let crops: Vec<bool> = plan.steps().iter().map(|step| step.crops).collect();
    assert_eq!(crops, [false, true]);
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["layout"]["visible"]["height"], 1080);
}

#[test]
fn display_that_cannot_crop_conflicts_with_the_decoder_and_the_copy_crops() {
    let request = of(vec![decoder(), screen(Crop::None)]);
    let split = split(&request);
    let conflict: Vec<_> = split
        .conflict()
        .iter()
        .map(|demand| (demand.field, demand.owner.as_str()))
        .collect();
    assert_eq!(
        conflict,
        [(Field::Crop, "screen"), (Field::Extent, "decoder")]
    );
    let words = split.explain();
    for said in [
        "screen cannot crop, and needs a coded size equal to the picture's",
        "decoder needs a coded height in multiples of 16",
        "the picture is 1920x1080 at (0, 0) of 1920x1088 coded pixels (set by decoder), and screen cannot crop",
        "into whose buffer the CPU copies 3110400 bytes a frame, only the visible 1920x1080 from NV12 LINEAR to ",
    ] {
        assert!(words.contains(said), "{said}: {words}");
    }
    assert!(split.copies().all(|copy| copy.crops));
    let shown = split.groups()[1].plan.as_ref().unwrap();
    assert!(!shown.layout().is_cropped());
}

#[test]
fn encoder_of_whole_blocks_takes_a_camera_that_writes_fewer_rows() {
    let encoder = || {
        participant("encoder", Role::Output, |own| {
            own.image.coded = coded_rows(16)
        })
    };
    let camera = participant("camera", Role::Capture, |own| {
        own.image.crop = Crop::TopLeft
    });
    let shared = plan(&of(vec![camera, encoder()]));
    assert_eq!(shared.layout().extent(), Extent::new(1920, 1088).unwrap());
    assert!(shared.explain().contains("which camera crops"));
    // A queue that packs planes of 1080 rows puts chroma where the encoder reads further rows of luma.
    let packed = participant("camera", Role::Capture, |own| {
        own.image.packed_planes = true;
        own.image.crop = Crop::TopLeft;
        let mut coded = CodedConstraints::default();
        (coded.height.minimum, coded.height.maximum) = (1080, 1080);
        own.image.coded = Some(coded);
    });
    let words = split(&of(vec![packed, encoder()])).explain();
    assert!(
        words.contains("camera needs a coded height of 1080")
            && words.contains("encoder needs a coded height in multiples of 16"),
        "{words}"
    );
}

#[test]
fn picture_behind_the_corner_needs_everybody_to_crop_anywhere() {
    let offset = |first: u32| {
        participant("decoder", Role::Capture, move |own| {
            let mut coded = coded_rows(16).unwrap();
            (coded.y.minimum, coded.y.maximum) = (first, first);
            own.image.coded = Some(coded);
        })
    };
    let found = plan(&of(vec![offset(8), screen(Crop::Anywhere)]));
    assert_eq!(
        found.layout().visible(),
        Rect::new(0, 8, Extent::new(1920, 1080).unwrap())
    );
    assert_eq!(found.layout().extent().height(), 1088);
    let words = split(&of(vec![offset(8), screen(Crop::TopLeft)])).explain();
    assert!(
        words.contains("screen crops only from the top left corner"),
        "{words}"
    );
    // This is a display whose source rectangle begins at multiples of 16 rows.
    let mut coarse = screen(Crop::Anywhere);
    coarse.for_each_choice(|own| {
        let mut coded = CodedConstraints::default();
        coded.y.multiple_of = 16;
        own.image.coded = Some(coded);
    });
    let words = split(&of(vec![offset(8), coarse])).explain();
    assert!(
        words.contains("the first row of the picture at a multiple of 16"),
        "{words}"
    );
    // The picture cannot begin in the middle of a chroma sample, so this offset conflicts with the format.
    let halved = split(&of(vec![offset(7), screen(Crop::Anywhere)]));
    let fields: Vec<Field> = halved
        .conflict()
        .iter()
        .map(|demand| demand.field)
        .collect();
    assert_eq!(fields, [Field::Extent, Field::Formats]);
}

#[test]
fn odd_picture_of_subsampled_chroma_gets_a_coded_extent_of_whole_samples() {
    let mut request = of(vec![screen(Crop::TopLeft)]);
    request
        .participants
        .push(participant("gpu", Role::Import, |own| {
            own.image.crop = Crop::Anywhere;
            let mut coded = coded_rows(2).unwrap();
            coded.width.multiple_of = 2;
            own.image.coded = Some(coded);
        }));
    request.extent = Extent::new(1919, 1079).unwrap();
    let layout = plan(&request).layout().clone();
    assert_eq!(layout.extent(), Extent::new(1920, 1080).unwrap());
    assert_eq!(layout.visible().extent(), request.extent);
    // If no participant demands a larger coded extent, the coded extent is the picture's size.
    request.participants.pop();
    assert_eq!(plan(&request).layout().extent(), request.extent);
}

#[test]
fn rows_and_planes_without_a_gap_get_the_extent_that_takes_the_least_memory() {
    // Of the widths up to 64, only 64 divides 4096 bytes into a number of rows that the search tries. This is so with and
    // without a stride alignment of 64.
    for alignment in [1, 64] {
        let writer = participant("writer", Role::Capture, |own| {
            own.image.crop = Crop::TopLeft;
            own.image.stride.packed = true;
            own.image.stride.alignment = alignment;
            own.image.packed_planes = true;
            own.image.placement = PlanePlacement::Together;
            own.image.offset_alignment_bytes = 4096;
        });
        let mut request = of(vec![writer, screen(Crop::Anywhere)]);
        request.extent = Extent::new(10, 4).unwrap();
        let layout = plan(&request).layout().clone();
        assert_eq!(layout.extent(), Extent::new(64, 64).unwrap());
        assert_eq!(layout.visible().extent(), request.extent);
        assert_eq!(layout.planes()[1].offset_bytes, 4096);
        // If a participant cannot crop, the coded extent cannot be larger than the picture.
        request.participants[1].for_each_choice(|own| own.image.crop = Crop::None);
        assert!(!split(&request).conflict().is_empty());
    }
    // If strides do not follow from the width, more rows let planes with short strides follow each other without a gap.
    let writer = participant("writer", Role::Capture, |own| {
        own.image.crop = Crop::TopLeft;
        own.image.packed_planes = true;
        own.image.placement = PlanePlacement::Together;
        own.image.offset_alignment_bytes = 4096;
    });
    let mut request = of(vec![writer, screen(Crop::Anywhere)]);
    request.extent = Extent::new(64, 33).unwrap();
    let layout = plan(&request).layout().clone();
    assert_eq!(layout.extent(), Extent::new(64, 64).unwrap());
    request.participants[1].for_each_choice(|own| own.image.crop = Crop::None);
    let layout = plan(&request).layout().clone();
    assert_eq!(layout.planes()[0].stride_bytes, 4096);
}

#[test]
fn tiled_image_has_the_coded_extent_too() {
    let tiled = FormatModifier::new(Fourcc::NV12, Modifier(0x0100_0000_0000_0002));
    let mut request = of(vec![decoder(), screen(Crop::Anywhere)]);
    for own in &mut request.participants {
        own.for_each_choice(|own| {
            own.formats = Some([tiled].into());
            own.image.packed_planes = false;
        });
    }
    request.sources[0].constraints.formats = Some([tiled].into());
    assert_eq!(plan(&request).layout().extent().height(), 1088);
    request.participants[1].for_each_choice(|own| own.image.crop = Crop::None);
    assert_eq!(split(&request).conflict().len(), 2);
}

#[test]
fn processor_reads_the_picture_out_of_any_coded_extent() {
    let mut reader = Participant::processor(Role::CpuRead);
    reader.for_each_choice(|own| own.formats = Some(linear(&[Fourcc::NV12])));
    let found = plan(&of(vec![decoder(), reader]));
    assert!(found.layout().is_cropped());
}

#[test]
fn crop_and_coded_are_written_only_where_they_are_stated() {
    let plain = serde_json::to_value(camera(Contiguity::Scattered)).unwrap();
    let image = &plain["constraints"]["image"];
    assert!(image.get("crop").is_none() && image.get("coded").is_none());
    let text = r#"{"crop": "anywhere", "coded": {"height": {"multiple_of": 16}, "y": {"multiple_of": 2}}}"#;
    let read: covalent_solver::constraint::ImageConstraints = serde_json::from_str(text).unwrap();
    let coded = read.coded.clone().unwrap();
    assert_eq!(
        (read.crop, coded.height.multiple_of, coded.y.multiple_of),
        (Crop::Anywhere, 16, 2)
    );
    let again = serde_json::to_string(&read).unwrap();
    assert_eq!(
        serde_json::from_str::<covalent_solver::constraint::ImageConstraints>(&again).unwrap(),
        read
    );
    // An unknown field of a newer version in `coded` is kept, and is a demand.
    let newer = r#"{"coded": {"rotation": 90}}"#;
    let read: covalent_solver::constraint::ImageConstraints = serde_json::from_str(newer).unwrap();
    assert_eq!(read.extra_fields.required(), ["coded.rotation"]);
}
