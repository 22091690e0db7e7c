//! radeon, the kernel driver below r300 and r600.
//!
//! # References
//! `radeon_drm.h`; `radeon_gem.c` of the kernel.

use rustix::io::Errno;

use super::{Access, COMMAND_BASE, Created, Driver, decode, decode_low, encode};
use crate::sys::{Argument, Shim, request};

const GEM_CREATE: u32 = COMMAND_BASE + 0x1d;
const GEM_MMAP: u32 = COMMAND_BASE + 0x1e;
const GEM_SET_TILING: u32 = COMMAND_BASE + 0x28;
const GEM_GET_TILING: u32 = COMMAND_BASE + 0x29;
const GEM_OP: u32 = COMMAND_BASE + 0x2c;

const OP_GET_INITIAL_DOMAIN: u32 = 0;
const OP_SET_INITIAL_DOMAIN: u32 = 1;
const DOMAIN_GTT: u32 = 2;

/// `struct drm_radeon_gem_create`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct GemCreate {
    size: u64,
    alignment: u64,
    handle: u32,
    initial_domain: u32,
    flags: u32,
    padding: u32,
}

/// `struct drm_radeon_gem_mmap`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct GemMmap {
    handle: u32,
    padding: u32,
    offset: u64,
    size: u64,
    address: u64,
}

/// `struct drm_radeon_gem_set_tiling` and `struct drm_radeon_gem_get_tiling`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Tiling {
    handle: u32,
    flags: u32,
    pitch: u32,
}

/// `struct drm_radeon_gem_op`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Op {
    handle: u32,
    operation: u32,
    value: u64,
}

/// radeon. The attributes are the initial domain, the tiling flags and the pitch.
pub(super) struct Radeon;

impl Driver for Radeon {
    fn name(&self) -> &'static str {
        "radeon"
    }

    fn variable(&self) -> Option<&'static str> {
        Some("RADEON_GPU_ID")
    }

    fn creates(&self, number: u32) -> bool {
        number == GEM_CREATE
    }

    fn created(&self, argument: &Argument) -> Option<Created> {
        let call: GemCreate = argument.read()?;
        Some(Created {
            handle: call.handle,
            size_bytes: call.size,
            attributes: encode(&[call.initial_domain.into(), 0, 0]),
        })
    }

    fn create(&self, shim: &Shim, size_bytes: u64) -> Result<u32, Errno> {
        let mut call = GemCreate {
            size: size_bytes,
            initial_domain: DOMAIN_GTT,
            ..GemCreate::default()
        };
        shim.ioctl(request::<GemCreate>(GEM_CREATE), &mut call)?;
        Ok(call.handle)
    }

    fn map_offset(&self, shim: &Shim, handle: u32) -> Result<u64, Errno> {
        let mut call = GemMmap {
            handle,
            ..GemMmap::default()
        };
        shim.ioctl(request::<GemMmap>(GEM_MMAP), &mut call)?;
        Ok(call.address)
    }

    fn foreign_attributes(&self, _: u64) -> Vec<u8> {
        encode(&[DOMAIN_GTT.into(), 0, 0])
    }

    fn accessed(&self, number: u32, argument: &Argument) -> Option<u32> {
        match number {
            GEM_SET_TILING | GEM_GET_TILING => argument.read().map(|call: Tiling| call.handle),
            GEM_OP => argument.read().map(|call: Op| call.handle),
            _ => None,
        }
    }

    fn access(&self, number: u32, argument: &Argument, attributes: &mut Vec<u8>) -> Access {
        if number == GEM_OP {
            return access_domain(argument, attributes);
        }
        let Some(mut call) = argument.read::<Tiling>() else {
            return Access::None;
        };
        if number == GEM_SET_TILING {
            let domain = decode(attributes, 0);
            *attributes = encode(&[domain, call.flags.into(), call.pitch.into()]);
            return Access::Written;
        }
        call.flags = decode_low(attributes, 1);
        call.pitch = decode_low(attributes, 2);
        argument.write(&call);
        Access::Read
    }
}

/// Completes DRM_RADEON_GEM_OP, which reads and writes the initial domain.
fn access_domain(argument: &Argument, attributes: &mut Vec<u8>) -> Access {
    let Some(mut call) = argument.read::<Op>() else {
        return Access::None;
    };
    match call.operation {
        OP_GET_INITIAL_DOMAIN => {
            call.value = decode(attributes, 0);
            argument.write(&call);
            Access::Read
        }
        OP_SET_INITIAL_DOMAIN => {
            *attributes = encode(&[call.value, decode(attributes, 1), decode(attributes, 2)]);
            Access::Written
        }
        _ => Access::Refused(Errno::INVAL),
    }
}
