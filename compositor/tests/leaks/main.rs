//! Tests that file descriptors are closed. All checks are in one test, because descriptors are counted for the whole process.
#![allow(clippy::unwrap_used, unreachable_pub)] // a failed unwrap fails the test, and the modules are private

use std::os::fd::AsFd;

use wayland_protocols::wp::linux_dmabuf::zv1::client::zwp_linux_buffer_params_v1::Flags;
use wayland_protocols::wp::linux_dmabuf::zv1::client::zwp_linux_dmabuf_v1::ZwpLinuxDmabufV1;

use crate::fixture::{Fixture, memfd};

#[allow(dead_code)] // the other test programs use the rest
#[path = "../clients/fixture/mod.rs"]
mod fixture;

const RED: u32 = 0xffff_0000;
const NV12: u32 = u32::from_le_bytes(*b"NV12");

#[test]
fn disconnected_clients_and_rejected_params_leave_no_file_descriptor_open() {
    let mut fixture = Fixture::new(64, 48);
    let mut other_client = fixture.client();
    let baseline = descriptors();
    for _ in 0..5 {
        let mut client = fixture.client();
        let window = client.window();
        fixture.round_trip(&mut client);
        window.show(&client, &client.colour(32, 32, RED));
        fixture.displayed_pixels(&mut client);
        let dmabuf: ZwpLinuxDmabufV1 = client.bind(5);
        for round in 0..20 {
            let memory = memfd(&[0; 4096]);
            let params = dmabuf.create_params(&client.handle(), ());
            params.add(memory.as_fd(), 0, 0, 64, 0, 0);
            params.add(memory.as_fd(), 1, 0, 64, 0, 0);
            if round % 2 == 0 {
                params.create(64, 48, NV12, Flags::empty());
            }
        }
        fixture.round_trip(&mut client);
        assert_eq!(client.events.failed, 10);
        drop((window, client));
        let pixels = fixture.displayed_pixels(&mut other_client);
        assert!(!pixels.contains(&RED));
    }
    // Smithay unmaps and closes `wl_shm` pools in another thread.
    fixture.until(
        &mut other_client,
        "the closing of all descriptors",
        |_, _| descriptors() == baseline,
    );
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
