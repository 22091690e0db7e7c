//! What this library knows about the ioctls of each kernel driver: which one creates a buffer object, and which ones read and
//! write the attributes that the kernel keeps with an object.

pub(crate) mod amdgpu;
pub(crate) mod asahi;
pub(crate) mod msm;
pub(crate) mod nouveau;
pub(crate) mod radeon;

use rustix::io::Errno;

use crate::sys::{Argument, Shim};

/// The first number of the ioctls of a driver.
///
/// # References
/// `drm.h`, DRM_COMMAND_BASE.
const COMMAND_BASE: u32 = 0x40;

/// An object that an ioctl has created.
pub(crate) struct Created {
    pub(crate) handle: u32,
    pub(crate) size_bytes: u64,
    /// The attributes of the object, in the driver's own encoding.
    pub(crate) attributes: Vec<u8>,
}

/// What an ioctl did to the attributes of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The ioctl does not concern the attributes.
    None,
    /// The attributes were copied to the caller.
    Read,
    /// The attributes were replaced.
    Written,
    /// The kernel's driver would refuse the call.
    Refused(Errno),
}

/// A kernel driver that a shim stands in for.
pub(crate) trait Driver: Sync {
    /// The name that DRM_IOCTL_VERSION returns.
    fn name(&self) -> &'static str;

    /// The environment variable that selects the GPU of the shim. Objects of another GPU are foreign.
    fn variable(&self) -> Option<&'static str>;

    /// Whether the ioctl with this number creates an object.
    fn creates(&self, number: u32) -> bool;

    /// Returns the object that a successful ioctl has created.
    fn created(&self, argument: &Argument) -> Option<Created>;

    /// Creates an object through the shim, and returns its handle.
    fn create(&self, shim: &Shim, size_bytes: u64) -> Result<u32, Errno>;

    /// Returns the offset at which the object is mapped. In all shims it is also the offset in the memfd with their memory.
    fn map_offset(&self, shim: &Shim, handle: u32) -> Result<u64, Errno>;

    /// Returns the attributes that an object has whose memory another device allocated.
    fn foreign_attributes(&self, size_bytes: u64) -> Vec<u8>;

    /// Returns the handle of the object whose attributes this ioctl accesses; `None` for other ioctls.
    fn accessed(&self, number: u32, argument: &Argument) -> Option<u32>;

    /// Whether the shim answers the ioctls that access the attributes, and leaves the attributes out. Otherwise this library
    /// answers them alone.
    fn completes_shim(&self) -> bool {
        false
    }

    /// Answers or completes an ioctl that accesses the attributes.
    fn access(&self, number: u32, argument: &Argument, attributes: &mut Vec<u8>) -> Access;
}

/// Returns the driver with this name.
pub(crate) fn find(name: &[u8]) -> Option<&'static dyn Driver> {
    const DRIVERS: [&dyn Driver; 5] = [
        &amdgpu::Amdgpu,
        &asahi::Asahi,
        &msm::Msm,
        &nouveau::Nouveau,
        &radeon::Radeon,
    ];
    DRIVERS
        .into_iter()
        .find(|driver| driver.name().as_bytes() == name)
}

/// Appends integers to attributes in the byte order of this machine.
fn encode(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Reads the integer at an index of encoded attributes; 0 if there is none.
fn decode(attributes: &[u8], index: usize) -> u64 {
    attributes
        .chunks_exact(size_of::<u64>())
        .nth(index)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_ne_bytes)
}

/// Reads the integer at an index of encoded attributes, as the 32 bits that the driver wrote.
fn decode_low(attributes: &[u8], index: usize) -> u32 {
    u32::try_from(decode(attributes, index)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_attributes_are_decoded_and_missing_ones_are_zero() {
        let attributes = encode(&[7, u64::from(u32::MAX)]);
        assert_eq!(decode(&attributes, 0), 7);
        assert_eq!(decode_low(&attributes, 1), u32::MAX);
        assert_eq!(decode(&attributes, 2), 0);
    }

    #[test]
    fn drivers_are_found_by_the_names_of_their_kernel_modules() {
        for name in ["amdgpu", "asahi", "msm", "nouveau", "radeon"] {
            assert_eq!(find(name.as_bytes()).unwrap().name(), name);
        }
        assert!(find(b"i915").is_none());
    }
}
