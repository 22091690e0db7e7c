//! nouveau, the kernel driver below NVK.
//!
//! # References
//! `nouveau_drm.h`; `nouveau_gem.c` and `nouveau_prime.c` of the kernel.

use rustix::io::Errno;

use super::{Access, COMMAND_BASE, Created, Driver, decode_low, encode};
use crate::sys::{Argument, Shim, request};

const GEM_NEW: u32 = COMMAND_BASE + 0x40;
const GEM_INFO: u32 = COMMAND_BASE + 0x44;

const DOMAIN_GART: u32 = 1 << 2;
const DOMAIN_MAPPABLE: u32 = 1 << 3;

/// `struct drm_nouveau_gem_info`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct GemInfo {
    handle: u32,
    domain: u32,
    size: u64,
    offset: u64,
    map_handle: u64,
    tile_mode: u32,
    tile_flags: u32,
}

/// `struct drm_nouveau_gem_new`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct GemNew {
    info: GemInfo,
    channel_hint: u32,
    align: u32,
}

/// nouveau. The attributes are the domain, the tile mode and the tile flags.
pub(super) struct Nouveau;

impl Driver for Nouveau {
    fn name(&self) -> &'static str {
        "nouveau"
    }

    fn variable(&self) -> Option<&'static str> {
        Some("NOUVEAU_CHIPSET")
    }

    fn creates(&self, number: u32) -> bool {
        number == GEM_NEW
    }

    fn created(&self, argument: &Argument) -> Option<Created> {
        let GemNew { info, .. } = argument.read()?;
        let attributes = [info.domain, info.tile_mode, info.tile_flags].map(u64::from);
        Some(Created {
            handle: info.handle,
            size_bytes: info.size,
            attributes: encode(&attributes),
        })
    }

    fn create(&self, shim: &Shim, size_bytes: u64) -> Result<u32, Errno> {
        let mut call = GemNew::default();
        call.info.size = size_bytes;
        call.info.domain = DOMAIN_GART | DOMAIN_MAPPABLE;
        shim.ioctl(request::<GemNew>(GEM_NEW), &mut call)?;
        Ok(call.info.handle)
    }

    fn map_offset(&self, shim: &Shim, handle: u32) -> Result<u64, Errno> {
        let mut info = GemInfo {
            handle,
            ..GemInfo::default()
        };
        shim.ioctl(request::<GemInfo>(GEM_INFO), &mut info)?;
        Ok(info.map_handle)
    }

    fn foreign_attributes(&self, _: u64) -> Vec<u8> {
        encode(&[DOMAIN_GART.into(), 0, 0])
    }

    fn accessed(&self, number: u32, argument: &Argument) -> Option<u32> {
        let info: GemInfo = (number == GEM_INFO).then(|| argument.read())??;
        Some(info.handle)
    }

    fn completes_shim(&self) -> bool {
        true
    }

    fn access(&self, _: u32, argument: &Argument, attributes: &mut Vec<u8>) -> Access {
        let Some(mut info) = argument.read::<GemInfo>() else {
            return Access::None;
        };
        info.domain = decode_low(attributes, 0);
        info.tile_mode = decode_low(attributes, 1);
        info.tile_flags = decode_low(attributes, 2);
        argument.write(&info);
        Access::Read
    }
}
