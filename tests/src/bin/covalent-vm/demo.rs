//! `demo`: shows a camera on the guest's display, and writes a picture of the display and a report.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ::image::{ImageFormat, RgbImage};
use anyhow::{Context as _, ensure};
use clap::Args;
use covalent_alloc::files::replace;
use covalent_tests::pipeline::{Pipeline, PipelineReports, Report, Stack};
use covalent_tests::vm::config::{Config, Size};
use covalent_tests::vm::guest::{BootOptions, Guest};
use covalent_tests::vm::progress::Progress;
use covalent_tests::vm::{build, image, qemu};

/// The time limit of each command in the guest. For the pipeline, the number of frames divided by the frame rate is added.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Shows a camera on a display, in a guest.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write the picture and the report to this folder.
    #[arg(long, value_name = "DIR", default_value = "out/demo")]
    out: PathBuf,
    /// Show this many frames.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..))]
    frames: u32,
    /// Request this frame rate from the camera, in frames a second.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
    fps: u32,
    /// Use this size for the display and the camera's picture, in pixels.
    #[arg(long, default_value_t = Size { width: 1280, height: 720 })]
    size: Size,
    /// Open no window, even if this machine has a desktop.
    #[arg(long)]
    no_window: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let progress = Progress::stderr();
    let image = image::ensure(&progress)?;
    let programs = build::pipeline(&image.root)?;
    let named = || {
        format!(
            "the folder for the picture and the report, {}",
            arguments.out.display()
        )
    };
    fs::create_dir_all(&arguments.out).with_context(named)?;
    let out = arguments.out.canonicalize().with_context(named)?;
    // Removes the files of an earlier run, so that they are not mistaken for those of this run.
    for name in ["display.png", "report.json", "console.log"] {
        let _ = fs::remove_file(out.join(name));
    }

    let mut boot = BootOptions::new(Config::Virtio, &programs);
    boot.machine.size = arguments.size;
    boot.machine.watch = !arguments.no_window && qemu::has_desktop(|name| std::env::var_os(name));
    let step = progress.step("boot the guest");
    let guest = Guest::boot(&image, &boot)?;
    step.done();

    let shown = show(&guest, arguments, &progress);
    if shown.is_err() {
        // An error of writing the log is ignored, because the error of the run matters more.
        let _ = replace(
            &out.join("console.log"),
            &guest.console().unwrap_or_default(),
        );
    }
    let versions = Stack {
        kernel: image.versions.kernel.clone(),
        mesa: image.versions.mesa.clone(),
        qemu: image.versions.qemu,
        accelerator: guest.accelerator().to_string(),
    };
    let (picture, finished) = shown?;
    guest.stop()?;
    let mut png = io::Cursor::new(Vec::new());
    picture
        .write_to(&mut png, ImageFormat::Png)
        .context("encode display.png")?;
    replace(&out.join("display.png"), png.get_ref())?;
    let report = Report::new(finished.camera, &finished.frames, versions);
    replace(
        &out.join("report.json"),
        &serde_json::to_vec_pretty(&report)?,
    )?;
    println!(
        "\nA camera (V4L2, vivid) on a display (virtio-gpu), through a Wayland compositor:\n\n{report}"
    );
    println!("  {:<18} {}", "picture", out.join("display.png").display());
    println!("  {:<18} {}", "report", out.join("report.json").display());
    Ok(ExitCode::SUCCESS)
}

/// Runs the pipeline to its end. Returns a picture of the display from the middle of the run, and the reports.
fn show(
    guest: &Guest,
    arguments: &Arguments,
    progress: &Progress,
) -> anyhow::Result<(RgbImage, PipelineReports)> {
    let Arguments {
        frames, fps, size, ..
    } = arguments;
    let output = guest.sh("v4l2-ctl -d /dev/video0 -c test_pattern=1", TIMEOUT)?;
    ensure!(
        output.status.success(),
        "v4l2-ctl cannot set the camera's test pattern: {}",
        output.text()
    );
    let pipeline = Pipeline {
        client: format!("--size {size} --fps {fps} --frames {frames}"),
        compositor: format!("--mode {size}"),
        ..Pipeline::default()
    };
    let step = progress.step("camera to display");
    let mut running = pipeline.start(guest)?;
    let limit = Duration::from_secs(u64::from(frames / fps)) + TIMEOUT;
    let count = usize::try_from(*frames)?;
    let report_progress =
        |done: usize| step.detail(&format!("{} of {frames} frames", done.min(count)));
    running.wait_for_frames_with(count / 2, limit, report_progress)?;
    let picture = guest.screendump()?;
    running.wait_for_frames_with(count, limit, report_progress)?;
    let finished = running.finish(TIMEOUT)?;
    step.done();
    Ok((picture, finished))
}
