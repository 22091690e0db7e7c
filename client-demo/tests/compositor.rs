//! Tests the client side of the protocols against a compositor in the same process. Each test chooses the compositor's behaviour.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use covalent_alloc::backend::v4l2::{Colours, Encoding};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_client_demo::color_representation::ColorRepresentation;
use covalent_client_demo::compositor::{Compositor, Event};
use covalent_client_demo::dmabuf::{Image, Plane, request_wl_buffer};
use covalent_client_demo::events::{Events, EventsError};
use covalent_client_demo::exit::Exit;
use covalent_client_demo::feedback::Subscription;
use covalent_client_demo::negotiation::Negotiation;
use covalent_client_demo::shm::Pool;
use covalent_client_demo::tranche_request::tranche_requests;
use covalent_client_demo::window::Window;
use covalent_protocols::feedback::{Device, Feedback, Tranche, TrancheFlags, indices_to_bytes};
use covalent_protocols::linux_dmabuf::server::zwp_linux_buffer_params_v1::{
    self, ZwpLinuxBufferParamsV1,
};
use covalent_protocols::linux_dmabuf::server::zwp_linux_dmabuf_feedback_v1::ZwpLinuxDmabufFeedbackV1;
use covalent_protocols::linux_dmabuf::server::zwp_linux_dmabuf_v1::{self, ZwpLinuxDmabufV1};
use covalent_protocols::table::{FormatEntry, FormatTable};
use wayland_protocols::wp::color_representation::v1::server::{
    wp_color_representation_manager_v1::{self, WpColorRepresentationManagerV1},
    wp_color_representation_surface_v1::{
        self, Coefficients, Range, WpColorRepresentationSurfaceV1,
    },
};
use wayland_server::protocol::wl_buffer::WlBuffer;
use wayland_server::protocol::wl_compositor::{self, WlCompositor};
use wayland_server::protocol::wl_shm::{self, WlShm};
use wayland_server::protocol::wl_shm_pool::{self, WlShmPool};
use wayland_server::protocol::wl_surface::WlSurface;
use wayland_server::{
    Client, DataInit, Dispatch, Display, DisplayHandle, GlobalDispatch, New, Resource, WEnum,
};

/// The time limit of each wait.
const SECONDS: Duration = Duration::from_secs(10);
const XR24: FormatEntry = FormatEntry {
    fourcc: 0x3432_5258,
    modifier: 0,
};

const NV12_TILED: FormatEntry = FormatEntry {
    fourcc: 0x3231_564e,
    modifier: 0x0100_0000_0000_0002,
};

/// How the compositor behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaviour {
    Valid,
    IndexPastTheTable,
    RefusesBuffers,
    ReleasesAtOnce,
}

struct Fake(Behaviour);

impl GlobalDispatch<WlCompositor, ()> for Fake {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        new: New<WlCompositor>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        init.init(new, ());
    }
}

impl GlobalDispatch<ZwpLinuxDmabufV1, ()> for Fake {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        new: New<ZwpLinuxDmabufV1>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        let dmabuf = init.init(new, ());
        if dmabuf.version() == 3 {
            for entry in [XR24, NV12_TILED, XR24] {
                let (high, low) = (entry.modifier >> 32, entry.modifier & u64::from(u32::MAX));
                dmabuf.format(entry.fourcc);
                dmabuf.modifier(
                    entry.fourcc,
                    u32::try_from(high).unwrap(),
                    u32::try_from(low).unwrap(),
                );
            }
        }
    }
}

impl Dispatch<ZwpLinuxDmabufV1, ()> for Fake {
    fn request(
        state: &mut Self,
        _: &Client,
        _: &ZwpLinuxDmabufV1,
        request: zwp_linux_dmabuf_v1::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        match request {
            zwp_linux_dmabuf_v1::Request::GetDefaultFeedback { id } => {
                let object = init.init(id, ());
                let table = FormatTable::new([XR24]).unwrap();
                let sealed = table.seal().unwrap();
                if state.0 == Behaviour::IndexPastTheTable {
                    object.format_table(sealed.as_fd(), sealed.size_bytes());
                    object.main_device(Device(7).to_bytes().to_vec());
                    object.tranche_target_device(Device(7).to_bytes().to_vec());
                    object.tranche_formats(indices_to_bytes(&[0, 1]));
                    object.tranche_done();
                    object.done();
                } else {
                    let tranche = Tranche {
                        device: Device(7),
                        flags: TrancheFlags::SCANOUT,
                        indices: vec![0],
                    };
                    Feedback::new(Device(7), table, vec![tranche])
                        .unwrap()
                        .send(&object, &sealed);
                }
            }
            zwp_linux_dmabuf_v1::Request::CreateParams { params_id } => {
                init.init(params_id, ());
            }
            _ => {}
        }
    }
}

impl Dispatch<ZwpLinuxBufferParamsV1, ()> for Fake {
    fn request(
        state: &mut Self,
        client: &Client,
        params: &ZwpLinuxBufferParamsV1,
        request: zwp_linux_buffer_params_v1::Request,
        (): &(),
        handle: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        if let zwp_linux_buffer_params_v1::Request::Create { .. } = request {
            if state.0 == Behaviour::RefusesBuffers {
                params.failed();
            } else {
                let buffer = client
                    .create_resource::<WlBuffer, (), Self>(handle, 1, ())
                    .unwrap();
                params.created(&buffer);
                if state.0 == Behaviour::ReleasesAtOnce {
                    buffer.release();
                }
            }
        }
    }
}

impl GlobalDispatch<WlShm, ()> for Fake {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        new: New<WlShm>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        init.init(new, ());
    }
}

impl Dispatch<WlShm, ()> for Fake {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &WlShm,
        request: wl_shm::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wl_shm::Request::CreatePool { id, .. } = request {
            init.init(id, ());
        }
    }
}

impl Dispatch<WlShmPool, ()> for Fake {
    fn request(
        state: &mut Self,
        _: &Client,
        _: &WlShmPool,
        request: wl_shm_pool::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wl_shm_pool::Request::CreateBuffer { id, .. } = request {
            let buffer = init.init(id, ());
            if state.0 == Behaviour::ReleasesAtOnce {
                buffer.release();
            }
        }
    }
}

macro_rules! deaf {
    ($($interface:ty),*) => {
        $(impl Dispatch<$interface, ()> for Fake {
            fn request(
                _: &mut Self,
                _: &Client,
                _: &$interface,
                _: <$interface as Resource>::Request,
                (): &(),
                _: &DisplayHandle,
                _: &mut DataInit<'_, Self>,
            ) {
            }
        })*
    };
}
deaf!(WlBuffer, WlSurface, ZwpLinuxDmabufFeedbackV1);

impl Dispatch<WlCompositor, ()> for Fake {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &WlCompositor,
        request: wl_compositor::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wl_compositor::Request::CreateSurface { id } = request {
            init.init(id, ());
        }
    }
}

impl GlobalDispatch<WpColorRepresentationManagerV1, ()> for Fake {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        new: New<WpColorRepresentationManagerV1>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        let manager = init.init(new, ());
        manager.supported_coefficients_and_ranges(Coefficients::Bt709, Range::Full);
        manager.done();
    }
}

impl Dispatch<WpColorRepresentationManagerV1, ()> for Fake {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &WpColorRepresentationManagerV1,
        request: wp_color_representation_manager_v1::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wp_color_representation_manager_v1::Request::GetSurface { id, .. } = request {
            init.init(id, ());
        }
    }
}

impl Dispatch<WpColorRepresentationSurfaceV1, ()> for Fake {
    fn request(
        _: &mut Self,
        _: &Client,
        object: &WpColorRepresentationSurfaceV1,
        request: wp_color_representation_surface_v1::Request,
        (): &(),
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        use wp_color_representation_surface_v1::Request;
        match request {
            Request::SetCoefficientsAndRange {
                coefficients: WEnum::Value(Coefficients::Bt709),
                range: WEnum::Value(Range::Full),
            }
            | Request::Destroy => {}
            other => object.post_error(
                wp_color_representation_surface_v1::Error::Coefficients,
                format!("{other:?} was not expected"),
            ),
        }
    }
}

/// A compositor that runs in a thread until this value is dropped.
struct Running {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(behaviour: Behaviour) -> (Running, Events, Compositor) {
    start_with(behaviour, Some(4))
}

/// Starts a compositor with this version of linux-dmabuf, or without linux-dmabuf if `dmabuf` is `None`.
fn start_with(behaviour: Behaviour, dmabuf: Option<u32>) -> (Running, Events, Compositor) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (stop, stopped) = channel::<()>();
    let thread = std::thread::spawn(move || {
        let mut display: Display<Fake> = Display::new().unwrap();
        let handle = display.handle();
        handle.create_global::<Fake, WlCompositor, ()>(4, ());
        handle.create_global::<Fake, WlShm, ()>(1, ());
        handle.create_global::<Fake, WpColorRepresentationManagerV1, ()>(1, ());
        if let Some(version) = dmabuf {
            handle.create_global::<Fake, ZwpLinuxDmabufV1, ()>(version, ());
        }
        display
            .handle()
            .insert_client(theirs, Arc::new(()))
            .unwrap();
        let mut fake = Fake(behaviour);
        while stopped.recv_timeout(Duration::from_millis(1))
            == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            display.dispatch_clients(&mut fake).unwrap();
            display.flush_clients().unwrap();
        }
    });
    let running = Running {
        stop: Some(stop),
        thread: Some(thread),
    };
    let connection = wayland_client::Connection::from_socket(ours).unwrap();
    let (events, compositor) = Events::from_connection(connection, "a test".to_owned()).unwrap();
    (running, events, compositor)
}

/// Dispatches events until the client receives an event that the program has to handle, and returns this event.
fn event(events: &mut Events, compositor: &mut Compositor) -> Event {
    let mut first_event = None;
    events
        .dispatch_until(compositor, "say anything", SECONDS, |compositor| {
            first_event = compositor.take_events().pop_front();
            first_event.is_some()
        })
        .unwrap();
    first_event.unwrap()
}

fn request_any_wl_buffer(events: &Events, compositor: &Compositor, index: usize) {
    let file = std::fs::File::open("/dev/null").unwrap();
    let image = Image {
        width: 4,
        height: 4,
        fourcc: XR24.fourcc,
        modifier: XR24.modifier,
        planes: &[Plane {
            fd: file.as_fd(),
            offset_bytes: 0,
            stride_bytes: 16,
        }],
    };
    request_wl_buffer(compositor, &events.handle(), index, &image).unwrap();
}

#[test]
fn feedback_that_is_valid_is_received_as_sent() {
    let (_running, mut events, mut compositor) = start(Behaviour::Valid);
    let subscription = Subscription::any(&compositor, &events.handle()).unwrap();
    events
        .dispatch_until(&mut compositor, "send feedback", SECONDS, |compositor| {
            compositor.current_feedback().is_some()
        })
        .unwrap();
    let feedback = compositor.current_feedback().unwrap();
    assert_eq!(feedback.main_device(), Device(7));
    assert!(feedback.advertises(XR24));
    assert_eq!(feedback.tranches()[0].flags, TrancheFlags::SCANOUT);
    drop(subscription);
    events.roundtrip(&mut compositor).unwrap();
}

#[test]
fn feedback_with_an_index_past_its_table_is_invalid_data() {
    let (_running, mut events, mut compositor) = start(Behaviour::IndexPastTheTable);
    let _subscription = Subscription::any(&compositor, &events.handle()).unwrap();
    assert!(matches!(
        event(&mut events, &mut compositor),
        Event::InvalidData(_)
    ));
    assert!(compositor.current_feedback().is_none());
}

#[test]
fn formats_of_version_3_are_planned_with_as_one_tranche() {
    let (_running, events, compositor) = start_with(Behaviour::Valid, Some(3));
    assert!(Subscription::any(&compositor, &events.handle()).is_err());
    let feedback = compositor.current_feedback().unwrap();
    assert!(feedback.advertises(XR24) && feedback.advertises(NV12_TILED));
    let requests = tranche_requests(feedback, compositor.crop());
    let [request] = requests.as_slice() else {
        panic!("{requests:?}");
    };
    assert_eq!(request.usage_label, "composited");
    assert!(request.card.is_none() && request.supports(Fourcc::NV12));
    assert!(!request.supports(Fourcc::YUYV));
}

#[test]
fn buffers_of_version_3_are_created_or_refused_without_the_end_of_the_connection() {
    for (behaviour, is_created) in [
        (Behaviour::RefusesBuffers, false),
        (Behaviour::ReleasesAtOnce, true),
    ] {
        let (_running, mut events, mut compositor) = start_with(behaviour, Some(3));
        request_any_wl_buffer(&events, &compositor, 1);
        let answer = event(&mut events, &mut compositor);
        assert_eq!(matches!(answer, Event::Created(1, _)), is_created);
        assert_eq!(matches!(answer, Event::Refused(1)), !is_created);
        events.roundtrip(&mut compositor).unwrap();
    }
}

#[test]
fn compositor_without_linux_dmabuf_has_no_plan_and_the_reason_is_one_line() {
    for (version, cause) in [(None, "version 3"), (Some(2), "version 3")] {
        let (_running, mut events, mut compositor) = start_with(Behaviour::Valid, version);
        assert!(compositor.current_feedback().is_none());
        let collection = BufferCollection::new(Extent::new(64, 64).unwrap());
        let mut negotiation = Negotiation::new(collection, "a test and the compositor");
        let failure = negotiation
            .negotiate(&mut events, &mut compositor, |_, _| Ok(()))
            .unwrap_err();
        assert_eq!(failure.exit(), Exit::NoPlan, "{failure}");
        let reason = negotiation.why_no_plan(&compositor);
        assert!(
            reason.contains("zwp_linux_dmabuf_v1") && reason.contains(cause),
            "{reason}"
        );
        assert_eq!(reason.lines().count(), 1);
        assert!(failure.to_string().contains(&reason), "{failure}");
    }
}

#[test]
fn buffer_that_is_refused_keeps_the_connection() {
    let (_running, mut events, mut compositor) = start(Behaviour::RefusesBuffers);
    request_any_wl_buffer(&events, &compositor, 3);
    assert!(matches!(
        event(&mut events, &mut compositor),
        Event::Refused(3)
    ));
    events.roundtrip(&mut compositor).unwrap();
}

#[test]
fn buffer_that_is_created_and_released_is_reported_by_its_index() {
    let (_running, mut events, mut compositor) = start(Behaviour::ReleasesAtOnce);
    for index in [5, 2] {
        request_any_wl_buffer(&events, &compositor, index);
    }
    events.roundtrip(&mut compositor).unwrap();
    let reported: Vec<(char, usize)> = compositor
        .take_events()
        .into_iter()
        .map(|event| match event {
            Event::Created(index, _) => ('c', index),
            Event::Released(index) => ('r', index),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reported, [('c', 5), ('r', 5), ('c', 2), ('r', 2)]);
}

#[test]
fn shared_memory_numbered_from_a_number_is_released_with_it() {
    let (_running, mut events, mut compositor) = start(Behaviour::ReleasesAtOnce);
    let handle = events.handle();
    let pool = Pool::numbered_from(8, &compositor, &handle, (4, 4), 2).unwrap();
    assert!(pool.buffer(1).is_some() && pool.buffer(2).is_none());
    events.roundtrip(&mut compositor).unwrap();
    let released: Vec<usize> = compositor
        .take_events()
        .into_iter()
        .map(|event| match event {
            Event::Released(number) => number,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(released, [8, 9]);
}

#[test]
fn colours_that_the_compositor_supports_are_set_for_yuv_only() {
    let (_running, mut events, mut compositor) = start(Behaviour::Valid);
    let handle = events.handle();
    let surface = compositor.globals.compositor.as_ref().unwrap();
    let surface = surface.create_surface(&handle, ());
    let mut representation = ColorRepresentation::new(&surface);
    let colours = |encoding, is_full_range| Colours {
        encoding,
        is_full_range,
    };
    for (fourcc, colours, is_set) in [
        (Fourcc::NV12, colours(Encoding::Bt709, true), true),
        (Fourcc::NV12, colours(Encoding::Bt709, false), false),
        (Fourcc::YUYV, colours(Encoding::Bt709, true), true),
        (Fourcc::XRGB8888, colours(Encoding::Bt601, false), true),
        (Fourcc::NV12, colours(Encoding::Bt2020, true), false),
    ] {
        let found = representation.set(&compositor, &handle, fourcc, colours);
        assert_eq!(found, is_set, "{fourcc} {colours}");
        // The compositor posts an error for other requests.
        events.roundtrip(&mut compositor).unwrap();
    }
}

#[test]
fn compositor_that_closes_the_connection_is_gone() {
    let (mut running, mut events, mut compositor) = start(Behaviour::Valid);
    running.stop();
    let error = events
        .dispatch_until(&mut compositor, "come back", SECONDS, |_| false)
        .unwrap_err();
    assert!(
        matches!(&error, EventsError::Gone { socket, .. } if socket == "a test"),
        "{error}"
    );
}

#[test]
fn compositor_without_xdg_wm_base_is_a_missing_global() {
    let (_running, events, compositor) = start(Behaviour::Valid);
    let error = Window::new(&compositor, &events.handle(), "test", false).unwrap_err();
    assert_eq!(error.interface, "xdg_wm_base");
}

#[test]
fn compositor_that_does_not_answer_times_out() {
    let (_running, mut events, mut compositor) = start(Behaviour::Valid);
    let deadline = Duration::from_millis(50);
    let error = events
        .dispatch_until(&mut compositor, "do a thing", deadline, |_| false)
        .unwrap_err();
    assert!(
        matches!(
            error,
            EventsError::Timeout {
                what: "do a thing",
                ..
            }
        ),
        "{error}"
    );
}
