//! The configuration file, while the compositor runs: what a change of the file applies, and what it does not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use covalent_compositor::config::LoadedConfig;
use covalent_compositor::options::Options;
use rustix::fs::{CWD, FileType, Mode};

use super::{ALT, App, SHIFT, SUPER, TAB};
use crate::fixture::Fixture;

const Q: u32 = 24;
const E: u32 = 26;
const D: u32 = 40;

/// Events of `wl_keyboard`.
const KEYMAP: u32 = 0;
const KEY: u32 = 3;
const MODIFIERS: u32 = 4;
const REPEAT_INFO: u32 = 5;
/// The close event of `xdg_toplevel`.
const CLOSE: u32 = 1;
/// Events of `wl_output`.
const SCALE: u32 = 3;

const RED: &str = "background = \"#ff0000\"\n";
const GREEN: &str = "background = \"#00ff00\"\n";

/// The time in which a change would have been noticed.
const NOTICED: Duration = Duration::from_millis(400);

/// A compositor with a configuration file.
struct Configured {
    fixture: Fixture,
    app: App,
    /// The folder of the file, which is removed at the end.
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Configured {
    /// Starts a compositor whose file is at `name` in a new folder, with that text if there is one.
    fn start(name: &str, text: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        if let Some(text) = text {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
        let mut fixture = Fixture::desktop();
        let options = Options {
            config: Some(path.clone()),
            ..Options::default()
        };
        let loaded = LoadedConfig::of_options(&options).unwrap();
        fixture.state.start_config(loaded);
        let app = App::new(&mut fixture, "window", (100, 80));
        Self {
            fixture,
            app,
            folder,
            path,
        }
    }

    /// Returns the colour of the desktop.
    fn background(&mut self) -> u32 {
        self.app.sync(&mut self.fixture);
        self.fixture.displayed_frame(&mut self.app.wire);
        self.fixture.screen_mut().capture().unwrap().1[0]
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(self) {
            assert!(Instant::now() < deadline, "{what} did not happen");
            self.app.sync(&mut self.fixture);
        }
    }

    #[track_caller]
    fn until_background(&mut self, colour: u32) {
        self.until(&format!("the background {colour:x}"), |this| {
            this.background() == colour
        });
    }

    /// Runs the event loop for the time in which a change would have been noticed.
    fn pass_time(&mut self) {
        let end = Instant::now() + NOTICED;
        while Instant::now() < end {
            self.app.sync(&mut self.fixture);
        }
    }
}

/// Replaces a file as editors do.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

#[test]
fn file_that_is_written_or_replaced_is_applied() {
    let mut configured = Configured::start("compositor.toml", Some(RED));
    assert_eq!(configured.background(), 0xffff_0000);
    fs::write(&configured.path, GREEN).unwrap();
    configured.until_background(0xff00_ff00);
    replace(&configured.path, RED);
    configured.until_background(0xffff_0000);
    // The watch of the file is that of the new one.
    fs::write(&configured.path, GREEN).unwrap();
    configured.until_background(0xff00_ff00);
    replace(&configured.path, "");
    configured.until_background(0xff30_3840);
}

#[test]
fn file_that_is_not_valid_changes_nothing_until_it_is_corrected() {
    let mut configured = Configured::start("compositor.toml", Some(RED));
    for text in [
        "background = \"#00ff00\"\nkiosk = 3\n",
        "background = ",
        "\u{0}",
    ] {
        fs::write(&configured.path, text).unwrap();
        configured.pass_time();
        assert_eq!(configured.background(), 0xffff_0000, "{text}");
    }
    fs::write(&configured.path, GREEN).unwrap();
    configured.until_background(0xff00_ff00);
}

#[test]
fn file_that_is_removed_or_no_regular_file_changes_nothing() {
    let mut configured = Configured::start("compositor.toml", Some(RED));
    let path = configured.path.clone();
    fs::remove_file(&path).unwrap();
    configured.pass_time();
    assert_eq!(configured.background(), 0xffff_0000);
    // An `open` that blocks would stop the event loop.
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(CWD, path.with_extension("fifo"), FileType::Fifo, mode, 0).unwrap();
    fs::rename(path.with_extension("fifo"), &path).unwrap();
    configured.pass_time();
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    configured.pass_time();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "#".repeat(300 << 10)).unwrap();
    configured.pass_time();
    assert_eq!(configured.background(), 0xffff_0000);
    replace(&path, GREEN);
    configured.until_background(0xff00_ff00);
}

#[test]
fn file_of_a_folder_that_is_created_later_is_applied() {
    let mut configured = Configured::start("one/compositor.toml", Some(GREEN));
    let folder = configured.path.parent().unwrap().to_owned();
    fs::remove_dir_all(&folder).unwrap();
    configured.pass_time();
    assert_eq!(configured.background(), 0xff00_ff00);
    fs::create_dir(&folder).unwrap();
    configured.pass_time();
    fs::write(&configured.path, RED).unwrap();
    configured.until_background(0xffff_0000);
}

#[test]
fn target_of_a_symbolic_link_is_watched() {
    let mut configured = Configured::start("compositor.toml", Some(RED));
    let target = configured.folder.path().join("elsewhere");
    fs::create_dir(&target).unwrap();
    let target = target.join("file");
    fs::write(&target, GREEN).unwrap();
    fs::remove_file(&configured.path).unwrap();
    symlink(&target, &configured.path).unwrap();
    configured.until_background(0xff00_ff00);
    fs::write(&target, RED).unwrap();
    configured.until_background(0xffff_0000);
    replace(&target, GREEN);
    configured.until_background(0xff00_ff00);
}

#[test]
fn other_files_of_the_folder_do_not_make_the_file_read_again() {
    let mut configured = Configured::start("compositor.toml", Some(RED));
    // A change without an event: the file is written by a descriptor that stays open.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&configured.path)
        .unwrap();
    std::io::Write::write_all(&mut file, GREEN.as_bytes()).unwrap();
    fs::write(configured.folder.path().join("other"), "x").unwrap();
    configured.pass_time();
    assert_eq!(configured.background(), 0xffff_0000);
    drop(file);
    configured.until_background(0xff00_ff00);
}

#[test]
fn keys_are_bound_and_released_when_the_file_changes() {
    let mut configured = Configured::start("compositor.toml", Some(""));
    let close = configured.app.toplevel;
    fs::write(
        &configured.path,
        "background = \"#00ff00\"\n[keys]\n\"Super+Q\" = \"none\"\n\"Super+E\" = \"close\"\n",
    )
    .unwrap();
    configured.until_background(0xff00_ff00);
    let Configured { fixture, app, .. } = &mut configured;
    fixture.chord(&[SUPER, Q]);
    app.sync(fixture);
    assert_eq!(app.count(close, CLOSE), 0);
    assert_eq!(app.count(app.keyboard, KEY), 4);
    fixture.chord(&[SUPER, E]);
    app.sync(fixture);
    assert_eq!(app.count(close, CLOSE), 1);
    assert_eq!(app.count(app.keyboard, KEY), 6);
}

#[test]
fn switcher_ends_with_the_modifier_of_its_binding() {
    let text = "[keys]\n\"Super+Tab\" = \"next-window\"\n\"Alt+Tab\" = \"none\"\n";
    let mut configured = Configured::start("compositor.toml", Some(text));
    let Configured { fixture, app, .. } = &mut configured;
    let mut second = App::new(fixture, "second", (100, 80));
    let mut third = App::new(fixture, "third", (100, 80));
    fixture.press(SUPER);
    for _ in 0..2 {
        fixture.press(TAB);
        fixture.release(TAB);
    }
    fixture.release(SUPER);
    for other in [&mut second, &mut third, &mut *app] {
        other.sync(fixture);
    }
    assert_eq!(app.focus(), Some(app.surface));
    assert_eq!((second.focus(), third.focus()), (None, None));
    fixture.chord(&[ALT, TAB]);
    app.sync(fixture);
    assert_eq!(app.focus(), Some(app.surface));
}

#[test]
fn clients_get_the_keymap_and_the_repeat_rate_of_the_file() {
    let mut configured = Configured::start("compositor.toml", Some(""));
    let keyboard = configured.app.keyboard;
    let keymaps = configured.app.count(keyboard, KEYMAP);
    fs::write(
        &configured.path,
        "[keyboard]\nlayout = \"us,de\"\nrepeat-rate = 50\nrepeat-delay = 200\n[keys]\n\"Super+D\" = \"next-layout\"\n",
    )
    .unwrap();
    configured.until("the repeat rate", |this| {
        let events = this.app.wire.events_of(keyboard, REPEAT_INFO);
        events
            .last()
            .is_some_and(|event| (event.word(0), event.word(1)) == (50, 200))
    });
    assert_eq!(configured.app.count(keyboard, KEYMAP), keymaps + 1);
    let Configured { fixture, app, .. } = &mut configured;
    fixture.chord(&[SUPER, D]);
    app.sync(fixture);
    let events = app.wire.events_of(keyboard, MODIFIERS);
    assert_eq!(events.last().unwrap().word(4), 1);
    // The symbols of bindings do not change with the layout of the same letters.
    fixture.chord(&[SUPER, Q]);
    app.sync(fixture);
    assert_eq!(app.count(app.toplevel, CLOSE), 1);
}

#[test]
fn scale_and_position_of_an_output_change_at_once() {
    let mut configured = Configured::start("compositor.toml", Some(""));
    let output = configured.app.wire.bind("wl_output");
    let name = configured.fixture.screen().output().name();
    configured.app.sync(&mut configured.fixture);
    fs::write(
        &configured.path,
        format!("[[output]]\nname = {name:?}\nscale = 2\nposition = [30, 40]\n"),
    )
    .unwrap();
    configured.until("the scale", |this| {
        let events = this.app.wire.events_of(output, SCALE);
        events.last().is_some_and(|event| event.word(0) == 2)
    });
    let logical = configured.fixture.screen().view().logical;
    assert_eq!(
        (logical.x, logical.y, logical.width, logical.height),
        (30, 40, 160, 120)
    );
    fs::write(&configured.path, "").unwrap();
    configured.until("the first scale", |this| {
        let events = this.app.wire.events_of(output, SCALE);
        events.last().is_some_and(|event| event.word(0) == 1)
    });
    let logical = configured.fixture.screen().view().logical;
    assert_eq!((logical.x, logical.width), (0, 320));
}

#[test]
fn key_starts_a_program_and_reads_the_file_again() {
    let mut configured = Configured::start("compositor.toml", Some(""));
    let started = configured.folder.path().join("started");
    let text = format!(
        "[keys]\n\"Super+D\" = {{ spawn = [\"touch\", {started:?}] }}\n\"Super+Shift+D\" = \"reload-configuration\"\n"
    );
    fs::write(&configured.path, &text).unwrap();
    configured.fixture.state.shell.set_socket("wayland-7");
    configured.fixture.state.reload_config();
    configured.fixture.chord(&[SUPER, D]);
    configured.until("the program", |_| started.exists());
    let file = format!("{GREEN}{text}");
    fs::write(&configured.path, file).unwrap();
    configured.fixture.chord(&[SUPER, SHIFT, D]);
    assert_eq!(configured.background(), 0xff00_ff00);
}

#[test]
fn command_of_the_idle_time_is_started_once_after_the_last_input() {
    let mut configured = Configured::start("compositor.toml", Some(""));
    let started = configured.folder.path().join("started");
    configured.fixture.state.shell.set_socket("wayland-7");
    let text = format!(
        "[idle]\nseconds = 1\ncommand = \"echo >>{}\"\n",
        started.display()
    );
    fs::write(&configured.path, text).unwrap();
    configured.fixture.state.reload_config();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(700) {
        configured.app.sync(&mut configured.fixture);
    }
    configured.fixture.state.user_is_active();
    let last = Instant::now();
    configured.until("the command", |_| started.exists());
    assert!(last.elapsed() >= Duration::from_millis(990));
    configured.pass_time();
    configured.until("the line", |_| {
        fs::read_to_string(&started).is_ok_and(|text| text.lines().count() == 1)
    });
    configured.fixture.state.user_is_active();
    configured.until("the second command", |_| {
        fs::read_to_string(&started).is_ok_and(|text| text.lines().count() == 2)
    });
}

#[test]
fn limit_of_the_file_applies_to_new_clients() {
    let mut configured = Configured::start("compositor.toml", Some(""));
    fs::write(&configured.path, "[limits]\nsurfaces = 2\n").unwrap();
    configured.fixture.state.reload_config();
    let Configured { fixture, app, .. } = &mut configured;
    for (wire, is_limited) in [(&mut app.wire, false), (&mut fixture.wire(), true)] {
        let compositor = wire.bind("wl_compositor");
        for _ in 0..3 {
            wire.make(compositor, 0, &[]);
        }
        fixture.round_trip_wire(wire);
        assert_eq!(wire.error.is_some(), is_limited);
    }
}
