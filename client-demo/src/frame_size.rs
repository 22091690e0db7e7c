//! Checks whether a frame is complete. A driver may return an incomplete frame without the error flag, for example after a lost
//! USB packet.

use covalent_alloc::model::{Layout, Modifier};

/// Returns whether a frame with `bytes_used` bytes in its first memory plane is incomplete. Returns `false` for layouts that are
/// not linear.
#[must_use]
pub fn is_incomplete(layout: &Layout, bytes_used: u32) -> bool {
    needed_bytes(layout).is_some_and(|needed| u64::from(bytes_used) < needed)
}

/// Returns the offset of the end of the picture's last pixel in the first memory plane.
fn needed_bytes(layout: &Layout) -> Option<u64> {
    if layout.format().modifier != Modifier::LINEAR {
        return None;
    }
    let ends = layout
        .planes()
        .iter()
        .enumerate()
        .filter(|(_, place)| place.memory == 0)
        .map(|(plane, place)| {
            let visible = layout.visible_bytes(plane)?;
            let last_row = u64::from(
                visible
                    .first_row
                    .checked_add(visible.rows)?
                    .checked_sub(1)?,
            );
            last_row
                .checked_mul(place.stride_bytes.into())?
                .checked_add(place.offset_bytes)?
                .checked_add(u64::from(visible.first_byte))?
                .checked_add(u64::from(visible.row_bytes))
        });
    ends.collect::<Option<Vec<u64>>>()?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use covalent_alloc::model::{Extent, Fourcc, Rect};

    use super::*;

    fn layout(fourcc: Fourcc, height: u32) -> Layout {
        Layout::linear(Extent::new(64, height).unwrap(), fourcc, 1, 256).unwrap()
    }

    #[test]
    fn frame_without_its_last_pixel_is_short() {
        let packed = layout(Fourcc::YUYV, 16);
        // The padding after the last row is not part of the picture.
        let all = 256 * 15 + 128;
        assert!(!is_incomplete(&packed, all) && is_incomplete(&packed, all - 1));
        assert!(is_incomplete(&packed, 0));
        let planes = layout(Fourcc::NV12, 16);
        let all = 256 * 16 + 256 * 7 + 64;
        assert!(!is_incomplete(&planes, all) && is_incomplete(&planes, all - 1));
    }

    #[test]
    fn rows_below_the_picture_are_not_needed() {
        let picture = Rect::new(0, 0, Extent::new(64, 10).unwrap());
        let cropped = layout(Fourcc::YUYV, 16).with_visible(picture).unwrap();
        assert!(!is_incomplete(&cropped, 256 * 9 + 128));
        assert!(is_incomplete(&cropped, 256 * 9 + 127));
    }
}
