//! Submits a frame: assigns layers to planes, draws the others, and creates the frame's record for the report.

use std::os::fd::AsFd;

use anyhow::Context as _;
use covalent_alloc::trace::{Action, FlowPosition};
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::compositor::with_states;

use super::feedback::Feedback;
use super::{Frame, Screen};
use crate::backend::{DrawnContent, PlanePlan, SubmitError};
use crate::clock;
use crate::compose::{self, Composed};
use crate::control::SurfaceCounter;
use crate::frame_trace::{COMPOSITOR, TracedBuffer};
use crate::output_view::OutputId;
use crate::render::Pixels;
use crate::report::{FramePath, FrameRecord, ShownBuffer, ShownPlane};
use crate::scene::{Scene, SceneLayer, ShownScene};
use crate::state::{ClientState, State};
use crate::transient::FaultKind;

/// The maximum number of plane assignments that are submitted for one frame. If the card rejects all of them, every layer is
/// drawn into the output buffer.
const PLANS_MAX: usize = 4;

/// The colour of the blank output buffer (`0xAARRGGBB`).
pub(super) const BLANK: u32 = 0xff00_0000;

/// The result of submitting a frame.
#[derive(Debug)]
struct Submitted {
    /// The id of the framebuffer on the primary plane.
    framebuffer: Option<u32>,
    /// The index of the output buffer on the primary plane.
    output_buffer: Option<usize>,
    /// The result of the composition, if anything was drawn for this frame.
    composed: Option<Composed>,
    /// The scene that the output buffer shows.
    drawn_scene: ShownScene,
}

impl State {
    /// Submits the scene with as many layers as possible on planes. The other layers are drawn.
    pub(super) fn submit(
        &mut self,
        id: OutputId,
        scene: &Scene,
        visible: &[SceneLayer],
    ) -> anyhow::Result<Frame> {
        let screen = self.outputs.get_mut(id).context("the output was removed")?;
        let start_time = clock::now();
        let (submitted, plan) = screen.submit_on_planes(scene, visible)?;
        let Submitted {
            framebuffer,
            output_buffer,
            mut composed,
            drawn_scene,
        } = submitted;
        screen.drawn_scene = drawn_scene;
        let own_bytes = self.outputs.written_bytes();
        let moved = self.outputs.copy_counter.take(own_bytes);
        let screen = self.outputs.get_mut(id).context("the output was removed")?;
        let shown: Vec<(usize, &SceneLayer)> = visible
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, layer)| layer.has_new_content)
            .collect();
        let first = shown.first().copied();
        if first.is_some() {
            screen.frames += 1;
        }
        let is_direct = match first {
            Some((index, _)) => plan.is_on_plane(index),
            None => !plan.is_drawn,
        };
        let reason_of = first.map_or(visible.len().saturating_sub(1), |(index, _)| index);
        let why_drawn = plan.why_drawn.get(reason_of).cloned().flatten();
        let mut records = shown.iter().map(|(index, layer)| ShownBuffer {
            is_main: self.stack.main_output(&layer.surface) == Some(id),
            ..describe(layer, &plan, *index)
        });
        let record = FrameRecord {
            output: screen.backend.name().to_owned(),
            frame: first.is_some().then_some(screen.frames),
            shown: records.next().unwrap_or_else(ShownBuffer::without_content),
            others: records.collect(),
            path: if is_direct {
                FramePath::Direct
            } else {
                FramePath::Composited
            },
            why_not_direct: why_drawn.filter(|_| !is_direct).or_else(|| {
                visible
                    .is_empty()
                    .then(|| "no surface is visible".to_owned())
            }),
            cursor_plane: plan.cursor_plane.clone(),
            why_cursor_drawn: plan.why_cursor_drawn.clone(),
            renderer: composed.as_ref().map(|composed| composed.renderer),
            why_not_gles: composed
                .as_mut()
                .and_then(|composed: &mut Composed| composed.why_not_gles.take()),
            cpu_copied_bytes: moved.written_bytes,
            cpu_read_bytes: moved.read_bytes,
            flipped: None,
            sequence: 0,
            framebuffer,
            retries: 0,
            retry_cause: None,
            left_out: Vec::new(),
        };
        if composed.is_some() {
            let draw_time = (start_time, clock::now());
            let drawn = shown.iter().filter(|(index, _)| !plan.is_on_plane(*index));
            for buffer in drawn.filter_map(|(_, layer)| layer.content.traced()) {
                buffer.emit(COMPOSITOR, Action::Draw, FlowPosition::Middle, draw_time);
            }
        }
        let traced_buffers: Vec<TracedBuffer> = shown
            .iter()
            .rev()
            .filter_map(|(_, layer)| layer.content.traced())
            .collect();
        let mut feedback = Feedback::default();
        let cursor = scene.cursor.as_ref();
        let cursor = cursor.and_then(|cursor| cursor.surface.as_ref());
        let surfaces = visible.iter().map(|layer| &layer.surface).chain(cursor);
        for surface in surfaces.filter(|surface| self.is_main(id, surface)) {
            feedback.add(surface);
        }
        if let Some(surface) = cursor {
            self.stack.surface(surface).mark_latched(id);
        }
        let unreadable = composed
            .as_mut()
            .map(|composed| std::mem::take(&mut composed.unreadable))
            .unwrap_or_default();
        Ok(Frame {
            record,
            unreadable,
            feedback,
            is_drawn: plan.is_drawn,
            scanned_out: plan.scanned_out,
            output_buffer,
            traced_buffers,
            gpu_read: composed.and_then(|composed| composed.gpu_read),
            is_locked: self.stack.session_lock.is_locked(),
        })
    }
}

impl Screen {
    /// Submits a frame with the best plan that the display accepts. If the display rejects a plan, the next one is submitted
    /// immediately, so that no frame is skipped.
    fn submit_on_planes(
        &mut self,
        scene: &Scene,
        visible: &[SceneLayer],
    ) -> anyhow::Result<(Submitted, PlanePlan)> {
        let mut plan = match self.backend.plan(visible, scene.cursor.as_ref()) {
            Ok(plan) => plan,
            // A transient failure is no reason to compose. The same planes are tried again later.
            Err(reason) if self.recovery.should_retry_scanout() => return Err(reason.into()),
            Err(reason) => drawn_plan(scene, visible, &reason.to_string()),
        };
        for _ in 0..PLANS_MAX {
            let error = match self.submit_plan(scene, visible, &plan) {
                Ok(submitted) => return Ok((submitted, plan)),
                Err(error) => error,
            };
            let is_of_display = error.downcast_ref::<SubmitError>().is_some();
            if !plan.uses_planes() || !is_of_display {
                return Err(error);
            }
            // The layers on planes are missing in the output buffers, so all of the output buffers has to be drawn again for
            // another plan.
            self.backend.swapchain().damage_all();
            let is_permanent = FaultKind::of(&*error) == FaultKind::Permanent;
            if !is_permanent && self.recovery.should_retry_scanout() {
                return Err(error);
            }
            let reason = format!("{error:#}, although a test commit of the same planes had passed");
            let next = if is_permanent {
                self.backend.reject(&plan, reason.clone());
                self.backend.plan(visible, scene.cursor.as_ref()).ok()
            } else {
                None
            };
            plan = next.unwrap_or_else(|| drawn_plan(scene, visible, &reason));
        }
        let reason = "the display rejected every choice of planes";
        let plan = drawn_plan(scene, visible, reason);
        let submitted = self.submit_plan(scene, visible, &plan)?;
        Ok((submitted, plan))
    }

    /// Draws the layers that are not on planes, and submits the frame with this plan.
    fn submit_plan(
        &mut self,
        scene: &Scene,
        visible: &[SceneLayer],
        plan: &PlanePlan,
    ) -> anyhow::Result<Submitted> {
        if !plan.is_drawn {
            let framebuffer = self.backend.submit(plan, DrawnContent::Nothing)?;
            #[cfg(feature = "deliberate-copy")]
            compose::compose_software(
                &mut self.backend,
                self.renderer.borrow_mut().software(),
                scene,
            )?;
            return Ok(self.submitted_undrawn(framebuffer));
        }
        let on_planes = |surface: &WlSurface| {
            let mut surfaces = visible.iter().enumerate();
            surfaces.any(|(index, layer)| plan.is_on_plane(index) && layer.surface == *surface)
        };
        let mut drawn = scene.clone();
        drawn.layers.retain(|layer| !on_planes(&layer.surface));
        drawn.cursor = drawn.cursor.filter(|_| plan.cursor_plane.is_none());
        if visible.is_empty() && self.backend.has_blank_buffer() {
            if drawn.cursor.is_none() {
                let framebuffer = self.backend.submit(plan, DrawnContent::Blank)?;
                return Ok(self.submitted_undrawn(framebuffer));
            }
            // The background is black, so that it does not change when the pointer disappears and the black output buffer is
            // shown again.
            drawn.background = BLANK;
        }
        let output = self.mode().rect();
        let damage = drawn.damage(&self.drawn_scene, output);
        self.backend.swapchain().damage(&damage);
        let (index, composed) = match self.backend.swapchain().undamaged() {
            Some(index) => (index, None),
            None => {
                let mut renderer = self.renderer.borrow_mut();
                let mut composed = compose::compose(&mut self.backend, &mut renderer, &drawn)?;
                restore_positions(&mut composed, &drawn.visible(output), visible);
                (composed.index, Some(composed))
            }
        };
        let fence = composed
            .as_ref()
            .and_then(|composed| composed.render_fence.as_ref());
        let framebuffer = self.backend.submit(
            plan,
            DrawnContent::Output {
                index,
                damage: &damage,
                in_fence: fence.map(AsFd::as_fd),
            },
        )?;
        self.backend.swapchain().submitted(Some(index));
        Ok(Submitted {
            framebuffer,
            output_buffer: Some(index),
            composed,
            drawn_scene: drawn.shown(),
        })
    }

    /// Records the submission of a frame that shows no output buffer. The output buffers are unmapped, because they are not
    /// needed now.
    fn submitted_undrawn(&mut self, framebuffer: Option<u32>) -> Submitted {
        self.backend.swapchain().unmap_all();
        self.backend.swapchain().submitted(None);
        Submitted {
            framebuffer,
            output_buffer: None,
            composed: None,
            drawn_scene: ShownScene::default(),
        }
    }
}

/// Returns the plan that draws all layers and the pointer for the same reason.
fn drawn_plan(scene: &Scene, visible: &[SceneLayer], reason: &str) -> PlanePlan {
    let reasons = visible.iter().map(|_| reason.to_owned());
    PlanePlan::drawn(reasons, scene.cursor.as_ref().map(|_| reason))
}

/// Converts the indices of unreadable layers: from indices among the drawn layers to indices among all visible layers.
fn restore_positions(composed: &mut Composed, drawn: &[&SceneLayer], visible: &[SceneLayer]) {
    composed.unreadable.retain_mut(|unreadable| {
        let surface = drawn.get(unreadable.layer).map(|layer| &layer.surface);
        let position =
            surface.and_then(|surface| visible.iter().position(|layer| layer.surface == *surface));
        unreadable.layer = position.unwrap_or(usize::MAX);
        position.is_some()
    });
}

/// Describes the buffer of a layer for the report.
fn describe(layer: &SceneLayer, plan: &PlanePlan, index: usize) -> ShownBuffer {
    let pid = layer
        .surface
        .client()
        .and_then(|client| client.get_data::<ClientState>()?.pid);
    let counter = with_states(&layer.surface, |states| {
        let counter = states.data_map.get_or_insert(SurfaceCounter::default);
        SurfaceCounter::clone(counter)
    });
    let memory = layer.content.dmabuf().map(|dmabuf| dmabuf.buffer());
    ShownBuffer {
        surface: Some(layer.owner.name()),
        client_pid: pid,
        buffer: memory.map(|memory| memory.identity().0),
        fourcc: Some(layer.content.format().name()),
        modifier: memory.map(|memory| memory.layout().format().modifier.to_string()),
        stride_bytes: layer.content.stride_bytes(),
        size: memory.map(|memory| memory.layout().extent()),
        planes: memory.map(ShownPlane::all).unwrap_or_default(),
        acquired: Some(layer.content.acquired()),
        released: layer.content.lock().release_time(),
        kms_plane: plan.planes.get(index).cloned().flatten(),
        why_drawn: plan.why_drawn.get(index).cloned().flatten(),
        counter: Some(counter),
        is_main: false,
    }
}
