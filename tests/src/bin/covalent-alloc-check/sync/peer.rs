//! Another process that has a buffer, and is killed while it has it.

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
use crate::{Seen, Tally};

pub(super) fn run(tally: &mut Tally) {
    tally.check(
        "sync::peer_killed_between_acquire_and_release_is_given_up",
        killed,
    );
}

/// What the other process does: it gives the first frame back, and keeps the second.
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

fn killed() -> Result<Seen> {
    let Some(device) = device()? else {
        return Ok(Seen::Skipped("no card has timelines".to_owned()));
    };
    let buffer = dumb("vgem")?;
    let release = Timeline::create(&device)?;
    let (gpu, peer) = (
        Accessor::new("gpu", [SyncMechanism::SyncFile]),
        Accessor::new("peer", [SyncMechanism::Timeline]),
    );
    let mut ledger: AccessTracker<SyncPoint> = AccessTracker::new("frame");
    let mut lend = |number: u64| -> Result<()> {
        let AccessDecision::Granted(turn, _) = ledger.begin_read(&peer)? else {
            bail!("it waits for nobody");
        };
        ledger.transfer_out(turn, Some(release.point(number)?.into()))?;
        Ok(())
    };
    lend(1)?;
    let first = release.point(1)?.wait(Until::Signalled)?;
    ensure!(!first.is_signalled()?, "it is back before it was sent");
    let mut child = Command::new(std::env::current_exe()?)
        .arg("peer")
        .stdin(Stdio::from(release.export()?))
        .stdout(Stdio::piped())
        .spawn()?;
    let told = (|| -> Result<()> {
        let out = child.stdout.take().context("no pipe")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        ensure!(line.trim() == "released 1", "it says {line:?}");
        ensure!(first.is_signalled()?, "its signal does not arrive");
        lend(2)?;
        Ok(())
    })();
    child.kill()?;
    child.wait()?;
    told?;
    let second = release.point(2)?;
    let wait = second.wait(Until::Signalled)?;
    let after = match ledger.begin_write(&gpu)? {
        AccessDecision::Granted(turn, after) => {
            ledger.end(turn, None).err().map(|error| (error, after))
        }
        AccessDecision::Wait(after) => bail!("the GPU cannot wait for {after:?}"),
    };
    // A writer that goes on without the release is found out, and the release is still waited for.
    let Some((AccessTrackerError::DidNotWait { other, .. }, after)) = after else {
        bail!("a writer that did not wait was let through: {after:?}");
    };
    ensure!(other == "peer" && after.len() == 1, "{other}: {after:?}");
    ensure!(!wait.is_signalled()?, "the dead release");
    let carried = SyncPoint::implicit(&buffer, Access::Write)?;
    ledger.end_lost(&peer, Some(&carried));
    let AccessDecision::Granted(turn, after) = ledger.begin_write(&gpu)? else {
        bail!("the GPU cannot wait");
    };
    ensure!(after.is_empty(), "it waits for the dead: {after:?}");
    ledger.end(turn, None)?;
    Ok(Seen::Passed)
}
