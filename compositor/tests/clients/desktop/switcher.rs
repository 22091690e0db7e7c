//! Focus by click, and the window switcher.

use smithay::backend::input::ButtonState;

use super::{ACTIVATED, ALT, App, LEFT_BUTTON, SHIFT, SUPER, TAB};
use crate::fixture::Fixture;

/// The key that minimises the window.
const DOWN: u32 = 116;

fn three(fixture: &mut Fixture) -> [App; 3] {
    ["first", "second", "third"].map(|title| App::new(fixture, title, (100, 80)))
}

/// Returns the titles of the windows that have keyboard focus or are activated.
#[track_caller]
fn focused(fixture: &mut Fixture, apps: &mut [App]) -> Vec<&'static str> {
    for app in &mut *apps {
        app.sync(fixture);
        assert_eq!(
            app.focus().is_some(),
            app.has_state(ACTIVATED),
            "{}",
            app.title
        );
    }
    let with_focus = apps.iter().filter(|app| app.focus().is_some());
    with_focus.map(|app| app.title).collect()
}

#[test]
fn click_raises_and_focuses_the_window_under_the_pointer() {
    let mut fixture = Fixture::desktop();
    let mut apps = ["first", "second"].map(|title| App::new(&mut fixture, title, (200, 160)));
    assert_eq!(focused(&mut fixture, &mut apps), ["second"]);
    // The first window is in the middle, and the second one covers a part of it.
    fixture.click(250, 190);
    assert_eq!(focused(&mut fixture, &mut apps), ["first"]);
    let top = fixture.state.stack.top().unwrap().title_and_app_id().0;
    assert_eq!(top.as_deref(), Some("first"));
    // A click on the background changes nothing.
    fixture.click(310, 10);
    assert_eq!(focused(&mut fixture, &mut apps), ["first"]);
}

#[test]
fn press_without_a_motion_is_sent_to_the_window_under_the_pointer() {
    let mut fixture = Fixture::desktop();
    let mut apps = ["first", "second"].map(|title| App::new(&mut fixture, title, (200, 160)));
    // This point is in both windows.
    fixture.click(100, 100);
    assert_eq!(focused(&mut fixture, &mut apps), ["second"]);
    fixture.chord(&[ALT, TAB]);
    assert_eq!(focused(&mut fixture, &mut apps), ["first"]);
    fixture.button(LEFT_BUTTON, ButtonState::Pressed);
    fixture.button(LEFT_BUTTON, ButtonState::Released);
    assert_eq!(focused(&mut fixture, &mut apps), ["first"]);
    let buttons = [0, 1].map(|index: usize| apps[index].count(apps[index].pointer, 3));
    assert_eq!(buttons, [2, 2]);
}

#[test]
fn switcher_selects_windows_in_the_order_in_which_they_were_used() {
    let mut fixture = Fixture::desktop();
    let mut apps = three(&mut fixture);
    assert_eq!(focused(&mut fixture, &mut apps), ["third"]);
    for expected in ["second", "third", "second"] {
        fixture.chord(&[ALT, TAB]);
        assert_eq!(focused(&mut fixture, &mut apps), [expected]);
    }
    fixture.press(ALT);
    for expected in ["third", "first", "second", "third"] {
        fixture.chord(&[TAB]);
        assert_eq!(focused(&mut fixture, &mut apps), [expected]);
    }
    fixture.press(SHIFT);
    for expected in ["second", "first"] {
        fixture.chord(&[TAB]);
        assert_eq!(focused(&mut fixture, &mut apps), [expected]);
    }
    fixture.release(SHIFT);
    fixture.release(ALT);
    // The window before the switch is the next one, although others were passed.
    fixture.chord(&[ALT, TAB]);
    assert_eq!(focused(&mut fixture, &mut apps), ["second"]);
}

#[test]
fn keys_of_the_switcher_are_not_sent_to_clients() {
    let mut fixture = Fixture::desktop();
    let mut apps = three(&mut fixture);
    fixture.chord(&[ALT, TAB]);
    fixture.chord(&[TAB]);
    for app in &mut apps {
        app.sync(&mut fixture);
    }
    // wl_keyboard numbers keys without the offset of xkb.
    let keys = |app: &App| -> Vec<(u32, u32)> {
        let events = app.wire.events_of(app.keyboard, 3).into_iter();
        events
            .map(|event| (event.word(2) + 8, event.word(3)))
            .collect()
    };
    assert_eq!(keys(&apps[2]), [(ALT, 1)]);
    assert_eq!(keys(&apps[1]), [(ALT, 0), (TAB, 1), (TAB, 0)]);
    assert_eq!(keys(&apps[0]), []);
}

#[test]
fn minimised_window_gets_no_input_until_the_switcher_restores_it() {
    let mut fixture = Fixture::desktop();
    let mut apps = ["first", "second"].map(|title| App::new(&mut fixture, title, (100, 80)));
    let place = apps[1].rect(&fixture);
    fixture.chord(&[SUPER, DOWN]);
    assert_eq!(focused(&mut fixture, &mut apps), ["first"]);
    let before = apps[1].count(apps[1].pointer, 0);
    fixture.click(place.x + 5, place.y + 5);
    assert_eq!(focused(&mut fixture, &mut apps), ["first"]);
    assert_eq!(apps[1].count(apps[1].pointer, 0), before);
    let (shown, count) = fixture.white(&mut apps[0]);
    assert_eq!((shown, count), (apps[0].rect(&fixture), 8000));
    fixture.chord(&[ALT, TAB]);
    assert_eq!(focused(&mut fixture, &mut apps), ["second"]);
    assert_eq!(apps[1].rect(&fixture), place);
    // The last window is minimised as well, and selected by the first step.
    fixture.chord(&[SUPER, DOWN]);
    fixture.chord(&[SUPER, DOWN]);
    assert!(focused(&mut fixture, &mut apps).is_empty());
    fixture.chord(&[ALT, TAB]);
    assert_eq!(focused(&mut fixture, &mut apps).len(), 1);
}

#[test]
fn window_that_ends_while_it_is_selected_leaves_the_switcher() {
    let mut fixture = Fixture::desktop();
    let [mut first, second, third] = three(&mut fixture);
    fixture.press(ALT);
    fixture.chord(&[TAB]);
    drop(second);
    first.sync(&mut fixture);
    drop(third);
    for _ in 0..3 {
        first.sync(&mut fixture);
    }
    fixture.chord(&[TAB]);
    fixture.release(ALT);
    first.sync(&mut fixture);
    assert_eq!(first.focus(), Some(first.surface));
}
