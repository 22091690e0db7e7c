//! The planes of YUV buffers as textures.
//!
//! Each plane is imported as a texture with one, two or four bytes per texel. Every driver can sample such a texture without a
//! YUV conversion. The shader converts YUV to RGB, so the colours depend only on the client's color representation and not on the
//! driver.

use smithay::backend::allocator::Fourcc;
use smithay::backend::renderer::Texture as _;
use smithay::backend::renderer::gles::GlesTexture;

use crate::render::format::PixelFormat;

/// An EGL image of one plane of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlaneImage {
    /// The index of the plane.
    pub(super) plane: usize,
    /// The number of bytes per texel: 1, 2 or 4.
    pub(super) bytes: usize,
    /// The number of the buffer's columns and rows that one texel covers.
    pub(super) divisor: (usize, usize),
}

impl PlaneImage {
    const fn new(plane: usize, bytes: usize, divisor: (usize, usize)) -> Self {
        Self {
            plane,
            bytes,
            divisor,
        }
    }

    /// Returns the format in which EGL imports the image. Its channels red, green, blue and alpha are in the order of the bytes.
    pub(super) const fn fourcc(self) -> Fourcc {
        match self.bytes {
            1 => Fourcc::R8,
            2 => Fourcc::Gr88,
            _ => Fourcc::Abgr8888,
        }
    }

    /// Returns the width and height in texels for a buffer of the given size.
    pub(super) const fn size(self, (width, height): (usize, usize)) -> (usize, usize) {
        (
            width.div_ceil(self.divisor.0),
            height.div_ceil(self.divisor.1),
        )
    }
}

/// Returns the images of a YUV format: the luma image first, then the chroma images. The result is empty for RGB.
pub(super) const fn images(format: PixelFormat) -> &'static [PlaneImage] {
    const SEMI_PLANAR: [PlaneImage; 2] =
        [PlaneImage::new(0, 1, (1, 1)), PlaneImage::new(1, 2, (2, 2))];
    const DEEP: [PlaneImage; 2] = [PlaneImage::new(0, 2, (1, 1)), PlaneImage::new(1, 4, (2, 2))];
    const PLANAR: [PlaneImage; 3] = [
        PlaneImage::new(0, 1, (1, 1)),
        PlaneImage::new(1, 1, (2, 2)),
        PlaneImage::new(2, 1, (2, 2)),
    ];
    // Both images show the same bytes. A texel of the first covers one pixel (luma and one chroma sample). A texel of the second
    // covers a pair of pixels (two luma and two chroma samples).
    const PACKED: [PlaneImage; 2] = [PlaneImage::new(0, 2, (1, 1)), PlaneImage::new(0, 4, (2, 1))];
    match format {
        PixelFormat::Nv12 | PixelFormat::Nv21 => &SEMI_PLANAR,
        PixelFormat::P010 => &DEEP,
        PixelFormat::Yuv420 => &PLANAR,
        PixelFormat::Yuyv | PixelFormat::Uyvy => &PACKED,
        _ => &[],
    }
}

/// The weights of a texel's channels in luma and chroma.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SampleWeights {
    pub(super) y: [f32; 4],
    pub(super) u: [f32; 4],
    pub(super) v: [f32; 4],
}

impl SampleWeights {
    pub(super) const fn of(format: PixelFormat) -> Self {
        const RED: [f32; 4] = [1.0, 0.0, 0.0, 0.0];
        const GREEN: [f32; 4] = [0.0, 1.0, 0.0, 0.0];
        const BLUE: [f32; 4] = [0.0, 0.0, 1.0, 0.0];
        const ALPHA: [f32; 4] = [0.0, 0.0, 0.0, 1.0];
        // A 16-bit sample is in two channels, the lower byte first: (low + 256 × high) × 255 / 65535.
        const LOW: f32 = 1.0 / 257.0;
        const HIGH: f32 = 256.0 / 257.0;
        let (y, u, v) = match format {
            PixelFormat::Nv21 => (RED, GREEN, RED),
            PixelFormat::Yuv420 => (RED, RED, RED),
            PixelFormat::Yuyv => (RED, GREEN, ALPHA),
            PixelFormat::Uyvy => (GREEN, RED, BLUE),
            PixelFormat::P010 => (
                [LOW, HIGH, 0.0, 0.0],
                [LOW, HIGH, 0.0, 0.0],
                [0.0, 0.0, LOW, HIGH],
            ),
            _ => (RED, RED, GREEN),
        };
        Self { y, u, v }
    }
}

/// The textures of the planes of a YUV buffer.
#[derive(Clone, Debug)]
pub(super) struct PlaneTextures {
    pub(super) luma: GlesTexture,
    /// The textures with the U and the V samples. Both may be the same texture.
    pub(super) chroma: [GlesTexture; 2],
}

impl PlaneTextures {
    /// Takes the textures that were created for [`images`]; `None` if there are too few.
    pub(super) fn new(textures: Vec<GlesTexture>) -> Option<Self> {
        let mut textures = textures.into_iter();
        let luma = textures.next()?;
        let u = textures.next()?;
        let v = textures.next().unwrap_or_else(|| u.clone());
        Some(Self {
            luma,
            chroma: [u, v],
        })
    }

    pub(super) fn luma_size(&self) -> [f32; 2] {
        size(&self.luma)
    }

    pub(super) fn chroma_size(&self) -> [f32; 2] {
        size(&self.chroma[0])
    }
}

/// Returns the size of a texture in pixels for a shader.
fn size(texture: &GlesTexture) -> [f32; 2] {
    let side = |pixels: u32| u16::try_from(pixels).map_or(f32::MAX, f32::from);
    [side(texture.width()), side(texture.height())]
}

/// The texture of a layer.
#[derive(Clone, Debug)]
pub(super) enum LayerTexture {
    /// A texture that is sampled as RGB.
    Rgb(GlesTexture),
    /// The textures of the planes of a YUV buffer.
    Planes(PlaneTextures),
}

impl LayerTexture {
    /// Returns the texture that has the size of the buffer, which is the luma texture for YUV.
    pub(super) fn main(&self) -> &GlesTexture {
        match self {
            Self::Rgb(texture) => texture,
            Self::Planes(textures) => &textures.luma,
        }
    }
}
