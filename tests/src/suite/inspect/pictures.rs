//! Checks the pictures that `covalent inspect` makes of live buffers: in every pixel format, and of a camera's own frames.

use anyhow::{Context as _, ensure};
use image::{DynamicImage, Rgb, RgbImage};
use serde::Deserialize;

use crate::picture::{BARS_100, Region, check_bars};
use crate::pipeline::Pipeline;
use crate::suite::compositor::{COMMAND_LIMIT, PIPELINE_LIMIT};
use crate::suite::context::run_checked;
use crate::suite::{Outcome, TestContext};
use crate::vm::guest::{Guest, shell};
use crate::wire::Stream;

/// The number of rows with bars. If the picture has a ramp, the ramp is below these rows.
const BARS_ROWS: u32 = 8;

/// The description of one picture that `covalent-alloc-check painted` prints.
#[derive(Debug, Deserialize)]
struct PaintedPicture {
    fourcc: String,
    fd: u32,
    layout: String,
    is_apart: bool,
}

/// Checks every pixel format twice: with the layout that the painting program prints, and with the layout in the dma-buf's name.
pub(super) fn every_pixel_format_becomes_a_picture(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    let mut holder = guest.start(shell("exec covalent-alloc-check painted -- sleep 300"))?;
    let line = holder
        .line(Stream::Out, COMMAND_LIMIT)?
        .context("the program printed nothing")?;
    let painted: Vec<PaintedPicture> =
        serde_json::from_str(&line).context("parse the list of pictures")?;
    ensure!(painted.len() == 17, "{} pictures", painted.len());
    let pid = run_checked(guest, "pgrep -x sleep | tail -n 1", COMMAND_LIMIT)?.text();
    let mut pictures = Vec::new();
    for one in &painted {
        let PaintedPicture { fd, layout, .. } = one;
        let line = format!("covalent inspect --pid {} --fd {fd}", pid.trim());
        let by_layout = picture(guest, &format!("{line} --layout {layout}"))?;
        check(one, &by_layout).with_context(|| format!("{one:?}"))?;
        if one.is_apart {
            // The name of one dma-buf cannot describe planes in two dma-bufs.
            pictures.push(("apart".to_owned(), by_layout));
            continue;
        }
        let by_name = picture(guest, &line)?;
        ensure!(
            by_name == by_layout,
            "{one:?}: the dma-buf's name gives another picture"
        );
        pictures.push((one.fourcc.clone(), by_layout));
    }
    // The check must detect a wrong format: NV12 that is read as NV21 has swapped chroma channels.
    let mut semi = painted.iter();
    let found = semi.find(|one| one.fourcc == "NV12").context("NV12")?;
    let swapped = found.layout.replace("NV12", "NV21");
    let line = format!("covalent inspect --pid {} --fd {}", pid.trim(), found.fd);
    let swapped = picture(guest, &format!("{line} --layout {swapped}"))?;
    ensure!(
        check(found, &swapped).is_err(),
        "NV12 read as NV21 was accepted"
    );
    holder.kill()?;
    holder.wait(COMMAND_LIMIT)?;
    for (name, picture) in pictures {
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png)?;
        context.save_artefact(&format!("{name}.png"), png.get_ref())?;
    }
    Ok(Outcome::Passed)
}

fn picture(guest: &Guest, line: &str) -> anyhow::Result<DynamicImage> {
    run_checked(
        guest,
        &format!("{line} --png /tmp/painted.png"),
        COMMAND_LIMIT,
    )?;
    Ok(image::load_from_memory(&guest.get("/tmp/painted.png")?)?)
}

/// Checks the bars and the ramp of a picture.
fn check(painted: &PaintedPicture, picture: &DynamicImage) -> anyhow::Result<()> {
    let bars = Region {
        height: BARS_ROWS,
        ..Region::whole(&picture.to_rgb8())
    };
    // The code values of the standard are integers, so the encoded colours differ from 255 by less than two.
    let is_rgb = ["XR24", "AB24", "BG24", "RG16", "XR30", "AB30", "AB4H"];
    let tolerance = if is_rgb.contains(&painted.fourcc.as_str()) {
        0
    } else {
        2
    };
    check_bars(&picture.to_rgb8(), bars, &BARS_100, tolerance)?;
    let grey: fn(u32) -> f64 = match painted.fourcc.as_str() {
        "XR30" | "AB30" => |x| f64::from(x * 8 + 3) / 1023.0,
        // In ten bits with limited range, black is 64 and white is 940.
        "P010" => |x| f64::from(x * 6) / 876.0,
        _ => {
            let is_deep = painted.fourcc == "AB4H";
            ensure!(
                matches!(picture, DynamicImage::ImageRgb16(_)) == is_deep,
                "the picture has not the expected number of bits in each channel: {:?}",
                picture.color()
            );
            return Ok(());
        }
    };
    let DynamicImage::ImageRgb16(deep) = picture else {
        anyhow::bail!(
            "a picture with ten bits a channel became {:?}",
            picture.color()
        );
    };
    for (x, y, Rgb(found)) in deep.enumerate_pixels().filter(|(_, y, _)| *y >= BARS_ROWS) {
        let expected = grey(x) * 65535.0;
        ensure!(
            found
                .iter()
                .all(|channel| (f64::from(*channel) - expected).abs() <= 2.0),
            "the ramp at ({x}, {y}) is {found:?}, and {expected:.1} was painted"
        );
    }
    Ok(())
}

/// Checks frames of a camera that streams, in formats that the camera writes itself.
pub(super) fn camera_frames_in_native_formats_become_pictures(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    for format in ["YUYV", "NV12"] {
        let pipeline = Pipeline {
            client: format!("--window --size 640x480 --format {format} --fps 15 --frames 120"),
            ..Pipeline::default()
        };
        let guest = context.guest()?;
        let pattern = "v4l2-ctl -d /dev/video0 -c test_pattern=1,osd_text_mode=2";
        run_checked(guest, pattern, COMMAND_LIMIT)?;
        let mut running = pipeline.start(guest)?;
        running.wait_for_frames(5, PIPELINE_LIMIT)?;
        let output = run_checked(
            guest,
            "covalent inspect --pid covalent-camera --json",
            COMMAND_LIMIT,
        )?;
        let output: super::Report = serde_json::from_slice(&output.stdout)?;
        let mut fds = output.buffers.iter();
        let fd = fds
            .find_map(|buffer| super::fd_of(buffer, "covalent-camera"))
            .context("the camera has no dma-buf")?;
        let line = format!("covalent inspect --pid covalent-camera --fd {fd} --wait 20");
        let picture = picture(guest, &line)?;
        running.finish(PIPELINE_LIMIT)?;
        let rgb: RgbImage = picture.to_rgb8();
        // vivid's conversion to YUV rounds, and the conversion back to RGB rounds too.
        check_bars(&rgb, Region::whole(&rgb), &BARS_100, 4)
            .with_context(|| format!("a frame of {format}"))?;
    }
    Ok(Outcome::Passed)
}
