//! Running camera, compositor and judge in a guest, for the cases that look at them.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::judge::bufinfo::Object;
use crate::pipeline::{CameraRecord, FrameRecord, parse_frames};
use crate::vm::guest::shell;
use crate::vm::link::{Output, Process};
use crate::wire::SignalTarget;

use super::Bench;

/// How long a short run of the pipeline may take on a busy machine without KVM.
pub(super) const RUN: Duration = Duration::from_secs(120);
/// How long a question may take.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// A compositor that stays, with files in `/tmp/stage`, and what it and its machine held before any client came.
#[derive(Debug)]
pub(super) struct Stage {
    compositor: Process,
    buffers: usize,
    fds: usize,
}

/// `SIGTERM` and `SIGKILL`, as Linux numbers them.
pub(super) const SIGTERM: i32 = 15;
pub(super) const SIGKILL: i32 = 9;

/// What ended a client, and what it said.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit status; 128 and the number of a signal that ended it.
    pub(super) status: i32,
    /// Standard output.
    pub(super) out: String,
    /// Standard error.
    pub(super) words: String,
}

impl Stage {
    /// Starts a compositor and waits until it is ready.
    ///
    /// One client has come and gone before things are counted, so that what the compositor makes once does not count.
    pub(super) fn set(bench: &mut Bench<'_>) -> anyhow::Result<Self> {
        bench.sh("rm -rf /tmp/stage && mkdir -p /tmp/stage", SOON)?;
        let compositor = bench.guest()?.start(shell(
            "cd /tmp/stage && exec covalent-compositor --mode 640x480 --socket stage --report frames.jsonl >ready 2>log",
        ))?;
        bench.sh(
            "cd /tmp/stage; for _ in $(seq 300); do grep -qs ready ready && exit 0; sleep 0.1; done; cat log >&2; exit 1",
            SOON,
        )?;
        let mut stage = Self {
            compositor,
            buffers: 0,
            fds: 0,
        };
        let first = stage.camera(bench, "", "--frames 10 --json")?;
        ensure!(first.status == 0, "a first short run: {first:?}");
        let (buffers, fds) = stage.held(bench)?;
        (stage.buffers, stage.fds) = (buffers, fds);
        Ok(stage)
    }

    /// Runs a client of this compositor to its end; `before` is shell that goes before it, such as a limit.
    pub(super) fn client(
        &self,
        bench: &mut Bench<'_>,
        before: &str,
        command: &str,
    ) -> anyhow::Result<Ended> {
        run(
            bench,
            &format!("export WAYLAND_DISPLAY=stage; {before} exec {command}"),
        )
    }

    /// Runs the camera client to its end.
    pub(super) fn camera(
        &self,
        bench: &mut Bench<'_>,
        before: &str,
        options: &str,
    ) -> anyhow::Result<Ended> {
        self.client(bench, before, &format!("covalent-camera {options}"))
    }

    /// What the compositor has reported since it started.
    pub(super) fn frames(&self, bench: &mut Bench<'_>) -> anyhow::Result<Vec<FrameRecord>> {
        frames(bench, "/tmp/stage/frames.jsonl")
    }

    /// Checks that the compositor still shows frames of a client, and that nothing is held that was not held at first.
    pub(super) fn check_clean(&self, bench: &mut Bench<'_>, after: &str) -> anyhow::Result<()> {
        let pattern = self.client(
            bench,
            "",
            "covalent-pattern --window --size 320x240 --frames 5 --json",
        )?;
        ensure!(
            pattern.status == 0,
            "after {after} the compositor shows nothing: {pattern:?}; its log: {}",
            self.log(bench)?
        );
        // What the kernel frees after a flip or a grace period may take a moment.
        let mut held = (usize::MAX, usize::MAX);
        for _ in 0..20 {
            held = self.held(bench)?;
            if held.0 <= self.buffers && held.1 <= self.fds {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        anyhow::bail!(
            "after {after} there are {} dma-bufs and {} fds of the compositor; before there were {} and {}",
            held.0,
            held.1,
            self.buffers,
            self.fds
        )
    }

    /// Starts a client beside the case; it is ended when the result is dropped.
    pub(super) fn beside(&self, bench: &mut Bench<'_>, command: &str) -> anyhow::Result<Process> {
        let line = format!("export WAYLAND_DISPLAY=stage; exec {command}");
        Ok(bench.guest()?.start(shell(&line))?)
    }

    /// Starts a camera beside the case and waits until ten of its frames were shown.
    pub(super) fn camera_beside(&self, bench: &mut Bench<'_>) -> anyhow::Result<Process> {
        let count = "grep -c '\"camera/' /tmp/stage/frames.jsonl || true";
        let before: usize = bench.sh(count, SOON)?.text().parse()?;
        let mut camera = self.beside(bench, "covalent-camera --json")?;
        for _ in 0..300 {
            let shown: usize = bench.sh(count, SOON)?.text().parse()?;
            if shown >= before.saturating_add(10) {
                return Ok(camera);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        camera.kill()?;
        let mut said = String::new();
        while let Ok(Some(line)) = camera.line(crate::wire::Stream::Error, SOON) {
            said.push_str(&line);
            said.push('\n');
        }
        anyhow::bail!(
            "the camera shows nothing: {said}; the compositor's log: {}",
            self.log(bench)?
        )
    }

    /// Ends the compositor, which has to end well; then no dma-buf is left at all.
    pub(super) fn strike(self, bench: &mut Bench<'_>) -> anyhow::Result<()> {
        self.compositor.signal(SIGTERM, SignalTarget::Leader)?;
        let log = self.log(bench)?;
        let output = self.compositor.wait(SOON)?;
        ensure!(
            output.status.success(),
            "the compositor ended with {}; its log: {log}",
            output.status
        );
        check_none_left(bench)
    }

    /// Kills the compositor.
    pub(super) fn burn(&self) -> anyhow::Result<()> {
        Ok(self.compositor.signal(SIGKILL, SignalTarget::Leader)?)
    }

    /// Waits for the end of a compositor that was killed; then no dma-buf is left at all.
    pub(super) fn bury(self, bench: &mut Bench<'_>) -> anyhow::Result<()> {
        self.compositor.wait(SOON)?;
        check_none_left(bench)
    }

    /// The last words of the compositor.
    pub(super) fn log(&self, bench: &mut Bench<'_>) -> anyhow::Result<String> {
        Ok(bench.sh("tail -n 20 /tmp/stage/log", SOON)?.text())
    }

    /// How many dma-bufs the machine has, and how many fds the compositor.
    fn held(&self, bench: &mut Bench<'_>) -> anyhow::Result<(usize, usize)> {
        let fds = bench.sh("ls /proc/$(pgrep -x covalent-compos)/fd | wc -l", SOON)?;
        let fds = fds.text().parse().context("the compositor's fds")?;
        Ok((bufinfo(bench)?.len(), fds))
    }
}

/// Checks that the machine has no dma-buf any more. The kernel frees what a dead process held a little after its death.
fn check_none_left(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let mut left = bufinfo(bench)?;
    for _ in 0..40 {
        if left.is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(250));
        left = bufinfo(bench)?;
    }
    anyhow::bail!("ten seconds after all have ended: {left:?}")
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            out: output.text(),
            words: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: i32::from(output.status.as_shell()),
        }
    }
}

/// Waits for the end of a client that was started beside the case, after a signal where there is one.
pub(super) fn end(client: Process, signal: Option<i32>) -> anyhow::Result<Ended> {
    if let Some(signal) = signal {
        client.signal(signal, SignalTarget::Leader)?;
    }
    Ok(client.wait(RUN)?.into())
}

/// Runs a line of shell whose status is of interest, whatever it is.
pub(super) fn run(bench: &mut Bench<'_>, line: &str) -> anyhow::Result<Ended> {
    Ok(bench.guest()?.sh(line, RUN)?.into())
}

/// Reads a compositor's report in the guest.
pub(super) fn frames(bench: &mut Bench<'_>, path: &str) -> anyhow::Result<Vec<FrameRecord>> {
    let text = bench.guest()?.get(path)?;
    Ok(parse_frames(&String::from_utf8(text)?)?)
}

/// Parses what the camera client printed at its end.
pub(super) fn camera_record(text: &str) -> anyhow::Result<CameraRecord> {
    serde_json::from_str(text).with_context(|| format!("the camera's report: {text:?}"))
}

/// Every dma-buf of the guest.
pub(super) fn bufinfo(bench: &mut Bench<'_>) -> anyhow::Result<Vec<Object>> {
    let text = bench.sh("covalent-judge bufinfo", SOON)?.text();
    serde_json::from_str(&text).context("covalent-judge bufinfo")
}
