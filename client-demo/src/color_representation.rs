//! wp_color_representation_v1: tells the compositor with which matrix and range the YUV of a camera is converted.
//!
//! Without it, the compositor has to guess: usually BT.601 or BT.709 by the height of the picture. The chroma location is not set,
//! because no plane of a display interpolates chroma for it.

use std::collections::BTreeSet;

use covalent_alloc::backend::v4l2::{Colours, Encoding};
use covalent_alloc::model::Fourcc;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, Dispatch, QueueHandle, WEnum};
use wayland_protocols::wp::color_representation::v1::client::{
    wp_color_representation_manager_v1::{self, WpColorRepresentationManagerV1},
    wp_color_representation_surface_v1::{Coefficients, Range, WpColorRepresentationSurfaceV1},
};

use crate::compositor::Compositor;

/// The pairs of matrix coefficients and range that the compositor has advertised, as numbers of the protocol. Numbers that this
/// client does not use are not stored.
#[derive(Debug, Default)]
pub(crate) struct SupportedColours(BTreeSet<(u32, u32)>);

/// Returns the coefficients and the range of the protocol.
#[must_use]
pub fn coefficients_and_range(colours: Colours) -> (Coefficients, Range) {
    let coefficients = match colours.encoding {
        Encoding::Bt709 => Coefficients::Bt709,
        Encoding::Bt2020 => Coefficients::Bt2020,
        _ => Coefficients::Bt601,
    };
    let range = match colours.is_full_range {
        true => Range::Full,
        false => Range::Limited,
    };
    (coefficients, range)
}

/// The color representation of one surface.
#[derive(Debug)]
pub struct ColorRepresentation {
    surface: WlSurface,
    object: Option<WpColorRepresentationSurfaceV1>,
}

impl ColorRepresentation {
    /// Creates the state of a surface. Its colours are not set.
    #[must_use]
    pub fn new(surface: &WlSurface) -> Self {
        Self {
            surface: surface.clone(),
            object: None,
        }
    }

    /// Sets the colours of the buffers from the next commit on. Nothing is set for RGB: a matrix with an RGB buffer is a protocol
    /// error. Returns `false` if the compositor does not support the colours of a YUV format, so that it guesses.
    pub fn set(
        &mut self,
        compositor: &Compositor,
        handle: &QueueHandle<Compositor>,
        fourcc: Fourcc,
        colours: Colours,
    ) -> bool {
        if !fourcc.info().is_some_and(|info| info.is_yuv) {
            self.unset();
            return true;
        }
        let (coefficients, range) = coefficients_and_range(colours);
        let pair = (u32::from(coefficients), u32::from(range));
        let manager = compositor.globals.color_representation.as_ref();
        let Some(manager) = manager.filter(|_| compositor.supported_colours.0.contains(&pair))
        else {
            self.unset();
            return false;
        };
        let object = self
            .object
            .get_or_insert_with(|| manager.get_surface(&self.surface, handle, ()));
        object.set_coefficients_and_range(coefficients, range);
        true
    }

    /// Removes the colours of the buffers from the next commit on.
    fn unset(&mut self) {
        if let Some(object) = self.object.take() {
            object.destroy();
        }
    }
}

impl Drop for ColorRepresentation {
    fn drop(&mut self) {
        self.unset();
    }
}

impl Dispatch<WpColorRepresentationManagerV1, ()> for Compositor {
    fn event(
        state: &mut Self,
        _: &WpColorRepresentationManagerV1,
        event: wp_color_representation_manager_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wp_color_representation_manager_v1::Event::SupportedCoefficientsAndRanges {
            coefficients: WEnum::Value(coefficients),
            range: WEnum::Value(range),
        } = event
        {
            // Both are known values of the protocol, so the set is small.
            let pair = (u32::from(coefficients), u32::from(range));
            state.supported_colours.0.insert(pair);
        }
    }
}

wayland_client::delegate_noop!(Compositor: ignore WpColorRepresentationSurfaceV1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_matrix_and_range_has_its_numbers_in_the_protocol() {
        // The values of the enumerations in color-representation-v1.xml.
        let table = [
            (Encoding::Bt601, true, 4, 1),
            (Encoding::Bt601, false, 4, 2),
            (Encoding::Bt709, true, 2, 1),
            (Encoding::Bt709, false, 2, 2),
            (Encoding::Bt2020, true, 6, 1),
            (Encoding::Bt2020, false, 6, 2),
        ];
        for (encoding, is_full_range, coefficients, range) in table {
            let colours = Colours {
                encoding,
                is_full_range,
            };
            let found = coefficients_and_range(colours);
            assert_eq!(
                (u32::from(found.0), u32::from(found.1)),
                (coefficients, range),
                "{colours}"
            );
        }
    }
}
