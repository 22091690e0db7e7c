//! Lays out linear images by trying every coded extent, stride and placement.

use covalent_solver::constraint::{CodedConstraints, Crop, ImageConstraints};
use covalent_solver::model::{Extent, FormatModifier, Layout, PlaneLayout, Rect};

use crate::common::checker::{ChosenMembers, check_extent, check_layout};

/// The longest stride that is tried, in bytes. No generated request needs a longer one.
const WIDEST: u32 = 1 << 13;

/// Returns the minimum sizes of dma-bufs that are large enough for every size of the request.
pub(super) fn smallest(
    chosen: &ChosenMembers<'_>,
    format: FormatModifier,
    constraints: &[&ImageConstraints],
    disjoint: bool,
) -> Option<Vec<u64>> {
    let without_sizes: Vec<ImageConstraints> = constraints
        .iter()
        .map(|constraints| ImageConstraints {
            size_alignment_bytes: 1,
            minimum_size_bytes: 0,
            maximum_size_bytes: u64::MAX,
            ..(*constraints).clone()
        })
        .collect();
    let step = constraints
        .iter()
        .map(|constraints| constraints.stride.alignment.max(1))
        .max()?;
    let most = constraints
        .iter()
        .map(|constraints| constraints.stride.maximum)
        .min()?;
    let is_packed = constraints.iter().any(|own| own.stride.packed);
    let rounded = |stride: u32, extent: Extent| {
        let mut steps = constraints.iter().flat_map(|own| &own.stride.rounded_up_to);
        let row = row_bytes(extent, format);
        steps.all(|step| row.is_some_and(|row| stride == row.next_multiple_of((*step).max(1))))
    };
    let layouts: Vec<Layout> = chosen
        .request
        .extents()
        .map(|picture| {
            let laid_out = coded(chosen, picture, format, constraints, disjoint);
            let laid_out = laid_out.filter_map(|(extent, visible)| {
                // A longer stride never takes less memory, so the first one that satisfies the constraints is the smallest.
                (step..=WIDEST.min(most))
                    .step_by(step as usize)
                    // If rows have no gap, the stride is equal to the bytes of a row.
                    .filter(|stride| !is_packed || Some(*stride) == row_bytes(extent, format))
                    .filter(|stride| rounded(*stride, extent))
                    .filter_map(|stride| in_rows(extent, format, constraints, stride, disjoint))
                    .filter_map(|layout| layout.with_visible(visible).ok())
                    .find(|layout| {
                        without_sizes
                            .iter()
                            .all(|constraints| check_layout(constraints, layout).is_ok())
                    })
            });
            laid_out.min_by_key(Layout::total_bytes)
        })
        .collect::<Option<_>>()?;
    let mut sizes = layouts[0].memory_sizes().to_vec();
    for layout in &layouts {
        for (size, own) in sizes.iter_mut().zip(layout.memory_sizes()) {
            *size = (*own).max(*size);
        }
    }
    for size in &mut sizes {
        *size = up(
            *size,
            constraints
                .iter()
                .map(|constraints| constraints.size_alignment_bytes),
        );
    }
    let least = constraints
        .iter()
        .map(|constraints| constraints.minimum_size_bytes)
        .max()?;
    let missing = least.saturating_sub(sizes.iter().sum());
    let last = sizes.last_mut()?;
    *last = up(
        *last + missing,
        constraints
            .iter()
            .map(|constraints| constraints.size_alignment_bytes),
    );
    layouts
        .iter()
        .map(|layout| layout.with_memory_sizes(sizes.clone()).unwrap())
        .all(|layout| {
            constraints
                .iter()
                .all(|constraints| check_layout(constraints, &layout).is_ok())
        })
        .then_some(sizes)
}

/// Returns the number of bytes in a row of the first plane.
fn row_bytes(extent: Extent, format: FormatModifier) -> Option<u32> {
    let first = format.fourcc.info()?.planes[0];
    Some(extent.width().div_ceil(first.hsub) * first.block_bytes)
}

/// Returns the possible coded extents, the smallest first, each with the position of the picture. Extents larger than the
/// smallest one are useful only if rows or planes have no gap, because they may then take less memory.
fn coded(
    chosen: &ChosenMembers<'_>,
    picture: Extent,
    format: FormatModifier,
    constraints: &[&ImageConstraints],
    disjoint: bool,
) -> impl Iterator<Item = (Extent, Rect)> {
    let info = format.fourcc.info().unwrap();
    let crop = chosen.crop(format.fourcc);
    let fits = |extent: Extent, visible: Rect| {
        let layout = Layout::linear(extent, format.fourcc, 1, 0).unwrap();
        let whole = |plane: &covalent_solver::model::PlaneInfo| {
            visible.x() % plane.hsub == 0 && visible.y() % plane.vsub == 0
        };
        let layout = layout.with_visible(visible);
        layout.is_ok_and(|layout| {
            info.planes.iter().all(whole)
                && chosen.check_crop(&layout).is_ok()
                && constraints
                    .iter()
                    .all(|constraints| check_extent(constraints, &layout).is_ok())
        })
    };
    let (columns, rows) = if crop == Crop::None {
        (0, 0)
    } else {
        (256, 64)
    };
    // The width and the height are independent of each other. A coded extent of the picture's size with the picture in its corner
    // comes first.
    let along = |is_wide: bool| {
        let sides = (0..=12_u32).flat_map(|offset| (0..=40_u32).map(move |more| (offset, more)));
        let mut found = sides.filter_map(|(offset, more)| {
            let (width, height) = (picture.width(), picture.height());
            let (extent, visible) = if is_wide {
                (
                    Extent::new(width + more, 64),
                    Rect::new(offset, 0, Extent::new(width, 64).ok()?),
                )
            } else {
                (
                    Extent::new(64, height + more),
                    Rect::new(0, offset, Extent::new(64, height).ok()?),
                )
            };
            let layout = Layout::linear(extent.ok()?, format.fourcc, 1, 0).ok()?;
            let layout = layout.with_visible(visible).ok()?;
            let own = constraints.iter().map(|own| {
                // Only the constraints on one of width and height are checked.
                let mut own = (*own).clone();
                let free = ImageConstraints::default();
                if is_wide {
                    own.height = free.height;
                } else {
                    own.width = free.width;
                }
                if let Some(coded) = &mut own.coded {
                    let free = CodedConstraints::default();
                    if is_wide {
                        (coded.y, coded.height) = (free.y, free.height);
                    } else {
                        (coded.x, coded.width) = (free.x, free.width);
                    }
                }
                own
            });
            let whole = info
                .planes
                .iter()
                .all(|plane| visible.x() % plane.hsub == 0 && visible.y() % plane.vsub == 0);
            let fits = own
                .map(|own| check_extent(&own, &layout))
                .all(|met| met.is_ok());
            (whole && fits).then_some((offset, more))
        });
        found.next()
    };
    let smallest = along(true)
        .zip(along(false))
        .map(|((x, width), (y, height))| {
            let extent = Extent::new(picture.width() + width, picture.height() + height);
            (extent.unwrap(), Rect::new(x, y, picture))
        });
    let is_wide = constraints
        .iter()
        .any(|own| own.stride.packed || !own.stride.rounded_up_to.is_empty());
    let is_high =
        !disjoint && info.planes.len() > 1 && constraints.iter().any(|own| own.packed_planes);
    let all: Vec<_> = smallest
        .into_iter()
        .flat_map(|(least, visible)| {
            let widths = 0..=if is_wide { columns } else { 0 };
            widths.flat_map(move |width| {
                let heights = 0..=if is_high { rows } else { 0 };
                heights.map(move |height| {
                    let extent = Extent::new(least.width() + width, least.height() + height);
                    (extent.unwrap(), visible)
                })
            })
        })
        .filter(|(extent, visible)| fits(*extent, *visible))
        // Planes without a gap leave no memory for rows below the coded extent.
        .filter(|(extent, _)| {
            let mut multiples = constraints.iter().map(|own| own.rows_multiple_of.max(1));
            let more = constraints.iter().any(|own| own.padding_rows > 0);
            !is_high || !more && multiples.all(|multiple| extent.height() % multiple == 0)
        })
        .collect();
    all.into_iter()
}

/// Returns the smallest number that is not less than `least` and is a multiple of all steps.
fn up(least: u64, steps: impl Iterator<Item = u64> + Clone) -> u64 {
    let largest = steps.clone().max().unwrap_or(1).max(1);
    let mut number = least.div_ceil(largest) * largest;
    while !steps.clone().all(|step| step == 0 || number % step == 0) {
        number += largest;
    }
    number
}

/// Places the planes one after another at the lowest possible offsets, for one stride of the first plane.
fn in_rows(
    extent: Extent,
    format: FormatModifier,
    constraints: &[&ImageConstraints],
    stride: u32,
    disjoint: bool,
) -> Option<Layout> {
    let info = format.fourcc.info()?;
    let packed = !disjoint
        && constraints
            .iter()
            .any(|constraints| constraints.packed_planes);
    let before = constraints
        .iter()
        .map(|constraints| constraints.padding_before_bytes)
        .max()?;
    let padding = constraints
        .iter()
        .map(|constraints| constraints.padding_bytes)
        .max()?;
    let of_blocks = constraints
        .iter()
        .map(|constraints| constraints.padding_bytes_per_macroblock)
        .max()?;
    let blocks = extent.width().div_ceil(16) * extent.height().div_ceil(16);
    let padding = padding + of_blocks * u64::from(blocks);
    let (mut planes, mut sizes) = (Vec::new(), Vec::new());
    let mut end = before;
    // The stride of every plane covers as many pixel columns as the stride of the first plane.
    let first = info.planes[0];
    for (number, plane) in info.planes.iter().enumerate() {
        let own = u64::from(stride) * u64::from(plane.block_bytes) * u64::from(first.hsub);
        let share = u64::from(first.block_bytes) * u64::from(plane.hsub);
        if own % share != 0 {
            return None;
        }
        let stride_bytes = u32::try_from(own / share).ok()?;
        // A stride is a whole number of blocks if the bytes of a block are a power of two.
        if plane.block_bytes.is_power_of_two() && stride_bytes % plane.block_bytes != 0 {
            return None;
        }
        let multiple = constraints
            .iter()
            .map(|constraints| u64::from(constraints.rows_multiple_of));
        let more = constraints.iter().map(|own| own.padding_rows).max()?;
        let luma = up(u64::from(extent.height()), multiple) + u64::from(more);
        let size_bytes = up(
            u64::from(stride_bytes) * luma.div_ceil(u64::from(plane.vsub)),
            constraints
                .iter()
                .map(|constraints| constraints.plane_size_alignment_bytes),
        );
        let begin = if disjoint { before } else { end };
        let offset_bytes = if packed && number > 0 {
            let before: &PlaneLayout = &planes[number - 1];
            let rows = info.planes[number - 1].rows(extent.height());
            before.offset_bytes + u64::from(before.stride_bytes) * u64::from(rows)
        } else {
            up(
                begin,
                constraints
                    .iter()
                    .map(|constraints| constraints.offset_alignment_bytes),
            )
        };
        end = offset_bytes + size_bytes;
        planes.push(PlaneLayout {
            memory: sizes.len(),
            offset_bytes,
            stride_bytes,
            size_bytes,
        });
        if number + 1 == info.planes.len() {
            sizes.push(end + padding);
        } else if disjoint {
            sizes.push(end);
        }
    }
    Layout::new(extent, format, planes, sizes).ok()
}
