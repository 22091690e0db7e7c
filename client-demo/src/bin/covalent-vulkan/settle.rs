//! From nothing to a window, a device that can draw for it, and a camera where one is asked for.

use anyhow::{Context as _, anyhow};
use calloop::channel::Sender as Mailbox;
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::model::Extent;
use covalent_alloc::solve::Plan;
use covalent_client_demo::blame;
use covalent_client_demo::compositor::Compositor;
use covalent_client_demo::events::Events;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::feedback::Subscription;
use covalent_client_demo::opening::open_window;
use covalent_client_demo::window::{Configure, Window};
use covalent_client_demo::wishes::{Wish, wishes};

use crate::bargain::{Bargain, Whom};
use crate::camera::{self, Camera, Terms};
use crate::gpus::Gpus;
use crate::options::Options;
use crate::planner::{Alternative, Answer, Planner};
use crate::render::Renderer;

/// What the mailbox says when there is an answer of the planner; frames are numbered from 0.
pub(crate) const PLANNED: u64 = u64::MAX;
/// How long drivers may take to be tried: each trial of the helper process has a deadline of its own.
const PLANNING: std::time::Duration = std::time::Duration::from_secs(300);

/// What frames are drawn and shown with.
pub(crate) struct Ground {
    pub(crate) events: Events,
    pub(crate) compositor: Compositor,
    pub(crate) window: Window,
    pub(crate) subscriptions: [Subscription; 2],
    pub(crate) mailbox: Mailbox<u64>,
    pub(crate) planner: Planner,
    pub(crate) bargain: Bargain,
    pub(crate) closed: Vec<String>,
    pub(crate) gpu: Gpu,
    pub(crate) renderer: Renderer,
    pub(crate) camera: Option<Camera>,
    /// The plan of the first swapchain, and what it is for.
    pub(crate) first: (Plan, Whom),
}

/// Opens the window, chooses the device, and begins to stream.
pub(crate) fn settle(options: &Options) -> Result<Ground, Failure> {
    let (mut events, mut compositor) = Events::connect().map_err(blame::compositor)?;
    let (window, subscriptions) = open_window(
        &mut events,
        &mut compositor,
        "vulkan",
        options.fullscreen || !options.window,
    )?;
    let mailbox = events.mailbox().map_err(blame::compositor)?;
    let planner = Planner::start(mailbox.clone(), PLANNED)
        .context("starting a thread")
        .map_err(|error| Failure::new(Exit::Unexpected, error))?;
    let wishes = current_wishes(&compositor);
    let near: Vec<_> = wishes
        .iter()
        .filter_map(|wish| Some(wish.card.as_ref()?.identity().clone()))
        .collect();
    let Gpus {
        mut open,
        mut closed,
    } = Gpus::open(options.device.as_deref(), &near)?;
    let mut bargain = Bargain::new(options.source.as_deref());
    let extent = extent(options, &compositor)?;
    loop {
        let all: Vec<&Gpu> = open.iter().collect();
        let (whom, alternatives): (Vec<Whom>, Vec<Alternative>) = bargain
            .alternatives(&all, &wishes, extent)?
            .into_iter()
            .unzip();
        let answer = decide(&planner, alternatives, &mut events, &mut compositor)?;
        let Some((place, plan)) = answer.chosen else {
            return Err(bargain.no_plan(&answer.explanations, &closed));
        };
        let Some((whom, gpu)) = whom
            .get(place)
            .and_then(|whom| Some((whom.clone(), open.get(whom.gpu)?.clone())))
        else {
            return Err(Failure::new(
                Exit::Unexpected,
                anyhow!("the planner chose what it was not asked"),
            ));
        };
        let chosen = match &options.camera {
            None => Renderer::new(&gpu, None)
                .map(|renderer| (renderer, None))
                .map_err(|error| Failure::new(Exit::Unexpected, error))?,
            Some(node) => {
                let wanted = camera::wanted(&compositor, (extent.width(), extent.height()));
                let mut terms = Terms::new(options, node, std::slice::from_ref(&gpu), wanted)?;
                match open_camera(
                    &mut terms,
                    &gpu,
                    &bargain,
                    &planner,
                    &mut events,
                    &mut compositor,
                )? {
                    Ok((camera, renderer)) => (renderer, Some(camera)),
                    Err(answer) if open.len() > 1 => {
                        // Another device may take the camera's buffers.
                        closed.extend(answer.explanations);
                        open.retain(|other| other.name() != gpu.name());
                        continue;
                    }
                    Err(answer) => return Err(terms.no_plan(&answer, &closed)),
                }
            }
        };
        let (renderer, camera) = chosen;
        return Ok(Ground {
            events,
            compositor,
            window,
            subscriptions,
            mailbox,
            planner,
            bargain,
            closed,
            gpu,
            renderer,
            camera,
            first: (*plan, Whom { gpu: 0, ..whom }),
        });
    }
}

/// What the compositor wishes now, its most preferred first.
pub(crate) fn current_wishes(compositor: &Compositor) -> Vec<Wish> {
    compositor.wishes().map(wishes).unwrap_or_default()
}

/// The size that buffers ought to have: what is asked for, the window's own, or the screen's.
pub(crate) fn extent(options: &Options, compositor: &Compositor) -> Result<Extent, Failure> {
    if let Some(extent) = options.size {
        return Ok(extent);
    }
    let mode = compositor.output.map(|mode| (mode.width, mode.height));
    let Configure { size, fullscreen } = compositor.configure.unwrap_or_default();
    let (width, height) = match (size, mode) {
        (Some(size), _) => size,
        (None, Some(mode)) if fullscreen => mode,
        // A window that may choose: a quarter of the screen.
        (None, Some((width, height))) => ((width / 2).max(1), (height / 2).max(1)),
        (None, None) => (640, 480),
    };
    Extent::new(width, height).map_err(|error| Failure::new(Exit::Unexpected, error))
}

/// Has the planner decide, with nothing to show meanwhile.
fn decide(
    planner: &Planner,
    alternatives: Vec<Alternative>,
    events: &mut Events,
    compositor: &mut Compositor,
) -> Result<Answer, Failure> {
    planner.ask(alternatives);
    let mut answer = None;
    events
        .until(compositor, "wait for the plan", PLANNING, |_| {
            answer = planner.answer();
            answer.is_some()
        })
        .map_err(blame::compositor)?;
    Ok(answer.unwrap_or_default())
}

type Opened = Result<(Camera, Renderer), Answer>;

/// Plans with the camera until it and the device have taken a plan's buffers; the inner error is that there is no plan.
fn open_camera(
    terms: &mut Terms,
    gpu: &Gpu,
    bargain: &Bargain,
    planner: &Planner,
    events: &mut Events,
    compositor: &mut Compositor,
) -> Result<Opened, Failure> {
    loop {
        let alternatives = terms.alternatives(std::slice::from_ref(gpu), bargain.sources())?;
        let answer = decide(planner, alternatives, events, compositor)?;
        let Some((_, plan)) = &answer.chosen else {
            return Ok(Err(answer));
        };
        if let Some(opened) = terms.settle(plan, gpu, bargain.sources(), events)? {
            return Ok(Ok(opened));
        }
        if terms.is_exhausted() {
            return Ok(Err(answer));
        }
    }
}
