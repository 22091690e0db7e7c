//! Theme `renderer`: checks that the GPU renderer draws the same picture as the software renderer, and that the report states
//! which renderer drew it.
//!
//! QEMU makes no picture of a display that it draws with GL, so the picture that the compositor writes is checked. It is compared
//! with the picture of the software renderer, which other cases compare with the display itself.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use image::RgbImage;

use super::{Case, Outcome, TestContext};
use crate::pipeline::{FrameRecord, Path, parse_frames};
use crate::vm::config::Config;
use crate::vm::guest::Guest;

/// The time limit for a GPU driver to compile its shaders and to render a few frames, on a busy machine without KVM.
const LIMIT: Duration = Duration::from_secs(180);

/// The allowed difference of each channel between two renderers, which may round differently.
const TOLERANCE: u8 = 2;

/// The allowed difference of each channel of a YUV picture, which the CPU converts with 16-bit integers.
const YUV_TOLERANCE: u8 = 4;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "renderer::gpu_and_cpu_draw_windows_alike",
        Config::Venus,
        gpu_and_cpu_draw_windows_alike,
    ),
    Case::new(
        "renderer::buffer_the_gpu_cannot_import_is_uploaded_with_a_reason",
        Config::Venus,
        buffer_the_gpu_cannot_import_is_uploaded_with_a_reason,
    ),
    Case::new(
        "renderer::card_without_a_gpu_is_drawn_by_the_cpu_with_a_reason",
        Config::Virtio,
        card_without_a_gpu_is_drawn_by_the_cpu_with_a_reason,
    ),
];

/// The number of the frame of which the compositor saves a picture.
const PICTURED_FRAME: u64 = 2;

/// The result of one run of a client.
struct RunResult {
    picture: RgbImage,
    /// The frames that show a buffer of the client.
    frames: Vec<FrameRecord>,
    /// The stderr of the compositor.
    log: String,
}

/// Runs the command `client` under the compositor with these options, and returns the compositor's picture of the second frame.
fn run_client(guest: &Guest, options: &str, client: &str) -> anyhow::Result<RunResult> {
    let output = guest.sh(
        &format!(
            "rm -f /tmp/renderer.*; RUST_LOG=covalent_compositor=info covalent-compositor \
             --report /tmp/renderer.jsonl --screenshot /tmp/renderer.png --screenshot-after {PICTURED_FRAME} {options} -- {client}"
        ),
        LIMIT,
    )?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success(),
        "{client} under the compositor with the options {options:?} ended with {}:\n{log}",
        output.status
    );
    let picture = guest
        .get("/tmp/renderer.png")
        .context("no picture was saved")?;
    let frames = guest.get("/tmp/renderer.jsonl")?;
    let frames = parse_frames(&String::from_utf8_lossy(&frames))?;
    // If that frame was not shown, the compositor saved the picture when it ended, without the client's window.
    ensure!(
        frames.iter().any(|frame| frame.frame == PICTURED_FRAME),
        "{client} under the compositor with the options {options:?}: frame {PICTURED_FRAME} was not shown, only {} frames:\n{log}",
        frames.len()
    );
    Ok(RunResult {
        picture: image::load_from_memory(&picture)?.to_rgb8(),
        frames,
        log,
    })
}

/// Returns the largest difference of a channel between two pictures of the same size.
fn difference(one: &RgbImage, other: &RgbImage) -> anyhow::Result<u8> {
    ensure!(
        one.dimensions() == other.dimensions(),
        "the pictures are {:?} and {:?}",
        one.dimensions(),
        other.dimensions()
    );
    let channels = one.as_raw().iter().zip(other.as_raw());
    channels
        .map(|(one, other)| one.abs_diff(*other))
        .max()
        .context("the pictures are empty")
}

fn check_frames(shown: &RunResult, renderer: &str) -> anyhow::Result<()> {
    ensure!(!shown.frames.is_empty(), "no frame was shown");
    for frame in &shown.frames {
        ensure!(
            frame.path == Path::Composited && frame.renderer.as_deref() == Some(renderer),
            "frame {} was {:?} by {:?} and not by {renderer}: {:?}\n{}",
            frame.frame,
            frame.path,
            frame.renderer,
            frame.why_not_gles,
            shown.log
        );
    }
    Ok(())
}

/// Makes the camera's picture constant, so that two runs show the same picture.
fn set_still_picture(guest: &Guest) -> anyhow::Result<()> {
    let output = guest.sh(
        "v4l2-ctl -d /dev/video0 -c test_pattern=0,osd_text_mode=2",
        LIMIT,
    )?;
    ensure!(output.status.success(), "v4l2-ctl: {}", output.status);
    Ok(())
}

fn gpu_and_cpu_draw_windows_alike(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    const DMABUF_CLIENT: &str =
        "covalent-pattern --window --size 320x240 --frames 8 --fps 5 --dmabuf";
    const SHM_CLIENT: &str = "covalent-pattern --window --size 320x240 --frames 8 --fps 5";
    const CAMERA_CLIENT: &str = "covalent-camera --window --size 320x240 --fps 15 --frames 10";
    // The last number of each entry is the number of bytes that the CPU copies for each frame. A wl_shm buffer has to be
    // uploaded.
    let clients = [
        ("dmabuf", DMABUF_CLIENT, 0),
        ("shm", SHM_CLIENT, 320 * 240 * 4),
        ("camera", CAMERA_CLIENT, 0),
    ];
    let mut pictures = Vec::new();
    {
        let guest = context.guest()?;
        set_still_picture(guest)?;
        for (name, client, copied) in clients {
            let gpu = run_client(guest, "", client)?;
            check_frames(&gpu, "gles")?;
            for frame in &gpu.frames {
                ensure!(
                    frame.cpu_copied_bytes == copied,
                    "{name}: {} bytes were copied for frame {}, not {copied}",
                    frame.cpu_copied_bytes,
                    frame.frame
                );
                ensure!(
                    frame.buffer.is_some() == (name != "shm"),
                    "{name}: frame {} shows buffer {:?}",
                    frame.frame,
                    frame.buffer
                );
            }
            let cpu = run_client(guest, "--renderer software", client)?;
            check_frames(&cpu, "software")?;
            pictures.push((name, gpu.picture, cpu));
        }
    }
    for (name, gpu, cpu) in &pictures {
        let log = &cpu.log;
        let cpu = &cpu.picture;
        for (by, picture) in [("gles", gpu), ("software", cpu)] {
            let mut png = std::io::Cursor::new(Vec::new());
            picture.write_to(&mut png, image::ImageFormat::Png)?;
            context.save_artefact(&format!("{name}-{by}.png"), png.get_ref())?;
        }
        let colours: std::collections::BTreeSet<_> = cpu.pixels().map(|pixel| pixel.0).collect();
        ensure!(
            colours.len() > 4,
            "{name}: the CPU's picture shows nothing; the compositor's log: {log}"
        );
        let difference = difference(gpu, cpu)?;
        ensure!(
            difference <= TOLERANCE,
            "{name}: the GPU's picture differs from the CPU's by {difference}"
        );
    }
    Ok(Outcome::Passed)
}

fn buffer_the_gpu_cannot_import_is_uploaded_with_a_reason(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    set_still_picture(guest)?;
    let client = "covalent-camera --window --size 320x240 --format YUYV --frames 6";
    let shown = run_client(guest, "", client)?;
    check_frames(&shown, "gles")?;
    for frame in &shown.frames {
        let why = frame.why_not_gles.as_deref().unwrap_or_default();
        ensure!(
            why.contains("YUYV"),
            "frame {} has no reason why the GPU did not import the buffer: {why:?}",
            frame.frame
        );
        // The bytes are uploaded twice: as a texture with the luma of each pixel, and as a texture with the chroma of each pair
        // of pixels.
        let uploaded = 320 * 240 * 2 * 2;
        ensure!(
            frame.cpu_copied_bytes == uploaded,
            "{} bytes were copied for frame {}, not {uploaded}",
            frame.cpu_copied_bytes,
            frame.frame
        );
    }
    let cpu = run_client(guest, "--renderer software", client)?;
    let difference = difference(&shown.picture, &cpu.picture)?;
    ensure!(
        difference <= YUV_TOLERANCE,
        "the GPU converts differently by {difference}"
    );
    Ok(Outcome::Passed)
}

fn card_without_a_gpu_is_drawn_by_the_cpu_with_a_reason(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    let client = "covalent-pattern --window --size 320x240 --frames 8 --fps 5 --dmabuf";
    let shown = run_client(guest, "", client)?;
    check_frames(&shown, "software")?;
    let reason = shown
        .log
        .lines()
        .filter_map(|line| line.split_once("the CPU renderer composes: "))
        .map(|(_, reason)| reason)
        .collect::<Vec<_>>();
    ensure!(
        matches!(reason.as_slice(), [reason] if reason.len() > 10),
        "the compositor does not log exactly one reason for the software renderer:\n{}",
        shown.log
    );
    Ok(Outcome::Passed)
}
