//! Sets up the program: opens the window, chooses a Vulkan device that can render for it, and opens the camera of `--camera`.

use anyhow::{Context as _, anyhow};
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::model::Extent;
use covalent_alloc::solve::Plan;
use covalent_client_demo::completions::CompletionSender;
use covalent_client_demo::compositor::Compositor;
use covalent_client_demo::events::Events;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::feedback::Subscription;
use covalent_client_demo::negotiation::{Negotiation, missing_formats, no_plan};
use covalent_client_demo::open_window::open_window;
use covalent_client_demo::planning::{Alternative, PlanningResult};
use covalent_client_demo::tranche_request::{TrancheRequest, tranche_requests};
use covalent_client_demo::window::{Configure, Window};

use crate::camera::{self, Camera, CameraImport, CameraNegotiation, SAMPLED};
use crate::gpus::Gpus;
use crate::negotiations;
use crate::options::Options;
use crate::planner::Planner;
use crate::render::Renderer;

/// The completion number of the planner's thread. Frames are numbered from 0, so no frame has this number.
pub(crate) const PLAN_READY: u64 = u64::MAX;
/// The deadline of planning, including the trial imports. Each trial of the helper process also has its own deadline.
const PLANNING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(300);

/// The connection, window, device, camera and first plan with which the event loop starts.
pub(crate) struct Setup {
    pub(crate) events: Events,
    pub(crate) compositor: Compositor,
    pub(crate) window: Window,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) completion_sender: CompletionSender,
    pub(crate) planner: Planner,
    pub(crate) negotiation: Negotiation,
    pub(crate) unavailable_gpus: Vec<String>,
    pub(crate) gpu: Gpu,
    pub(crate) renderer: Renderer,
    pub(crate) camera: Option<Camera>,
    /// The plan of the first swapchain, and the phrase for what the compositor does with the buffers.
    pub(crate) first_plan: (Plan, String),
}

/// Opens the window, chooses the device, and starts the camera.
pub(crate) fn setup(options: &Options) -> Result<Setup, Failure> {
    let (mut events, mut compositor) = Events::connect().map_err(exit_code::compositor_failure)?;
    let (window, subscriptions) = open_window(
        &mut events,
        &mut compositor,
        "vulkan",
        options.fullscreen || !options.window,
    )?;
    let completion_sender = events
        .completion_sender()
        .map_err(exit_code::compositor_failure)?;
    let planner = Planner::start(completion_sender.clone(), PLAN_READY)
        .context("starting a thread")
        .map_err(Failure::unexpected)?;
    let requests = current_requests(&compositor);
    let compositor_devices: Vec<_> = requests
        .iter()
        .filter_map(|request| Some(request.card.as_ref()?.identity().clone()))
        .collect();
    let Gpus {
        mut open,
        mut unavailable_gpus,
    } = Gpus::open(options.device.as_deref(), &compositor_devices)?;
    let extent = extent(options, &compositor)?;
    loop {
        let mut negotiations = open
            .iter()
            .map(|gpu| negotiations::open(gpu, options.source.as_deref(), extent))
            .collect::<Result<Vec<_>, _>>()?;
        let mut alternatives: Vec<(usize, Alternative)> = Vec::new();
        for (place, negotiation) in negotiations.iter_mut().enumerate() {
            let of_this = negotiation.alternatives(&requests)?;
            alternatives.extend(of_this.into_iter().map(|alternative| (place, alternative)));
        }
        // A device that shares buffers with the compositor is preferred to one whose frames are copied.
        if !options.no_copy {
            for (place, negotiation) in negotiations.iter_mut().enumerate() {
                alternatives.push((place, negotiations::copied(negotiation)?));
            }
        }
        let requested = alternatives.iter().map(|(_, one)| one.clone()).collect();
        let planning_result = await_plan(&planner, requested, &mut events, &mut compositor)?;
        let Some((place, plan)) = planning_result.chosen else {
            let mut lines = planning_result.explanations;
            if requests.is_empty() {
                lines.push(missing_formats(&compositor));
            }
            lines.extend(
                unavailable_gpus
                    .iter()
                    .map(|why| format!("not queried: {why}")),
            );
            return Err(no_plan("a Vulkan device and the compositor", &lines));
        };
        let chosen = alternatives.into_iter().nth(place);
        let Some((gpu, negotiation, usage_label)) = chosen.and_then(|(gpu, alternative)| {
            let negotiation = (gpu < negotiations.len()).then(|| negotiations.swap_remove(gpu));
            Some((
                open.get(gpu)?.clone(),
                negotiation?,
                alternative.usage_label,
            ))
        }) else {
            return Err(Failure::new(
                Exit::Unexpected,
                anyhow!("the planner chose an alternative that is not in its request"),
            ));
        };
        let (renderer, camera) = match &options.camera {
            None => Renderer::new(&gpu, None)
                .map(|renderer| (renderer, None))
                .map_err(Failure::unexpected)?,
            Some(node) => {
                let preferred_extent =
                    camera::preferred_size(&compositor, (extent.width(), extent.height()));
                let mut camera_negotiation =
                    CameraNegotiation::new(options, node, &gpu, preferred_extent)?;
                match open_camera(
                    &mut camera_negotiation,
                    &gpu,
                    &planner,
                    &mut events,
                    &mut compositor,
                )? {
                    Ok((camera, renderer)) => (renderer, Some(camera)),
                    Err(no_plan) if open.len() > 1 => {
                        // Another device may be able to import the camera's buffers.
                        unavailable_gpus.push(no_plan.to_string());
                        // Two devices of the same model have the same name.
                        open.retain(|other| {
                            other.name() != gpu.name() || other.identity() != gpu.identity()
                        });
                        continue;
                    }
                    Err(no_plan) => return Err(no_plan),
                }
            }
        };
        return Ok(Setup {
            events,
            compositor,
            window,
            subscriptions,
            completion_sender,
            planner,
            negotiation,
            unavailable_gpus,
            gpu,
            renderer,
            camera,
            first_plan: (*plan, usage_label),
        });
    }
}

/// Returns the tranches of the current feedback, in the compositor's order of preference.
pub(crate) fn current_requests(compositor: &Compositor) -> Vec<TrancheRequest> {
    compositor
        .current_feedback()
        .map(|feedback| tranche_requests(feedback, compositor.crop()))
        .unwrap_or_default()
}

/// Returns the size of the buffers: the size of `--size`, else the window's size, else the screen's size.
pub(crate) fn extent(options: &Options, compositor: &Compositor) -> Result<Extent, Failure> {
    if let Some(extent) = options.size {
        return Ok(extent);
    }
    let mode = compositor.output.map(|mode| (mode.width, mode.height));
    let Configure { size, fullscreen } = compositor.configure.unwrap_or_default();
    let (width, height) = match (size, mode) {
        (Some(size), _) => size,
        (None, Some(mode)) if fullscreen => mode,
        // The compositor lets the client choose the window's size: half the width and half the height of the screen.
        (None, Some((width, height))) => ((width / 2).max(1), (height / 2).max(1)),
        (None, None) => (640, 480),
    };
    Extent::new(width, height).map_err(Failure::unexpected)
}

/// Sends the alternatives to the planner and waits for its result. No frame is shown meanwhile.
fn await_plan(
    planner: &Planner,
    alternatives: Vec<Alternative>,
    events: &mut Events,
    compositor: &mut Compositor,
) -> Result<PlanningResult, Failure> {
    planner.request(alternatives);
    let mut planning_result = None;
    events
        .dispatch_until(compositor, "wait for the plan", PLANNING_TIMEOUT, |_| {
            planning_result = planner.next_result();
            planning_result.is_some()
        })
        .map_err(exit_code::compositor_failure)?;
    Ok(planning_result.unwrap_or_default())
}

type Opened = Result<(Camera, Renderer), Failure>;

/// Plans and imports until the camera and the device have both imported the buffers of one plan. The inner error says that no
/// such plan exists.
fn open_camera(
    camera_negotiation: &mut CameraNegotiation,
    gpu: &Gpu,
    planner: &Planner,
    events: &mut Events,
    compositor: &mut Compositor,
) -> Result<Opened, Failure> {
    loop {
        let alternative = camera_negotiation.negotiation.alternative(SAMPLED, &[])?;
        let planning_result = await_plan(planner, vec![alternative], events, compositor)?;
        let Some((_, plan)) = &planning_result.chosen else {
            return Ok(Err(camera_negotiation
                .negotiation
                .no_plan(&planning_result.explanations)));
        };
        match camera_negotiation.start_camera(plan, gpu, events)? {
            CameraImport::Imported(camera, renderer) => return Ok(Ok((*camera, *renderer))),
            CameraImport::Refused(why) => {
                if let Err(no_plan) = camera_negotiation.negotiation.refuse(SAMPLED, plan, &why) {
                    return Ok(Err(no_plan));
                }
            }
        }
    }
}
