//! Starting the pipeline in a guest, and what it leaves.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::{CameraRecord, FrameRecord, parse_frames};
use crate::vm::guest::{Guest, shell};
use crate::vm::link::{Output, Process};
use crate::wire::Stream;

/// Where the pipeline's reports lie in the guest.
const FOLDER: &str = "/tmp/pipeline";

/// Enough for any single command on a busy machine without KVM.
const SOON: Duration = Duration::from_secs(60);

/// A run of camera and compositor.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The camera's node.
    pub camera: String,
    /// More options of `covalent-camera`.
    pub client: String,
    /// More options of `covalent-compositor`.
    pub compositor: String,
    /// What the camera is started under, such as `strace -o FILE`.
    pub wrapper: String,
    /// What compositor and camera are started under.
    pub outer_wrapper: String,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            camera: "/dev/video0".to_owned(),
            client: String::new(),
            compositor: String::new(),
            wrapper: String::new(),
            outer_wrapper: String::new(),
        }
    }
}

/// A pipeline that runs. Dropped, it goes on in the guest; [`Running::finish`] waits for it.
#[derive(Debug)]
pub struct Running<'guest> {
    guest: &'guest Guest,
    process: Process,
}

/// What a pipeline said of itself.
#[derive(Debug)]
pub struct Finished {
    /// The client's report.
    pub camera: CameraRecord,
    /// The compositor's.
    pub frames: Vec<FrameRecord>,
    /// What both wrote, and how they ended.
    pub output: Output,
}

impl Pipeline {
    /// Starts it.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn start<'guest>(&self, guest: &'guest Guest) -> anyhow::Result<Running<'guest>> {
        let Self {
            camera,
            client,
            compositor,
            wrapper,
            outer_wrapper,
        } = self;
        // Before anything runs: whoever asks how far it has come must not read of the pipeline before.
        let made = guest.sh(&format!("rm -rf {FOLDER} && mkdir -p {FOLDER}"), SOON)?;
        ensure!(
            made.status.success(),
            "{FOLDER} cannot be made: {}",
            made.status
        );
        let process = guest.start(shell(&format!(
            "{outer_wrapper} covalent-compositor --report {FOLDER}/frames.jsonl {compositor} -- \
             sh -c 'exec {wrapper} covalent-camera --device {camera} --json {client} > {FOLDER}/camera.json'\n\
             status=$?; echo $status > {FOLDER}/status; exit $status"
        )))?;
        Ok(Running { guest, process })
    }
}

/// How far a pipeline has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Frames that the compositor has reported.
    pub frames: usize,
    /// Whether it has ended.
    pub ended: bool,
}

impl Running<'_> {
    /// How far it has come.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn reached(&self) -> anyhow::Result<Reached> {
        let output = self.guest.sh(
            &format!(
                "cat {FOLDER}/frames.jsonl 2>/dev/null | wc -l; test -e {FOLDER}/status && echo ended"
            ),
            SOON,
        )?;
        let text = output.text();
        let frames = text.lines().next().unwrap_or_default().trim();
        Ok(Reached {
            frames: frames.parse().context("wc -l")?,
            ended: text.contains("ended"),
        })
    }

    /// Waits until the compositor has reported `frames` frames, and returns how many there are; `seen` is told meanwhile.
    ///
    /// # Errors
    /// Where they do not come within `limit`, or the pipeline ends before, with what it wrote.
    pub fn wait_for_frames_with(
        &mut self,
        frames: usize,
        limit: Duration,
        mut seen: impl FnMut(usize),
    ) -> anyhow::Result<usize> {
        let begun = Instant::now();
        loop {
            let reached = self.reached()?;
            seen(reached.frames);
            if reached.frames >= frames {
                return Ok(reached.frames);
            }
            if reached.ended || begun.elapsed() > limit {
                // Nobody waits for a pipeline that stands still; its words are worth more than its status.
                self.process.kill()?;
                let mut said = String::new();
                while let Ok(Some(line)) = self.process.line(Stream::Error, SOON) {
                    said.push_str(&line);
                    said.push('\n');
                }
                bail!(
                    "{} of {frames} frames after {} s; it wrote:\n{said}",
                    reached.frames,
                    begun.elapsed().as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the compositor has reported `frames` frames, and returns how many there are.
    ///
    /// # Errors
    /// Those of [`Running::wait_for_frames_with`].
    pub fn wait_for_frames(&mut self, frames: usize, limit: Duration) -> anyhow::Result<usize> {
        self.wait_for_frames_with(frames, limit, |_| {})
    }

    /// Waits for the end of the pipeline, which has to be a good one, and collects the reports.
    ///
    /// # Errors
    /// Where it does not end within `limit`, or not with status 0, or a report is missing.
    pub fn finish(self, limit: Duration) -> anyhow::Result<Finished> {
        let guest = self.guest;
        let output = self.process.wait(limit)?;
        ensure!(
            output.status.success(),
            "the pipeline ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        let text = guest.get(&format!("{FOLDER}/camera.json"))?;
        let camera = serde_json::from_slice(&text)
            .with_context(|| format!("the camera's report: {}", String::from_utf8_lossy(&text)))?;
        let text = guest.get(&format!("{FOLDER}/frames.jsonl"))?;
        let frames = parse_frames(&String::from_utf8_lossy(&text))?;
        Ok(Finished {
            camera,
            frames,
            output,
        })
    }
}

impl Finished {
    /// The frames whose buffer is one of the camera's: the compositor's own first picture belongs to nobody.
    #[must_use]
    pub fn camera_frames(&self) -> Vec<FrameRecord> {
        let own = |frame: &&FrameRecord| {
            frame
                .buffer
                .is_some_and(|buffer| self.camera.buffers.contains(&buffer))
        };
        self.frames.iter().filter(own).cloned().collect()
    }
}
