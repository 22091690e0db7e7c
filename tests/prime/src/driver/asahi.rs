//! asahi, the kernel driver below Honeykrisp.
//!
//! # References
//! `asahi_drm.h`.

use rustix::io::Errno;

use super::{Access, COMMAND_BASE, Created, Driver};
use crate::sys::{Argument, Shim, request};

const GEM_CREATE: u32 = COMMAND_BASE + 0x05;
const GEM_MMAP_OFFSET: u32 = COMMAND_BASE + 0x06;

/// `struct drm_asahi_gem_create`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct GemCreate {
    size: u64,
    flags: u32,
    vm_id: u32,
    handle: u32,
    padding: u32,
}

/// `struct drm_asahi_gem_mmap_offset`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct MmapOffset {
    handle: u32,
    flags: u32,
    offset: u64,
}

/// asahi. Its kernel driver keeps no attributes that user space reads.
pub(super) struct Asahi;

impl Driver for Asahi {
    fn name(&self) -> &'static str {
        "asahi"
    }

    fn variable(&self) -> Option<&'static str> {
        None
    }

    fn creates(&self, number: u32) -> bool {
        number == GEM_CREATE
    }

    fn created(&self, argument: &Argument) -> Option<Created> {
        let call: GemCreate = argument.read()?;
        Some(Created {
            handle: call.handle,
            size_bytes: call.size,
            attributes: Vec::new(),
        })
    }

    fn create(&self, shim: &Shim, size_bytes: u64) -> Result<u32, Errno> {
        let mut call = GemCreate {
            size: size_bytes,
            ..GemCreate::default()
        };
        shim.ioctl(request::<GemCreate>(GEM_CREATE), &mut call)?;
        Ok(call.handle)
    }

    fn map_offset(&self, shim: &Shim, handle: u32) -> Result<u64, Errno> {
        let mut call = MmapOffset {
            handle,
            ..MmapOffset::default()
        };
        shim.ioctl(request::<MmapOffset>(GEM_MMAP_OFFSET), &mut call)?;
        Ok(call.offset)
    }

    fn foreign_attributes(&self, _: u64) -> Vec<u8> {
        Vec::new()
    }

    fn accessed(&self, _: u32, _: &Argument) -> Option<u32> {
        None
    }

    fn access(&self, _: u32, _: &Argument, _: &mut Vec<u8>) -> Access {
        Access::None
    }
}
