//! Tests that the compositor retries after transient failures without another commit of a client.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use covalent_compositor::faults::Faults;
use covalent_compositor::report::Report;
use covalent_compositor::run::exit;
use rustix::io::Errno;
use wayland_protocols::wp::presentation_time::client::wp_presentation::WpPresentation;

use crate::fixture::{Client, Fixture, Marker, Window};

const RED: u32 = 0xffff_0000;
const GREEN: u32 = 0xff00_ff00;

/// The faults to inject, and the counts of the operations so far.
#[derive(Debug, Default)]
struct FaultScript {
    commits: VecDeque<Option<Errno>>,
    every_commit: Option<Errno>,
    lost_flips: u32,
    reads: VecDeque<Option<Errno>>,
    every_read: Option<Errno>,
    pictures: VecDeque<Option<Errno>>,
    commit_times: Vec<Instant>,
    read_count: u32,
}

fn next_fault(queue: &mut VecDeque<Option<Errno>>, always: Option<Errno>) -> io::Result<()> {
    match queue.pop_front().unwrap_or(always) {
        Some(errno) => Err(errno.into()),
        None => Ok(()),
    }
}

impl Faults for FaultScript {
    fn commit(&mut self) -> io::Result<()> {
        self.commit_times.push(Instant::now());
        next_fault(&mut self.commits, self.every_commit)
    }

    fn flip_arrives(&mut self) -> bool {
        let lost = self.lost_flips > 0;
        self.lost_flips = self.lost_flips.saturating_sub(1);
        !lost
    }

    fn read_client_buffer(&mut self) -> io::Result<()> {
        self.read_count += 1;
        next_fault(&mut self.reads, self.every_read)
    }

    fn access_output_buffer(&mut self) -> io::Result<()> {
        next_fault(&mut self.pictures, None)
    }
}

/// Starts a compositor with a red window. The returned script can inject faults.
fn start_with_window() -> (Fixture, Client, Window, Rc<RefCell<FaultScript>>) {
    let script = Rc::new(RefCell::new(FaultScript::default()));
    let mut fixture = Fixture::with_faults(64, 48, script.clone());
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    window.show(&client, &client.colour(8, 8, RED));
    let pixels = fixture.displayed_pixels(&mut client);
    assert!(pixels.contains(&RED));
    script.borrow_mut().commit_times.clear();
    script.borrow_mut().read_count = 0;
    (fixture, client, window, script)
}

#[test]
fn commit_that_fails_once_is_retried_without_another_client_commit() {
    for errno in [
        Errno::BUSY,
        Errno::INTR,
        Errno::NOMEM,
        Errno::AGAIN,
        Errno::ACCESS,
        Errno::INVAL,
    ] {
        let (mut fixture, mut client, window, script) = start_with_window();
        script.borrow_mut().commits.push_back(Some(errno));
        let presentation: WpPresentation = client.bind(2);
        let frames = client.events.frames.len();
        presentation.feedback(&window.surface, &client.handle(), ());
        window.show(&client, &client.colour(8, 8, GREEN));
        let what = format!("a frame after {errno}");
        fixture.until(&mut client, &what, |_, client| {
            client.events.frames.len() > frames && !client.events.presented.is_empty()
        });
        assert_eq!(client.events.discarded, 0, "{errno}");
        assert!(
            fixture.displayed_pixels(&mut client).contains(&GREEN),
            "{errno}"
        );
        assert_eq!(script.borrow().commit_times.len(), 2, "{errno}");
    }
}

#[test]
fn commit_that_fails_repeatedly_is_retried_with_growing_delays() {
    let (mut fixture, mut client, window, script) = start_with_window();
    script.borrow_mut().commits = [Some(Errno::BUSY); 7].into();
    window.show(&client, &client.colour(8, 8, GREEN));
    fixture.until(&mut client, "the eighth commit", |_, _| {
        script.borrow().commit_times.len() == 8
    });
    assert!(fixture.displayed_pixels(&mut client).contains(&GREEN));
    let script = script.borrow();
    let gaps: Vec<Duration> = script
        .commit_times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    for (gap, least) in gaps.iter().zip([2, 4, 8, 16, 32, 64, 128]) {
        assert!(*gap >= Duration::from_millis(least), "{gaps:?}");
    }
}

#[test]
fn commits_of_clients_while_the_card_is_busy_do_not_shorten_the_backoff() {
    let (mut fixture, mut client, window, script) = start_with_window();
    script.borrow_mut().every_commit = Some(Errno::BUSY);
    let until = Instant::now() + Duration::from_millis(300);
    let buffers = [client.colour(8, 8, RED), client.colour(8, 8, GREEN)];
    let mut client_commits = 0;
    while Instant::now() < until {
        window.show(&client, &buffers[client_commits % 2]);
        fixture.round_trip(&mut client);
        client_commits += 1;
    }
    let attempts = script.borrow().commit_times.len();
    assert!(
        (3..=12).contains(&attempts),
        "{attempts} commits of frames during {client_commits} commits of the client"
    );
    // The compositor has released the buffers of the superseded commits.
    assert!(
        client.events.released.len() + 3 >= client_commits,
        "of {client_commits}"
    );
    script.borrow_mut().every_commit = None;
    window.show(&client, &client.colour(8, 8, 0xff00_00ff));
    assert!(fixture.displayed_pixels(&mut client).contains(&0xff00_00ff));
}

#[test]
fn report_of_a_retried_frame_has_the_number_of_retries_and_the_cause() {
    let (mut fixture, mut client, window, script) = start_with_window();
    let path = std::env::temp_dir().join(format!("covalent-retry-{}", std::process::id()));
    let report = Report::create(&path).unwrap();
    fixture.state.outputs.set_report(report);
    script.borrow_mut().commits = [Some(Errno::BUSY); 3].into();
    window.show(&client, &client.colour(8, 8, GREEN));
    fixture.displayed_pixels(&mut client);
    window.show(&client, &client.colour(8, 8, RED));
    fixture.displayed_pixels(&mut client);
    fixture.state.finish();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let records: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 2, "{text}");
    assert_eq!(records[0]["retries"], 3, "{text}");
    let cause = records[0]["retry_cause"].as_str().unwrap();
    assert!(
        cause.contains("HEADLESS-1") && cause.contains("busy"),
        "{cause}"
    );
    assert!(records[1]["retries"].is_null(), "{text}");
}

#[test]
fn first_frame_that_fails_transiently_is_retried() {
    let script = Rc::new(RefCell::new(FaultScript::default()));
    script.borrow_mut().commits = [Some(Errno::BUSY); 4].into();
    let mut fixture = Fixture::with_faults(64, 48, script.clone());
    let mut client = fixture.client();
    fixture.displayed_pixels(&mut client);
    assert!(fixture.state.failure.is_none());
    assert_eq!(script.borrow().commit_times.len(), 5);
}

#[test]
fn first_frame_that_fails_permanently_ends_the_compositor() {
    let script = Rc::new(RefCell::new(FaultScript::default()));
    script.borrow_mut().every_commit = Some(Errno::INVAL);
    let mut fixture = Fixture::with_faults(64, 48, script.clone());
    let mut client = fixture.client();
    fixture.until(&mut client, "the end", |fixture, _| {
        fixture.state.failure.is_some()
    });
    let failure = fixture.state.failure.take().unwrap();
    assert_eq!(failure.code, exit::NO_DISPLAY);
    assert_eq!(script.borrow().commit_times.len(), 1);
}

#[test]
fn page_flip_event_that_never_arrives_is_abandoned_and_frames_continue() {
    let (mut fixture, mut client, window, script) = start_with_window();
    script.borrow_mut().lost_flips = 1;
    let presentation: WpPresentation = client.bind(2);
    presentation.feedback(&window.surface, &client.handle(), ());
    let frames = client.events.frames.len();
    let released = client.events.released.len();
    window.show(&client, &client.colour(8, 8, GREEN));
    fixture.until(
        &mut client,
        "a frame callback and presentation feedback",
        |_, client| {
            client.events.frames.len() > frames
                && client.events.presented.len() + client.events.discarded == 1
        },
    );
    assert!(fixture.displayed_pixels(&mut client).contains(&GREEN));
    fixture.until(&mut client, "the first buffer", |_, client| {
        client.events.released.len() > released
    });
    window.show(&client, &client.colour(8, 8, RED));
    assert!(fixture.displayed_pixels(&mut client).contains(&RED));
}

#[test]
fn buffer_that_cannot_be_read_transiently_is_drawn_later() {
    let (mut fixture, mut client, window, script) = start_with_window();
    let reads = [Some(Errno::NOMEM), Some(Errno::NOMEM), Some(Errno::INTR)];
    script.borrow_mut().reads = [reads, reads, reads].concat().into();
    window.show(&client, &client.colour(8, 8, GREEN));
    let deadline = Instant::now() + Duration::from_secs(5);
    while !fixture.displayed_pixels(&mut client).contains(&GREEN) {
        assert!(Instant::now() < deadline, "the window is not shown");
        fixture.step(&mut client);
    }
    assert!(!client.events.closed);
}

#[test]
fn buffer_that_can_never_be_read_is_tried_a_bounded_number_of_times() {
    let (mut fixture, mut client, window, script) = start_with_window();
    script.borrow_mut().every_read = Some(Errno::NOMEM);
    window.show(&client, &client.colour(8, 8, GREEN));
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        fixture.step(&mut client);
    }
    let attempts = script.borrow().read_count;
    assert!((2..=60).contains(&attempts), "{attempts} attempts");
    script.borrow_mut().every_read = None;
    // The next commit is shown, and its callback arrives.
    let frames = client.events.frames.len();
    window.show(&client, &client.colour(8, 8, 0xff00_00ff));
    assert!(fixture.displayed_pixels(&mut client).contains(&0xff00_00ff));
    fixture.until(&mut client, "a callback", |_, client| {
        client.events.frames.len() > frames
    });
}

#[test]
fn screenshot_that_cannot_be_read_once_is_retried_and_saved() {
    let (mut fixture, mut client, window, script) = start_with_window();
    let path = std::env::temp_dir().join(format!("covalent-shot-{}.png", std::process::id()));
    fixture.screen_mut().set_screenshot(path.clone(), Some(2));
    // The first access draws the frame. The later accesses are made for the screenshot.
    script.borrow_mut().pictures = [None, Some(Errno::NOMEM), Some(Errno::INTR)].into();
    window.show(&client, &client.colour(8, 8, GREEN));
    fixture.displayed_pixels(&mut client);
    let saved = std::fs::read(&path);
    let _ = std::fs::remove_file(&path);
    assert!(saved.unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn output_buffer_that_cannot_be_written_once_is_drawn_again() {
    let (mut fixture, mut client, window, script) = start_with_window();
    script.borrow_mut().pictures = [Some(Errno::NOMEM), Some(Errno::AGAIN)].into();
    window.show(&client, &client.colour(8, 8, GREEN));
    window.surface.frame(&client.handle(), Marker::Frame);
    let frames = client.events.frames.len();
    fixture.until(&mut client, "a callback", |_, client| {
        client.events.frames.len() > frames
    });
    assert!(fixture.displayed_pixels(&mut client).contains(&GREEN));
}
