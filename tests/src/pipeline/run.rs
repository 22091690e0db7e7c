//! Starts the pipeline in a guest and collects its reports.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::{CameraRecord, FrameRecord, parse_frames};
use crate::vm::guest::{Guest, shell};
use crate::vm::link::{Output, Process};
use crate::wire::Stream;

/// The folder of the pipeline's reports in the guest.
const FOLDER: &str = "/tmp/pipeline";

/// The time limit of a single command on a busy machine without KVM.
const SOON: Duration = Duration::from_secs(60);

/// The options of a run of camera and compositor.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The camera's node.
    pub camera: String,
    /// Additional options of `covalent-camera`.
    pub client: String,
    /// Additional options of `covalent-compositor`.
    pub compositor: String,
    /// A command that runs the camera client, such as `strace -o FILE`; empty for none.
    pub wrapper: String,
    /// A command that runs the compositor, which starts the client; empty for none.
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

/// A running pipeline. When this is dropped, the pipeline continues in the guest. [`RunningPipeline::finish`] waits for its end.
#[derive(Debug)]
pub struct RunningPipeline<'guest> {
    guest: &'guest Guest,
    process: Process,
}

/// The reports of a pipeline that has ended.
#[derive(Debug)]
pub struct PipelineReports {
    /// The client's report.
    pub camera: CameraRecord,
    /// The compositor's report.
    pub frames: Vec<FrameRecord>,
    /// The output of both programs, and their exit status.
    pub output: Output,
}

impl Pipeline {
    /// Starts the pipeline.
    ///
    /// # Errors
    /// The guest does not respond, or the folder cannot be created.
    pub fn start<'guest>(&self, guest: &'guest Guest) -> anyhow::Result<RunningPipeline<'guest>> {
        let Self {
            camera,
            client,
            compositor,
            wrapper,
            outer_wrapper,
        } = self;
        // The reports of an earlier pipeline are removed before this pipeline starts, so that `progress` does not read them.
        let made = guest.sh(&format!("rm -rf {FOLDER} && mkdir -p {FOLDER}"), SOON)?;
        ensure!(
            made.status.success(),
            "{FOLDER} cannot be created in the guest: {}",
            made.status
        );
        let process = guest.start(shell(&format!(
            "{outer_wrapper} covalent-compositor --report {FOLDER}/frames.jsonl {compositor} -- \
             sh -c 'exec {wrapper} covalent-camera --device {camera} --json {client} > {FOLDER}/camera.json'\n\
             status=$?; echo $status > {FOLDER}/status; exit $status"
        )))?;
        Ok(RunningPipeline { guest, process })
    }
}

/// The progress of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineProgress {
    /// The number of frames that the compositor has reported.
    pub frames: usize,
    /// Whether the pipeline has ended.
    pub ended: bool,
}

impl RunningPipeline<'_> {
    /// Reads the progress of the pipeline.
    ///
    /// # Errors
    /// The guest does not respond.
    pub fn progress(&self) -> anyhow::Result<PipelineProgress> {
        let output = self.guest.sh(
            &format!(
                "cat {FOLDER}/frames.jsonl 2>/dev/null | wc -l; test -e {FOLDER}/status && echo ended"
            ),
            SOON,
        )?;
        let text = output.text();
        let frames = text.lines().next().unwrap_or_default().trim();
        Ok(PipelineProgress {
            frames: frames.parse().context("wc -l")?,
            ended: text.contains("ended"),
        })
    }

    /// Waits until the compositor has reported `frames` frames, and returns their number. During the wait, calls `on_progress`
    /// with the current number.
    ///
    /// # Errors
    /// The frames are not reported within `limit`, or the pipeline ends before. The message contains the stderr of the pipeline.
    pub fn wait_for_frames_with(
        &mut self,
        frames: usize,
        limit: Duration,
        mut on_progress: impl FnMut(usize),
    ) -> anyhow::Result<usize> {
        let begun = Instant::now();
        loop {
            let progress = self.progress()?;
            on_progress(progress.frames);
            if progress.frames >= frames {
                return Ok(progress.frames);
            }
            if progress.ended || begun.elapsed() > limit {
                // The exit status of a pipeline that was killed has no meaning, so the error contains its stderr instead.
                self.process.kill()?;
                let mut stderr = String::new();
                while let Ok(Some(line)) = self.process.line(Stream::Error, SOON) {
                    stderr.push_str(&line);
                    stderr.push('\n');
                }
                bail!(
                    "the compositor reported {} of {frames} frames within {} s; stderr of the pipeline:\n{stderr}",
                    progress.frames,
                    begun.elapsed().as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the compositor has reported `frames` frames, and returns the number of reported frames.
    ///
    /// # Errors
    /// Those of [`RunningPipeline::wait_for_frames_with`].
    pub fn wait_for_frames(&mut self, frames: usize, limit: Duration) -> anyhow::Result<usize> {
        self.wait_for_frames_with(frames, limit, |_| {})
    }

    /// Waits for the end of the pipeline and collects the reports.
    ///
    /// # Errors
    /// The pipeline does not end within `limit`, or its exit status is not 0, or a report is missing.
    pub fn finish(self, limit: Duration) -> anyhow::Result<PipelineReports> {
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
        Ok(PipelineReports {
            camera,
            frames,
            output,
        })
    }
}

impl PipelineReports {
    /// Returns the frames that show a buffer of the camera. The compositor's first frame shows none.
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
