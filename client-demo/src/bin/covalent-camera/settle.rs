//! From what camera, compositor and memory sources say to buffers that all of them have taken.
//!
//! The compositor's wishes are tried in its own order: first what the display can read directly, which its card has to import
//! too; then what can be composited, where the compositor alone decides. A plan is only settled when the compositor has made a
//! `wl_buffer` of every buffer; if it refuses, that becomes a constraint and the plan is made again.

use anyhow::{Context, anyhow};
use covalent_alloc::backend::drm::HostCopies;
use covalent_alloc::backend::v4l2::Stream;
use covalent_alloc::backend::v4l2::{Device, Direction};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::Layout;
use covalent_alloc::solve::Plan;
use covalent_client_demo::blame;
use covalent_client_demo::compositor::Compositor;
use covalent_client_demo::events::Events;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::offers::{Answer, present};
use covalent_client_demo::opening::open_window;
use covalent_client_demo::print;
use covalent_client_demo::window::Window;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::bargain::Bargain;
use crate::options::Options;

/// How often a refusal may lead to another plan.
const PLANS: usize = 6;

/// What the frames are streamed with.
pub(crate) struct Ground {
    pub(crate) events: Events,
    pub(crate) compositor: Compositor,
    pub(crate) window: Window,
    pub(crate) settled: Settled,
    pub(crate) stream: Stream,
    pub(crate) wires: Vec<WlBuffer>,
}

/// A plan that everybody has agreed to, and its buffers.
#[derive(Debug)]
pub(crate) struct Settled {
    camera: String,
    plan: Plan,
    buffers: Vec<Buffer>,
    copies: Option<HostCopies>,
}

impl Settled {
    /// Returns who allocated, in words.
    pub(crate) fn source_name(&self) -> String {
        self.plan.source_name().to_owned()
    }

    /// Returns what the camera is called.
    pub(crate) fn camera_name(&self) -> &str {
        &self.camera
    }

    /// Returns where the planes of the first buffer really lie; all buffers are alike.
    pub(crate) fn layout(&self) -> &Layout {
        self.buffers
            .first()
            .map_or_else(|| self.plan.layout(), Buffer::layout)
    }

    /// Returns the buffers, by their index in the camera's queue.
    pub(crate) fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Returns the size of the picture in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        let extent = self.plan.layout().extent();
        (extent.width(), extent.height())
    }

    /// Makes what the camera wrote into the buffer at `index` known to a device that keeps a copy of its own.
    pub(crate) fn publish(&self, index: usize) -> Result<(), Failure> {
        let Some(copies) = &self.copies else {
            return Ok(());
        };
        copies
            .update(index)
            .map_err(|error| Failure::new(Exit::Unexpected, error))
    }

    /// Returns the plan as data, or null where it cannot be said.
    pub(crate) fn plan_data(&self) -> serde_json::Value {
        serde_json::to_value(&self.plan).unwrap_or_default()
    }
}

/// Makes the window, plans, allocates, and hands the buffers to camera and compositor.
pub(crate) fn settle(options: &Options) -> Result<Ground, Failure> {
    let device = Device::open(&options.device).map_err(blame::camera)?;
    let queue = device.queue(Direction::Capture).map_err(blame::camera)?;
    let (mut events, mut compositor) = Events::connect().map_err(blame::compositor)?;
    // The camera is planned for once: what the compositor wants later is not listened to.
    let (window, _) = open_window(
        &mut events,
        &mut compositor,
        "camera",
        options.fullscreen || !options.window,
    )?;
    let mut bargain = Bargain::new(options, &queue, &compositor)?;
    for _ in 0..PLANS {
        let (plan, wish) = bargain.plan()?;
        let stream = match bargain.stream(&plan)? {
            Ok(stream) => stream,
            Err(refusal) => {
                bargain.refused(&plan, wish, &refusal.to_string());
                continue;
            }
        };
        let buffers = stream.buffers().to_vec();
        match present(&mut events, &mut compositor, &buffers).map_err(blame::offers)? {
            Answer::Taken(wires) => {
                explain(options, &bargain.account(&plan, wish))?;
                let extent = plan.layout().extent();
                window.fit(
                    (extent.width(), extent.height()),
                    compositor.configure.unwrap_or_default(),
                );
                if let Some(rate) = options.fps {
                    queue.set_frame_rate(rate).map_err(blame::camera)?;
                }
                let copies = HostCopies::of(&plan, &buffers)
                    .map_err(|error| Failure::new(Exit::Allocation, error))?;
                return Ok(Ground {
                    events,
                    compositor,
                    window,
                    settled: Settled {
                        camera: options.device.display().to_string(),
                        plan,
                        buffers,
                        copies,
                    },
                    stream,
                    wires,
                });
            }
            Answer::Refused => bargain.refused(
                &plan,
                wish,
                "the compositor refused its buffers (zwp_linux_buffer_params_v1.failed)",
            ),
        }
    }
    Err(Failure::new(
        Exit::NoPlan,
        anyhow!(
            "{PLANS} plans were refused, which is the most that are tried:\n{}",
            bargain.refusals.join("\n")
        ),
    ))
}

/// Prints the plan where it was asked for.
fn explain(options: &Options, words: &str) -> Result<(), Failure> {
    if !options.explain {
        return Ok(());
    }
    print::words(&format!("{words}\n"), options.json)
        .context("printing the plan")
        .map_err(|error| Failure::new(Exit::Unexpected, error))
}
