//! A client connection with windows, buffers and timelines, for valid and invalid requests.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{CpuUse, Participant, Role, SourceId};
use covalent_alloc::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::{Solution, solve};
use covalent_alloc::sync::{SyncDevice, Timeline};
use covalent_client_demo::compositor::{Compositor, Event};
use covalent_client_demo::events::{ANSWER_DEADLINE, Events, EventsError};
use covalent_client_demo::explicit_sync::{open_syncobj_device, split_u64};
use covalent_client_demo::window::Window;
use covalent_client_demo::wl_buffers::{ImportResult, import_wl_buffers};
use wayland_client::Proxy as _;
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_protocols::wp::linux_drm_syncobj::v1::client::{
    wp_linux_drm_syncobj_manager_v1::WpLinuxDrmSyncobjManagerV1,
    wp_linux_drm_syncobj_surface_v1::WpLinuxDrmSyncobjSurfaceV1,
    wp_linux_drm_syncobj_timeline_v1::WpLinuxDrmSyncobjTimelineV1,
};

/// The width and the height of the buffers. They are small, so that many buffers can be allocated.
const SIDE: u32 = 64;

/// The longest time that the client waits for an expected event.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A timeline that the compositor has imported.
#[derive(Debug)]
pub(crate) struct SharedTimeline {
    pub(crate) timeline: Timeline,
    pub(crate) file: OwnedFd,
    pub(crate) proxy: WpLinuxDrmSyncobjTimelineV1,
}

/// A window with its `wp_linux_drm_syncobj_surface_v1`.
#[derive(Debug)]
pub(crate) struct SyncWindow {
    pub(crate) window: Window,
    pub(crate) object: WpLinuxDrmSyncobjSurfaceV1,
}

/// A connection to the compositor.
#[derive(Debug)]
pub(crate) struct TestClient {
    pub(crate) events: Events,
    pub(crate) compositor: Compositor,
    pub(crate) manager: WpLinuxDrmSyncobjManagerV1,
    device: SyncDevice,
}

impl TestClient {
    pub(crate) fn connect() -> anyhow::Result<Self> {
        let (events, compositor) = Events::connect()?;
        let manager = compositor
            .globals
            .syncobj
            .clone()
            .context("the compositor does not offer linux-drm-syncobj")?;
        Ok(Self {
            events,
            compositor,
            manager,
            device: open_syncobj_device().context("no render node has timelines")?,
        })
    }

    /// Creates a window, waits for its first configure, and creates its syncobj surface.
    pub(crate) fn window(&mut self) -> anyhow::Result<SyncWindow> {
        let handle = self.events.handle();
        self.compositor.configure = None;
        let window = Window::new(&self.compositor, &handle, "check", false)?;
        self.configured()?;
        let object = self.manager.get_surface(window.surface(), &handle, ());
        Ok(SyncWindow { window, object })
    }

    /// Waits for a configure event of a window.
    pub(crate) fn configured(&mut self) -> anyhow::Result<()> {
        let done = self.events.dispatch_until(
            &mut self.compositor,
            "configure the window",
            ANSWER_DEADLINE,
            |compositor| compositor.configure.is_some(),
        );
        Ok(done?)
    }

    /// Allocates buffers and imports them into the compositor.
    pub(crate) fn buffers(&mut self, count: u32) -> anyhow::Result<Vec<WlBuffer>> {
        let buffers = allocate(count, Extent::new(SIDE, SIDE)?, None)?;
        match import_wl_buffers(&mut self.events, &mut self.compositor, &buffers)? {
            ImportResult::Imported(wl_buffers) => Ok(wl_buffers),
            ImportResult::Refused => bail!("the compositor refused the buffers"),
        }
    }

    /// Creates a timeline and imports it into the compositor.
    pub(crate) fn timeline(&self) -> anyhow::Result<SharedTimeline> {
        let timeline = Timeline::create(&self.device)?;
        let file = timeline.export()?;
        let proxy = self.import(file.as_fd());
        Ok(SharedTimeline {
            timeline,
            file,
            proxy,
        })
    }

    /// Imports a syncobj file into the compositor as a timeline.
    pub(crate) fn import(&self, file: std::os::fd::BorrowedFd<'_>) -> WpLinuxDrmSyncobjTimelineV1 {
        self.manager
            .import_timeline(file, &self.events.handle(), ())
    }

    /// Commits a buffer with an acquire and a release point. Returns the number of the frame.
    pub(crate) fn show(
        &self,
        window: &mut SyncWindow,
        buffer: &WlBuffer,
        acquire: (&SharedTimeline, u64),
        release: (&SharedTimeline, u64),
    ) -> u64 {
        set_points(&window.object, acquire, release);
        window.window.show(buffer, &self.events.handle())
    }

    /// Waits until `done` returns true. `done` is called once for every event, and with `None` after a dispatch whose events did
    /// not match.
    pub(crate) fn until(
        &mut self,
        what: &'static str,
        mut done: impl FnMut(Option<&Event>) -> bool,
    ) -> anyhow::Result<()> {
        let reached =
            self.events
                .dispatch_until(&mut self.compositor, what, TIMEOUT, |compositor| {
                    let seen: Vec<Event> = compositor.take_events().into();
                    // `done` is called for every event, even if it has returned true for an earlier event.
                    let hits = seen.iter().filter(|event| done(Some(event))).count();
                    hits > 0 || done(None)
                });
        Ok(reached?)
    }

    /// Waits until a frame was presented.
    pub(crate) fn until_presented(&mut self, frame: u64) -> anyhow::Result<()> {
        self.until(
            "present a frame",
            |event| matches!(event, Some(Event::Presented(number, _)) if *number == frame),
        )
    }

    /// Does a number of roundtrips and returns the events that arrived.
    pub(crate) fn roundtrips(&mut self, rounds: u32) -> anyhow::Result<Vec<Event>> {
        let mut seen = Vec::new();
        for _ in 0..rounds {
            self.events.roundtrip(&mut self.compositor)?;
            seen.extend(self.compositor.take_events());
        }
        Ok(seen)
    }

    /// Waits for this protocol error.
    pub(crate) fn expect_error(&mut self, interface: &str, code: u32) -> anyhow::Result<()> {
        match self.events.roundtrip(&mut self.compositor) {
            Ok(()) => bail!("the compositor sent no protocol error"),
            Err(EventsError::Refused { reason, .. }) => {
                let wanted = format!("error {code} on object {interface}@");
                ensure!(
                    reason.contains(&wanted),
                    "the protocol error is {reason:?} instead of {wanted:?}"
                );
                Ok(())
            }
            Err(other) => Err(other.into()),
        }
    }
}

/// Returns the name of an interface, as protocol errors print it.
pub(crate) fn interface<P: wayland_client::Proxy>() -> &'static str {
    P::interface().name
}

/// Returns the name of the interface of [`SyncWindow::object`].
pub(crate) fn object_name() -> &'static str {
    WpLinuxDrmSyncobjSurfaceV1::interface().name
}

/// Sets the acquire and the release point of a surface's next commit.
pub(crate) fn set_points(
    object: &WpLinuxDrmSyncobjSurfaceV1,
    acquire: (&SharedTimeline, u64),
    release: (&SharedTimeline, u64),
) {
    let [high, low] = split_u64(acquire.1);
    object.set_acquire_point(&acquire.0.proxy, high, low);
    let [high, low] = split_u64(release.1);
    object.set_release_point(&release.0.proxy, high, low);
}

/// Allocates linear buffers that the CPU can access, so that any compositor can composite them. The buffers come from `source`,
/// or from any source if it is `None`.
pub(crate) fn allocate(
    count: u32,
    extent: Extent,
    source: Option<&SourceId>,
) -> anyhow::Result<Vec<Buffer>> {
    let mut collection = BufferCollection::new(extent).with_count(count);
    let identity = DeviceIdentity {
        driver: "processor".to_owned(),
        location: String::new(),
        node: String::new(),
    };
    let mut writer = Participant::new("processor", identity, Role::CpuWrite);
    writer.for_each_choice(|own| {
        own.formats = Some(vec![FormatModifier::linear(Fourcc::XRGB8888)].into());
        own.memory.cpu = CpuUse::Often;
    });
    collection.add(&writer)?;
    let mut request = collection.request();
    if let Some(wanted) = source {
        request
            .sources
            .retain(|source| source.id.as_str().starts_with(wanted.as_str()));
    }
    match solve(&request) {
        Solution::Share(plan) => Ok(collection.allocate(&plan)?),
        other => bail!("{}", other.explain()),
    }
}
