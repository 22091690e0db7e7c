//! Tests frame callbacks, presentation feedback, released buffers and report records.

use std::time::Duration;

use covalent_compositor::report::Report;
use wayland_protocols::wp::presentation_time::client::wp_presentation::WpPresentation;
use wayland_protocols::wp::presentation_time::client::wp_presentation_feedback::Kind;

use crate::fixture::Fixture;

const RED: u32 = 0xffff_0000;

#[test]
fn buffer_that_is_replaced_is_released() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    let (first, second) = (client.colour(8, 8, RED), client.colour(8, 8, 0xff00_ff00));
    window.show(&client, &first);
    fixture.displayed_pixels(&mut client);
    assert!(
        client.events.released.is_empty(),
        "the buffer on the display was released"
    );
    window.show(&client, &second);
    fixture.displayed_pixels(&mut client);
    assert_eq!(client.events.released, [first]);
}

#[test]
fn buffer_superseded_before_a_frame_is_released_at_once() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    let (first, second) = (client.colour(8, 8, RED), client.colour(8, 8, 0xff00_ff00));
    window.show(&client, &first);
    window.show(&client, &second);
    fixture.round_trip(&mut client);
    assert_eq!(client.events.released, [first]);
    let pixels = fixture.displayed_pixels(&mut client);
    assert!(pixels.contains(&0xff00_ff00) && !pixels.contains(&RED));
}

#[test]
fn frame_callbacks_arrive_at_the_refresh_rate() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    let buffers = [client.colour(8, 8, RED), client.colour(8, 8, 0xff00_ff00)];
    let start = std::time::Instant::now();
    for round in 0..20 {
        window.show(&client, &buffers[round % 2]);
        fixture.until(&mut client, "a frame callback", |_, client| {
            client.events.frames.len() > round
        });
    }
    // 20 frames at 200 Hz take 100 ms. Without pacing, the callbacks would take almost no time.
    assert!(
        start.elapsed() >= Duration::from_millis(80),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn frame_callback_without_damage_arrives() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    window.show(&client, &client.colour(8, 8, RED));
    fixture.until(&mut client, "a callback", |_, client| {
        !client.events.frames.is_empty()
    });
    let count = client.events.frames.len();
    window
        .surface
        .frame(&client.handle(), crate::fixture::Marker::Frame);
    window.surface.commit();
    fixture.until(&mut client, "a callback", |_, client| {
        client.events.frames.len() > count
    });
}

#[test]
fn presentation_feedback_of_a_virtual_output_has_no_hardware_flags() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    let presentation: WpPresentation = client.bind(2);
    fixture.round_trip(&mut client);
    assert_eq!(client.events.clock, Some(1), "CLOCK_MONOTONIC");
    let now = || {
        let now = covalent_compositor::clock::now();
        covalent_compositor::clock::nanoseconds(now)
    };
    let before = now();
    presentation.feedback(&window.surface, &client.handle(), ());
    window.show(&client, &client.colour(8, 8, RED));
    fixture.until(&mut client, "a presented event", |_, client| {
        !client.events.presented.is_empty()
    });
    let (time, flags) = client.events.presented[0];
    assert!(time >= before && time <= now());
    assert_eq!(
        flags,
        Kind::empty(),
        "a virtual output has no vblank and no hardware clock"
    );
}

#[test]
fn presentation_feedback_of_a_superseded_commit_is_discarded() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    let presentation: WpPresentation = client.bind(2);
    fixture.round_trip(&mut client);
    for _ in 0..2 {
        presentation.feedback(&window.surface, &client.handle(), ());
        window.show(&client, &client.colour(8, 8, RED));
    }
    fixture.until(&mut client, "a presented event", |_, client| {
        !client.events.presented.is_empty()
    });
    assert_eq!(
        (client.events.presented.len(), client.events.discarded),
        (1, 1)
    );
}

#[test]
fn report_of_a_composited_frame_has_the_copied_bytes_and_the_reason() {
    let mut fixture = Fixture::new(64, 48);
    let path = std::env::temp_dir().join(format!("covalent-report-{}", std::process::id()));
    fixture
        .state
        .outputs
        .set_report(Report::create(&path).unwrap());
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    let buffers = [client.colour(16, 8, RED), client.colour(16, 8, 0xff00_ff00)];
    for round in 0..6 {
        window.show(&client, &buffers[round % 2]);
        fixture.displayed_pixels(&mut client);
    }
    fixture.state.finish();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut records: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|record: &serde_json::Value| !record["surface"].is_null())
        .collect();
    records.sort_by_key(|record| record["frame"].as_u64());
    assert_eq!(records.len(), 6);
    for record in &records[2..] {
        assert_eq!(record["cpu_copied_bytes"], 16 * 8 * 4, "{record}");
        assert_eq!(record["path"], "composited");
        assert_eq!(record["fourcc"], "XR24");
        assert_eq!(record["client_pid"], std::process::id());
        let why = record["why_not_direct"].as_str().unwrap();
        assert!(why.contains("not fullscreen"), "{why}");
    }
    for record in &records[..5] {
        let time = |name: &str| record[name].as_u64().unwrap();
        assert!(time("acquired_ns") <= time("flipped_ns"));
        assert!(time("flipped_ns") <= time("released_ns"));
    }
    assert!(
        records[5]["released_ns"].is_null(),
        "the last buffer is still shown"
    );
}
