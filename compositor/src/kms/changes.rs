//! Finds the planes that a commit has to change.

use super::plane::{PlaneFrame, PlaneState};

/// What a commit changes on a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing: the commit has no properties of the plane.
    Keep,
    /// The plane shows the entry of `frames` at this index.
    Show(usize),
    /// The plane is turned off.
    TurnOff,
}

/// Returns the change of each plane from its state after the last commit, `committed`, to its state in `frames`.
///
/// An unchanged plane is not part of the commit, because virtio-gpu transfers the whole framebuffer of each plane in a commit.
/// The commit has all planes in two cases: with `is_modeset`, because the state of the card is not known, and if no plane
/// changes, because the kernel sends no page-flip event for a commit without a plane.
pub(super) fn changes(
    committed: &[Option<PlaneState>],
    frames: &[PlaneFrame<'_>],
    is_modeset: bool,
) -> Vec<Change> {
    let change = |plane: usize, before: Option<PlaneState>, is_complete: bool| {
        let index = frames.iter().position(|frame| frame.plane == plane);
        match index.and_then(|index| Some((index, frames.get(index)?))) {
            Some((index, next)) => {
                let is_changed =
                    next.has_new_content || next.in_fence.is_some() || before != Some(next.state);
                if is_complete || is_changed {
                    Change::Show(index)
                } else {
                    Change::Keep
                }
            }
            None if is_complete || before.is_some() => Change::TurnOff,
            None => Change::Keep,
        }
    };
    let all = |is_complete: bool| -> Vec<Change> {
        let planes = committed.iter().enumerate();
        let planes = planes.map(|(plane, before)| change(plane, *before, is_complete));
        planes.collect()
    };
    let needed = all(is_modeset);
    if needed.iter().all(|change| *change == Change::Keep) {
        return all(true);
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::SourceRect;
    use crate::region::Rect;

    fn state(framebuffer: u32, x: i32) -> PlaneState {
        PlaneState {
            framebuffer: drm::control::from_u32(framebuffer).unwrap(),
            source: SourceRect::whole(Rect::of_size(64, 64)),
            destination: Rect::new(x, 0, 64, 64),
            yuv: None,
            hotspot: (0, 0),
        }
    }

    fn frame(plane: usize, state: PlaneState) -> PlaneFrame<'static> {
        PlaneFrame {
            plane,
            state,
            has_new_content: false,
            damage: None,
            in_fence: None,
        }
    }

    #[test]
    fn moved_cursor_is_the_only_plane_of_a_commit() {
        let committed = [Some(state(7, 0)), None, Some(state(9, 10))];
        let frames = [frame(0, state(7, 0)), frame(2, state(9, 11))];
        let changes = changes(&committed, &frames, false);
        assert_eq!(changes, [Change::Keep, Change::Keep, Change::Show(1)]);
    }

    #[test]
    fn buffer_with_new_content_is_part_of_the_commit_although_it_is_the_same() {
        let committed = [Some(state(7, 0)), Some(state(8, 0))];
        let mut frames = [frame(0, state(7, 0)), frame(1, state(8, 0))];
        frames[1].has_new_content = true;
        let changes = changes(&committed, &frames, false);
        assert_eq!(changes, [Change::Keep, Change::Show(1)]);
    }

    #[test]
    fn plane_that_shows_nothing_any_more_is_turned_off_once() {
        let frames = [frame(0, state(8, 0))];
        let before = [Some(state(7, 0)), Some(state(9, 0))];
        let first = changes(&before, &frames, false);
        assert_eq!(first, [Change::Show(0), Change::TurnOff]);
        let next = changes(&[Some(state(7, 0)), None], &frames, false);
        assert_eq!(next, [Change::Show(0), Change::Keep]);
    }

    #[test]
    fn commit_that_changes_nothing_and_one_with_a_modeset_have_all_planes() {
        let committed = [Some(state(7, 0)), None];
        let frames = [frame(0, state(7, 0))];
        for is_modeset in [false, true] {
            let changes = changes(&committed, &frames, is_modeset);
            assert_eq!(changes, [Change::Show(0), Change::TurnOff]);
        }
    }
}
