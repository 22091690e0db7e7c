//! Checks the access to a buffer when another process is killed during its own access.

use std::io::{BufRead as _, BufReader, Write as _, stdin, stdout};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::constraint::SyncMechanism;
use covalent_alloc::sync::{
    Access, AccessDecision, AccessTracker, AccessTrackerError, Accessor, Pollable as _, SyncPoint,
    Timeline, Until,
};

use super::{device, dumb};
use crate::{CheckOutcome, CheckRunner};

pub(super) fn run(runner: &mut CheckRunner) {
    runner.check(
        "sync::peer_killed_between_acquire_and_release_does_not_block_later_accesses",
        peer_killed_during_its_access_does_not_block_later_accesses,
    );
}

/// Runs as the second process: signals the release point of the first frame, but never that of the second frame.
pub(super) fn serve() -> Result<()> {
    let device = device()?.context("no card has timelines")?;
    let release = Timeline::import(&device, stdin().as_fd())?;
    release.point(1)?.signal()?;
    println!("released 1");
    stdout().flush()?;
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn peer_killed_during_its_access_does_not_block_later_accesses() -> Result<CheckOutcome> {
    let Some(device) = device()? else {
        return Ok(CheckOutcome::Skipped("no card has timelines".to_owned()));
    };
    let buffer = dumb("vgem")?;
    let release = Timeline::create(&device)?;
    let (gpu, peer) = (
        Accessor::new("gpu", [SyncMechanism::SyncFile]),
        Accessor::new("peer", [SyncMechanism::Timeline]),
    );
    let mut tracker: AccessTracker<SyncPoint> = AccessTracker::new("frame");
    let mut lend = |number: u64| -> Result<()> {
        let AccessDecision::Granted(token, _) = tracker.begin_read(&peer)? else {
            bail!("the peer's access has to wait although no access is pending");
        };
        tracker.transfer_out(token, Some(release.point(number)?.into()))?;
        Ok(())
    };
    lend(1)?;
    let first = release.point(1)?.wait(Until::Signalled)?;
    ensure!(
        !first.is_signalled()?,
        "the release point is signalled before the peer was started"
    );
    let mut child = Command::new(std::env::current_exe()?)
        .arg("peer")
        .stdin(Stdio::from(release.export()?))
        .stdout(Stdio::piped())
        .spawn()?;
    let exchanged = (|| -> Result<()> {
        let out = child
            .stdout
            .take()
            .context("the peer's stdout is no pipe")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        ensure!(line.trim() == "released 1", "the peer printed {line:?}");
        ensure!(
            first.is_signalled()?,
            "the peer's signal did not reach this process"
        );
        lend(2)?;
        Ok(())
    })();
    child.kill()?;
    child.wait()?;
    exchanged?;
    let second = release.point(2)?;
    let wait = second.wait(Until::Signalled)?;
    let after = match tracker.begin_write(&gpu)? {
        AccessDecision::Granted(token, after) => {
            tracker.end(token, None).err().map(|error| (error, after))
        }
        AccessDecision::Wait(after) => {
            bail!(
                "the tracker requires a CPU wait for {after:?}, although the GPU can wait for a timeline point"
            )
        }
    };
    // The tracker reports that the writer ended before the release point. Later accesses still have to wait for the release
    // point.
    let Some((AccessTrackerError::DidNotWait { other, .. }, after)) = after else {
        bail!(
            "the tracker did not report that the GPU ended its write before the release point: {after:?}"
        );
    };
    ensure!(other == "peer" && after.len() == 1, "{other}: {after:?}");
    ensure!(
        !wait.is_signalled()?,
        "the killed peer's release point is signalled"
    );
    let carried = SyncPoint::implicit(&buffer, Access::Write)?;
    tracker.end_lost(&peer, Some(&carried));
    let AccessDecision::Granted(token, after) = tracker.begin_write(&gpu)? else {
        bail!("the GPU's access is refused after the peer was lost");
    };
    ensure!(
        after.is_empty(),
        "the GPU has to wait for the killed peer: {after:?}"
    );
    tracker.end(token, None)?;
    Ok(CheckOutcome::Passed)
}
