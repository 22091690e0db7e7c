//! A Vulkan device of this process allocates and draws, and a device of another process reads. Rows run for every pair of
//! devices, and for each device with itself.

use std::os::fd::AsFd as _;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::vulkan::{Gpu, Image, PendingCopy, Submission};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::FormatSet;
use covalent_alloc::model::{FormatModifier, Fourcc, Modifier};
use covalent_alloc::sync::{Access, Fence, Timeline};
use covalent_tests::check_support::pixels::{pattern_of, same};
use covalent_tests::sw_sync::SwSyncTimeline;

use super::exchange::{self, TIMEOUT, draw, expect_pending, submission_after};
use super::frames;
use super::peer::{BufferDescription, Peer, PeerReply, PeerRequest, sync_device};
use super::rows::{RowOutcome, Rows};
use super::test_machine::{TestMachine, odd};

/// A device that draws in this process, and a device that reads in the peer process.
#[derive(Clone, Copy)]
struct Pair<'a> {
    here: &'a Gpu,
    there: &'a Gpu,
    /// The index of the second device in the list of devices. Both processes list the devices in the same order.
    device_index: usize,
}

pub(crate) fn run(machine: &TestMachine, rows: &mut Rows) {
    // All rows share one peer process. The first row starts it, and the row after a failed row starts a new one.
    let mut peer = None;
    for (here, formats) in &machine.gpus {
        for (device_index, (there, others)) in machine.gpus.iter().enumerate() {
            let pair = Pair {
                here,
                there,
                device_index,
            };
            let names = format!("{} to {}", here.identity().driver, there.identity().driver);
            let common: Vec<FormatModifier> = formats
                .iter()
                .filter(|format| others.contains(format))
                .copied()
                .collect();
            for fourcc in machine.formats(&common) {
                let format = FormatModifier::linear(fourcc);
                rows.row(format!("{names} in {format}"), || {
                    shared(machine, pair, format, &mut peer, both_read)
                });
            }
            modifiers(machine, rows, pair, &names, &common, &mut peer);
            let linear = FormatModifier::linear(Fourcc::XRGB8888);
            rows.row(format!("{names} after a sync_file"), || {
                after_pending(machine, pair, linear, &mut peer, sync_file)
            });
            rows.row(format!("{names} after a syncobj's point"), || {
                after_pending(machine, pair, linear, &mut peer, syncobj)
            });
            rows.row(
                format!("{names} after a point of the driver's own timeline"),
                || shared(machine, pair, linear, &mut peer, own_timeline),
            );
        }
    }
    drop(peer);
    frames::run(machine, rows);
}

/// Runs rows for the common modifiers other than LINEAR. Each modifier has a row without fences, and a row with the driver's own
/// timeline.
fn modifiers(
    machine: &TestMachine,
    rows: &mut Rows,
    pair: Pair<'_>,
    names: &str,
    common: &[FormatModifier],
    peer: &mut Option<Peer>,
) {
    let mut tiled: Vec<FormatModifier> = common
        .iter()
        .filter(|format| format.modifier != Modifier::LINEAR)
        .filter(|format| machine.full || format.fourcc == Fourcc::XRGB8888)
        .copied()
        .collect();
    tiled.sort();
    if tiled.is_empty() {
        let why = "no layout but LINEAR is common to the two drivers";
        rows.skip(format!("{names} with another modifier"), why);
    }
    for format in tiled {
        rows.row(format!("{names} in {format}"), || {
            shared(machine, pair, format, peer, both_read)
        });
        rows.row(
            format!("{names} in {format} after a point of the driver's own timeline"),
            || shared(machine, pair, format, peer, own_timeline),
        );
    }
}

/// An exchange of pictures between this process and the peer.
type Exchange = fn(Pair<'_>, &Image, &Peer) -> Result<RowOutcome>;

/// Calls [`shared`], if both devices can wait for fences.
fn after_pending(
    machine: &TestMachine,
    pair: Pair<'_>,
    format: FormatModifier,
    peer: &mut Option<Peer>,
    exchange: Exchange,
) -> Result<RowOutcome> {
    match exchange::fences_unavailable(pair.here)
        .or_else(|| exchange::fences_unavailable(pair.there))
    {
        Some(skipped) => Ok(skipped),
        None => shared(machine, pair, format, peer, exchange),
    }
}

/// Allocates a buffer with the first device, imports it into the second device, and calls `exchange`.
fn shared(
    machine: &TestMachine,
    pair: Pair<'_>,
    format: FormatModifier,
    peer: &mut Option<Peer>,
    exchange: Exchange,
) -> Result<RowOutcome> {
    let extent = odd(format.fourcc)?;
    let Some(source) = pair.here.source_of_size(extent)? else {
        return Ok(RowOutcome::Skipped(format!(
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
    let planned = machine.plan(extent, participants, vec![source]);
    let other = match peer.take() {
        Some(peer) => peer,
        None => Peer::start(&["--role", "peer"])?,
    };
    let outcome = machine.with_buffer(planned, |buffer| {
        let image = pair.here.import(buffer)?;
        sent(buffer, pair.device_index, &other)?;
        exchange(pair, &image, &other)
    });
    if outcome.is_ok() && other.expect_done(&PeerRequest::Drop, &[]).is_ok() {
        *peer = Some(other);
    }
    outcome
}

/// Sends the buffer to the peer, which imports it into the device of this index.
fn sent(buffer: &Buffer, device: usize, peer: &Peer) -> Result<()> {
    let (buffer, fds) = BufferDescription::of(buffer)?;
    peer.expect_done(&PeerRequest::Import { device, buffer }, &fds)
}

/// Returns a pattern for the image.
fn pixels(image: &Image, seed: usize) -> Result<Vec<Vec<u8>>> {
    let layout = image.buffer().layout();
    pattern_of(layout.extent(), layout.format().fourcc, seed)
}

/// Checks that each device reads what the other one drew, without fences.
fn both_read(_: Pair<'_>, image: &Image, peer: &Peer) -> Result<RowOutcome> {
    draw(image, &pixels(image, 21)?)?;
    peer.expect_done(&PeerRequest::Read { seed: 21 }, &[])?;
    peer.expect_done(&PeerRequest::Draw { seed: 22 }, &[])?;
    same(&image.read()?, &pixels(image, 22)?)
        .context("this device must read the pixels that the peer drew")?;
    Ok(RowOutcome::Passed)
}

/// Submits a write that waits for a pending fence, and whose completion can be exported.
fn begin_write_after(image: &Image, sw_sync: &SwSyncTimeline, seed: usize) -> Result<PendingCopy> {
    let submission = Submission {
        exported: true,
        ..submission_after(sw_sync.fence(1)?)
    };
    let writing = image.begin_write(&pixels(image, seed)?, submission)?;
    expect_pending(&writing)?;
    Ok(writing)
}

/// Exports the completion of a pending write.
fn exported(writing: &mut PendingCopy) -> Result<Fence> {
    writing
        .submitted()
        .export()?
        .context("the write completed before its acquire fence")
}

/// Checks that the peer's device waits for the sync_file of this device's pending write.
fn sync_file(pair: Pair<'_>, image: &Image, peer: &Peer) -> Result<RowOutcome> {
    let (sw_sync, done) = (SwSyncTimeline::new()?, SwSyncTimeline::new()?);
    draw(image, &pixels(image, 23)?)?;
    let mut writing = begin_write_after(image, &sw_sync, 24)?;
    let from_helper = pair.here.exports_wait();
    let fence = if from_helper {
        done.fence(1)?
    } else {
        exported(&mut writing)?
    };
    let reply = peer.request(&PeerRequest::ReadAfter { seed: 24 }, &[fence.as_fd()])?;
    ensure!(
        reply == PeerReply::Waiting,
        "the peer process replied {reply:?}"
    );
    sw_sync.advance(1)?;
    if from_helper {
        thread::spawn(move || -> Result<()> {
            ensure!(
                writing.wait(TIMEOUT)?,
                "the device does not complete its work"
            );
            done.advance(1)
        })
        .join()
        .ok()
        .context("the helper thread panicked")??;
    }
    let reply = peer.reply()?;
    ensure!(
        reply == PeerReply::Done,
        "the peer process replied {reply:?}"
    );
    Ok(completion_note(from_helper, "the fence"))
}

/// Checks that the peer process waits in poll() for a point of a syncobj, and signals the next point after it has read.
fn syncobj(pair: Pair<'_>, image: &Image, peer: &Peer) -> Result<RowOutcome> {
    let Some(device) = sync_device()? else {
        return Ok(RowOutcome::Skipped("no card here has timelines".to_owned()));
    };
    let timeline = Timeline::create(&device)?;
    let sw_sync = SwSyncTimeline::new()?;
    draw(image, &pixels(image, 25)?)?;
    let mut writing = begin_write_after(image, &sw_sync, 26)?;
    let from_helper = pair.here.exports_wait();
    if !from_helper {
        timeline.point(1)?.set_fence(&exported(&mut writing)?)?;
    }
    let request = PeerRequest::ReadAfterPoint { seed: 26, point: 1 };
    let reply = peer.request(&request, &[timeline.export()?.as_fd()])?;
    ensure!(
        reply == PeerReply::Waiting,
        "the peer process replied {reply:?}"
    );
    sw_sync.advance(1)?;
    let helper = from_helper.then(|| {
        let point = timeline.point(1);
        thread::spawn(move || -> Result<()> {
            ensure!(
                writing.wait(TIMEOUT)?,
                "the device does not complete its work"
            );
            Ok(point?.signal()?)
        })
    });
    let reply = peer.reply()?;
    ensure!(
        reply == PeerReply::Done,
        "the peer process replied {reply:?}"
    );
    if let Some(helper) = helper {
        helper.join().ok().context("the helper thread panicked")??;
    }
    ensure!(
        timeline.point(2)?.is_signalled()?,
        "the peer did not signal its point"
    );
    ensure!(
        image.buffer().reservation().is_ready(Access::Write)?,
        "the dma-buf polls as busy"
    );
    Ok(completion_note(from_helper, "the point"))
}

/// Checks that both devices wait for and signal points of the driver's own timeline, which the peer imports. No CPU waits in
/// between.
fn own_timeline(pair: Pair<'_>, image: &Image, peer: &Peer) -> Result<RowOutcome> {
    for gpu in [pair.here, pair.there] {
        if !gpu.device_sync().timeline_shared {
            return Ok(RowOutcome::Skipped(format!(
                "{} shares no timelines between processes",
                gpu.name()
            )));
        }
    }
    if pair.here.identity() != pair.there.identity() {
        return Ok(RowOutcome::Skipped(
            "two drivers cannot share a driver's own timeline".to_owned(),
        ));
    }
    let timeline = pair.here.timeline()?;
    draw(image, &pixels(image, 27)?)?;
    let writing = image.begin_write(
        &pixels(image, 28)?,
        Submission {
            wait_points: vec![(timeline.clone(), 1)],
            signal_points: vec![(timeline.clone(), 2)],
            ..Submission::default()
        },
    )?;
    expect_pending(&writing)?;
    let request = PeerRequest::ReadAfterDevice { seed: 28, point: 2 };
    let reply = peer.request(&request, &[timeline.export()?.as_fd()])?;
    ensure!(
        reply == PeerReply::Waiting,
        "the peer process replied {reply:?}"
    );
    timeline.signal(1)?;
    let reply = peer.reply()?;
    ensure!(
        reply == PeerReply::Done,
        "the peer process replied {reply:?}"
    );
    if !timeline.wait(3, TIMEOUT)? {
        bail!("the peer's device did not signal its point");
    }
    Ok(RowOutcome::Passed)
}

/// Returns the outcome of a row that has passed, with a note if a helper thread had to wait for the device.
fn completion_note(from_helper: bool, what: &str) -> RowOutcome {
    if from_helper {
        RowOutcome::PassedWithNote(format!(
            "the driver exports a fence only when its work is complete, so a helper thread signals {what}"
        ))
    } else {
        RowOutcome::Passed
    }
}
