//! Tests several outputs: windows on two outputs, frame clocks, configuration, and hotplug.

use std::time::{Duration, Instant};

use covalent_compositor::options::OutputConfig;
use covalent_compositor::output_view::OutputId;
use wayland_client::protocol::wl_output::{self, WlOutput};

use crate::fixture::{Client, Fixture, Window};

const RED: u32 = 0xffff_0000;
const GREEN: u32 = 0xff00_ff00;

fn config(text: &str) -> OutputConfig {
    text.parse().unwrap()
}

/// Starts a compositor with two outputs of 64x48 pixels side by side, and a client that has bound both.
fn two_outputs() -> (Fixture, Client, Vec<WlOutput>, OutputId) {
    let mut fixture = Fixture::new(64, 48);
    let second = fixture.add_output(config("HEADLESS-2"), (64, 48));
    let mut client = fixture.client();
    let outputs = client.bind_outputs();
    fixture.round_trip(&mut client);
    assert_eq!(outputs.len(), 2);
    (fixture, client, outputs, second)
}

/// Maps a window that is 100 pixels wide. Its right 36 columns are on the second output.
fn wide_window(fixture: &mut Fixture, client: &mut Client) -> Window {
    let window = client.window();
    fixture.round_trip(client);
    window.show(client, &client.colour(100, 20, RED));
    fixture.displayed_pixels(client);
    window
}

fn count(pixels: &[u32], colour: u32) -> usize {
    pixels.iter().filter(|pixel| **pixel == colour).count()
}

#[test]
fn window_across_outputs_is_shown_by_each_and_enters_each() {
    let (mut fixture, mut client, outputs, second) = two_outputs();
    let first = fixture.screen().id();
    let window = wide_window(&mut fixture, &mut client);
    for output in &outputs {
        let entered = (window.surface.clone(), output.clone());
        assert!(client.events.entered.contains(&entered), "{output:?}");
    }
    // Each output tracks its own damage.
    for colour in [GREEN, RED] {
        window.show(&client, &client.colour(100, 20, colour));
        let pixels = fixture.displayed_pixels_of(&mut client, first);
        assert_eq!(count(&pixels, colour), 64 * 20);
        let pixels = fixture.displayed_pixels_of(&mut client, second);
        assert_eq!(count(&pixels, colour), 36 * 20);
    }
    window.show(&client, &client.colour(20, 20, RED));
    let pixels = fixture.displayed_pixels_of(&mut client, second);
    assert_eq!(count(&pixels, RED), 0);
    fixture.round_trip(&mut client);
    assert_eq!(
        client.events.entered,
        [(window.surface, outputs[0].clone())]
    );
}

#[test]
fn window_across_outputs_is_paced_by_the_one_that_shows_most_of_it() {
    let mut fixture = Fixture::at_60_hz(64, 48);
    fixture.add_output(config("HEADLESS-2"), (64, 48));
    let mut client = fixture.client();
    let window = wide_window(&mut fixture, &mut client);
    let buffers = [client.colour(100, 20, RED), client.colour(100, 20, GREEN)];
    fixture.until(&mut client, "a callback", |_, client| {
        !client.events.frames.is_empty()
    });
    let mut committed = 0;
    let before = client.events.frames.len();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        if client.events.frames.len() - before >= committed {
            window.show(&client, &buffers[committed % 2]);
            committed += 1;
        }
        fixture.step(&mut client);
    }
    // During 30 refreshes of the first output the second one has 100 refreshes.
    assert!((5..=33).contains(&committed), "{committed} frames");
}

#[test]
fn output_that_is_removed_and_added_again_gives_its_windows_back() {
    let (mut fixture, mut client, outputs, second) = two_outputs();
    let window = client.window();
    window.toplevel.set_fullscreen(Some(&outputs[1]));
    fixture.round_trip(&mut client);
    window.show(&client, &client.colour(64, 48, RED));
    let pixels = fixture.displayed_pixels_of(&mut client, second);
    assert_eq!(count(&pixels, RED), 64 * 48);
    let first = fixture.screen().id();
    assert_eq!(
        count(&fixture.displayed_pixels_of(&mut client, first), RED),
        0
    );

    for _ in 0..3 {
        fixture.state.remove_output(second);
        let pixels = fixture.displayed_pixels_of(&mut client, first);
        assert_eq!(count(&pixels, RED), 64 * 48);
        assert_eq!(client.events.output_globals.len(), 1);
        // Requests to the old object have no effect.
        window.toplevel.set_fullscreen(Some(&outputs[1]));
        fixture.round_trip(&mut client);
        assert!(!client.events.closed);

        let added = fixture.add_output(config("HEADLESS-2"), (64, 48));
        assert_eq!(added, second);
        let pixels = fixture.displayed_pixels_of(&mut client, second);
        assert_eq!(count(&pixels, RED), 64 * 48);
        assert_eq!(
            count(&fixture.displayed_pixels_of(&mut client, first), RED),
            0
        );
        fixture.round_trip(&mut client);
        assert_eq!(client.events.output_globals.len(), 2);
    }
}

#[test]
fn output_removed_with_a_frame_in_flight_releases_all_buffers() {
    let (mut fixture, mut client, outputs, second) = two_outputs();
    let window = client.window();
    window.toplevel.set_fullscreen(Some(&outputs[1]));
    fixture.round_trip(&mut client);
    let buffers = [client.colour(64, 48, RED), client.colour(64, 48, GREEN)];
    window.show(&client, &buffers[0]);
    fixture.displayed_pixels_of(&mut client, second);
    window.show(&client, &buffers[1]);
    for _ in 0..4 {
        fixture.step(&mut client);
    }
    fixture.state.remove_output(second);
    let frames = client.events.frames.len();
    window.show(&client, &buffers[0]);
    fixture.until(&mut client, "a callback", |_, client| {
        client.events.frames.len() > frames
    });
    fixture.until(
        &mut client,
        "the release of the other buffer",
        |_, client| client.events.released.contains(&buffers[1]),
    );
}

#[test]
fn scale_and_transform_are_announced_and_drawn() {
    let mut fixture = Fixture::new(64, 48);
    let text = "HEADLESS-2:scale=2,transform=90,position=200,100";
    let second = fixture.add_output(config(text), (64, 48));
    let mut client = fixture.client();
    let outputs = client.bind_outputs();
    fixture.round_trip(&mut client);
    let events = |event: fn(&wl_output::Event) -> bool| {
        let of_second = client.events.output_events.iter();
        of_second
            .filter(|(output, _)| *output == outputs[1])
            .any(|(_, found)| event(found))
    };
    assert!(events(|event| matches!(
        event,
        wl_output::Event::Scale { factor: 2 }
    )));
    assert!(events(|event| matches!(
        event,
        wl_output::Event::Geometry { x: 200, y: 100, transform, .. }
            if transform.into_result().ok() == Some(wl_output::Transform::_90)
    )));
    // The logical size is 24x32 pixels. The compositor rotates the desktop counter-clockwise.
    let window = client.window();
    window.toplevel.set_fullscreen(Some(&outputs[1]));
    fixture.round_trip(&mut client);
    let configured = client.events.configured.last().unwrap();
    assert_eq!((configured.0, configured.1), (24, 32));
    let bytes: Vec<u8> = (0..24 * 32)
        .flat_map(|pixel| {
            let colour = if pixel < 24 * 16 { RED } else { GREEN };
            colour.to_le_bytes()
        })
        .collect();
    let format = wayland_client::protocol::wl_shm::Format::Xrgb8888;
    let (buffer, _file) = client.shm(24, 32, 24 * 4, format, &bytes);
    window.show(&client, &buffer);
    let pixels = fixture.displayed_pixels_of(&mut client, second);
    // The upper half of the window is shown in the left half of the display. The renderer interpolates where the two colours
    // meet.
    let inner = pixels
        .iter()
        .enumerate()
        .filter(|(index, _)| !(30..34).contains(&(index % 64)));
    for (index, pixel) in inner {
        let expected = if index % 64 < 32 { RED } else { GREEN };
        // Interpolation may round the lowest bits.
        let upper_bits = 0x00f0_f0f0;
        assert_eq!(
            pixel & upper_bits,
            expected & upper_bits,
            "at {}, {}",
            index % 64,
            index / 64
        );
    }
}

#[test]
fn pointer_crosses_outputs_and_stays_on_them() {
    let (mut fixture, mut client, ..) = two_outputs();
    let window = wide_window(&mut fixture, &mut client);
    let at = |fixture: &Fixture| {
        let at = fixture.state.pointer.current_location();
        (at.x, at.y)
    };
    fixture.state.point_at((80.0, 20.0).into(), 1);
    assert_eq!(at(&fixture), (80.0, 20.0));
    assert!(fixture.state.pointer.current_focus().is_some());
    fixture.state.point_at((110.0, 20.0).into(), 2);
    assert!(fixture.state.pointer.current_focus().is_none());
    for (to, expected) in [
        ((500.0, 20.0), (127.0, 20.0)),
        ((-5.0, -5.0), (0.0, 0.0)),
        ((100.0, 99.0), (100.0, 47.0)),
    ] {
        fixture.state.point_at(to.into(), 3);
        assert_eq!(at(&fixture), expected, "{to:?}");
    }
    drop(window);
}

#[test]
fn report_names_the_output_of_each_frame() {
    let (mut fixture, mut client, ..) = two_outputs();
    let path = std::env::temp_dir().join(format!("covalent-outputs-{}", std::process::id()));
    let report = covalent_compositor::report::Report::create(&path).unwrap();
    fixture.state.outputs.set_report(report);
    wide_window(&mut fixture, &mut client);
    fixture.state.finish();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let shown: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|record: &serde_json::Value| !record["surface"].is_null())
        .collect();
    for name in ["HEADLESS-1", "HEADLESS-2"] {
        let records: Vec<_> = shown.iter().filter(|one| one["output"] == name).collect();
        assert_eq!(records.len(), 1, "{text}");
        assert_eq!(records[0]["frame"], 1, "{text}");
    }
}
