//! Tests `wp_color_representation_v1`: the advertised values, the protocol errors, and the colours of a frame.

use wayland_client::WEnum;
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_shm;
use wayland_protocols::wp::color_representation::v1::client::{
    wp_color_representation_manager_v1::{
        Error as ManagerError, Event as ManagerEvent, WpColorRepresentationManagerV1,
    },
    wp_color_representation_surface_v1::{
        AlphaMode, ChromaLocation, Coefficients, Error, Range, WpColorRepresentationSurfaceV1,
    },
};

use crate::fixture::{Client, Fixture, ReceivedEvents, Window};

const SURFACE: &str = "wp_color_representation_surface_v1";

/// A translucent colour with straight alpha, which is not valid with premultiplied alpha.
const STRAIGHT: u32 = 0x80ff_8000;

fn translucent(client: &Client) -> WlBuffer {
    let bytes: Vec<u8> = std::iter::repeat_n(STRAIGHT.to_le_bytes(), 8 * 8)
        .flatten()
        .collect();
    client.shm(8, 8, 32, wl_shm::Format::Argb8888, &bytes).0
}

/// Starts a compositor and a window whose surface has a color representation object.
fn start() -> (Fixture, Client, Window, WpColorRepresentationSurfaceV1) {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    let manager: WpColorRepresentationManagerV1 = client.bind(1);
    let extension = manager.get_surface(&window.surface, &client.handle(), ());
    (fixture, client, window, extension)
}

/// Checks that the client is disconnected with this protocol error.
#[track_caller]
fn assert_error(fixture: &mut Fixture, client: &mut Client, interface: &str, code: u32) {
    fixture.round_trip(client);
    assert_eq!(client.error(), Some((interface.to_owned(), code)));
}

#[test]
fn manager_lists_what_it_supports_and_then_done() {
    let (mut fixture, mut client, _window, _extension) = start();
    fixture.round_trip(&mut client);
    let listed = &client.events.colours;
    let [rest @ .., ManagerEvent::Done] = listed.as_slice() else {
        panic!("{listed:?}");
    };
    let mut alpha = Vec::new();
    let mut encodings = Vec::new();
    for event in rest {
        match event {
            ManagerEvent::SupportedAlphaMode {
                alpha_mode: WEnum::Value(mode),
            } => alpha.push(*mode),
            ManagerEvent::SupportedCoefficientsAndRanges {
                coefficients: WEnum::Value(coefficients),
                range: WEnum::Value(range),
            } => encodings.push((*coefficients, *range)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        alpha,
        [AlphaMode::PremultipliedElectrical, AlphaMode::Straight]
    );
    let mut expected = vec![(Coefficients::Identity, Range::Full)];
    for coefficients in [
        Coefficients::Bt601,
        Coefficients::Bt709,
        Coefficients::Bt2020,
    ] {
        expected.extend([Range::Full, Range::Limited].map(|range| (coefficients, range)));
    }
    assert_eq!(encodings, expected);
}

#[test]
fn second_object_of_a_surface_is_an_error_unless_the_first_was_destroyed() {
    let (mut fixture, mut client, window, extension) = start();
    extension.destroy();
    let manager: WpColorRepresentationManagerV1 = client.bind(1);
    manager.get_surface(&window.surface, &client.handle(), ());
    fixture.round_trip(&mut client);
    assert_eq!(client.error(), None);
    manager.get_surface(&window.surface, &client.handle(), ());
    assert_error(
        &mut fixture,
        &mut client,
        "wp_color_representation_manager_v1",
        ManagerError::SurfaceExists as u32,
    );
}

#[test]
fn values_that_were_not_advertised_are_errors() {
    type Request = fn(&WpColorRepresentationSurfaceV1);
    let cases: [(Request, Error); 4] = [
        (
            |object| object.set_alpha_mode(AlphaMode::PremultipliedOptical),
            Error::AlphaMode,
        ),
        (
            |object| object.set_coefficients_and_range(Coefficients::Ictcp, Range::Full),
            Error::Coefficients,
        ),
        (
            |object| object.set_coefficients_and_range(Coefficients::Identity, Range::Limited),
            Error::Coefficients,
        ),
        (
            |object| object.set_coefficients_and_range(Coefficients::Fcc, Range::Limited),
            Error::Coefficients,
        ),
    ];
    for (request, error) in cases {
        let (mut fixture, mut client, _window, extension) = start();
        request(&extension);
        assert_error(&mut fixture, &mut client, SURFACE, error as u32);
    }
}

#[test]
fn colours_that_the_buffer_does_not_have_are_an_error_of_the_commit() {
    type Request = fn(&WpColorRepresentationSurfaceV1);
    let cases: [Request; 2] = [
        |object| object.set_coefficients_and_range(Coefficients::Bt709, Range::Limited),
        |object| object.set_chroma_location(ChromaLocation::Type0),
    ];
    for request in cases {
        let (mut fixture, mut client, window, extension) = start();
        request(&extension);
        window.surface.commit();
        fixture.round_trip(&mut client);
        assert_eq!(
            client.error(),
            None,
            "without a buffer there is no format to check"
        );
        window.show(&client, &client.colour(8, 8, 0xffff_ffff));
        assert_error(
            &mut fixture,
            &mut client,
            SURFACE,
            Error::PixelFormat as u32,
        );
    }
    // The content of an earlier commit is checked too.
    let (mut fixture, mut client, window, extension) = start();
    window.show(&client, &client.colour(8, 8, 0xffff_ffff));
    extension.set_coefficients_and_range(Coefficients::Bt601, Range::Full);
    fixture.round_trip(&mut client);
    assert_eq!(
        client.error(),
        None,
        "the color representation is pending until the next commit"
    );
    window.surface.commit();
    assert_error(
        &mut fixture,
        &mut client,
        SURFACE,
        Error::PixelFormat as u32,
    );
}

#[test]
fn object_of_a_destroyed_surface_is_inert() {
    let (mut fixture, mut client, _window, _extension) = start();
    let surface = client
        .bind::<WlCompositor>(6)
        .create_surface(&client.handle(), ());
    let manager: WpColorRepresentationManagerV1 = client.bind(1);
    let [one, other] = [0, 1].map(|_| {
        let surface = client
            .bind::<WlCompositor>(6)
            .create_surface(&client.handle(), ());
        let extension = manager.get_surface(&surface, &client.handle(), ());
        surface.destroy();
        extension
    });
    surface.destroy();
    one.destroy();
    fixture.round_trip(&mut client);
    assert_eq!(client.error(), None);
    other.set_alpha_mode(AlphaMode::Straight);
    assert_error(&mut fixture, &mut client, SURFACE, Error::Inert as u32);
}

/// Returns whether the frame contains a colour. Each channel may differ by one.
fn has(pixels: &[u32], colour: u32) -> bool {
    pixels.iter().any(|pixel| {
        [16, 8, 0].into_iter().all(|shift| {
            let (found, expected) = (pixel >> shift & 0xff, colour >> shift & 0xff);
            found.abs_diff(expected) <= 1
        })
    })
}

#[test]
fn straight_alpha_is_shown_from_the_next_commit_until_the_object_is_destroyed() {
    let (mut fixture, mut client, window, extension) = start();
    window.show(&client, &translucent(&client));
    let background = fixture.displayed_pixels(&mut client)[0];
    let below = |shift: u32| (background >> shift & 0xff) * 127 / 255;
    let premultiplied = 0xff << 16 | (0x80 + below(8)) << 8 | below(0);
    let straight = (0x80 + below(16)) << 16 | (0x40 + below(8)) << 8 | below(0);
    extension.set_alpha_mode(AlphaMode::Straight);
    let pixels = fixture.displayed_pixels(&mut client);
    assert!(has(&pixels, premultiplied) && !has(&pixels, straight));
    window.surface.commit();
    let pixels = fixture.displayed_pixels(&mut client);
    assert!(has(&pixels, straight), "{straight:#x} is not in the frame");
    assert!(!has(&pixels, premultiplied));
    extension.destroy();
    window.surface.commit();
    let pixels = fixture.displayed_pixels(&mut client);
    assert!(has(&pixels, premultiplied) && !has(&pixels, straight));
}

impl wayland_client::Dispatch<WpColorRepresentationManagerV1, ()> for ReceivedEvents {
    fn event(
        events: &mut Self,
        _manager: &WpColorRepresentationManagerV1,
        event: ManagerEvent,
        _data: &(),
        _connection: &wayland_client::Connection,
        _handle: &wayland_client::QueueHandle<Self>,
    ) {
        events.colours.push(event);
    }
}

wayland_client::delegate_noop!(ReceivedEvents: WpColorRepresentationSurfaceV1);
