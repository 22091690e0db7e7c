//! The steps of an exchange in Vulkan: listing, export and import.

use std::os::fd::{BorrowedFd, OwnedFd};

use covalent_alloc::backend::vulkan::{ash::vk, format_of};
use covalent_alloc::model::Fourcc;

use super::message::{Failure, Kind, Plane, SIZE};

mod sys;

pub(super) use sys::Device;
use sys::Listed;

fn format(fourcc: u32) -> Result<vk::Format, Failure> {
    format_of(Fourcc(fourcc)).ok_or_else(|| Failure {
        operation: "the table of formats",
        why: format!("Vulkan has no format for {}", Fourcc(fourcc)),
    })
}

impl Device {
    /// Lists the modifiers with which images of a format are exchanged.
    pub(crate) fn list(&self, fourcc: u32) -> Result<Vec<Listed>, Failure> {
        Ok(self.modifiers(format(fourcc)?))
    }

    /// Allocates an image in a layout that the driver chooses, and exports it.
    pub(crate) fn export(&self, kind: Kind) -> Result<(Vec<Plane>, OwnedFd), Failure> {
        let format = format(kind.fourcc)?;
        let listed = self.modifiers(format);
        let own = listed.iter().find(|own| own.modifier == kind.modifier);
        let count = own.map_or(0, |own| usize::try_from(own.planes).unwrap_or(0));
        let mut image = self.image((format, kind.modifier), SIZE, None)?;
        let chosen = image.modifier()?;
        if chosen != kind.modifier {
            return Err(Failure {
                operation: "vkGetImageDrmFormatModifierPropertiesEXT",
                why: format!("the image has the modifier {chosen:#x}"),
            });
        }
        let planes = image.planes(count);
        let fd = image.export()?;
        Ok((planes, fd))
    }

    /// Imports a buffer as an image with exactly this layout.
    pub(crate) fn import(
        &self,
        kind: Kind,
        planes: &[Plane],
        fd: BorrowedFd<'_>,
    ) -> Result<(), Failure> {
        let size_bytes =
            rustix::fs::seek(fd, rustix::fs::SeekFrom::End(0)).map_err(|error| Failure {
                operation: "lseek",
                why: error.to_string(),
            })?;
        let format = format(kind.fourcc)?;
        let mut image = self.image((format, kind.modifier), SIZE, Some(planes))?;
        image.import(fd, size_bytes)
    }
}
