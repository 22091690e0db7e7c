//! The cases of theme `kms` about the pointer, which is on the cursor plane or drawn by the compositor.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use image::RgbImage;
use serde_json::json;

use super::{COMMAND_LIMIT, state};
use crate::judge::kms_state::KmsState;
use crate::suite::compositor::TestCompositor;
use crate::suite::{Outcome, TestContext};
use crate::vm::guest::Guest;

/// Moves the pointer to a position of a display of 640x480 pixels, with QEMU's tablet.
fn point_at(guest: &Guest, (x, y): (u32, u32)) -> anyhow::Result<()> {
    /// The largest value of an axis of the tablet.
    const LAST: u32 = 0x7fff;
    let axis = |name: &str, pixels: u32, size: u32| {
        let value = (pixels * LAST + size / 2) / size;
        json!({"type": "abs", "data": {"axis": name, "value": value}})
    };
    let events = json!({"events": [axis("x", x, 640), axis("y", y, 480)]});
    guest.monitor().execute("input-send-event", &events)?;
    Ok(())
}

/// Moves the pointer, and waits until the cursor plane in the KMS state is at this position. Returns this state.
fn wait_for_pointer(guest: &Guest, place: (u32, u32)) -> anyhow::Result<KmsState> {
    let until = Instant::now() + COMMAND_LIMIT;
    loop {
        point_at(guest, place)?;
        let state = state(guest)?;
        let cursor = state.cursor().filter(|cursor| cursor.shows_something());
        let found = cursor.and_then(|cursor| {
            let hotspot = |name| cursor.signed(name).unwrap_or(0);
            let x = cursor.signed("CRTC_X")? + hotspot("HOTSPOT_X");
            let y = cursor.signed("CRTC_Y")? + hotspot("HOTSPOT_Y");
            Some((x, y))
        });
        let is_near = |found: i64, wanted: u32| found.abs_diff(i64::from(wanted)) <= 1;
        if found.is_some_and(|(x, y)| is_near(x, place.0) && is_near(y, place.1)) {
            return Ok(state);
        }
        ensure!(
            Instant::now() < until,
            "the pointer is at {found:?} and not at {place:?}: {cursor:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

pub(super) fn pointer_on_a_plane(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let client = compositor.start_client(context, "covalent-pattern --frames 3 --hold")?;
    context.sh("sleep 2", COMMAND_LIMIT)?;
    let guest = context.guest()?;
    let first = wait_for_pointer(guest, (100, 50))?;
    let cursor = first.cursor().context("the card has no cursor plane")?;
    ensure!(
        cursor.value("HOTSPOT_X").is_some(),
        "the cursor plane has no hotspot: {cursor:?}"
    );
    for place in [(300, 200), (320, 220), (639, 479), (0, 0)] {
        wait_for_pointer(guest, place)?;
    }
    // The compositor reports a frame when it releases the frame's buffer. The client holds its last frame, so the client is
    // killed first.
    client.kill()?;
    context.sh("sleep 1", COMMAND_LIMIT)?;
    let report = context.guest()?.get("/tmp/compositor/frames.jsonl")?;
    let report = String::from_utf8_lossy(&report).into_owned();
    let lines = report
        .lines()
        .map(|line| serde_json::from_str(line).context("a line of the report"))
        .collect::<anyhow::Result<Vec<serde_json::Value>>>()?;
    // In these lines of the report the pointer is on a plane and there is no frame of the client, so only the pointer has moved.
    let pointed = lines.iter().filter(|line| line["cursor_plane"].is_string());
    let moved: Vec<_> = pointed.filter(|line| line["frame"].is_null()).collect();
    ensure!(moved.len() >= 4, "{} frames moved the pointer", moved.len());
    let drawn = moved
        .iter()
        .filter(|line| line["cpu_copied_bytes"] != 0 || !line["renderer"].is_null());
    // At most one of these frames may be composited, because the window disappears when the client ends.
    ensure!(
        drawn.count() <= 1,
        "something was drawn to move the pointer: {moved:?}"
    );
    let named = moved.iter().all(|line| {
        let plane = line["cursor_plane"].as_str().unwrap_or_default();
        plane.starts_with("cursor ")
    });
    ensure!(named, "the pointer is not on the cursor plane: {moved:?}");
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

pub(super) fn pointer_on_bochs_is_drawn(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let client = compositor.start_client(context, "covalent-pattern --frames 3 --hold")?;
    context.sh("sleep 2", COMMAND_LIMIT)?;
    let guest = context.guest()?;
    let without = guest.screendump()?;
    let until = Instant::now() + COMMAND_LIMIT;
    // Counts the pixels that changed: those near the pointer, where the built-in arrow or a theme's cursor is drawn, and all
    // other pixels.
    let changes = |place: (u32, u32), now: &RgbImage| {
        let is_near = |x: u32, y: u32| x.abs_diff(place.0) < 32 && y.abs_diff(place.1) < 32;
        let mut changed = (0, 0);
        for (x, y, pixel) in now.enumerate_pixels() {
            if pixel != without.get_pixel(x, y) {
                if is_near(x, y) {
                    changed.0 += 1;
                } else {
                    changed.1 += 1;
                }
            }
        }
        changed
    };
    for place in [(100, 50), (400, 300)] {
        loop {
            point_at(guest, place)?;
            std::thread::sleep(Duration::from_millis(300));
            let (near, far) = changes(place, &guest.screendump()?);
            if near > 20 && far == 0 {
                break;
            }
            ensure!(
                Instant::now() < until,
                "{near} pixels changed at the pointer, and {far} elsewhere"
            );
        }
    }
    client.kill()?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}
