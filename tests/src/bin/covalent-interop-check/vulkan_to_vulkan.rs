//! One Vulkan device allocates and draws, another one in another process reads: the same driver twice, and each with each.

use std::os::fd::AsFd as _;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::vulkan::{Copying, Gpu, Image, Submission};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::FormatSet;
use covalent_alloc::model::{FormatModifier, Fourcc, Modifier};
use covalent_alloc::sync::{Access, Fence, Timeline};
use covalent_tests::sw_sync::SwSyncTimeline;
use covalent_tests::witness::pixels::{pattern_of, same};

use super::exchange::{self, PATIENCE, after, draw, goes_on};
use super::frames;
use super::peer::{Answer, Ask, Described, Peer, sync_device};
use super::rows::{Rows, Seen};
use super::world::{World, odd};

/// A pair of devices: the one that draws here, and the one that reads in the other process.
#[derive(Clone, Copy)]
struct Pair<'a> {
    here: &'a Gpu,
    there: &'a Gpu,
    /// The second one's place in the list that both processes make.
    place: usize,
}

pub(crate) fn run(world: &World, rows: &mut Rows) {
    // One other process for all rows; it is started by the first that needs it, and anew after one that failed.
    let mut peer = None;
    for (here, formats) in &world.gpus {
        for (place, (there, others)) in world.gpus.iter().enumerate() {
            let pair = Pair { here, there, place };
            let names = format!("{} to {}", here.identity().driver, there.identity().driver);
            let common: Vec<FormatModifier> = formats
                .iter()
                .filter(|format| others.contains(format))
                .copied()
                .collect();
            for fourcc in world.formats(&common) {
                let format = FormatModifier::linear(fourcc);
                rows.row(format!("{names} in {format}"), || {
                    shared(world, pair, format, &mut peer, both_read)
                });
            }
            arranged(world, rows, pair, &names, &common, &mut peer);
            let linear = FormatModifier::linear(Fourcc::XRGB8888);
            rows.row(format!("{names} behind a sync_file"), || {
                behind(world, pair, linear, &mut peer, sync_file)
            });
            rows.row(format!("{names} behind a syncobj's point"), || {
                behind(world, pair, linear, &mut peer, syncobj)
            });
            rows.row(format!("{names} behind the driver's own timeline"), || {
                shared(world, pair, linear, &mut peer, own_timeline)
            });
        }
    }
    drop(peer);
    frames::run(world, rows);
}

/// Arrangements that are not rows, each with the driver's own timeline where there is one.
fn arranged(
    world: &World,
    rows: &mut Rows,
    pair: Pair<'_>,
    names: &str,
    common: &[FormatModifier],
    peer: &mut Option<Peer>,
) {
    let mut arrangements: Vec<FormatModifier> = common
        .iter()
        .filter(|format| format.modifier != Modifier::LINEAR)
        .filter(|format| world.full || format.fourcc == Fourcc::XRGB8888)
        .copied()
        .collect();
    arrangements.sort();
    if arrangements.is_empty() {
        let why = "no layout but LINEAR is common to the two drivers";
        rows.skip(format!("{names} in another arrangement"), why);
    }
    for format in arrangements {
        rows.row(format!("{names} in {format}"), || {
            shared(world, pair, format, peer, both_read)
        });
        rows.row(format!("{names} in {format} behind a timeline"), || {
            shared(world, pair, format, peer, own_timeline)
        });
    }
}

type Exchange = fn(Pair<'_>, &Image, &Peer) -> Result<Seen>;

fn behind(
    world: &World,
    pair: Pair<'_>,
    format: FormatModifier,
    peer: &mut Option<Peer>,
    exchange: Exchange,
) -> Result<Seen> {
    match exchange::cannot_hold(pair.here).or_else(|| exchange::cannot_hold(pair.there)) {
        Some(seen) => Ok(seen),
        None => shared(world, pair, format, peer, exchange),
    }
}

/// Allocates with the one, has the other import it, and lets them exchange something.
fn shared(
    world: &World,
    pair: Pair<'_>,
    format: FormatModifier,
    peer: &mut Option<Peer>,
    exchange: Exchange,
) -> Result<Seen> {
    let extent = odd(format.fourcc)?;
    let Some(source) = pair.here.source_of_size(extent)? else {
        return Ok(Seen::Skipped(format!(
            "{} exports no images",
            pair.here.name()
        )));
    };
    let mut participants = Vec::new();
    for gpu in [pair.here, pair.there] {
        let mut participant = gpu.participant(extent, Some(format.fourcc))?;
        participant.for_each_choice(|own| own.formats = Some(FormatSet::from([format])));
        participants.push(participant);
    }
    let planned = world.plan(extent, participants, vec![source]);
    let other = match peer.take() {
        Some(peer) => peer,
        None => Peer::start(&["--role", "peer"])?,
    };
    let seen = world.with_buffer(planned, |buffer| {
        let image = pair.here.import(buffer)?;
        sent(buffer, pair.place, &other)?;
        exchange(pair, &image, &other)
    });
    if seen.is_ok() && other.must(&Ask::Drop, &[]).is_ok() {
        *peer = Some(other);
    }
    seen
}

fn sent(buffer: &Buffer, device: usize, peer: &Peer) -> Result<()> {
    let (picture, fds) = Described::of(buffer)?;
    peer.must(&Ask::Take { device, picture }, &fds)
}

fn pixels(image: &Image, seed: usize) -> Result<Vec<Vec<u8>>> {
    let layout = image.buffer().layout();
    pattern_of(layout.extent(), layout.format().fourcc, seed)
}

/// Both ways, plainly.
fn both_read(_: Pair<'_>, image: &Image, peer: &Peer) -> Result<Seen> {
    draw(image, &pixels(image, 21)?)?;
    peer.must(&Ask::Read { seed: 21 }, &[])?;
    peer.must(&Ask::Draw { seed: 22 }, &[])?;
    same(&image.read()?, &pixels(image, 22)?).context("what the other process drew")?;
    Ok(Seen::Passed)
}

/// Has the device draw behind a fence that is held back, to be exported.
fn begin_behind(image: &Image, held: &SwSyncTimeline, seed: usize) -> Result<Copying> {
    let submission = Submission {
        exported: true,
        ..after(held.fence(1)?)
    };
    let writing = image.begin_write(&pixels(image, seed)?, submission)?;
    goes_on(&writing)?;
    Ok(writing)
}

fn exported(writing: &mut Copying) -> Result<Fence> {
    writing.submitted().export()?.context("it is over already")
}

/// What this device draws is held back; the other is handed its sync_file, and waits.
fn sync_file(pair: Pair<'_>, image: &Image, peer: &Peer) -> Result<Seen> {
    let (held, done) = (SwSyncTimeline::new()?, SwSyncTimeline::new()?);
    draw(image, &pixels(image, 23)?)?;
    let mut writing = begin_behind(image, &held, 24)?;
    let from_helper = pair.here.exports_wait();
    let fence = if from_helper {
        done.fence(1)?
    } else {
        exported(&mut writing)?
    };
    let answer = peer.ask(&Ask::ReadAfter { seed: 24 }, &[fence.as_fd()])?;
    ensure!(answer == Answer::Waits, "the other process: {answer:?}");
    held.advance(1)?;
    if from_helper {
        thread::spawn(move || -> Result<()> {
            ensure!(writing.wait(PATIENCE)?, "it does not end");
            done.advance(1)
        })
        .join()
        .ok()
        .context("the helper thread died")??;
    }
    let answer = peer.answer()?;
    ensure!(answer == Answer::Done, "the other process: {answer:?}");
    Ok(told(from_helper, "the fence"))
}

/// The same by a point of a syncobj, for which the other waits in its event loop; it answers with the next point.
fn syncobj(pair: Pair<'_>, image: &Image, peer: &Peer) -> Result<Seen> {
    let Some(device) = sync_device()? else {
        return Ok(Seen::Skipped("no card here has timelines".to_owned()));
    };
    let timeline = Timeline::create(&device)?;
    let held = SwSyncTimeline::new()?;
    draw(image, &pixels(image, 25)?)?;
    let mut writing = begin_behind(image, &held, 26)?;
    let from_helper = pair.here.exports_wait();
    if !from_helper {
        timeline.point(1)?.set_fence(&exported(&mut writing)?)?;
    }
    let ask = Ask::ReadAfterPoint { seed: 26, point: 1 };
    let answer = peer.ask(&ask, &[timeline.export()?.as_fd()])?;
    ensure!(answer == Answer::Waits, "the other process: {answer:?}");
    held.advance(1)?;
    let helper = from_helper.then(|| {
        let point = timeline.point(1);
        thread::spawn(move || -> Result<()> {
            ensure!(writing.wait(PATIENCE)?, "it does not end");
            Ok(point?.signal()?)
        })
    });
    let answer = peer.answer()?;
    ensure!(answer == Answer::Done, "the other process: {answer:?}");
    if let Some(helper) = helper {
        helper.join().ok().context("the helper thread died")??;
    }
    ensure!(timeline.point(2)?.is_signalled()?, "it gives nothing back");
    ensure!(
        image.buffer().reservation().is_ready(Access::Write)?,
        "the buffer stays busy"
    );
    Ok(told(from_helper, "the point"))
}

/// Both devices wait for points of the driver's own timeline, which the other process has been given; no processor comes in between.
fn own_timeline(pair: Pair<'_>, image: &Image, peer: &Peer) -> Result<Seen> {
    for gpu in [pair.here, pair.there] {
        if !gpu.device_sync().timeline_shared {
            return Ok(Seen::Skipped(format!(
                "{} shares no timelines between processes",
                gpu.name()
            )));
        }
    }
    if pair.here.identity() != pair.there.identity() {
        return Ok(Seen::Skipped(
            "two drivers share no timeline of either".to_owned(),
        ));
    }
    let timeline = pair.here.timeline()?;
    draw(image, &pixels(image, 27)?)?;
    let writing = image.begin_write(
        &pixels(image, 28)?,
        Submission {
            after_points: vec![(timeline.clone(), 1)],
            signal_points: vec![(timeline.clone(), 2)],
            ..Submission::default()
        },
    )?;
    goes_on(&writing)?;
    let ask = Ask::ReadAfterDevice { seed: 28, point: 2 };
    let answer = peer.ask(&ask, &[timeline.export()?.as_fd()])?;
    ensure!(answer == Answer::Waits, "the other process: {answer:?}");
    timeline.signal(1)?;
    let answer = peer.answer()?;
    ensure!(answer == Answer::Done, "the other process: {answer:?}");
    if !timeline.wait(3, PATIENCE)? {
        bail!("it gives nothing back");
    }
    Ok(Seen::Passed)
}

fn told(from_helper: bool, what: &str) -> Seen {
    if from_helper {
        Seen::PassedBut(format!(
            "the driver completes before it exports: its completion reaches {what} from a helper thread"
        ))
    } else {
        Seen::Passed
    }
}
