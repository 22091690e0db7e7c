//! The shaders for buffers that OpenGL ES cannot sample as premultiplied RGB.

use smithay::backend::renderer::gles::{
    GlesError, GlesRenderer, GlesTexProgram, Uniform, UniformName, UniformType,
};

use super::planes::{PlaneTextures, SampleWeights};
use crate::render::Encoding;
use crate::render::colour::{Coefficients, QuantizationRange};
use crate::render::format::PixelFormat;

/// The compiled shader programs.
#[derive(Debug)]
pub(super) struct Programs {
    /// Multiplies the colours of straight alpha by alpha.
    pub(super) straight: GlesTexProgram,
    /// Converts YUV, with one texture for each plane.
    pub(super) yuv: GlesTexProgram,
}

/// The start of each shader. Texture coordinates in a large buffer need the highest precision.
const PREAMBLE: &str = "#version 100
//_DEFINES_
#if defined(EXTERNAL)
#extension GL_OES_EGL_image_external : require
precision highp samplerExternalOES;
#endif
precision highp float;
precision highp sampler2D;
#if defined(EXTERNAL)
uniform samplerExternalOES tex;
#else
uniform sampler2D tex;
#endif
uniform float alpha;
varying vec2 v_coords;
";

/// The end of the shader for buffers with straight alpha, which it premultiplies.
const STRAIGHT: &str = "
void main() {
    vec4 color = texture2D(tex, v_coords);
#if defined(NO_ALPHA)
    color.a = 1.0;
#endif
    gl_FragColor = vec4(color.rgb * color.a, color.a) * alpha;
}
";

/// Converts YUV to RGB. If the chroma location is known, the chroma of a pixel is interpolated. Otherwise the pixel gets the
/// chroma sample of the block that contains it.
const YUV: &str = "
uniform sampler2D tex_u;
uniform sampler2D tex_v;
uniform vec4 weights_y;
uniform vec4 weights_u;
uniform vec4 weights_v;
uniform vec3 zero;
uniform vec4 coefficients;
uniform vec2 luma_size;
uniform vec2 chroma_size;
uniform vec2 subsampling;
uniform vec2 location;
uniform float interpolated;

void main() {
    vec2 place = v_coords * luma_size;
    vec2 block = floor(floor(place) / subsampling) + 0.5;
    vec2 between = (place - 0.5 - location) / subsampling + 0.5;
    vec2 at = mix(block, between, interpolated) / chroma_size;
    // Luma below the black level is clamped to the black level.
    float y = max(dot(texture2D(tex, v_coords), weights_y) - zero.x, 0.0);
    float u = dot(texture2D(tex_u, at), weights_u) - zero.y;
    float v = dot(texture2D(tex_v, at), weights_v) - zero.z;
    vec3 color = vec3(
        y + coefficients.x * v,
        y + coefficients.y * u + coefficients.z * v,
        y + coefficients.w * u
    );
    gl_FragColor = vec4(clamp(color, 0.0, 1.0), 1.0) * alpha;
}
";

/// The names of the uniforms of [`YUV`].
const YUV_UNIFORMS: [(&str, UniformType); 12] = [
    ("tex_u", UniformType::_1i),
    ("tex_v", UniformType::_1i),
    ("weights_y", UniformType::_4f),
    ("weights_u", UniformType::_4f),
    ("weights_v", UniformType::_4f),
    ("zero", UniformType::_3f),
    ("coefficients", UniformType::_4f),
    ("luma_size", UniformType::_2f),
    ("chroma_size", UniformType::_2f),
    ("subsampling", UniformType::_2f),
    ("location", UniformType::_2f),
    ("interpolated", UniformType::_1f),
];

/// The texture units of the chroma textures. The luma texture has unit 0.
pub(super) const CHROMA_UNITS: [i32; 2] = [1, 2];

impl Programs {
    /// Compiles the programs.
    ///
    /// # Errors
    ///
    /// When the driver rejects a shader.
    pub(super) fn compile(renderer: &mut GlesRenderer) -> Result<Self, GlesError> {
        let names = YUV_UNIFORMS.map(|(name, kind)| UniformName::new(name, kind));
        Ok(Self {
            straight: renderer
                .compile_custom_texture_shader(format!("{PREAMBLE}{STRAIGHT}"), &[])?,
            yuv: renderer.compile_custom_texture_shader(format!("{PREAMBLE}{YUV}"), &names)?,
        })
    }
}

/// Returns the values of the uniforms that convert a buffer.
pub(super) fn yuv_uniforms(encoding: &Encoding, textures: &PlaneTextures) -> Vec<Uniform<'static>> {
    let yuv = encoding.colour.yuv_encoding(encoding.size.1);
    let scale = SampleScale::of(encoding.format, yuv.range);
    let weights = SampleWeights::of(encoding.format);
    let scaled = |weights: [f32; 4], scale: f32| weights.map(|weight| weight * scale);
    let (across, down) = encoding.format.subsampling();
    let location = encoding
        .colour
        .chroma_location
        .filter(|_| (across, down) == (2, 2));
    let halves = |halves: u8| f32::from(halves) / 2.0;
    vec![
        Uniform::new("tex_u", CHROMA_UNITS[0]),
        Uniform::new("tex_v", CHROMA_UNITS[1]),
        Uniform::new("weights_y", scaled(weights.y, scale.luma)),
        Uniform::new("weights_u", scaled(weights.u, scale.chroma)),
        Uniform::new("weights_v", scaled(weights.v, scale.chroma)),
        Uniform::new(
            "zero",
            [scale.luma_zero, scale.chroma_zero, scale.chroma_zero],
        ),
        Uniform::new("coefficients", coefficients(yuv.coefficients)),
        Uniform::new("luma_size", textures.luma_size()),
        Uniform::new("chroma_size", textures.chroma_size()),
        Uniform::new("subsampling", [count(across), count(down)]),
        Uniform::new(
            "location",
            location.map_or([0.0; 2], |location| {
                [halves(location.x_halves), halves(location.y_halves)]
            }),
        ),
        Uniform::new("interpolated", if location.is_some() { 1.0 } else { 0.0 }),
    ]
}

/// Converts a number of pixels for a shader.
fn count(pixels: usize) -> f32 {
    u16::try_from(pixels).map_or(f32::MAX, f32::from)
}

/// The scale and the offset with which a normalised sample becomes a luma signal from 0 to 1 or a chroma signal around 0 (ITU-T
/// H.273): the factor for each, and the signals of the sample values for black and for no colour.
struct SampleScale {
    luma: f32,
    chroma: f32,
    luma_zero: f32,
    chroma_zero: f32,
}

impl SampleScale {
    fn of(format: PixelFormat, range: QuantizationRange) -> Self {
        // The largest sample value, and the number of steps per step of an 8-bit sample. P010 has its ten bits in the highest
        // bits of 16.
        let (largest, steps, white) = if format == PixelFormat::P010 {
            (65_535.0 / 64.0, 4.0, 1023.0)
        } else {
            (255.0, 1.0, 255.0)
        };
        let (black, luma, chroma) = match range {
            QuantizationRange::Full => (0.0, white, white),
            QuantizationRange::Limited => (16.0 * steps, 219.0 * steps, 224.0 * steps),
        };
        Self {
            luma: largest / luma,
            chroma: largest / chroma,
            luma_zero: black / luma,
            chroma_zero: 128.0 * steps / chroma,
        }
    }
}

/// Returns the weights of the conversion from chroma to RGB: V in red, U and V in green, and U in blue.
fn coefficients(coefficients: Coefficients) -> [f32; 4] {
    let (red, blue) = coefficients.luma_weights();
    let green = 1.0 - red - blue;
    let (red_v, blue_u) = (2.0 * (1.0 - red), 2.0 * (1.0 - blue));
    [red_v, -blue_u * blue / green, -red_v * red / green, blue_u]
}
