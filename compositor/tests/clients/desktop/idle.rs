//! Notifications of an inactive user, and inhibitors of them.

use std::time::{Duration, Instant};

use super::{ALT, App, SUPER, TAB};
use crate::fixture::Fixture;
use crate::fixture::wire::Arg;

const DOWN: u32 = 116;
/// The opcodes of the requests for a notification.
const NOTIFICATION: u32 = 1;
const INPUT_NOTIFICATION: u32 = 2;
/// The opcodes of the events.
const IDLED: u32 = 0;
const RESUMED: u32 = 1;

impl App {
    /// Requests a notification after that time.
    fn notify_after(&mut self, request: u32, milliseconds: u32) -> u32 {
        let notifier = self.wire.bind("ext_idle_notifier_v1");
        let arguments = [milliseconds, self.seat].map(Arg::Word);
        self.wire.make(notifier, request, &arguments)
    }

    /// Steps for that time.
    fn wait(&mut self, fixture: &mut Fixture, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            fixture.step_wire(&mut self.wire);
        }
        self.sync(fixture);
    }

    fn idled_and_resumed(&self, notification: u32) -> (usize, usize) {
        (
            self.count(notification, IDLED),
            self.count(notification, RESUMED),
        )
    }
}

#[test]
fn notification_is_idle_after_its_timeout_until_the_user_is_active() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let short = app.notify_after(NOTIFICATION, 0);
    let long = app.notify_after(NOTIFICATION, 60_000);
    app.sync(&mut fixture);
    app.wait(&mut fixture, Duration::from_millis(250));
    assert_eq!(app.idled_and_resumed(short), (1, 0));
    fixture.state.user_is_active();
    fixture.state.user_is_active();
    app.sync(&mut fixture);
    assert_eq!(app.idled_and_resumed(short).1, 1);
    app.wait(&mut fixture, Duration::from_millis(250));
    assert_eq!(app.idled_and_resumed(short), (2, 1));
    assert_eq!(app.idled_and_resumed(long), (0, 0));
    // Nothing is due any more when all notifications are idle.
    assert!(fixture.state.idle.has_timer());
    app.wire.send(long, 0, &[]);
    app.notify_after(INPUT_NOTIFICATION, 1);
    app.wait(&mut fixture, Duration::from_millis(250));
    assert!(!fixture.state.idle.has_timer());
    assert_eq!(fixture.state.idle.counts().0, 2);
    drop(app);
    for _ in 0..50 {
        fixture.round();
    }
    assert_eq!(fixture.state.idle.counts(), (0, 0));
}

#[test]
fn inhibitor_counts_only_while_its_surface_is_shown() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let manager = app.wire.bind("zwp_idle_inhibit_manager_v1");
    let unmapped = app.wire.make(app.compositor, 0, &[]);
    app.wire.make(manager, 1, &[unmapped.into()]);
    fixture.displayed_frame(&mut app.wire);
    assert!(!fixture.state.idle.is_inhibited());
    let inhibitor = app.wire.make(manager, 1, &[app.surface.into()]);
    app.sync(&mut fixture);
    assert!(fixture.state.idle.is_inhibited());
    let notification = app.notify_after(NOTIFICATION, 100);
    let of_input = app.notify_after(INPUT_NOTIFICATION, 100);
    app.wait(&mut fixture, Duration::from_millis(250));
    assert_eq!(app.idled_and_resumed(notification), (0, 0));
    assert_eq!(app.idled_and_resumed(of_input), (1, 0));
    assert!(!fixture.state.idle.has_timer());
    fixture.chord(&[SUPER, DOWN]);
    fixture.displayed_frame(&mut app.wire);
    assert!(!fixture.state.idle.is_inhibited());
    app.wait(&mut fixture, Duration::from_millis(250));
    assert_eq!(app.idled_and_resumed(notification), (1, 0));
    fixture.chord(&[ALT, TAB]);
    fixture.displayed_frame(&mut app.wire);
    app.sync(&mut fixture);
    assert!(fixture.state.idle.is_inhibited());
    assert_eq!(app.idled_and_resumed(notification), (1, 1));
    app.wire.send(inhibitor, 0, &[]);
    app.sync(&mut fixture);
    assert!(!fixture.state.idle.is_inhibited());
    assert_eq!(app.idled_and_resumed(of_input), (1, 0));
}

#[test]
fn inhibitor_of_a_hidden_window_does_not_count() {
    let mut fixture = Fixture::desktop();
    let mut below = App::new(&mut fixture, "below", (50, 40));
    let manager = below.wire.bind("zwp_idle_inhibit_manager_v1");
    below.wire.make(manager, 1, &[below.surface.into()]);
    fixture.displayed_frame(&mut below.wire);
    below.sync(&mut fixture);
    assert!(fixture.state.idle.is_inhibited());
    let mut above = App::new(&mut fixture, "above", (320, 240));
    above.wire.send(above.toplevel, 11, &[0.into()]);
    above.sync(&mut fixture);
    above.show(&mut fixture, (320, 240));
    fixture.displayed_frame(&mut above.wire);
    above.sync(&mut fixture);
    assert!(!fixture.state.idle.is_inhibited());
}
