//! The peer process, which receives buffers and fences from the parent, and reports what its Vulkan device reads and writes.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::vulkan::{Gpu, Image, Submission};
use covalent_alloc::buffer::{Buffer, Descriptor, PlaneDescriptor};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, Modifier};
use covalent_alloc::sync::{Fence, Pollable as _, SyncDevice, Timeline, Until};
use covalent_tests::check_support::pixels::{pattern, same};
use serde::{Deserialize, Serialize};

use super::exchange::{TIMEOUT, expect_pending, pixels_when_done, submission_after};
use super::socket::Socket;
use super::test_machine::TestMachine;

/// A request to the peer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum PeerRequest {
    /// Import this buffer into one of the peer's devices. The buffer's fds are in the message.
    Import {
        device: usize,
        buffer: BufferDescription,
    },
    /// Read with the device, and compare the pixels with the pattern of this seed.
    Read { seed: usize },
    /// Write the pattern of this seed with the device.
    Draw { seed: usize },
    /// Let the device read after the sync_file in the message is signalled, and compare the pixels.
    ReadAfter { seed: usize },
    /// Wait in poll() for this point of the syncobj in the message, read, compare the pixels, and signal the next point.
    ReadAfterPoint { seed: usize, point: u64 },
    /// Let the device read after this point of the driver's own timeline in the message, compare the pixels, and let the device
    /// signal the next point.
    ReadAfterDevice { seed: usize, point: u64 },
    /// Drop the imported buffer.
    Drop,
}

/// A reply of the peer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PeerReply {
    /// The request was carried out.
    Done,
    /// The peer waits for a fence or a point that is pending. Another reply follows.
    Waiting,
    /// The request failed, or the pixels differ.
    Failed(String),
}

/// The description of a buffer as JSON. The buffer's fds are in the same message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BufferDescription {
    width: u32,
    height: u32,
    fourcc: u32,
    modifier: u64,
    /// Offset and stride of each plane, in bytes.
    planes: Vec<(u32, u32)>,
}

impl BufferDescription {
    /// Returns the description of a buffer, and one fd for each plane.
    pub(crate) fn of(buffer: &Buffer) -> Result<(Self, Vec<BorrowedFd<'_>>)> {
        let layout = buffer.layout();
        let mut planes = Vec::new();
        let mut fds = Vec::new();
        for (number, plane) in layout.planes().iter().enumerate() {
            planes.push((u32::try_from(plane.offset_bytes)?, plane.stride_bytes));
            fds.push(
                buffer
                    .plane_fd(number)
                    .context("the buffer has no dma-buf")?,
            );
        }
        let described = Self {
            width: layout.extent().width(),
            height: layout.extent().height(),
            fourcc: layout.format().fourcc.0,
            modifier: layout.format().modifier.0,
            planes,
        };
        Ok((described, fds))
    }

    /// Imports the buffer with the checks for a buffer of an untrusted client.
    pub(crate) fn import(&self, fds: Vec<OwnedFd>) -> Result<Buffer> {
        ensure!(
            fds.len() == self.planes.len(),
            "the message has {} fds for {} planes",
            fds.len(),
            self.planes.len()
        );
        let planes = fds.into_iter().zip(&self.planes);
        Ok(Buffer::import(Descriptor {
            extent: Extent::new(self.width, self.height)?,
            format: FormatModifier::new(Fourcc(self.fourcc), Modifier(self.modifier)),
            planes: planes
                .map(|(fd, (offset_bytes, stride_bytes))| PlaneDescriptor {
                    fd,
                    offset_bytes: u64::from(*offset_bytes),
                    stride_bytes: *stride_bytes,
                })
                .collect(),
        })?)
    }
}

/// The peer process as seen by its parent. When this is dropped, the peer is killed.
pub(crate) struct Peer {
    pub(crate) socket: Socket,
    pub(crate) child: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // This call fails if the peer has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// Starts this program as a peer process, whose standard input is one end of a socket pair.
    pub(crate) fn start(words: &[&str]) -> Result<Self> {
        let (socket, theirs) = Socket::pair()?;
        let child = Command::new("/proc/self/exe")
            .args(words)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .context("start the peer process")?;
        Ok(Self { socket, child })
    }

    /// Sends a request and waits for the first reply.
    pub(crate) fn request(
        &self,
        request: &PeerRequest,
        fds: &[BorrowedFd<'_>],
    ) -> Result<PeerReply> {
        self.socket.send(request, fds)?;
        self.reply()
    }

    /// Sends a request and expects [`PeerReply::Done`].
    pub(crate) fn expect_done(&self, request: &PeerRequest, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let reply = self.request(request, fds)?;
        ensure!(
            reply == PeerReply::Done,
            "the peer process replied {reply:?}"
        );
        Ok(())
    }

    /// Waits for a reply.
    pub(crate) fn reply(&self) -> Result<PeerReply> {
        match self.socket.receive::<PeerReply>()? {
            Some((reply, _)) => Ok(reply),
            None => bail!("the peer process has ended"),
        }
    }
}

/// Returns the first card that supports timeline syncobjs with eventfd.
pub(crate) fn sync_device() -> Result<Option<SyncDevice>> {
    for path in Card::list() {
        let Ok(card) = Card::open(&path) else {
            continue;
        };
        let device = SyncDevice::new(card)?;
        if device.support().eventfd {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

/// Runs as the peer until the socket is closed.
pub(crate) fn serve(machine: &TestMachine) -> Result<()> {
    let socket = Socket::from(rustix::io::dup(rustix::stdio::stdin())?);
    let mut imported: Option<(Gpu, Image)> = None;
    while let Some((request, fds)) = socket.receive::<PeerRequest>()? {
        let reply = match act(machine, &socket, &mut imported, request, fds) {
            Ok(()) => PeerReply::Done,
            Err(error) => PeerReply::Failed(format!("{error:#}")),
        };
        socket.send(&reply, &[])?;
    }
    Ok(())
}

fn act(
    machine: &TestMachine,
    socket: &Socket,
    imported: &mut Option<(Gpu, Image)>,
    request: PeerRequest,
    fds: Vec<OwnedFd>,
) -> Result<()> {
    match (request, imported.as_ref()) {
        (PeerRequest::Import { device, buffer }, _) => {
            let (gpu, _) = machine
                .gpus
                .get(device)
                .context("the peer has no Vulkan device of this index")?;
            let image = gpu.import(&buffer.import(fds)?)?;
            *imported = Some((gpu.clone(), image));
            Ok(())
        }
        (PeerRequest::Drop, _) => {
            *imported = None;
            Ok(())
        }
        (request, Some((gpu, image))) => with(gpu, image, socket, request, fds),
        (_, None) => bail!("the request needs an imported buffer"),
    }
}

fn with(
    gpu: &Gpu,
    image: &Image,
    socket: &Socket,
    request: PeerRequest,
    fds: Vec<OwnedFd>,
) -> Result<()> {
    let pixels = |seed| pattern(image.buffer(), seed);
    let mut fds = fds.into_iter();
    match request {
        PeerRequest::Read { seed } => same(&image.read()?, &pixels(seed)?),
        PeerRequest::Draw { seed } => Ok(image.write(&pixels(seed)?)?),
        PeerRequest::ReadAfter { seed } => {
            let fence = Fence::import(fds.next().context("the message has no fd of a sync_file")?)?;
            let reading = image.begin_read(submission_after(fence))?;
            expect_pending(&reading)?;
            socket.send(&PeerReply::Waiting, &[])?;
            same(&pixels_when_done(&reading)?, &pixels(seed)?)
        }
        PeerRequest::ReadAfterPoint { seed, point } => {
            let device = sync_device()?.context("no card has timelines")?;
            let timeline = Timeline::import(
                &device,
                fds.next().context("the message has no fd of a timeline")?,
            )?;
            let wait = timeline.point(point)?.wait(Until::Signalled)?;
            ensure!(
                !wait.is_signalled()?,
                "the point is signalled before the request"
            );
            socket.send(&PeerReply::Waiting, &[])?;
            super::frames::sleep_until(&wait, None)?;
            same(&image.read()?, &pixels(seed)?)?;
            Ok(timeline.point(point + 1)?.signal()?)
        }
        PeerRequest::ReadAfterDevice { seed, point } => {
            let timeline = gpu.import_timeline(
                fds.next()
                    .context("the message has no fd of a timeline")?
                    .as_fd(),
            )?;
            let reading = image.begin_read(Submission {
                wait_points: vec![(timeline.clone(), point)],
                signal_points: vec![(timeline, point + 1)],
                ..Submission::default()
            })?;
            expect_pending(&reading)?;
            socket.send(&PeerReply::Waiting, &[])?;
            ensure!(
                reading.wait(TIMEOUT)?,
                "the device does not complete its work"
            );
            same(&reading.pixels()?, &pixels(seed)?)
        }
        PeerRequest::Import { .. } | PeerRequest::Drop => {
            bail!("this request is handled without an imported buffer")
        }
    }
}
