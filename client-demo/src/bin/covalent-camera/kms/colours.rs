//! The plane properties `COLOR_ENCODING` and `COLOR_RANGE`, with which a display converts YUV.

use anyhow::anyhow;
use covalent_alloc::backend::drm::{Card, CardPlane};
use covalent_alloc::backend::v4l2::{Colours, Encoding};
use drm::control::{Device as _, plane, property};

/// Returns the properties for these colours: the name of each, and the name of its value.
///
/// # References
/// Linux, `drivers/gpu/drm/drm_color_mgmt.c`, `drm_plane_create_color_properties`.
fn properties(colours: Colours) -> [(&'static str, &'static str); 2] {
    let encoding = match colours.encoding {
        Encoding::Bt709 => "ITU-R BT.709 YCbCr",
        Encoding::Bt2020 => "ITU-R BT.2020 YCbCr",
        _ => "ITU-R BT.601 YCbCr",
    };
    let range = match colours.is_full_range {
        true => "YCbCr full range",
        false => "YCbCr limited range",
    };
    [("COLOR_ENCODING", encoding), ("COLOR_RANGE", range)]
}

/// Sets the matrix and the range with which a plane converts YUV. A program that showed a video before may have left others.
///
/// # Errors
/// The plane lacks a property or its value, or the kernel rejects it. The plane then converts with the matrix and range that it has.
pub(super) fn set(card: &Card, plane: &CardPlane, colours: Colours) -> anyhow::Result<()> {
    let path = card.path().display();
    let handle: plane::Handle = drm::control::from_u32(plane.id().into())
        .ok_or_else(|| anyhow!("{path}: the plane has no valid number"))?;
    let known = card
        .get_properties(handle)
        .map_err(|error| anyhow!("{path}: DRM_IOCTL_MODE_OBJ_GETPROPERTIES failed: {error}"))?;
    let (ids, _) = known.as_props_and_values();
    let infos: Vec<property::Info> = ids
        .iter()
        .filter_map(|id| card.get_property(*id).ok())
        .collect();
    for (name, value) in properties(colours) {
        let (id, number) = infos
            .iter()
            .find_map(|info| named_value(info, name, value))
            .ok_or_else(|| {
                anyhow!(
                    "{path}: plane {} has no property {name} with the value {value:?}, so it converts {colours} by its default; choose an RGB format with --format",
                    u32::from(handle)
                )
            })?;
        card.set_property(handle, id, number).map_err(|error| {
            anyhow!("{path}: DRM_IOCTL_MODE_OBJ_SETPROPERTY of {name} failed: {error}")
        })?;
    }
    Ok(())
}

/// Returns the handle of a property and the number of its value; `None` if it is another property or lacks the value.
fn named_value(
    info: &property::Info,
    name: &str,
    value: &str,
) -> Option<(property::Handle, property::RawValue)> {
    if info.name().to_bytes() != name.as_bytes() {
        return None;
    }
    let property::ValueType::Enum(values) = info.value_type() else {
        return None;
    };
    let (numbers, entries) = values.values();
    let place = entries
        .iter()
        .position(|entry| entry.name().to_bytes() == value.as_bytes())?;
    Some((info.handle(), *numbers.get(place)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_matrix_and_range_has_its_names_in_the_kernel() {
        let table = [
            (Encoding::Bt601, "ITU-R BT.601 YCbCr"),
            (Encoding::Bt709, "ITU-R BT.709 YCbCr"),
            (Encoding::Bt2020, "ITU-R BT.2020 YCbCr"),
        ];
        for (encoding, name) in table {
            for (is_full_range, range) in
                [(true, "YCbCr full range"), (false, "YCbCr limited range")]
            {
                let colours = Colours {
                    encoding,
                    is_full_range,
                };
                let expected = [("COLOR_ENCODING", name), ("COLOR_RANGE", range)];
                assert_eq!(properties(colours), expected);
            }
        }
    }
}
