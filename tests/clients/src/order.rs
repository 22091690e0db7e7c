//! Signals acquire points late, out of order or never, and checks which frames are presented meanwhile.

use anyhow::{Context as _, bail, ensure};
use covalent_alloc::sync::{PointWait, Timeline, Until};
use covalent_client_demo::compositor::Event;

use crate::check;
use crate::test_client::{SharedTimeline, TestClient};

/// The number of frames that a second window shows while the first window waits for its acquire point.
const FRAMES: u64 = 20;

/// A number of pending commits that exceeds the compositor's limit for a client.
const TOO_MANY: u64 = 80;

pub(crate) fn run() -> bool {
    let mut passed = true;
    for (name, run) in [
        (
            "unsignalled_acquire_point_stalls_only_its_own_surface",
            unsignalled_acquire_point_stalls_only_its_own_surface as fn() -> anyhow::Result<()>,
        ),
        (
            "release_point_is_signalled_after_the_next_frame_and_not_before",
            release_point_is_signalled_after_the_next_frame_and_not_before,
        ),
        (
            "buffer_committed_again_uses_its_new_points",
            buffer_committed_again_uses_its_new_points,
        ),
        (
            "point_signalled_by_a_later_point_counts",
            point_signalled_by_a_later_point_counts,
        ),
        (
            "point_submitted_after_the_commit_is_waited_for",
            point_submitted_after_the_commit_is_waited_for,
        ),
        (
            "closed_timeline_stalls_only_its_own_surface",
            closed_timeline_stalls_only_its_own_surface,
        ),
        (
            "commit_replaced_while_pending_releases_its_buffer",
            commit_replaced_while_pending_releases_its_buffer,
        ),
        (
            "surface_without_a_syncobj_surface_uses_implicit_fences_again",
            surface_without_a_syncobj_surface_uses_implicit_fences_again,
        ),
        ("pending_commits_are_limited", pending_commits_are_limited),
    ] {
        passed &= check(name, run);
    }
    passed
}

/// Commits a buffer whose acquire point is never signalled, and runs until killed.
pub(crate) fn hang() -> anyhow::Result<()> {
    let mut client = TestClient::connect()?;
    let mut window = client.window()?;
    let buffers = client.buffers(1)?;
    let (acquire, release) = (client.timeline()?, client.timeline()?);
    client.show(&mut window, &buffers[0], (&acquire, 1), (&release, 1));
    client.roundtrips(2)?;
    println!("hangs");
    client.until("end", |_| false)
}

fn signal(shared: &SharedTimeline, point: u64) -> anyhow::Result<()> {
    Ok(shared.timeline.point(point)?.signal()?)
}

fn wait(timeline: &Timeline, point: u64) -> anyhow::Result<PointWait> {
    Ok(timeline.point(point)?.wait(Until::Signalled)?)
}

/// Waits until the compositor has signalled a release point.
fn until_released(
    client: &mut TestClient,
    shared: &SharedTimeline,
    point: u64,
) -> anyhow::Result<()> {
    let point = shared.timeline.point(point)?;
    client.until("release a buffer", |_| {
        point.is_signalled().unwrap_or(false)
    })
}

/// Presents frames in a second window. Returns whether the frame of the stalled window was presented meanwhile.
fn stalled_frame_appears(client: &mut TestClient, stalled: u64) -> anyhow::Result<bool> {
    let mut other = TestClient::connect()?;
    let mut window = other.window()?;
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
            &mut window,
            &buffers[index],
            (&acquire, frame + 1),
            (&releases[index], round),
        );
        other.until_presented(number)?;
    }
    let seen = client.roundtrips(2)?;
    Ok(seen
        .iter()
        .any(|event| matches!(event, Event::Presented(frame, _) if *frame == stalled)))
}

fn unsignalled_acquire_point_stalls_only_its_own_surface() -> anyhow::Result<()> {
    let mut client = TestClient::connect()?;
    let mut window = client.window()?;
    let buffers = client.buffers(1)?;
    let (acquire, release) = (client.timeline()?, client.timeline()?);
    let frame = client.show(&mut window, &buffers[0], (&acquire, 1), (&release, 1));
    ensure!(
        !stalled_frame_appears(&mut client, frame)?,
        "a frame was shown before its acquire point was signalled"
    );
    ensure!(
        !acquire.timeline.point(1)?.is_signalled()?,
        "the acquire point is signalled although the client did not signal it"
    );
    signal(&acquire, 1)?;
    client.until_presented(frame)
}

fn release_point_is_signalled_after_the_next_frame_and_not_before() -> anyhow::Result<()> {
    let mut client = TestClient::connect()?;
    let mut window = client.window()?;
    let buffers = client.buffers(2)?;
    let acquire = client.timeline()?;
    let releases = [client.timeline()?, client.timeline()?];
    signal(&acquire, 2)?;
    let first = client.show(&mut window, &buffers[0], (&acquire, 1), (&releases[0], 5));
    client.until_presented(first)?;
    client.roundtrips(3)?;
    let point = releases[0].timeline.point(5)?;
    ensure!(
        !point.is_signalled()?,
        "the buffer was released while it is shown"
    );
    let second = client.show(&mut window, &buffers[1], (&acquire, 2), (&releases[1], 1));
    client.until_presented(second)?;
    until_released(&mut client, &releases[0], 5)?;
    let still = releases[1].timeline.point(1)?.is_signalled()?;
    ensure!(!still, "the second buffer was released with the first");
    // When the window is destroyed, the compositor releases its last buffer.
    drop(window);
    until_released(&mut client, &releases[1], 1)
}

fn buffer_committed_again_uses_its_new_points() -> anyhow::Result<()> {
    let mut client = TestClient::connect()?;
    let mut window = client.window()?;
    let buffers = client.buffers(1)?;
    let (acquire, release) = (client.timeline()?, client.timeline()?);
    for round in 1..=4 {
        let frame = client.show(
            &mut window,
            &buffers[0],
            (&acquire, round),
            (&release, round),
        );
        let early = client.roundtrips(3)?;
        ensure!(
            !early
                .iter()
                .any(|event| matches!(event, Event::Presented(number, _) if *number == frame)),
            "the frame of round {round} was presented before its acquire point"
        );
        signal(&acquire, round)?;
        client.until_presented(frame)?;
        if round > 1 {
            until_released(&mut client, &release, round - 1)?;
        }
        ensure!(
            !release.timeline.point(round)?.is_signalled()?,
            "the buffer of round {round} was released while it is shown"
        );
    }
    Ok(())
}

fn point_signalled_by_a_later_point_counts() -> anyhow::Result<()> {
    let mut client = TestClient::connect()?;
    let mut window = client.window()?;
    let buffers = client.buffers(1)?;
    let (acquire, release) = (client.timeline()?, client.timeline()?);
    let frame = client.show(&mut window, &buffers[0], (&acquire, 3), (&release, 1));
    client.roundtrips(2)?;
    signal(&acquire, 9)?;
    client.until_presented(frame)
}

fn point_submitted_after_the_commit_is_waited_for() -> anyhow::Result<()> {
    let mut client = TestClient::connect()?;
    let mut window = client.window()?;
    let buffers = client.buffers(1)?;
    let (acquire, release) = (client.timeline()?, client.timeline()?);
    let elsewhere = client.timeline()?;
    let frame = client.show(&mut window, &buffers[0], (&acquire, 1), (&release, 1));
    client.roundtrips(2)?;
    // After the commit, the acquire point gets a fence: the test transfers the fence of a signalled point of another timeline.
    signal(&elsewhere, 1)?;
    elsewhere
        .timeline
        .point(1)?
        .transfer_to(&acquire.timeline.point(1)?)?;
    client.until_presented(frame)
}

fn closed_timeline_stalls_only_its_own_surface() -> anyhow::Result<()> {
    let mut client = TestClient::connect()?;
    let mut window = client.window()?;
    let buffers = client.buffers(1)?;
    let (acquire, release) = (client.timeline()?, client.timeline()?);
    let frame = client.show(&mut window, &buffers[0], (&acquire, 1), (&release, 1));
    client.roundtrips(1)?;
    acquire.proxy.destroy();
    drop(acquire);
    ensure!(
        !stalled_frame_appears(&mut client, frame)?,
        "a frame was presented whose acquire point can no longer be signalled"
    );
    Ok(())
}

fn commit_replaced_while_pending_releases_its_buffer() -> anyhow::Result<()> {
    let mut client = TestClient::connect()?;
    let mut window = client.window()?;
    let buffers = client.buffers(3)?;
    let acquire = client.timeline()?;
    let releases = [client.timeline()?, client.timeline()?, client.timeline()?];
    let mut frames = Vec::new();
    for (index, release) in releases.iter().enumerate() {
        let point = u64::try_from(index)? + 1;
        frames.push(client.show(
            &mut window,
            &buffers[index],
            (&acquire, point),
            (release, 1),
        ));
    }
    client.roundtrips(3)?;
    for release in &releases {
        ensure!(
            !release.timeline.point(1)?.is_signalled()?,
            "a pending buffer was released before a commit replaced it"
        );
    }
    let held = wait(&releases[0].timeline, 1)?;
    signal(&acquire, 3)?;
    let last = *frames.last().context("no frame was committed")?;
    client.until_presented(last)?;
    for release in &releases[..2] {
        until_released(&mut client, release, 1)?;
    }
    drop(held);
    ensure!(
        !releases[2].timeline.point(1)?.is_signalled()?,
        "the buffer of the shown frame was released"
    );
    Ok(())
}

fn surface_without_a_syncobj_surface_uses_implicit_fences_again() -> anyhow::Result<()> {
    let mut client = TestClient::connect()?;
    let mut window = client.window()?;
    let buffers = client.buffers(2)?;
    let (acquire, release) = (client.timeline()?, client.timeline()?);
    signal(&acquire, 1)?;
    let first = client.show(&mut window, &buffers[0], (&acquire, 1), (&release, 1));
    client.until_presented(first)?;
    // Destroying the syncobj surface discards points that were set but not committed.
    window.object.set_acquire_point(&acquire.proxy, 0, 2);
    window.object.destroy();
    let second = window.window.show(&buffers[1], &client.events.handle());
    client.until_presented(second)?;
    until_released(&mut client, &release, 1)
}

fn pending_commits_are_limited() -> anyhow::Result<()> {
    let mut client = TestClient::connect()?;
    let mut window = client.window()?;
    let buffers = client.buffers(1)?;
    let (acquire, release) = (client.timeline()?, client.timeline()?);
    for round in 1..=TOO_MANY {
        client.show(
            &mut window,
            &buffers[0],
            (&acquire, round),
            (&release, round),
        );
    }
    // If the client has unread requests in the socket, the kernel discards the compositor's error message. So any end of the
    // connection is accepted.
    match client.roundtrips(2) {
        Err(_) => TestClient::connect()?.roundtrips(1).map(drop),
        Ok(_) => bail!("the compositor accepted {TOO_MANY} pending commits"),
    }
}
