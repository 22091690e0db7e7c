//! Checks layouts against single sets of constraints.

use covalent_solver::constraint::{ImageConstraints, PlanePlacement};
use covalent_solver::model::{FormatInfo, Layout};

use super::{Broken, demand, divides};

/// Checks a linear layout against one set of constraints.
pub fn check_layout(constraints: &ImageConstraints, layout: &Layout) -> Result<(), Broken> {
    check_extent(constraints, layout)?;
    let info = layout.format().fourcc.info().unwrap();
    let planes = layout.planes();
    let first = planes[0].stride_bytes;
    let stride = &constraints.stride;
    demand(stride.minimum <= first && first <= stride.maximum, || {
        format!("stride {first}")
    })?;
    demand(
        info.planes.len() as u64 <= u64::from(constraints.maximum_planes),
        || "planes".to_owned(),
    )?;
    let sizes = layout.memory_sizes();
    let placed = match constraints.placement {
        PlanePlacement::Either => true,
        PlanePlacement::Together => sizes.len() == 1,
        PlanePlacement::Disjoint => sizes.len() == planes.len(),
        PlanePlacement::SinglePlane => planes.len() == 1,
    };
    demand(placed, || format!("{} dma-bufs", sizes.len()))?;
    for (number, plane) in planes.iter().enumerate() {
        let refuse = |what: &str| format!("plane {number}: {what} of {plane:?}");
        let rows = u64::from(info.planes[number].rows(layout.extent().height()));
        demand(
            divides(stride.alignment.into(), plane.stride_bytes.into()),
            || refuse("stride"),
        )?;
        demand(
            number > 0
                || divides(
                    stride.first_plane_alignment.into(),
                    plane.stride_bytes.into(),
                ),
            || refuse("first stride"),
        )?;
        let shape = info.planes[number];
        demand(
            !shape.block_bytes.is_power_of_two()
                || divides(shape.block_bytes.into(), plane.stride_bytes.into()),
            || refuse("whole pixels"),
        )?;
        let row = layout.extent().width().div_ceil(shape.hsub) * shape.block_bytes;
        demand(!stride.packed || plane.stride_bytes == row, || {
            refuse("row gap")
        })?;
        demand(
            divides(constraints.offset_alignment_bytes, plane.offset_bytes),
            || refuse("offset"),
        )?;
        demand(
            plane.offset_bytes >= constraints.padding_before_bytes,
            || refuse("padding before"),
        )?;
        // 128 bits are enough for every sum and product of 64-bit numbers.
        let mut room = u128::from(plane.size_bytes);
        let stride_bytes = u128::from(plane.stride_bytes);
        demand(
            room >= stride_bytes * u128::from(rows)
                && divides(constraints.plane_size_alignment_bytes, plane.size_bytes),
            || refuse("size"),
        )?;
        let multiple = u64::from(constraints.rows_multiple_of.max(1));
        let luma = u64::from(layout.extent().height()).div_ceil(multiple) * multiple;
        let luma = luma + u64::from(constraints.padding_rows);
        let with_more = u128::from(luma.div_ceil(u64::from(shape.vsub)));
        demand(room >= stride_bytes * with_more, || refuse("rows"))?;
        for step in stride.rounded_up_to.iter().filter(|_| number == 0) {
            let step = (*step).max(1);
            demand(plane.stride_bytes == row.div_ceil(step) * step, || {
                refuse("wider row")
            })?;
        }
        if number + 1 == planes.len() {
            let (width, height) = (layout.extent().width(), layout.extent().height());
            let blocks = u128::from(width.div_ceil(16)) * u128::from(height.div_ceil(16));
            room += u128::from(constraints.padding_bytes);
            room += u128::from(constraints.padding_bytes_per_macroblock) * blocks;
        }
        let next = planes.get(number + 1);
        let end = match next.filter(|next| next.memory == plane.memory) {
            Some(next) => next.offset_bytes,
            None => sizes[plane.memory],
        };
        demand(
            u128::from(plane.offset_bytes) + room <= u128::from(end),
            || refuse("room"),
        )?;
        if constraints.packed_planes {
            let begin = match number.checked_sub(1).map(|before| planes[before]) {
                Some(before) if before.memory == plane.memory => {
                    let rows = info.planes[number - 1].rows(layout.extent().height());
                    before.offset_bytes + u64::from(before.stride_bytes) * u64::from(rows)
                }
                _ => 0,
            };
            demand(plane.offset_bytes == begin, || refuse("gap"))?;
        }
    }
    let total: u128 = sizes.iter().map(|size| u128::from(*size)).sum();
    demand(
        sizes
            .iter()
            .all(|size| divides(constraints.size_alignment_bytes, *size))
            && u128::from(constraints.minimum_size_bytes) <= total
            && total <= u128::from(constraints.maximum_size_bytes),
        || format!("sizes {sizes:?}"),
    )
}

/// Checks the size and position of the picture, and the coded extent.
pub fn check_extent(constraints: &ImageConstraints, layout: &Layout) -> Result<(), Broken> {
    let (extent, visible) = (layout.extent(), layout.visible());
    let check = |pixels: u32, (minimum, maximum, multiple_of): (u32, u32, u32), what: &str| {
        demand(
            minimum <= pixels && pixels <= maximum && divides(multiple_of.into(), pixels.into()),
            || format!("{what} of {pixels}"),
        )
    };
    let (width, height) = (&constraints.width, &constraints.height);
    for (pixels, side) in [(visible.width(), width), (visible.height(), height)] {
        check(
            pixels,
            (side.minimum, side.maximum, side.multiple_of),
            "a side",
        )?;
    }
    let Some(coded) = &constraints.coded else {
        return Ok(());
    };
    for (pixels, side) in [
        (extent.width(), &coded.width),
        (extent.height(), &coded.height),
    ] {
        check(
            pixels,
            (side.minimum, side.maximum, side.multiple_of),
            "a coded side",
        )?;
    }
    for (pixels, offset) in [(visible.x(), &coded.x), (visible.y(), &coded.y)] {
        check(
            pixels,
            (offset.minimum, offset.maximum, offset.multiple_of),
            "an offset",
        )?;
    }
    Ok(())
}

/// Returns the number of bytes that the pixels take without padding.
pub fn unpadded_bytes(info: &FormatInfo, layout: &Layout) -> u64 {
    info.planes
        .iter()
        .map(|plane| {
            let columns = layout.extent().width().div_ceil(plane.hsub);
            u64::from(columns * plane.block_bytes)
                * u64::from(layout.extent().height().div_ceil(plane.vsub))
        })
        .sum()
}
