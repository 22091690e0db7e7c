//! Imports into EGL, by the OpenGL driver of the same GPU.
//!
//! # References
//! EGL_EXT_image_dma_buf_import, EGL_EXT_image_dma_buf_import_modifiers, EGL_KHR_platform_gbm.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::gbm;
use super::message::{Failure, Kind, Plane, SIZE};

mod sys;

const HEIGHT: i32 = 0x3056;
const WIDTH: i32 = 0x3057;
const FOURCC: i32 = 0x3271;

/// The attributes of each plane: fd, offset, pitch, and the lower and the upper half of the modifier.
const PLANES: [[i32; 5]; 4] = [
    [0x3272, 0x3273, 0x3274, 0x3443, 0x3444],
    [0x3275, 0x3276, 0x3277, 0x3445, 0x3446],
    [0x3278, 0x3279, 0x327a, 0x3447, 0x3448],
    [0x3440, 0x3441, 0x3442, 0x3449, 0x344a],
];

/// Imports a buffer with exactly this layout as an EGLImage.
pub(super) fn import(kind: Kind, planes: &[Plane], fd: BorrowedFd<'_>) -> Result<(), Failure> {
    let attributes = attributes(kind, planes, fd).ok_or_else(|| Failure {
        operation: "eglCreateImageKHR",
        why: "the layout cannot be described".to_owned(),
    })?;
    sys::import(&gbm::open()?, &attributes)
}

/// Returns the attributes of the image; `None` if a value has too many bits, or there are too many planes.
fn attributes(kind: Kind, planes: &[Plane], fd: BorrowedFd<'_>) -> Option<Vec<i32>> {
    let mut all = vec![
        (WIDTH, i32::try_from(SIZE.0).ok()?),
        (HEIGHT, i32::try_from(SIZE.1).ok()?),
        (FOURCC, same_bits(kind.fourcc)),
    ];
    let [first, second] = halves(kind.modifier);
    for (index, plane) in planes.iter().enumerate() {
        let values = [
            fd.as_raw_fd(),
            i32::try_from(plane.offset).ok()?,
            i32::try_from(plane.pitch).ok()?,
            first,
            second,
        ];
        all.extend(PLANES.get(index)?.iter().copied().zip(values));
    }
    Some(
        all.into_iter()
            .flat_map(|(name, value)| [name, value])
            .collect(),
    )
}

/// Returns the lower and the upper half of a modifier, with the same bits.
fn halves(modifier: u64) -> [i32; 2] {
    let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).map_or(0, same_bits);
    [half(modifier), half(modifier >> 32)]
}

/// Returns the signed integer with the same bits, as EGL's attributes are signed.
fn same_bits(value: u32) -> i32 {
    i32::from_ne_bytes(value.to_ne_bytes())
}
