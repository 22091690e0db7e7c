//! Tests that a client that violates the protocol does not affect others.

use crate::fixture::Fixture;

const RED: u32 = 0xffff_0000;
const GREEN: u32 = 0xff00_ff00;

#[test]
fn client_with_a_truncated_pool_is_disconnected_alone() {
    let mut fixture = Fixture::new(64, 48);
    let mut well_behaved = fixture.client();
    let mut misbehaving = fixture.client();
    let below = well_behaved.window();
    fixture.round_trip(&mut well_behaved);
    below.show(&well_behaved, &well_behaved.colour(32, 32, RED));
    fixture.displayed_pixels(&mut well_behaved);
    let above = misbehaving.window();
    fixture.round_trip(&mut misbehaving);
    let bytes = vec![0xff; 64 * 48 * 4];
    let format = wayland_client::protocol::wl_shm::Format::Xrgb8888;
    let (buffer, file) = misbehaving.shm(64, 48, 256, format, &bytes);
    fixture.round_trip(&mut misbehaving);
    rustix::fs::ftruncate(&file, 0).unwrap();
    above.show(&misbehaving, &buffer);
    fixture.until(
        &mut misbehaving,
        "the disconnection of the client",
        |_, misbehaving| misbehaving.events.closed,
    );
    assert_eq!(misbehaving.error().unwrap().0, "wl_buffer");
    let pixels = fixture.displayed_pixels(&mut well_behaved);
    assert_eq!(
        pixels.iter().filter(|colour| **colour == RED).count(),
        32 * 32
    );
    below.show(&well_behaved, &well_behaved.colour(32, 32, GREEN));
    let pixels = fixture.displayed_pixels(&mut well_behaved);
    assert!(pixels.contains(&GREEN));
}

#[test]
fn buffer_attached_before_the_first_configure_posts_an_error() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    window.show(&client, &client.colour(8, 8, RED));
    fixture.until(
        &mut client,
        "the disconnection of the client",
        |_, client| client.events.closed,
    );
    assert_eq!(client.error().unwrap().0, "xdg_surface");
}
