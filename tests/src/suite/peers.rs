//! Theme `peers`: checks Covalent's clients on the compositors of other projects, and programs of other projects on Covalent's
//! compositor.
//!
//! QEMU's picture of the display is compared with the expected picture. The programs are on a separate disk, so these cases run
//! only with `--full`.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use image::RgbImage;
use serde_json::Value;

use super::compositor::{COMMAND_LIMIT, SIGTERM, TestCompositor, wait_for_exit};
use super::display::set_pattern;
use super::{Case, Outcome, TestContext};
use crate::picture::{BARS_100, Region, check_bars};
use crate::vm::config::Config;
use crate::vm::guest::shell;
use crate::vm::link::Process;
use crate::wire::{SignalTarget, Stream};

mod compositors;
mod programs;

/// Creates a case of this theme.
const fn case(name: &'static str, run: super::Run) -> Case {
    Case::new(name, Config::Virtio, run)
        .peers()
        .full()
        .seconds(40)
}

pub(super) const CASES: &[Case] = &[
    case(
        "peers::weston_with_pixman_shows_the_camera_by_one_copy",
        |context| compositors::shows_the_camera(context, &compositors::WESTON_PIXMAN),
    ),
    case("peers::weston_with_gl_shows_the_camera", |context| {
        compositors::shows_the_camera(context, &compositors::WESTON_GL)
    }),
    case(
        "peers::weston_with_pixman_shows_vulkan_by_one_copy",
        |context| compositors::shows_vulkan(context, &compositors::WESTON_PIXMAN),
    ),
    case("peers::cage_shows_the_camera_by_one_copy", |context| {
        compositors::shows_the_camera(context, &compositors::CAGE)
    }),
    case("peers::sway_shows_the_camera_by_one_copy", |context| {
        compositors::shows_the_camera(context, &compositors::SWAY)
    }),
    case("peers::labwc_shows_the_camera_by_one_copy", |context| {
        compositors::shows_the_camera(context, &compositors::LABWC)
    }),
    case("peers::westons_clients_are_shown", |context| {
        programs::are_shown(context, programs::WESTON)
    }),
    case("peers::gstreamer_and_mpv_are_shown", |context| {
        programs::are_shown(context, programs::VIDEO)
    }),
    case("peers::gtk_sdl_and_foot_are_shown", |context| {
        programs::are_shown(context, programs::TOOLKITS)
    }),
    case("peers::glmark2_is_shown", |context| {
        programs::are_shown(context, programs::GLMARK2)
    }),
];

/// Saves a picture that a person may inspect after the run.
fn save(context: &TestContext<'_>, name: &str, picture: &RgbImage) -> anyhow::Result<()> {
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png)?;
    context.save_artefact(&format!("{name}.png"), png.get_ref())?;
    Ok(())
}
