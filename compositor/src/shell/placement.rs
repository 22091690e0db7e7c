//! The position of a new window: the first place where it covers no other window. If there is none, the windows are cascaded.

use crate::region::Rect;

/// The distance between the corners of cascaded windows, in logical pixels.
const CASCADE_STEP: i32 = 32;

/// The maximum number of other windows that the search for a free place considers. The time of the search grows with the third
/// power of this number.
const AVOIDED_MAX: usize = 24;

/// Returns the upper left corner of a new window of this size in an area. The window covers none of the other windows if there is
/// room for it. `others` are the rectangles of the windows, the highest first.
pub(crate) fn place((width, height): (i32, i32), area: Rect, others: &[Rect]) -> (i32, i32) {
    let others = others.get(..AVOIDED_MAX).unwrap_or(others);
    let (width, height) = (width.max(1), height.max(1));
    let free = free_place((width, height), area, others);
    free.unwrap_or_else(|| cascade((width, height), area, others))
}

/// Returns the first free place, from the top to the bottom and from the left to the right. Such a place begins at the edge of
/// the area or at the edge of a window.
fn free_place((width, height): (i32, i32), area: Rect, others: &[Rect]) -> Option<(i32, i32)> {
    let starts = |first: i32, edges: fn(&Rect) -> [i32; 2], size: i32| {
        let sides = others.iter().map(edges);
        let mut starts: Vec<i32> = sides
            .flat_map(|[start, end]| [start.saturating_sub(size), end])
            .chain([first])
            .collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    };
    let columns = starts(area.x, |rect| [rect.x, rect.right()], width);
    let rows = starts(area.y, |rect| [rect.y, rect.bottom()], height);
    for y in rows {
        for x in columns.iter().copied() {
            let place = Rect::new(x, y, width, height);
            let is_free = others.iter().all(|rect| rect.intersection(place).is_none());
            if area.contains(place) && is_free {
                return Some((x, y));
            }
        }
    }
    None
}

/// Returns the first place on the diagonal of the area at which no window begins.
fn cascade((width, height): (i32, i32), area: Rect, others: &[Rect]) -> (i32, i32) {
    let room = |space: i32, size: i32| space.saturating_sub(size).max(0);
    let room = (room(area.width, width), room(area.height, height));
    let corner = |step: i32| {
        let offset = step.saturating_mul(CASCADE_STEP);
        (
            area.x.saturating_add(offset.min(room.0)),
            area.y.saturating_add(offset.min(room.1)),
        )
    };
    let is_used = |corner: (i32, i32)| others.iter().any(|rect| (rect.x, rect.y) == corner);
    let steps = 0..=room.0.max(room.1) / CASCADE_STEP;
    let mut corners = steps.map(corner);
    // If another window begins at each of these places, the first place is returned.
    corners
        .find(|corner| !is_used(*corner))
        .unwrap_or_else(|| corner(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Rect = Rect::new(100, 50, 640, 480);

    #[test]
    fn window_with_room_covers_no_other() {
        let mut others = vec![Rect::new(320, 200, 200, 180)];
        for _ in 0..6 {
            let (x, y) = place((200, 150), AREA, &others);
            let new = Rect::new(x, y, 200, 150);
            assert!(AREA.contains(new), "{new:?}");
            let covered = others.iter().find(|rect| rect.intersection(new).is_some());
            assert_eq!(covered, None, "{new:?}");
            others.push(new);
        }
        // The first places are the upper row.
        assert_eq!(
            others.get(1..4).unwrap().iter().map(|rect| rect.y).max(),
            Some(50)
        );
    }

    #[test]
    fn windows_without_room_begin_at_different_corners_within_the_area() {
        let mut others = vec![AREA];
        for step in 1..5 {
            let corner = place((400, 400), AREA, &others);
            let offset = step * CASCADE_STEP;
            assert_eq!(corner, (100 + offset, 50 + offset.min(80)));
            others.insert(0, Rect::new(corner.0, corner.1, 400, 400));
        }
    }

    #[test]
    fn window_of_any_size_begins_within_the_area() {
        for size in [0, 1, 640, 641, i32::MAX] {
            let (x, y) = place((size, size), AREA, &[AREA]);
            assert!((100..740).contains(&x) && (50..530).contains(&y), "{size}");
        }
        let far = Rect::new(i32::MIN, i32::MAX, i32::MAX, i32::MAX);
        assert_eq!(place((10, 10), AREA, &[far]), (100, 50));
    }
}
