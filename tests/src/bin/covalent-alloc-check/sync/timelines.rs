//! Timelines of every card that has them, against fences that are held back.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::sync::{
    BinarySyncobj, Fence, FenceStatus, Pollable, SyncDevice, Timeline, TimelineError, Until,
};
use covalent_tests::held::{Held, signalled, unsignalled};
use drm::control::Device as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::dumb;
use crate::{Seen, Tally};

/// What one check does with a card.
type Check = fn(&SyncDevice) -> Result<Seen>;

const CHECKS: &[(&str, Check)] = &[
    ("sync_file_becomes_a_point_and_comes_back", round_trip),
    ("binary_holds_one_fence_after_another", binary),
    (
        "wait_before_submission_sleeps_until_it_is_over",
        wait_before,
    ),
    ("points_signalled_out_of_order_count_in_order", out_of_order),
    ("timeline_signalled_backwards_stays_where_it_is", backwards),
    ("failed_fence_ends_the_wait_for_its_point", failed),
    ("timeline_dropped_while_waited_on_still_signals", dropped),
    ("timeline_imported_twice_is_closed_twice", imported),
    ("points_go_between_open_files_of_one_card", between_files),
    ("fd_that_is_no_syncobj_is_refused", hostile),
    ("100000_points_leave_nothing_behind", many),
];

pub(super) fn run(tally: &mut Tally) {
    let mut with = 0;
    for path in Card::list() {
        let opened = Card::open(&path).map_err(anyhow::Error::from);
        let device = opened.and_then(|card| Ok((SyncDevice::new(&card)?, card)));
        let (device, _card) = match device {
            Ok(opened) => opened,
            Err(error) => {
                tally.check(&format!("sync::{}", path.display()), || Err(error));
                continue;
            }
        };
        let driver = device.driver();
        if !device.support().eventfd {
            tally.check(&format!("sync::{driver}_without_timelines_says_so"), || {
                lacking(&device)
            });
            continue;
        }
        with += 1;
        for (name, check) in CHECKS {
            tally.check(&format!("sync::{driver}::{name}"), || check(&device));
        }
    }
    tally.check("sync::some_card_has_timelines", || {
        ensure!(with > 0, "none has");
        Ok(Seen::Passed)
    });
}

fn lacking(device: &SyncDevice) -> Result<Seen> {
    match Timeline::create(device) {
        Err(TimelineError::Unsupported { .. }) => Ok(Seen::Passed),
        other => bail!("{other:?}"),
    }
}

/// How often poll returns within `patience`, and whether the moment is over then. Once is once.
fn wakes(moment: &impl Pollable, patience: Duration) -> Result<(u32, bool)> {
    let deadline = Instant::now() + patience;
    let mut wakes = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into()?,
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(moment, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout))? == 0 {
            return Ok((wakes, false));
        }
        wakes += 1;
        if moment.is_signalled()? {
            return Ok((wakes, true));
        }
    }
}

fn round_trip(device: &SyncDevice) -> Result<Seen> {
    let (held, timeline) = (Held::new()?, Timeline::create(device)?);
    let point = timeline.point(7)?;
    match point.fence() {
        Err(TimelineError::NotSubmitted { point: 7 }) => {}
        other => bail!("a point that nobody has submitted gives {other:?}"),
    }
    point.set_fence(&held.fence(1)?)?;
    ensure!(point.is_submitted()? && !point.is_signalled()?, "{point:?}");
    let back = point.fence()?;
    unsignalled(&back)?;
    // And through another timeline.
    let other = Timeline::create(device)?.point(3)?;
    point.transfer_to(&other)?;
    ensure!(other.is_submitted()? && !other.is_signalled()?, "{other:?}");
    held.advance(1)?;
    signalled(&back)?;
    ensure!(point.is_signalled()? && other.is_signalled()?, "a point");
    ensure!(timeline.last_signalled()? == 7, "{timeline:?}");
    signalled(&point.fence()?)?;
    Ok(Seen::Passed)
}

fn binary(device: &SyncDevice) -> Result<Seen> {
    let (held, binary) = (Held::new()?, BinarySyncobj::create(device)?);
    ensure!(
        matches!(
            binary.fence(),
            Err(TimelineError::NotSubmitted { point: 0 })
        ),
        "it holds a fence"
    );
    binary.set_fence(&held.fence(1)?)?;
    let first = binary.fence()?;
    binary.set_fence(&held.fence(2)?)?;
    let second = BinarySyncobj::import(device, binary.export()?)?.fence()?;
    let point = Timeline::create(device)?.point(1)?;
    point.transfer_from_binary(&binary)?;
    held.advance(1)?;
    signalled(&first)?;
    unsignalled(&second)?;
    ensure!(!point.is_signalled()?, "the point took another fence");
    held.advance(1)?;
    signalled(&second)?;
    ensure!(point.is_signalled()?, "the point took another fence");
    binary.reset()?;
    ensure!(binary.fence().is_err(), "it keeps a fence");
    point.transfer_to_binary(&binary)?;
    signalled(&binary.fence()?)?;
    signalled(&Fence::signalled(device)?)?;
    Ok(Seen::Passed)
}

fn wait_before(device: &SyncDevice) -> Result<Seen> {
    let (held, timeline) = (Held::new()?, Timeline::create(device)?);
    let point = timeline.point(5)?;
    let (submitted, done) = (point.wait(Until::Submitted)?, point.wait(Until::Signalled)?);
    let patience = Duration::from_millis(300);
    for wait in [&submitted, &done] {
        let seen = wakes(wait, patience)?;
        ensure!(seen == (0, false), "before submission: {seen:?}");
    }
    point.set_fence(&held.fence(1)?)?;
    ensure!(wakes(&submitted, patience)? == (1, true), "submitted");
    ensure!(wakes(&done, patience)? == (0, false), "before the signal");
    held.advance(1)?;
    ensure!(wakes(&done, patience)? == (1, true), "signalled");
    // Who waits when all is over does not wait.
    ensure!(point.wait(Until::Signalled)?.is_signalled()?, "it is over");
    // By another thread, while this one sleeps.
    let later = timeline.point(6)?;
    let wait = later.wait(Until::Signalled)?;
    let signals = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        later.signal()
    });
    let seen = wakes(&wait, Duration::from_secs(20))?;
    signals.join().map_err(|_| anyhow::anyhow!("a panic"))??;
    ensure!(seen == (1, true), "{seen:?}");
    Ok(Seen::Passed)
}

fn out_of_order(device: &SyncDevice) -> Result<Seen> {
    let (first, second) = (Held::new()?, Held::new()?);
    let timeline = Timeline::create(device)?;
    let (one, two) = (timeline.point(1)?, timeline.point(2)?);
    let waits = [one.wait(Until::Signalled)?, two.wait(Until::Signalled)?];
    one.set_fence(&first.fence(1)?)?;
    two.set_fence(&second.fence(1)?)?;
    second.advance(1)?;
    ensure!(
        timeline.last_signalled()? == 0,
        "a point is over before the one below it"
    );
    ensure!(!waits[1].is_signalled()?, "its wait is over");
    unsignalled(&two.fence()?)?;
    first.advance(1)?;
    ensure!(timeline.last_signalled()? == 2, "{timeline:?}");
    ensure!(
        waits[0].is_signalled()? && waits[1].is_signalled()?,
        "a wait goes on"
    );
    Ok(Seen::Passed)
}

fn backwards(device: &SyncDevice) -> Result<Seen> {
    let timeline = Timeline::create(device)?;
    timeline.point(9)?.signal()?;
    timeline.point(4)?.signal()?;
    ensure!(
        timeline.last_signalled()? == 9,
        "{}",
        timeline.last_signalled()?
    );
    ensure!(
        timeline.last_submitted()? == 9,
        "{}",
        timeline.last_submitted()?
    );
    ensure!(
        timeline.point(4)?.wait(Until::Signalled)?.is_signalled()?,
        "4"
    );
    ensure!(
        !timeline.point(10)?.wait(Until::Signalled)?.is_signalled()?,
        "10"
    );
    timeline.point(10)?.signal()?;
    ensure!(timeline.last_signalled()? == 10, "it does not go on");
    ensure!(
        matches!(timeline.point(0), Err(TimelineError::PointZero)),
        "0 is a point"
    );
    Ok(Seen::Passed)
}

fn failed(device: &SyncDevice) -> Result<Seen> {
    let (held, timeline) = (Held::new()?, Timeline::create(device)?);
    let point = timeline.point(1)?;
    let wait = point.wait(Until::Signalled)?;
    point.set_fence(&held.fence(1)?)?;
    let fence = point.fence()?;
    ensure!(!wait.is_signalled()?, "it is over before");
    drop(held);
    ensure!(
        wait.is_signalled()?,
        "who waits for the point waits for ever"
    );
    ensure!(point.is_signalled()?, "the point");
    // Whether the error came along is the kernel's affair: Linux 7.3 says that the fence is signalled.
    ensure!(fence.status()? != FenceStatus::Unsignalled, "the fence");
    Ok(Seen::Passed)
}

fn dropped(device: &SyncDevice) -> Result<Seen> {
    let theirs = Timeline::create(device)?;
    let ours = Timeline::import(device, theirs.export()?)?;
    let wait = ours.point(3)?.wait(Until::Signalled)?;
    drop(ours);
    ensure!(!wait.is_signalled()?, "closing counts as signalling");
    theirs.point(3)?.signal()?;
    ensure!(wait.is_signalled()?, "the wait went with the handle");
    // And where nobody else has it any more.
    let alone = Timeline::create(device)?;
    let point = alone.point(1)?;
    let wait = point.wait(Until::Signalled)?;
    drop((alone, point));
    wait.point().signal()?;
    ensure!(
        wait.is_signalled()?,
        "the timeline went although it is waited for"
    );
    Ok(Seen::Passed)
}

fn imported(device: &SyncDevice) -> Result<Seen> {
    let timeline = Timeline::create(device)?;
    let fd = timeline.export()?;
    let (one, other) = (
        Timeline::import(device, &fd)?,
        Timeline::import(device, &fd)?,
    );
    drop(one);
    other.point(2)?.signal()?;
    drop(other);
    ensure!(timeline.last_signalled()? == 2, "it is another timeline");
    Ok(Seen::Passed)
}

fn between_files(device: &SyncDevice) -> Result<Seen> {
    let path = Card::list()
        .into_iter()
        .find(|path| Card::open(path).is_ok_and(|card| card.driver() == device.driver()))
        .context("the card has gone")?;
    let elsewhere = SyncDevice::new(Card::open(&path)?)?;
    let held = Held::new()?;
    // The same handle means another syncobj there.
    let (here, decoy) = (Timeline::create(device)?, Timeline::create(&elsewhere)?);
    let there = Timeline::create(&elsewhere)?;
    here.point(1)?.set_fence(&held.fence(1)?)?;
    here.point(1)?.transfer_to(&there.point(4)?)?;
    ensure!(there.last_submitted()? == 4, "{}", there.last_submitted()?);
    ensure!(
        decoy.last_submitted()? == 0,
        "a handle was taken for another's"
    );
    held.advance(1)?;
    ensure!(there.last_signalled()? == 4, "{}", there.last_signalled()?);
    Ok(Seen::Passed)
}

fn hostile(device: &SyncDevice) -> Result<Seen> {
    let buffer = dumb("vgem")?;
    let held = Held::new()?;
    let others: [(&str, OwnedFd); 5] = [
        (
            "a dma-buf",
            buffer
                .dmabuf_fd(0)
                .context("no memory")?
                .try_clone_to_owned()?,
        ),
        (
            "a memfd",
            rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC)?,
        ),
        (
            "an eventfd",
            rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?,
        ),
        ("/dev/null", File::open("/dev/null")?.into()),
        ("a sync_file", held.fence(1)?.into()),
    ];
    for (name, fd) in others {
        match Timeline::import(device, &fd) {
            Err(TimelineError::NotSyncobj { .. }) => {}
            other => bail!("{name} (fd {}): {other:?}", fd.as_fd().as_raw_fd()),
        }
    }
    match SyncDevice::new(File::open("/dev/null")?) {
        Err(TimelineError::Request { .. }) => Ok(Seen::Passed),
        other => bail!("/dev/null: {other:?}"),
    }
}

fn many(device: &SyncDevice) -> Result<Seen> {
    const POINTS: u32 = 100_000;
    let path = Card::list()
        .into_iter()
        .find(|path| Card::open(path).is_ok_and(|card| card.driver() == device.driver()))
        .context("the card has gone")?;
    let card = Card::open(&path)?;
    let device = SyncDevice::new(&card)?;
    let (held, timeline) = (Held::new()?, Timeline::create(&device)?);
    let fds = || covalent_tests::judge::process::fd_count(std::process::id());
    // The kernel gives the least handle that is free.
    let next_handle = || -> Result<u32> {
        let handle = card.create_syncobj(false)?;
        card.destroy_syncobj(handle)?;
        Ok(handle.into())
    };
    let before = (fds()?, next_handle()?);
    for number in 1..=POINTS {
        let point = timeline.point(number.into())?;
        let wait = point.wait(Until::Signalled)?;
        if number % 3 == 0 {
            point.signal()?;
        } else {
            point.set_fence(&held.fence(number)?)?;
            if number % 7 == 0 {
                unsignalled(&point.fence()?)?;
            }
        }
        ensure!(
            number % 3 == 0 || !wait.is_signalled()?,
            "point {number} is over"
        );
        held.advance(1)?;
        ensure!(wait.is_signalled()?, "point {number} is not over");
    }
    ensure!(
        timeline.last_signalled()? == u64::from(POINTS),
        "{timeline:?}"
    );
    let after = (fds()?, next_handle()?);
    ensure!(
        before == after,
        "fds and next handle: {before:?}, then {after:?}"
    );
    Ok(Seen::Passed)
}
