//! Tests the errors of `linux-dmabuf` for invalid parameters.
//!
//! Parameters are validated before their file descriptors, so most of these tests need no dma-buf. The tests that need a dma-buf
//! run in the virtual machine.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use covalent_compositor::dmabuf::FEEDBACK_PERIOD;
use covalent_protocols::{Feedback, FormatEntry, TrancheFlags};
use wayland_protocols::wp::linux_dmabuf::zv1::client::zwp_linux_buffer_params_v1::{
    Error, Flags, ZwpLinuxBufferParamsV1,
};
use wayland_protocols::wp::linux_dmabuf::zv1::client::zwp_linux_dmabuf_v1::ZwpLinuxDmabufV1;

use crate::fixture::{Client, Fixture, memfd};

const XR24: u32 = u32::from_le_bytes(*b"XR24");
const NV12: u32 = u32::from_le_bytes(*b"NV12");

/// A plane to add: index, offset in bytes, stride in bytes, modifier.
type Plane = (u32, u32, u32, u64);

/// Parameters, and the error that is expected for them; `None` if only the file is wrong, because it is not a dma-buf.
struct Case {
    what: &'static str,
    planes: &'static [Plane],
    size: (i32, i32),
    fourcc: u32,
    expected: Option<Error>,
}

const CASES: &[Case] = &[
    Case {
        what: "a right description",
        planes: &[(0, 0, 256, 0)],
        size: (64, 48),
        fourcc: XR24,
        expected: None,
    },
    Case {
        what: "no plane",
        planes: &[],
        size: (64, 48),
        fourcc: XR24,
        expected: Some(Error::Incomplete),
    },
    Case {
        what: "a plane that the format lacks",
        planes: &[(0, 0, 256, 0), (1, 0, 256, 0)],
        size: (64, 48),
        fourcc: XR24,
        expected: Some(Error::Incomplete),
    },
    Case {
        what: "a plane that is missing",
        planes: &[(0, 0, 64, 0)],
        size: (64, 48),
        fourcc: NV12,
        expected: Some(Error::Incomplete),
    },
    Case {
        what: "a gap between planes",
        planes: &[(0, 0, 64, 0), (2, 0, 64, 0)],
        size: (64, 48),
        fourcc: NV12,
        expected: Some(Error::Incomplete),
    },
    Case {
        what: "only plane 1",
        planes: &[(1, 0, 256, 0)],
        size: (64, 48),
        fourcc: XR24,
        expected: Some(Error::Incomplete),
    },
    Case {
        what: "planes in another order",
        planes: &[(1, 0, 64, 0), (0, 0, 64, 0)],
        size: (64, 48),
        fourcc: NV12,
        expected: None,
    },
    Case {
        what: "an index past the last",
        planes: &[(4, 0, 256, 0)],
        size: (64, 48),
        fourcc: XR24,
        expected: Some(Error::PlaneIdx),
    },
    Case {
        what: "an index far past the last",
        planes: &[(u32::MAX, 0, 256, 0)],
        size: (64, 48),
        fourcc: XR24,
        expected: Some(Error::PlaneIdx),
    },
    Case {
        what: "a plane twice",
        planes: &[(0, 0, 256, 0), (0, 0, 256, 0)],
        size: (64, 48),
        fourcc: XR24,
        expected: Some(Error::PlaneSet),
    },
    Case {
        what: "a format that does not exist",
        planes: &[(0, 0, 256, 0)],
        size: (64, 48),
        fourcc: 1,
        expected: Some(Error::InvalidFormat),
    },
    Case {
        what: "a modifier that was not advertised",
        planes: &[(0, 0, 256, 1)],
        size: (64, 48),
        fourcc: XR24,
        expected: Some(Error::InvalidFormat),
    },
    Case {
        what: "the implicit modifier, which was not advertised",
        planes: &[(0, 0, 256, 0x00ff_ffff_ffff_ffff)],
        size: (64, 48),
        fourcc: XR24,
        expected: Some(Error::InvalidFormat),
    },
    Case {
        what: "planes of different modifiers",
        planes: &[(0, 0, 64, 0), (1, 0, 64, 1)],
        size: (64, 48),
        fourcc: NV12,
        expected: Some(Error::InvalidFormat),
    },
    Case {
        what: "no width",
        planes: &[(0, 0, 256, 0)],
        size: (0, 48),
        fourcc: XR24,
        expected: Some(Error::InvalidDimensions),
    },
    Case {
        what: "a negative height",
        planes: &[(0, 0, 256, 0)],
        size: (64, -1),
        fourcc: XR24,
        expected: Some(Error::InvalidDimensions),
    },
    Case {
        what: "no height, and a sum that overflows",
        planes: &[(0, 1, u32::MAX, 0)],
        size: (64, 0),
        fourcc: XR24,
        expected: Some(Error::InvalidDimensions),
    },
    Case {
        what: "the largest size there is",
        planes: &[(0, u32::MAX, u32::MAX, 0)],
        size: (i32::MAX, i32::MAX),
        fourcc: XR24,
        expected: Some(Error::InvalidDimensions),
    },
];

fn describe(client: &Client, planes: &[Plane]) -> ZwpLinuxBufferParamsV1 {
    let memory = memfd(&[0; 4096]);
    let params = client
        .bind::<ZwpLinuxDmabufV1>(5)
        .create_params(&client.handle(), ());
    for (index, offset, stride, modifier) in planes {
        let high = u32::try_from(modifier >> 32).unwrap();
        let low = u32::try_from(modifier & u64::from(u32::MAX)).unwrap();
        params.add(memory.as_fd(), *index, *offset, *stride, high, low);
    }
    params
}

#[test]
fn create_with_invalid_params_posts_the_protocol_error() {
    for case in CASES {
        let mut fixture = Fixture::new(64, 48);
        let mut other = fixture.client();
        let mut client = fixture.client();
        let params = describe(&client, case.planes);
        params.create(case.size.0, case.size.1, case.fourcc, Flags::empty());
        fixture.round_trip(&mut client);
        check(case, &client, "create");
        match case.expected {
            // A memfd is not a dma-buf, so the compositor sends `failed` and no protocol error.
            None => assert_eq!(
                (client.events.failed, client.events.closed),
                (1, false),
                "{}",
                case.what
            ),
            Some(_) => assert_eq!(client.events.failed, 0, "{}", case.what),
        }
        fixture.round_trip(&mut other);
        assert!(
            !other.events.closed,
            "{}: another client was disconnected too",
            case.what
        );
        assert_eq!(fixture.state.dmabuf.buffers(), 0);
    }
}

#[test]
fn create_immed_with_invalid_params_posts_the_protocol_error() {
    for case in CASES {
        let mut fixture = Fixture::new(64, 48);
        let mut client = fixture.client();
        let params = describe(&client, case.planes);
        let _buffer = params.create_immed(
            case.size.0,
            case.size.1,
            case.fourcc,
            Flags::empty(),
            &client.handle(),
            (),
        );
        fixture.round_trip(&mut client);
        if case.expected.is_some() {
            check(case, &client, "create_immed");
        } else {
            // With `create_immed` the client may already use the buffer, so the failure has to be a protocol error.
            let expected = (
                "zwp_linux_buffer_params_v1".to_owned(),
                Error::InvalidWlBuffer.into(),
            );
            assert_eq!(client.error(), Some(expected), "{}", case.what);
        }
        assert_eq!(fixture.state.dmabuf.buffers(), 0);
    }
}

fn check(case: &Case, client: &Client, request: &str) {
    let expected = case
        .expected
        .map(|error| ("zwp_linux_buffer_params_v1".to_owned(), u32::from(error)));
    assert_eq!(client.error(), expected, "{request}: {}", case.what);
}

#[test]
fn params_object_used_twice_posts_already_used() {
    type SecondRequest = fn(&ZwpLinuxBufferParamsV1, &Client);
    let requests: [SecondRequest; 3] = [
        |params, _| params.create(64, 48, XR24, Flags::empty()),
        |params, client| {
            params.create_immed(64, 48, XR24, Flags::empty(), &client.handle(), ());
        },
        |params, _| params.add(memfd(&[0; 16]).as_fd(), 1, 0, 256, 0, 0),
    ];
    for second_request in requests {
        let mut fixture = Fixture::new(64, 48);
        let mut client = fixture.client();
        let params = describe(&client, &[(0, 0, 256, 0)]);
        params.create(64, 48, XR24, Flags::empty());
        second_request(&params, &client);
        fixture.round_trip(&mut client);
        let expected = (
            "zwp_linux_buffer_params_v1".to_owned(),
            Error::AlreadyUsed.into(),
        );
        assert_eq!(client.error(), Some(expected));
    }
}

#[test]
fn y_inverted_buffer_fails_without_a_protocol_error() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let params = describe(&client, &[(0, 0, 256, 0)]);
    params.create(64, 48, XR24, Flags::YInvert);
    fixture.round_trip(&mut client);
    assert_eq!((client.events.failed, client.error()), (1, None));
}

#[test]
fn feedback_received_by_a_client_equals_the_feedback_sent() {
    let mut fixture = Fixture::new(64, 48);
    let mut client = fixture.client();
    let dmabuf: ZwpLinuxDmabufV1 = client.bind(5);
    let window = client.window();
    for surface in [None, Some(&window.surface)] {
        client.events.feedback = None;
        match surface {
            None => dmabuf.get_default_feedback(&client.handle(), ()),
            Some(surface) => dmabuf.get_surface_feedback(surface, &client.handle(), ()),
        };
        fixture.round_trip(&mut client);
        let feedback = client.events.feedback.as_ref().unwrap();
        assert_eq!(feedback, fixture.state.dmabuf.feedback());
        assert!(
            feedback
                .tranches()
                .iter()
                .all(|tranche| tranche.flags == TrancheFlags::empty())
        );
    }
}

#[test]
fn feedback_of_a_window_that_changes_often_is_sent_once_in_a_period() {
    let format = FormatEntry {
        fourcc: XR24,
        modifier: 0,
    };
    let mut fixture = Fixture::with_scanout(64, 48, format);
    let mut client = fixture.client();
    let dmabuf: ZwpLinuxDmabufV1 = client.bind(5);
    let window = client.window();
    dmabuf.get_surface_feedback(&window.surface, &client.handle(), ());
    fixture.round_trip(&mut client);
    let has_scanout = |feedback: &Feedback| {
        let mut tranches = feedback.tranches().iter();
        tranches.any(|tranche| tranche.flags == TrancheFlags::SCANOUT)
    };
    let first = client.events.feedback.take().unwrap();
    assert!(has_scanout(&first));
    // The window's first feedback has the scanout tranche already, so no feedback is sent.
    window.toplevel.set_fullscreen(None);
    fixture.round_trip(&mut client);
    assert_eq!(client.events.feedback, None);
    // The first change is sent immediately.
    let start = Instant::now();
    window.toplevel.unset_fullscreen();
    fixture.round_trip(&mut client);
    assert!(!has_scanout(&client.events.feedback.take().unwrap()));
    let mut sent = 1;
    for _ in 0..20 {
        window.toplevel.set_fullscreen(None);
        fixture.round_trip(&mut client);
        sent += u64::from(client.events.feedback.take().is_some());
        window.toplevel.unset_fullscreen();
        fixture.round_trip(&mut client);
        sent += u64::from(client.events.feedback.take().is_some());
    }
    let periods = start.elapsed().as_secs() / FEEDBACK_PERIOD.as_secs();
    assert!(sent <= 1 + periods, "{sent} changes in {periods} periods");
    // The last state is sent at the end of the period. No feedback follows.
    window.toplevel.set_fullscreen(None);
    fixture.until(&mut client, "the last change", |_, client| {
        client.events.feedback.as_ref().is_some_and(has_scanout)
    });
    assert!(start.elapsed() >= FEEDBACK_PERIOD);
    client.events.feedback = None;
    let end = Instant::now() + FEEDBACK_PERIOD + Duration::from_millis(200);
    while Instant::now() < end {
        fixture.step(&mut client);
    }
    assert_eq!(client.events.feedback, None);
}
