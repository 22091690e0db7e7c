//! Two processes that exchange frames in dma-bufs. One timeline has the points of written frames, another those of read frames.
//! The pixels of each frame contain its number.
//!
//! ```text
//! producer                                   consumer
//!    │── buffers, both timelines ──────────────▶│
//!    │── number n, for buffer n mod 4 ─────────▶│  polls for point n of the timeline `drawn`
//!    │   draws, signals point n of `drawn`      │  reads, signals point n of the timeline `read`
//!    │   polls for point n - 4 of `read` ◀──────│
//! ```
//! Either process may be killed at any time. The surviving process then finds its socket closed, and continues with a new peer.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::process;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::vulkan::{Gpu, Image};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::sync::{Point, Pollable, SyncDevice, Timeline, Until};
use covalent_tests::check_support::CardHandles;
use covalent_tests::judge::process::fd_count;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::peer::{BufferDescription, Peer, sync_device};
use super::process_resources::{median_growth, resources};
use super::rows::{RowOutcome, Rows};
use super::socket::Socket;
use super::test_machine::{PlanResult, TestMachine};

const BUFFERS: u64 = 4;

/// How many times the memory use is sampled.
const SAMPLES: u64 = 16;

/// The number of kills of the other process after the first kill. The number of fds after the first kill must not grow.
const FURTHER_KILLS: u64 = 3;
/// The largest number of frames before a kill, in addition to one frame for each buffer.
const MAX_FRAMES_UNTIL_KILL: u64 = 60;

/// The allowed median growth of memory between two samples, in KiB. Allocators and drivers grow in occasional steps, which the
/// median ignores. If each frame leaks memory, the memory grows between most samples.
const ALLOWED_GROWTH_KIBIBYTES: u64 = 32;

/// The longest time until a point is signalled.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A message of the producer to the consumer.
#[derive(Debug, Serialize, Deserialize)]
enum FrameMessage {
    /// The next buffer, whose fds are in the message.
    Buffer(BufferDescription),
    /// The timelines `drawn` and `read`, whose fds are in the message.
    Timelines,
    /// The number of the next frame.
    Frame(u64),
}

pub(crate) fn run(machine: &TestMachine, rows: &mut Rows) {
    let count = machine.frames;
    let Some(device_index) =
        (0..machine.gpus.len()).find(|device_index| is_usable(machine, *device_index))
    else {
        rows.skip(
            "frames",
            "no Vulkan device can render to images that it exports",
        );
        return;
    };
    let scenarios: [(&str, Scenario); 3] = [
        ("arrive complete and leak nothing", undisturbed),
        ("continue after the consumer is killed", consumer_killed),
        ("continue after the producer is killed", producer_killed),
    ];
    for (what, scenario) in scenarios {
        rows.row(
            format!("frames between two processes {what}"),
            || match sync_device()? {
                Some(device) => scenario(machine, device_index, &device, count),
                None => Ok(RowOutcome::Skipped("no card here has timelines".to_owned())),
            },
        );
    }
}

/// A scenario with the Vulkan device of this index and a number of frames.
type Scenario = fn(&TestMachine, usize, &SyncDevice, u64) -> Result<RowOutcome>;

/// Returns whether frames can be exchanged with this Vulkan device.
fn is_usable(machine: &TestMachine, device_index: usize) -> bool {
    let Some((gpu, _)) = machine.gpus.get(device_index) else {
        return false;
    };
    let source = size().and_then(|extent| Ok(gpu.source_of_size(extent)?));
    gpu.is_cpu() && matches!(source, Ok(Some(_))) || plan_images(machine, gpu).is_ok()
}

/// Returns the size of the frames.
fn size() -> Result<Extent> {
    Ok(Extent::new(63, 17)?)
}

/// Plans frames in XRGB8888 that the device allocates.
fn plan_images(machine: &TestMachine, gpu: &Gpu) -> Result<Box<covalent_alloc::solve::Plan>> {
    let extent = size()?;
    let source = gpu
        .source_of_size(extent)?
        .context("the device exports no images")?;
    let participants = vec![gpu.participant(extent, Some(Fourcc::XRGB8888))?];
    match machine.plan(extent, participants, vec![source]) {
        PlanResult::Plan(plan) => Ok(plan),
        PlanResult::Impossible(why) => bail!("{why}"),
    }
}

/// Runs as the producer or the consumer, as `word` says, with one Vulkan device.
fn run_role(machine: &TestMachine, word: &str, device_index: usize) -> Result<()> {
    let socket = Socket::from(rustix::io::dup(rustix::stdio::stdin())?);
    let device = sync_device()?.context("no card has timelines")?;
    let (gpu, _) = machine
        .gpus
        .get(device_index)
        .context("the machine has no Vulkan device of this index")?;
    let outcome = match word {
        "producer" => {
            let mut producer = Producer::new(machine, gpu, &device)?;
            producer.send_buffers(&socket, 0)?;
            (1..).try_for_each(|number| producer.send_frame(&socket, number))
        }
        _ => Consumer::receive_buffers(gpu, &device, &socket).and_then(|mut consumer| {
            while consumer.read_frame(&socket)?.is_some() {}
            Ok(())
        }),
    };
    match outcome {
        // The parent closes the socket to end this process.
        Err(error) if error.is::<PeerGone>() => Ok(()),
        outcome => outcome,
    }
}

/// Runs as the child process that is the producer or the consumer.
pub(crate) fn serve(machine: &TestMachine, word: &str, device_index: usize) -> Result<()> {
    run_role(machine, word, device_index)
}

/// Starts the other process: the producer or the consumer, as `word` says.
fn start_peer(word: &str, device_index: usize) -> Result<Peer> {
    Peer::start(&["--role", word, "--place", &device_index.to_string()])
}

/// The error if the other process has closed the socket.
#[derive(Debug, thiserror::Error)]
#[error("the other process has ended")]
struct PeerGone;

/// Sends `count` frames, and checks that no resources are leaked.
fn undisturbed(
    machine: &TestMachine,
    device_index: usize,
    device: &SyncDevice,
    count: u64,
) -> Result<RowOutcome> {
    let (gpu, _) = machine
        .gpus
        .get(device_index)
        .context("the machine has no Vulkan device of this index")?;
    let mut producer = Producer::new(machine, gpu, device)?;
    let peer = start_peer("consumer", device_index)?;
    producer.send_buffers(&peer.socket, 0)?;
    let cards: Vec<&Card> = machine.sources.cards().collect();
    let handles =
        || -> Result<Vec<CardHandles>> { cards.iter().map(|card| CardHandles::of(card)).collect() };
    let before = handles()?;
    let mut samples = Vec::new();
    for number in 1..=count {
        producer.send_frame(&peer.socket, number)?;
        if number % (count / SAMPLES) == 0 {
            producer.wait_until_read(number, &peer.socket)?;
            samples.push(resources(peer.child.id())?);
        }
    }
    let after = handles()?;
    ensure!(
        after
            .iter()
            .zip(&before)
            .all(|(now, before)| !now.holds_more_than(before)),
        "GEM handles were leaked: the cards have {after:?} after the frames, and had {before:?} before"
    );
    // Resources that are allocated only once are allocated before the middle of the run, so the end is compared with the middle.
    let middle = samples
        .get(samples.len() / 2)
        .context("no memory was sampled")?;
    let last = samples.last().context("no memory was sampled")?;
    let kibibytes: Vec<(u64, u64)> = samples.iter().map(|sample| sample.kibibytes).collect();
    ensure!(
        last.fds.0 <= middle.fds.0 && last.fds.1 <= middle.fds.1,
        "fds were leaked: the processes have {:?} at the end, and had {:?} in the middle",
        last.fds,
        middle.fds
    );
    let (here, there): (Vec<u64>, Vec<u64>) = kibibytes.iter().copied().unzip();
    ensure!(
        median_growth(&here) <= ALLOWED_GROWTH_KIBIBYTES
            && median_growth(&there) <= ALLOWED_GROWTH_KIBIBYTES,
        "the memory of a process grows; the samples of both processes in KiB are {kibibytes:?}"
    );
    Ok(RowOutcome::PassedWithNote(format!(
        "{count} frames, all correct; the two processes had {:?} fds, {:?} KiB in the middle and {:?} KiB at the end",
        last.fds, middle.kibibytes, last.kibibytes
    )))
}

/// Returns a random number below a limit.
fn random_below(below: u64) -> Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes) % below)
}

/// Kills the consumer several times, and checks that the producer notices it and leaks no fds.
fn consumer_killed(
    machine: &TestMachine,
    device_index: usize,
    device: &SyncDevice,
    _: u64,
) -> Result<RowOutcome> {
    let (gpu, _) = machine
        .gpus
        .get(device_index)
        .context("the machine has no Vulkan device of this index")?;
    let mut producer = Producer::new(machine, gpu, device)?;
    let mut number = 0;
    let mut fds = None;
    let mut at = Vec::new();
    for _ in 0..=FURTHER_KILLS {
        let mut peer = start_peer("consumer", device_index)?;
        producer.send_buffers(&peer.socket, number)?;
        let until = BUFFERS + random_below(MAX_FRAMES_UNTIL_KILL)?;
        for _ in 0..until {
            number += 1;
            producer.send_frame(&peer.socket, number)?;
        }
        peer.child.kill()?;
        peer.child.wait()?;
        at.push(number);
        // The killed consumer does not signal the points of the frames that it has not read.
        let lost = producer.wait_until_read(number, &peer.socket);
        ensure!(
            lost.is_ok() || lost.is_err_and(|error| error.is::<PeerGone>()),
            "the producer did not notice that the consumer ended"
        );
        drop(peer);
        let now = fd_count(process::id())?;
        let most = *fds.get_or_insert(now);
        ensure!(
            now <= most,
            "fds were leaked: the process has {now} fds after a kill, and had {most} after the first kill"
        );
    }
    Ok(RowOutcome::PassedWithNote(format!(
        "killed after frames {at:?}"
    )))
}

fn producer_killed(
    machine: &TestMachine,
    device_index: usize,
    device: &SyncDevice,
    _: u64,
) -> Result<RowOutcome> {
    let (gpu, _) = machine
        .gpus
        .get(device_index)
        .context("the machine has no Vulkan device of this index")?;
    let mut fds = None;
    let mut at = Vec::new();
    for _ in 0..=FURTHER_KILLS {
        let mut peer = start_peer("producer", device_index)?;
        let mut consumer = Consumer::receive_buffers(gpu, device, &peer.socket)?;
        let until = BUFFERS + random_below(MAX_FRAMES_UNTIL_KILL)?;
        for _ in 0..until {
            consumer
                .read_frame(&peer.socket)?
                .context("the producer ended before it was killed")?;
        }
        peer.child.kill()?;
        peer.child.wait()?;
        at.push(until);
        // The points of frames that the producer did not draw are never signalled. The closed socket ends the wait for them.
        loop {
            match consumer.read_frame(&peer.socket) {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(error) if error.is::<PeerGone>() => break,
                Err(error) => return Err(error),
            }
        }
        drop((consumer, peer));
        let now = fd_count(process::id())?;
        let most = *fds.get_or_insert(now);
        ensure!(
            now <= most,
            "fds were leaked: the process has {now} fds after a kill, and had {most} after the first kill"
        );
    }
    Ok(RowOutcome::PassedWithNote(format!(
        "killed after {at:?} frames each"
    )))
}

/// The process that draws frames. A thread signals the point of each frame, because the driver's export of a fence may block.
struct Producer {
    images: Vec<Image>,
    drawn: Timeline,
    read: Timeline,
    jobs: Sender<(Image, u64, Point)>,
    done: Receiver<Result<Image>>,
    /// The number of the last frame that was drawn before the current consumer started.
    drawn_before: u64,
}

impl Producer {
    fn new(machine: &TestMachine, gpu: &Gpu, device: &SyncDevice) -> Result<Self> {
        let plan = plan_images(machine, gpu)?;
        let mut images = Vec::new();
        for _ in 0..BUFFERS {
            let buffer = machine
                .sources
                .allocate(&plan)?
                .pop()
                .context("the source allocated no buffer")?;
            images.push(gpu.import(&buffer)?);
        }
        let (jobs, queue) = channel();
        let (report, done) = channel();
        // The thread ends when the sender is dropped.
        thread::spawn(move || {
            for (image, number, point) in queue {
                let worked = draw_frame(&image, number, &point).map(|()| image);
                if report.send(worked).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            images,
            drawn: Timeline::create(device)?,
            read: Timeline::create(device)?,
            jobs,
            done,
            drawn_before: 0,
        })
    }

    /// Sends the buffers and timelines to a new consumer, and signals the `read` points up to `number` for the last one.
    fn send_buffers(&mut self, socket: &Socket, number: u64) -> Result<()> {
        for image in &self.images {
            let (description, fds) = BufferDescription::of(image.buffer())?;
            socket.send(&FrameMessage::Buffer(description), &fds)?;
        }
        self.drawn_before = number;
        // A killed consumer cannot signal its remaining points, so the producer signals them.
        if number > 0 {
            self.read.point(number)?.signal()?;
        }
        let (drawn, read) = (self.drawn.export()?, self.read.export()?);
        socket.send(&FrameMessage::Timelines, &[drawn.as_fd(), read.as_fd()])
    }

    /// Waits until the frame's buffer is free, announces the frame and draws it.
    fn send_frame(&mut self, socket: &Socket, number: u64) -> Result<()> {
        if number > BUFFERS {
            self.wait_until_read(number - BUFFERS, socket)?;
        }
        socket
            .send(&FrameMessage::Frame(number), &[])
            .map_err(|_| PeerGone)?;
        let index = usize::try_from(number % BUFFERS)?;
        let image = self.images.remove(index);
        let point = self.drawn.point(number)?;
        self.jobs
            .send((image, number, point))
            .ok()
            .context("the drawing thread has ended")?;
        let image = self.done.recv().context("the drawing thread has ended")??;
        self.images.insert(index, image);
        Ok(())
    }

    /// Waits until the consumer has read all frames up to a number.
    fn wait_until_read(&self, number: u64, socket: &Socket) -> Result<()> {
        let point = self.read.point(number)?;
        if point.is_signalled()? {
            return Ok(());
        }
        sleep_until(&point.wait(Until::Signalled)?, Some(socket))
    }
}

/// Draws a frame and signals its point.
fn draw_frame(image: &Image, number: u64, point: &Point) -> Result<()> {
    image.write(&[frame_pixels(number)?])?;
    Ok(point.signal()?)
}

/// Returns the pixels of a frame: each contains the frame's number.
fn frame_pixels(number: u64) -> Result<Vec<u8>> {
    let word = u32::try_from(number)?.to_le_bytes();
    let extent = size()?;
    let pixels = usize::try_from(extent.width() * extent.height())?;
    Ok(word.repeat(pixels))
}

/// The process that reads frames.
struct Consumer {
    images: Vec<Image>,
    drawn: Timeline,
    read: Timeline,
}

impl Consumer {
    /// Receives the buffers and the timelines of the producer.
    fn receive_buffers(gpu: &Gpu, device: &SyncDevice, socket: &Socket) -> Result<Self> {
        let mut images = Vec::new();
        loop {
            let (message, fds) = socket.receive::<FrameMessage>()?.ok_or(PeerGone)?;
            match message {
                FrameMessage::Buffer(description) => {
                    images.push(gpu.import(&description.import(fds)?)?)
                }
                FrameMessage::Timelines => {
                    let mut fds = fds.into_iter();
                    let mut timeline = || -> Result<Timeline> {
                        let fd = fds.next().context("the message has no fd of a timeline")?;
                        Ok(Timeline::import(device, fd)?)
                    };
                    return Ok(Self {
                        images,
                        drawn: timeline()?,
                        read: timeline()?,
                    });
                }
                FrameMessage::Frame(_) => bail!("a frame was announced before the timelines"),
            }
        }
    }

    /// Reads the next frame and checks its pixels; returns `None` if the producer has ended.
    fn read_frame(&mut self, socket: &Socket) -> Result<Option<()>> {
        let Some((message, _)) = socket.receive::<FrameMessage>()? else {
            return Ok(None);
        };
        let FrameMessage::Frame(number) = message else {
            bail!("the producer sent {message:?} instead of a frame");
        };
        let drawn = self.drawn.point(number)?;
        if !drawn.is_signalled()? {
            sleep_until(&drawn.wait(Until::Signalled)?, Some(socket))?;
        }
        let index = usize::try_from(number % BUFFERS)?;
        let image = self.images.get(index).context("no such buffer was sent")?;
        let found = image.read()?;
        let wrong = found
            .first()
            .is_none_or(|found| frame_pixels(number).map_or(true, |expected| *found != expected));
        ensure!(
            !wrong,
            "the pixels of frame {number} are those of another frame, or torn"
        );
        self.read.point(number)?.signal()?;
        Ok(Some(()))
    }
}

/// Sleeps in poll() until a fence or point is signalled.
///
/// # Errors
/// [`PeerGone`] if the other process ends first; another error after a timeout.
pub(crate) fn sleep_until(pollable: &impl Pollable, socket: Option<&Socket>) -> Result<()> {
    let timeout = Timespec::try_from(TIMEOUT)?;
    let other: Option<BorrowedFd<'_>> = socket.map(Socket::as_fd);
    loop {
        let awaited = pollable.as_fd();
        let mut fds = vec![PollFd::new(&awaited, PollFlags::IN)];
        fds.extend(other.iter().map(|fd| PollFd::new(fd, PollFlags::empty())));
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))?;
        let is_gone = fds
            .get(1)
            .is_some_and(|fd| fd.revents().contains(PollFlags::HUP));
        drop(fds);
        if pollable.is_signalled()? {
            return Ok(());
        }
        if is_gone {
            return Err(PeerGone.into());
        }
        ensure!(
            ready > 0,
            "a fence or point was not signalled within {} s",
            TIMEOUT.as_secs()
        );
    }
}
