//! Tests of layouts.

use super::*;

#[test]
fn layout_whose_dma_buf_sizes_overflow_is_refused() {
    let planes = Layout::linear(extent(64, 32), Fourcc::NV12, 1, 0)
        .unwrap()
        .planes;
    let format = FormatModifier::linear(Fourcc::NV12);
    let of = |sizes| Layout::new(extent(64, 32), format, planes.clone(), sizes);
    assert_eq!(of(vec![u64::MAX, 1]), Err(LayoutError::Uncountable));
    assert_eq!(of(vec![u64::MAX]).unwrap().total_bytes(), u64::MAX);
}

fn extent(width: u32, height: u32) -> Extent {
    Extent::new(width, height).unwrap()
}

fn xrgb(stride_bytes: u32, offset_bytes: u64, memory: u64) -> Result<Layout, LayoutError> {
    let plane = PlaneLayout {
        memory: 0,
        offset_bytes,
        stride_bytes,
        size_bytes: 0,
    };
    Layout::new(
        extent(640, 480),
        FormatModifier::linear(Fourcc::XRGB8888),
        vec![plane],
        vec![memory],
    )
}

#[test]
fn linear_nv12_has_chroma_after_luma() {
    let layout = Layout::linear(extent(642, 481), Fourcc::NV12, 64, 0).unwrap();
    let [luma, chroma] = layout.planes() else {
        panic!()
    };
    assert_eq!((luma.stride_bytes, chroma.stride_bytes), (704, 704));
    assert_eq!(
        (chroma.offset_bytes, chroma.size_bytes),
        (704 * 481, 704 * 241)
    );
    assert_eq!(layout.memory_sizes(), [704 * (481 + 241)]);
}

#[test]
fn linear_i420_halves_the_stride() {
    let layout = Layout::linear(extent(640, 480), Fourcc::YUV420, 1, 0).unwrap();
    let strides: Vec<u32> = layout
        .planes()
        .iter()
        .map(|plane| plane.stride_bytes)
        .collect();
    assert_eq!(strides, [640, 320, 320]);
    assert_eq!(layout.total_bytes(), 640 * 480 * 3 / 2);
}

#[test]
fn linear_with_alignment_48_is_a_multiple_of_48() {
    let layout = Layout::linear(extent(641, 2), Fourcc::XRGB8888, 48, 0).unwrap();
    assert_eq!(layout.planes()[0].stride_bytes, 2592);
}

#[test]
fn layout_at_the_edge_of_its_memory_is_accepted_and_past_it_refused() {
    assert!(xrgb(2560, 0, 2560 * 480).is_ok());
    assert!(matches!(
        xrgb(2560, 4, 2560 * 480),
        Err(LayoutError::OutOfBounds { plane: 0, .. })
    ));
    assert!(matches!(
        xrgb(2559, 0, 1 << 30),
        Err(LayoutError::Stride {
            row_bytes: 2560,
            ..
        })
    ));
    assert!(matches!(
        xrgb(u32::MAX, u64::MAX - 8, u64::MAX),
        Err(LayoutError::Overflow { plane: 0 })
    ));
}

#[test]
fn layout_with_a_wrong_number_of_planes_or_no_memory_is_refused() {
    let format = FormatModifier::linear(Fourcc::NV12);
    let plane = PlaneLayout {
        memory: 3,
        offset_bytes: 0,
        stride_bytes: 640,
        size_bytes: 0,
    };
    assert!(matches!(
        Layout::new(extent(640, 480), format, vec![plane], vec![1 << 30]),
        Err(LayoutError::PlaneCount {
            expected: 2,
            found: 1,
            ..
        })
    ));
    assert!(matches!(
        Layout::new(extent(640, 480), format, vec![plane; 2], vec![1 << 30]),
        Err(LayoutError::NoMemory {
            memory: 3,
            dmabufs: 1,
            ..
        })
    ));
    let unknown = FormatModifier::linear(Fourcc(7));
    assert!(matches!(
        Layout::new(extent(1, 1), unknown, vec![plane], vec![9]),
        Err(LayoutError::UnknownFormat(_))
    ));
}

#[test]
fn visible_rectangle_is_kept_and_is_serialized_only_if_smaller_than_the_image() {
    let coded = Layout::linear(extent(1920, 1088), Fourcc::NV12, 1, 0).unwrap();
    let whole = serde_json::to_value(&coded).unwrap();
    assert!(whole.get("visible").is_none(), "{whole}");
    let visible = Rect::new(0, 0, extent(1920, 1080));
    let cropped = coded.clone().with_visible(visible).unwrap();
    assert!(cropped.is_cropped() && cropped.visible() == visible);
    assert_eq!(cropped.rows(1), Some(544));
    let text = serde_json::to_string(&cropped).unwrap();
    assert_eq!(serde_json::from_str::<Layout>(&text).unwrap(), cropped);
    let larger = cropped.with_memory_sizes(vec![1 << 22]).unwrap();
    assert_eq!(larger.visible(), visible);
    assert!(
        !larger
            .with_visible(Rect::whole(extent(1920, 1088)))
            .unwrap()
            .is_cropped()
    );
    let beyond = Rect::new(0, 9, extent(1920, 1080));
    assert_eq!(
        coded.with_visible(beyond).unwrap_err().to_string(),
        "the picture, 1920x1080 at (0, 9), is not inside of the coded size, 1920x1088"
    );
    let text = text.replace(r#""y":0"#, r#""y":9"#);
    let error = serde_json::from_str::<Layout>(&text).unwrap_err();
    assert!(error.to_string().contains("not inside"), "{error}");
}

#[test]
fn layout_that_was_written_is_read_again_and_one_that_cannot_be_is_not() {
    let extent = Extent::new(64, 32).unwrap();
    let layout = Layout::linear(extent, Fourcc::NV12, 64, 0).unwrap();
    let text = serde_json::to_string(&layout).unwrap();
    let read: Layout = serde_json::from_str(&text).unwrap();
    assert_eq!(read, layout);
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["memory_sizes"] = serde_json::json!([64]);
    let error = serde_json::from_value::<Layout>(value.clone()).unwrap_err();
    assert!(error.to_string().contains("plane 0"), "{error}");
    value["memory_sizes"] = serde_json::json!([0, 0, 0, 0, 0]);
    let error = serde_json::from_value::<Layout>(value).unwrap_err();
    assert!(error.to_string().contains("at most 4"), "{error}");
}

#[test]
fn visible_bytes_are_those_of_the_picture_in_each_plane() {
    let extent = Extent::new(1920, 1088).unwrap();
    let layout = Layout::linear(extent, Fourcc::NV12, 64, 0).unwrap();
    let visible = Rect::new(16, 8, Extent::new(1280, 720).unwrap());
    let cropped = layout.clone().with_visible(visible).unwrap();
    let bytes = |layout: &Layout, plane| {
        let found = layout.visible_bytes(plane)?;
        Some((
            found.first_row,
            found.rows,
            found.first_byte,
            found.row_bytes,
        ))
    };
    assert_eq!(bytes(&cropped, 0), Some((8, 720, 16, 1280)));
    assert_eq!(bytes(&cropped, 1), Some((4, 360, 16, 1280)));
    assert_eq!(bytes(&cropped, 2), None);
    assert_eq!(bytes(&layout, 1), Some((0, 544, 0, 1920)));
    // A rectangle that begins or ends in the middle of a chroma sample includes the whole sample.
    let odd = Rect::new(1, 1, Extent::new(2, 2).unwrap());
    let odd = layout.with_visible(odd).unwrap();
    assert_eq!(bytes(&odd, 0), Some((1, 2, 1, 2)));
    assert_eq!(bytes(&odd, 1), Some((0, 2, 0, 4)));
}
