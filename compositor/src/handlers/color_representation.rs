//! `wp_color_representation_v1`: how the sample values in a surface's buffers are converted to colours.
//!
//! Smithay 0.7 does not implement this protocol. The protocol has no colour volumes and transfer functions, so alpha always
//! applies to the electrical values.

use std::sync::Mutex;

use smithay::reexports::wayland_protocols::wp::color_representation::v1::server::{
    wp_color_representation_manager_v1::{
        self, Error as ManagerError, WpColorRepresentationManagerV1,
    },
    wp_color_representation_surface_v1::{
        self, AlphaMode as ProtocolAlpha, ChromaLocation as ProtocolChroma,
        Coefficients as ProtocolCoefficients, Error, Range, WpColorRepresentationSurfaceV1,
    },
};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource, WEnum, Weak,
};
use smithay::wayland::compositor::{
    BufferAssignment, Cacheable, SurfaceAttributes, SurfaceData, with_states,
};
use smithay::wayland::shm::{shm_format_to_fourcc, with_buffer_contents};

use crate::dmabuf::Dmabuf;
use crate::render::PixelFormat;
use crate::render::colour::{
    AlphaMode, ChromaLocation, Coefficients, ColorRepresentation, QuantizationRange, YuvEncoding,
};
use crate::state::State;

/// The version of the protocol that is implemented.
const VERSION: u32 = 1;

/// The matrix coefficients and the range that a client has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// The identity matrix: RGB of full range.
    Identity,
    Yuv(YuvEncoding),
}

/// The color representation that a client has set for a surface. It is double-buffered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Representation {
    alpha: Option<AlphaMode>,
    encoding: Option<Encoding>,
    chroma_location: Option<ChromaLocation>,
}

impl Cacheable for Representation {
    fn commit(&mut self, _display: &DisplayHandle) -> Self {
        *self
    }

    fn merge_into(self, into: &mut Self, _display: &DisplayHandle) {
        *into = self;
    }
}

impl Representation {
    /// Returns the colour representation for the renderers.
    pub(crate) fn colours(self) -> ColorRepresentation {
        ColorRepresentation {
            alpha: self.alpha.unwrap_or_default(),
            yuv: match self.encoding {
                Some(Encoding::Yuv(encoding)) => Some(encoding),
                Some(Encoding::Identity) | None => None,
            },
            chroma_location: self.chroma_location,
        }
    }

    /// Checks that the format of a buffer matches the color representation that the client has set.
    fn check(self, format: PixelFormat) -> Result<(), String> {
        let name = format.name();
        match self.encoding {
            Some(Encoding::Identity) if format.is_yuv() => Err(format!(
                "the identity coefficients are for RGB, and the buffer's format {name} is YUV"
            )),
            Some(Encoding::Yuv(encoding)) if !format.is_yuv() => Err(format!(
                "the coefficients {:?} are for YUV, and the buffer's format {name} is RGB",
                encoding.coefficients
            )),
            _ if self.chroma_location.is_some() && format.subsampling() != (2, 2) => Err(format!(
                "a chroma location is set, and {name} is not subsampled by two in both directions"
            )),
            _ => Ok(()),
        }
    }
}

/// The data of a surface: its color representation object, and the format of the last committed buffer.
#[derive(Debug, Default)]
struct Extension(Mutex<ExtensionState>);

/// The locked part of [`Extension`].
#[derive(Debug, Default)]
struct ExtensionState {
    object: Option<WpColorRepresentationSurfaceV1>,
    format: Option<PixelFormat>,
}

impl Extension {
    /// Calls `change` with the data of a surface.
    fn with<T>(states: &SurfaceData, change: impl FnOnce(&mut ExtensionState) -> T) -> T {
        let extension = states.data_map.get_or_insert_threadsafe(Self::default);
        // Nothing panics while the lock is held, so the state behind a poisoned lock is complete.
        let mut state = match extension.0.lock() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        };
        change(&mut state)
    }
}

/// Creates the global.
pub(crate) fn create_global(display: &DisplayHandle) {
    display.create_global::<State, WpColorRepresentationManagerV1, ()>(VERSION, ());
}

/// Returns the color representation of a surface's current state, with which its buffer is converted to RGB.
pub(crate) fn current(states: &SurfaceData) -> ColorRepresentation {
    let mut cached = states.cached_state.get::<Representation>();
    cached.current().colours()
}

/// Checks that the buffer of a commit matches the color representation that its client has set. Posts the protocol error if it
/// does not.
pub(crate) fn check_commit(dmabuf: &Dmabuf, surface: &WlSurface) {
    let violation = with_states(surface, |states| {
        let attached = {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            match &attributes.pending().buffer {
                None => None,
                Some(BufferAssignment::Removed) => Some(None),
                Some(BufferAssignment::NewBuffer(buffer)) => Some(
                    dmabuf
                        .find(buffer)
                        .map(|buffer| buffer.format())
                        .or_else(|| {
                            let format =
                                with_buffer_contents(buffer, |_, _, data| data.format).ok()?;
                            PixelFormat::from_fourcc(shm_format_to_fourcc(format)? as u32)
                        }),
                ),
            }
        };
        let representation = *states.cached_state.get::<Representation>().pending();
        Extension::with(states, |extension| {
            if let Some(format) = attached {
                extension.format = format;
            }
            let violation = representation.check(extension.format?).err()?;
            Some((extension.object.clone()?, violation))
        })
    });
    if let Some((object, message)) = violation {
        object.post_error(Error::PixelFormat, message);
    }
}

impl GlobalDispatch<WpColorRepresentationManagerV1, ()> for State {
    fn bind(
        _state: &mut Self,
        _display: &DisplayHandle,
        _client: &Client,
        resource: New<WpColorRepresentationManagerV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        let manager = data_init.init(resource, ());
        for alpha in [
            ProtocolAlpha::PremultipliedElectrical,
            ProtocolAlpha::Straight,
        ] {
            manager.supported_alpha_mode(alpha);
        }
        manager.supported_coefficients_and_ranges(ProtocolCoefficients::Identity, Range::Full);
        for coefficients in [
            ProtocolCoefficients::Bt601,
            ProtocolCoefficients::Bt709,
            ProtocolCoefficients::Bt2020,
        ] {
            for range in [Range::Full, Range::Limited] {
                manager.supported_coefficients_and_ranges(coefficients, range);
            }
        }
        manager.done();
    }
}

impl Dispatch<WpColorRepresentationManagerV1, ()> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        manager: &WpColorRepresentationManagerV1,
        request: wp_color_representation_manager_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        let wp_color_representation_manager_v1::Request::GetSurface { id, surface } = request
        else {
            return;
        };
        let object = data_init.init(id, surface.downgrade());
        let exists = with_states(&surface, |states| {
            Extension::with(states, |extension| {
                let exists = extension.object.as_ref().is_some_and(Resource::is_alive);
                if !exists {
                    extension.object = Some(object);
                }
                exists
            })
        });
        if exists {
            manager.post_error(
                ManagerError::SurfaceExists,
                "the surface has a color representation object already",
            );
        }
    }
}

impl Dispatch<WpColorRepresentationSurfaceV1, Weak<WlSurface>> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        object: &WpColorRepresentationSurfaceV1,
        request: wp_color_representation_surface_v1::Request,
        surface: &Weak<WlSurface>,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        let surface = surface.upgrade().ok().filter(Resource::is_alive);
        let change = match parse(&request) {
            Ok(change) => change,
            Err((code, message)) => {
                let (code, message) = match surface {
                    Some(_) => (code, message),
                    None => inert(),
                };
                object.post_error(code, message);
                return;
            }
        };
        let Some(surface) = surface else {
            // After the surface was destroyed, only the destruction of the object is allowed.
            if !matches!(change, Change::Unset) {
                let (code, message) = inert();
                object.post_error(code, message);
            }
            return;
        };
        with_states(&surface, |states| {
            let mut cached = states.cached_state.get::<Representation>();
            let pending = cached.pending();
            match change {
                Change::Alpha(alpha) => pending.alpha = Some(alpha),
                Change::Encoding(encoding) => pending.encoding = Some(encoding),
                Change::Chroma(location) => pending.chroma_location = Some(location),
                Change::Unset => *pending = Representation::default(),
            }
        });
    }
}

/// The property that a request changes.
enum Change {
    Alpha(AlphaMode),
    Encoding(Encoding),
    Chroma(ChromaLocation),
    /// The object is destroyed, which unsets all properties.
    Unset,
}

/// Returns the protocol error for an object whose surface was destroyed.
fn inert() -> (Error, String) {
    (Error::Inert, "the surface was destroyed".to_owned())
}

/// Validates the arguments of a request.
fn parse(request: &wp_color_representation_surface_v1::Request) -> Result<Change, (Error, String)> {
    use wp_color_representation_surface_v1::Request;
    match request {
        Request::SetAlphaMode { alpha_mode } => match alpha_mode {
            WEnum::Value(ProtocolAlpha::PremultipliedElectrical) => {
                Ok(Change::Alpha(AlphaMode::Premultiplied))
            }
            WEnum::Value(ProtocolAlpha::Straight) => Ok(Change::Alpha(AlphaMode::Straight)),
            other => Err((
                Error::AlphaMode,
                format!("the alpha mode {other:?} was not advertised"),
            )),
        },
        Request::SetCoefficientsAndRange {
            coefficients,
            range,
        } => encoding(*coefficients, *range)
            .map(Change::Encoding)
            .ok_or_else(|| {
                let message =
                    format!("the coefficients {coefficients:?} with {range:?} were not advertised");
                (Error::Coefficients, message)
            }),
        Request::SetChromaLocation { chroma_location } => {
            let location = match chroma_location {
                WEnum::Value(location) => chroma(*location),
                WEnum::Unknown(_) => None,
            };
            location.map(Change::Chroma).ok_or_else(|| {
                let message = format!("the chroma location {chroma_location:?} is not valid");
                (Error::ChromaLocation, message)
            })
        }
        _ => Ok(Change::Unset),
    }
}

/// Returns the encoding for coefficients and a range; `None` if the compositor has not advertised them.
fn encoding(coefficients: WEnum<ProtocolCoefficients>, range: WEnum<Range>) -> Option<Encoding> {
    let (WEnum::Value(coefficients), WEnum::Value(range)) = (coefficients, range) else {
        return None;
    };
    let range = match range {
        Range::Full => QuantizationRange::Full,
        Range::Limited => QuantizationRange::Limited,
        _ => return None,
    };
    let coefficients = match coefficients {
        ProtocolCoefficients::Bt601 => Coefficients::Bt601,
        ProtocolCoefficients::Bt709 => Coefficients::Bt709,
        ProtocolCoefficients::Bt2020 => Coefficients::Bt2020,
        ProtocolCoefficients::Identity if range == QuantizationRange::Full => {
            return Some(Encoding::Identity);
        }
        _ => return None,
    };
    Some(Encoding::Yuv(YuvEncoding {
        coefficients,
        range,
    }))
}

/// Converts a chroma location of the protocol; `None` for an unknown one.
fn chroma(location: ProtocolChroma) -> Option<ChromaLocation> {
    let number = match location {
        ProtocolChroma::Type0 => 0,
        ProtocolChroma::Type1 => 1,
        ProtocolChroma::Type2 => 2,
        ProtocolChroma::Type3 => 3,
        ProtocolChroma::Type4 => 4,
        ProtocolChroma::Type5 => 5,
        _ => return None,
    };
    ChromaLocation::of_type(number)
}
