//! Shows a camera on a Wayland compositor without copying a frame: `camera [/dev/video0] [FRAMES]`.
//!
//! The camera writes into buffers that the compositor shows. A buffer is queued in the camera again only when the
//! compositor has released it and its fences are signalled.

use std::error::Error;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use covalent_alloc::backend::v4l2::{Device, Direction, Frame, Queue, Stream};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::Extent;
use covalent_alloc::sync::{Access, SyncPoint};
use covalent_client_demo::compositor::{Compositor, Event};
use covalent_client_demo::events::{Events, Ready};
use covalent_client_demo::negotiation::{NegotiatedBuffers, Negotiation};
use covalent_client_demo::open_window::open_window;
use covalent_client_demo::window::Window;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let node = PathBuf::from(arguments.next().unwrap_or("/dev/video0".to_owned()));
    let frames: u64 = arguments
        .next()
        .map_or(Ok(60), |argument| argument.parse())?;

    let camera = Device::open(&node)?.queue(Direction::Capture)?;
    let (mut events, mut compositor) = Events::connect()?;
    let (window, _feedback) = open_window(&mut events, &mut compositor, "camera", false)?;
    let negotiated = negotiate(&camera, &mut events, &mut compositor)?;
    println!("{}", negotiated.summary);
    let layout = negotiated.plan.layout();
    let extent = layout.visible().extent();
    window.crop(layout);
    window.fit(
        (extent.width(), extent.height()),
        compositor.configure.unwrap_or_default(),
    );

    let ready = events.watch(negotiated.imported.as_fd())?;
    let on_screen = negotiated.buffers.iter().map(|_| None).collect();
    let mut app = App {
        events,
        compositor,
        window,
        negotiated,
        ready,
        on_screen,
        frames,
        shown: 0,
    };
    app.negotiated.imported.start()?;
    while app.shown < app.frames && !app.events.is_interrupted() {
        app.dispatch()?;
    }
    println!("{} frames were shown", app.shown);
    Ok(())
}

/// Allocates buffers that the camera and the compositor can share, and imports them into both.
fn negotiate(
    camera: &Queue,
    events: &mut Events,
    compositor: &mut Compositor,
) -> Result<NegotiatedBuffers<Stream>, Box<dyn Error>> {
    // With fewer than four buffers the camera stalls as soon as the compositor releases a buffer one frame late.
    let mut collection = BufferCollection::new(Extent::new(640, 480)?).with_count(4);
    collection.add(camera)?;
    let mut negotiation = Negotiation::new(collection, "the camera and the compositor");
    let negotiated = negotiation.negotiate(events, compositor, |collection, buffers| {
        let mut stream = collection.import(camera, buffers)?;
        for index in 0..buffers.len() {
            stream.queue(index)?;
        }
        Ok(stream)
    })?;
    Ok(negotiated)
}

/// The state of the event loop.
struct App {
    events: Events,
    compositor: Compositor,
    window: Window,
    negotiated: NegotiatedBuffers<Stream>,
    /// Set when the camera has captured a frame.
    ready: Ready,
    /// The frames that the compositor holds, by buffer index. Dropping a frame queues its buffer in the camera again.
    on_screen: Vec<Option<Frame>>,
    /// The number of frames to show.
    frames: u64,
    shown: u64,
}

impl App {
    /// Waits for events and handles them.
    fn dispatch(&mut self) -> Result<(), Box<dyn Error>> {
        self.events.dispatch(&mut self.compositor, None)?;
        for event in self.compositor.take_events() {
            self.handle_event(event)?;
        }
        if self.ready.take() {
            // Several frames may be ready at once.
            while self.shown < self.frames {
                let Some(frame) = self.negotiated.imported.next_frame()? else {
                    break;
                };
                self.show(frame)?;
            }
        }
        Ok(())
    }

    /// Commits a frame.
    fn show(&mut self, frame: Frame) -> Result<(), Box<dyn Error>> {
        let index = frame.info().index;
        if let Some(copies) = &self.negotiated.copies {
            copies.update(index)?;
        }
        self.window
            .show(&self.negotiated.wl_buffers[index], &self.events.handle());
        self.on_screen[index] = Some(frame);
        self.shown += 1;
        Ok(())
    }

    fn handle_event(&mut self, event: Event) -> Result<(), Box<dyn Error>> {
        match event {
            // The compositor's GPU may read the buffer until the fences of the dma-buf are signalled.
            Event::Released(index) => {
                let read = SyncPoint::implicit(&self.negotiated.buffers[index], Access::Write)?;
                self.events.watch_fence(read.wait()?, index)?;
            }
            Event::BufferIdle(index) => self.on_screen[index] = None,
            Event::Closed => return Err("the window was closed".into()),
            Event::InvalidData(what) => return Err(what.into()),
            _ => {}
        }
        Ok(())
    }
}
