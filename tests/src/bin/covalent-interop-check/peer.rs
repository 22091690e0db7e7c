//! The other process: it is sent buffers and moments, and says what its device makes of them.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::vulkan::{Gpu, Image, Submission};
use covalent_alloc::buffer::{Buffer, Descriptor, PlaneDescriptor};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, Modifier};
use covalent_alloc::sync::{Fence, Pollable as _, SyncDevice, Timeline, Until};
use covalent_tests::witness::pixels::{pattern, same};
use serde::{Deserialize, Serialize};

use super::exchange::{PATIENCE, after, finished, goes_on};
use super::socket::Socket;
use super::world::World;

/// What the other process is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// To import this buffer with one of its devices.
    Take { device: usize, picture: Described },
    /// Whether its device reads this pattern.
    Read { seed: usize },
    /// To let its device write this pattern.
    Draw { seed: usize },
    /// To let its device read behind this sync_file, which has come along.
    ReadAfter { seed: usize },
    /// To wait for this point of the syncobj that has come along, in an event loop, to read, and to signal the next.
    ReadAfterPoint { seed: usize, point: u64 },
    /// To let its device wait for this point of its driver's timeline that has come along, read, and signal the next.
    ReadAfterDevice { seed: usize, point: u64 },
    /// To let go of the buffer.
    Drop,
}

/// What it answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It has done so.
    Done,
    /// It waits, and has seen that it has to.
    Waits,
    /// It cannot, or saw something else.
    Failed(String),
}

/// A picture in memory that has come along, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Described {
    width: u32,
    height: u32,
    fourcc: u32,
    modifier: u64,
    planes: Vec<(u32, u32)>,
}

impl Described {
    /// Describes a buffer, with an fd for each of its planes.
    pub(crate) fn of(buffer: &Buffer) -> Result<(Self, Vec<BorrowedFd<'_>>)> {
        let layout = buffer.layout();
        let mut planes = Vec::new();
        let mut fds = Vec::new();
        for (number, plane) in layout.planes().iter().enumerate() {
            planes.push((u32::try_from(plane.offset_bytes)?, plane.stride_bytes));
            fds.push(buffer.plane_fd(number).context("no memory")?);
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

    /// Takes the buffer, as one takes a stranger's.
    pub(crate) fn take(&self, fds: Vec<OwnedFd>) -> Result<Buffer> {
        ensure!(fds.len() == self.planes.len(), "{} fds", fds.len());
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

/// The other process, as this one sees it. It ends with this value.
pub(crate) struct Peer {
    pub(crate) socket: Socket,
    pub(crate) child: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// Starts this program once more, in another role.
    pub(crate) fn start(words: &[&str]) -> Result<Self> {
        let (socket, theirs) = Socket::pair()?;
        let child = Command::new("/proc/self/exe")
            .args(words)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .context("start the other process")?;
        Ok(Self { socket, child })
    }

    /// Asks, and waits for the first answer.
    pub(crate) fn ask(&self, ask: &Ask, fds: &[BorrowedFd<'_>]) -> Result<Answer> {
        self.socket.send(ask, fds)?;
        self.answer()
    }

    /// Asks for something that has to be done.
    pub(crate) fn must(&self, ask: &Ask, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let answer = self.ask(ask, fds)?;
        ensure!(answer == Answer::Done, "the other process: {answer:?}");
        Ok(())
    }

    /// Waits for an answer.
    pub(crate) fn answer(&self) -> Result<Answer> {
        match self.socket.receive::<Answer>()? {
            Some((answer, _)) => Ok(answer),
            None => bail!("the other process is gone"),
        }
    }
}

/// The first card that has timelines.
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

/// What the other process does, until nobody asks any more.
pub(crate) fn serve(world: &World) -> Result<()> {
    let socket = Socket::from(rustix::io::dup(rustix::stdio::stdin())?);
    let mut taken: Option<(Gpu, Image)> = None;
    while let Some((ask, fds)) = socket.receive::<Ask>()? {
        let answer = match act(world, &socket, &mut taken, ask, fds) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed(format!("{error:#}")),
        };
        socket.send(&answer, &[])?;
    }
    Ok(())
}

fn act(
    world: &World,
    socket: &Socket,
    taken: &mut Option<(Gpu, Image)>,
    ask: Ask,
    fds: Vec<OwnedFd>,
) -> Result<()> {
    match (ask, taken.as_ref()) {
        (Ask::Take { device, picture }, _) => {
            let (gpu, _) = world.gpus.get(device).context("no such device here")?;
            let image = gpu.import(&picture.take(fds)?)?;
            *taken = Some((gpu.clone(), image));
            Ok(())
        }
        (Ask::Drop, _) => {
            *taken = None;
            Ok(())
        }
        (ask, Some((gpu, image))) => with(gpu, image, socket, ask, fds),
        (_, None) => bail!("nothing was taken"),
    }
}

fn with(gpu: &Gpu, image: &Image, socket: &Socket, ask: Ask, fds: Vec<OwnedFd>) -> Result<()> {
    let pixels = |seed| pattern(image.buffer(), seed);
    let mut fds = fds.into_iter();
    match ask {
        Ask::Read { seed } => same(&image.read()?, &pixels(seed)?),
        Ask::Draw { seed } => Ok(image.write(&pixels(seed)?)?),
        Ask::ReadAfter { seed } => {
            let fence = Fence::import(fds.next().context("no fence came along")?)?;
            let reading = image.begin_read(after(fence))?;
            goes_on(&reading)?;
            socket.send(&Answer::Waits, &[])?;
            same(&finished(&reading)?, &pixels(seed)?)
        }
        Ask::ReadAfterPoint { seed, point } => {
            let device = sync_device()?.context("no card has timelines")?;
            let timeline = Timeline::import(&device, fds.next().context("no timeline")?)?;
            let wait = timeline.point(point)?.wait(Until::Signalled)?;
            ensure!(!wait.is_signalled()?, "the point is there before its time");
            socket.send(&Answer::Waits, &[])?;
            super::frames::sleep(&wait, None)?;
            same(&image.read()?, &pixels(seed)?)?;
            Ok(timeline.point(point + 1)?.signal()?)
        }
        Ask::ReadAfterDevice { seed, point } => {
            let timeline = gpu.import_timeline(fds.next().context("no timeline")?.as_fd())?;
            let reading = image.begin_read(Submission {
                after_points: vec![(timeline.clone(), point)],
                signal_points: vec![(timeline, point + 1)],
                ..Submission::default()
            })?;
            goes_on(&reading)?;
            socket.send(&Answer::Waits, &[])?;
            ensure!(reading.wait(PATIENCE)?, "the device does not end");
            same(&reading.pixels()?, &pixels(seed)?)
        }
        Ask::Take { .. } | Ask::Drop => bail!("that needs no buffer"),
    }
}
