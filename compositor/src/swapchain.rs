//! The swapchain of output buffers. Each buffer has its own damage, as in wlroots' damage ring.

use crate::region::{Rect, Region};
use crate::render::Target;

/// Output buffers of one size, and which of them are submitted and shown.
#[derive(Debug)]
pub struct Swapchain {
    slots: Vec<Slot>,
    shown: Option<usize>,
    next: Option<usize>,
}

/// A buffer of the swapchain, with the region that must be drawn before the buffer can be shown.
#[derive(Debug)]
struct Slot {
    target: Target,
    damage: Region,
}

impl Swapchain {
    /// Creates a swapchain of buffers that were not drawn into yet. At least two are needed, so that one can be drawn into while
    /// another is shown.
    pub fn new(targets: Vec<Target>) -> Self {
        let slots = targets
            .into_iter()
            .map(|target| Slot {
                damage: full_rect(&target).into(),
                target,
            })
            .collect();
        Self {
            slots,
            shown: None,
            next: None,
        }
    }

    /// Adds damage to the damage of every buffer.
    pub fn damage(&mut self, damage: &Region) {
        for slot in &mut self.slots {
            slot.damage.merge(damage);
            slot.damage.simplify();
        }
    }

    /// Damages every buffer completely.
    pub fn damage_all(&mut self) {
        for slot in &mut self.slots {
            slot.damage = full_rect(&slot.target).into();
        }
    }

    /// Unmaps all buffers, because nothing is composed for a while, and damages them completely.
    pub fn unmap_all(&mut self) {
        self.damage_all();
        for slot in &mut self.slots {
            slot.target.unmap();
        }
    }

    /// Adds buffers of the same size, for example the buffers of another renderer.
    pub fn add(&mut self, targets: Vec<Target>) {
        let added = Self::new(targets);
        self.slots.extend(added.slots);
    }

    /// Returns whether the swapchain has buffers that the GPU draws to.
    pub fn has_gpu_buffers(&self) -> bool {
        self.slots.iter().any(|slot| slot.target.dmabuf().is_some())
    }

    /// Returns a free buffer that the CPU draws into, in the same way as [`acquire_gpu`](Self::acquire_gpu).
    pub fn acquire(&mut self) -> Option<(usize, &mut Target, Region)> {
        self.acquire_where(|target| target.dmabuf().is_none())
    }

    /// Returns a buffer that the GPU renders to and that is neither shown nor submitted: its index, the buffer and its damage.
    ///
    /// Of several such buffers, the one with the least damage is returned. It returns `None` if all are in use.
    pub fn acquire_gpu(&mut self) -> Option<(usize, &mut Target, Region)> {
        self.acquire_where(|target| target.dmabuf().is_some())
    }

    /// Returns the buffer with the least damage of those that are neither shown nor submitted and for which `fits` returns true.
    fn acquire_where(
        &mut self,
        fits: impl Fn(&Target) -> bool,
    ) -> Option<(usize, &mut Target, Region)> {
        let (shown, next) = (self.shown, self.next);
        let index = (0..self.slots.len())
            .filter(|index| Some(*index) != shown && Some(*index) != next)
            .filter(|index| fits(&self.slots[*index].target))
            .min_by_key(|index| self.slots[*index].damage.area())?;
        let slot = self.slots.get_mut(index)?;
        let damage = slot.damage.clone();
        Some((index, &mut slot.target, damage))
    }

    /// Clears the damage of the buffer at `index`, because it was drawn into.
    pub fn mark_drawn(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.damage = Region::default();
        }
    }

    /// Returns the buffer on the display if it has no damage, so that the next frame can show it again without drawing.
    pub fn undamaged(&self) -> Option<usize> {
        let shown = self.shown.filter(|_| self.next.is_none())?;
        let slot = self.slots.get(shown)?;
        slot.damage.is_empty().then_some(shown)
    }

    /// Records which buffer was submitted; `None` for a framebuffer outside of this swapchain.
    pub fn submitted(&mut self, index: Option<usize>) {
        self.next = index;
    }

    /// Records that the submitted buffer is shown now.
    pub fn flipped(&mut self) {
        self.shown = self.next.take();
    }

    /// Handles an abandoned frame. Its buffer counts as shown, because it may be on the display.
    ///
    /// The buffer that was shown before becomes free. If both were kept, a swapchain of two buffers would have no buffer to draw
    /// into.
    pub fn abandoned(&mut self) {
        if let Some(next) = self.next.take() {
            self.shown = Some(next);
        }
    }

    /// Returns the total number of bytes that were written to buffers in memory of this process.
    pub fn written_bytes(&self) -> u64 {
        self.slots
            .iter()
            .map(|slot| slot.target.written_bytes())
            .sum()
    }

    /// Returns the buffer at `index`.
    pub fn target(&self, index: usize) -> Option<&Target> {
        self.slots.get(index).map(|slot| &slot.target)
    }
}

/// Returns the rectangle of the whole buffer.
fn full_rect(target: &Target) -> Rect {
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
    fn swapchain_never_returns_a_buffer_that_is_shown_or_submitted() {
        let mut chain = Swapchain::new(vec![Target::memory(4, 4), Target::memory(4, 4)]);
        let (first, _, damage) = chain.acquire().unwrap();
        assert_eq!(damage.area(), 16);
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
    fn buffer_of_an_abandoned_frame_leaves_another_to_draw() {
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
    fn buffer_on_the_display_is_shown_again_while_it_has_no_damage() {
        let mut chain = Swapchain::new(vec![Target::memory(4, 4), Target::memory(4, 4)]);
        assert_eq!(chain.undamaged(), None);
        let (index, _, _) = chain.acquire().unwrap();
        chain.mark_drawn(index);
        chain.submitted(Some(index));
        assert_eq!(chain.undamaged(), None);
        chain.flipped();
        assert_eq!(chain.undamaged(), Some(index));
        chain.submitted(Some(index));
        chain.flipped();
        assert_eq!(chain.undamaged(), Some(index));
        chain.damage(&Rect::of_size(1, 1).into());
        assert_eq!(chain.undamaged(), None);
    }

    #[test]
    fn buffer_drawn_before_has_only_the_damage_since() {
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
