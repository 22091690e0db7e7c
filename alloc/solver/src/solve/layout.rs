//! The choice of offsets, strides and sizes that satisfy the merged constraints.

use std::rc::Rc;

use super::coded::{self, CodedExtentSearch, PlacedPlanes};
use super::layout_choice::LayoutChoice;
use super::stride::strides;
use super::work::Work;
use crate::constraint::{CommonMultiple, Field, MergedImage, PlanePlacement};
use crate::model::{
    Extent, FormatInfo, FormatModifier, Layout, Modifier, PlaneInfo, PlaneLayout, Rect,
};

/// A layout for each size of the request. The dma-bufs of all layouts have the same sizes, so one buffer serves every size.
#[derive(Clone)]
pub(super) struct Layouts {
    pub first: Layout,
    pub more: Vec<Layout>,
    /// Whether any layout has a coded extent that is larger than the picture.
    pub is_cropped: bool,
}

impl Layouts {
    /// Returns layouts with the same planes and another modifier.
    pub(super) fn with_modifier(&self, modifier: Modifier) -> Self {
        Self {
            first: self.first.with_modifier(modifier),
            more: self
                .more
                .iter()
                .map(|layout| layout.with_modifier(modifier))
                .collect(),
            is_cropped: self.is_cropped,
        }
    }
}

/// Layouts, or the field whose constraints no layout satisfies.
pub(super) type LayoutResult = Result<Rc<Layouts>, Field>;

/// Returns the smallest linear layouts that satisfy all constraints, one for each size. Their dma-bufs are large enough for each
/// of the layouts.
///
/// If rows or planes have to be without a gap, a larger coded extent may satisfy constraints that the smallest one does not.
/// `grows` returns the counter for this work if every member accepts a larger coded extent, and `None` otherwise.
///
/// # Errors
/// The field whose constraints no layout of this choice satisfies.
pub(super) fn choose<'w>(
    extents: impl Iterator<Item = Extent>,
    format: FormatModifier,
    merged: &MergedImage,
    choice: LayoutChoice,
    grows: impl Fn() -> Option<&'w Work>,
) -> Result<Layouts, Field> {
    let info = format.fourcc.info().ok_or(Field::Formats)?;
    check_planes(info, merged, choice)?;
    let mut placed = Vec::new();
    let mut is_cropped = false;
    let mut memory_sizes: Vec<u64> = Vec::new();
    for picture in extents {
        check_extent(picture, merged)?;
        let (least, visible) = coded::smallest_extent(picture, info, merged)?;
        let growth = CodedExtentSearch {
            info,
            merged,
            choice,
        };
        let (extent, (planes, sizes)) = if growth.may_grow() {
            growth.fit(least, &grows, |extent| {
                linear_planes(extent, info, merged, choice)
            })?
        } else {
            (least, linear_planes(least, info, merged, choice)?)
        };
        let visible = Rect::new(visible.0, visible.1, picture);
        is_cropped |= extent != picture;
        memory_sizes.resize(sizes.len(), 0);
        for (memory, size) in memory_sizes.iter_mut().zip(sizes) {
            *memory = size.max(*memory);
        }
        placed.push((extent, visible, planes));
    }
    let memory_sizes = round_sizes(memory_sizes, merged).ok_or(Field::Size)?;
    let mut layouts = placed.into_iter().map(|(extent, visible, planes)| {
        let layout = Layout::new(extent, format, planes, memory_sizes.clone());
        let layout = match visible.extent() == extent {
            true => layout,
            false => layout.and_then(|layout| layout.with_visible(visible)),
        };
        layout.map_err(|error| {
            debug_assert!(
                false,
                "the placed planes are inside of their dma-bufs: {error}"
            );
            Field::Size
        })
    });
    let Some(first) = layouts.next() else {
        unreachable!("a request has at least one size")
    };
    let first = first?;
    Ok(Layouts {
        first,
        more: layouts.collect::<Result<_, _>>()?,
        is_cropped,
    })
}

/// Returns layouts of a format whose pixel layout is known only to devices. Each has one memory plane of at least `bytes` bytes.
///
/// # Errors
/// No error is expected, because one plane that fills its dma-buf is a valid layout. The function has the same result type as the
/// functions that choose linear layouts.
pub(super) fn opaque(
    extents: impl Iterator<Item = Extent>,
    format: FormatModifier,
    bytes: u64,
) -> Result<Layouts, Field> {
    let plane = PlaneLayout {
        memory: 0,
        offset_bytes: 0,
        stride_bytes: 0,
        size_bytes: bytes,
    };
    let mut layouts = extents.map(|extent| {
        Layout::new(extent, format, vec![plane], vec![bytes]).map_err(|_| Field::Size)
    });
    let Some(first) = layouts.next() else {
        unreachable!("a request has at least one size")
    };
    Ok(Layouts {
        first: first?,
        more: layouts.collect::<Result<_, _>>()?,
        is_cropped: false,
    })
}

/// Chooses strides for one coded extent and places its planes. Returns them and the minimum sizes of their dma-bufs.
fn linear_planes(
    extent: Extent,
    info: &FormatInfo,
    merged: &MergedImage,
    choice: LayoutChoice,
) -> Result<PlacedPlanes, Field> {
    let strides = strides(extent, info, merged, choice).ok_or(Field::Stride)?;
    place_planes(extent, info, &strides, merged, choice.disjoint).ok_or(Field::Size)
}

/// Checks the width and height of a picture.
///
/// # Errors
/// [`Field::Extent`] if the constraints do not allow the width or the height.
fn check_extent(extent: Extent, merged: &MergedImage) -> Result<(), Field> {
    let fits = |pixels: u32, minimum: u32, maximum: u32, multiple: CommonMultiple| {
        minimum <= pixels && pixels <= maximum && multiple.divides(pixels.into())
    };
    let (width, height) = (extent.width(), extent.height());
    let fit = fits(
        width,
        merged.width.minimum.value,
        merged.width.maximum.value,
        merged.width.multiple_of.value,
    ) && fits(
        height,
        merged.height.minimum.value,
        merged.height.maximum.value,
        merged.height.multiple_of.value,
    );
    if fit { Ok(()) } else { Err(Field::Extent) }
}

fn check_planes(
    info: &FormatInfo,
    merged: &MergedImage,
    choice: LayoutChoice,
) -> Result<(), Field> {
    let several = info.planes.len() > 1;
    let placed = match merged.placement.value {
        // A single-plane format satisfies both placements.
        PlanePlacement::SinglePlane => !several,
        PlanePlacement::Disjoint => choice.disjoint || !several,
        PlanePlacement::Together => !choice.disjoint,
        PlanePlacement::Either => true,
    };
    let counted =
        u32::try_from(info.planes.len()).is_ok_and(|planes| planes <= merged.maximum_planes.value);
    if placed && counted && (several || !choice.disjoint) {
        Ok(())
    } else {
        Err(Field::Planes)
    }
}

/// Places the planes of an image of one size. Returns the planes and the minimum sizes of their dma-bufs.
fn place_planes(
    extent: Extent,
    info: &FormatInfo,
    strides: &[u32],
    merged: &MergedImage,
    disjoint: bool,
) -> Option<PlacedPlanes> {
    let packed = merged.packed_planes.value && !disjoint;
    // Planes without a gap start at offset 0, so there cannot be padding before them.
    if merged.packed_planes.value && merged.padding_before_bytes.value > 0 {
        return None;
    }
    let last = info.planes.len().saturating_sub(1);
    let mut planes = Vec::with_capacity(strides.len());
    let mut memory_sizes = Vec::with_capacity(strides.len());
    let mut end = 0_u64;
    for (number, (shape, stride_bytes)) in info.planes.iter().zip(strides).enumerate() {
        let rows = u64::from(shape.rows(extent.height()));
        let held = rows_held(merged, shape, extent)?;
        if packed && number < last && held != rows {
            return None;
        }
        let size_bytes = plane_bytes(merged, held, *stride_bytes)?;
        let begin = if disjoint || number == 0 {
            merged.padding_before_bytes.value
        } else {
            end
        };
        let offset_bytes = merged.offset_alignment_bytes.value.at_least(begin)?;
        end = offset_bytes.checked_add(size_bytes)?;
        planes.push(PlaneLayout {
            memory: memory_sizes.len(),
            offset_bytes,
            stride_bytes: *stride_bytes,
            size_bytes,
        });
        if number == last {
            memory_sizes.push(end.checked_add(padding(merged, extent)?)?);
        } else if disjoint {
            memory_sizes.push(end);
        }
    }
    Some((planes, memory_sizes))
}

/// Returns the number of rows for which a plane has memory. The image's rows are rounded up to `rows_multiple_of`, and
/// `padding_rows` are added. A subsampled plane has memory for the corresponding rows.
pub(super) fn rows_held(merged: &MergedImage, shape: &PlaneInfo, extent: Extent) -> Option<u64> {
    let luma = merged.rows_multiple_of.value;
    let luma = luma.at_least(u64::from(extent.height()))?;
    let luma = luma.checked_add(merged.padding_rows.value.into())?;
    Some(luma.div_ceil(u64::from(shape.vsub)))
}

/// Returns the minimum size in bytes of a plane that has memory for `rows` rows.
pub(super) fn plane_bytes(merged: &MergedImage, rows: u64, stride_bytes: u32) -> Option<u64> {
    let held = rows.checked_mul(u64::from(stride_bytes))?;
    merged.plane_size_alignment_bytes.value.at_least(held)
}

/// Returns the number of bytes of padding that are needed after the last plane.
pub(super) fn padding(merged: &MergedImage, extent: Extent) -> Option<u64> {
    let blocks = |pixels: u32| u64::from(pixels.div_ceil(16));
    let blocks = blocks(extent.width()).checked_mul(blocks(extent.height()))?;
    let of_blocks = merged.padding_bytes_per_macroblock.value;
    let of_blocks = of_blocks.checked_mul(blocks)?;
    merged.padding_bytes.value.checked_add(of_blocks)
}

/// Rounds the sizes of dma-bufs up to the size alignment and to the minimum total size; `None` if the result exceeds the maximum
/// total size.
fn round_sizes(mut memory_sizes: Vec<u64>, merged: &MergedImage) -> Option<Vec<u64>> {
    let sum = |sizes: &[u64]| {
        sizes
            .iter()
            .try_fold(0_u64, |sum, size| sum.checked_add(*size))
    };
    let step = merged.size_alignment_bytes.value;
    for size in &mut memory_sizes {
        *size = step.at_least(*size)?;
    }
    // Only the bytes that are still missing after rounding are added, because more bytes could exceed the maximum size.
    let missing = merged
        .minimum_size_bytes
        .value
        .saturating_sub(sum(&memory_sizes)?);
    let last = memory_sizes.last_mut()?;
    *last = step.at_least(last.checked_add(missing)?)?;
    (sum(&memory_sizes)? <= merged.maximum_size_bytes.value).then_some(memory_sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::ImageConstraints;
    use crate::model::Fourcc;

    fn chosen(
        fourcc: Fourcc,
        width: u32,
        height: u32,
        merged: &ImageConstraints,
    ) -> Result<Layout, Field> {
        let extent = Extent::new(width, height).unwrap();
        let format = FormatModifier::linear(fourcc);
        let merged = MergedImage::of(0, merged);
        choose(
            [extent].into_iter(),
            format,
            &merged,
            LayoutChoice::ALL[0],
            || None,
        )
        .map(|layouts| layouts.first)
    }

    fn planes(layout: &Layout) -> Vec<(u64, u32)> {
        layout
            .planes()
            .iter()
            .map(|plane| (plane.offset_bytes, plane.stride_bytes))
            .collect()
    }

    #[test]
    fn layout_without_demands_has_no_padding() {
        let layout = chosen(Fourcc::YUV420, 640, 480, &ImageConstraints::default()).unwrap();
        assert_eq!(planes(&layout), [(0, 640), (307_200, 320), (384_000, 320)]);
        assert_eq!(layout.memory_sizes(), [460_800]);
    }

    #[test]
    fn odd_width_has_memory_for_the_last_chroma_sample() {
        let layout = chosen(Fourcc::NV12, 641, 3, &ImageConstraints::default()).unwrap();
        assert_eq!(planes(&layout), [(0, 642), (1926, 642)]);
    }

    #[test]
    fn alignment_holds_for_the_narrowest_plane() {
        let mut merged = ImageConstraints::default();
        merged.stride.alignment = 256;
        merged.offset_alignment_bytes = 4096;
        let layout = chosen(Fourcc::YUV420, 640, 481, &merged).unwrap();
        for plane in layout.planes() {
            assert_eq!(plane.stride_bytes % 256, 0);
            assert_eq!(plane.offset_bytes % 4096, 0);
        }
    }

    #[test]
    fn packed_planes_are_aligned_by_their_strides() {
        let merged = ImageConstraints {
            packed_planes: true,
            offset_alignment_bytes: 256,
            ..ImageConstraints::default()
        };
        let layout = chosen(Fourcc::NV12, 642, 481, &merged).unwrap();
        assert_eq!(planes(&layout), [(0, 768), (768 * 481, 768)]);
    }

    #[test]
    fn rows_without_a_gap_have_the_one_stride_that_their_bytes_need() {
        let mut merged = ImageConstraints::default();
        merged.stride.packed = true;
        merged.stride.preferred = [8192].into();
        merged.stride.alignment = 4;
        let layout = chosen(Fourcc::XRGB8888, 641, 4, &merged).unwrap();
        assert_eq!(layout.planes()[0].stride_bytes, 2564);
        merged.stride.alignment = 64;
        assert_eq!(
            chosen(Fourcc::XRGB8888, 641, 4, &merged),
            Err(Field::Stride)
        );
        assert!(chosen(Fourcc::XRGB8888, 656, 4, &merged).is_ok());
        // For an odd width, the last chroma sample needs one byte more than the luma row.
        merged.stride.alignment = 1;
        assert_eq!(chosen(Fourcc::NV12, 641, 4, &merged), Err(Field::Stride));
        let layout = chosen(Fourcc::NV12, 642, 4, &merged).unwrap();
        assert_eq!(planes(&layout), [(0, 642), (642 * 4, 642)]);
        // Planes without a gap would need a longer row, so that the second plane starts at an aligned offset.
        merged.offset_alignment_bytes = 4096;
        assert!(chosen(Fourcc::NV12, 642, 4, &merged).is_ok());
        merged.packed_planes = true;
        assert_eq!(chosen(Fourcc::NV12, 642, 4, &merged), Err(Field::Stride));
    }

    #[test]
    fn rows_that_a_driver_rounds_up_have_one_stride() {
        let mut merged = ImageConstraints::default();
        merged.stride.rounded_up_to = [64].into();
        merged.stride.preferred = [2048].into();
        let layout = chosen(Fourcc::NV12, 1366, 4, &merged).unwrap();
        assert_eq!(planes(&layout), [(0, 1408), (1408 * 4, 1408)]);
        // 1408 is not a multiple of 256. A driver that rounds up to a multiple of 256 would use 1536.
        merged.stride.alignment = 256;
        assert_eq!(chosen(Fourcc::NV12, 1366, 4, &merged), Err(Field::Stride));
        merged.stride.alignment = 1;
        merged.stride.rounded_up_to = [64, 256].into();
        assert_eq!(chosen(Fourcc::NV12, 1366, 4, &merged), Err(Field::Stride));
        assert!(chosen(Fourcc::NV12, 1920, 4, &merged).is_err());
        let layout = chosen(Fourcc::NV12, 1280, 4, &merged).unwrap();
        assert_eq!(planes(&layout), [(0, 1280), (1280 * 4, 1280)]);
        merged.stride.rounded_up_to = [0].into();
        let layout = chosen(Fourcc::NV12, 1366, 4, &merged).unwrap();
        assert_eq!(planes(&layout), [(0, 1366), (1366 * 4, 1366)]);
    }

    #[test]
    fn rows_below_the_image_are_added_to_those_that_are_rounded_up() {
        let mut merged = ImageConstraints {
            rows_multiple_of: 32,
            padding_rows: 32,
            ..ImageConstraints::default()
        };
        let layout = chosen(Fourcc::NV12, 1920, 1080, &merged).unwrap();
        assert_eq!(planes(&layout), [(0, 1920), (1920 * 1120, 1920)]);
        assert_eq!(layout.memory_sizes(), [1920 * 1120 * 3 / 2]);
        merged.packed_planes = true;
        assert_eq!(chosen(Fourcc::NV12, 1920, 1080, &merged), Err(Field::Size));
    }

    #[test]
    fn motion_vectors_take_bytes_for_each_block_after_the_image() {
        let merged = ImageConstraints {
            rows_multiple_of: 16,
            padding_bytes: 32,
            padding_bytes_per_macroblock: 64,
            ..ImageConstraints::default()
        };
        let layout = chosen(Fourcc::NV12, 1920, 1080, &merged).unwrap();
        assert_eq!(layout.memory_sizes(), [3_133_440 + 120 * 68 * 64 + 32]);
        let merged = ImageConstraints {
            padding_bytes_per_macroblock: u64::MAX,
            ..merged
        };
        assert_eq!(chosen(Fourcc::NV12, 1920, 1080, &merged), Err(Field::Size));
    }

    #[test]
    fn avoided_stride_is_replaced_by_the_next() {
        let mut merged = ImageConstraints::default();
        merged.stride.alignment = 256;
        merged.stride.avoided_multiples.insert(512);
        let layout = chosen(Fourcc::XRGB8888, 1024, 4, &merged).unwrap();
        assert_eq!(layout.planes()[0].stride_bytes, 4096 + 256);
        merged.stride.maximum = 4096;
        let layout = chosen(Fourcc::XRGB8888, 1024, 4, &merged).unwrap();
        assert_eq!(layout.planes()[0].stride_bytes, 4096);
    }

    #[test]
    fn unsatisfiable_demand_is_returned_as_its_field() {
        let mut merged = ImageConstraints::default();
        merged.stride.maximum = 2559;
        assert_eq!(
            chosen(Fourcc::XRGB8888, 640, 480, &merged),
            Err(Field::Stride)
        );
        let wide = chosen(Fourcc::XRGB8888, Extent::LARGEST, 1, &merged);
        assert_eq!(wide, Err(Field::Stride));
        let merged = ImageConstraints {
            size_alignment_bytes: u64::MAX,
            padding_bytes: u64::MAX,
            ..ImageConstraints::default()
        };
        assert_eq!(
            chosen(Fourcc::XRGB8888, 640, 480, &merged),
            Err(Field::Size)
        );
    }
}
