//! The formats and links of a media device of this machine.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{fstat, major, minor};
use rustix::io::Errno;

use super::super::{Device, Direction, NegotiatedFormat, PixelFormat, Queue};
use super::access::{Access, Which};
use super::bus_code::BusCode;
use super::bus_format::BusFormat;
use super::device::{open, request};
use super::error::MediaError;
use super::node_format::NodeFormat;
use super::search::no_node;
use super::sys;
use super::topology::{Entity, Id, Link, Pad};
use crate::backend::character_device;
use crate::model::Rect;

/// The maximum number of codes of a pad that are read. Sensors have fewer than fifty.
const MAXIMUM_CODES: u32 = 256;

/// A media device of this machine, with the device nodes that were opened so far.
pub(super) struct Hardware<'a> {
    media: BorrowedFd<'a>,
    path: &'a Path,
    subdevices: BTreeMap<Id, (OwnedFd, PathBuf)>,
    nodes: BTreeMap<Id, Device>,
}

impl<'a> Hardware<'a> {
    /// Wraps an open media device. `video` is the open device node of the entity `node`.
    pub(super) fn new(media: BorrowedFd<'a>, path: &'a Path, video: &Device, node: Id) -> Self {
        Self {
            media,
            path,
            subdevices: BTreeMap::new(),
            nodes: BTreeMap::from([(node, video.clone())]),
        }
    }

    /// Returns the open node of a sub-device. It stays open, because try formats belong to the open file.
    fn subdevice(&mut self, entity: &Entity) -> Result<(BorrowedFd<'_>, &Path), MediaError> {
        use std::collections::btree_map::Entry;
        let opened = match self.subdevices.entry(entity.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let path = path_of(entity)?;
                let fd = open(&path)?;
                check_number(&fd, &path, entity)?;
                place.insert((fd, path))
            }
        };
        Ok((opened.0.as_fd(), &opened.1))
    }

    /// Returns the capture queue of a video node; `None` if it has none.
    fn queue(&mut self, entity: &Entity) -> Result<Option<Queue>, MediaError> {
        let device = match self.nodes.get(&entity.id) {
            Some(device) => device.clone(),
            None => {
                let path = path_of(entity)?;
                let device = Device::open(&path).map_err(MediaError::video)?;
                check_number(&device, &path, entity)?;
                self.nodes.insert(entity.id, device.clone());
                device
            }
        };
        Ok(device.queue(Direction::Capture).ok())
    }

    fn capture_queue(&mut self, entity: &Entity) -> Result<Queue, MediaError> {
        self.queue(entity)?.ok_or_else(|| no_node(entity))
    }
}

impl Access for Hardware<'_> {
    fn pad_format(&mut self, entity: &Entity, pad: Pad) -> Result<Option<BusFormat>, MediaError> {
        if entity.node.is_none() {
            return Ok(None);
        }
        let (fd, path) = self.subdevice(entity)?;
        let mut format = sys::PadFormat {
            which: sys::FORMAT_ACTIVE,
            pad: pad.index.into(),
            ..Default::default()
        };
        sys::get_format(fd, &mut format)
            .map_err(|source| request(path, "VIDIOC_SUBDEV_G_FMT", source))?;
        Ok(Some(BusFormat::from_kernel(&format.format)))
    }

    fn set_pad_format(
        &mut self,
        entity: &Entity,
        pad: Pad,
        which: Which,
        wanted: BusFormat,
    ) -> Result<BusFormat, MediaError> {
        const OPERATION: &str = "VIDIOC_SUBDEV_S_FMT";
        if entity.node.is_none() {
            return Err(no_node(entity));
        }
        let (fd, path) = self.subdevice(entity)?;
        let mut format = sys::PadFormat {
            which: match which {
                Which::Try => sys::FORMAT_TRY,
                Which::Active => sys::FORMAT_ACTIVE,
            },
            pad: pad.index.into(),
            format: wanted.to_kernel(),
            ..Default::default()
        };
        sys::set_format(fd, &mut format).map_err(|source| match source {
            Errno::BUSY => MediaError::BusyPart {
                operation: OPERATION,
                what: format!(
                    "pad {} of {}",
                    pad.index,
                    crate::text::printable(&entity.name)
                ),
            },
            source => request(path, OPERATION, source),
        })?;
        Ok(BusFormat::from_kernel(&format.format))
    }

    fn codes(&mut self, entity: &Entity, pad: Pad) -> Result<Vec<BusCode>, MediaError> {
        if entity.node.is_none() {
            return Err(no_node(entity));
        }
        let (fd, path) = self.subdevice(entity)?;
        let mut codes = Vec::new();
        for index in 0..MAXIMUM_CODES {
            let mut entry = sys::CodeEntry {
                pad: pad.index.into(),
                index,
                which: sys::FORMAT_TRY,
                ..Default::default()
            };
            match sys::enumerate_code(fd, &mut entry) {
                Ok(()) => codes.push(BusCode(entry.code)),
                Err(Errno::INVAL | Errno::NOTTY) => break,
                Err(source) => {
                    return Err(request(path, "VIDIOC_SUBDEV_ENUM_MBUS_CODE", source));
                }
            }
        }
        Ok(codes)
    }

    fn node_path(&mut self, entity: &Entity) -> Result<PathBuf, MediaError> {
        match self.nodes.get(&entity.id) {
            Some(device) => Ok(device.path().to_owned()),
            None => path_of(entity),
        }
    }

    fn node_format(&mut self, entity: &Entity) -> Result<Option<NodeFormat>, MediaError> {
        let Some(queue) = self.queue(entity)? else {
            return Ok(None);
        };
        let format = queue.current_format().map_err(MediaError::video)?;
        Ok(Some(NodeFormat {
            extent: format.extent,
            pixel_format: format.pixel_format,
        }))
    }

    fn set_node_format(
        &mut self,
        entity: &Entity,
        wanted: NodeFormat,
    ) -> Result<NodeFormat, MediaError> {
        let queue = self.capture_queue(entity)?;
        let format = NegotiatedFormat {
            extent: wanted.extent,
            visible: Rect::whole(wanted.extent),
            pixel_format: wanted.pixel_format,
            strides_bytes: vec![0],
            sizes_bytes: vec![0],
        };
        let set = queue.set_format(&format, |set| {
            (set.extent, set.pixel_format) == (wanted.extent, wanted.pixel_format)
        });
        let set = set.map_err(MediaError::video)?;
        Ok(NodeFormat {
            extent: set.extent,
            pixel_format: set.pixel_format,
        })
    }

    fn pixel_formats(
        &mut self,
        entity: &Entity,
        code: BusCode,
    ) -> Result<Vec<PixelFormat>, MediaError> {
        let queue = self.capture_queue(entity)?;
        let listed = queue.formats_of_code(code.0).map_err(MediaError::video)?;
        Ok(listed.iter().map(|format| format.pixel_format).collect())
    }

    fn is_busy(&mut self, entity: &Entity) -> Result<bool, MediaError> {
        match self.queue(entity)? {
            Some(queue) => Ok(queue.imports().map_err(MediaError::video)?.is_none()),
            None => Ok(false),
        }
    }

    fn enable(&mut self, link: Link, is_enabled: bool) -> Result<(), MediaError> {
        const OPERATION: &str = "MEDIA_IOC_SETUP_LINK";
        let pad = |pad: Pad| sys::PadDescription {
            entity: pad.entity,
            index: pad.index,
            ..Default::default()
        };
        let mut description = sys::LinkDescription {
            source: pad(link.source),
            sink: pad(link.sink),
            flags: link.flags(is_enabled),
            ..Default::default()
        };
        sys::setup_link(self.media, &mut description).map_err(|source| match source {
            Errno::BUSY => MediaError::BusyPart {
                operation: OPERATION,
                what: "a link".to_owned(),
            },
            source => request(self.path, OPERATION, source),
        })
    }
}

/// Returns the path of an entity's device node.
fn path_of(entity: &Entity) -> Result<PathBuf, MediaError> {
    let path = entity
        .node
        .and_then(|(major, minor)| character_device::path_of(major, minor));
    path.ok_or_else(|| no_node(entity))
}

/// Returns an error if the opened device node is not the node of the entity.
fn check_number(fd: impl AsFd, path: &Path, entity: &Entity) -> Result<(), MediaError> {
    let status = fstat(&fd).map_err(|source| request(path, "fstat", source))?;
    let number = (major(status.st_rdev), minor(status.st_rdev));
    match entity.node == Some(number) {
        true => Ok(()),
        false => Err(no_node(entity)),
    }
}
