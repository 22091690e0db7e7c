//! A media device: the graph behind a video node.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, major, minor};
use rustix::io::Errno;
use serde::Serialize;

use super::super::device::text;
use super::super::{Device, sys as video};
use super::bus_format::BusFormat;
use super::check::check;
use super::error::MediaError;
use super::fault::PipelineFault;
use super::graph::upstream;
use super::hardware::Hardware;
use super::setup::{PipelineChange, PipelineRequest, set_up};
use super::sys;
use super::topology::{Id, MAXIMUM_ELEMENTS, Topology, TopologyError};
use crate::SystemError;

/// The number of times that the graph is read if it keeps changing between the two ioctls that read it.
const ATTEMPTS: u32 = 8;

/// The media device of a video node whose pipeline is set up by programs (V4L2_CAP_IO_MC).
///
/// # References
/// Kernel documentation, "Media Controller API" and "Sub-device Interface".
#[derive(Debug)]
pub struct MediaDevice {
    fd: OwnedFd,
    path: PathBuf,
    driver: String,
    model: String,
    /// The video node.
    video: Device,
    topology: Topology,
    node: Id,
}

/// The entities of the media pipeline that ends at a video node, and whether the pipeline can stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PipelineReport {
    /// The path of the video node.
    pub node: PathBuf,
    /// The path of the media device's node, such as `/dev/media0`.
    pub media: PathBuf,
    /// The name of the media device's driver.
    pub driver: String,
    /// The model name that the media device's driver reports (`media_device_info.model`).
    pub model: String,
    /// The entities that enabled links connect, from the sensor to the video node.
    pub entities: Vec<String>,
    /// The first fault because of which the pipeline cannot stream; `None` if the check finds none.
    pub fault: Option<PipelineFault>,
}

impl MediaDevice {
    /// Finds the media device of a video node by the node's device number. The result is `None` if the driver sets up the
    /// pipeline by itself, or if no media device has the node.
    ///
    /// # Errors
    /// [`MediaError::Open`], [`MediaError::Request`] and [`MediaError::Topology`] if a media device cannot be queried, and no
    /// other media device has the node.
    pub fn of(video: &Device) -> Result<Option<Self>, MediaError> {
        if video.capabilities() & video::CAP_IO_MC == 0 {
            return Ok(None);
        }
        let number =
            fstat(video.as_fd()).map_err(|source| request(video.path(), "fstat", source))?;
        let number = (major(number.st_rdev), minor(number.st_rdev));
        let mut refused = None;
        for path in list() {
            // A media device that cannot be queried, for example because it is being removed, is often not the one of the video
            // node. Its error is returned only if no other media device has the node.
            let opened = open(&path).and_then(|fd| read(&fd, &path).map(|topology| (fd, topology)));
            let (fd, topology) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    refused = Some(error);
                    continue;
                }
            };
            if let Some(node) = topology.entity_of_node(number) {
                let info = sys::device_info(fd.as_fd())
                    .map_err(|source| request(&path, "MEDIA_IOC_DEVICE_INFO", source))?;
                return Ok(Some(Self {
                    fd,
                    path,
                    driver: text(&info.driver),
                    model: text(&info.model),
                    video: video.clone(),
                    topology,
                    node,
                }));
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// Checks the pipeline of a video node, as [`MediaDevice::report`] does. The result is `None` if [`MediaDevice::of`] finds no
    /// media device.
    ///
    /// # Errors
    /// The errors of [`MediaDevice::of`] and [`MediaDevice::report`].
    pub fn report_of(video: &Device) -> Result<Option<PipelineReport>, MediaError> {
        Self::of(video)?.map(|media| media.report()).transpose()
    }

    /// Returns the device node.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the name of the kernel driver.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Checks the pipeline of the video node as the kernel does when a stream starts: whether the pads that need an enabled link
    /// have one, and whether the two pads of each enabled link have the same format.
    ///
    /// # Errors
    /// [`MediaError::Open`] if a sub-device cannot be opened, and [`MediaError::Request`] if an ioctl fails.
    /// [`MediaError::Topology`] if the graph of the media device is not consistent.
    pub fn report(&self) -> Result<PipelineReport, MediaError> {
        let mut entities: Vec<String> = Vec::new();
        let links = upstream(&self.topology, self.node);
        let ids = links.iter().map(|link| link.source.entity);
        for id in ids.chain([self.node]) {
            let entity = self.topology.entity(id).map_err(MediaError::topology)?;
            if !entities.contains(&entity.name) {
                entities.push(entity.name.clone());
            }
        }
        Ok(PipelineReport {
            node: self.video.path().to_owned(),
            media: self.path.clone(),
            driver: self.driver.clone(),
            model: self.model.clone(),
            entities,
            fault: check(&self.topology, self.node, &mut self.hardware())?,
        })
    }

    /// Sets up the pipeline: enables the links of the shortest path from a sensor to the video node, and sets one format from the
    /// sensor to the node. Returns what was changed.
    ///
    /// Other links at the pads of the path are disabled, because they would bring other pictures. Links and formats that are
    /// already as they should be are not set again.
    ///
    /// # Errors
    /// [`MediaError::Busy`] if another open file streams from the pipeline; [`MediaError::NoPath`], [`MediaError::NoFormat`];
    /// [`MediaError::Incomplete`] if the pipeline cannot stream afterwards. Nothing was changed if the error is `Busy`, `NoPath`
    /// or `NoFormat`.
    pub fn set_up(&mut self, request: &PipelineRequest) -> Result<Vec<PipelineChange>, MediaError> {
        let mut topology = self.topology.clone();
        let changes = set_up(&mut topology, self.node, request, &mut self.hardware());
        match read(&self.fd, &self.path) {
            Ok(topology) => self.topology = topology,
            // If reading the graph fails as well, the error of the setup is returned, because it is more specific.
            Err(error) => return Err(changes.err().unwrap_or(error)),
        }
        changes
    }

    /// Returns the media bus format of the pad whose enabled link ends at the video node. The result is `None` if no link to the
    /// video node is enabled, if the link begins at another video node, or if the entity of the pad has no device node.
    pub(in crate::backend::v4l2) fn delivered(&self) -> Result<Option<BusFormat>, MediaError> {
        use super::access::Access as _;
        let links = super::graph::enabled_into(&self.topology, self.node);
        let Some(link) = links.first() else {
            return Ok(None);
        };
        let source = self.topology.entity(link.source.entity);
        let source = source.map_err(MediaError::topology)?;
        if source.is_video_node() {
            return Ok(None);
        }
        self.hardware().pad_format(source, link.source)
    }

    /// Returns access to the formats and links of the device.
    fn hardware(&self) -> Hardware<'_> {
        Hardware::new(self.fd.as_fd(), &self.path, &self.video, self.node)
    }
}

/// Lists the nodes of all media devices, by number.
fn list() -> Vec<PathBuf> {
    let number = |path: &Path| {
        let digits = path.file_name()?.to_str()?.strip_prefix("media")?;
        digits.parse::<u32>().ok()
    };
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut nodes: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((number(&entry.path())?, entry.path())))
        .collect();
    nodes.sort();
    nodes.into_iter().map(|(_, path)| path).collect()
}

pub(super) fn open(path: &Path) -> Result<OwnedFd, MediaError> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|source| MediaError::Open {
        device: path.to_owned(),
        source: SystemError::from(source),
    })
}

pub(super) fn request(device: &Path, operation: &'static str, source: Errno) -> MediaError {
    MediaError::Request {
        device: device.to_owned(),
        operation,
        source: source.into(),
    }
}

/// Reads the graph: first the numbers of elements, then the elements.
fn read(fd: &OwnedFd, path: &Path) -> Result<Topology, MediaError> {
    const OPERATION: &str = "MEDIA_IOC_G_TOPOLOGY";
    for _ in 0..ATTEMPTS {
        let sizes = sys::topology(fd.as_fd(), &mut sys::Arrays::default())
            .map_err(|source| request(path, OPERATION, source))?;
        let mut arrays = sys::Arrays {
            entities: vec![sys::Entity::EMPTY; length("entities", sizes.entities)?],
            interfaces: vec![sys::Interface::default(); length("interfaces", sizes.interfaces)?],
            pads: vec![sys::Pad::default(); length("pads", sizes.pads)?],
            links: vec![sys::Link::default(); length("links", sizes.links)?],
        };
        match sys::topology(fd.as_fd(), &mut arrays) {
            Ok(read) if read.version == sizes.version => {
                return Topology::parse(&arrays).map_err(MediaError::topology);
            }
            // The graph changed between the calls.
            Ok(_) | Err(Errno::NOSPC) => {}
            Err(source) => return Err(request(path, OPERATION, source)),
        }
    }
    Err(request(path, OPERATION, Errno::AGAIN))
}

/// Returns the length of an array of this many elements, within the limit.
fn length(what: &'static str, array: sys::Array) -> Result<usize, MediaError> {
    let count = array.count;
    if count > MAXIMUM_ELEMENTS {
        return Err(MediaError::topology(TopologyError::TooMany { what, count }));
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_no_media_device_is_named_as_such() {
        let path = Path::new("/dev/null");
        let fd = open(path).unwrap();
        let error = read(&fd, path).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("/dev/null: MEDIA_IOC_G_TOPOLOGY failed"),
            "{error}"
        );
        assert!(matches!(
            open(Path::new("/nowhere/media0")),
            Err(MediaError::Open { .. })
        ));
    }

    #[test]
    fn number_of_elements_is_limited_before_memory_is_allocated() {
        let array = sys::Array {
            count: u32::MAX,
            ..Default::default()
        };
        assert!(length("links", array).is_err());
    }
}
