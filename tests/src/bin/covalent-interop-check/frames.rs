//! Two processes that hand frames over by dma-bufs and a timeline each way. Each frame's pixels are its number.
//!
//! ```text
//! producer                                   consumer
//!    │── buffers, both timelines ──────────────▶│
//!    │── "frame n is in buffer n mod 4" ───────▶│  waits for point n of the one, in poll
//!    │   draws, and signals point n             │  reads, and signals point n of the other
//!    │   waits for point n - 4 of the other ◀───│
//! ```
//! Either may be killed at any moment: the other sees the socket close, and goes on with a new one.

use std::fs;
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
use covalent_tests::judge::process::fd_count;
use covalent_tests::witness::CardHeld;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::peer::{Described, Peer, sync_device};
use super::rows::{Rows, Seen};
use super::socket::Socket;
use super::world::{Planned, World};

const BUFFERS: u64 = 4;

/// Into how many parts the frames are divided between which memory is looked at.
const PARTS: u64 = 16;

/// How often the other process is killed, and the most frames until then.
const KILLS: u64 = 3;
const MOST_UNTIL_KILLED: u64 = 60;

/// How much memory may come to stay with one part of the frames, in KiB. Allocators and drivers take more now and then, in steps; what
/// is lost with each frame shows in most parts.
const SLACK_KIBIBYTES: u64 = 32;

/// How long one moment may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the producer tells the consumer.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// A buffer, the next one in number; its fds come along.
    Buffer(Described),
    /// The timelines that say when frames are drawn, and when they were read; both come along.
    Timelines,
    /// The number of the next frame.
    Frame(u64),
}

pub(crate) fn run(world: &World, rows: &mut Rows) {
    let count = world.frames;
    let Some(place) = (0..world.gpus.len()).find(|place| is_usable(world, *place)) else {
        rows.skip("frames", "no Vulkan device here draws into what it exports");
        return;
    };
    let rounds: [(&str, Round); 3] = [
        ("arrive whole and leave nothing behind", steady),
        ("go on when the consumer is killed", consumer_killed),
        ("go on when the producer is killed", producer_killed),
    ];
    for (what, round) in rounds {
        rows.row(
            format!("frames between two processes {what}"),
            || match sync_device()? {
                Some(device) => round(world, place, &device, count),
                None => Ok(Seen::Skipped("no card here has timelines".to_owned())),
            },
        );
    }
}

type Round = fn(&World, usize, &SyncDevice, u64) -> Result<Seen>;

fn is_usable(world: &World, place: usize) -> bool {
    let Some((gpu, _)) = world.gpus.get(place) else {
        return false;
    };
    let source = size().and_then(|extent| Ok(gpu.source_of_size(extent)?));
    gpu.is_processor() && matches!(source, Ok(Some(_))) || planned(world, gpu).is_ok()
}

fn size() -> Result<Extent> {
    Ok(Extent::new(63, 17)?)
}

fn planned(world: &World, gpu: &Gpu) -> Result<Box<covalent_alloc::solve::Plan>> {
    let extent = size()?;
    let source = gpu.source_of_size(extent)?.context("it exports nothing")?;
    let participants = vec![gpu.participant(extent, Some(Fourcc::XRGB8888))?];
    match world.plan(extent, participants, vec![source]) {
        Planned::Plan(plan) => Ok(plan),
        Planned::Impossible(why) => bail!("{why}"),
    }
}

/// What both processes do with one device.
fn role(world: &World, word: &str, place: usize) -> Result<()> {
    let socket = Socket::from(rustix::io::dup(rustix::stdio::stdin())?);
    let device = sync_device()?.context("no card has timelines")?;
    let (gpu, _) = world.gpus.get(place).context("no such device")?;
    let outcome = match word {
        "producer" => {
            let mut producer = Producer::new(world, gpu, &device)?;
            producer.greet(&socket, 0)?;
            (1..).try_for_each(|number| producer.hand_over(&socket, number))
        }
        _ => Consumer::greeted(gpu, &device, &socket).and_then(|mut consumer| {
            while consumer.take(&socket)?.is_some() {}
            Ok(())
        }),
    };
    match outcome {
        // Who has seen its frames ends the other by going.
        Err(error) if error.is::<Gone>() => Ok(()),
        outcome => outcome,
    }
}

/// Serves in the other process.
pub(crate) fn serve(world: &World, word: &str, place: usize) -> Result<()> {
    role(world, word, place)
}

fn other(word: &str, place: usize) -> Result<Peer> {
    Peer::start(&["--role", word, "--place", &place.to_string()])
}

/// The other process is gone.
#[derive(Debug, thiserror::Error)]
#[error("the other process is gone")]
struct Gone;

fn steady(world: &World, place: usize, device: &SyncDevice, count: u64) -> Result<Seen> {
    let (gpu, _) = world.gpus.get(place).context("no such device")?;
    let mut producer = Producer::new(world, gpu, device)?;
    let peer = other("consumer", place)?;
    producer.greet(&peer.socket, 0)?;
    let cards: Vec<&Card> = world.sources.cards().collect();
    let handles =
        || -> Result<Vec<CardHeld>> { cards.iter().map(|card| CardHeld::by(card)).collect() };
    let before = handles()?;
    let mut samples = Vec::new();
    for number in 1..=count {
        producer.hand_over(&peer.socket, number)?;
        if number % (count / PARTS) == 0 {
            producer.settle(number, &peer.socket)?;
            samples.push(held(peer.child.id())?);
        }
    }
    let after = handles()?;
    ensure!(
        after
            .iter()
            .zip(&before)
            .all(|(now, before)| !now.holds_more_than(before)),
        "handles and framebuffers of the cards are {after:?}, and were {before:?}"
    );
    // What is set up once is there by the middle.
    let middle = samples.get(samples.len() / 2).context("no samples")?;
    let last = samples.last().context("no samples")?;
    let kibibytes: Vec<(u64, u64)> = samples.iter().map(|sample| sample.kibibytes).collect();
    ensure!(
        last.fds.0 <= middle.fds.0 && last.fds.1 <= middle.fds.1,
        "{:?} fds at the end, and {:?} in the middle",
        last.fds,
        middle.fds
    );
    let (here, there): (Vec<u64>, Vec<u64>) = kibibytes.iter().copied().unzip();
    ensure!(
        usual_growth(&here) <= SLACK_KIBIBYTES && usual_growth(&there) <= SLACK_KIBIBYTES,
        "KiB in both processes grow: {kibibytes:?}"
    );
    Ok(Seen::PassedBut(format!(
        "{count} frames, none wrong; in both processes {:?} fds, {:?} KiB in the middle and {:?} at the end",
        last.fds, middle.kibibytes, last.kibibytes
    )))
}

/// The median of what was added from one sample to the next.
fn usual_growth(samples: &[u64]) -> u64 {
    let mut growth: Vec<u64> = samples
        .windows(2)
        .map(|pair| match pair {
            [before, after] => after.saturating_sub(*before),
            _ => 0,
        })
        .collect();
    growth.sort_unstable();
    growth.get(growth.len() / 2).copied().unwrap_or(0)
}

/// What both processes hold.
struct Holdings {
    fds: (usize, usize),
    kibibytes: (u64, u64),
}

fn held(other: u32) -> Result<Holdings> {
    let me = process::id();
    Ok(Holdings {
        fds: (fd_count(me)?, fd_count(other)?),
        kibibytes: (resident(me)?, resident(other)?),
    })
}

/// Memory of a process that is there, in KiB.
fn resident(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next())
        .context("no VmRSS")?
        .parse()
        .context("VmRSS")
}

/// A number that nobody knows before the run.
fn chance(below: u64) -> Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes) % below)
}

fn consumer_killed(world: &World, place: usize, device: &SyncDevice, _: u64) -> Result<Seen> {
    let (gpu, _) = world.gpus.get(place).context("no such device")?;
    let mut producer = Producer::new(world, gpu, device)?;
    let mut number = 0;
    let mut fds = None;
    let mut at = Vec::new();
    for _ in 0..=KILLS {
        let mut peer = other("consumer", place)?;
        producer.greet(&peer.socket, number)?;
        let until = BUFFERS + chance(MOST_UNTIL_KILLED)?;
        for _ in 0..until {
            number += 1;
            producer.hand_over(&peer.socket, number)?;
        }
        peer.child.kill()?;
        peer.child.wait()?;
        at.push(number);
        // Frames that nobody will ever give back.
        let lost = producer.settle(number, &peer.socket);
        ensure!(
            lost.is_ok() || lost.is_err_and(|error| error.is::<Gone>()),
            "it is not seen that the consumer is gone"
        );
        drop(peer);
        let now = fd_count(process::id())?;
        let most = *fds.get_or_insert(now);
        ensure!(
            now <= most,
            "{now} fds after a kill, and {most} after the first"
        );
    }
    Ok(Seen::PassedBut(format!("killed after frames {at:?}")))
}

fn producer_killed(world: &World, place: usize, device: &SyncDevice, _: u64) -> Result<Seen> {
    let (gpu, _) = world.gpus.get(place).context("no such device")?;
    let mut fds = None;
    let mut at = Vec::new();
    for _ in 0..=KILLS {
        let mut peer = other("producer", place)?;
        let mut consumer = Consumer::greeted(gpu, device, &peer.socket)?;
        let until = BUFFERS + chance(MOST_UNTIL_KILLED)?;
        for _ in 0..until {
            consumer.take(&peer.socket)?.context("it is gone early")?;
        }
        peer.child.kill()?;
        peer.child.wait()?;
        at.push(until);
        // What was announced may be there; what was not drawn never comes, and is not waited for.
        loop {
            match consumer.take(&peer.socket) {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(error) if error.is::<Gone>() => break,
                Err(error) => return Err(error),
            }
        }
        drop((consumer, peer));
        let now = fd_count(process::id())?;
        let most = *fds.get_or_insert(now);
        ensure!(
            now <= most,
            "{now} fds after a kill, and {most} after the first"
        );
    }
    Ok(Seen::PassedBut(format!("killed after {at:?} frames each")))
}

/// Who draws. A thread of its own waits for the device, which completes before it says so.
struct Producer {
    images: Vec<Image>,
    drawn: Timeline,
    read: Timeline,
    jobs: Sender<(Image, u64, Point)>,
    done: Receiver<Result<Image>>,
    /// The first frame of the consumer that is there.
    first: u64,
}

impl Producer {
    fn new(world: &World, gpu: &Gpu, device: &SyncDevice) -> Result<Self> {
        let plan = planned(world, gpu)?;
        let mut images = Vec::new();
        for _ in 0..BUFFERS {
            let buffer = world.sources.allocate(&plan)?.pop().context("no buffer")?;
            images.push(gpu.import(&buffer)?);
        }
        let (jobs, queue) = channel();
        let (report, done) = channel();
        // It ends with the sender.
        thread::spawn(move || {
            for (image, number, point) in queue {
                let worked = work(&image, number, &point).map(|()| image);
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
            first: 0,
        })
    }

    /// Gives a consumer the buffers, and timelines on which nothing of another consumer stands.
    fn greet(&mut self, socket: &Socket, number: u64) -> Result<()> {
        for image in &self.images {
            let (picture, fds) = Described::of(image.buffer())?;
            socket.send(&Told::Buffer(picture), &fds)?;
        }
        self.first = number;
        // Points that the last consumer has not signalled are over with it.
        if number > 0 {
            self.read.point(number)?.signal()?;
        }
        let (drawn, read) = (self.drawn.export()?, self.read.export()?);
        socket.send(&Told::Timelines, &[drawn.as_fd(), read.as_fd()])
    }

    /// Announces a frame, and has it drawn when its buffer has come back.
    fn hand_over(&mut self, socket: &Socket, number: u64) -> Result<()> {
        if number > BUFFERS {
            self.wait_for_reader(number - BUFFERS, socket)?;
        }
        socket.send(&Told::Frame(number), &[]).map_err(|_| Gone)?;
        let place = usize::try_from(number % BUFFERS)?;
        let image = self.images.remove(place);
        let point = self.drawn.point(number)?;
        self.jobs
            .send((image, number, point))
            .ok()
            .context("the thread has ended")?;
        let image = self.done.recv().context("the thread has ended")??;
        self.images.insert(place, image);
        Ok(())
    }

    /// Waits until the consumer has read everything up to a frame.
    fn settle(&self, number: u64, socket: &Socket) -> Result<()> {
        self.wait_for_reader(number, socket)
    }

    fn wait_for_reader(&self, number: u64, socket: &Socket) -> Result<()> {
        let point = self.read.point(number)?;
        if point.is_signalled()? {
            return Ok(());
        }
        sleep(&point.wait(Until::Signalled)?, Some(socket))
    }
}

/// Draws a frame whose pixels are its number.
fn work(image: &Image, number: u64, point: &Point) -> Result<()> {
    image.write(&[frame(number)?])?;
    Ok(point.signal()?)
}

fn frame(number: u64) -> Result<Vec<u8>> {
    let word = u32::try_from(number)?.to_le_bytes();
    let extent = size()?;
    let pixels = usize::try_from(extent.width() * extent.height())?;
    Ok(word.repeat(pixels))
}

/// Who reads.
struct Consumer {
    images: Vec<Image>,
    drawn: Timeline,
    read: Timeline,
}

impl Consumer {
    fn greeted(gpu: &Gpu, device: &SyncDevice, socket: &Socket) -> Result<Self> {
        let mut images = Vec::new();
        loop {
            let (told, fds) = socket.receive::<Told>()?.ok_or(Gone)?;
            match told {
                Told::Buffer(picture) => images.push(gpu.import(&picture.take(fds)?)?),
                Told::Timelines => {
                    let mut fds = fds.into_iter();
                    let mut timeline = || -> Result<Timeline> {
                        let fd = fds.next().context("no timeline came along")?;
                        Ok(Timeline::import(device, fd)?)
                    };
                    return Ok(Self {
                        images,
                        drawn: timeline()?,
                        read: timeline()?,
                    });
                }
                Told::Frame(_) => bail!("a frame before its buffers"),
            }
        }
    }

    /// Takes the next frame, and fails where it is not the one that was announced; `None` when the producer is gone.
    fn take(&mut self, socket: &Socket) -> Result<Option<()>> {
        let Some((told, _)) = socket.receive::<Told>()? else {
            return Ok(None);
        };
        let Told::Frame(number) = told else {
            bail!("{told:?} in the place of a frame");
        };
        let drawn = self.drawn.point(number)?;
        if !drawn.is_signalled()? {
            sleep(&drawn.wait(Until::Signalled)?, Some(socket))?;
        }
        let place = usize::try_from(number % BUFFERS)?;
        let image = self.images.get(place).context("no such buffer")?;
        let found = image.read()?;
        let wrong = found
            .first()
            .is_none_or(|found| frame(number).map_or(true, |expected| *found != expected));
        ensure!(!wrong, "frame {number} is another one, or torn");
        self.read.point(number)?.signal()?;
        Ok(Some(()))
    }
}

/// Sleeps in poll until a moment has come, or the other process is gone.
///
/// # Errors
/// [`Gone`]; and where neither happens.
pub(crate) fn sleep(moment: &impl Pollable, socket: Option<&Socket>) -> Result<()> {
    let patience = Timespec::try_from(PATIENCE)?;
    let other: Option<BorrowedFd<'_>> = socket.map(Socket::as_fd);
    loop {
        let awaited = moment.as_fd();
        let mut fds = vec![PollFd::new(&awaited, PollFlags::IN)];
        fds.extend(other.iter().map(|fd| PollFd::new(fd, PollFlags::empty())));
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&patience)))?;
        let is_gone = fds
            .get(1)
            .is_some_and(|fd| fd.revents().contains(PollFlags::HUP));
        drop(fds);
        if moment.is_signalled()? {
            return Ok(());
        }
        if is_gone {
            return Err(Gone.into());
        }
        ensure!(ready > 0, "a moment does not come");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_in_steps_is_none_and_growth_with_every_frame_is() {
        assert_eq!(usual_growth(&[86, 86, 97, 97, 97, 97, 101, 101]), 0);
        assert_eq!(usual_growth(&[10, 310, 610, 590, 900, 1200]), 300);
        assert_eq!(usual_growth(&[10]), 0);
    }
}
