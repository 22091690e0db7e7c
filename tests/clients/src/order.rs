//! Points that come late, in any order or never, and what the display shows meanwhile.

use anyhow::{Context as _, bail, ensure};
use covalent_alloc::sync::{PointWait, Timeline, Until};
use covalent_client_demo::compositor::Event;

use crate::check;
use crate::peer::{Peer, SharedTimeline};

/// Frames that another window shows while one stalls.
const FRAMES: u64 = 20;

/// Commits that one client may have waiting, and some more.
const TOO_MANY: u64 = 80;

pub(crate) fn run() -> bool {
    let mut passed = true;
    for (name, run) in [
        (
            "unsignalled_acquire_stalls_its_own_surface_alone",
            stalled as fn() -> anyhow::Result<()>,
        ),
        (
            "release_comes_after_the_next_frame_and_not_before",
            released,
        ),
        (
            "buffer_committed_again_uses_its_new_points",
            committed_again,
        ),
        (
            "point_signalled_by_a_later_one_counts",
            signalled_by_a_later_one,
        ),
        ("point_that_is_submitted_late_is_waited_for", submitted_late),
        (
            "timeline_that_is_closed_stalls_its_own_surface_alone",
            closed,
        ),
        (
            "commit_replaced_while_it_waits_gives_its_buffer_back_in_order",
            replaced,
        ),
        (
            "surface_without_an_object_goes_back_to_implicit_fences",
            implicit_again,
        ),
        ("endless_commits_are_bounded", bounded),
    ] {
        passed &= check(name, run);
    }
    passed
}

/// Commits a buffer that is never ready, and stays.
pub(crate) fn hang() -> anyhow::Result<()> {
    let mut peer = Peer::connect()?;
    let mut pane = peer.pane()?;
    let buffers = peer.buffers(1)?;
    let (acquire, release) = (peer.timeline()?, peer.timeline()?);
    peer.show(&mut pane, &buffers[0], (&acquire, 1), (&release, 1));
    peer.linger(2)?;
    println!("hangs");
    peer.until("end", |_| false)
}

fn signal(shared: &SharedTimeline, point: u64) -> anyhow::Result<()> {
    Ok(shared.timeline.point(point)?.signal()?)
}

fn wait(timeline: &Timeline, point: u64) -> anyhow::Result<PointWait> {
    Ok(timeline.point(point)?.wait(Until::Signalled)?)
}

/// Waits until the compositor has signalled a release point.
fn until_released(peer: &mut Peer, shared: &SharedTimeline, point: u64) -> anyhow::Result<()> {
    let point = shared.timeline.point(point)?;
    peer.until("release a buffer", |_| {
        point.is_signalled().unwrap_or(false)
    })
}

/// Shows frames in another window, each to its end, and returns which frames of the stalled window came.
fn others_go_on(peer: &mut Peer, stalled: u64) -> anyhow::Result<bool> {
    let mut other = Peer::connect()?;
    let mut pane = other.pane()?;
    let buffers = other.buffers(2)?;
    let acquire = other.timeline()?;
    let releases = [other.timeline()?, other.timeline()?];
    for frame in 0..FRAMES {
        let index = usize::try_from(frame % 2)?;
        let round = frame / 2 + 1;
        if round > 1 {
            until_released(&mut other, &releases[index], round - 1)?;
        }
        signal(&acquire, frame + 1)?;
        let number = other.show(
            &mut pane,
            &buffers[index],
            (&acquire, frame + 1),
            (&releases[index], round),
        );
        other.until_presented(number)?;
    }
    let seen = peer.linger(2)?;
    Ok(seen
        .iter()
        .any(|event| matches!(event, Event::Presented(frame, _) if *frame == stalled)))
}

fn stalled() -> anyhow::Result<()> {
    let mut peer = Peer::connect()?;
    let mut pane = peer.pane()?;
    let buffers = peer.buffers(1)?;
    let (acquire, release) = (peer.timeline()?, peer.timeline()?);
    let frame = peer.show(&mut pane, &buffers[0], (&acquire, 1), (&release, 1));
    ensure!(
        !others_go_on(&mut peer, frame)?,
        "a frame was shown before its acquire point was signalled"
    );
    ensure!(
        !acquire.timeline.point(1)?.is_signalled()?,
        "nobody signalled it"
    );
    signal(&acquire, 1)?;
    peer.until_presented(frame)
}

fn released() -> anyhow::Result<()> {
    let mut peer = Peer::connect()?;
    let mut pane = peer.pane()?;
    let buffers = peer.buffers(2)?;
    let acquire = peer.timeline()?;
    let releases = [peer.timeline()?, peer.timeline()?];
    signal(&acquire, 2)?;
    let first = peer.show(&mut pane, &buffers[0], (&acquire, 1), (&releases[0], 5));
    peer.until_presented(first)?;
    peer.linger(3)?;
    let point = releases[0].timeline.point(5)?;
    ensure!(!point.is_signalled()?, "released while it is shown");
    let second = peer.show(&mut pane, &buffers[1], (&acquire, 2), (&releases[1], 1));
    peer.until_presented(second)?;
    until_released(&mut peer, &releases[0], 5)?;
    let still = releases[1].timeline.point(1)?.is_signalled()?;
    ensure!(!still, "the second was released with the first");
    // A window that goes gives its last buffer back.
    drop(pane);
    until_released(&mut peer, &releases[1], 1)
}

fn committed_again() -> anyhow::Result<()> {
    let mut peer = Peer::connect()?;
    let mut pane = peer.pane()?;
    let buffers = peer.buffers(1)?;
    let (acquire, release) = (peer.timeline()?, peer.timeline()?);
    for round in 1..=4 {
        let frame = peer.show(&mut pane, &buffers[0], (&acquire, round), (&release, round));
        let early = peer.linger(3)?;
        ensure!(
            !early
                .iter()
                .any(|event| matches!(event, Event::Presented(number, _) if *number == frame)),
            "round {round} was shown before its point"
        );
        signal(&acquire, round)?;
        peer.until_presented(frame)?;
        if round > 1 {
            until_released(&mut peer, &release, round - 1)?;
        }
        ensure!(
            !release.timeline.point(round)?.is_signalled()?,
            "round {round} was released while it is shown"
        );
    }
    Ok(())
}

fn signalled_by_a_later_one() -> anyhow::Result<()> {
    let mut peer = Peer::connect()?;
    let mut pane = peer.pane()?;
    let buffers = peer.buffers(1)?;
    let (acquire, release) = (peer.timeline()?, peer.timeline()?);
    let frame = peer.show(&mut pane, &buffers[0], (&acquire, 3), (&release, 1));
    peer.linger(2)?;
    signal(&acquire, 9)?;
    peer.until_presented(frame)
}

fn submitted_late() -> anyhow::Result<()> {
    let mut peer = Peer::connect()?;
    let mut pane = peer.pane()?;
    let buffers = peer.buffers(1)?;
    let (acquire, release) = (peer.timeline()?, peer.timeline()?);
    let elsewhere = peer.timeline()?;
    let frame = peer.show(&mut pane, &buffers[0], (&acquire, 1), (&release, 1));
    peer.linger(2)?;
    // What signals it comes after the commit, from another timeline, and is signalled already.
    signal(&elsewhere, 1)?;
    elsewhere
        .timeline
        .point(1)?
        .forward_to(&acquire.timeline.point(1)?)?;
    peer.until_presented(frame)
}

fn closed() -> anyhow::Result<()> {
    let mut peer = Peer::connect()?;
    let mut pane = peer.pane()?;
    let buffers = peer.buffers(1)?;
    let (acquire, release) = (peer.timeline()?, peer.timeline()?);
    let frame = peer.show(&mut pane, &buffers[0], (&acquire, 1), (&release, 1));
    peer.linger(1)?;
    acquire.proxy.destroy();
    drop(acquire);
    ensure!(
        !others_go_on(&mut peer, frame)?,
        "a frame was shown whose point nobody can signal any more"
    );
    Ok(())
}

fn replaced() -> anyhow::Result<()> {
    let mut peer = Peer::connect()?;
    let mut pane = peer.pane()?;
    let buffers = peer.buffers(3)?;
    let acquire = peer.timeline()?;
    let releases = [peer.timeline()?, peer.timeline()?, peer.timeline()?];
    let mut frames = Vec::new();
    for (index, release) in releases.iter().enumerate() {
        let point = u64::try_from(index)? + 1;
        frames.push(peer.show(&mut pane, &buffers[index], (&acquire, point), (release, 1)));
    }
    peer.linger(3)?;
    for release in &releases {
        ensure!(
            !release.timeline.point(1)?.is_signalled()?,
            "released and never shown"
        );
    }
    let held = wait(&releases[0].timeline, 1)?;
    signal(&acquire, 3)?;
    let last = *frames.last().context("frames")?;
    peer.until_presented(last)?;
    for release in &releases[..2] {
        until_released(&mut peer, release, 1)?;
    }
    drop(held);
    ensure!(
        !releases[2].timeline.point(1)?.is_signalled()?,
        "the frame that is shown was released"
    );
    Ok(())
}

fn implicit_again() -> anyhow::Result<()> {
    let mut peer = Peer::connect()?;
    let mut pane = peer.pane()?;
    let buffers = peer.buffers(2)?;
    let (acquire, release) = (peer.timeline()?, peer.timeline()?);
    signal(&acquire, 1)?;
    let first = peer.show(&mut pane, &buffers[0], (&acquire, 1), (&release, 1));
    peer.until_presented(first)?;
    // Points that were set and not committed go with the object.
    pane.object.set_acquire_point(&acquire.proxy, 0, 2);
    pane.object.destroy();
    let second = pane.window.show(&buffers[1], &peer.events.handle());
    peer.until_presented(second)?;
    until_released(&mut peer, &release, 1)
}

fn bounded() -> anyhow::Result<()> {
    let mut peer = Peer::connect()?;
    let mut pane = peer.pane()?;
    let buffers = peer.buffers(1)?;
    let (acquire, release) = (peer.timeline()?, peer.timeline()?);
    for round in 1..=TOO_MANY {
        peer.show(&mut pane, &buffers[0], (&acquire, round), (&release, round));
    }
    // Where requests are still unread the kernel drops the compositor's last words: that the connection ends is what counts.
    match peer.linger(2) {
        Err(_) => Peer::connect()?.linger(1).map(drop),
        Ok(_) => bail!("{TOO_MANY} commits wait, and the compositor says nothing"),
    }
}
