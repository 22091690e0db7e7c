//! The compositor's own pictures: one is shown, another is drawn, and each remembers what it misses.

use crate::region::{Rect, Region};
use crate::render::Target;

/// Pictures of one size that take turns.
#[derive(Debug)]
pub struct Swapchain {
    slots: Vec<Slot>,
    shown: Option<usize>,
    next: Option<usize>,
}

#[derive(Debug)]
struct Slot {
    target: Target,
    stale: Region,
}

impl Swapchain {
    /// Takes pictures that nothing was drawn to yet; there must be at least two for one to be drawn while another is shown.
    pub fn new(targets: Vec<Target>) -> Self {
        let slots = targets
            .into_iter()
            .map(|target| Slot {
                stale: whole(&target).into(),
                target,
            })
            .collect();
        Self {
            slots,
            shown: None,
            next: None,
        }
    }

    /// Notes that these pixels differ from what every picture holds.
    pub fn damage(&mut self, damage: &Region) {
        for slot in &mut self.slots {
            slot.stale.merge(damage);
            slot.stale.simplify();
        }
    }

    /// Notes that no picture holds anything of use any more.
    pub fn damage_all(&mut self) {
        for slot in &mut self.slots {
            slot.stale = whole(&slot.target).into();
        }
    }

    /// Lets go of everything that only drawing needs, for a time in which nothing is drawn.
    pub fn unmap_all(&mut self) {
        self.damage_all();
        for slot in &mut self.slots {
            slot.target.unmap();
        }
    }

    /// Takes more pictures of the same size, such as another renderer's.
    pub fn add(&mut self, targets: Vec<Target>) {
        let more = Self::new(targets);
        self.slots.extend(more.slots);
    }

    /// Tells whether there are pictures that the GPU draws to.
    pub fn has_gpu_buffers(&self) -> bool {
        self.slots.iter().any(|slot| slot.target.dmabuf().is_some())
    }

    /// Returns a picture that the CPU draws to, as [`acquire_gpu`](Self::acquire_gpu) does for the GPU.
    pub fn acquire(&mut self) -> Option<(usize, &mut Target, Region)> {
        self.acquire_where(|target| target.dmabuf().is_none())
    }

    /// Returns a picture that the GPU draws to and that is neither shown nor about to be, its place, and the pixels it misses.
    ///
    /// The one that misses least is chosen; there is none when all are in use.
    pub fn acquire_gpu(&mut self) -> Option<(usize, &mut Target, Region)> {
        self.acquire_where(|target| target.dmabuf().is_some())
    }

    fn acquire_where(
        &mut self,
        fits: impl Fn(&Target) -> bool,
    ) -> Option<(usize, &mut Target, Region)> {
        let (shown, next) = (self.shown, self.next);
        let index = (0..self.slots.len())
            .filter(|index| Some(*index) != shown && Some(*index) != next)
            .filter(|index| fits(&self.slots[*index].target))
            .min_by_key(|index| self.slots[*index].stale.area())?;
        let slot = self.slots.get_mut(index)?;
        let stale = slot.stale.clone();
        Some((index, &mut slot.target, stale))
    }

    /// Notes that the picture at `place` holds everything now.
    pub fn mark_drawn(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.stale = Region::default();
        }
    }

    /// Notes which picture goes on the display next; `None` for one that is not of this chain.
    pub fn submitted(&mut self, index: Option<usize>) {
        self.next = index;
    }

    /// Notes that the picture that went last is on the display now.
    pub fn flipped(&mut self) {
        self.shown = self.next.take();
    }

    /// Notes that nobody knows whether the picture that went last is on the display: it counts as shown.
    ///
    /// Were the one before kept as well, none might be left to draw.
    pub fn abandoned(&mut self) {
        if let Some(next) = self.next.take() {
            self.shown = Some(next);
        }
    }

    /// Counts the bytes that were ever written to pictures in memory of this process.
    pub fn written_bytes(&self) -> u64 {
        self.slots
            .iter()
            .map(|slot| slot.target.written_bytes())
            .sum()
    }

    /// Returns the picture at `place`.
    pub fn target(&self, index: usize) -> Option<&Target> {
        self.slots.get(index).map(|slot| &slot.target)
    }
}

fn whole(target: &Target) -> Rect {
    let (width, height) = target.size();
    Rect::of_size(
        i32::try_from(width).unwrap_or(i32::MAX),
        i32::try_from(height).unwrap_or(i32::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapchain_never_hands_out_what_is_shown_or_about_to_be() {
        let mut chain = Swapchain::new(vec![Target::memory(4, 4), Target::memory(4, 4)]);
        let (first, _, stale) = chain.acquire().unwrap();
        assert_eq!(stale.area(), 16);
        chain.mark_drawn(first);
        chain.submitted(Some(first));
        let (second, _, _) = chain.acquire().unwrap();
        assert_ne!(first, second);
        chain.flipped();
        assert_eq!(chain.acquire().unwrap().0, second);
        chain.submitted(Some(second));
        assert!(chain.acquire().is_none());
    }

    #[test]
    fn picture_of_a_frame_that_was_given_up_leaves_one_to_draw() {
        let mut chain = Swapchain::new(vec![Target::memory(4, 4), Target::memory(4, 4)]);
        for _ in 0..2 {
            let (index, _, _) = chain.acquire().unwrap();
            chain.submitted(Some(index));
            chain.flipped();
        }
        let (index, _, _) = chain.acquire().unwrap();
        chain.submitted(Some(index));
        chain.abandoned();
        assert_ne!(chain.acquire().unwrap().0, index);
    }

    #[test]
    fn picture_drawn_before_misses_only_what_changed_since() {
        let mut chain = Swapchain::new(vec![Target::memory(4, 4), Target::memory(4, 4)]);
        for _ in 0..2 {
            let (index, _, _) = chain.acquire().unwrap();
            chain.mark_drawn(index);
            chain.submitted(Some(index));
            chain.flipped();
        }
        let corner = Region::from(Rect::of_size(1, 1));
        chain.damage(&corner);
        assert_eq!(chain.acquire().unwrap().2, corner);
    }
}
