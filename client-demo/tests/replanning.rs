//! Tests that a stream replaces its buffers when the dma-buf feedback of its surface changes, against a compositor in the same
//! process. The camera is a counter, and its buffers are files that nobody reads.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use covalent_alloc::backend::{Backend, Declared};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{FormatSet, Participant, Role, Source, SourceId};
use covalent_alloc::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::Plan;
use covalent_client_demo::buffer_sets::{BufferSets, ReleasedBuffer};
use covalent_client_demo::compositor::{Compositor, Event};
use covalent_client_demo::dmabuf::{Image, Plane, request_wl_buffer};
use covalent_client_demo::events::Events;
use covalent_client_demo::feedback::Subscription;
use covalent_client_demo::negotiation::{Negotiation, REFUSED};
use covalent_client_demo::planning::Planning;
use covalent_client_demo::replanning::{CurrentBuffers, Replanning, replan};
use covalent_protocols::feedback::{Device, Feedback, Tranche, TrancheFlags};
use covalent_protocols::linux_dmabuf::server::zwp_linux_buffer_params_v1::{
    self, ZwpLinuxBufferParamsV1,
};
use covalent_protocols::linux_dmabuf::server::zwp_linux_dmabuf_feedback_v1::ZwpLinuxDmabufFeedbackV1;
use covalent_protocols::linux_dmabuf::server::zwp_linux_dmabuf_v1::{self, ZwpLinuxDmabufV1};
use covalent_protocols::table::{FormatEntry, FormatTable};
use wayland_server::protocol::wl_buffer::{self, WlBuffer};
use wayland_server::protocol::wl_compositor::{self, WlCompositor};
use wayland_server::protocol::wl_region::WlRegion;
use wayland_server::protocol::wl_surface::{self, WlSurface};
use wayland_server::{
    Client, DataInit, Dispatch, Display, DisplayHandle, GlobalDispatch, New, Resource,
};

const SOURCE: &str = "test:memory";
const BUFFERS: usize = 3;
/// The number of frames that the camera captures.
const FRAMES: i32 = 40;
/// The frames after whose commit the window becomes fullscreen, and leaves fullscreen.
const FULLSCREEN_AT: i32 = 10;
const WINDOW_AT: i32 = 25;

/// What the compositor has seen.
#[derive(Debug, Default)]
struct Seen {
    /// The format and the number of each committed frame.
    frames: Vec<(Fourcc, i32)>,
    /// The number of `wl_buffer`s that exist.
    buffers: usize,
    /// Whether a buffer was destroyed while it was on the screen.
    destroyed_on_screen: bool,
}

struct Fake {
    refuses: Option<Fourcc>,
    feedback: Option<ZwpLinuxDmabufFeedbackV1>,
    attached: Option<WlBuffer>,
    damaged: i32,
    on_screen: Option<WlBuffer>,
    seen: Arc<Mutex<Seen>>,
}

impl Fake {
    /// Sends feedback with these tranches. Their device is unknown, so that no card is opened.
    fn send_feedback(&self, tranches: &[(TrancheFlags, &[u16])]) {
        let entry = |fourcc: Fourcc| FormatEntry {
            fourcc: fourcc.0,
            modifier: 0,
        };
        let table = FormatTable::new([entry(Fourcc::XRGB8888), entry(Fourcc::NV12)]).unwrap();
        let sealed = table.seal().unwrap();
        let tranches = tranches.iter().map(|(flags, indices)| Tranche {
            device: Device(0),
            flags: *flags,
            indices: indices.to_vec(),
        });
        Feedback::new(Device(0), table, tranches.collect())
            .unwrap()
            .send(self.feedback.as_ref().unwrap(), &sealed);
    }

    fn commit(&mut self) {
        let Some(buffer) = self.attached.take() else {
            return;
        };
        let fourcc = *buffer.data::<Fourcc>().unwrap();
        self.seen
            .lock()
            .unwrap()
            .frames
            .push((fourcc, self.damaged));
        if let Some(earlier) = self.on_screen.replace(buffer) {
            earlier.release();
        }
        if self.damaged == FULLSCREEN_AT {
            self.send_feedback(&[(TrancheFlags::SCANOUT, &[1]), (TrancheFlags::empty(), &[0])]);
        } else if self.damaged == WINDOW_AT {
            self.send_feedback(&[(TrancheFlags::empty(), &[0, 1])]);
        }
    }
}

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
        match request {
            wl_compositor::Request::CreateSurface { id } => {
                init.init(id, ());
            }
            wl_compositor::Request::CreateRegion { id } => {
                init.init(id, ());
            }
            _ => {}
        }
    }
}

impl Dispatch<WlSurface, ()> for Fake {
    fn request(
        state: &mut Self,
        _: &Client,
        _: &WlSurface,
        request: wl_surface::Request,
        (): &(),
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        match request {
            wl_surface::Request::Attach { buffer, .. } => state.attached = buffer,
            // The client writes the number of the frame into the damage.
            wl_surface::Request::Damage { x, .. } => state.damaged = x,
            wl_surface::Request::Commit => state.commit(),
            _ => {}
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
            zwp_linux_dmabuf_v1::Request::GetSurfaceFeedback { id, .. } => {
                state.feedback = Some(init.init(id, ()));
                state.send_feedback(&[(TrancheFlags::empty(), &[0])]);
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
        let zwp_linux_buffer_params_v1::Request::Create { format, .. } = request else {
            return;
        };
        if state.refuses == Some(Fourcc(format)) {
            params.failed();
            return;
        }
        let buffer = client
            .create_resource::<WlBuffer, Fourcc, Self>(handle, 1, Fourcc(format))
            .unwrap();
        state.seen.lock().unwrap().buffers += 1;
        params.created(&buffer);
    }
}

impl Dispatch<WlBuffer, Fourcc> for Fake {
    fn request(
        state: &mut Self,
        _: &Client,
        buffer: &WlBuffer,
        request: wl_buffer::Request,
        _: &Fourcc,
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        if let wl_buffer::Request::Destroy = request {
            let mut seen = state.seen.lock().unwrap();
            seen.buffers -= 1;
            seen.destroyed_on_screen |= state.on_screen.as_ref() == Some(buffer);
        }
    }
}

macro_rules! silent {
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
silent!(WlRegion, ZwpLinuxDmabufFeedbackV1);

macro_rules! global {
    ($($interface:ty),*) => {
        $(impl GlobalDispatch<$interface, ()> for Fake {
            fn bind(
                _: &mut Self,
                _: &DisplayHandle,
                _: &Client,
                new: New<$interface>,
                (): &(),
                init: &mut DataInit<'_, Self>,
            ) {
                init.init(new, ());
            }
        })*
    };
}
global!(WlCompositor, ZwpLinuxDmabufV1);

/// A compositor that runs in a thread until this value is dropped.
struct Running {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn start(refuses: Option<Fourcc>) -> (Running, Arc<Mutex<Seen>>, Events, Compositor) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (stop, stopped) = channel::<()>();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut fake = Fake {
        refuses,
        feedback: None,
        attached: None,
        damaged: 0,
        on_screen: None,
        seen: Arc::clone(&seen),
    };
    let thread = std::thread::spawn(move || {
        let mut display: Display<Fake> = Display::new().unwrap();
        let handle = display.handle();
        handle.create_global::<Fake, WlCompositor, ()>(4, ());
        handle.create_global::<Fake, ZwpLinuxDmabufV1, ()>(4, ());
        display
            .handle()
            .insert_client(theirs, Arc::new(()))
            .unwrap();
        while stopped.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
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
    (running, seen, events, compositor)
}

/// A backend that declares a source, from which nothing is allocated.
#[derive(Debug)]
struct Memory;

impl Backend for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn discover(&mut self, _: Extent, _: Option<&Path>) -> Declared {
        let mut declared = Declared::default();
        let source = Source::new(SourceId::new(SOURCE), "test memory");
        declared.sources.push(source);
        declared
    }
}

/// A negotiation with a camera that captures XRGB8888, preferably, and NV12.
fn negotiation() -> Negotiation {
    let identity = DeviceIdentity {
        driver: "counter".to_owned(),
        location: String::new(),
        node: String::new(),
    };
    let mut camera = Participant::new("camera", identity, Role::Capture);
    let formats = FormatSet::from([Fourcc::XRGB8888, Fourcc::NV12].map(FormatModifier::linear));
    camera.for_each_choice(|own| own.formats = Some(formats.clone()));
    let mut collection = BufferCollection::new(Extent::new(64, 64).unwrap())
        .with_count(u32::try_from(BUFFERS).unwrap())
        .with_format(Fourcc::XRGB8888)
        .with_only_source(SourceId::new(SOURCE));
    collection.add_backend(Box::new(Memory));
    collection.add(&camera).unwrap();
    Negotiation::new(collection, "the camera and the compositor")
}

/// A stream of numbered frames.
struct Stream {
    events: Events,
    compositor: Compositor,
    surface: wayland_client::protocol::wl_surface::WlSurface,
    negotiation: Negotiation,
    planning: Planning,
    plan: Plan,
    next_plan: Option<(Plan, String)>,
    sets: BufferSets,
    held: Vec<bool>,
    /// The frames after whose commit the stream kept or replaced its buffers.
    kept: Vec<i32>,
    replaced: Vec<i32>,
    refused: usize,
    frame: i32,
}

impl Stream {
    fn request_wl_buffers(&self, numbers: std::ops::Range<usize>, plan: &Plan) {
        let file = std::fs::File::open("/dev/null").unwrap();
        for number in numbers {
            let image = Image {
                width: 64,
                height: 64,
                fourcc: plan.layout().format().fourcc.0,
                modifier: 0,
                planes: &[Plane {
                    fd: file.as_fd(),
                    offset_bytes: 0,
                    stride_bytes: 256,
                }],
            };
            request_wl_buffer(&self.compositor, &self.events.handle(), number, &image).unwrap();
        }
    }

    fn replan(&mut self) {
        let current = CurrentBuffers {
            plan: &self.plan,
            layout: self.plan.layout(),
        };
        let decided = replan(
            &mut self.planning,
            &mut self.negotiation,
            &self.compositor,
            current,
            |_| true,
        );
        match decided.unwrap() {
            Replanning::Keep(_) => self.kept.push(self.frame),
            Replanning::NoPlan => panic!("there is a plan for every feedback"),
            Replanning::Replace(replacement) => {
                let numbers = self.sets.begin_next(BUFFERS);
                self.request_wl_buffers(numbers, &replacement.plan);
                self.next_plan = Some((*replacement.plan, replacement.usage_label));
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Feedback => self.replan(),
            Event::Created(number, wl_buffer) => {
                if self.sets.created(number, wl_buffer) {
                    let held = std::mem::replace(&mut self.held, vec![false; BUFFERS]);
                    assert!(self.sets.switch(|index| held[index]));
                    self.plan = self.next_plan.take().unwrap().0;
                    self.replaced.push(self.frame);
                }
            }
            Event::Refused(number) => {
                if self.sets.refused(number) {
                    self.refused += 1;
                    let (plan, label) = self.next_plan.take().unwrap();
                    self.negotiation.refuse(&label, &plan, REFUSED).unwrap();
                    self.replan();
                }
            }
            Event::Released(number) => match self.sets.released(number) {
                ReleasedBuffer::Current(index) => self.held[index] = false,
                ReleasedBuffer::Retired => {}
                ReleasedBuffer::Unknown => panic!("buffer {number} was not committed"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Captures and commits all frames.
    fn run(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.frame < FRAMES {
            assert!(Instant::now() < deadline, "the compositor stopped");
            let interval = Some(Duration::from_millis(5));
            self.events
                .dispatch(&mut self.compositor, interval)
                .unwrap();
            for event in self.compositor.take_events() {
                self.handle_event(event);
            }
            let Some(index) = self.held.iter().position(|is_held| !is_held) else {
                continue;
            };
            self.held[index] = true;
            self.surface.attach(self.sets.wl_buffer(index), 0, 0);
            self.surface.damage(self.frame, 0, 1, 1);
            self.surface.commit();
            self.frame += 1;
        }
        self.events.roundtrip(&mut self.compositor).unwrap();
        for event in self.compositor.take_events() {
            self.handle_event(event);
        }
    }
}

/// Plans for the first feedback, and creates its `wl_buffer`s.
fn stream(events: Events, compositor: Compositor) -> (Stream, Subscription) {
    let (mut events, mut compositor) = (events, compositor);
    let handle = events.handle();
    let surface = compositor.globals.compositor.as_ref().unwrap();
    let surface = surface.create_surface(&handle, ());
    let subscription = Subscription::window(&compositor, &surface, &handle).unwrap();
    events.roundtrip(&mut compositor).unwrap();
    compositor.take_events();
    let (mut negotiation, mut planning) = (negotiation(), Planning::open());
    let requests = covalent_client_demo::tranche_request::tranche_requests(
        compositor.current_feedback().unwrap(),
        compositor.crop(),
    );
    let alternatives = negotiation.alternatives(&requests).unwrap();
    let (_, plan) = planning.decide(&alternatives).chosen.unwrap();
    let mut stream = Stream {
        events,
        compositor,
        surface,
        negotiation,
        planning,
        plan: *plan,
        next_plan: None,
        sets: BufferSets::new(Vec::new()),
        held: vec![false; BUFFERS],
        kept: Vec::new(),
        replaced: Vec::new(),
        refused: 0,
        frame: 0,
    };
    stream.request_wl_buffers(0..BUFFERS, &stream.plan);
    let mut wl_buffers = Vec::new();
    stream
        .events
        .dispatch_until(
            &mut stream.compositor,
            "create wl_buffers",
            Duration::from_secs(10),
            |compositor| {
                for event in compositor.take_events() {
                    match event {
                        Event::Created(_, wl_buffer) => wl_buffers.push(wl_buffer),
                        other => panic!("{other:?}"),
                    }
                }
                wl_buffers.len() == BUFFERS
            },
        )
        .unwrap();
    stream.sets = BufferSets::new(wl_buffers);
    (stream, subscription)
}

/// Checks that each frame was committed once and in order.
fn check_frames(seen: &Seen) {
    let numbers: Vec<i32> = seen.frames.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, (0..FRAMES).collect::<Vec<_>>());
    assert!(!seen.destroyed_on_screen);
}

#[test]
fn feedback_with_another_first_tranche_replaces_the_buffers_without_a_lost_or_repeated_frame() {
    let (_running, seen, events, compositor) = start(None);
    let (mut stream, _subscription) = stream(events, compositor);
    assert_eq!(stream.plan.layout().format().fourcc, Fourcc::XRGB8888);
    stream.run();
    assert_eq!(stream.replaced.len(), 1, "{:?}", stream.replaced);
    assert!(stream.replaced[0] > FULLSCREEN_AT);
    // The window that left fullscreen can be composited from the buffers that it has.
    assert_eq!(stream.kept.len(), 1, "{:?}", stream.kept);
    assert!(stream.kept[0] > WINDOW_AT);
    let seen = seen.lock().unwrap();
    check_frames(&seen);
    for (fourcc, number) in &seen.frames {
        let expected = match *number < stream.replaced[0] {
            true => Fourcc::XRGB8888,
            false => Fourcc::NV12,
        };
        assert_eq!(*fourcc, expected, "frame {number}");
    }
    // The buffers of the first set are destroyed, the one on the screen after it was released.
    assert!(!stream.sets.is_changing());
    assert_eq!(seen.buffers, BUFFERS);
}

#[test]
fn buffers_that_the_compositor_refuses_leave_the_stream_with_those_that_it_has() {
    let (_running, seen, events, compositor) = start(Some(Fourcc::NV12));
    let (mut stream, _subscription) = stream(events, compositor);
    stream.run();
    assert_eq!(stream.refused, 1);
    assert!(stream.replaced.is_empty());
    // Without the source of the refused buffers, the second tranche is served by the buffers of the stream.
    assert_eq!(stream.kept.len(), 2, "{:?}", stream.kept);
    let seen = seen.lock().unwrap();
    check_frames(&seen);
    assert!(
        seen.frames
            .iter()
            .all(|(fourcc, _)| *fourcc == Fourcc::XRGB8888)
    );
    assert_eq!(seen.buffers, BUFFERS);
}
