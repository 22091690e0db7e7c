//! Clients that violate the protocol do not affect others.

use crate::fixture::Fixture;

const RED: u32 = 0xffff_0000;
const GREEN: u32 = 0xff00_ff00;

#[test]
fn client_with_a_truncated_pool_is_disconnected_alone() {
    let mut fixture = Fixture::new(64, 48);
    let mut good = fixture.client();
    let mut bad = fixture.client();
    let below = good.window();
    fixture.round_trip(&mut good);
    below.show(&good, &good.colour(32, 32, RED));
    fixture.picture(&mut good);
    let above = bad.window();
    fixture.round_trip(&mut bad);
    let bytes = vec![0xff; 64 * 48 * 4];
    let format = wayland_client::protocol::wl_shm::Format::Xrgb8888;
    let (buffer, file) = bad.shm(64, 48, 256, format, &bytes);
    fixture.round_trip(&mut bad);
    rustix::fs::ftruncate(&file, 0).unwrap();
    above.show(&bad, &buffer);
    fixture.until(&mut bad, "the end of the client", |_, bad| {
        bad.events.closed
    });
    assert_eq!(bad.error().unwrap().0, "wl_buffer");
    let picture = fixture.picture(&mut good);
    assert_eq!(
        picture.iter().filter(|colour| **colour == RED).count(),
        32 * 32
    );
    below.show(&good, &good.colour(32, 32, GREEN));
    let picture = fixture.picture(&mut good);
    assert!(picture.contains(&GREEN));
}

#[test]
fn buffer_attached_before_the_first_configure_posts_an_error() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let window = client.window();
    window.show(&client, &client.colour(8, 8, RED));
    fixture.until(&mut client, "the end of the client", |_, client| {
        client.events.closed
    });
    assert_eq!(client.error().unwrap().0, "xdg_surface");
}
