//! Theme `vulkan_client`: checks the display's picture of a client that draws with Vulkan into its own swapchain.
//!
//! Every picture contains the number of its frame in strips of cells, from which the check reads the number and whether the
//! picture is complete.

mod client;

use std::io::Cursor;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use image::RgbImage;
use serde::Deserialize;

use client::RunningClient;

use super::compositor::{SIGKILL, TestCompositor, wait_for_exit};
use super::display::set_pattern;
use super::{Case, Outcome, TestContext};
use crate::judge::pattern;
use crate::picture::{BARS_100, Region, check_bars};
use crate::pipeline::Path;
use crate::vm::config::Config;

/// The time limit of one command on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The time limit for a driver to compile its shaders for an emulated processor and to render a few frames.
const FRAMES_LIMIT: Duration = Duration::from_secs(180);

/// The folder of the programs' reports in the guest.
const FOLDER: &str = "/tmp/vulkan";

/// The number of bands of a scene that begin with a strip. A camera's picture has only one such band.
const SCENE_BANDS: u32 = 8;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "vulkan_client::scene_with_explicit_sync_is_scanned_out",
        Config::Virtio,
        scene_with_explicit_sync_is_scanned_out,
    ),
    Case::new(
        "vulkan_client::odd_sized_window_with_implicit_sync_is_shown",
        Config::Virtio,
        odd_sized_window_with_implicit_sync_is_shown,
    ),
    Case::new(
        "vulkan_client::changed_feedback_and_size_recreate_the_swapchain",
        Config::Virtio,
        changed_feedback_and_size_recreate_the_swapchain,
    ),
    Case::new(
        "vulkan_client::camera_is_a_texture_in_rgb_and_yuv",
        Config::Virtio,
        camera_is_a_texture_in_rgb_and_yuv,
    ),
    Case::new(
        "vulkan_client::killed_client_leaves_nothing",
        Config::Virtio,
        killed_client_leaves_nothing,
    ),
    Case::new(
        "vulkan_client::scene_is_whole_on_a_card_without_syncobj",
        Config::Vkms,
        scene_is_whole_on_a_card_without_syncobj,
    ),
    Case::new(
        "vulkan_client::device_without_buffer_sharing_is_skipped_and_named",
        Config::Venus,
        device_without_buffer_sharing_is_skipped_and_named,
    ),
];

/// Returns the region of a window that fills the display.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the functions for other regions return None if they do not fit"
)]
fn whole(picture: &RgbImage) -> Option<Region> {
    Some(Region::whole(picture))
}

/// Writes a picture to a file that a person may inspect, and reads the frame number from its strips.
fn number(
    context: &TestContext<'_>,
    name: &str,
    picture: &RgbImage,
    region: Region,
    bands: u32,
) -> anyhow::Result<u32> {
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png)?;
    let path = context.save_artefact(name, png.get_ref())?;
    pattern::number(picture, region, bands)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("the display's picture, saved as {}", path.display()))
}

/// Checks that a scene contains the cube and the rings, and not only the numbered pattern or a single colour.
fn check_scene(picture: &RgbImage, region: Region) -> anyhow::Result<()> {
    let row = region.y + region.height / 2 + region.height / 20;
    let columns = region.x..region.x + region.width;
    let mut colours: Vec<_> = columns.map(|x| picture.get_pixel(x, row).0).collect();
    colours.sort_unstable();
    colours.dedup();
    ensure!(
        colours.len() > 16,
        "the middle of the scene has only the colours {colours:?}"
    );
    Ok(())
}

fn scene_with_explicit_sync_is_scanned_out(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    const FRAMES: u32 = 20;
    let guest = context.guest()?;
    // The number of the first frame is one that no earlier run used.
    let client = format!("--first 4711 --frames {FRAMES} --hold");
    let mut running = RunningClient::start(guest, "", &client)?;
    running.wait_for_frames(4)?;
    let flowing = guest.screendump()?;
    let last = running.wait_for_number(4711 + FRAMES - 1, whole, SCENE_BANDS)?;
    running.stop()?;
    let finished = running.finish()?;

    let whole = Region::whole(&last);
    let seen = number(context, "flowing.png", &flowing, whole, SCENE_BANDS)?;
    ensure!(
        (4711..4711 + FRAMES).contains(&seen),
        "the display showed frame {seen}, which the client did not draw"
    );
    number(context, "last.png", &last, whole, SCENE_BANDS)?;
    check_scene(&last, whole)?;
    let report = &finished.report;
    ensure!(
        report.sync == "explicit" && report.path.as_deref() == Some("direct"),
        "{report:?}"
    );
    // lavapipe exports a fence only after its work is complete.
    ensure!(
        report.is_processor && report.completion == "helper_thread",
        "{report:?}"
    );
    let composited = finished
        .frames
        .iter()
        .find(|frame| frame.path != Path::Direct);
    ensure!(
        composited.is_none(),
        "a frame of the client was not scanned out: {composited:?}"
    );
    ensure!(
        u64::try_from(finished.frames.len())? == report.frames
            && report.frames == u64::from(FRAMES),
        "the compositor reports {} frames, but the client {} frames",
        finished.frames.len(),
        report.frames
    );
    Ok(Outcome::Passed)
}

fn odd_sized_window_with_implicit_sync_is_shown(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    const SIZE: (u32, u32) = (322, 243);
    let guest = context.guest()?;
    let client = format!(
        "--sync implicit --completion fence --window --size {}x{} --frames 8 --hold",
        SIZE.0, SIZE.1
    );
    let running = RunningClient::start(guest, "", &client)?;
    let window = |picture: &RgbImage| Region::centred(picture, SIZE.0, SIZE.1);
    let last = running.wait_for_number(7, window, SCENE_BANDS)?;
    running.stop()?;
    let finished = running.finish()?;
    let window =
        window(&last).context("the picture of the display does not contain the whole window")?;
    number(context, "window.png", &last, window, SCENE_BANDS)?;
    let report = &finished.report;
    ensure!(
        report.sync == "implicit" && report.path.as_deref() == Some("composited"),
        "{report:?}"
    );
    // As with a GPU, the fence that the device exports is added to the reservation object of the dma-buf.
    ensure!(report.completion == "sync_file", "{report:?}");
    Ok(Outcome::Passed)
}

fn changed_feedback_and_size_recreate_the_swapchain(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    let client = "--window-after 4 --frames 16 --hold";
    let running = RunningClient::start(guest, "", client)?;
    let window = |picture: &RgbImage| Region::centred(picture, 320, 240);
    let last = running.wait_for_number(15, window, SCENE_BANDS)?;
    running.stop()?;
    let finished = running.finish()?;
    let report = &finished.report;
    let [first, second] = report.swapchains.as_slice() else {
        bail!("two swapchains were expected: {:?}", report.swapchains);
    };
    ensure!(
        first.why == "begin" && first.size == "640x480" && first.source == "virtio_gpu dumb",
        "{first:?}"
    );
    // A window is not scanned out, so memory of the display's card is no longer preferred.
    ensure!(
        second.why == "feedback"
            && second.size == "320x240"
            && second.purpose != first.purpose
            && second.source != first.source,
        "{second:?}"
    );
    let window =
        window(&last).context("the picture of the display does not contain the whole window")?;
    number(context, "window.png", &last, window, SCENE_BANDS)?;
    for (chain, path) in [(first, Path::Direct), (second, Path::Composited)] {
        let mut own = finished.frames.iter().filter(|frame| {
            frame
                .buffer
                .is_some_and(|buffer| chain.buffers.contains(&buffer))
        });
        // After the window has left fullscreen, its buffer is composited until its next buffer arrives.
        ensure!(
            own.any(|frame| frame.path == path),
            "{chain:?} was never {path:?}"
        );
    }
    Ok(Outcome::Passed)
}

fn camera_is_a_texture_in_rgb_and_yuv(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    // The conversions to BT.601 and back with 8 bits can each round by up to two.
    for (format, tolerance) in [("XR24", 1), ("YUYV", 4), ("NV12", 4)] {
        one_format(context, format, tolerance).with_context(|| format.to_owned())?;
    }
    Ok(Outcome::Passed)
}

fn one_format(context: &mut TestContext<'_>, format: &str, tolerance: u8) -> anyhow::Result<()> {
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let client = format!("--camera /dev/video0 --format {format} --size 640x480 --frames 8 --hold");
    let running = RunningClient::start(guest, "", &client)?;
    let last = running.wait_for_number(7, whole, 1)?;
    running.stop()?;
    let finished = running.finish()?;
    let name = format!("{format}.png");
    number(context, &name, &last, Region::whole(&last), 1)?;
    // These rows are between the strip and the lens, which moves in the lower half.
    let bars = Region {
        x: 0,
        y: 20,
        width: 640,
        height: 200,
    };
    check_bars(&last, bars, &BARS_100, tolerance)?;
    // The lens has a white rim. The white bar of the picture ends to the left of the searched columns.
    let white = |x: u32, y: u32| last.get_pixel(x, y).0.iter().all(|channel| *channel > 240);
    let has_rim = (240..480).any(|y| (160..640).any(|x| white(x, y)));
    ensure!(has_rim, "no lens is drawn over the lower half");
    let report = &finished.report;
    let part = report.camera.as_ref().context("no camera is reported")?;
    ensure!(part.format == format, "{part:?}");
    ensure!(part.conversion.is_some() == (format != "XR24"), "{part:?}");
    ensure!(report.path.as_deref() == Some("direct"), "{report:?}");
    Ok(())
}

fn killed_client_leaves_nothing(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let clients = [
        "covalent-vulkan --sync explicit",
        "covalent-vulkan --window --size 320x240 --camera /dev/video0",
    ];
    for client in clients {
        let count = "grep -c '\"vulkan/' /tmp/compositor/frames.jsonl || true";
        let before: usize = context.sh(count, COMMAND_LIMIT)?.text().trim().parse()?;
        let process = compositor.start_client(context, client)?;
        let begun = Instant::now();
        loop {
            let shown: usize = context.sh(count, COMMAND_LIMIT)?.text().trim().parse()?;
            if shown >= before + 3 {
                break;
            }
            ensure!(
                begun.elapsed() < FRAMES_LIMIT,
                "{client} shows nothing; the compositor's log: {}",
                compositor.log_tail(context)?
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        let exit = wait_for_exit(process, Some(SIGKILL))?;
        ensure!(exit.status == 128 + SIGKILL, "{exit:?}");
        compositor.check_nothing_left(context, client)?;
    }
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// One line of the compositor's writeback report.
#[derive(Debug, Deserialize)]
struct WritebackRecord {
    buffer: u64,
    width: u32,
    height: u32,
    offset: Option<u64>,
}

fn scene_is_whole_on_a_card_without_syncobj(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    let running = RunningClient::start(
        guest,
        "--writeback /tmp/writeback --writeback-every 2",
        "--frames 8",
    )?;
    let finished = running.finish()?;
    let report = &finished.report;
    ensure!(
        report.sync == "implicit" && report.path.as_deref() == Some("direct"),
        "{report:?}"
    );
    let lines = String::from_utf8(guest.get("/tmp/writeback/frames.jsonl")?)?;
    let pixels = guest.get("/tmp/writeback/frames.raw")?;
    let own = report.buffers();
    let mut previous = None;
    let mut checked = 0;
    for line in lines.lines() {
        let written: WritebackRecord =
            serde_json::from_str(line).with_context(|| format!("a line of writeback: {line}"))?;
        let (Some(offset), true) = (written.offset, own.contains(&written.buffer)) else {
            continue;
        };
        let picture = xrgb(&pixels, offset, written.width, written.height)?;
        let name = format!("written-{checked}.png");
        let seen = number(
            context,
            &name,
            &picture,
            Region::whole(&picture),
            SCENE_BANDS,
        )?;
        ensure!(
            previous.is_none_or(|previous| previous <= seen) && seen < 8,
            "frame {seen} follows frame {previous:?}"
        );
        previous = Some(seen);
        checked += 1;
    }
    ensure!(checked >= 2, "only {checked} pictures were checked");
    Ok(Outcome::Passed)
}

/// Converts rows of XRGB8888 without padding to a picture.
fn xrgb(pixels: &[u8], offset: u64, width: u32, height: u32) -> anyhow::Result<RgbImage> {
    let begin = usize::try_from(offset)?;
    let bytes = usize::try_from(width)? * usize::try_from(height)? * 4;
    let picture = pixels
        .get(begin..begin + bytes)
        .context("the pixels end before the picture does")?;
    let rgb = picture
        .chunks_exact(4)
        .flat_map(|pixel| [pixel[2], pixel[1], pixel[0]])
        .collect();
    RgbImage::from_raw(width, height, rgb).context("a picture of that size")
}

fn device_without_buffer_sharing_is_skipped_and_named(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    let client = "--window --size 320x240 --frames 4";
    let finished = RunningClient::start(guest, "", client)?.finish()?;
    ensure!(
        finished.report.driver == "llvmpipe" && finished.report.frames == 4,
        "{:?}",
        finished.report
    );
    // Venus cannot share images on this host. A request for it must fail with the reason.
    let output = guest.sh(
        "covalent-compositor --mode 640x480 -- covalent-vulkan --device venus --frames 1",
        FRAMES_LIMIT,
    )?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.as_shell() == 2 && stderr.contains("Venus") && stderr.contains("VK_EXT_"),
        "the compositor ended with {}: {stderr}",
        output.status
    );
    Ok(Outcome::Passed)
}
