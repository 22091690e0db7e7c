//! The damage of the latest frames of an output, from which the damage since a client's previous capture is computed.

use std::collections::VecDeque;

use crate::region::{Rect, Region};
use crate::scene::{Scene, ShownScene};

/// The number of frames whose damage is kept. The damage of a client that did not capture for longer is the whole output.
const FRAMES_MAX: usize = 16;

/// What changes in a frame.
#[derive(Clone, Debug, Default)]
pub struct SceneChanges {
    /// The damage of the background and the surfaces.
    surfaces: Region,
    /// The damage of the pointer.
    cursor: Region,
}

impl SceneChanges {
    /// Computes the changes since the scene `before`, clipped to the output.
    pub fn new(scene: &Scene, before: &ShownScene, output: Rect) -> Self {
        Self {
            surfaces: scene.surface_damage(before, output),
            cursor: scene.cursor_damage(before, output),
        }
    }

    /// Returns whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.surfaces.is_empty() && self.cursor.is_empty()
    }
}

/// The damage of the latest frames of an output.
#[derive(Debug, Default)]
pub(super) struct DamageHistory {
    /// The number of the latest frame.
    frame: u64,
    /// The changes of the latest frames, the oldest first.
    changes: VecDeque<SceneChanges>,
}

impl DamageHistory {
    /// Adds a frame.
    pub(super) fn push(&mut self, changes: SceneChanges) {
        if self.changes.len() >= FRAMES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(changes);
        self.frame = self.frame.saturating_add(1);
    }

    /// Forgets the damage, so that the whole output is damaged since every earlier frame.
    pub(super) fn reset(&mut self) {
        self.changes.clear();
        self.frame = self.frame.saturating_add(1);
    }

    /// Returns the number of the latest frame.
    pub(super) const fn frame(&self) -> u64 {
        self.frame
    }

    /// Returns the damage since the frame with the number `seen`. It is `whole` if `seen` is `None` or too long ago.
    pub(super) fn since(&self, seen: Option<u64>, with_cursor: bool, whole: Rect) -> Region {
        let missed = seen.map(|seen| self.frame.saturating_sub(seen));
        let missed = missed.and_then(|missed| usize::try_from(missed).ok());
        let Some(missed) = missed.filter(|missed| *missed <= self.changes.len()) else {
            return whole.into();
        };
        let mut damage = Region::default();
        for changes in self.changes.iter().rev().take(missed) {
            damage.merge(&changes.surfaces);
            if with_cursor {
                damage.merge(&changes.cursor);
            }
            damage.simplify();
        }
        damage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Rect = Rect::of_size(64, 48);

    fn changes(surface: Rect, cursor: Rect) -> SceneChanges {
        let region = |rect: Rect| -> Region { [rect].into_iter().collect() };
        SceneChanges {
            surfaces: region(surface),
            cursor: region(cursor),
        }
    }

    #[test]
    fn damage_is_that_of_the_frames_since_the_seen_one() {
        let mut history = DamageHistory::default();
        assert_eq!(history.since(None, true, WHOLE), WHOLE.into());
        assert!(history.since(Some(0), true, WHOLE).is_empty());
        let (left, right) = (Rect::of_size(4, 4), Rect::new(20, 0, 4, 4));
        let pointer = Rect::new(40, 40, 2, 2);
        history.push(changes(left, pointer));
        history.push(changes(right, pointer));
        assert_eq!(history.since(Some(0), false, WHOLE).area(), 32);
        assert_eq!(history.since(Some(0), true, WHOLE).area(), 36);
        assert_eq!(history.since(Some(1), false, WHOLE), right.into());
        assert!(history.since(Some(2), true, WHOLE).is_empty());
    }

    #[test]
    fn damage_since_a_frame_that_is_no_longer_known_is_the_whole_output() {
        let mut history = DamageHistory::default();
        for _ in 0..FRAMES_MAX {
            history.push(SceneChanges::default());
        }
        assert!(history.since(Some(0), true, WHOLE).is_empty());
        history.push(SceneChanges::default());
        assert_eq!(history.since(Some(0), true, WHOLE), WHOLE.into());
        let seen = history.frame();
        history.reset();
        assert_eq!(history.since(Some(seen), true, WHOLE), WHOLE.into());
    }
}
