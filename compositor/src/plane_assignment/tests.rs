//! Tests the assignment of layers to planes.

use covalent_alloc::model::Fourcc;

use super::*;
use crate::kms::YuvMatrix;

const OUTPUT: Rect = Rect::of_size(640, 480);

/// Returns a plane that supports these formats in linear memory, with the position `order` in the stacking order.
fn plane(id: u32, kind: PlaneKind, order: usize, formats: &[Fourcc]) -> PlaneDescription {
    PlaneDescription {
        id,
        kind,
        formats: formats
            .iter()
            .map(|format| FormatModifier::linear(*format))
            .collect(),
        sizes: ((1, 1), (4096, 4096)),
        order,
        converts_yuv: true,
    }
}

/// Returns a primary plane, `overlays` overlay planes and a cursor plane. The overlay planes also support NV12.
fn planes(overlays: u32) -> Vec<PlaneDescription> {
    let mut planes = vec![plane(31, PlaneKind::Primary, 0, &[Fourcc::XRGB8888])];
    for number in 0..overlays {
        let order = usize::try_from(number).unwrap() + 1;
        let formats = [Fourcc::XRGB8888, Fourcc::ARGB8888, Fourcc::NV12];
        planes.push(plane(32 + number, PlaneKind::Overlay, order, &formats));
    }
    planes.push(plane(50, PlaneKind::Cursor, 49, &[Fourcc::ARGB8888]));
    planes
}

/// Returns a picture in linear memory that is shown completely.
fn picture(format: Fourcc, (width, height): (u32, u32)) -> Picture {
    Picture {
        format: FormatModifier::linear(format),
        extent: (width, height),
        layout: vec![(0, width * 4)],
        source: SourceRect {
            x: 0,
            y: 0,
            width: width << 16,
            height: height << 16,
        },
        yuv: (format == Fourcc::NV12).then_some(YuvEncoding {
            matrix: YuvMatrix::Bt601,
            is_full_range: false,
        }),
    }
}

/// Returns a layer that is not scaled; without a format it cannot be shown on a plane.
fn layer(format: Option<Fourcc>, destination: Rect) -> Candidate {
    let size = (
        destination.width.unsigned_abs(),
        destination.height.unsigned_abs(),
    );
    Candidate {
        destination,
        picture: format.map(|format| picture(format, size)),
        covers_output: destination == OUTPUT,
        priority: 0,
    }
}

/// Returns a pointer of 64x64 pixels at this position.
fn pointer(x: i32, y: i32) -> CursorCandidate {
    CursorCandidate {
        destination: Rect::new(x, y, 64, 64),
        picture: Some(picture(Fourcc::ARGB8888, (64, 64))),
    }
}

fn scene(layers: &[Candidate], cursor: Option<CursorCandidate>) -> Candidates {
    Candidates {
        layers: layers.to_vec(),
        cursor,
    }
}

/// Returns the assignment that is chosen for these layers and planes.
fn best(candidates: &Candidates, planes: &[PlaneDescription], cache: &TestCache) -> Assignment {
    choose(candidates, planes, cache).assignment
}

/// Returns the index of the plane of each layer and of the pointer, and whether something is drawn.
fn chosen(
    candidates: &Candidates,
    planes: &[PlaneDescription],
) -> (Vec<Option<usize>>, Option<usize>, bool) {
    let Assignment {
        layers,
        cursor,
        is_drawn,
    } = best(candidates, planes, &TestCache::default());
    (layers, cursor, is_drawn)
}

#[test]
fn layer_that_covers_the_output_is_on_the_primary_plane() {
    let full = layer(Some(Fourcc::XRGB8888), OUTPUT);
    let alone = scene(std::slice::from_ref(&full), None);
    assert_eq!(chosen(&alone, &planes(0)), (vec![Some(0)], None, false));
    let pointed = scene(&[full], Some(pointer(10, 10)));
    assert_eq!(
        chosen(&pointed, &planes(0)),
        (vec![Some(0)], Some(1), false)
    );
}

#[test]
fn pointer_without_a_cursor_plane_is_drawn_above_everything() {
    let full = layer(Some(Fourcc::XRGB8888), OUTPUT);
    let pointed = scene(&[full], Some(pointer(10, 10)));
    let mut without = planes(1);
    without.pop();
    assert_eq!(chosen(&pointed, &without), (vec![None], None, true));
    // A layer that is not below the pointer keeps its plane.
    let beside = layer(Some(Fourcc::NV12), Rect::new(200, 200, 100, 100));
    let pointed = scene(&[beside], Some(pointer(10, 10)));
    assert_eq!(chosen(&pointed, &without), (vec![Some(1)], None, true));
}

#[test]
fn layer_below_a_drawn_layer_is_drawn() {
    let video = layer(Some(Fourcc::NV12), Rect::new(0, 0, 200, 200));
    let beside = layer(None, Rect::new(200, 0, 100, 100));
    let above = layer(None, Rect::new(199, 199, 100, 100));
    let apart = scene(&[video.clone(), beside], None);
    assert_eq!(
        chosen(&apart, &planes(1)),
        (vec![Some(1), None], None, true)
    );
    let covered = scene(&[video.clone(), above.clone()], None);
    assert_eq!(chosen(&covered, &planes(1)), (vec![None, None], None, true));
    let assignment = best(&covered, &planes(1), &TestCache::default());
    let reason = explain(&covered, &planes(1), &assignment, 0);
    assert_eq!(reason, Some(PlaneRejection::Covered));
    let below = scene(&[above, video], None);
    assert_eq!(
        chosen(&below, &planes(1)),
        (vec![None, Some(1)], None, true)
    );
}

#[test]
fn overlapping_layers_have_planes_in_their_stacking_order() {
    let low = layer(Some(Fourcc::NV12), Rect::new(0, 0, 200, 200));
    let high = layer(Some(Fourcc::XRGB8888), Rect::new(100, 100, 200, 200));
    let both = scene(&[low, high], None);
    let (layers, _, is_drawn) = chosen(&both, &planes(2));
    assert_eq!((layers, is_drawn), (vec![Some(1), Some(2)], true));
    // With one plane, only the higher layer gets it, and the lower one is drawn.
    assert_eq!(chosen(&both, &planes(1)), (vec![None, Some(1)], None, true));
    let assignment = best(&both, &planes(1), &TestCache::default());
    let reason = explain(&both, &planes(1), &assignment, 0);
    assert_eq!(reason, Some(PlaneRejection::InUse));
}

#[test]
fn layers_above_the_one_on_the_primary_plane_need_planes_too() {
    let full = layer(Some(Fourcc::XRGB8888), OUTPUT);
    let text = layer(Some(Fourcc::ARGB8888), Rect::new(0, 400, 640, 80));
    let subtitled = scene(&[full.clone(), text], None);
    let expected = (vec![Some(0), Some(1)], None, false);
    assert_eq!(chosen(&subtitled, &planes(1)), expected);
    let drawn = layer(None, Rect::new(0, 400, 640, 80));
    let subtitled = scene(&[full, drawn], None);
    assert_eq!(
        chosen(&subtitled, &planes(1)),
        (vec![None, None], None, true)
    );
}

#[test]
fn more_important_layer_gets_the_only_plane() {
    let mut video = layer(Some(Fourcc::NV12), Rect::new(0, 0, 100, 100));
    let still = layer(Some(Fourcc::XRGB8888), Rect::new(200, 0, 100, 100));
    let equal = scene(&[video.clone(), still.clone()], None);
    assert_eq!(chosen(&equal, &planes(1)).0, [None, Some(1)]);
    video.priority = 1;
    let unequal = scene(&[video, still], None);
    assert_eq!(chosen(&unequal, &planes(1)).0, [Some(1), None]);
}

#[test]
fn format_size_and_yuv_that_no_plane_takes_are_reasons() {
    let mut cards = planes(1);
    let big = scene(&[layer(Some(Fourcc::NV12), Rect::of_size(5000, 10))], None);
    let other = scene(&[layer(Some(Fourcc::RGB565), Rect::of_size(10, 10))], None);
    let video = scene(&[layer(Some(Fourcc::NV12), Rect::of_size(10, 10))], None);
    let reason = |candidates: &Candidates, cards: &[PlaneDescription]| {
        let assignment = best(candidates, cards, &TestCache::default());
        assert!(!assignment.uses_planes());
        explain(candidates, cards, &assignment, 0)
    };
    assert_eq!(reason(&big, &cards), Some(PlaneRejection::Size));
    assert_eq!(reason(&other, &cards), Some(PlaneRejection::Format));
    cards[1].converts_yuv = false;
    assert_eq!(reason(&video, &cards), Some(PlaneRejection::Yuv));
    assert_eq!(reason(&video, &planes(0)), None);
}

#[test]
fn rejected_configuration_is_not_chosen_again_and_fewer_layers_are_tried() {
    let planes = planes(2);
    let low = layer(Some(Fourcc::NV12), Rect::new(0, 0, 100, 100));
    let high = layer(Some(Fourcc::XRGB8888), Rect::new(200, 0, 100, 100));
    let candidates = scene(&[low, high], Some(pointer(0, 0)));
    let mut cache = TestCache::default();
    let mut tried = Vec::new();
    for _ in 0..20 {
        let assignment = best(&candidates, &planes, &cache);
        if !assignment.uses_planes() {
            break;
        }
        let configuration = Configuration::new(&assignment, &candidates, &planes);
        assert!(cache.result(&configuration).is_none());
        cache.record(configuration, Err("EINVAL".to_owned()));
        tried.push((assignment.layers, assignment.cursor));
    }
    let last = choose(&candidates, &planes, &cache);
    assert_eq!(last.assignment, Assignment::drawn(2));
    assert!(last.is_tested);
    assert_eq!(last.rejected.as_deref(), Some("EINVAL"));
    assert_eq!(tried[0], (vec![Some(1), Some(2)], Some(3)));
    assert_eq!(tried[1], (vec![None, Some(2)], Some(3)));
    assert_eq!(tried[2], (vec![None, None], Some(3)));
    // The drawn pointer is above the lower layer, so that layer is drawn too.
    assert_eq!(tried[3], (vec![None, Some(2)], None));
    assert_eq!(tried.len(), 4);
}

#[test]
fn moved_pointer_needs_no_other_test_commit_and_a_moved_window_does() {
    let planes = planes(1);
    let configuration = |at: i32, pointer_at: i32| {
        let window = layer(Some(Fourcc::NV12), Rect::new(at, 100, 100, 100));
        let candidates = scene(&[window], Some(pointer(pointer_at, 0)));
        let assignment = best(&candidates, &planes, &TestCache::default());
        assert!(assignment.uses_planes());
        Configuration::new(&assignment, &candidates, &planes)
    };
    assert_eq!(configuration(0, 0), configuration(0, 300));
    assert_ne!(configuration(0, 0), configuration(1, 0));
}

#[test]
fn overlay_under_the_primary_plane_is_not_used() {
    let mut planes = planes(1);
    planes[1].order = 0;
    planes[0].order = 1;
    let video = scene(&[layer(Some(Fourcc::NV12), Rect::of_size(10, 10))], None);
    assert_eq!(chosen(&video, &planes), (vec![None], None, true));
}
