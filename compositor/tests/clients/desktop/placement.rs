//! The place of a new window.

use covalent_compositor::options::OutputConfig;
use covalent_compositor::region::Rect;

use super::App;
use crate::fixture::Fixture;
use crate::fixture::wire::Arg;

#[test]
fn first_window_is_centred_and_the_next_ones_cover_no_other() {
    let mut fixture = Fixture::desktop();
    let first = App::new(&mut fixture, "first", (100, 80));
    assert_eq!(first.rect(&fixture), Rect::new(110, 80, 100, 80));
    let second = App::new(&mut fixture, "second", (100, 80));
    let third = App::new(&mut fixture, "third", (100, 80));
    assert_eq!(first.rect(&fixture), Rect::new(110, 80, 100, 80));
    assert_eq!(second.rect(&fixture), Rect::new(0, 0, 100, 80));
    assert_eq!(third.rect(&fixture), Rect::new(100, 0, 100, 80));
}

#[test]
fn window_without_room_begins_beside_the_corner_of_the_others() {
    let mut fixture = Fixture::desktop();
    let _first = App::new(&mut fixture, "first", (200, 160));
    let second = App::new(&mut fixture, "second", (200, 160));
    let third = App::new(&mut fixture, "third", (200, 160));
    assert_eq!(second.rect(&fixture), Rect::new(0, 0, 200, 160));
    assert_eq!(third.rect(&fixture), Rect::new(32, 32, 200, 160));
}

#[test]
fn kiosk_centres_every_window() {
    let mut fixture = Fixture::desktop();
    fixture.state.set_kiosk();
    let _first = App::new(&mut fixture, "first", (100, 80));
    let second = App::new(&mut fixture, "second", (100, 80));
    assert_eq!(second.rect(&fixture), Rect::new(110, 80, 100, 80));
}

#[test]
fn window_that_is_mapped_again_is_placed_again() {
    let mut fixture = Fixture::desktop();
    let mut first = App::new(&mut fixture, "first", (100, 80));
    let mut second = App::new(&mut fixture, "second", (100, 80));
    for app in [&mut first, &mut second] {
        app.wire.send(app.surface, 1, &[0, 0, 0].map(Arg::Word));
        app.wire.send(app.surface, 6, &[]);
        app.sync(&mut fixture);
        app.wire.send(app.surface, 6, &[]);
        app.sync(&mut fixture);
    }
    second.show(&mut fixture, (100, 80));
    assert_eq!(second.rect(&fixture), Rect::new(110, 80, 100, 80));
    first.show(&mut fixture, (100, 80));
    assert_eq!(first.rect(&fixture), Rect::new(0, 0, 100, 80));
}

#[test]
fn window_is_alone_on_an_output_without_others() {
    let mut fixture = Fixture::desktop();
    let config = OutputConfig {
        name: "second".to_owned(),
        ..OutputConfig::default()
    };
    fixture.add_output(config, (320, 240));
    let _first = App::new(&mut fixture, "first", (100, 80));
    fixture.point(400, 100);
    let second = App::new(&mut fixture, "second", (100, 80));
    assert_eq!(second.rect(&fixture), Rect::new(430, 80, 100, 80));
}
