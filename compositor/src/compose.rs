//! Composes a scene into an output buffer, with the GPU renderer or the CPU renderer.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use covalent_alloc::sync::{Access, Fence};
use smithay::backend::renderer::sync::SyncPoint;

use crate::backend::Backend;
use crate::backend::output_buffers::BUFFER_COUNT;
use crate::content::Content;
use crate::cursor::CursorLayer;
use crate::region::Rect;
use crate::render::gles::{Copied, Gles};
use crate::render::renderer::{GLES, SOFTWARE};
use crate::render::software::LayerError;
use crate::render::{ColorRepresentation, Layer, Renderer, Software};
use crate::scene::Scene;

/// An output buffer that a renderer has drawn, or that the GPU is still drawing.
#[derive(Debug)]
pub struct Composed {
    /// The index of the output buffer in the swapchain.
    pub index: usize,
    /// The name of the renderer that composed the frame.
    pub renderer: &'static str,
    /// The reason why the GPU renderer did not draw the frame, or why the CPU copied a client's buffer into a texture for the GPU
    /// renderer.
    pub why_not_gles: Option<String>,
    /// The client buffers that the GPU may still read.
    pub gpu_read: Option<GpuReadGuard>,
    /// The fence that is signalled when the buffer is complete; `None` if it is complete already.
    pub render_fence: Option<OwnedFd>,
    /// The layers that could not be read and are missing in the frame.
    pub unreadable: Vec<UnreadableLayer>,
}

/// A layer that could not be read and is missing in the frame.
#[derive(Debug)]
pub struct UnreadableLayer {
    /// The index of the layer among the visible layers of the scene, from the bottom to the top. The pointer has the index after
    /// the last layer.
    pub layer: usize,
    /// The error of reading the layer's buffer.
    pub error: std::io::Error,
}

/// Locks on client buffers that the GPU reads for a frame. Dropping the guard waits until the GPU has finished the frame.
///
/// The guard is normally dropped after the page flip, before which the display has waited for the same fence, so dropping it does
/// not block. Dropping the guard of an abandoned frame blocks until the GPU has finished. Otherwise the client could draw into a
/// buffer while the GPU reads it.
#[derive(Debug)]
pub struct GpuReadGuard {
    done: SyncPoint,
    _contents: Vec<Rc<Content>>,
}

impl GpuReadGuard {
    /// Locks the contents that the GPU reads until `done` is reached.
    pub(crate) fn new(done: SyncPoint, contents: Vec<Rc<Content>>) -> Self {
        Self {
            done,
            _contents: contents,
        }
    }

    /// Returns whether the GPU has finished.
    pub(crate) fn is_done(&self) -> bool {
        self.done.is_reached()
    }
}

impl Drop for GpuReadGuard {
    fn drop(&mut self) {
        // Rust drops the contents after this function returns, which releases the buffers.
        if !self.done.is_reached() && self.done.wait().is_err() {
            tracing::debug!(
                "waiting for the GPU failed; a buffer may be released while the GPU reads it"
            );
        }
    }
}

/// Composes the scene into an output buffer, with the GPU renderer if there is one, or else with the CPU renderer.
///
/// # Errors
///
/// When no output buffer is free, or it cannot be written.
pub fn compose(
    backend: &mut Backend,
    renderer: &mut Renderer,
    scene: &Scene,
) -> anyhow::Result<Composed> {
    let mut why_not_gles = None;
    let mut copies = Vec::new();
    if let Renderer::Gles(gles, _) = renderer {
        match compose_gles(backend, gles, scene) {
            Ok(composed) => return Ok(composed),
            Err(error) => {
                let reason = format!("{error:#}");
                tracing::debug!(
                    reason,
                    "the GPU renderer cannot compose the frame; the CPU renderer composes it"
                );
                why_not_gles = Some(reason);
                copies = copy_tiled(gles, &layers(scene, backend), scene, backend.mode().rect());
            }
        }
    }
    let (index, unreadable) = draw_by_cpu(backend, renderer.software(), scene, &copies)?;
    Ok(Composed {
        index,
        renderer: SOFTWARE,
        why_not_gles,
        gpu_read: None,
        render_fence: None,
        unreadable,
    })
}

/// Reads back the visible buffers that only the GPU can read, for a frame that the GPU renderer cannot compose. The result has an
/// item for each visible layer. A buffer that cannot be read back is missing in the frame.
fn copy_tiled(
    gles: &mut Gles,
    layers: &[Layer<'_>],
    scene: &Scene,
    output: Rect,
) -> Vec<Option<Copied>> {
    let contents = scene.visible(output);
    let copies = layers.iter().zip(contents).map(|(layer, shown)| {
        if shown.content.is_linear() {
            return None;
        }
        match gles.copy(layer.pixels, layer.colour) {
            Ok(copied) => Some(copied),
            Err(error) => {
                tracing::debug!(%error, "a buffer that only the GPU can read cannot be copied");
                None
            }
        }
    });
    copies.collect()
}

/// Returns the visible layers, from the bottom to the top, and then the pointer.
fn layers<'a>(scene: &'a Scene, backend: &Backend) -> Vec<Layer<'a>> {
    let visible = scene.visible(backend.mode().rect());
    let surfaces = visible.into_iter().map(|layer| Layer {
        pixels: &*layer.content,
        colour: layer.colour,
        view: layer.view,
        opaque: layer.opaque.clone(),
    });
    surfaces
        .chain(scene.cursor.as_ref().map(CursorLayer::layer))
        .collect()
}

/// Logs the layers that the renderer could not read, and converts them for the frame's report.
fn unreadable_layers(unreadable: Vec<LayerError>) -> Vec<UnreadableLayer> {
    let unreadable = unreadable.into_iter().map(|LayerError { layer, error }| {
        tracing::warn!(layer, %error, "a surface's buffer cannot be read; the frame is shown without the surface");
        UnreadableLayer { layer, error }
    });
    unreadable.collect()
}

/// Composes with the CPU renderer; returns the index of the output buffer and the layers that are missing in the frame.
///
/// # Errors
///
/// When no output buffer is free, or it cannot be written.
pub fn compose_software(
    backend: &mut Backend,
    software: &mut Software,
    scene: &Scene,
) -> anyhow::Result<(usize, Vec<UnreadableLayer>)> {
    draw_by_cpu(backend, software, scene, &[])
}

/// Composes with the CPU renderer. For a layer with a read-back copy, the renderer reads the copy.
fn draw_by_cpu(
    backend: &mut Backend,
    software: &mut Software,
    scene: &Scene,
    copies: &[Option<Copied>],
) -> anyhow::Result<(usize, Vec<UnreadableLayer>)> {
    let output = backend.mode().rect();
    let mut layers = layers(scene, backend);
    for (layer, copied) in layers.iter_mut().zip(copies) {
        if let Some(copied) = copied {
            layer.pixels = copied;
            layer.colour = ColorRepresentation::default();
        }
    }
    let swapchain = backend.swapchain();
    let (index, target, mut damage) = swapchain
        .acquire()
        .ok_or_else(|| anyhow::anyhow!("all output buffers of the CPU renderer are in use"))?;
    damage.clip(output);
    let unreadable = software.draw(target, &damage, scene.background, &layers)?;
    swapchain.mark_drawn(index);
    Ok((index, unreadable_layers(unreadable)))
}

/// Composes with the GPU renderer. Output buffers for the GPU are allocated at the first call.
fn compose_gles(backend: &mut Backend, gles: &mut Gles, scene: &Scene) -> anyhow::Result<Composed> {
    let output = backend.mode().rect();
    if !backend.swapchain().has_gpu_buffers() {
        add_gpu_buffers(backend, gles)?;
    }
    let layers = layers(scene, backend);
    let supports_in_fence = backend.supports_in_fence();
    let swapchain = backend.swapchain();
    let (index, target, mut damage) = swapchain
        .acquire_gpu()
        .ok_or_else(|| anyhow::anyhow!("all output buffers of the GPU renderer are in use"))?;
    damage.clip(output);
    let mut output_buffer = target
        .dmabuf()
        .cloned()
        .ok_or_else(|| anyhow::anyhow!("the output buffer does not belong to the GPU renderer"))?;
    let draw_result = gles.draw(&mut output_buffer, &damage, scene.background, &layers)?;
    let unreadable = unreadable_layers(draw_result.failed);
    swapchain.mark_drawn(index);
    let fence = draw_result.done.export();
    let contents = scene
        .visible(output)
        .into_iter()
        .filter(|layer| layer.content.dmabuf().is_some())
        .map(|layer| layer.content.clone());
    let gpu_read = GpuReadGuard {
        done: draw_result.done.clone(),
        _contents: contents
            .filter(|content| !release_with_fence(content, fence.as_ref()))
            .collect(),
    };
    let fence = fence.filter(|_| supports_in_fence);
    if fence.is_none() && draw_result.done.wait().is_err() {
        // The display does not support IN_FENCE_FD, so this function blocks until the GPU has finished. Waiting in the event loop
        // would miss the next vblank, and no other frame can be drawn before this one is shown.
        anyhow::bail!("waiting for the GPU to complete the output buffer failed");
    }
    Ok(Composed {
        index,
        renderer: GLES,
        why_not_gles: draw_result.why_uploaded,
        gpu_read: Some(gpu_read),
        render_fence: fence,
        unreadable,
    })
}

/// Attaches the GPU's read fence to a buffer's release point, or else to its dma-buf. Returns whether the release point has
/// the fence, so that the buffer can be released before the GPU has finished.
///
/// Without a release point, the fence is added to the dma-buf's reservation object, so that devices wait for it before they
/// write into the buffer.
fn release_with_fence(content: &Content, fence: Option<&OwnedFd>) -> bool {
    let (Some(buffer), Some(fence)) = (content.dmabuf(), fence) else {
        return false;
    };
    let given = fence
        .try_clone()
        .map_err(anyhow::Error::from)
        .and_then(|fence| Ok(Fence::import(fence)?))
        .and_then(|fence| match content.lock().release_point() {
            Some(release) => {
                release.set_read_fence(fence);
                Ok(true)
            }
            None => {
                let reservation = buffer.buffer().reservation();
                reservation.add(&fence, Access::Read)?;
                Ok(false)
            }
        });
    given.unwrap_or_else(|error| {
        tracing::debug!("a buffer stays locked until the page flip because its read fence cannot be attached: {error:#}");
        false
    })
}

/// Allocates the GPU's output buffers for the current mode.
fn add_gpu_buffers(backend: &mut Backend, gles: &mut Gles) -> anyhow::Result<()> {
    let mode = backend.mode();
    let size = (u32::try_from(mode.width)?, u32::try_from(mode.height)?);
    let kms = backend
        .kms()
        .ok_or_else(|| anyhow::anyhow!("the output is virtual and has no GPU"))?;
    let buffers = (0..BUFFER_COUNT)
        .map(|_| gles.allocate(size, kms.plane_formats()))
        .collect::<Result<Vec<_>, _>>()?;
    kms.add_gpu_buffers(buffers)?;
    Ok(())
}
