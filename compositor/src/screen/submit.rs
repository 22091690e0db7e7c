//! Submission of one frame, by direct scanout or composition, and its record for the report.

use std::os::fd::AsFd;

use covalent_alloc::trace::{Action, FlowPosition};
use smithay::reexports::wayland_server::Resource;
use smithay::wayland::compositor::with_states;
use smithay::wayland::presentation::PresentationFeedbackCachedState;

use super::Frame;
use super::feedback::Feedback;
use crate::clock;
use crate::compose::{self, Composed};
use crate::frame_trace::{COMPOSITOR, TracedBuffer};
use crate::region::Region;
use crate::render::Pixels;
use crate::report::{FramePath, FrameRecord, ShownBuffer, ShownPlane};
use crate::scanout;
use crate::scene::{Scene, SceneLayer};
use crate::state::{ClientState, State};

impl State {
    pub(super) fn submit(
        &mut self,
        scene: &Scene,
        damage: &Region,
        visible: &[SceneLayer],
    ) -> anyhow::Result<Frame> {
        let screen = &mut self.screen;
        let output = screen.mode().rect();
        let start_time = clock::now();
        screen.backend.swapchain().damage(damage);
        let scanout_result = scanout::candidate(scene, output).and_then(|layer| {
            let framebuffer = screen.backend.submit_scanout(&layer.content)?;
            Ok((layer.content.clone(), framebuffer))
        });
        // A transient failure is not a reason to compose: direct scanout of the same buffer is retried a moment later.
        let scanout_result = match scanout_result {
            Err(reason) if reason.is_transient() && screen.recovery.should_retry_scanout() => {
                return Err(reason.into());
            }
            other => other,
        };
        let mut why_not_direct = None;
        let mut content = None;
        let mut composed = None;
        let framebuffer = match scanout_result {
            Ok((shown, framebuffer)) => {
                content = Some(shown);
                #[cfg(feature = "planted-copy")]
                compose::compose_software(&mut screen.backend, screen.renderer.software(), scene)?;
                // Nothing is composed while a client's buffer is scanned out, so the output buffers need not stay mapped.
                screen.backend.swapchain().unmap_all();
                screen.backend.swapchain().submitted(None);
                Some(framebuffer)
            }
            Err(reason) => {
                why_not_direct = Some(reason.to_string());
                let blank = if visible.is_empty() {
                    screen.backend.submit_blank()
                } else {
                    None
                };
                match blank {
                    Some(framebuffer) => {
                        screen.backend.swapchain().unmap_all();
                        screen.backend.swapchain().submitted(None);
                        Some(framebuffer?)
                    }
                    None => {
                        let output_buffer =
                            compose::compose(&mut screen.backend, &mut screen.renderer, scene)?;
                        let (index, fence) = (
                            output_buffer.index,
                            output_buffer.render_fence.as_ref().map(AsFd::as_fd),
                        );
                        let framebuffer = screen.backend.submit_composed(index, damage, fence)?;
                        screen.backend.swapchain().submitted(Some(index));
                        composed = Some(output_buffer);
                        framebuffer
                    }
                }
            }
        };
        let own_bytes = screen.backend.swapchain().written_bytes();
        let moved = screen
            .copy_counter
            .take(own_bytes.saturating_add(screen.renderer.uploaded_bytes()));
        let mut shown = visible
            .iter()
            .rev()
            .filter(|layer| layer.has_new_content)
            .map(describe);
        let first = shown.next();
        if first.is_some() {
            screen.frames += 1;
        }
        let record = FrameRecord {
            frame: first.is_some().then_some(screen.frames),
            shown: first.unwrap_or_else(ShownBuffer::nothing),
            others: shown.collect(),
            path: if content.is_some() {
                FramePath::Direct
            } else {
                FramePath::Composited
            },
            why_not_direct,
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
        let new_layers = visible.iter().filter(|layer| layer.has_new_content);
        let traced_buffers: Vec<TracedBuffer> = new_layers
            .filter_map(|layer| layer.content.traced())
            .collect();
        if composed.is_some() {
            let draw_time = (start_time, clock::now());
            for buffer in &traced_buffers {
                buffer.emit(COMPOSITOR, Action::Draw, FlowPosition::Middle, draw_time);
            }
        }
        let mut callbacks = Vec::new();
        for layer in visible {
            with_states(&layer.surface, |states| {
                let mut state = states.cached_state.get::<PresentationFeedbackCachedState>();
                callbacks.append(&mut state.current().callbacks);
            });
        }
        let unreadable = composed
            .as_mut()
            .map(|composed| std::mem::take(&mut composed.unreadable))
            .unwrap_or_default();
        Ok(Frame {
            record,
            unreadable,
            feedback: Feedback::new(callbacks),
            scanout_content: content,
            output_buffer: composed.as_ref().map(|composed| composed.index),
            traced_buffers,
            gpu_read: composed.and_then(|composed| composed.gpu_read),
        })
    }
}

/// Describes the buffer of a layer for the report.
fn describe(layer: &SceneLayer) -> ShownBuffer {
    let pid = layer
        .surface
        .client()
        .and_then(|client| client.get_data::<ClientState>()?.pid);
    let memory = layer.content.dmabuf().map(|dmabuf| dmabuf.buffer());
    ShownBuffer {
        surface: Some(layer.window.name()),
        client_pid: pid,
        buffer: memory.map(|memory| memory.identity().0),
        fourcc: Some(layer.content.format().name()),
        modifier: memory.map(|memory| memory.layout().format().modifier.to_string()),
        stride_bytes: layer.content.stride_bytes(),
        size: memory.map(|memory| memory.layout().extent()),
        planes: memory.map(ShownPlane::all).unwrap_or_default(),
        acquired: Some(layer.content.acquired()),
        released: layer.content.lock().release_time(),
    }
}
