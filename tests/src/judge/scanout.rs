//! Finds the dma-bufs that displays scan out. This runs in another process than the compositor.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use drm::Device as _;
use drm::control::{Device as _, PlaneType};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A primary plane and the dma-buf of its framebuffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanout {
    /// The card's node.
    pub card: PathBuf,
    /// The card's driver.
    pub driver: String,
    /// The plane's object id.
    pub plane: u32,
    /// The framebuffer's object id.
    pub framebuffer: u32,
    /// The width and height of the framebuffer, in pixels.
    pub size: (u32, u32),
    /// The format's fourcc, as four characters.
    pub fourcc: String,
    /// The stride of the first plane, in bytes.
    pub stride_bytes: u32,
    /// The inode of the dma-buf.
    pub inode: u64,
    /// The driver that exported the dma-buf.
    pub exporter: String,
}

/// A request to a card that failed.
#[derive(Debug, Error)]
#[error("{card}: {operation} failed: {source}")]
pub struct ScanoutError {
    card: PathBuf,
    operation: &'static str,
    source: io::Error,
}

/// An open card.
struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
impl drm::Device for Card {}
impl drm::control::Device for Card {}

/// Returns every primary plane of this machine that shows a framebuffer.
///
/// Needs root: GETFB2 returns handles only to the DRM master and to processes with CAP_SYS_ADMIN.
///
/// # Errors
/// [`ScanoutError`] with the card and the request that failed.
pub fn read() -> Result<Vec<Scanout>, ScanoutError> {
    Ok(read_memory()?.into_iter().map(|(found, _)| found).collect())
}

/// Returns the planes that [`read`] returns, each with an fd of its dma-buf, through which the pixels can be read.
///
/// # Errors
/// As [`read`].
pub fn read_memory() -> Result<Vec<(Scanout, OwnedFd)>, ScanoutError> {
    let folder = Path::new("/dev/dri");
    let fail = |source| ScanoutError {
        card: folder.to_owned(),
        operation: "listing",
        source,
    };
    let mut cards = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("card"))
        {
            cards.push(path);
        }
    }
    cards.sort();
    let mut found = Vec::new();
    for card in cards {
        found.extend(read_card(&card)?);
    }
    Ok(found)
}

/// Returns the ids of the framebuffers that belong to the kernel's console on a card, according to debugfs.
///
/// [`read_card`] does not export the buffers of these framebuffers. Since Linux 6.16 a framebuffer keeps the handle of its
/// buffer, so an exported dma-buf would exist as long as the console, and a check for leaks would report it.
fn console_framebuffers(card: &Path) -> BTreeSet<u32> {
    let name = card.file_name().and_then(|name| name.to_str());
    let minor = name.and_then(|name| name.strip_prefix("card"));
    let list = Path::new("/sys/kernel/debug/dri")
        .join(minor.unwrap_or_default())
        .join("framebuffer");
    consoles_in(&fs::read_to_string(list).unwrap_or_default())
}

/// Returns the framebuffers in the list that belong to the kernel's console.
fn consoles_in(list: &str) -> BTreeSet<u32> {
    let blocks = list.split("framebuffer[").skip(1);
    blocks
        .filter(|block| block.contains("allocated by = [fbcon]"))
        .filter_map(|block| block.split_once(']')?.0.parse().ok())
        .collect()
}

/// Returns the primary planes of a card that show a framebuffer, each with its dma-buf.
fn read_card(path: &Path) -> Result<Vec<(Scanout, OwnedFd)>, ScanoutError> {
    let at = |operation| {
        move |source| ScanoutError {
            card: path.to_owned(),
            operation,
            source,
        }
    };
    let card = Card(
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(at("opening"))?,
    );
    // The process that opens a card without a master becomes its master. This process drops master, so that a compositor can
    // become master.
    let _ = card.release_master_lock();
    if card
        .set_client_capability(drm::ClientCapability::UniversalPlanes, true)
        .is_err()
    {
        return Ok(Vec::new());
    }
    let driver = card
        .get_driver()
        .map_err(at("VERSION"))?
        .name()
        .to_string_lossy()
        .into_owned();
    let consoles = console_framebuffers(path);
    let mut found = Vec::new();
    // A card without displays (vgem) has no planes to list.
    let Ok(planes) = card.plane_handles() else {
        return Ok(found);
    };
    for plane in planes {
        let info = card.get_plane(plane).map_err(at("GETPLANE"))?;
        let Some(framebuffer) = info.framebuffer() else {
            continue;
        };
        if !is_primary(&card, plane) || consoles.contains(&u32::from(framebuffer)) {
            continue;
        }
        // The compositor may have removed the framebuffer since the plane was read.
        let Ok(planar) = card.get_planar_framebuffer(framebuffer) else {
            continue;
        };
        let buffers = planar.buffers();
        let exported = buffers[0].map(|handle| card.buffer_to_prime_fd(handle, drm::CLOEXEC));
        let mut handles: Vec<_> = buffers.into_iter().flatten().collect();
        handles.sort_unstable_by_key(|handle| u32::from(*handle));
        handles.dedup();
        for handle in handles {
            card.close_buffer(handle).map_err(at("GEM_CLOSE"))?;
        }
        let Some(exported) = exported else { continue };
        let file = File::from(exported.map_err(at("PRIME_HANDLE_TO_FD"))?);
        let inode = file
            .metadata()
            .map_err(at("fstat of the exported dma-buf"))?
            .ino();
        let held = super::process::held(std::process::id()).map_err(at("reading fdinfo"))?;
        let exporter = held
            .iter()
            .find(|held| held.inode == inode)
            .map(|held| held.exporter.clone());
        let scanout = Scanout {
            card: path.to_owned(),
            driver: driver.clone(),
            plane: plane.into(),
            framebuffer: framebuffer.into(),
            size: planar.size(),
            fourcc: planar.pixel_format().to_string(),
            stride_bytes: planar.pitches()[0],
            inode,
            exporter: exporter.unwrap_or_default(),
        };
        found.push((scanout, file.into()));
    }
    Ok(found)
}

/// Returns whether a plane is a primary plane.
fn is_primary(card: &Card, plane: drm::control::plane::Handle) -> bool {
    let Ok(properties) = card.get_properties(plane) else {
        return false;
    };
    let (handles, values) = properties.as_props_and_values();
    handles.iter().zip(values).any(|(handle, value)| {
        *value == PlaneType::Primary as u64
            && card
                .get_property(*handle)
                .is_ok_and(|property| property.name().to_bytes() == b"type")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framebuffers_of_the_console_are_known_by_who_allocated_them() {
        let list = "framebuffer[44]:\n\tallocated by = [fbcon]\n\trefcount=2\n\tlayers:\n\t\tobj[0]:\n\t\t\tname=0\nframebuffer[51]:\n\tallocated by = covalent-compos\n\trefcount=1\n";
        assert_eq!(consoles_in(list), BTreeSet::from([44]));
        assert_eq!(consoles_in(""), BTreeSet::new());
    }
}
