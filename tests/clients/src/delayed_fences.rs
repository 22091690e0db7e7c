//! Commits frames whose fences are pending, and checks that no frame is presented before a simulated device has written it.
//!
//! The client commits two frames at a time. A thread simulates the device: after random delays and in random order, it draws the
//! frame's number and signals the fence. When the compositor reports that a frame was presented, the dma-buf that the display
//! scans out is read. It must contain a complete picture of that frame, or of the frame that was committed with it. A picture
//! from an earlier use of the buffer has another frame number.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use covalent_alloc::buffer::{Buffer, CpuAccess, Descriptor, PlaneDescriptor};
use covalent_alloc::constraint::SourceId;
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_alloc::sync::{Access, Fence};
use covalent_client_demo::compositor::Event;
use covalent_client_demo::pattern::Pattern;
use covalent_client_demo::window::Window;
use covalent_client_demo::wl_buffers::{ImportResult, import_wl_buffers};
use covalent_tests::judge::scanout;
use covalent_tests::sw_sync::{DeviceView, SwSyncTimeline};
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::check;
use crate::test_client::{self, SharedTimeline, TestClient};

/// The size of the frames.
const SIZE: (u32, u32) = (640, 480);

/// The number of buffers: two that are committed, and two that are on the display or not released yet.
const BUFFERS: u32 = 4;

/// The longest time that the simulated device delays a frame, in milliseconds. It is several refresh periods.
const SLOWEST_MS: u64 = 60;

/// The way in which the compositor gets the fence of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FencePath {
    /// The acquire timeline point contains the fence.
    AcquirePoint,
    /// The dma-buf's reservation object contains the fence.
    Reservation,
    /// The compositor gets no fence. The check must detect a wrong frame.
    NoFence,
}

/// Shows `frames` frames with each kind of fence path. If `without_fences` is set, the compositor gets no fences, so every check
/// must fail.
pub(crate) fn run(frames: u32, sources: &[String], without_fences: bool) -> bool {
    let mut passed = true;
    for source in sources {
        let paths: &[FencePath] = if without_fences {
            &[FencePath::NoFence]
        } else {
            &[FencePath::AcquirePoint, FencePath::Reservation]
        };
        for path in paths {
            let name = format!("{frames}_frames_of_{source}_by_{path:?}_are_shown_when_written");
            passed &= check(&name.to_lowercase(), || show(frames, source, *path));
        }
    }
    passed
}

/// A frame that the simulated device has to draw.
struct Job {
    number: u32,
    index: usize,
    /// The sw_sync timeline that signals the frame's fence when it advances; `None` if the compositor gets no fence.
    sw_sync: Option<SwSyncTimeline>,
    delay: Duration,
}

/// A generator of pseudo-random numbers (xorshift), which are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Runs the simulated device, which draws the frames in the order in which the jobs arrive.
fn run_device(jobs: &Receiver<Job>, views: &[DeviceView], stride: usize) -> anyhow::Result<()> {
    let pattern = Pattern::new(SIZE.0, SIZE.1)?;
    for job in jobs {
        thread::sleep(job.delay);
        let rows = pattern.rows(job.number);
        let view = views.get(job.index).context("the buffer has no mapping")?;
        for (y, offset) in (0..SIZE.1).zip((0..).step_by(stride)) {
            view.write(offset, rows.row(y));
        }
        if let Some(sw_sync) = job.sw_sync {
            sw_sync.advance(1)?;
        }
    }
    Ok(())
}

/// A window with its buffers.
struct BufferedWindow {
    client: TestClient,
    window: Window,
    buffers: Vec<Buffer>,
    wl_buffers: Vec<WlBuffer>,
    points: Option<SyncTimelines>,
    path: FencePath,
    free: Vec<bool>,
}

/// The timelines of a window that uses linux-drm-syncobj.
struct SyncTimelines {
    object: wayland_protocols::wp::linux_drm_syncobj::v1::client::wp_linux_drm_syncobj_surface_v1::WpLinuxDrmSyncobjSurfaceV1,
    acquire: SharedTimeline,
    acquired: u64,
    releases: Vec<(SharedTimeline, u64)>,
}

/// Shows `frames` frames in buffers of a source, with fences on one fence path.
fn show(frames: u32, source: &str, path: FencePath) -> anyhow::Result<()> {
    let mut window = BufferedWindow::open(source, path)?;
    let views = window
        .buffers
        .iter()
        .map(|buffer| {
            let fd = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
            let bytes = usize::try_from(buffer.layout().total_bytes())?;
            Ok(DeviceView::map(fd, bytes)?)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let stride = window
        .buffers
        .first()
        .and_then(|buffer| buffer.layout().planes().first())
        .context("the layout has no plane")?
        .stride_bytes;
    let stride = usize::try_from(stride)?;
    thread::scope(|scope| {
        let (jobs, queue) = channel();
        let device = scope.spawn(move || run_device(&queue, &views, stride));
        let shown = window.show_pairs(frames, jobs);
        let worked = device
            .join()
            .map_err(|_| anyhow::anyhow!("the device's thread panicked"))?;
        shown.and(worked)
    })
}

impl BufferedWindow {
    fn open(source: &str, path: FencePath) -> anyhow::Result<Self> {
        let mut client = TestClient::connect()?;
        let handle = client.events.handle();
        client.compositor.configure = None;
        let window = Window::new(&client.compositor, &handle, "held", true)?;
        client.configured()?;
        let extent = Extent::new(SIZE.0, SIZE.1)?;
        let source = SourceId::new(source);
        let buffers = test_client::allocate(BUFFERS, extent, Some(&source))?;
        let wl_buffers =
            match import_wl_buffers(&mut client.events, &mut client.compositor, &buffers)? {
                ImportResult::Imported(wl_buffers) => wl_buffers,
                ImportResult::Refused => bail!("the compositor refused the buffers of {source}"),
            };
        let points = if path == FencePath::Reservation {
            None
        } else {
            Some(SyncTimelines {
                object: client.manager.get_surface(window.surface(), &handle, ()),
                acquire: client.timeline()?,
                acquired: 0,
                releases: (0..BUFFERS)
                    .map(|_| Ok((client.timeline()?, 0)))
                    .collect::<anyhow::Result<_>>()?,
            })
        };
        Ok(Self {
            free: vec![true; wl_buffers.len()],
            client,
            window,
            buffers,
            wl_buffers,
            points,
            path,
        })
    }

    /// Commits pairs of frames, passes them to the simulated device in random order, and checks what the display shows.
    fn show_pairs(&mut self, frames: u32, jobs: Sender<Job>) -> anyhow::Result<()> {
        let mut random = Random(0x5eed_c0de);
        let mut number = 1;
        while number <= frames {
            let pair = [number, number + 1];
            let mut committed = Vec::new();
            let mut pair_jobs = Vec::new();
            for number in pair {
                let index = self.take_free()?;
                let (shown, sw_sync) = self.commit(index)?;
                committed.push((number, shown));
                pair_jobs.push(Job {
                    number,
                    index,
                    sw_sync,
                    delay: Duration::from_millis(random.below(SLOWEST_MS)),
                });
            }
            if random.below(2) == 1 {
                pair_jobs.reverse();
            }
            for job in pair_jobs {
                jobs.send(job).context("the device's thread has ended")?;
            }
            self.check_presented(&committed)?;
            number += 2;
        }
        Ok(())
    }

    /// Waits for a buffer that the compositor has released, and marks it as used.
    fn take_free(&mut self) -> anyhow::Result<usize> {
        loop {
            if let Some(points) = &self.points {
                for (free, (shared, last)) in self.free.iter_mut().zip(&points.releases) {
                    *free = shared.timeline.last_signalled()? >= *last;
                }
            }
            let ready = |index: &usize| {
                self.buffers.get(*index).is_some_and(|buffer| {
                    self.path != FencePath::Reservation
                        || buffer
                            .reservation()
                            .is_ready(Access::Write)
                            .unwrap_or(false)
                })
            };
            let mut released =
                (0..self.free.len()).filter(|index| self.free.get(*index) == Some(&true));
            if let Some(index) = released.find(ready) {
                if let Some(free) = self.free.get_mut(index) {
                    *free = false;
                }
                return Ok(index);
            }
            self.poll_frames()?;
        }
    }

    /// Does a roundtrip. Returns each frame for which feedback arrived: `true` if it was presented, `false` if it was discarded.
    fn poll_frames(&mut self) -> anyhow::Result<Vec<(u64, bool)>> {
        thread::sleep(Duration::from_millis(1));
        let mut ends = Vec::new();
        for event in self.client.roundtrips(1)? {
            match event {
                Event::Released(index) if self.points.is_none() => {
                    if let Some(free) = self.free.get_mut(index) {
                        *free = true;
                    }
                }
                Event::Presented(frame, _) => ends.push((frame, true)),
                Event::Discarded(frame) => ends.push((frame, false)),
                _ => {}
            }
        }
        Ok(ends)
    }

    /// Commits a buffer before the device has drawn it. Returns the frame's number in the window, and the sw_sync timeline of its
    /// fence.
    fn commit(&mut self, index: usize) -> anyhow::Result<(u64, Option<SwSyncTimeline>)> {
        let sw_sync = SwSyncTimeline::new()?;
        // The fence stays pending until the simulated device has drawn the frame.
        let fence: Fence = sw_sync.fence(1)?;
        let handle = self.client.events.handle();
        let wl_buffer = self
            .wl_buffers
            .get(index)
            .context("there is no buffer of this index")?;
        let buffer = self
            .buffers
            .get(index)
            .context("there is no buffer of this index")?;
        let sw_sync = match self.path {
            FencePath::Reservation => {
                buffer.reservation().add(&fence, Access::Write)?;
                Some(sw_sync)
            }
            FencePath::AcquirePoint | FencePath::NoFence => {
                let points = self
                    .points
                    .as_mut()
                    .context("the window has no timelines")?;
                let (release, last) = points
                    .releases
                    .get_mut(index)
                    .context("the buffer has no timeline")?;
                points.acquired += 1;
                *last += 1;
                let point = points.acquire.timeline.point(points.acquired)?;
                if self.path == FencePath::AcquirePoint {
                    point.set_fence(&fence)?;
                } else {
                    point.signal()?;
                }
                test_client::set_points(
                    &points.object,
                    (&points.acquire, points.acquired),
                    (release, *last),
                );
                (self.path == FencePath::AcquirePoint).then_some(sw_sync)
            }
        };
        Ok((self.window.show(wl_buffer, &handle), sw_sync))
    }

    /// Waits until both frames of a pair are presented or discarded. At each presentation, checks what the display shows.
    fn check_presented(&mut self, committed: &[(u32, u64)]) -> anyhow::Result<()> {
        let numbers: Vec<u32> = committed.iter().map(|(number, _)| *number).collect();
        let mut left: Vec<u64> = committed.iter().map(|(_, frame)| *frame).collect();
        let last = left.last().copied();
        let deadline = std::time::Instant::now() + test_client::TIMEOUT;
        while !left.is_empty() {
            ensure!(
                std::time::Instant::now() < deadline,
                "the compositor neither presented nor discarded {} of the frames {numbers:?}",
                left.len()
            );
            for (frame, presented) in self.poll_frames()? {
                left.retain(|other| *other != frame);
                if presented {
                    let found = displayed()?;
                    ensure!(
                        numbers.contains(&found),
                        "the display shows frame {found} although one of {numbers:?} was presented"
                    );
                } else {
                    ensure!(
                        Some(frame) != last,
                        "the compositor discarded the newest frame"
                    );
                }
            }
        }
        Ok(())
    }
}

/// Returns the number of the frame that the first display scans out, after a check that the picture is complete.
fn displayed() -> anyhow::Result<u32> {
    let (found, memory) = scanout::read_memory()?
        .into_iter()
        .next()
        .context("no display shows a framebuffer")?;
    ensure!(
        found.size == SIZE,
        "the display shows a framebuffer of another size: {found:?}"
    );
    let fourcc = Fourcc::XRGB8888;
    let buffer = Buffer::import(Descriptor {
        extent: Extent::new(SIZE.0, SIZE.1)?,
        format: FormatModifier::linear(fourcc),
        planes: vec![PlaneDescriptor {
            fd: memory,
            offset_bytes: 0,
            stride_bytes: found.stride_bytes,
        }],
    })?;
    let mapping = buffer.map()?;
    let guard = mapping.access(CpuAccess::Read)?;
    let row_bytes = usize::try_from(SIZE.0)? * 4;
    let mut picture = vec![0; row_bytes * usize::try_from(SIZE.1)?];
    for (y, row) in (0..SIZE.1).zip(picture.chunks_mut(row_bytes)) {
        guard.read_row(0, y, 0, row)?;
    }
    drop(guard);
    let number = Pattern::new(SIZE.0, SIZE.1)?.verify(0, |x, y| {
        let place =
            usize::try_from(y).unwrap_or(0) * row_bytes + usize::try_from(x).unwrap_or(0) * 4;
        match picture.get(place..place + 3) {
            Some([blue, green, red]) => [*red, *green, *blue],
            _ => [1, 2, 3],
        }
    })?;
    Ok(number)
}
