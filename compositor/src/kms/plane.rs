//! The planes of a CRTC: what they support, and the properties that a commit sets.

use std::os::fd::{AsRawFd, BorrowedFd};

use covalent_alloc::backend::drm::{Card, CardPlane, DrmError, PlaneKind};
use covalent_alloc::model::FormatModifier;
use drm::control::atomic::AtomicModeReq;
use drm::control::{framebuffer, plane};

use super::KmsError;
use super::property::Properties;
use crate::region::Rect;

/// The plane property with a sync_file that the kernel waits for before it shows the framebuffer.
const IN_FENCE_FD: &str = "IN_FENCE_FD";

/// One plane of a CRTC.
#[derive(Debug)]
pub struct Plane {
    handle: plane::Handle,
    description: PlaneDescription,
    properties: Properties,
    /// The value of `zpos` that each modeset sets; `None` if the driver does not let it be changed.
    zpos: Option<u64>,
}

/// The formats, sizes and stacking order of a plane, according to the allocator's model of the card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneDescription {
    /// The KMS object id of the plane.
    pub id: u32,
    /// The kind of the plane: primary, overlay or cursor.
    pub kind: PlaneKind,
    /// The supported formats and modifiers.
    pub formats: Vec<FormatModifier>,
    /// The minimum and the maximum size of a framebuffer in pixels.
    pub sizes: ((u32, u32), (u32, u32)),
    /// The position in the stacking order of the CRTC's planes. A plane with a greater number is above one with a smaller number.
    pub order: usize,
    /// Whether the plane has the properties `COLOR_ENCODING` and `COLOR_RANGE`. Without them it is not known how the plane
    /// converts YUV.
    pub converts_yuv: bool,
}

/// The matrix and the range with which YUV is converted to RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct YuvEncoding {
    /// The matrix coefficients.
    pub matrix: YuvMatrix,
    /// Whether luma uses all values, and not only 16 to 235.
    pub is_full_range: bool,
}

/// The matrix coefficients of a YUV conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names of the recommendations
pub enum YuvMatrix {
    Bt601,
    Bt709,
    Bt2020,
}

impl YuvMatrix {
    /// Returns the name of the value of `COLOR_ENCODING`.
    const fn property_value(self) -> &'static str {
        match self {
            Self::Bt601 => "ITU-R BT.601 YCbCr",
            Self::Bt709 => "ITU-R BT.709 YCbCr",
            Self::Bt2020 => "ITU-R BT.2020 YCbCr",
        }
    }
}

impl YuvEncoding {
    /// The value of `COLOR_RANGE` for luma from 16 to 235.
    const LIMITED: &'static str = "YCbCr limited range";

    /// Returns the name of the value of `COLOR_RANGE`.
    const fn range_value(self) -> &'static str {
        if self.is_full_range {
            "YCbCr full range"
        } else {
            Self::LIMITED
        }
    }
}

/// A rectangle of a framebuffer in pixels with 16 fractional bits, the format of `SRC_X` to `SRC_H`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceRect {
    /// The left edge of the rectangle.
    pub x: u32,
    /// The upper edge of the rectangle.
    pub y: u32,
    /// The width of the rectangle.
    pub width: u32,
    /// The height of the rectangle.
    pub height: u32,
}

impl SourceRect {
    /// Converts a rectangle in pixels; `None` if it is empty, exceeds 65,536 pixels, or is not finite.
    pub fn from_pixels((x, y, width, height): (f64, f64, f64, f64)) -> Option<Self> {
        let fixed = |pixels: f64| {
            let scaled = (pixels * 65536.0).round();
            let is_valid = (0.0..=f64::from(u32::MAX)).contains(&scaled);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the range was checked"
            )]
            is_valid.then_some(scaled as u32)
        };
        let source = Self {
            x: fixed(x)?,
            y: fixed(y)?,
            width: fixed(width)?,
            height: fixed(height)?,
        };
        (source.width > 0 && source.height > 0).then_some(source)
    }

    /// Returns a rectangle of whole pixels.
    pub fn whole(rect: Rect) -> Self {
        let fixed = |pixels: i32| pixels.unsigned_abs().min(0xffff) << 16;
        Self {
            x: fixed(rect.x),
            y: fixed(rect.y),
            width: fixed(rect.width),
            height: fixed(rect.height),
        }
    }
}

/// The state of a plane that shows a framebuffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneState {
    /// The framebuffer that the plane shows.
    pub framebuffer: framebuffer::Handle,
    /// The source rectangle in the framebuffer.
    pub source: SourceRect,
    /// The destination rectangle in pixels of the CRTC. It may extend beyond the mode.
    pub destination: Rect,
    /// The conversion of YUV; `None` for RGB.
    pub yuv: Option<YuvEncoding>,
    /// The hotspot of a cursor: the pixel that is at the pointer's position.
    pub hotspot: (i32, i32),
}

/// The state of a plane in the next frame, and its changes since the previous frame.
#[derive(Clone, Copy, Debug)]
pub struct PlaneFrame<'a> {
    /// The index of the plane in [`Pipeline::planes`](super::Pipeline::planes).
    pub plane: usize,
    /// The state of the plane.
    pub state: PlaneState,
    /// Whether the content may have changed although the framebuffer id is the same.
    pub has_new_content: bool,
    /// The damage in framebuffer pixels; `None` if it is not known.
    pub damage: Option<Rect>,
    /// The fence that is signalled when the framebuffer's content is complete, for planes with `IN_FENCE_FD`.
    pub in_fence: Option<BorrowedFd<'a>>,
}

impl Plane {
    /// Reads the properties and the description of a plane.
    ///
    /// # Errors
    ///
    /// When the kernel rejects a request.
    pub(super) fn read(
        card: &Card,
        plane: &CardPlane,
        handle: plane::Handle,
    ) -> Result<Self, KmsError> {
        let model = |error: DrmError| KmsError::Model(Box::new(error));
        let participant = plane.participant().map_err(model)?;
        let constraints = participant.constraints();
        let formats = constraints.formats.as_ref();
        let properties = Properties::read(card, handle, "the plane")?;
        let (width, height) = (&constraints.image.width, &constraints.image.height);
        Ok(Self {
            handle,
            description: PlaneDescription {
                id: handle.into(),
                kind: plane.kind(),
                formats: formats.map(|set| set.iter().collect()).unwrap_or_default(),
                sizes: (
                    (width.minimum, height.minimum),
                    (width.maximum, height.maximum),
                ),
                order: 0,
                converts_yuv: properties.has("COLOR_ENCODING") && properties.has("COLOR_RANGE"),
            },
            properties,
            zpos: None,
        })
    }

    /// Returns the handle of the plane.
    pub fn handle(&self) -> plane::Handle {
        self.handle
    }

    /// Returns what the plane can show.
    pub fn description(&self) -> &PlaneDescription {
        &self.description
    }

    /// Returns whether the plane has the property `IN_FENCE_FD`.
    pub fn supports_in_fence(&self) -> bool {
        self.properties.has(IN_FENCE_FD)
    }

    /// Returns whether the plane has the property `FB_DAMAGE_CLIPS`.
    pub(super) fn takes_damage(&self) -> bool {
        self.properties.has("FB_DAMAGE_CLIPS")
    }

    pub(super) fn properties(&self) -> &Properties {
        &self.properties
    }

    /// Adds the properties of the plane's state to an atomic request. `damage` is the FB_DAMAGE_CLIPS blob.
    pub(super) fn fill(
        &self,
        request: &mut AtomicModeReq,
        crtc: u64,
        frame: &PlaneFrame<'_>,
        damage: Option<u64>,
    ) -> Result<(), KmsError> {
        let PlaneState {
            framebuffer,
            source,
            destination,
            yuv,
            hotspot,
        } = frame.state;
        let properties = &self.properties;
        properties.set(request, "FB_ID", u64::from(u32::from(framebuffer)))?;
        properties.set(request, "CRTC_ID", crtc)?;
        properties.set(request, "SRC_X", source.x.into())?;
        properties.set(request, "SRC_Y", source.y.into())?;
        properties.set(request, "SRC_W", source.width.into())?;
        properties.set(request, "SRC_H", source.height.into())?;
        // CRTC_X and CRTC_Y are signed; the kernel takes them as 64 bits in two's complement.
        properties.set(request, "CRTC_X", signed(destination.x))?;
        properties.set(request, "CRTC_Y", signed(destination.y))?;
        properties.set(request, "CRTC_W", destination.width.unsigned_abs().into())?;
        properties.set(request, "CRTC_H", destination.height.unsigned_abs().into())?;
        if self.description.kind == PlaneKind::Cursor {
            properties.set_if_present(request, "HOTSPOT_X", signed(hotspot.0));
            properties.set_if_present(request, "HOTSPOT_Y", signed(hotspot.1));
        }
        if let Some(yuv) = yuv {
            for (name, value) in [
                ("COLOR_ENCODING", yuv.matrix.property_value()),
                ("COLOR_RANGE", yuv.range_value()),
            ] {
                let number = properties.named_value(name, value);
                properties.set(
                    request,
                    name,
                    number.ok_or(KmsError::NoValue { name, value })?,
                )?;
            }
        }
        if let Some(damage) = damage {
            properties.set_if_present(request, "FB_DAMAGE_CLIPS", damage);
        }
        if let Some(fence) = frame.in_fence {
            // The kernel takes its own reference to the fence.
            let fence = u64::try_from(fence.as_raw_fd()).unwrap_or(u64::MAX);
            properties.set(request, IN_FENCE_FD, fence)?;
        }
        Ok(())
    }

    /// Adds the properties that turn the plane off to an atomic request.
    pub(super) fn fill_disabled(&self, request: &mut AtomicModeReq) -> Result<(), KmsError> {
        self.properties.set(request, "FB_ID", 0)?;
        self.properties.set(request, "CRTC_ID", 0)
    }

    /// Adds the properties with which a plane shows a framebuffer unchanged to an atomic request: no rotation, no constant alpha,
    /// no colour conversion, and the `zpos` of this pipeline. They replace the values that another program has left.
    ///
    /// # References
    ///
    /// The kernel's "Plane Composition Properties" and "Plane Color Pipelines".
    pub(super) fn fill_neutral(&self, request: &mut AtomicModeReq) {
        /// `DRM_MODE_ROTATE_0`.
        const ROTATE_0: u64 = 1;
        /// `DRM_BLEND_ALPHA_OPAQUE`.
        const OPAQUE: u64 = 0xffff;
        let properties = &self.properties;
        properties.set_if_present(request, "rotation", ROTATE_0);
        properties.set_if_present(request, "alpha", OPAQUE);
        for (name, value) in [
            ("pixel blend mode", "Pre-multiplied"),
            ("SCALING_FILTER", "Default"),
            ("COLOR_PIPELINE", "Bypass"),
            ("COLOR_ENCODING", YuvMatrix::Bt601.property_value()),
            ("COLOR_RANGE", YuvEncoding::LIMITED),
        ] {
            if let Some(number) = properties.named_value(name, value) {
                properties.set_if_present(request, name, number);
            }
        }
        for name in [
            "FB_DAMAGE_CLIPS",
            "GAMMA_LUT",
            "DEGAMMA_LUT",
            "CTM",
            "HOTSPOT_X",
            "HOTSPOT_Y",
        ] {
            properties.set_if_present(request, name, 0);
        }
        if let Some(zpos) = self.zpos {
            properties.set_if_present(request, "zpos", zpos);
        }
    }
}

/// Returns a signed value as the 64-bit number of a property.
fn signed(value: i32) -> u64 {
    u64::from_ne_bytes(i64::from(value).to_ne_bytes())
}

/// Sorts planes from the bottom to the top of the stacking order, and chooses their `zpos` if the driver lets it be changed.
///
/// The primary plane is at the bottom and the cursor plane at the top. The `zpos` values of other programs are replaced, because
/// they may put the primary plane above others.
pub(super) fn stack_planes(planes: &mut [Plane]) {
    let rank = |kind: PlaneKind| match kind {
        PlaneKind::Primary => 0,
        PlaneKind::Overlay => 1,
        PlaneKind::Cursor => 2,
    };
    planes.sort_by_key(|plane| (rank(plane.description.kind), plane.description.id));
    for (position, plane) in (0_u64..).zip(planes.iter_mut()) {
        plane.zpos = plane
            .properties
            .range("zpos")
            .map(|(least, most)| least.saturating_add(position).min(most));
    }
    // The kernel sorts planes by `zpos` and then by id.
    planes.sort_by_key(|plane| {
        let fixed = plane.properties.value("zpos");
        let position = plane.zpos.or(fixed);
        (
            position.unwrap_or(rank(plane.description.kind)),
            rank(plane.description.kind),
            plane.description.id,
        )
    });
    for (order, plane) in planes.iter_mut().enumerate() {
        plane.description.order = order;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_matrix_and_range_has_the_names_of_drm_plane_create_color_properties() {
        for (matrix, name) in [
            (YuvMatrix::Bt601, "ITU-R BT.601 YCbCr"),
            (YuvMatrix::Bt709, "ITU-R BT.709 YCbCr"),
            (YuvMatrix::Bt2020, "ITU-R BT.2020 YCbCr"),
        ] {
            assert_eq!(matrix.property_value(), name);
            for (is_full_range, range) in
                [(true, "YCbCr full range"), (false, "YCbCr limited range")]
            {
                let encoding = YuvEncoding {
                    matrix,
                    is_full_range,
                };
                assert_eq!(encoding.range_value(), range);
            }
        }
    }

    #[test]
    fn source_rect_has_16_fractional_bits_and_rejects_what_the_kernel_cannot_take() {
        let source = SourceRect::from_pixels((0.5, 8.0, 1920.0, 1080.25)).unwrap();
        assert_eq!((source.x, source.y), (1 << 15, 8 << 16));
        assert_eq!(
            (source.width, source.height),
            (1920 << 16, (1080 << 16) + (1 << 14))
        );
        for invalid in [
            (-1.0, 0.0, 1.0, 1.0),
            (0.0, 0.0, 0.0, 1.0),
            (0.0, 0.0, 65536.0, 1.0),
            (0.0, f64::NAN, 1.0, 1.0),
            (0.0, 0.0, f64::INFINITY, 1.0),
        ] {
            assert_eq!(SourceRect::from_pixels(invalid), None, "{invalid:?}");
        }
        let whole = SourceRect::whole(Rect::new(1, 2, 3, 4));
        assert_eq!(SourceRect::from_pixels((1.0, 2.0, 3.0, 4.0)), Some(whole));
    }

    #[test]
    fn negative_coordinate_is_sign_extended() {
        assert_eq!(signed(-3), u64::MAX - 2);
        assert_eq!(signed(7), 7);
    }
}
