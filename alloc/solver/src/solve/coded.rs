//! The choice of the coded extent, and of the picture's position in it.

use super::candidate_search::CandidateSearch;
use super::layout::Layouts;
use super::layout_choice::LayoutChoice;
use super::prepared_participant::PreparedChoice;
use super::rejection::LayoutRejection;
use super::stride::strides;
use super::work::Work;
use crate::constraint::{
    CommonMultiple, Crop, Field, MergedImage, MergedOffset, MergedSide, Role, gcd,
};
use crate::model::{Extent, FormatInfo, Fourcc, PlaneLayout};

/// The maximum number of columns and the maximum number of rows by which a coded extent may exceed the smallest one, in the
/// search for rows or planes without a gap. The range of sizes is limited instead of the number of tries. Otherwise the removal
/// of a demand could cause fewer extents to be tried.
const MAXIMUM_MORE_COLUMNS: u32 = 256;
const MAXIMUM_MORE_ROWS: u32 = 64;

/// The number of steps of the budget that are charged for each width that is considered, and for laying out the planes of one
/// extent.
const WIDTH_STEPS: usize = 4;
const ROWS_STEPS: usize = 64;

/// The planes of an image of one size, and the minimum sizes of their dma-bufs.
pub(super) type PlacedPlanes = (Vec<PlaneLayout>, Vec<u64>);

/// Returns the smallest coded extent that the merged constraints allow for a picture, and the picture's first column and row.
///
/// The picture begins at the lowest column and row that are allowed. In a format with subsampled chroma it begins with a whole
/// chroma sample. Otherwise the picture's first pixels would share a chroma sample with pixels outside of the picture.
///
/// # Errors
/// [`Field::Extent`] if the merged constraints allow no coded extent.
pub(super) fn smallest_extent(
    picture: Extent,
    info: &FormatInfo,
    merged: &MergedImage,
) -> Result<(Extent, (u32, u32)), Field> {
    let Some(coded) = &merged.coded else {
        return Ok((picture, (0, 0)));
    };
    let (hsub, vsub) = info.planes.iter().fold((1, 1), |(hsub, vsub), plane| {
        (plane.hsub.max(hsub), plane.vsub.max(vsub))
    });
    let placed = || {
        let (x, width) = place_on_axis(picture.width(), &coded.x, &coded.width, hsub)?;
        let (y, height) = place_on_axis(picture.height(), &coded.y, &coded.height, vsub)?;
        Some((Extent::new(width, height).ok()?, (x, y)))
    };
    placed().ok_or(Field::Extent)
}

/// The constraints for which a coded extent is chosen.
#[derive(Clone, Copy)]
pub(super) struct CodedExtentSearch<'g> {
    pub(super) info: &'g FormatInfo,
    pub(super) merged: &'g MergedImage,
    pub(super) choice: LayoutChoice,
}

impl CodedExtentSearch<'_> {
    /// Returns whether a larger extent than the smallest one may take less memory. That is possible only if rows or planes have
    /// to be without a gap.
    pub(super) fn may_grow(self) -> bool {
        // Planes without a gap start at offset 0, so no extent can have padding before them.
        let is_padded = self.merged.padding_before_bytes.value > 0;
        !(is_padded && self.merged.packed_planes.value)
            && (self.has_one_stride() || self.packs_planes())
    }

    /// Returns the coded extent that takes the least memory, and its planes. This is `least`, unless `least` has no layout or has
    /// rows that are longer than necessary.
    ///
    /// `grows` returns the counter for the work on larger extents if every member accepts an extent that is larger than the
    /// picture, and `None` otherwise.
    ///
    /// # Errors
    /// The field whose constraints no extent satisfies.
    pub(super) fn fit<'w>(
        self,
        least: Extent,
        grows: impl Fn() -> Option<&'w Work>,
        place: impl Fn(Extent) -> Result<PlacedPlanes, Field>,
    ) -> Result<(Extent, PlacedPlanes), Field> {
        let first = place(least).map(|placed| (least, placed));
        let has_one_stride = self.has_one_stride();
        // If rows have no gap, they are shortest in the narrowest image.
        if has_one_stride && first.is_ok() {
            return first;
        }
        if has_one_stride {
            let grown = grows().and_then(|work| self.search_wider(least, work, place));
            return grown.ok_or_else(|| first.err().unwrap_or(Field::Stride));
        }
        // If each plane has a dma-buf of its own, the strides do not depend on the height. No extent takes less memory than one
        // with these strides.
        let apart = LayoutChoice {
            disjoint: true,
            ..self.choice
        };
        let Some(shortest) = strides(least, self.info, self.merged, apart) else {
            return first;
        };
        let has_shortest = |placed: &PlacedPlanes| {
            let own = placed.0.iter().map(|plane| plane.stride_bytes);
            own.eq(shortest.iter().copied())
        };
        if first.as_ref().is_ok_and(|(_, placed)| has_shortest(placed)) {
            return first;
        }
        let Some(work) = grows() else {
            return first;
        };
        let mut best = first;
        for extent in self.heights(least, CommonMultiple::of(1)) {
            work.charge(ROWS_STEPS);
            let needed = self.bytes(&shortest, extent.height());
            if best.as_ref().is_ok_and(|(_, best)| needed >= sum(&best.1)) {
                break;
            }
            if let Ok(placed) = place(extent) {
                best = smaller(best.ok(), (extent, placed));
            }
        }
        best
    }

    /// Returns the extent that takes the least memory, for rows whose stride follows from the width.
    fn search_wider(
        self,
        least: Extent,
        work: &Work,
        place: impl Fn(Extent) -> Result<PlacedPlanes, Field>,
    ) -> Option<(Extent, PlacedPlanes)> {
        let coded = self.merged.coded.as_deref().map(|coded| &coded.width);
        let mut best: Option<(Extent, PlacedPlanes)> = None;
        let mut tried = None;
        for width in possible_lengths(
            least.width(),
            coded,
            CommonMultiple::of(1),
            MAXIMUM_MORE_COLUMNS,
        ) {
            work.charge(WIDTH_STEPS);
            let Some(row) = self.stride(width) else {
                continue;
            };
            // A wider image with the same stride does not take less memory.
            if tried.replace(row) == Some(row) {
                continue;
            }
            let least = Extent::new(width, least.height()).ok()?;
            let rows = u64::from(row).saturating_mul(least.height().into());
            if best.as_ref().is_some_and(|(_, best)| rows >= sum(&best.1)) {
                break;
            }
            let apart = LayoutChoice {
                disjoint: true,
                ..self.choice
            };
            let mut heights = self.heights(least, self.whole_planes(row)).peekable();
            if heights.peek().is_none() {
                continue;
            }
            work.charge(ROWS_STEPS);
            if strides(least, self.info, self.merged, apart).is_none() {
                continue;
            }
            let found = heights.find_map(|extent| {
                work.charge(ROWS_STEPS);
                Some((extent, place(extent).ok()?))
            });
            if let Some(found) = found {
                best = smaller(best, found).ok();
            }
        }
        best
    }

    /// Returns the extents with this width whose number of rows is a multiple of `multiple_of`, the lowest extent first.
    fn heights(self, least: Extent, multiple_of: CommonMultiple) -> impl Iterator<Item = Extent> {
        let coded = self.merged.coded.as_deref().map(|coded| &coded.height);
        // Planes without a gap leave no memory for rows below the coded extent, so the coded height itself has to be a multiple
        // of `rows_multiple_of`.
        let (multiple_of, max_increase) = match self.packs_planes() {
            true => (
                multiple_of.and(self.merged.rows_multiple_of.value),
                MAXIMUM_MORE_ROWS,
            ),
            false => (CommonMultiple::of(1), 0),
        };
        let coded = coded.filter(|_| max_increase > 0);
        let heights = possible_lengths(least.height(), coded, multiple_of, max_increase);
        heights.filter_map(move |height| Extent::new(least.width(), height).ok())
    }

    /// Returns a number of rows. If the first plane has a multiple of it, the next plane can follow without a gap.
    fn whole_planes(self, stride_bytes: u32) -> CommonMultiple {
        let plane = self.merged.plane_size_alignment_bytes.value;
        let whole = plane.and(self.merged.offset_alignment_bytes.value).get();
        let rows = whole.and_then(|whole| whole.checked_div(gcd(whole, stride_bytes.into())));
        CommonMultiple::of(rows.unwrap_or(1))
    }

    /// Returns whether the constraints allow only one stride for each width.
    fn has_one_stride(self) -> bool {
        let stride = &self.merged.stride;
        stride.packed.value || !stride.rounded_up_to.value.is_empty()
    }

    fn packs_planes(self) -> bool {
        self.merged.packed_planes.value && !self.choice.disjoint && self.info.planes.len() > 1
    }

    /// Returns the sum of the sizes of all planes with these strides, in bytes.
    fn bytes(self, strides: &[u32], height: u32) -> u64 {
        let planes = self.info.planes.iter().zip(strides);
        planes.fold(0, |sum, (plane, stride)| {
            let bytes = u64::from(*stride).saturating_mul(plane.rows(height).into());
            sum.saturating_add(bytes)
        })
    }

    /// Returns the stride that follows from a width; `None` if the merged constraints do not allow it.
    fn stride(self, width: u32) -> Option<u32> {
        let constraints = &self.merged.stride;
        let row_bytes = self.info.planes.first()?.row_bytes(width)?;
        let steps = constraints.rounded_up_to.value.iter();
        let mut rounded = steps.map(|step| row_bytes.checked_next_multiple_of((*step).max(1)));
        let required_stride = if constraints.packed.value {
            Some(row_bytes)
        } else {
            rounded.next().flatten()
        };
        let stride = required_stride.unwrap_or(row_bytes);
        let agree = rounded.all(|other| other == Some(stride));
        let fits = agree
            && constraints.minimum.value <= stride
            && stride <= constraints.maximum.value
            && constraints.alignment.value.divides(stride.into())
            && constraints
                .first_plane_alignment
                .value
                .divides(stride.into());
        fits.then_some(stride)
    }
}

/// Returns the possible widths or heights from `least` to `least + max_increase`, in ascending order.
fn possible_lengths(
    least: u32,
    coded: Option<&MergedSide>,
    multiple_of: CommonMultiple,
    max_increase: u32,
) -> impl Iterator<Item = u32> + use<> {
    let step = coded.map_or(CommonMultiple::of(1), |coded| coded.multiple_of.value);
    let step = step.and(multiple_of);
    let most = coded.map_or(u32::MAX, |coded| coded.maximum.value);
    let most = most
        .min(Extent::LARGEST)
        .min(least.saturating_add(max_increase));
    let next = move |value: &u64| value.checked_add(step.get()?);
    std::iter::successors(step.at_least(least.into()), next)
        .map_while(|value| u32::try_from(value).ok())
        .take_while(move |value| *value <= most)
}

fn sum(sizes: &[u64]) -> u64 {
    sizes.iter().copied().fold(0, u64::saturating_add)
}

/// Returns the extent that takes less memory, or the first one if both take the same.
fn smaller(
    first: Option<(Extent, PlacedPlanes)>,
    second: (Extent, PlacedPlanes),
) -> Result<(Extent, PlacedPlanes), Field> {
    match first {
        Some(first) if sum(&first.1.1) <= sum(&second.1.1) => Ok(first),
        _ => Ok(second),
    }
}

/// Returns the picture's first column and the coded width, or its first row and the coded height; `None` if the constraints
/// cannot be met.
fn place_on_axis(
    length: u32,
    offset: &MergedOffset,
    coded: &MergedSide,
    subsampling: u32,
) -> Option<(u32, u32)> {
    let least = u64::from(offset.minimum.value);
    let first = match least {
        0 => 0,
        least => {
            let step = CommonMultiple::of(subsampling.into());
            let step = step.and(offset.multiple_of.value);
            u32::try_from(step.at_least(least)?).ok()?
        }
    };
    let least = first.checked_add(length)?.max(coded.minimum.value);
    let whole = coded.multiple_of.value.at_least(least.into())?;
    let whole = u32::try_from(whole).ok()?;
    (first <= offset.maximum.value && whole <= coded.maximum.value).then_some((first, whole))
}

impl<'p> CandidateSearch<'p, '_, '_> {
    /// Checks that every member can crop the picture out of the coded extents.
    pub(super) fn check_crop(&self, layouts: &Layouts) -> Result<(), LayoutRejection> {
        if !layouts.is_cropped {
            return Ok(());
        }
        let all = std::iter::once(&layouts.first).chain(&layouts.more);
        let Some(cropped) = all.clone().find(|layout| layout.is_cropped()) else {
            return Ok(());
        };
        let has_corner = all
            .clone()
            .all(|layout| (layout.visible().x(), layout.visible().y()) == (0, 0));
        let needed = if has_corner {
            Crop::TopLeft
        } else {
            Crop::Anywhere
        };
        self.problem
            .work
            .charge(self.view.members.len().saturating_mul(4));
        let fourcc = cropped.format().fourcc;
        let owner = self
            .members()
            .find(|(member, choice)| !self.crops(*member, choice, fourcc, needed));
        match owner {
            None => Ok(()),
            Some((owner, _)) => Err(LayoutRejection::Crop {
                owner,
                coded_and_visible: Box::new((cropped.extent(), cropped.visible())),
            }),
        }
    }

    /// Returns the counter for the work on larger coded extents, if every member can crop a picture at the top left corner of
    /// such an extent.
    pub(super) fn grows(&self, fourcc: Fourcc) -> Option<&'p Work> {
        self.problem.work.charge(self.view.members.len());
        self.members()
            .all(|(member, choice)| self.crops(member, choice, fourcc, Crop::TopLeft))
            .then_some(&self.problem.work)
    }

    /// Returns whether a member can crop as much as is needed, or need not because the demand was given up.
    fn crops(
        &self,
        member: usize,
        choice: &PreparedChoice<'_>,
        fourcc: Fourcc,
        needed: Crop,
    ) -> bool {
        let role = self.problem.participant(member).participant.role;
        // If no participant or source needs a larger coded extent, the inability to crop is not a demand, so it cannot be given
        // up.
        let is_given_up = self.problem.pads && !self.view.keeps(member).contains(Field::Crop);
        matches!(role, Role::CpuRead | Role::CpuWrite)
            || choice.constraints.crop(fourcc) >= needed
            || is_given_up
    }
}
