//! Tests that malformed messages disconnect their sender and do not affect other clients.

use std::os::fd::AsFd;

use wayland_client::backend::protocol::{AllowNull, ArgumentType};

use crate::fixture::objects::{Objects, interfaces};
use crate::fixture::wire::{Arg, DISPLAY, Wire, message};
use crate::fixture::{Fixture, memfd};

/// Error codes of `wl_display`.
const INVALID_OBJECT: u32 = 0;
const INVALID_METHOD: u32 = 1;

/// Returns the code of the `wl_display` error that disconnected the client.
#[track_caller]
fn disconnect_code(fixture: &mut Fixture, wire: &mut Wire) -> u32 {
    fixture.round_trip_wire(wire);
    let (object, code, text) = wire.error.clone().expect("the client is still connected");
    println!("{object} {code}: {text}");
    assert!(wire.closed);
    assert_eq!(object, DISPLAY);
    code
}

#[test]
fn null_string_that_is_not_allowed_disconnects_only_its_sender() {
    let mut tried = 0;
    for interface in interfaces() {
        for (opcode, request) in interface.requests.iter().enumerate() {
            let string = ArgumentType::Str(AllowNull::No);
            if !request.signature.contains(&string) {
                continue;
            }
            let mut fixture = Fixture::new(64, 48);
            let mut other = fixture.client();
            let mut wire = fixture.wire();
            let objects = Objects::make(&mut fixture, &mut wire);
            let args: Vec<Arg> = request
                .signature
                .iter()
                .map(|kind| {
                    if *kind == string {
                        Arg::Text(None)
                    } else {
                        Arg::Word(0)
                    }
                })
                .collect();
            let opcode = u32::try_from(opcode).unwrap();
            wire.send(objects.of(interface.name), opcode, &args);
            println!("{}.{}", interface.name, request.name);
            assert_eq!(disconnect_code(&mut fixture, &mut wire), INVALID_METHOD);
            fixture.round_trip(&mut other);
            assert!(!other.events.closed);
            tried += 1;
        }
    }
    assert!(
        tried >= 3,
        "{tried} requests with a string were tried, and set_title, set_app_id and offer were expected"
    );
}

#[test]
fn bind_with_a_null_string_disconnects_only_its_sender() {
    let mut fixture = Fixture::new(64, 48);
    let mut other = fixture.client();
    let mut wire = fixture.wire();
    let (name, version) = wire.globals["wl_shm"];
    let id = wire.new_id();
    wire.bind_raw(&[name.into(), Arg::Text(None), version.into(), id.into()]);
    assert_eq!(disconnect_code(&mut fixture, &mut wire), INVALID_METHOD);
    fixture.round_trip(&mut other);
    assert!(!other.events.closed);
}

#[test]
fn malformed_message_disconnects_only_its_sender() {
    let header = |object: u32, opcode: u32, size: u32| {
        let mut bytes = object.to_ne_bytes().to_vec();
        bytes.extend((size << 16 | opcode).to_ne_bytes());
        bytes
    };
    let text = |length: u32, bytes: &[u8]| {
        let mut body = length.to_ne_bytes().to_vec();
        body.extend(bytes);
        let size = u32::try_from(body.len() + 8).unwrap();
        [header(0, 0, size)[4..].to_vec(), body].concat()
    };
    // The object id of set_title differs for each client, so it is added below.
    let titles: [Vec<u8>; 5] = [
        text(u32::MAX, b"abc\0"),
        text(u32::MAX - 3, b"abc\0"),
        text(8, b"abc\0"),
        text(4, b"abcd"),
        text(4, b"a\0c\0"),
    ];
    let others: [(Vec<u8>, u32); 9] = [
        (header(DISPLAY, 0, 0), INVALID_METHOD),
        (header(DISPLAY, 0, 7), INVALID_METHOD),
        (header(DISPLAY, 0, 4100), INVALID_METHOD),
        (header(DISPLAY, 0, 0xffff), INVALID_METHOD),
        (header(DISPLAY, 0, 8), INVALID_METHOD),
        (header(DISPLAY, 7, 8), INVALID_METHOD),
        (header(0, 0, 8), INVALID_OBJECT),
        (header(9999, 0, 8), INVALID_OBJECT),
        (header(u32::MAX, 0, 8), INVALID_OBJECT),
    ];
    let mut fixture = Fixture::new(64, 48);
    let mut other = fixture.client();
    for title in titles {
        let mut wire = fixture.wire();
        let objects = Objects::make(&mut fixture, &mut wire);
        let object = objects.of("xdg_toplevel").to_ne_bytes().to_vec();
        let mut bytes = [object, title].concat();
        bytes[4] = 2;
        wire.send_bytes(&bytes, &[]);
        assert_eq!(
            disconnect_code(&mut fixture, &mut wire),
            INVALID_METHOD,
            "{bytes:?}"
        );
    }
    for (bytes, code) in others {
        let mut wire = fixture.wire();
        wire.send_bytes(&bytes, &[]);
        assert_eq!(disconnect_code(&mut fixture, &mut wire), code, "{bytes:?}");
    }
    fixture.round_trip(&mut other);
    assert!(!other.events.closed);
}

#[test]
fn new_object_with_an_invalid_id_disconnects_only_its_sender() {
    for id in [0, DISPLAY, 2, 1000, 0xff00_0000, u32::MAX] {
        let mut fixture = Fixture::new(64, 48);
        let mut other = fixture.client();
        let mut wire = fixture.wire();
        wire.send(DISPLAY, 0, &[id.into()]);
        assert_eq!(
            disconnect_code(&mut fixture, &mut wire),
            INVALID_OBJECT,
            "{id}"
        );
        fixture.round_trip(&mut other);
        assert!(!other.events.closed);
    }
}

#[test]
fn message_that_arrives_byte_by_byte_is_handled() {
    let mut fixture = Fixture::new(64, 48);
    let mut wire = fixture.wire();
    let callback = wire.new_id();
    for byte in message(DISPLAY, 0, &[callback.into()]) {
        wire.send_bytes(&[byte], &[]);
        fixture.step_wire(&mut wire);
    }
    for _ in 0..10 {
        fixture.step_wire(&mut wire);
    }
    assert_eq!(wire.events_of(callback, 0).len(), 1);
}

#[test]
fn message_without_its_file_descriptor_disconnects_only_its_sender() {
    let mut fixture = Fixture::new(64, 48);
    let mut other = fixture.client();
    let mut wire = fixture.wire();
    let shm = wire.bind("wl_shm");
    let pool = wire.new_id();
    wire.send(shm, 0, &[pool.into(), 4096.into()]);
    assert_eq!(disconnect_code(&mut fixture, &mut wire), INVALID_METHOD);
    fixture.round_trip(&mut other);
    assert!(!other.events.closed);
}

#[test]
fn file_descriptors_dropped_by_the_kernel_disconnect_only_their_sender() {
    let mut fixture = Fixture::new(64, 48);
    let mut other = fixture.client();
    let mut wire = fixture.wire();
    let memory = memfd(&[0; 16]);
    // One `recvmsg` receives fewer descriptors, so the kernel drops some.
    let files = [memory.as_fd(); 40];
    let callback = wire.new_id();
    wire.send_bytes(&message(DISPLAY, 0, &[callback.into()]), &files);
    assert_eq!(disconnect_code(&mut fixture, &mut wire), INVALID_METHOD);
    fixture.round_trip(&mut other);
    assert!(!other.events.closed);
}

#[test]
fn file_descriptors_that_arrive_before_their_messages_are_kept() {
    let mut fixture = Fixture::new(64, 48);
    let mut wire = fixture.wire();
    let shm = wire.bind("wl_shm");
    fixture.round_trip_wire(&mut wire);
    // wayland-rs would send 60 pools in this way: the first bytes carry all descriptors, 28 with each `sendmsg`.
    let memory = memfd(&[0xff; 4096]);
    let pools: Vec<u32> = (0..60).map(|_| wire.new_id()).collect();
    let bytes: Vec<u8> = pools
        .iter()
        .flat_map(|pool| message(shm, 0, &[(*pool).into(), 4096.into()]))
        .collect();
    let files = [memory.as_fd(); 28];
    wire.send_bytes(&bytes[..1], &files);
    wire.send_bytes(&bytes[1..2], &files);
    wire.send_bytes(&bytes[2..], &files[..4]);
    for pool in pools {
        wire.make(pool, 0, &[0, 16, 16, 64, 1].map(Arg::Word));
    }
    fixture.round_trip_wire(&mut wire);
    assert_eq!((wire.error.clone(), wire.closed), (None, false));
}

#[test]
fn every_advertised_global_can_be_bound() {
    let mut fixture = Fixture::new(64, 48);
    let mut wire = fixture.wire();
    let announced: Vec<String> = wire.globals.keys().cloned().collect();
    for name in announced {
        let interface = interfaces()
            .into_iter()
            .find(|interface| interface.name == name)
            .unwrap_or_else(|| panic!("{name} is missing among the tests' interfaces"));
        let object = wire.bind(&name);
        let end = interface
            .requests
            .iter()
            .position(|request| request.is_destructor && request.since <= wire.globals[&name].1);
        if let Some(opcode) = end {
            wire.send(object, u32::try_from(opcode).unwrap(), &[]);
        }
        fixture.round_trip_wire(&mut wire);
        assert_eq!(wire.error, None, "{name}");
    }
}
