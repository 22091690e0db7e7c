//! Theme `interop`: checks the exchange of buffers between Vulkan and the other drivers, in every configuration that has a Vulkan
//! device.
//!
//! All configurations have lavapipe; `venus` has Venus too. The rows of each configuration are stored in a file, and the rows of
//! all configurations of a run are printed as one table.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context as _, ensure};
use covalent_alloc::model::{Extent, Fourcc};
use image::RgbImage;

use super::alloc::check;
mod split;
mod through_compositor;

use super::record::{Record, Verdict};
use super::shown_picture::ShownPicture;
use super::{Case, Outcome, TestContext};
use crate::check_support::pixels::{colours, pattern_of, resemble};
use crate::interop::{Row, Skips, Table};
use crate::vm::config::Config;

/// The time limit of all rows of one configuration on a busy machine without KVM.
const LONG_LIMIT: Duration = Duration::from_secs(900);
/// The time limit of all rows of one configuration with `--full`: every format, and ten times the frames.
const FULL_LIMIT: Duration = Duration::from_secs(3600);
/// The time limit to load a module or a driver.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// The file in which a case stores its rows.
const ROWS: &str = "rows.json";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "interop::virtio_exchanges_with_vulkan_succeed",
        Config::Virtio,
        check_exchanges,
    )
    .limit(FULL_LIMIT),
    Case::new(
        "interop::bochs_exchanges_with_vulkan_succeed",
        Config::Bochs,
        check_exchanges,
    )
    .limit(FULL_LIMIT),
    Case::new(
        "interop::vkms_exchanges_with_vulkan_succeed",
        Config::Vkms,
        check_exchanges,
    )
    .limit(FULL_LIMIT),
    Case::new(
        "interop::venus_exchanges_with_vulkan_succeed",
        Config::Venus,
        check_exchanges,
    )
    .limit(FULL_LIMIT),
    Case::new(
        "interop::full_exchanges_with_vulkan_succeed",
        Config::Full,
        check_exchanges,
    )
    .limit(FULL_LIMIT),
    Case::new(
        "interop::split_is_copied_by_vulkan_on_virtio",
        Config::Virtio,
        split::copied_by_vulkan,
    ),
    Case::new(
        "interop::split_is_copied_by_vulkan_on_vkms",
        Config::Vkms,
        split::copied_by_vulkan,
    ),
    Case::new(
        "interop::validation_layer_reports_no_error",
        Config::Vkms,
        validation_layer_reports_no_error,
    ),
];

/// Calls `act` with the modules sw_sync (fences), vim2m (copies pictures) and vicodec (encodes and decodes) loaded. Unloads vim2m
/// and vicodec after `act` has succeeded.
fn with_modules<T>(
    context: &mut TestContext<'_>,
    act: impl FnOnce(&mut TestContext<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    context.sh("modprobe -a sw_sync vim2m vicodec", COMMAND_LIMIT)?;
    let outcome = act(context)?;
    context.sh("modprobe -r vim2m && modprobe -r vicodec", COMMAND_LIMIT)?;
    Ok(outcome)
}

fn check_exchanges(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let rows = with_modules(context, |context| {
        let (options, limit) = if context.is_full() {
            ("--full --frames 10000", FULL_LIMIT)
        } else {
            ("", LONG_LIMIT)
        };
        let mut rows = run_check(context, options, limit)?;
        rows.extend(screendump_rows(context)?);
        rows.extend(through_compositor::rows(context)?);
        Ok(rows)
    })?;
    context.save_artefact(ROWS, &serde_json::to_vec_pretty(&rows)?)?;
    let skips = Skips::of_interop().context("tests/interop.toml")?;
    context.judge(&skips, &rows)
}

/// Runs `covalent-interop-check` and returns its rows.
fn run_check(
    context: &mut TestContext<'_>,
    options: &str,
    limit: Duration,
) -> anyhow::Result<Vec<Row>> {
    let line = format!("covalent-interop-check --json {options}");
    let output = context.guest()?.sh(&line, limit)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    context.save_artefact("stderr.txt", stderr.as_bytes())?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "`{line}` ended with {} and no rows: {stderr}",
            output.status
        )
    })
}

/// Compares QEMU's picture of the first card's display with the picture that a device drew. This checks cards without a writeback
/// connector too.
fn screendump_rows(context: &mut TestContext<'_>) -> anyhow::Result<Vec<Row>> {
    let config = context.boot().machine.config;
    if !config.has_screendump() {
        return Ok(Vec::new());
    }
    let outcome = check_screendump(context);
    let (verdict, reason) = match outcome {
        Ok(detail) => (Verdict::Passed, detail),
        Err(error) => (Verdict::Failed, format!("{error:#}")),
    };
    Ok(vec![Row {
        behaviour: "vulkan_to_kms".to_owned(),
        row: "QEMU's picture of the first card's display".to_owned(),
        verdict,
        reason,
    }])
}

fn check_screendump(context: &mut TestContext<'_>) -> anyhow::Result<String> {
    let mut seed = [0; 1];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
    let seed = usize::from(seed[0]);
    let program = format!("covalent-interop-check --show /dev/dri/card0 --seed {seed}");
    let shown = ShownPicture::of(context, &program, COMMAND_LIMIT, COMMAND_LIMIT)?;
    let picture = shown
        .picture
        .context("QEMU makes no picture of this card")?;
    let path = save_picture(context, "display.png", &picture)?;
    let extent = Extent::new(picture.width(), picture.height())?;
    let drawn = pattern_of(extent, Fourcc::XRGB8888, seed)?;
    let found: Vec<[u8; 3]> = picture.pixels().map(|pixel| pixel.0).collect();
    ensure!(
        resemble(&found, &colours(Fourcc::XRGB8888, &drawn)?, 0),
        "the display's picture, saved as {}, is not what the device drew",
        path.display()
    );
    Ok(shown.detail)
}

fn save_picture(
    context: &TestContext<'_>,
    name: &str,
    picture: &RgbImage,
) -> anyhow::Result<PathBuf> {
    let mut png = io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png)?;
    context.save_artefact(name, png.get_ref())
}

/// Runs the exchanges with Vulkan's validation layer, and checks that the layer reports a hazard that the program causes on
/// purpose.
fn validation_layer_reports_no_error(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let rows = with_modules(context, |context| {
        run_check(context, "--validated", LONG_LIMIT)
    })?;
    context.save_artefact("validated.json", &serde_json::to_vec_pretty(&rows)?)?;
    let hazard_row = rows
        .iter()
        .find(|row| row.row.contains("detects a deliberate write hazard"))
        .context("no row submits a deliberate write hazard")?;
    ensure!(hazard_row.verdict == Verdict::Passed, "{hazard_row}");
    check(context, "validated")?;
    let skips = Skips::of_interop().context("tests/interop.toml")?;
    // Only some of the exchanges run with the layer, so not every entry of the list must match a row.
    context.judge(&skips.for_part(), &rows)
}

/// Returns a table with the rows of all configurations of a run; `None` if no configuration ran.
///
/// # Errors
/// The file with the rows of a case cannot be read.
pub fn gather(artefacts: &Path, records: &[Record]) -> anyhow::Result<Option<Table>> {
    let mut table = Table::default();
    for case in CASES {
        let ran = records
            .iter()
            .any(|record| record.name == case.name && record.verdict != Verdict::Skipped);
        let path = artefacts.join(case.name.replace("::", "-")).join(ROWS);
        if !ran || !path.exists() {
            continue;
        }
        let rows = serde_json::from_slice(&fs::read(&path)?)
            .with_context(|| path.display().to_string())?;
        table
            .columns
            .push((case.needs.config.name().to_owned(), rows));
    }
    Ok((!table.columns.is_empty()).then_some(table))
}
