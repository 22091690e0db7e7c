//! Tests `linux-dmabuf` version 6: the sampling device of a buffer, and tranches with the sampling flag.

use std::os::fd::AsFd;

use covalent_protocols::linux_dmabuf::client::{
    zwp_linux_buffer_params_v1::{self, Error, Flags, ZwpLinuxBufferParamsV1},
    zwp_linux_dmabuf_feedback_v1::{Event, TrancheFlags, ZwpLinuxDmabufFeedbackV1},
    zwp_linux_dmabuf_v1::ZwpLinuxDmabufV1,
};
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::{
    Connection, Dispatch, QueueHandle, WEnum, delegate_noop, event_created_child,
};

use crate::fixture::{Client, Fixture, ReceivedEvents, memfd};

const XR24: u32 = u32::from_le_bytes(*b"XR24");

fn start(version: u32) -> (Fixture, Client, ZwpLinuxDmabufV1) {
    let mut fixture = Fixture::new(64, 48);
    let client = fixture.client();
    let dmabuf = client.bind(version);
    (fixture, client, dmabuf)
}

/// Creates a params object with one plane, whose file is not a dma-buf.
fn params(client: &Client, dmabuf: &ZwpLinuxDmabufV1) -> ZwpLinuxBufferParamsV1 {
    let params = dmabuf.create_params(&client.handle(), ());
    params.add(memfd(&[0; 16_384]).as_fd(), 0, 0, 256, 0, 0);
    params
}

#[test]
fn feedback_of_version_6_has_sampling_tranches_and_no_main_device() {
    for version in [5, 6] {
        let (mut fixture, mut client, dmabuf) = start(version);
        dmabuf.get_default_feedback(&client.handle(), ());
        fixture.round_trip(&mut client);
        let events = &client.events.dmabuf_feedback;
        let has_main_device = events
            .iter()
            .any(|event| matches!(event, Event::MainDevice { .. }));
        assert_eq!(has_main_device, version < 6);
        let flags: Vec<TrancheFlags> = events
            .iter()
            .filter_map(|event| match event {
                Event::TrancheFlags {
                    flags: WEnum::Value(flags),
                } => Some(*flags),
                _ => None,
            })
            .collect();
        let expected = if version < 6 {
            TrancheFlags::empty()
        } else {
            TrancheFlags::Sampling
        };
        assert_eq!(flags, [expected], "version {version}");
        assert!(matches!(events.last(), Some(Event::Done)));
    }
}

#[test]
fn sampling_device_of_another_size_than_dev_t_is_an_error() {
    for size in [0, 7, 9] {
        let (mut fixture, mut client, dmabuf) = start(6);
        params(&client, &dmabuf).set_sampling_device(vec![0; size]);
        fixture.round_trip(&mut client);
        let expected = (
            "zwp_linux_buffer_params_v1".to_owned(),
            Error::InvalidDevTSize as u32,
        );
        assert_eq!(client.error(), Some(expected), "{size} bytes");
    }
}

#[test]
fn sampling_device_after_the_creation_is_an_error() {
    let (mut fixture, mut client, dmabuf) = start(6);
    let params = params(&client, &dmabuf);
    params.create(64, 48, XR24, Flags::empty());
    params.set_sampling_device(0u64.to_ne_bytes().to_vec());
    fixture.round_trip(&mut client);
    let expected = (
        "zwp_linux_buffer_params_v1".to_owned(),
        Error::AlreadyUsed as u32,
    );
    assert_eq!(client.error(), Some(expected));
}

#[test]
fn sampling_device_that_was_not_advertised_makes_the_creation_fail() {
    let (mut fixture, mut client, dmabuf) = start(6);
    let params = params(&client, &dmabuf);
    params.set_sampling_device(u64::MAX.to_ne_bytes().to_vec());
    params.create(64, 48, XR24, Flags::empty());
    fixture.round_trip(&mut client);
    assert_eq!((client.error(), client.events.failed), (None, 1));
}

impl Dispatch<ZwpLinuxDmabufFeedbackV1, ()> for ReceivedEvents {
    fn event(
        events: &mut Self,
        _feedback: &ZwpLinuxDmabufFeedbackV1,
        event: Event,
        _data: &(),
        _connection: &Connection,
        _handle: &QueueHandle<Self>,
    ) {
        events.dmabuf_feedback.push(event);
    }
}

impl Dispatch<ZwpLinuxBufferParamsV1, ()> for ReceivedEvents {
    fn event(
        events: &mut Self,
        _params: &ZwpLinuxBufferParamsV1,
        event: zwp_linux_buffer_params_v1::Event,
        _data: &(),
        _connection: &Connection,
        _handle: &QueueHandle<Self>,
    ) {
        match event {
            zwp_linux_buffer_params_v1::Event::Created { buffer } => events.created.push(buffer),
            zwp_linux_buffer_params_v1::Event::Failed => events.failed += 1,
            _ => {}
        }
    }

    event_created_child!(ReceivedEvents, ZwpLinuxBufferParamsV1, [
        zwp_linux_buffer_params_v1::EVT_CREATED_OPCODE => (WlBuffer, ()),
    ]);
}

delegate_noop!(ReceivedEvents: ignore ZwpLinuxDmabufV1);
