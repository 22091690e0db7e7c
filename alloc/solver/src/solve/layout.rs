//! Chooses offsets, strides and sizes that meet merged demands.

use crate::constraint::{CommonMultiple, Field, MergedImage, PlanePlacement, gcd, lcm};
use crate::model::{Extent, FormatInfo, FormatModifier, Layout, Modifier, PlaneInfo, PlaneLayout};

/// How many strides are tried in search of one that nobody would rather avoid.
const STRIDES_TRIED: u32 = 64;

/// Layouts in the same memories, one a size.
#[derive(Clone)]
pub(super) struct Layouts {
    pub first: Layout,
    pub more: Vec<Layout>,
}

impl Layouts {
    /// Returns the same layouts by the name of another arrangement.
    pub(super) fn arranged(&self, modifier: Modifier) -> Self {
        Self {
            first: self.first.with_modifier(modifier),
            more: self
                .more
                .iter()
                .map(|layout| layout.with_modifier(modifier))
                .collect(),
        }
    }
}

/// What is free to choose where the demands leave it open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// Whether strides are wished-for ones where there are any; else the least.
    pub wishes: bool,
    /// Whether each plane has a memory of its own.
    pub apart: bool,
}

impl Choice {
    /// What can be chosen, best first. Only the least strides in both placements leave nothing out that could fit.
    pub(super) const ALL: [Self; 4] = [
        Self {
            wishes: true,
            apart: false,
        },
        Self {
            wishes: false,
            apart: false,
        },
        Self {
            wishes: true,
            apart: true,
        },
        Self {
            wishes: false,
            apart: true,
        },
    ];
}

/// Returns whether anybody wishes for a stride beyond what is demanded, or the format itself does ([`wished_block`]).
pub(super) fn has_wishes(terms: &MergedImage, info: Option<&FormatInfo>) -> bool {
    !terms.stride.preferred_alignment.value.is_one()
        || !terms.stride.preferred.value.is_empty()
        || !terms.stride.avoided_multiples.value.is_empty()
        || info.is_some_and(|info| wished_block(info) > 1)
}

/// Returns of what every stride of a plane is a multiple, whoever asks: a block, where its bytes are a power of two.
///
/// Hardware addresses such pixels in their own units, Vulkan copies rows that are counted in them, and a stride between two of
/// them is none. Where a block has 3 or 5 bytes the stride is counted in bytes by everybody: the kernel's dumb buffers and V4L2
/// drivers round 24-bit rows up to 4, 8 or 64 bytes, which seldom is a whole pixel. So there it is a wish alone.
fn needed_block(plane: &PlaneInfo) -> u64 {
    if plane.block_bytes.is_power_of_two() {
        plane.block_bytes.into()
    } else {
        1
    }
}

/// Returns of what the first plane's stride is better a multiple: a block whose bytes are no power of two.
fn wished_block(info: &FormatInfo) -> u64 {
    let first = info.planes.first();
    first
        .filter(|plane| !plane.block_bytes.is_power_of_two())
        .map_or(1, |plane| plane.block_bytes.max(1).into())
}

/// Returns the bytes of the first plane's pixels where strides are left by all demands, and none of whole pixels is among them.
pub(super) fn pixels_missed(info: &FormatInfo, terms: &MergedImage) -> Option<u64> {
    let block = needed_block(info.planes.first()?);
    let step = terms.stride.alignment.value;
    let least = u64::from(terms.stride.minimum.value.max(1));
    let most = u64::from(terms.stride.maximum.value);
    let is_left = |step: CommonMultiple| step.at_least(least).is_some_and(|first| first <= most);
    (is_left(step) && !is_left(step.and(CommonMultiple::of(block)))).then_some(block)
}

/// Chooses the smallest linear layouts, one a size, that meet all demands, in memories that hold any of them.
///
/// # Errors
///
/// The field whose demands no layout meets with this choice.
pub(super) fn choose(
    extents: impl Iterator<Item = Extent>,
    format: FormatModifier,
    terms: &MergedImage,
    choice: Choice,
) -> Result<Layouts, Field> {
    let info = format.fourcc.info().ok_or(Field::Formats)?;
    check_planes(info, terms, choice)?;
    let mut placed = Vec::new();
    let mut memory_sizes: Vec<u64> = Vec::new();
    for extent in extents {
        check_extent(extent, terms)?;
        let strides = strides(extent, info, terms, choice).ok_or(Field::Stride)?;
        let (planes, sizes) =
            place(extent, info, &strides, terms, choice.apart).ok_or(Field::Size)?;
        memory_sizes.resize(sizes.len(), 0);
        for (memory, size) in memory_sizes.iter_mut().zip(sizes) {
            *memory = size.max(*memory);
        }
        placed.push((extent, planes));
    }
    let memory_sizes = round(memory_sizes, terms).ok_or(Field::Size)?;
    let mut layouts = placed.into_iter().map(|(extent, planes)| {
        Layout::new(extent, format, planes, memory_sizes.clone()).map_err(|_| Field::Size)
    });
    let first = layouts.next().ok_or(Field::Extent)??;
    Ok(Layouts {
        first,
        more: layouts.collect::<Result<_, _>>()?,
    })
}

/// Checks a picture's sides.
///
/// # Errors
///
/// [`Field::Extent`].
pub(super) fn check_extent(extent: Extent, terms: &MergedImage) -> Result<(), Field> {
    let fits = |pixels: u32, minimum: u32, maximum: u32, multiple: CommonMultiple| {
        minimum <= pixels && pixels <= maximum && multiple.divides(pixels.into())
    };
    let (width, height) = (extent.width(), extent.height());
    let fit = fits(
        width,
        terms.width.minimum.value,
        terms.width.maximum.value,
        terms.width.multiple_of.value,
    ) && fits(
        height,
        terms.height.minimum.value,
        terms.height.maximum.value,
        terms.height.multiple_of.value,
    );
    if fit { Ok(()) } else { Err(Field::Extent) }
}

fn check_planes(info: &FormatInfo, terms: &MergedImage, choice: Choice) -> Result<(), Field> {
    let several = info.planes.len() > 1;
    let placed = match terms.placement.value {
        // One plane is together and apart at once.
        PlanePlacement::Neither => !several,
        PlanePlacement::Apart => choice.apart || !several,
        PlanePlacement::Together => !choice.apart,
        PlanePlacement::Either => true,
    };
    let counted =
        u32::try_from(info.planes.len()).is_ok_and(|planes| planes <= terms.maximum_planes.value);
    if placed && counted && (several || !choice.apart) {
        Ok(())
    } else {
        Err(Field::Planes)
    }
}

/// Chooses every plane's stride; the first plane's decides the others'.
fn strides(
    extent: Extent,
    info: &FormatInfo,
    terms: &MergedImage,
    choice: Choice,
) -> Option<Vec<u32>> {
    let alignment = terms.stride.alignment.value.get()?;
    let shares: Vec<(u64, u64)> = (0..info.planes.len())
        .map(|plane| share(info, plane))
        .collect::<Option<_>>()?;
    let mut step = 1_u64;
    let mut least = u64::from(terms.stride.minimum.value);
    for (plane, (times, of)) in info.planes.iter().zip(&shares) {
        // stride × times ÷ of must be a multiple of the alignment and of whole pixels, and hold a row.
        let whole = lcm(alignment, needed_block(plane))?.checked_mul(*of)?;
        step = lcm(step, whole.checked_div(gcd(whole, *times))?)?;
        let row = u64::from(plane.row_bytes(extent.width())?)
            .checked_mul(*of)?
            .div_ceil(*times);
        least = least.max(row);
    }
    if terms.packed_planes.value && !choice.apart {
        step = lcm(step, packed_step(extent, info, &shares, step, terms)?)?;
    }
    let mut most = u64::from(terms.stride.maximum.value);
    if terms.stride.packed.value {
        // The first row's own bytes decide it; the other planes' rows must come out without a gap too.
        most = most.min(without_a_gap(extent, info, &shares)?);
    }
    let fits =
        |stride: u64| stride >= least && stride <= most && stride.checked_rem(step) == Some(0);
    let wished = (choice.wishes && has_wishes(terms, Some(info)))
        .then(|| wished(step, wished_block(info), least, terms, fits));
    let least = || multiples(step, least).next().filter(|stride| fits(*stride));
    let stride = wished.flatten().or_else(least)?;
    shares
        .iter()
        .map(|(times, of)| {
            let scaled = stride.checked_mul(*times)?.checked_div(*of)?;
            u32::try_from(scaled).ok()
        })
        .collect()
}

/// Returns the stride that is best by what is wished, and fits; none where only the least does.
///
/// What one asks for comes before whole pixels of `block` bytes, and both at once before either.
fn wished(
    step: u64,
    block: u64,
    least: u64,
    terms: &MergedImage,
    fits: impl Fn(u64) -> bool,
) -> Option<u64> {
    let avoided = |stride: u64| {
        terms
            .stride
            .avoided_multiples
            .value
            .iter()
            .any(|multiple| stride.checked_rem(u64::from(*multiple)) == Some(0))
    };
    // A common multiple that is too large is a wish that nothing meets, and no more.
    let with = |step: u64, more: CommonMultiple| more.get().and_then(|more| lcm(step, more));
    let better = with(step, terms.stride.preferred_alignment.value).unwrap_or(step);
    let whole = |step: u64| with(step, CommonMultiple::of(block)).unwrap_or(step);
    let preferred = terms.stride.preferred.value.iter();
    preferred
        .map(|stride| u64::from(*stride))
        .chain(multiples(whole(better), least).filter(|stride| !avoided(*stride)))
        .chain(multiples(better, least).filter(|stride| !avoided(*stride)))
        .chain(multiples(whole(step), least).filter(|stride| !avoided(*stride)))
        .chain(multiples(step, least).filter(|stride| !avoided(*stride)))
        .chain(multiples(whole(better), least).take(1))
        .chain(multiples(better, least).take(1))
        .find(|stride| fits(*stride))
}

/// Returns the one first stride by which no plane's rows have a gap between them; none where the planes do not agree, as with
/// chroma of odd widths.
fn without_a_gap(extent: Extent, info: &FormatInfo, shares: &[(u64, u64)]) -> Option<u64> {
    let first = u64::from(info.planes.first()?.row_bytes(extent.width())?);
    let fit = info.planes.iter().zip(shares).all(|(plane, (times, of))| {
        let row = plane.row_bytes(extent.width()).map(u64::from);
        let scaled = first.checked_mul(*times);
        scaled.is_some() && scaled == row.and_then(|row| row.checked_mul(*of))
    });
    fit.then_some(first)
}

/// Returns of what the first stride, a multiple of `step`, must be a multiple so that planes without a gap begin and end
/// where they may.
fn packed_step(
    extent: Extent,
    info: &FormatInfo,
    shares: &[(u64, u64)],
    step: u64,
    terms: &MergedImage,
) -> Option<u64> {
    let mut times_step = 1_u64;
    let mut begin = 0_u64;
    // The last plane can have more memory behind it; the others end where the next begins.
    let ending = info.planes.len().saturating_sub(1);
    for (plane, (times, of)) in info.planes.iter().zip(shares).take(ending) {
        // Bytes of this plane for each `step` bytes of the first stride.
        let bytes = step
            .checked_mul(*times)?
            .checked_div(*of)?
            .checked_mul(u64::from(plane.rows(extent.height())))?;
        begin = begin.checked_add(bytes)?;
        for (alignment, at) in [
            (terms.plane_size_alignment_bytes.value.get()?, bytes),
            (terms.offset_alignment_bytes.value.get()?, begin),
        ] {
            times_step = lcm(times_step, alignment.checked_div(gcd(alignment, at))?)?;
        }
    }
    step.checked_mul(times_step)
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

/// Places the planes of one size; returns them and what each memory must hold.
fn place(
    extent: Extent,
    info: &FormatInfo,
    strides: &[u32],
    terms: &MergedImage,
    apart: bool,
) -> Option<(Vec<PlaneLayout>, Vec<u64>)> {
    let packed = terms.packed_planes.value && !apart;
    // Without a gap also means from the very start.
    if terms.packed_planes.value && terms.padding_before_bytes.value > 0 {
        return None;
    }
    let last = info.planes.len().saturating_sub(1);
    let mut planes = Vec::with_capacity(strides.len());
    let mut memory_sizes = Vec::with_capacity(strides.len());
    let mut end = 0_u64;
    for (number, (shape, stride_bytes)) in info.planes.iter().zip(strides).enumerate() {
        let rows = u64::from(shape.rows(extent.height()));
        if packed && number < last && rows_held(terms, rows)? != rows {
            return None;
        }
        let size_bytes = plane_bytes(terms, rows, *stride_bytes)?;
        let begin = if apart || number == 0 {
            terms.padding_before_bytes.value
        } else {
            end
        };
        let offset_bytes = terms.offset_alignment_bytes.value.at_least(begin)?;
        end = offset_bytes.checked_add(size_bytes)?;
        planes.push(PlaneLayout {
            memory: memory_sizes.len(),
            offset_bytes,
            stride_bytes: *stride_bytes,
            size_bytes,
        });
        if number == last {
            memory_sizes.push(end.checked_add(terms.padding_bytes.value)?);
        } else if apart {
            memory_sizes.push(end);
        }
    }
    Some((planes, memory_sizes))
}

/// Returns for how many rows a plane has memory that has this many.
fn rows_held(terms: &MergedImage, rows: u64) -> Option<u64> {
    terms.rows_multiple_of.value.at_least(rows)
}

/// Returns how many bytes a plane of this many rows has for itself at least.
pub(super) fn plane_bytes(terms: &MergedImage, rows: u64, stride_bytes: u32) -> Option<u64> {
    let held = rows_held(terms, rows)?.checked_mul(u64::from(stride_bytes))?;
    terms.plane_size_alignment_bytes.value.at_least(held)
}

/// Makes memories as large as the demands want them.
fn round(mut memory_sizes: Vec<u64>, terms: &MergedImage) -> Option<Vec<u64>> {
    let sum = |sizes: &[u64]| {
        sizes
            .iter()
            .try_fold(0_u64, |sum, size| sum.checked_add(*size))
    };
    let step = terms.size_alignment_bytes.value;
    for size in &mut memory_sizes {
        *size = step.at_least(*size)?;
    }
    // Only what is missing after rounding is added: more could break the greatest size.
    let missing = terms
        .minimum_size_bytes
        .value
        .saturating_sub(sum(&memory_sizes)?);
    let last = memory_sizes.last_mut()?;
    *last = step.at_least(last.checked_add(missing)?)?;
    (sum(&memory_sizes)? <= terms.maximum_size_bytes.value).then_some(memory_sizes)
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
        let format = FormatModifier::linear(fourcc);
        let terms = MergedImage::of(0, terms);
        choose([extent].into_iter(), format, &terms, Choice::ALL[0]).map(|layouts| layouts.first)
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
    fn rows_without_a_gap_have_the_one_stride_that_their_bytes_need() {
        let mut terms = ImageTerms::default();
        terms.stride.packed = true;
        terms.stride.preferred = [8192].into();
        terms.stride.alignment = 4;
        let layout = chosen(Fourcc::XRGB8888, 641, 4, &terms).unwrap();
        assert_eq!(layout.planes()[0].stride_bytes, 2564);
        terms.stride.alignment = 64;
        assert_eq!(chosen(Fourcc::XRGB8888, 641, 4, &terms), Err(Field::Stride));
        assert!(chosen(Fourcc::XRGB8888, 656, 4, &terms).is_ok());
        // The last chroma sample of an odd width needs a byte more than its luma.
        terms.stride.alignment = 1;
        assert_eq!(chosen(Fourcc::NV12, 641, 4, &terms), Err(Field::Stride));
        let layout = chosen(Fourcc::NV12, 642, 4, &terms).unwrap();
        assert_eq!(planes(&layout), [(0, 642), (642 * 4, 642)]);
        // Planes without a gap would need a wider row to begin where they may.
        terms.offset_alignment_bytes = 4096;
        assert!(chosen(Fourcc::NV12, 642, 4, &terms).is_ok());
        terms.packed_planes = true;
        assert_eq!(chosen(Fourcc::NV12, 642, 4, &terms), Err(Field::Stride));
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
