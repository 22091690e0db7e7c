//! Tests the position, size and stacking order of windows.

use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_subcompositor::WlSubcompositor;
use wayland_protocols::wp::viewporter::client::wp_viewporter::WpViewporter;
use wayland_protocols::xdg::shell::client::xdg_positioner::{Anchor, Gravity};
use wayland_protocols::xdg::shell::client::xdg_toplevel;
use wayland_protocols::xdg::shell::client::xdg_wm_base::XdgWmBase;

use crate::fixture::Fixture;

const WIDTH: usize = 64;
const RED: u32 = 0xffff_0000;
const GREEN: u32 = 0xff00_ff00;
const BLUE: u32 = 0xff00_00ff;
const BACKGROUND: u32 = 0xff30_3840;
const BLACK: u32 = 0xff00_0000;

fn at(pixels: &[u32], x: usize, y: usize) -> u32 {
    pixels[y * WIDTH + x]
}

#[test]
fn window_with_a_buffer_is_centred() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    window.show(&client, &client.colour(16, 8, RED));
    let pixels = fixture.displayed_pixels(&mut client);
    assert_eq!(at(&pixels, 24, 20), RED);
    assert_eq!(at(&pixels, 39, 27), RED);
    assert_eq!(at(&pixels, 23, 20), BACKGROUND);
    assert_eq!(at(&pixels, 40, 27), BACKGROUND);
    assert_eq!(
        pixels.iter().filter(|colour| **colour == RED).count(),
        16 * 8
    );
}

#[test]
fn second_window_is_above_the_first_until_it_is_destroyed() {
    let mut fixture = Fixture::new(64, 48);
    fixture.state.set_kiosk();
    let mut first = fixture.client();
    let mut second = fixture.client();
    let below = first.window();
    fixture.round_trip(&mut first);
    below.show(&first, &first.colour(16, 8, RED));
    fixture.round_trip(&mut first);
    let above = second.window();
    fixture.round_trip(&mut second);
    above.show(&second, &second.colour(8, 8, GREEN));
    let pixels = fixture.displayed_pixels(&mut second);
    assert_eq!(at(&pixels, 32, 24), GREEN);
    assert_eq!(at(&pixels, 25, 24), RED);
    drop(above);
    drop(second);
    let pixels = fixture.displayed_pixels(&mut first);
    assert_eq!(at(&pixels, 32, 24), RED);
}

#[test]
fn fullscreen_window_is_configured_with_the_size_of_the_output() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    window.toplevel.set_fullscreen(None);
    fixture.round_trip(&mut client);
    let (width, height, states) = client.events.configured.last().unwrap().clone();
    assert_eq!((width, height), (64, 48));
    assert!(states.contains(&xdg_toplevel::State::Fullscreen));
    assert!(states.contains(&xdg_toplevel::State::Activated));
    window.toplevel.unset_fullscreen();
    fixture.round_trip(&mut client);
    let (width, height, states) = client.events.configured.last().unwrap().clone();
    assert_eq!((width, height), (0, 0));
    assert!(!states.contains(&xdg_toplevel::State::Fullscreen));
}

#[test]
fn fullscreen_window_smaller_than_the_output_is_surrounded_by_black() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    window.toplevel.set_fullscreen(None);
    fixture.round_trip(&mut client);
    window.show(&client, &client.colour(32, 48, RED));
    let pixels = fixture.displayed_pixels(&mut client);
    assert_eq!(
        [
            at(&pixels, 15, 0),
            at(&pixels, 16, 0),
            at(&pixels, 47, 47),
            at(&pixels, 48, 47)
        ],
        [BLACK, RED, RED, BLACK]
    );
}

#[test]
fn window_with_a_viewport_is_cropped_and_scaled() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    let bytes: Vec<u8> = [RED, GREEN, RED, GREEN]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    let format = wayland_client::protocol::wl_shm::Format::Xrgb8888;
    let (buffer, _file) = client.shm(2, 2, 8, format, &bytes);
    let viewport =
        client
            .bind::<WpViewporter>(1)
            .get_viewport(&window.surface, &client.handle(), ());
    viewport.set_source(1.0, 0.0, 1.0, 2.0);
    viewport.set_destination(32, 32);
    window.show(&client, &buffer);
    let pixels = fixture.displayed_pixels(&mut client);
    // The right half of the buffer is green. Pixels at the edge between the halves are interpolated.
    assert_eq!(at(&pixels, 47, 24), GREEN);
    assert_eq!(at(&pixels, 48, 24), BACKGROUND);
    assert_eq!(at(&pixels, 32, 8), GREEN);
}

#[test]
fn subsurface_is_shown_at_its_position_when_the_parent_commits() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    let child = client
        .bind::<WlCompositor>(6)
        .create_surface(&client.handle(), ());
    let role = client.bind::<WlSubcompositor>(1).get_subsurface(
        &child,
        &window.surface,
        &client.handle(),
        (),
    );
    role.set_position(4, 4);
    child.attach(Some(&client.colour(4, 4, BLUE)), 0, 0);
    child.damage_buffer(0, 0, 4, 4);
    child.commit();
    fixture.round_trip(&mut client);
    window.show(&client, &client.colour(16, 16, RED));
    let pixels = fixture.displayed_pixels(&mut client);
    assert_eq!(at(&pixels, 24 + 4, 16 + 4), BLUE);
    assert_eq!(at(&pixels, 24 + 8, 16 + 8), RED);
    // The subsurface is synchronised, so its commit is cached until the parent commits.
    child.attach(Some(&client.colour(4, 4, GREEN)), 0, 0);
    child.damage_buffer(0, 0, 4, 4);
    child.commit();
    let pixels = fixture.displayed_pixels(&mut client);
    assert_eq!(at(&pixels, 24 + 4, 16 + 4), BLUE);
    window.surface.commit();
    let pixels = fixture.displayed_pixels(&mut client);
    assert_eq!(at(&pixels, 24 + 4, 16 + 4), GREEN);
}

#[test]
fn popup_is_configured_and_shown_at_its_anchor() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    window.show(&client, &client.colour(16, 16, RED));
    fixture.round_trip(&mut client);
    let shell: XdgWmBase = client.bind(6);
    let positioner = shell.create_positioner(&client.handle(), ());
    positioner.set_size(8, 8);
    positioner.set_anchor_rect(0, 0, 16, 16);
    positioner.set_anchor(Anchor::BottomRight);
    positioner.set_gravity(Gravity::BottomRight);
    let surface = client
        .bind::<WlCompositor>(6)
        .create_surface(&client.handle(), ());
    let role = shell.get_xdg_surface(&surface, &client.handle(), ());
    let _popup = role.get_popup(Some(&window.shell), &positioner, &client.handle(), ());
    surface.commit();
    fixture.round_trip(&mut client);
    assert_eq!(client.events.popups, [(16, 16, 8, 8)]);
    surface.attach(Some(&client.colour(8, 8, BLUE)), 0, 0);
    surface.damage_buffer(0, 0, 8, 8);
    surface.commit();
    let pixels = fixture.displayed_pixels(&mut client);
    assert_eq!(at(&pixels, 24 + 16, 16 + 16), BLUE);
    assert_eq!(at(&pixels, 24 + 15, 16 + 15), RED);
}

#[test]
fn window_with_a_null_buffer_is_not_shown() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    window.show(&client, &client.colour(16, 8, RED));
    fixture.displayed_pixels(&mut client);
    window.surface.attach(None, 0, 0);
    window.surface.commit();
    let pixels = fixture.displayed_pixels(&mut client);
    assert!(pixels.iter().all(|colour| *colour != RED));
}
