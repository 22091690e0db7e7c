//! The key bindings of the focused window.

use covalent_compositor::launch::CommandLine;
use covalent_compositor::options::OutputConfig;
use covalent_compositor::region::Rect;

use super::{App, FULLSCREEN, MAXIMIZED, SHIFT, SUPER, TILED_LEFT};
use crate::fixture::Fixture;

/// Keys in the numbering of xkb.
const Q: u32 = 24;
const E: u32 = 26;
const F: u32 = 41;
const O: u32 = 32;
const UP: u32 = 111;
const LEFT: u32 = 113;
const RIGHT: u32 = 114;

/// Events of `xdg_toplevel`.
const CLOSE: u32 = 1;
const CAPABILITIES: u32 = 3;

#[test]
fn keys_arrange_the_focused_window_and_give_it_its_place_back() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let place = app.rect(&fixture);
    for (key, states, rect) in [
        (UP, vec![MAXIMIZED], Rect::new(0, 0, 320, 240)),
        (LEFT, vec![TILED_LEFT, 7, 8], Rect::new(0, 0, 160, 240)),
        (RIGHT, vec![6, 7, 8], Rect::new(160, 0, 160, 240)),
        (F, vec![FULLSCREEN], Rect::new(0, 0, 320, 240)),
    ] {
        fixture.chord(&[SUPER, key]);
        app.sync(&mut fixture);
        let (width, height, configured) = app.configured();
        let missing = states.iter().find(|state| !configured.contains(state));
        assert_eq!(missing, None, "{key}: {configured:?}");
        app.show(&mut fixture, (width, height));
        assert_eq!(app.rect(&fixture), rect, "{key}");
        fixture.chord(&[SUPER, key]);
        app.sync(&mut fixture);
        let (width, height, configured) = app.configured();
        assert_eq!((width, height), (0, 0), "{key}");
        assert!(!configured.contains(&states[0]), "{key}");
        app.show(&mut fixture, (100, 80));
        assert_eq!(app.rect(&fixture), place, "{key}");
    }
}

#[test]
fn window_that_was_maximised_is_maximised_after_fullscreen() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    app.wire.send(app.toplevel, 9, &[]);
    app.wire.send(app.toplevel, 11, &[0.into()]);
    app.sync(&mut fixture);
    assert!(app.has_state(FULLSCREEN) && !app.has_state(MAXIMIZED));
    app.wire.send(app.toplevel, 12, &[]);
    app.sync(&mut fixture);
    assert!(app.has_state(MAXIMIZED) && !app.has_state(FULLSCREEN));
}

#[test]
fn closing_key_asks_the_focused_window_alone() {
    let mut fixture = Fixture::desktop();
    let mut first = App::new(&mut fixture, "first", (100, 80));
    let mut second = App::new(&mut fixture, "second", (100, 80));
    fixture.chord(&[SUPER, Q]);
    first.sync(&mut fixture);
    second.sync(&mut fixture);
    let closed = [&first, &second].map(|app| app.count(app.toplevel, CLOSE));
    assert_eq!(closed, [0, 1]);
}

#[test]
fn kiosk_sends_all_keys_to_the_client_and_has_no_minimising() {
    let mut fixture = Fixture::desktop();
    fixture.state.set_kiosk();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    fixture.chord(&[SUPER, Q]);
    fixture.chord(&[SUPER, UP]);
    app.wire.send(app.toplevel, 13, &[]);
    app.sync(&mut fixture);
    assert_eq!(app.count(app.toplevel, CLOSE), 0);
    assert!(!app.has_state(MAXIMIZED));
    assert_eq!(app.count(app.keyboard, 3), 8);
    assert_eq!(app.focus(), Some(app.surface));
    let capabilities = app.wire.events_of(app.toplevel, CAPABILITIES)[0];
    assert_eq!(capabilities.word(0), 2 * 4);
}

#[test]
fn window_menu_is_not_among_the_capabilities() {
    let mut fixture = Fixture::desktop();
    let app = App::new(&mut fixture, "window", (100, 80));
    let event = app.wire.events_of(app.toplevel, CAPABILITIES)[0];
    let mut capabilities = vec![event.word(1), event.word(2), event.word(3)];
    capabilities.sort_unstable();
    assert_eq!((event.word(0), capabilities), (3 * 4, vec![2, 3, 4]));
}

#[test]
fn window_moves_to_the_next_output_and_is_maximised_to_its_size() {
    let mut fixture = Fixture::desktop();
    let config = OutputConfig {
        name: "second".to_owned(),
        ..OutputConfig::default()
    };
    fixture.add_output(config, (200, 100));
    let mut app = App::new(&mut fixture, "window", (100, 80));
    fixture.chord(&[SUPER, O]);
    app.sync(&mut fixture);
    assert_eq!(app.rect(&fixture), Rect::new(370, 10, 100, 80));
    fixture.chord(&[SUPER, UP]);
    app.sync(&mut fixture);
    let (width, height, _) = app.configured();
    assert_eq!((width, height), (200, 100));
    fixture.chord(&[SUPER, O]);
    app.sync(&mut fixture);
    let (width, height, _) = app.configured();
    assert_eq!((width, height), (320, 240));
}

#[test]
fn quitting_key_needs_shift() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    fixture.chord(&[SUPER, E]);
    app.sync(&mut fixture);
    assert!(!fixture.state.handle.is_stopped());
    fixture.chord(&[SUPER, SHIFT, E]);
    assert!(fixture.state.handle.is_stopped());
}

#[test]
fn started_terminal_has_the_socket_and_no_descriptor_of_the_compositor() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let folder = tempfile::tempdir().unwrap();
    let (script, output) = (folder.path().join("terminal"), folder.path().join("output"));
    // The script lists its file descriptors except standard error, which it inherits from the test.
    let text = format!(
        "#!/bin/sh\necho \"$WAYLAND_DISPLAY\" >{path}.new\n\
        for fd in /proc/$$/fd/*; do case $fd in */2) ;; *) readlink $fd >>{path}.new ;; esac; done\n\
        mv {path}.new {path}\n",
        path = output.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    // Without a socket there is nothing that a terminal could connect to.
    assert!(
        !fixture
            .state
            .start_first(CommandLine::of_words([script.clone().into()]).into_iter())
    );
    fixture.state.shell.set_socket("wayland-7");
    let missing = folder.path().join("missing").into();
    assert!(
        fixture.state.start_first(
            [missing, script.into()]
                .into_iter()
                .filter_map(|name| CommandLine::of_words([name]))
        )
    );
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !output.exists() {
        assert!(
            std::time::Instant::now() < deadline,
            "the script did not run"
        );
        app.sync(&mut fixture);
    }
    let written = std::fs::read_to_string(&output).unwrap();
    assert_eq!(written.lines().next(), Some("wayland-7"));
    let leaked = ["socket:", "eventpoll", "eventfd", "memfd"];
    let leaked = leaked.iter().find(|kind| written.contains(*kind));
    assert_eq!(leaked, None, "{written}");
}
