//! Chooses offsets, strides and sizes that meet merged demands.

use crate::constraint::{Field, MergedImage, PlanePlacement};
use crate::model::{Extent, FormatInfo, FormatModifier, Layout, PlaneLayout};

/// How many strides are tried in search of one that nobody would rather avoid.
const STRIDES_TRIED: u32 = 64;

/// Chooses the smallest linear layout that meets all demands, and wishes where it can.
///
/// # Errors
///
/// The field whose demands no layout meets.
pub(super) fn choose(
    extent: Extent,
    format: FormatModifier,
    terms: &MergedImage,
) -> Result<Layout, Field> {
    let info = format.fourcc.info().ok_or(Field::Formats)?;
    check_side(
        extent.width(),
        &terms.width_minimum.value,
        &terms.width_maximum.value,
        &terms.width_multiple.value,
    )?;
    check_side(
        extent.height(),
        &terms.height_minimum.value,
        &terms.height_maximum.value,
        &terms.height_multiple.value,
    )?;
    let strides = strides(extent, info, terms).ok_or(Field::Stride)?;
    let apart = match terms.placement.value {
        PlanePlacement::Neither => return Err(Field::Planes),
        PlanePlacement::Apart => info.planes.len() > 1,
        PlanePlacement::Either | PlanePlacement::Together => false,
    };
    place(extent, format, info, &strides, terms, apart).ok_or(Field::Size)
}

fn check_side(pixels: u32, minimum: &u32, maximum: &u32, multiple: &u32) -> Result<(), Field> {
    let steps = pixels.checked_rem(*multiple).is_none_or(|rest| rest == 0);
    if steps && (minimum..=maximum).contains(&&pixels) {
        Ok(())
    } else {
        Err(Field::Extent)
    }
}

/// Chooses every plane's stride; the first plane's decides the others'.
fn strides(extent: Extent, info: &FormatInfo, terms: &MergedImage) -> Option<Vec<u32>> {
    let mut alignment = u64::from(terms.stride_alignment.value.max(1));
    if terms.packed_planes.value && info.planes.len() > 1 {
        // Offsets are sums of whole rows then: aligned rows make them aligned.
        alignment = lcm(alignment, terms.offset_alignment.value.max(1))?;
    }
    let shares: Vec<(u64, u64)> = (0..info.planes.len())
        .map(|plane| share(info, plane))
        .collect::<Option<_>>()?;
    let mut step = 1_u64;
    let mut least = u64::from(terms.stride_minimum.value);
    for (plane, (times, of)) in info.planes.iter().zip(&shares) {
        // stride × times ÷ of must be a multiple of the alignment and hold a row.
        let whole = alignment.checked_mul(*of)?;
        step = lcm(step, whole.checked_div(gcd(whole, *times))?)?;
        let row = u64::from(plane.row_bytes(extent.width())?)
            .checked_mul(*of)?
            .div_ceil(*times);
        least = least.max(row);
    }
    let most = u64::from(terms.stride_maximum.value);
    let fits =
        |stride: u64| stride >= least && stride <= most && stride.checked_rem(step) == Some(0);
    let avoided = |stride: u64| {
        terms
            .stride_avoided_multiples
            .value
            .iter()
            .any(|multiple| stride.checked_rem(u64::from(*multiple)) == Some(0))
    };
    let better = lcm(
        step,
        u64::from(terms.stride_preferred_alignment.value.max(1)),
    )
    .unwrap_or(step);
    let wished = terms
        .stride_preferred
        .value
        .iter()
        .map(|stride| u64::from(*stride));
    let stride = wished
        .chain(multiples(better, least).filter(|stride| !avoided(*stride)))
        .chain(multiples(step, least).filter(|stride| !avoided(*stride)))
        .chain(multiples(better, least).take(1))
        .chain(multiples(step, least).take(1))
        .find(|stride| fits(*stride))?;
    shares
        .iter()
        .map(|(times, of)| {
            let scaled = stride.checked_mul(*times)?.checked_div(*of)?;
            u32::try_from(scaled).ok()
        })
        .collect()
}

/// Returns how a plane's stride follows from the first plane's: times the first number, divided by the second.
fn share(info: &FormatInfo, plane: usize) -> Option<(u64, u64)> {
    let (first, own) = (info.planes.first()?, info.planes.get(plane)?);
    let times = u64::from(own.block_bytes).checked_mul(u64::from(first.horizontal))?;
    let of = u64::from(first.block_bytes).checked_mul(u64::from(own.horizontal))?;
    let divisor = gcd(times, of);
    Some((times.checked_div(divisor)?, of.checked_div(divisor)?))
}

fn multiples(step: u64, least: u64) -> impl Iterator<Item = u64> {
    (0..STRIDES_TRIED).filter_map(move |place| {
        least
            .max(1)
            .checked_next_multiple_of(step)?
            .checked_add(step.checked_mul(u64::from(place))?)
    })
}

fn place(
    extent: Extent,
    format: FormatModifier,
    info: &FormatInfo,
    strides: &[u32],
    terms: &MergedImage,
    apart: bool,
) -> Option<Layout> {
    let mut planes = Vec::with_capacity(strides.len());
    let mut memory_sizes = Vec::new();
    let mut end = 0_u64;
    for (shape, stride_bytes) in info.planes.iter().zip(strides) {
        let size_bytes =
            u64::from(*stride_bytes).checked_mul(u64::from(shape.rows(extent.height())))?;
        let offset_bytes = if apart {
            0
        } else if terms.packed_planes.value {
            end
        } else {
            end.checked_next_multiple_of(terms.offset_alignment.value.max(1))?
        };
        end = offset_bytes.checked_add(size_bytes)?;
        planes.push(PlaneLayout {
            memory: memory_sizes.len(),
            offset_bytes,
            stride_bytes: *stride_bytes,
            size_bytes,
        });
        if apart {
            memory_sizes.push(end);
        }
    }
    if !apart {
        memory_sizes.push(end);
    }
    let total = memory_sizes
        .iter()
        .try_fold(0_u64, |sum, size| sum.checked_add(*size))?;
    if let Some(last) = memory_sizes.last_mut() {
        let missing = terms.minimum_size.value.saturating_sub(total);
        *last = last.checked_add(missing.max(terms.padding.value))?;
    }
    for size in &mut memory_sizes {
        *size = size.checked_next_multiple_of(terms.size_alignment.value.max(1))?;
    }
    Layout::new(extent, format, planes, memory_sizes).ok()
}

fn gcd(one: u64, two: u64) -> u64 {
    let (mut divisor, mut rest) = (one.max(1), two);
    while let Some(remainder) = divisor.checked_rem(rest) {
        (divisor, rest) = (rest, remainder);
    }
    divisor
}

fn lcm(one: u64, two: u64) -> Option<u64> {
    one.checked_div(gcd(one, two))?.checked_mul(two)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::ImageTerms;
    use crate::model::Fourcc;

    fn chosen(
        fourcc: Fourcc,
        width: u32,
        height: u32,
        terms: &ImageTerms,
    ) -> Result<Layout, Field> {
        let extent = Extent::new(width, height).unwrap();
        choose(
            extent,
            FormatModifier::linear(fourcc),
            &MergedImage::of("test", terms),
        )
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
        let layout = chosen(Fourcc::YUV420, 640, 480, &ImageTerms::default()).unwrap();
        assert_eq!(planes(&layout), [(0, 640), (307_200, 320), (384_000, 320)]);
        assert_eq!(layout.memory_sizes(), [460_800]);
    }

    #[test]
    fn odd_width_leaves_room_for_the_last_chroma_sample() {
        let layout = chosen(Fourcc::NV12, 641, 3, &ImageTerms::default()).unwrap();
        assert_eq!(planes(&layout), [(0, 642), (1926, 642)]);
    }

    #[test]
    fn alignment_holds_for_the_narrowest_plane() {
        let mut terms = ImageTerms::default();
        terms.stride.alignment = 256;
        terms.offset_alignment_bytes = 4096;
        let layout = chosen(Fourcc::YUV420, 640, 481, &terms).unwrap();
        for plane in layout.planes() {
            assert_eq!(plane.stride_bytes % 256, 0);
            assert_eq!(plane.offset_bytes % 4096, 0);
        }
    }

    #[test]
    fn packed_planes_are_aligned_by_their_strides() {
        let terms = ImageTerms {
            packed_planes: true,
            offset_alignment_bytes: 256,
            ..ImageTerms::default()
        };
        let layout = chosen(Fourcc::NV12, 642, 481, &terms).unwrap();
        assert_eq!(planes(&layout), [(0, 768), (768 * 481, 768)]);
    }

    #[test]
    fn avoided_stride_is_left_for_the_next() {
        let mut terms = ImageTerms::default();
        terms.stride.alignment = 256;
        terms.stride.avoided_multiples.insert(512);
        let layout = chosen(Fourcc::XRGB8888, 1024, 4, &terms).unwrap();
        assert_eq!(layout.planes()[0].stride_bytes, 4096 + 256);
        terms.stride.maximum = 4096;
        let layout = chosen(Fourcc::XRGB8888, 1024, 4, &terms).unwrap();
        assert_eq!(layout.planes()[0].stride_bytes, 4096);
    }

    #[test]
    fn demands_without_any_layout_name_their_field() {
        let mut terms = ImageTerms::default();
        terms.stride.maximum = 2559;
        assert_eq!(
            chosen(Fourcc::XRGB8888, 640, 480, &terms),
            Err(Field::Stride)
        );
        let wide = chosen(Fourcc::XRGB8888, Extent::LARGEST, 1, &terms);
        assert_eq!(wide, Err(Field::Stride));
        let terms = ImageTerms {
            size_alignment_bytes: u64::MAX,
            padding_bytes: u64::MAX,
            ..ImageTerms::default()
        };
        assert_eq!(chosen(Fourcc::XRGB8888, 640, 480, &terms), Err(Field::Size));
    }
}
