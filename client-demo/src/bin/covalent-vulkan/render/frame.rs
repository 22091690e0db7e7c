//! The push constants of a frame.

use covalent_client_demo::pattern::strip_cells;

/// The number of frames of one rotation of the scene.
const ROTATION_FRAMES: u32 = 240;
/// The number of frames of one revolution of the lens.
const LENS_FRAMES: u32 = 180;

/// The push constants of a frame: `Frame` in `shaders.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    size: (u32, u32),
    cells: u32,
    bands: u32,
    picture_rect: [f32; 4],
    lens: [f32; 3],
    rotation: f32,
}

impl Frame {
    /// The size of the push constants.
    pub(crate) const BYTES: usize = 48;

    /// Frame `number` of the scene, which begins every band with its number.
    pub(crate) fn of_scene(number: u32, size: (u32, u32)) -> Self {
        Self {
            size,
            cells: strip_cells(number),
            bands: 8,
            picture_rect: [0.0; 4],
            lens: [0.0, 0.0, 1.0],
            rotation: std::f32::consts::TAU * portion(number, ROTATION_FRAMES),
        }
    }

    /// Frame `number` over a camera's picture of a size, which begins only the first band with its number. The lens moves
    /// in a circle in the lower half, so that the upper half shows the unchanged picture.
    pub(crate) fn of_camera(number: u32, size: (u32, u32), picture: (u32, u32)) -> Self {
        let picture_rect = fitted(picture, size);
        let [left, top, width, height] = picture_rect;
        let angle = std::f32::consts::TAU * portion(number, LENS_FRAMES);
        Self {
            size,
            cells: strip_cells(number),
            bands: 1,
            picture_rect,
            lens: [
                left + width * (0.5 + 0.3 * angle.cos()),
                top + height * (0.75 + 0.05 * angle.sin()),
                0.18 * height,
            ],
            rotation: 0.0,
        }
    }

    /// Returns the push constants as the shaders read them.
    pub(crate) fn bytes(&self) -> [u8; Self::BYTES] {
        let whole = [self.size.0, self.size.1, self.cells, self.bands];
        let parts = self
            .picture_rect
            .iter()
            .chain(&self.lens)
            .chain([&self.rotation]);
        let words = whole
            .into_iter()
            .map(u32::to_ne_bytes)
            .chain(parts.map(|part| part.to_ne_bytes()));
        let mut bytes = [0; Self::BYTES];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word);
        }
        bytes
    }
}

/// Returns the rectangle (corner and size in pixels) of a picture that is scaled to fit into `size`.
fn fitted(picture: (u32, u32), size: (u32, u32)) -> [f32; 4] {
    let (width, height) = (pixels(size.0), pixels(size.1));
    let scale = (width / pixels(picture.0)).min(height / pixels(picture.1));
    let (wide, high) = (pixels(picture.0) * scale, pixels(picture.1) * scale);
    [(width - wide) / 2.0, (height - high) / 2.0, wide, high]
}

/// Returns `number` modulo `whole`, as a fraction of `whole`.
fn portion(number: u32, whole: u32) -> f32 {
    pixels(number % whole) / pixels(whole)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "pictures are far less than 2^24 pixels wide"
)]
fn pixels(number: u32) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_of_another_aspect_ratio_is_centred() {
        assert_eq!(fitted((640, 480), (1280, 720)), [160.0, 0.0, 960.0, 720.0]);
        assert_eq!(fitted((640, 480), (640, 480)), [0.0, 0.0, 640.0, 480.0]);
    }

    #[test]
    fn lens_at_any_frame_is_in_the_lower_half_of_the_picture() {
        for number in 0..400 {
            let frame = Frame::of_camera(number, (640, 480), (640, 480));
            let [x, y, radius] = frame.lens;
            assert!(y - radius > 240.0 && y + radius < 480.0, "{frame:?}");
            assert!(x - radius > 0.0 && x + radius < 640.0, "{frame:?}");
        }
    }

    #[test]
    fn bytes_of_a_frame_are_in_the_order_of_the_shader() {
        let frame = Frame::of_scene(5, (640, 480));
        let bytes = frame.bytes();
        assert_eq!(bytes[..4], 640_u32.to_ne_bytes());
        assert_eq!(bytes[8..12], strip_cells(5).to_ne_bytes());
        assert_eq!(bytes[40..44], 1.0_f32.to_ne_bytes());
        assert_eq!(bytes[44..], frame.rotation.to_ne_bytes());
    }
}
