//! amdgpu, the kernel driver below RADV and radeonsi.
//!
//! # References
//! `amdgpu_drm.h`; `amdgpu_gem.c` and `amdgpu_dma_buf.c` of the kernel.

use rustix::io::Errno;

use super::{Access, COMMAND_BASE, Created, Driver, decode, encode};
use crate::sys::{Argument, Shim, request};

const GEM_CREATE: u32 = COMMAND_BASE;
const GEM_MMAP: u32 = COMMAND_BASE + 0x01;
const GEM_METADATA: u32 = COMMAND_BASE + 0x06;
const GEM_OP: u32 = COMMAND_BASE + 0x10;

const METADATA_SET: u32 = 1;
const METADATA_GET: u32 = 2;
const OP_GET_CREATE_INFO: u32 = 0;
const DOMAIN_GTT: u64 = 2;

/// How many of the encoded integers `struct drm_amdgpu_gem_create_in` takes. The metadata follows.
const CREATE_WORDS: usize = 4;

/// `struct drm_amdgpu_gem_create_in`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct CreateIn {
    size: u64,
    alignment: u64,
    domains: u64,
    flags: u64,
}

/// `union drm_amdgpu_gem_create` after the call.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct CreateOut {
    handle: u32,
    padding: u32,
    rest: [u64; 3],
}

/// `union drm_amdgpu_gem_mmap`: a handle before the call, and the offset after it.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Mmap {
    value: u64,
}

/// `struct drm_amdgpu_gem_metadata`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Metadata {
    handle: u32,
    operation: u32,
    flags: u64,
    tiling_info: u64,
    data_bytes: u32,
    data: [u32; 64],
    padding: u32,
}

/// `struct drm_amdgpu_gem_op`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Op {
    handle: u32,
    operation: u32,
    value: u64,
}

/// amdgpu.
pub(super) struct Amdgpu;

impl Driver for Amdgpu {
    fn name(&self) -> &'static str {
        "amdgpu"
    }

    fn variable(&self) -> Option<&'static str> {
        Some("AMDGPU_GPU_ID")
    }

    fn creates(&self, number: u32) -> bool {
        number == GEM_CREATE
    }

    fn created(&self, argument: &Argument) -> Option<Created> {
        // The result has overwritten the size, so it is taken from the arguments before the call.
        let before: CreateIn = argument.before()?;
        let after: CreateOut = argument.read()?;
        Some(Created {
            handle: after.handle,
            size_bytes: before.size,
            attributes: encode(&[before.size, before.alignment, before.domains, before.flags]),
        })
    }

    fn create(&self, shim: &Shim, size_bytes: u64) -> Result<u32, Errno> {
        let mut create = CreateIn {
            size: size_bytes,
            alignment: 0,
            domains: DOMAIN_GTT,
            flags: 0,
        };
        shim.ioctl(request::<CreateIn>(GEM_CREATE), &mut create)?;
        // The handle is the lower half of the first integer on the little-endian machines that Mesa supports.
        u32::try_from(create.size & u64::from(u32::MAX)).map_err(|_| Errno::INVAL)
    }

    fn map_offset(&self, shim: &Shim, handle: u32) -> Result<u64, Errno> {
        let mut mmap = Mmap {
            value: handle.into(),
        };
        shim.ioctl(request::<Mmap>(GEM_MMAP), &mut mmap)?;
        Ok(mmap.value)
    }

    fn foreign_attributes(&self, size_bytes: u64) -> Vec<u8> {
        encode(&[size_bytes, 0, DOMAIN_GTT, 0])
    }

    fn accessed(&self, number: u32, argument: &Argument) -> Option<u32> {
        match number {
            GEM_METADATA => argument.read().map(|call: Metadata| call.handle),
            GEM_OP => argument.read().map(|call: Op| call.handle),
            _ => None,
        }
    }

    fn access(&self, number: u32, argument: &Argument, attributes: &mut Vec<u8>) -> Access {
        if number == GEM_OP {
            return create_info(argument, attributes);
        }
        let Some(mut call) = argument.read::<Metadata>() else {
            return Access::None;
        };
        let first = CREATE_WORDS;
        match call.operation {
            METADATA_SET => {
                if usize::try_from(call.data_bytes)
                    .map_or(true, |size| size > size_of_val(&call.data))
                {
                    return Access::Refused(Errno::INVAL);
                }
                attributes.resize(first * size_of::<u64>(), 0);
                let head = [call.flags, call.tiling_info, call.data_bytes.into()];
                attributes.extend(encode(&head));
                let data = call.data.map(u64::from);
                attributes.extend(encode(&data));
                Access::Written
            }
            METADATA_GET => {
                call.flags = decode(attributes, first);
                call.tiling_info = decode(attributes, first + 1);
                call.data_bytes = super::decode_low(attributes, first + 2);
                for (index, word) in (first + 3..).zip(&mut call.data) {
                    *word = super::decode_low(attributes, index);
                }
                argument.write(&call);
                Access::Read
            }
            _ => Access::Refused(Errno::INVAL),
        }
    }
}

/// Answers AMDGPU_GEM_OP_GET_GEM_CREATE_INFO, from which a driver learns the size and the placement of an imported object.
fn create_info(argument: &Argument, attributes: &[u8]) -> Access {
    match argument.read::<Op>() {
        Some(call) if call.operation == OP_GET_CREATE_INFO => {
            let word = |index| decode(attributes, index);
            let info = CreateIn {
                size: word(0),
                alignment: word(1),
                domains: word(2),
                flags: word(3),
            };
            argument.write_at(call.value, &info);
            Access::Read
        }
        _ => Access::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accesses the metadata, and returns it as it is after the call.
    fn access(attributes: &mut Vec<u8>, mut call: Metadata, expected: Access) -> Metadata {
        let argument = Argument::of(GEM_METADATA, &mut call);
        assert_eq!(Amdgpu.accessed(GEM_METADATA, &argument), Some(1));
        assert_eq!(Amdgpu.access(GEM_METADATA, &argument, attributes), expected);
        argument.read().unwrap()
    }

    const EMPTY: Metadata = Metadata {
        handle: 1,
        operation: METADATA_GET,
        flags: 0,
        tiling_info: 0,
        data_bytes: 0,
        data: [0; 64],
        padding: 0,
    };

    #[test]
    fn metadata_that_was_set_twice_is_the_last_and_the_size_stays() {
        let mut attributes = Amdgpu.foreign_attributes(8192);
        for tiling_info in [u64::MAX, 1 << 63 | 5] {
            let set = Metadata {
                operation: METADATA_SET,
                tiling_info,
                data_bytes: 256,
                data: [u32::MAX; 64],
                ..EMPTY
            };
            access(&mut attributes, set, Access::Written);
        }
        let found = access(&mut attributes, EMPTY, Access::Read);
        assert_eq!((found.tiling_info, found.data_bytes), (1 << 63 | 5, 256));
        assert_eq!(found.data, [u32::MAX; 64]);
        let mut info = CreateIn::default();
        let mut call = Op {
            handle: 1,
            operation: OP_GET_CREATE_INFO,
            value: std::ptr::from_mut(&mut info).expose_provenance() as u64,
        };
        let argument = Argument::of(GEM_OP, &mut call);
        let done = Amdgpu.access(GEM_OP, &argument, &mut attributes);
        assert_eq!(
            (done, info.size, info.domains),
            (Access::Read, 8192, DOMAIN_GTT)
        );
    }

    #[test]
    fn metadata_that_is_too_long_is_refused() {
        let set = Metadata {
            operation: METADATA_SET,
            data_bytes: 257,
            ..EMPTY
        };
        access(&mut Vec::new(), set, Access::Refused(Errno::INVAL));
    }
}
