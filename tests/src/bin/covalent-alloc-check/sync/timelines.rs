//! Checks timeline syncobjs of every card that supports them, with sw_sync fences that the checks signal late.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::sync::{
    BinarySyncobj, Fence, FenceStatus, Pollable, SyncDevice, Timeline, TimelineError, Until,
};
use covalent_tests::sw_sync::{SwSyncTimeline, check_signalled, check_unsignalled};
use drm::control::Device as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::dumb;
use crate::{CheckOutcome, CheckRunner};

/// A check of one card.
type Check = fn(&SyncDevice) -> Result<CheckOutcome>;

const CHECKS: &[(&str, Check)] = &[
    (
        "sync_file_imported_as_a_point_is_exported_again",
        sync_file_imported_as_a_point_is_exported_again,
    ),
    (
        "binary_syncobj_holds_the_last_fence_that_was_set",
        binary_syncobj_holds_the_last_fence_that_was_set,
    ),
    (
        "wait_before_submission_sleeps_until_the_point_is_signalled",
        wait_before_submission_sleeps_until_the_point_is_signalled,
    ),
    (
        "points_signalled_out_of_order_complete_in_order",
        points_signalled_out_of_order_complete_in_order,
    ),
    (
        "point_below_the_last_signalled_one_changes_nothing",
        point_below_the_last_signalled_one_changes_nothing,
    ),
    (
        "failed_fence_ends_the_wait_for_its_point",
        failed_fence_ends_the_wait_for_its_point,
    ),
    (
        "timeline_dropped_during_a_wait_is_still_signalled",
        timeline_dropped_during_a_wait_is_still_signalled,
    ),
    (
        "eventfd_counts_each_point_that_it_is_armed_for",
        eventfd_counts_each_point_that_it_is_armed_for,
    ),
    (
        "timeline_imported_twice_is_one_timeline",
        timeline_imported_twice_is_one_timeline,
    ),
    (
        "points_are_transferred_between_open_files_of_one_card",
        points_are_transferred_between_open_files_of_one_card,
    ),
    (
        "fd_that_is_no_syncobj_is_refused",
        fd_that_is_no_syncobj_is_refused,
    ),
    (
        "100000_points_leak_no_fd_and_no_handle",
        many_points_leak_no_fd_and_no_handle,
    ),
];

pub(super) fn run(runner: &mut CheckRunner) {
    let mut with = 0;
    for path in Card::list() {
        let opened = Card::open(&path).map_err(anyhow::Error::from);
        let device = opened.and_then(|card| Ok((SyncDevice::new(&card)?, card)));
        let (device, _card) = match device {
            Ok(opened) => opened,
            Err(error) => {
                runner.check(&format!("sync::{}", path.display()), || Err(error));
                continue;
            }
        };
        let driver = device.driver();
        if !device.support().eventfd {
            runner.check(
                &format!("sync::{driver}_without_timelines_reports_it"),
                || lacking(&device),
            );
            continue;
        }
        with += 1;
        for (name, check) in CHECKS {
            runner.check(&format!("sync::{driver}::{name}"), || check(&device));
        }
    }
    runner.check("sync::some_card_has_timelines", || {
        ensure!(with > 0, "no card supports timelines with eventfd");
        Ok(CheckOutcome::Passed)
    });
}

/// Checks that a card without timelines refuses to create one.
fn lacking(device: &SyncDevice) -> Result<CheckOutcome> {
    match Timeline::create(device) {
        Err(TimelineError::Unsupported { .. }) => Ok(CheckOutcome::Passed),
        other => bail!("creating a timeline on a card without support returned {other:?}"),
    }
}

/// Polls until the wait is over or `timeout` has passed. Returns how many times poll() returned with an event, and whether the
/// wait is over. A correct wait makes poll() return exactly once.
fn wakes(pollable: &impl Pollable, timeout: Duration) -> Result<(u32, bool)> {
    let deadline = Instant::now() + timeout;
    let mut wakes = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into()?,
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(pollable, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout))? == 0 {
            return Ok((wakes, false));
        }
        wakes += 1;
        if pollable.is_signalled()? {
            return Ok((wakes, true));
        }
    }
}

fn sync_file_imported_as_a_point_is_exported_again(device: &SyncDevice) -> Result<CheckOutcome> {
    let (sw_sync, timeline) = (SwSyncTimeline::new()?, Timeline::create(device)?);
    let point = timeline.point(7)?;
    match point.fence() {
        Err(TimelineError::NotSubmitted { point: 7 }) => {}
        other => bail!("the fence of a point that was not submitted is {other:?}"),
    }
    point.set_fence(&sw_sync.fence(1)?)?;
    ensure!(point.is_submitted()? && !point.is_signalled()?, "{point:?}");
    let back = point.fence()?;
    check_unsignalled(&back)?;
    // The fence of the point is transferred to a point of another timeline.
    let other = Timeline::create(device)?.point(3)?;
    point.transfer_to(&other)?;
    ensure!(other.is_submitted()? && !other.is_signalled()?, "{other:?}");
    sw_sync.advance(1)?;
    check_signalled(&back)?;
    ensure!(
        point.is_signalled()? && other.is_signalled()?,
        "a point is not signalled although its fence is"
    );
    ensure!(timeline.last_signalled()? == 7, "{timeline:?}");
    check_signalled(&point.fence()?)?;
    Ok(CheckOutcome::Passed)
}

fn binary_syncobj_holds_the_last_fence_that_was_set(device: &SyncDevice) -> Result<CheckOutcome> {
    let (sw_sync, binary) = (SwSyncTimeline::new()?, BinarySyncobj::create(device)?);
    ensure!(
        matches!(
            binary.fence(),
            Err(TimelineError::NotSubmitted { point: 0 })
        ),
        "a new binary syncobj holds a fence"
    );
    binary.set_fence(&sw_sync.fence(1)?)?;
    let first = binary.fence()?;
    binary.set_fence(&sw_sync.fence(2)?)?;
    let second = BinarySyncobj::import(device, binary.export()?)?.fence()?;
    let point = Timeline::create(device)?.point(1)?;
    point.transfer_from_binary(&binary)?;
    sw_sync.advance(1)?;
    check_signalled(&first)?;
    check_unsignalled(&second)?;
    ensure!(
        !point.is_signalled()?,
        "the point has another fence than the binary syncobj"
    );
    sw_sync.advance(1)?;
    check_signalled(&second)?;
    ensure!(
        point.is_signalled()?,
        "the point has another fence than the binary syncobj"
    );
    binary.reset()?;
    ensure!(
        binary.fence().is_err(),
        "the syncobj still holds a fence after the reset"
    );
    point.transfer_to_binary(&binary)?;
    check_signalled(&binary.fence()?)?;
    check_signalled(&Fence::signalled(device)?)?;
    Ok(CheckOutcome::Passed)
}

fn wait_before_submission_sleeps_until_the_point_is_signalled(
    device: &SyncDevice,
) -> Result<CheckOutcome> {
    let (sw_sync, timeline) = (SwSyncTimeline::new()?, Timeline::create(device)?);
    let point = timeline.point(5)?;
    let (submitted, done) = (point.wait(Until::Submitted)?, point.wait(Until::Signalled)?);
    let timeout = Duration::from_millis(300);
    for wait in [&submitted, &done] {
        let seen = wakes(wait, timeout)?;
        ensure!(
            seen == (0, false),
            "before the submission, the number of wake-ups and the end of the wait are {seen:?}"
        );
    }
    point.set_fence(&sw_sync.fence(1)?)?;
    ensure!(
        wakes(&submitted, timeout)? == (1, true),
        "the submission did not end the wait for the submission"
    );
    ensure!(
        wakes(&done, timeout)? == (0, false),
        "the wait for the signal ended before the signal"
    );
    sw_sync.advance(1)?;
    ensure!(
        wakes(&done, timeout)? == (1, true),
        "the signal did not end the wait for the signal"
    );
    ensure!(
        point.wait(Until::Signalled)?.is_signalled()?,
        "a wait for a signalled point is not over at once"
    );
    // Another thread signals the point while this thread sleeps in poll().
    let later = timeline.point(6)?;
    let wait = later.wait(Until::Signalled)?;
    let signals = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        later.signal()
    });
    let seen = wakes(&wait, Duration::from_secs(20))?;
    signals
        .join()
        .map_err(|_| anyhow::anyhow!("the signalling thread panicked"))??;
    ensure!(
        seen == (1, true),
        "the number of wake-ups and the end of the wait are {seen:?}"
    );
    Ok(CheckOutcome::Passed)
}

fn points_signalled_out_of_order_complete_in_order(device: &SyncDevice) -> Result<CheckOutcome> {
    let (first, second) = (SwSyncTimeline::new()?, SwSyncTimeline::new()?);
    let timeline = Timeline::create(device)?;
    let (one, two) = (timeline.point(1)?, timeline.point(2)?);
    let waits = [one.wait(Until::Signalled)?, two.wait(Until::Signalled)?];
    one.set_fence(&first.fence(1)?)?;
    two.set_fence(&second.fence(1)?)?;
    second.advance(1)?;
    ensure!(
        timeline.last_signalled()? == 0,
        "point 2 counts as signalled before point 1"
    );
    ensure!(
        !waits[1].is_signalled()?,
        "the wait for point 2 ended before point 1 was signalled"
    );
    check_unsignalled(&two.fence()?)?;
    first.advance(1)?;
    ensure!(timeline.last_signalled()? == 2, "{timeline:?}");
    ensure!(
        waits[0].is_signalled()? && waits[1].is_signalled()?,
        "a wait did not end although both points are signalled"
    );
    Ok(CheckOutcome::Passed)
}

fn point_below_the_last_signalled_one_changes_nothing(device: &SyncDevice) -> Result<CheckOutcome> {
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
        "point 4 does not count as signalled although point 9 is"
    );
    ensure!(
        !timeline.point(10)?.wait(Until::Signalled)?.is_signalled()?,
        "point 10 counts as signalled"
    );
    timeline.point(10)?.signal()?;
    ensure!(
        timeline.last_signalled()? == 10,
        "point 10 is not the last signalled one after its signal"
    );
    ensure!(
        matches!(timeline.point(0), Err(TimelineError::PointZero)),
        "point 0 is accepted"
    );
    Ok(CheckOutcome::Passed)
}

fn failed_fence_ends_the_wait_for_its_point(device: &SyncDevice) -> Result<CheckOutcome> {
    let (sw_sync, timeline) = (SwSyncTimeline::new()?, Timeline::create(device)?);
    let point = timeline.point(1)?;
    let wait = point.wait(Until::Signalled)?;
    point.set_fence(&sw_sync.fence(1)?)?;
    let fence = point.fence()?;
    ensure!(
        !wait.is_signalled()?,
        "the wait ended before the fence failed"
    );
    drop(sw_sync);
    ensure!(
        wait.is_signalled()?,
        "a wait for a point whose fence failed never ends"
    );
    ensure!(
        point.is_signalled()?,
        "the point of a failed fence is not signalled"
    );
    // The kernel determines whether the exported fence has the error. Linux 7.3 exports a fence without the error.
    ensure!(
        fence.status()? != FenceStatus::Unsignalled,
        "the exported fence is still unsignalled"
    );
    Ok(CheckOutcome::Passed)
}

fn eventfd_counts_each_point_that_it_is_armed_for(device: &SyncDevice) -> Result<CheckOutcome> {
    let timeline = Timeline::create(device)?;
    let eventfd = timeline.eventfd()?;
    let count = || {
        let mut bytes = [0; 8];
        match rustix::io::read(&eventfd, &mut bytes) {
            Ok(_) => Ok(u64::from_ne_bytes(bytes)),
            Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(error),
        }
    };
    for point in 1..=3 {
        eventfd.arm(point, Until::Signalled)?;
        ensure!(
            count()? == 0,
            "the eventfd counts point {point} before the point is signalled"
        );
        timeline.point(point)?.signal()?;
        ensure!(
            count()? == 1,
            "the eventfd does not count the signalled point {point} exactly once"
        );
    }
    // If the eventfd is not read between the signals, its counter is the number of all signalled points.
    for point in [4, 2, 5] {
        eventfd.arm(point, Until::Signalled)?;
        timeline.point(point)?.signal()?;
    }
    ensure!(
        count()? == 3,
        "the eventfd does not count three signalled points as three"
    );
    ensure!(
        matches!(
            eventfd.arm(0, Until::Signalled),
            Err(TimelineError::PointZero)
        ),
        "point 0 is accepted"
    );
    Ok(CheckOutcome::Passed)
}

fn timeline_dropped_during_a_wait_is_still_signalled(device: &SyncDevice) -> Result<CheckOutcome> {
    let theirs = Timeline::create(device)?;
    let ours = Timeline::import(device, theirs.export()?)?;
    let wait = ours.point(3)?.wait(Until::Signalled)?;
    drop(ours);
    ensure!(!wait.is_signalled()?, "closing the timeline ended the wait");
    theirs.point(3)?.signal()?;
    ensure!(
        wait.is_signalled()?,
        "the wait did not survive the closing of its handle"
    );
    // Only the wait still refers to the timeline.
    let alone = Timeline::create(device)?;
    let point = alone.point(1)?;
    let wait = point.wait(Until::Signalled)?;
    drop((alone, point));
    wait.point().signal()?;
    ensure!(
        wait.is_signalled()?,
        "the timeline was freed during a wait for its point"
    );
    Ok(CheckOutcome::Passed)
}

fn timeline_imported_twice_is_one_timeline(device: &SyncDevice) -> Result<CheckOutcome> {
    let timeline = Timeline::create(device)?;
    let fd = timeline.export()?;
    let (one, other) = (
        Timeline::import(device, &fd)?,
        Timeline::import(device, &fd)?,
    );
    drop(one);
    other.point(2)?.signal()?;
    drop(other);
    ensure!(
        timeline.last_signalled()? == 2,
        "an import signalled another timeline"
    );
    Ok(CheckOutcome::Passed)
}

fn points_are_transferred_between_open_files_of_one_card(
    device: &SyncDevice,
) -> Result<CheckOutcome> {
    let path = Card::list()
        .into_iter()
        .find(|path| Card::open(path).is_ok_and(|card| card.driver() == device.driver()))
        .context("the card disappeared")?;
    let elsewhere = SyncDevice::new(Card::open(&path)?)?;
    let sw_sync = SwSyncTimeline::new()?;
    // The same handle number refers to another syncobj in the other open file.
    let (here, decoy) = (Timeline::create(device)?, Timeline::create(&elsewhere)?);
    let there = Timeline::create(&elsewhere)?;
    here.point(1)?.set_fence(&sw_sync.fence(1)?)?;
    here.point(1)?.transfer_to(&there.point(4)?)?;
    ensure!(there.last_submitted()? == 4, "{}", there.last_submitted()?);
    ensure!(
        decoy.last_submitted()? == 0,
        "the transfer used a handle of the other open file"
    );
    sw_sync.advance(1)?;
    ensure!(there.last_signalled()? == 4, "{}", there.last_signalled()?);
    Ok(CheckOutcome::Passed)
}

fn fd_that_is_no_syncobj_is_refused(device: &SyncDevice) -> Result<CheckOutcome> {
    let buffer = dumb("vgem")?;
    let sw_sync = SwSyncTimeline::new()?;
    let others: [(&str, OwnedFd); 5] = [
        (
            "a dma-buf",
            buffer
                .dmabuf_fd(0)
                .context("the buffer has no dma-buf")?
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
        ("a sync_file", sw_sync.fence(1)?.into()),
    ];
    for (name, fd) in others {
        match Timeline::import(device, &fd) {
            Err(TimelineError::NotSyncobj { .. }) => {}
            other => bail!(
                "the import of {name} (fd {}) returned {other:?}",
                fd.as_fd().as_raw_fd()
            ),
        }
    }
    match SyncDevice::new(File::open("/dev/null")?) {
        Err(TimelineError::Request { .. }) => Ok(CheckOutcome::Passed),
        other => bail!("opening /dev/null as a card returned {other:?}"),
    }
}

fn many_points_leak_no_fd_and_no_handle(device: &SyncDevice) -> Result<CheckOutcome> {
    const POINTS: u32 = 100_000;
    let path = Card::list()
        .into_iter()
        .find(|path| Card::open(path).is_ok_and(|card| card.driver() == device.driver()))
        .context("the card disappeared")?;
    let card = Card::open(&path)?;
    let device = SyncDevice::new(&card)?;
    let (sw_sync, timeline) = (SwSyncTimeline::new()?, Timeline::create(&device)?);
    let fds = || covalent_tests::judge::process::fd_count(std::process::id());
    // The kernel returns the lowest free handle number, so this number shows whether handles were leaked.
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
            point.set_fence(&sw_sync.fence(number)?)?;
            if number % 7 == 0 {
                check_unsignalled(&point.fence()?)?;
            }
        }
        ensure!(
            number % 3 == 0 || !wait.is_signalled()?,
            "the wait for point {number} ended before its fence was signalled"
        );
        sw_sync.advance(1)?;
        ensure!(
            wait.is_signalled()?,
            "the wait for point {number} did not end with its signal"
        );
    }
    ensure!(
        timeline.last_signalled()? == u64::from(POINTS),
        "{timeline:?}"
    );
    let after = (fds()?, next_handle()?);
    ensure!(
        before == after,
        "fds and next handle were {before:?}, and are {after:?}"
    );
    Ok(CheckOutcome::Passed)
}
