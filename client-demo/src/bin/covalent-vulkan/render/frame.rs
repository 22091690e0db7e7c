//! The push constants of a frame.

use covalent_alloc::model::Layout;
use covalent_client_demo::pattern::strip_cells;

/// The number of frames in which the cube rotates once.
const SCENE_PERIOD: u32 = 240;
/// The number of frames in which the lens completes its path once.
const LENS_PERIOD: u32 = 180;

/// The push constants of a frame: `Frame` in `shaders.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    size: (u32, u32),
    cells: u32,
    bands: u32,
    picture_rect: [f32; 4],
    lens: [f32; 3],
    angle: f32,
    sampled_rect: [f32; 4],
    sampled_limits: [f32; 4],
    origin: [f32; 2],
}

/// The rectangle of a whole texture: corner and size in texture coordinates.
const WHOLE_TEXTURE: [f32; 4] = [0.0, 0.0, 1.0, 1.0];

impl Frame {
    /// The size of the push constants in bytes.
    pub(crate) const BYTES: usize = 88;

    /// Returns the push constants for frame `number` of the scene. Every band begins with a strip that encodes the number.
    pub(crate) fn of_scene(number: u32, size: (u32, u32)) -> Self {
        Self {
            size,
            cells: strip_cells(number),
            bands: 8,
            picture_rect: [0.0; 4],
            lens: [0.0, 0.0, 1.0],
            angle: std::f32::consts::TAU * fraction_of(number, SCENE_PERIOD),
            sampled_rect: WHOLE_TEXTURE,
            sampled_limits: WHOLE_TEXTURE,
            origin: [0.0; 2],
        }
    }

    /// Returns the push constants for frame `number` over a camera's picture of the size `picture`. Only the first band begins
    /// with a strip that encodes the number. The lens stays in the lower half, so that the upper half shows the picture
    /// unchanged.
    pub(crate) fn of_camera(number: u32, size: (u32, u32), picture: (u32, u32)) -> Self {
        let picture_rect = fitted(picture, size);
        let [left, top, width, height] = picture_rect;
        let lens_angle = std::f32::consts::TAU * fraction_of(number, LENS_PERIOD);
        Self {
            size,
            cells: strip_cells(number),
            bands: 1,
            picture_rect,
            lens: [
                left + width * (0.5 + 0.3 * lens_angle.cos()),
                top + height * (0.75 + 0.05 * lens_angle.sin()),
                0.18 * height,
            ],
            angle: 0.0,
            sampled_rect: WHOLE_TEXTURE,
            sampled_limits: WHOLE_TEXTURE,
            origin: [0.0; 2],
        }
    }

    /// Returns the push constants with the picture restricted to the visible rectangle of a texture's layout. The sample
    /// positions are clamped, so that the filter reads no pixel outside of the picture.
    pub(crate) fn sampled_from(self, layout: &Layout) -> Self {
        if !layout.is_cropped() {
            return self;
        }
        let (visible, extent) = (layout.visible(), layout.extent());
        let (width, height) = (pixels(extent.width()), pixels(extent.height()));
        let (x, y) = (pixels(visible.x()), pixels(visible.y()));
        let (wide, high) = (pixels(visible.width()), pixels(visible.height()));
        // With subsampled chroma, the centre of the outermost chroma sample is one pixel inside the picture instead of half a
        // pixel.
        let is_subsampled = layout.format().fourcc.info().is_none_or(|info| info.is_yuv);
        let edge = if is_subsampled { 1.0 } else { 0.5 };
        Self {
            sampled_rect: [x / width, y / height, wide / width, high / height],
            sampled_limits: [
                (x + edge) / width,
                (y + edge) / height,
                (x + wide - edge) / width,
                (y + high - edge) / height,
            ],
            ..self
        }
    }

    /// Returns the push constants with the drawing restricted to the visible rectangle of a render target's layout.
    pub(crate) fn drawn_to(self, layout: &Layout) -> Self {
        let visible = layout.visible();
        Self {
            origin: [pixels(visible.x()), pixels(visible.y())],
            ..self
        }
    }

    /// Returns the bytes of the push constants, as the shaders declare them.
    pub(crate) fn bytes(&self) -> [u8; Self::BYTES] {
        let whole = [self.size.0, self.size.1, self.cells, self.bands];
        let parts = self
            .picture_rect
            .iter()
            .chain(&self.lens)
            .chain([&self.angle])
            .chain(&self.sampled_rect)
            .chain(&self.sampled_limits)
            .chain(&self.origin);
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

/// Returns the remainder of `number` divided by `whole`, as a fraction of `whole`.
fn fraction_of(number: u32, whole: u32) -> f32 {
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
    use covalent_alloc::model::{Extent, Fourcc, Rect};

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
        assert_eq!(bytes[44..48], frame.angle.to_ne_bytes());
        assert_eq!(bytes[56..60], 1.0_f32.to_ne_bytes());
        assert_eq!(bytes[80..], [0; 8]);
    }

    #[test]
    fn camera_of_a_cropped_buffer_is_sampled_inside_of_its_picture() {
        let visible = Rect::new(0, 8, Extent::new(640, 472).unwrap());
        let layout = |fourcc| {
            Layout::linear(Extent::new(640, 480).unwrap(), fourcc, 1, 0)
                .and_then(|layout| layout.with_visible(visible))
                .unwrap()
        };
        let frame = Frame::of_camera(1, (640, 472), (640, 472));
        let cropped = frame.sampled_from(&layout(Fourcc::XRGB8888));
        assert_eq!(cropped.sampled_rect, [0.0, 8.0 / 480.0, 1.0, 472.0 / 480.0]);
        assert_eq!(cropped.sampled_limits[1], 8.5 / 480.0);
        assert_eq!(cropped.sampled_limits[3], 479.5 / 480.0);
        let yuv = frame.sampled_from(&layout(Fourcc::NV12));
        assert_eq!(yuv.sampled_limits[1], 9.0 / 480.0);
        assert_eq!(frame.drawn_to(&layout(Fourcc::XRGB8888)).origin, [0.0, 8.0]);
        let whole = Layout::linear(Extent::new(640, 480).unwrap(), Fourcc::NV12, 1, 0).unwrap();
        assert_eq!(frame.sampled_from(&whole).drawn_to(&whole), frame);
    }
}
