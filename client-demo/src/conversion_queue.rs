//! Which captured frame is converted next, and into which picture. A converter that is too slow loses frames and delays nobody.
//!
//! ```text
//!   camera ── offer ──▶ waiting ── begin_next ──▶ converted ── finish ──▶ display
//!                │         │ with a free picture                            │
//!                └ older ──┘                              give_back ◀───────┘
//! ```
//! At most one frame is converted and one waits. A newer frame replaces the one that waits.

/// The frames between a camera and its converter. `Frame` identifies a captured frame and its buffer.
#[derive(Debug)]
pub struct ConversionQueue<Frame> {
    /// The pictures that no one uses.
    free_pictures: Vec<usize>,
    waiting: Option<Frame>,
    converted: Option<Conversion<Frame>>,
    /// The number of frames that were lost between the last conversion and the frame that waits.
    lost: u32,
    /// The number of frames that were lost after the frame that waits.
    lost_later: u32,
}

/// A frame that is converted into a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion<Frame> {
    /// The captured frame.
    pub frame: Frame,
    /// The index of the picture.
    pub picture: usize,
    /// The number of frames that were lost between the frame that was converted before and this one.
    pub lost: u32,
}

impl<Frame: Copy> Default for ConversionQueue<Frame> {
    fn default() -> Self {
        Self {
            free_pictures: Vec::new(),
            waiting: None,
            converted: None,
            lost: 0,
            lost_later: 0,
        }
    }
}

impl<Frame: Copy> ConversionQueue<Frame> {
    /// Adds a captured frame. Returns the frame that it replaces, whose buffer the camera gets again.
    pub fn offer(&mut self, frame: Frame) -> Option<Frame> {
        let replaced = self.waiting.replace(frame);
        if replaced.is_some() {
            let later = std::mem::take(&mut self.lost_later);
            self.lost = self.lost.saturating_add(1).saturating_add(later);
        }
        replaced
    }

    /// Counts a captured frame that is not converted, because the driver has reported it as damaged.
    pub fn lose(&mut self) {
        let lost = match self.waiting {
            Some(_) => &mut self.lost_later,
            None => &mut self.lost,
        };
        *lost = lost.saturating_add(1);
    }

    /// Begins the next conversion; `None` if another one is not finished, or no frame or no picture is there.
    pub fn begin_next(&mut self) -> Option<Conversion<Frame>> {
        if self.converted.is_some() {
            return None;
        }
        let frame = self.waiting?;
        let picture = self.free_pictures.pop()?;
        self.waiting = None;
        let conversion = Conversion {
            frame,
            picture,
            lost: std::mem::replace(&mut self.lost, std::mem::take(&mut self.lost_later)),
        };
        self.converted = Some(conversion);
        Some(conversion)
    }

    /// Ends the conversion. The display gets its picture, and the camera the buffer of its frame.
    pub fn finish(&mut self) -> Option<Conversion<Frame>> {
        self.converted.take()
    }

    /// Takes back a picture that the display does not read any more.
    pub fn give_back(&mut self, picture: usize) {
        if !self.free_pictures.contains(&picture) {
            self.free_pictures.push(picture);
        }
    }

    /// Returns whether a captured frame would be converted, now or after the current conversion.
    #[must_use]
    pub fn has_picture(&self) -> bool {
        self.converted.is_some() || !self.free_pictures.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_pictures(count: usize) -> ConversionQueue<u32> {
        let mut queue = ConversionQueue::default();
        (0..count).for_each(|picture| queue.give_back(picture));
        queue
    }

    #[test]
    fn frames_that_come_during_a_conversion_replace_each_other_and_are_counted() {
        let mut queue = with_pictures(2);
        assert_eq!(queue.begin_next(), None);
        assert_eq!(queue.offer(10), None);
        let first = queue.begin_next().unwrap();
        assert_eq!((first.frame, first.lost), (10, 0));
        assert_eq!(queue.offer(11), None);
        assert_eq!(queue.begin_next(), None);
        assert_eq!(queue.offer(12), Some(11));
        queue.lose();
        assert_eq!(queue.offer(14), Some(12));
        assert_eq!(queue.finish(), Some(first));
        let second = queue.begin_next().unwrap();
        assert_eq!((second.frame, second.lost), (14, 3));
        assert_ne!(second.picture, first.picture);
    }

    #[test]
    fn frame_that_is_lost_after_the_one_that_waits_is_counted_with_the_next() {
        let mut queue = with_pictures(3);
        queue.lose();
        queue.offer(1);
        queue.lose();
        assert_eq!(queue.begin_next().unwrap().lost, 1);
        queue.finish();
        queue.offer(3);
        assert_eq!(queue.begin_next().unwrap().lost, 1);
    }

    #[test]
    fn frame_waits_until_the_display_gives_a_picture_back() {
        let mut queue = with_pictures(1);
        queue.offer(1);
        let first = queue.begin_next().unwrap();
        queue.finish();
        queue.offer(2);
        assert!(!queue.has_picture());
        assert_eq!(queue.begin_next(), None);
        assert_eq!(queue.offer(3), Some(2));
        queue.give_back(first.picture);
        queue.give_back(first.picture);
        assert!(queue.has_picture());
        let second = queue.begin_next().unwrap();
        assert_eq!((second.frame, second.picture, second.lost), (3, 0, 1));
        queue.finish();
        queue.offer(4);
        assert_eq!(
            queue.begin_next(),
            None,
            "the only picture is on the display"
        );
    }
}
