//! The attributes of shared objects, in a folder that the processes share: one file for each dma-buf, named by its inode number.
//!
//! In the kernel, two processes that use the same GPU have the same object, with the attributes that the first process wrote. The
//! shims of two processes know nothing of each other, so the attributes are in a file.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

/// The environment variable with the path of the folder.
const FOLDER: &str = "COVALENT_PRIME_STATE";

/// The maximum size of the attributes of an object in bytes. The largest that a driver writes are amdgpu's: 74 integers.
const MAX_BYTES: usize = 4096;

/// The attributes that one process wrote, and the GPU to which they belong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The kernel driver and the GPU, such as `amdgpu navi31`.
    pub(crate) owner: String,
    pub(crate) attributes: Vec<u8>,
}

impl Metadata {
    /// Writes the attributes of a dma-buf. Without a folder nothing is written, and other processes have no attributes.
    pub(crate) fn store(&self, inode: u64) {
        let Some(path) = path(inode) else { return };
        let new = path.with_extension(std::process::id().to_string());
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(self.owner.as_bytes())?;
            file.write_all(b"\n")?;
            file.write_all(&self.attributes)
        });
        // A driver has no use for the error of a file that only this library knows.
        if written.and_then(|()| fs::rename(&new, &path)).is_err() {
            let _ = fs::remove_file(&new);
        }
    }

    /// Reads the attributes of a dma-buf; `None` if no process wrote any.
    pub(crate) fn load(inode: u64) -> Option<Self> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_BYTES).ok()?.checked_add(256)?;
        let file = File::open(path(inode)?).ok()?;
        file.take(limit).read_to_end(&mut bytes).ok()?;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (owner, rest) = bytes.split_at_checked(end)?;
        let attributes = rest.get(1..)?;
        (attributes.len() <= MAX_BYTES).then(|| Self {
            owner: String::from_utf8_lossy(owner).into_owned(),
            attributes: attributes.to_vec(),
        })
    }
}

fn path(inode: u64) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    Some(folder.join(format!("dmabuf-{inode}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_with_line_feeds_are_parsed_whole() {
        let found = Metadata::parse(b"amdgpu navi31\n\n\x01\n").unwrap();
        assert_eq!(found.owner, "amdgpu navi31");
        assert_eq!(found.attributes, b"\n\x01\n");
    }

    #[test]
    fn file_without_an_owner_or_with_too_many_bytes_is_refused() {
        assert_eq!(Metadata::parse(b"amdgpu"), None);
        let long = [b"msm 660\n".as_slice(), &[0; MAX_BYTES + 1]].concat();
        assert_eq!(Metadata::parse(&long), None);
    }
}
