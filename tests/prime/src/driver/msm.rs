//! msm, the kernel driver below Turnip and freedreno.
//!
//! # References
//! `msm_drm.h`; `msm_drv.c` of the kernel, `msm_ioctl_gem_info`.

use rustix::io::Errno;

use super::{Access, COMMAND_BASE, Created, Driver};
use crate::sys::{Argument, Shim, request};

const GEM_NEW: u32 = COMMAND_BASE + 0x02;
const GEM_INFO: u32 = COMMAND_BASE + 0x03;

const INFO_GET_OFFSET: u32 = 0;
const INFO_GET_FLAGS: u32 = 5;
const INFO_SET_METADATA: u32 = 6;
const INFO_GET_METADATA: u32 = 7;
/// The maximum size of the metadata in bytes, which is that of the kernel.
const MAX_METADATA_BYTES: usize = 128;
const FLAG_CACHED_WRITE_COMBINED: u32 = 0x0002_0000;

/// `struct drm_msm_gem_new`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct GemNew {
    size: u64,
    flags: u32,
    handle: u32,
}

/// `struct drm_msm_gem_info`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct GemInfo {
    handle: u32,
    info: u32,
    value: u64,
    length: u32,
    padding: u32,
}

/// msm. The attributes are the metadata, which only the user-space driver interprets.
pub(super) struct Msm;

impl Driver for Msm {
    fn name(&self) -> &'static str {
        "msm"
    }

    fn variable(&self) -> Option<&'static str> {
        Some("FD_GPU_ID")
    }

    fn creates(&self, number: u32) -> bool {
        number == GEM_NEW
    }

    fn created(&self, argument: &Argument) -> Option<Created> {
        let call: GemNew = argument.read()?;
        Some(Created {
            handle: call.handle,
            size_bytes: call.size,
            attributes: Vec::new(),
        })
    }

    fn create(&self, shim: &Shim, size_bytes: u64) -> Result<u32, Errno> {
        let mut call = GemNew {
            size: size_bytes,
            flags: FLAG_CACHED_WRITE_COMBINED,
            handle: 0,
        };
        shim.ioctl(request::<GemNew>(GEM_NEW), &mut call)?;
        Ok(call.handle)
    }

    fn map_offset(&self, shim: &Shim, handle: u32) -> Result<u64, Errno> {
        let mut call = GemInfo {
            handle,
            info: INFO_GET_OFFSET,
            ..GemInfo::default()
        };
        shim.ioctl(request::<GemInfo>(GEM_INFO), &mut call)?;
        Ok(call.value)
    }

    fn foreign_attributes(&self, _: u64) -> Vec<u8> {
        Vec::new()
    }

    fn accessed(&self, number: u32, argument: &Argument) -> Option<u32> {
        let call: GemInfo = (number == GEM_INFO).then(|| argument.read())??;
        let accesses = [INFO_GET_FLAGS, INFO_SET_METADATA, INFO_GET_METADATA];
        accesses.contains(&call.info).then_some(call.handle)
    }

    fn access(&self, _: u32, argument: &Argument, attributes: &mut Vec<u8>) -> Access {
        let Some(mut call) = argument.read::<GemInfo>() else {
            return Access::None;
        };
        let given = usize::try_from(call.length).unwrap_or(usize::MAX);
        match call.info {
            INFO_SET_METADATA => {
                if given > MAX_METADATA_BYTES {
                    return Access::Refused(Errno::OVERFLOW);
                }
                *attributes = argument.read_bytes_at(call.value, given);
                Access::Written
            }
            INFO_GET_METADATA => {
                let Ok(length) = u32::try_from(attributes.len()) else {
                    return Access::Refused(Errno::OVERFLOW);
                };
                // Without a pointer only the length is queried.
                if call.value != 0 {
                    if given < attributes.len() {
                        return Access::Refused(Errno::TOOBIG);
                    }
                    argument.write_bytes_at(call.value, attributes);
                }
                call.length = length;
                argument.write(&call);
                Access::Read
            }
            // The shim does not answer this query.
            _ => {
                call.value = FLAG_CACHED_WRITE_COMBINED.into();
                argument.write(&call);
                Access::Read
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(attributes: &mut Vec<u8>, call: &mut GemInfo) -> Access {
        let argument = Argument::of(GEM_INFO, call);
        assert_eq!(Msm.accessed(GEM_INFO, &argument), Some(1));
        Msm.access(GEM_INFO, &argument, attributes)
    }

    fn call(info: u32, bytes: &mut [u8]) -> GemInfo {
        GemInfo {
            handle: 1,
            info,
            value: bytes.as_mut_ptr().expose_provenance() as u64,
            length: u32::try_from(bytes.len()).unwrap(),
            padding: 0,
        }
    }

    #[test]
    fn metadata_is_read_back_and_its_length_is_queried() {
        let mut attributes = Vec::new();
        let mut set = call(INFO_SET_METADATA, &mut [1, 2, 3]);
        assert_eq!(access(&mut attributes, &mut set), Access::Written);
        let mut query = call(INFO_GET_METADATA, &mut []);
        query.value = 0;
        assert_eq!(access(&mut attributes, &mut query), Access::Read);
        assert_eq!(query.length, 3);
        let mut bytes = [0; 4];
        let mut get = call(INFO_GET_METADATA, &mut bytes);
        assert_eq!(access(&mut attributes, &mut get), Access::Read);
        assert_eq!((bytes, get.length), ([1, 2, 3, 0], 3));
    }

    #[test]
    fn metadata_that_does_not_fit_is_refused() {
        let mut attributes = vec![1, 2, 3];
        let mut get = call(INFO_GET_METADATA, &mut [0; 2]);
        let done = access(&mut attributes, &mut get);
        assert_eq!(done, Access::Refused(Errno::TOOBIG));
        let mut set = call(INFO_SET_METADATA, &mut [0; MAX_METADATA_BYTES + 1]);
        let done = access(&mut attributes, &mut set);
        assert_eq!(done, Access::Refused(Errno::OVERFLOW));
    }
}
