//! The constraints of a KMS plane, as its card or a dump of the card reports them.

use covalent_solver::constraint::{
    CodedConstraints, Crop, FormatSet, ImageConstraints, Participant, PlaneKind,
};

/// The number of buffers that a plane holds: the one that is scanned out, and the next one.
const BUFFERS_HELD: u32 = 2;

/// The minimum and maximum size of a framebuffer that a plane can show, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneSizes {
    /// The minimum and maximum width. For a cursor plane, the maximum width is [`PlaneSizes::max_cursor_size`].
    pub widths: (u32, u32),
    /// The minimum and maximum height. For a cursor plane, the maximum height is [`PlaneSizes::max_cursor_size`].
    pub heights: (u32, u32),
}

impl PlaneSizes {
    /// Returns the maximum width or height of a cursor from the value of its capability; `None` or 0 if the driver reports none.
    ///
    /// # References
    /// `drm.h`, DRM_CAP_CURSOR_WIDTH and DRM_CAP_CURSOR_HEIGHT: 64 if a driver does not report it.
    #[must_use]
    pub fn max_cursor_size(reported: Option<u64>) -> u32 {
        reported
            .and_then(|pixels| u32::try_from(pixels).ok())
            .filter(|pixels| *pixels > 0)
            .unwrap_or(64)
    }

    /// Sets the formats, sizes and number of buffers that a plane of this kind requires.
    pub fn constrain(&self, participant: &mut Participant, kind: PlaneKind, formats: &FormatSet) {
        let mut image = ImageConstraints::default();
        let (widths, heights) = (self.widths, self.heights);
        (image.width.maximum, image.height.maximum) = (widths.1, heights.1);
        // The framebuffer has the size of the coded extent, and the plane's source rectangle selects the picture in it. A cursor
        // plane shows the whole framebuffer.
        if kind != PlaneKind::Cursor {
            let mut coded = CodedConstraints::default();
            (coded.width.maximum, coded.height.maximum) = (widths.1, heights.1);
            image.coded = Some(coded);
            image.crop = Crop::Anywhere;
        }
        (image.width.minimum, image.height.minimum) = (widths.0.max(1), heights.0.max(1));
        participant.for_each_choice(|own| {
            own.formats = Some(formats.clone());
            own.buffers_held = BUFFERS_HELD;
            own.image = image.clone();
        });
    }
}
