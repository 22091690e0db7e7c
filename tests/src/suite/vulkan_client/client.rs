//! Runs `covalent-vulkan` under a compositor in the guest, and reads the reports of both.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use image::RgbImage;
use serde::Deserialize;

use super::{COMMAND_LIMIT, FOLDER, FRAMES_LIMIT};
use crate::judge::pattern;
use crate::picture::Region;
use crate::pipeline::{FrameRecord, parse_frames};
use crate::vm::guest::{Guest, shell};
use crate::vm::link::Process;
use crate::wire::Stream;

/// A swapchain in the client's report.
#[derive(Debug, Deserialize)]
pub(super) struct Swapchain {
    pub(super) why: String,
    pub(super) source: String,
    pub(super) size: String,
    pub(super) purpose: String,
    pub(super) buffers: Vec<u64>,
}

/// The fields about the camera in the client's report.
#[derive(Debug, Deserialize)]
pub(super) struct CameraReport {
    pub(super) format: String,
    pub(super) conversion: Option<String>,
    pub(super) buffers: Vec<u64>,
}

/// The report that `covalent-vulkan --json` prints when it ends.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    pub(super) frames: u64,
    pub(super) out_of_order: u64,
    pub(super) path: Option<String>,
    pub(super) driver: String,
    pub(super) is_processor: bool,
    pub(super) sync: String,
    pub(super) completion: String,
    pub(super) imports: u64,
    pub(super) imports_in_steady_state: u64,
    pub(super) client_copied_bytes: u64,
    pub(super) swapchains: Vec<Swapchain>,
    pub(super) camera: Option<CameraReport>,
}

impl Report {
    /// Returns the inodes of all dma-bufs to which frames were drawn.
    pub(super) fn buffers(&self) -> Vec<u64> {
        let all = self.swapchains.iter();
        all.flat_map(|chain| chain.buffers.clone()).collect()
    }

    /// Checks what must hold in every run: no byte was copied, no buffer was imported twice, and the frames are in order.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let textures = self
            .camera
            .as_ref()
            .map_or(0, |camera| camera.buffers.len());
        let buffers = u64::try_from(self.buffers().len() + textures)?;
        ensure!(
            self.imports == buffers && self.imports_in_steady_state == 0,
            "{buffers} buffers were imported {} times, {} of these times in the steady state",
            self.imports,
            self.imports_in_steady_state
        );
        ensure!(
            self.client_copied_bytes == 0 && self.out_of_order == 0,
            "the client copied bytes, or frames were presented out of order: {self:?}"
        );
        Ok(())
    }
}

/// A compositor in the guest with a running client.
pub(super) struct RunningClient<'guest> {
    pub(super) guest: &'guest Guest,
    pub(super) process: Process,
}

/// The reports of the client and the compositor.
pub(super) struct ClientReports {
    pub(super) report: Report,
    pub(super) frames: Vec<FrameRecord>,
}

impl<'guest> RunningClient<'guest> {
    /// Starts the compositor and the client with these options.
    pub(super) fn start(
        guest: &'guest Guest,
        compositor_options: &str,
        client_options: &str,
    ) -> anyhow::Result<Self> {
        // The files of an earlier run are removed, so that they are not read as those of this run.
        guest.sh(
            &format!("rm -rf {FOLDER} && mkdir -p {FOLDER}"),
            COMMAND_LIMIT,
        )?;
        let process = guest.start(shell(&format!(
            "exec covalent-compositor --mode 640x480 --report {FOLDER}/frames.jsonl {compositor_options} -- \
             sh -c 'exec covalent-vulkan --json {client_options} >{FOLDER}/report.json'"
        )))?;
        Ok(Self { guest, process })
    }

    /// Waits until the compositor has shown `frames` frames of the client.
    pub(super) fn wait_for_frames(&mut self, frames: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let count = format!("grep -c '\"vulkan/' {FOLDER}/frames.jsonl || true");
            let shown = self.guest.sh(&count, COMMAND_LIMIT)?.text();
            let shown: usize = shown.trim().parse().unwrap_or(0);
            if shown >= frames {
                return Ok(());
            }
            if begun.elapsed() > FRAMES_LIMIT {
                self.process.kill()?;
                let mut stderr = String::new();
                while let Ok(Some(line)) = self.process.line(Stream::Error, COMMAND_LIMIT) {
                    stderr.push_str(&line);
                    stderr.push('\n');
                }
                bail!(
                    "only {shown} of {frames} frames were shown; stderr of compositor and client:\n{stderr}"
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until the display shows frame `last`, which the client holds, and returns the picture. For each frame that the
    /// compositor discards, the client draws one more, so the number may be higher than `last`.
    ///
    /// The compositor reports a frame when it releases the frame's buffer, so it never reports the frame that the client holds.
    pub(super) fn wait_for_number(
        &self,
        last: u32,
        region: impl Fn(&RgbImage) -> Option<Region>,
        bands: u32,
    ) -> anyhow::Result<RgbImage> {
        let begun = Instant::now();
        loop {
            let picture = self.guest.screendump()?;
            let region = region(&picture)
                .context("the picture of the display does not contain the whole window")?;
            let seen = pattern::number(&picture, region, bands);
            if seen.as_ref().is_ok_and(|seen| *seen >= last) {
                return Ok(picture);
            }
            ensure!(
                begun.elapsed() < FRAMES_LIMIT,
                "the display shows {seen:?}, and not frame {last} or a later one"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends a client that is holding its last frame.
    pub(super) fn stop(&self) -> anyhow::Result<()> {
        self.guest
            .sh("pkill -TERM covalent-vulkan", COMMAND_LIMIT)?;
        Ok(())
    }

    pub(super) fn finish(self) -> anyhow::Result<ClientReports> {
        let output = self.process.wait(FRAMES_LIMIT)?;
        ensure!(
            output.status.success(),
            "the compositor and the client ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        let text = self.guest.get(&format!("{FOLDER}/report.json"))?;
        let report: Report = serde_json::from_slice(&text)
            .with_context(|| format!("the report: {}", String::from_utf8_lossy(&text)))?;
        report.check()?;
        let text = self.guest.get(&format!("{FOLDER}/frames.jsonl"))?;
        let own = report.buffers();
        let mut frames = parse_frames(&String::from_utf8_lossy(&text))?;
        frames.retain(|frame| frame.buffer.is_some_and(|buffer| own.contains(&buffer)));
        Ok(ClientReports { report, frames })
    }
}
