//! A V4L2 output whose HDMI connector is looped back to a camera, so that the camera captures the output's frames byte for byte.
//! vivid has such an output.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::v4l2::{Device, Direction, Queue};
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::Plan;
use covalent_tests::check_support::pixels::{pattern, read};
use covalent_tests::check_support::vga;

use super::exchange::draw;
use super::rows::RowOutcome;
use super::test_machine::{PlanResult, TestMachine, classify};
use super::vulkan_to_v4l2_output::{planned, planned_back};

/// The longest time for a picture to arrive at the camera over one connection. Both devices are emulated.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How many times the connection is made. On a busy host, about one of twenty connections carries only noise. The cause is not
/// known; a new connection carries the picture.
const CONNECTIONS: u32 = 4;

/// The nodes of the output and the camera. When this is dropped, the camera is connected to its test pattern again.
pub(crate) struct HdmiLoopback {
    output: String,
    capture: String,
}

impl Drop for HdmiLoopback {
    fn drop(&mut self) {
        // Restores vivid's default: input 0, a webcam with a test pattern.
        let _ = control(&self.capture, &["-c", "hdmi_000_0_is_connected_to=0"]);
        let _ = control(&self.capture, &["-i", "0", "-c", "osd_text_mode=0"]);
    }
}

/// Calls `v4l2-ctl` with these arguments for the device.
fn control(node: &str, words: &[&str]) -> Result<()> {
    let output = Command::new("v4l2-ctl")
        .args(["-d", node])
        .args(words)
        .output()
        .context("start v4l2-ctl")?;
    ensure!(
        output.status.success(),
        "v4l2-ctl -d {node} {words:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Returns the first output of vivid and the camera of the same instance; `None` if the machine has none.
pub(crate) fn find() -> Option<HdmiLoopback> {
    let nodes: Vec<(String, Device)> = (0..64)
        .map(|number| format!("/dev/video{number}"))
        .filter_map(|path| Some((path.clone(), Device::open(path.as_ref()).ok()?)))
        .filter(|(_, device)| device.driver() == "vivid")
        .collect();
    let has = |device: &Device, direction| device.queue(direction).is_ok();
    let (output, sender) = nodes
        .iter()
        .find(|(_, device)| has(device, Direction::Output))?;
    let (capture, _) = nodes
        .iter()
        .find(|(_, device)| has(device, Direction::Capture) && device.bus() == sender.bus())?;
    Some(HdmiLoopback {
        output: output.clone(),
        capture: capture.clone(),
    })
}

impl HdmiLoopback {
    /// Connects the camera to the output and sets the timings of 640x480 on both. QUERY_DV_TIMINGS of the input would report
    /// 720p.
    fn connect(&self) -> Result<()> {
        control(
            &self.capture,
            &[
                "-i",
                "1",
                "-c",
                "osd_text_mode=2,hdmi_000_0_is_connected_to=2",
            ],
        )?;
        for node in [&self.output, &self.capture] {
            control(node, &["--set-dv-bt-timings", "index=0"])?;
        }
        Ok(())
    }

    /// Sends a picture that the device draws, with new connections until the camera has captured it.
    pub(crate) fn send(
        &self,
        machine: &TestMachine,
        gpu: &Gpu,
        fourcc: Fourcc,
    ) -> Result<RowOutcome> {
        self.connect()?;
        let extent = vga()?;
        let output = Device::open(self.output.as_ref())?.queue(Direction::Output)?;
        let plan = match planned(machine, gpu, &output, extent, fourcc)? {
            PlanResult::Plan(plan) => plan,
            PlanResult::Impossible(why) => return Ok(RowOutcome::Skipped(why)),
        };
        let attempt = || -> Result<RowOutcome> {
            for connection in 0..CONNECTIONS {
                if connection > 0 {
                    self.connect()?;
                }
                if self.arrives(machine, gpu, &output, &plan)? {
                    return Ok(RowOutcome::Passed);
                }
            }
            bail!(
                "the camera did not capture the device's picture within {} s of {CONNECTIONS} connections each",
                TIMEOUT.as_secs()
            );
        };
        classify(&plan, attempt())
    }

    /// Sends a picture that the device draws. Returns whether the camera captured it in time.
    fn arrives(
        &self,
        machine: &TestMachine,
        gpu: &Gpu,
        output: &Queue,
        plan: &Plan,
    ) -> Result<bool> {
        let buffers = machine.sources.allocate(plan)?;
        let first = buffers.first().context("the source allocated no buffer")?;
        let pixels = pattern(first, 15)?;
        for buffer in &buffers {
            draw(&gpu.import(buffer)?, &pixels)?;
        }
        let mut sending = output.import(&buffers)?;
        for index in 0..buffers.len() {
            sending.queue(index)?;
        }
        sending.start()?;
        let layout = plan.layout();
        let mut arriving = self.arriving(machine, layout.format().fourcc, layout.extent())?;
        for index in 0..arriving.buffers().len() {
            arriving.queue(index)?;
        }
        arriving.start()?;
        let until = Instant::now() + TIMEOUT;
        while Instant::now() < until {
            // A dropped frame queues its buffer again. All frames that were sent are dropped here, because vivid captures noise
            // while its output queue has no buffer, and the read of a frame below takes longer than sending several frames.
            while sending.next_frame()?.is_some() {}
            if let Some(frame) = arriving.next_frame()?
                && read(frame.buffer())? == pixels
            {
                return Ok(true);
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(false)
    }

    fn arriving(
        &self,
        machine: &TestMachine,
        fourcc: Fourcc,
        extent: Extent,
    ) -> Result<covalent_alloc::backend::v4l2::Stream> {
        let capture: Queue = Device::open(self.capture.as_ref())?.queue(Direction::Capture)?;
        let plan = planned_back(machine, &capture, extent, fourcc)?;
        let buffers = machine.sources.allocate(&plan)?;
        Ok(capture.import(&buffers)?)
    }
}
