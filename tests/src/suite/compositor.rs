//! Runs a compositor and its clients in a guest, for the cases that check both.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::judge::bufinfo::Object;
use crate::pipeline::{CameraRecord, FrameRecord, parse_frames};
use crate::vm::guest::shell;
use crate::vm::link::{Output, Process};
use crate::wire::SignalTarget;

use super::TestContext;

/// The time limit of a short run of the pipeline on a busy machine without KVM.
pub(super) const PIPELINE_LIMIT: Duration = Duration::from_secs(120);
/// The time limit of a command that only reads something.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// A compositor that runs in the guest while clients connect and disconnect. Its files are in `/tmp/compositor`.
///
/// It stores the numbers of dma-bufs and file descriptors before the first client of the case, with which
/// [`TestCompositor::check_nothing_left`] compares the numbers after a client.
#[derive(Debug)]
pub(super) struct TestCompositor {
    process: Process,
    /// The inodes of the dma-bufs that existed before the compositor started.
    before: BTreeSet<u64>,
    buffers: usize,
    fds: usize,
}

/// The number of `SIGTERM` on Linux.
pub(super) const SIGTERM: i32 = 15;
/// The number of `SIGKILL` on Linux.
pub(super) const SIGKILL: i32 = 9;

/// The exit status and the output of a client.
#[derive(Debug)]
pub(super) struct ClientExit {
    /// The exit status; 128 plus the number of the signal if a signal ended the client.
    pub(super) status: i32,
    /// Standard output.
    pub(super) stdout: String,
    /// Standard error.
    pub(super) stderr: String,
}

impl TestCompositor {
    /// Starts a compositor and waits until it is ready.
    ///
    /// One client connects and disconnects before the resources are counted, so that resources that the compositor allocates once
    /// and keeps are not counted as leaks.
    pub(super) fn start(context: &mut TestContext<'_>) -> anyhow::Result<Self> {
        context.sh(
            "rm -rf /tmp/compositor && mkdir -p /tmp/compositor",
            COMMAND_LIMIT,
        )?;
        let before = bufinfo(context)?.iter().map(|own| own.inode).collect();
        let process = context.guest()?.start(shell(
            "cd /tmp/compositor && exec covalent-compositor --mode 640x480 --socket suite --report frames.jsonl >ready 2>log",
        ))?;
        context.sh(
            "cd /tmp/compositor; for _ in $(seq 300); do grep -qs ready ready && exit 0; sleep 0.1; done; cat log >&2; exit 1",
            COMMAND_LIMIT,
        )?;
        let mut compositor = Self {
            process,
            before,
            buffers: 0,
            fds: 0,
        };
        let first = compositor.run_camera(context, "", "--frames 10 --json")?;
        ensure!(first.status == 0, "the first short run failed: {first:?}");
        let (buffers, fds) = compositor.count_resources(context)?;
        (compositor.buffers, compositor.fds) = (buffers, fds);
        Ok(compositor)
    }

    /// Runs a client of this compositor to its end. `setup_code` is shell code that runs first, such as `ulimit -n 64;`.
    pub(super) fn run_client(
        &self,
        context: &mut TestContext<'_>,
        setup_code: &str,
        command: &str,
    ) -> anyhow::Result<ClientExit> {
        run_line(
            context,
            &format!("export WAYLAND_DISPLAY=suite; {setup_code} exec {command}"),
        )
    }

    /// Runs the camera client to its end. `setup_code` is shell code that runs first.
    pub(super) fn run_camera(
        &self,
        context: &mut TestContext<'_>,
        setup_code: &str,
        options: &str,
    ) -> anyhow::Result<ClientExit> {
        self.run_client(context, setup_code, &format!("covalent-camera {options}"))
    }

    /// Returns the frames that the compositor has reported since it started.
    pub(super) fn frames(&self, context: &mut TestContext<'_>) -> anyhow::Result<Vec<FrameRecord>> {
        read_frames(context, "/tmp/compositor/frames.jsonl")
    }

    /// Waits until the compositor has presented `count` frames since it started.
    pub(super) fn wait_for_frames(
        &self,
        context: &mut TestContext<'_>,
        count: usize,
    ) -> anyhow::Result<()> {
        let mut frames = 0;
        for _ in 0..600 {
            frames = self.frames(context)?.len();
            if frames >= count {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        anyhow::bail!("only {frames} of {count} frames were shown")
    }

    /// Checks that the compositor still shows frames of a client, and that it holds no more dma-bufs and file descriptors than
    /// before the first client of the case.
    pub(super) fn check_nothing_left(
        &self,
        context: &mut TestContext<'_>,
        after: &str,
    ) -> anyhow::Result<()> {
        let pattern = self.run_client(
            context,
            "",
            "covalent-pattern --window --size 320x240 --frames 5 --json",
        )?;
        ensure!(
            pattern.status == 0,
            "after {after} the compositor does not show the frames of a client: {pattern:?}; the compositor's log: {}",
            self.log_tail(context)?
        );
        // The kernel frees some memory only after the next flip or after a grace period.
        let mut counted = (usize::MAX, usize::MAX);
        for _ in 0..20 {
            counted = self.count_resources(context)?;
            if counted.0 <= self.buffers && counted.1 <= self.fds {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        anyhow::bail!(
            "after {after} the guest has {} dma-bufs and the compositor has {} file descriptors; before the first client there were {} dma-bufs and {} file descriptors",
            counted.0,
            counted.1,
            self.buffers,
            self.fds
        )
    }

    /// Starts a client that runs while the case continues. When the returned process is dropped, the client is ended.
    pub(super) fn start_client(
        &self,
        context: &mut TestContext<'_>,
        command: &str,
    ) -> anyhow::Result<Process> {
        let line = format!("export WAYLAND_DISPLAY=suite; exec {command}");
        Ok(context.guest()?.start(shell(&line))?)
    }

    /// Starts a camera client that runs while the case continues, and waits until ten of its frames were shown.
    pub(super) fn start_camera(&self, context: &mut TestContext<'_>) -> anyhow::Result<Process> {
        let count = "grep -c '\"camera/' /tmp/compositor/frames.jsonl || true";
        let before: usize = context.sh(count, COMMAND_LIMIT)?.text().parse()?;
        let mut camera = self.start_client(context, "covalent-camera --json")?;
        for _ in 0..300 {
            let shown: usize = context.sh(count, COMMAND_LIMIT)?.text().parse()?;
            if shown >= before.saturating_add(10) {
                return Ok(camera);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        camera.kill()?;
        let mut stderr = String::new();
        while let Ok(Some(line)) = camera.line(crate::wire::Stream::Error, COMMAND_LIMIT) {
            stderr.push_str(&line);
            stderr.push('\n');
        }
        anyhow::bail!(
            "the camera client shows nothing; it wrote: {stderr}; the compositor's log: {}",
            self.log_tail(context)?
        )
    }

    /// Ends the compositor with `SIGTERM`, and checks that it ends with success and that the guest has no dma-buf afterwards.
    pub(super) fn stop(self, context: &mut TestContext<'_>) -> anyhow::Result<()> {
        self.process.signal(SIGTERM, SignalTarget::Leader)?;
        let log = self.log_tail(context)?;
        let output = self.process.wait(COMMAND_LIMIT)?;
        ensure!(
            output.status.success(),
            "the compositor ended with {}; the compositor's log: {log}",
            output.status
        );
        check_no_dmabufs(context, &self.before)
    }

    /// Kills the compositor with `SIGKILL`.
    pub(super) fn kill(&self) -> anyhow::Result<()> {
        Ok(self.process.signal(SIGKILL, SignalTarget::Leader)?)
    }

    /// Waits for the end of a compositor that was killed, and checks that the guest has no dma-buf afterwards.
    pub(super) fn wait(self, context: &mut TestContext<'_>) -> anyhow::Result<()> {
        self.process.wait(COMMAND_LIMIT)?;
        check_no_dmabufs(context, &self.before)
    }

    /// Returns the last lines of the compositor's log.
    pub(super) fn log_tail(&self, context: &mut TestContext<'_>) -> anyhow::Result<String> {
        Ok(context
            .sh("tail -n 20 /tmp/compositor/log", COMMAND_LIMIT)?
            .text())
    }

    /// Counts the guest's dma-bufs and the compositor's file descriptors.
    fn count_resources(&self, context: &mut TestContext<'_>) -> anyhow::Result<(usize, usize)> {
        let fds = context.sh(
            "ls /proc/$(pgrep -x covalent-compos)/fd | wc -l",
            COMMAND_LIMIT,
        )?;
        let fds = fds
            .text()
            .parse()
            .context("count the compositor's file descriptors")?;
        Ok((bufinfo(context)?.len(), fds))
    }
}

/// Checks that the guest has no dma-bufs except those of `before`. The kernel frees the memory of a killed process shortly after
/// its end, so the check waits up to ten seconds.
fn check_no_dmabufs(context: &mut TestContext<'_>, before: &BTreeSet<u64>) -> anyhow::Result<()> {
    let new = |context: &mut TestContext<'_>| -> anyhow::Result<Vec<Object>> {
        let mut found = bufinfo(context)?;
        found.retain(|own| !before.contains(&own.inode));
        Ok(found)
    };
    let mut left = new(context)?;
    for _ in 0..40 {
        if left.is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(250));
        left = new(context)?;
    }
    if are_held_by_framebuffers_alone(context, &left)? {
        return Ok(());
    }
    let holders = holders(context)?;
    anyhow::bail!("dma-bufs are left ten seconds after every process ended: {left:?}\n{holders}")
}

/// Returns whether only framebuffers of a compositor keep these dma-bufs alive, on a vkms card that no process has open.
///
/// On Linux 7.3, vkms sometimes loses a commit while a tracer stops the compositor. vkms then keeps the framebuffers of the
/// commit until the module is unloaded, so they are not a leak of the compositor.
fn are_held_by_framebuffers_alone(
    context: &mut TestContext<'_>,
    left: &[Object],
) -> anyhow::Result<bool> {
    if left
        .iter()
        .any(|own| own.references != 1 || !own.attached.is_empty())
    {
        return Ok(false);
    }
    let text = context.sh(LOST_FRAMEBUFFERS, COMMAND_LIMIT)?.text();
    let lost: usize = text.trim().parse().context("count framebuffers")?;
    Ok(lost >= left.len())
}

/// Counts the framebuffers of compositors on vkms cards that have no client in debugfs.
const LOST_FRAMEBUFFERS: &str = r#"
for card in /sys/kernel/debug/dri/*[0-9]; do
    grep -qs vkms $card/name && [ "$(wc -l <$card/clients)" -le 1 ] && cat $card/framebuffer
done | grep -c 'allocated by = covalent-compos' || true"#;

/// Describes what may hold the remaining dma-bufs, for the message of a case that failed.
pub(super) fn holders(context: &mut TestContext<'_>) -> anyhow::Result<String> {
    Ok(context.sh(HOLDERS, COMMAND_LIMIT)?.text())
}

/// Lists what may hold a dma-buf: the processes with an fd of a dma-buf or a card, and the framebuffers that each card has. Also
/// lists the kernel's last messages. An open file of a card keeps the dma-bufs of its handles until it is closed, and a
/// framebuffer may keep a handle.
const HOLDERS: &str = r#"
for fds in /proc/[0-9]*/fd; do
    held=$(ls -l $fds 2>/dev/null | grep -e dmabuf -e /dev/dri | sed 's/.* -> //' | sort | uniq -c | tr -s '\n ' ' ')
    if [ -n "$held" ]; then
        process=${fds%/fd}
        echo "$process ($(cat $process/comm), $(grep State $process/status)):$held"
    fi
done
for card in /sys/kernel/debug/dri/*[0-9]; do
    for file in clients framebuffer; do
        echo "$card/$file:"; cat $card/$file
    done
done
echo "processes in uninterruptible sleep:"; grep -l 'State:.D' /proc/[0-9]*/status | while read status; do
    head -n 1 $status; cat ${status%/status}/stack
done
echo "kernel:"; dmesg | tail -n 30
true"#;

impl From<Output> for ClientExit {
    fn from(output: Output) -> Self {
        Self {
            stdout: output.text(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: i32::from(output.status.as_shell()),
        }
    }
}

/// Sends `signal`, if it is given, to a running client, and waits for its end.
pub(super) fn wait_for_exit(client: Process, signal: Option<i32>) -> anyhow::Result<ClientExit> {
    if let Some(signal) = signal {
        client.signal(signal, SignalTarget::Leader)?;
    }
    Ok(client.wait(PIPELINE_LIMIT)?.into())
}

/// Runs a shell command in the guest. Returns its exit status and output, whatever the exit status is.
pub(super) fn run_line(context: &mut TestContext<'_>, line: &str) -> anyhow::Result<ClientExit> {
    Ok(context.guest()?.sh(line, PIPELINE_LIMIT)?.into())
}

/// Reads a compositor's frame report from a file in the guest.
pub(super) fn read_frames(
    context: &mut TestContext<'_>,
    path: &str,
) -> anyhow::Result<Vec<FrameRecord>> {
    let text = context.guest()?.get(path)?;
    Ok(parse_frames(&String::from_utf8(text)?)?)
}

/// Parses the report that the camera client prints when it ends.
pub(super) fn parse_camera_record(text: &str) -> anyhow::Result<CameraRecord> {
    serde_json::from_str(text).with_context(|| format!("parse the camera's report {text:?}"))
}

/// Lists every dma-buf of the guest.
pub(super) fn bufinfo(context: &mut TestContext<'_>) -> anyhow::Result<Vec<Object>> {
    let text = context.sh("covalent-judge bufinfo", COMMAND_LIMIT)?.text();
    serde_json::from_str(&text).context("parse the output of covalent-judge bufinfo")
}
