//! Checks exchanges through the compositor: `covalent-vulkan` draws numbered frames, and the check reads the number from the
//! picture that is shown.

use anyhow::{Context as _, ensure};
use image::RgbImage;

use super::{COMMAND_LIMIT, save_picture};
use crate::interop::Row;
use crate::judge::pattern;
use crate::picture::Region;
use crate::suite::TestContext;
use crate::suite::record::Verdict;
use crate::vm::guest::shell;
use crate::wire::Stream;

/// The size of a window whose width and height are not multiples of any alignment.
const WINDOW: (u32, u32) = (322, 243);

/// The number of frames of each run.
const FRAMES: u32 = 8;

/// The number of bands of a frame. Each band begins with a strip of cells, which encode the frame's number.
const BANDS: u32 = 8;

/// The path in the guest of the picture that the compositor writes.
const PICTURE: &str = "/tmp/interop-through.png";

/// Returns a row for frames in a window, which the compositor composites, and a row for frames that fill the screen.
pub(super) fn rows(context: &mut TestContext<'_>) -> anyhow::Result<Vec<Row>> {
    let first = random_number()?;
    let mut rows = vec![row(
        "frames in a window, in the compositor's own picture",
        window_row(context, first),
    )];
    if context.boot().machine.config.has_screendump() {
        rows.push(row(
            "frames that fill the screen, in QEMU's picture",
            fullscreen_row(context, first),
        ));
    }
    Ok(rows)
}

fn row(name: &str, outcome: anyhow::Result<String>) -> Row {
    let (verdict, reason) = match outcome {
        Ok(detail) => (Verdict::Passed, detail),
        Err(error) => (Verdict::Failed, format!("{error:#}")),
    };
    Row {
        behaviour: "through_the_compositor".to_owned(),
        row: name.to_owned(),
        verdict,
        reason,
    }
}

/// Returns a random number for the first frame, so that frames of an earlier run have other numbers.
fn random_number() -> anyhow::Result<u32> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u32::from_le_bytes(bytes) % (1 << 20))
}

fn window_row(context: &mut TestContext<'_>, first: u32) -> anyhow::Result<String> {
    let line = format!(
        "rm -f {PICTURE}; exec covalent-compositor --mode 640x480 --screenshot {PICTURE} --screenshot-after 4 -- \
         covalent-vulkan --window --size {}x{} --first {first} --frames {FRAMES} --json",
        WINDOW.0, WINDOW.1
    );
    let output = context.guest()?.sh(&line, COMMAND_LIMIT)?;
    ensure!(
        output.status.success(),
        "compositor and client ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let picture = context
        .guest()?
        .get(PICTURE)
        .context("no picture was saved")?;
    let picture = image::load_from_memory(&picture)?.to_rgb8();
    let region = Region::centred(&picture, WINDOW.0, WINDOW.1)
        .context("the picture does not contain the whole window")?;
    judge(context, "window.png", &picture, region, first)
}

fn fullscreen_row(context: &mut TestContext<'_>, first: u32) -> anyhow::Result<String> {
    let line = format!(
        "exec covalent-compositor --mode 640x480 --report /tmp/interop-through.jsonl -- \
         covalent-vulkan --first {first} --frames {FRAMES} --hold --json"
    );
    context.sh("rm -f /tmp/interop-through.jsonl", COMMAND_LIMIT)?;
    let mut process = context.guest()?.start(shell(&line))?;
    let shown = context.sh(
        &format!(
            // The compositor's report contains a frame when the next frame replaces it. The client holds its last frame, which is
            // therefore not in the report.
            "for _ in $(seq 300); do test $(grep -s '\"vulkan/' /tmp/interop-through.jsonl | wc -l) -ge {} && exit 0; \
             sleep 0.3; done; exit 1",
            FRAMES - 1
        ),
        COMMAND_LIMIT,
    );
    let picture = context.guest()?.screendump();
    // The client holds its last frame until it gets the signal. If the client has already ended, pkill finds no process.
    context.sh("pkill -TERM covalent-vulkan || true", COMMAND_LIMIT)?;
    let mut stderr = String::new();
    while let Ok(Some(line)) = process.line(Stream::Error, COMMAND_LIMIT) {
        stderr.push_str(&line);
        stderr.push('\n');
    }
    let output = process.wait(COMMAND_LIMIT)?;
    shown.with_context(|| format!("{FRAMES} frames are not shown; stderr: {stderr}"))?;
    ensure!(
        output.status.success(),
        "compositor and client ended with {}: {stderr}",
        output.status
    );
    let picture = picture?;
    judge(
        context,
        "fullscreen.png",
        &picture,
        Region::whole(&picture),
        first,
    )
}

/// Reads the number in a picture, and checks that it is the number of one of the frames.
fn judge(
    context: &TestContext<'_>,
    name: &str,
    picture: &RgbImage,
    region: Region,
    first: u32,
) -> anyhow::Result<String> {
    let path = save_picture(context, name, picture)?;
    let seen = pattern::number(picture, region, BANDS)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("the picture, saved as {}", path.display()))?;
    ensure!(
        (first..first + FRAMES).contains(&seen),
        "the picture shows frame {seen}; {FRAMES} frames from {first} on were drawn"
    );
    Ok(format!("frame {seen} of {FRAMES} from {first} on"))
}
