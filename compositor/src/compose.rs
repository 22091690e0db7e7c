//! Drawing a scene into a picture of the compositor's own, by the GPU or the CPU.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use covalent_alloc::sync::{Access, Fence};
use smithay::backend::renderer::sync::SyncPoint;

use crate::backend::Backend;
use crate::backend::output_buffers::BUFFER_COUNT;
use crate::content::Content;
use crate::render::gles::Gles;
use crate::render::renderer::{GLES, SOFTWARE};
use crate::render::software::LayerError;
use crate::render::{Layer, Renderer, Software};
use crate::scene::Scene;

/// A picture that is drawn, or that the GPU is drawing.
#[derive(Debug)]
pub struct Composed {
    /// Its place in the swapchain.
    pub index: usize,
    /// What drew it.
    pub renderer: &'static str,
    /// Why the GPU that composes did not draw it.
    pub why_not_gles: Option<String>,
    /// What the GPU still reads.
    pub gpu_read: Option<GpuReadGuard>,
    /// Signalled when it is complete; none when it is already.
    pub render_fence: Option<OwnedFd>,
    /// Layers that could not be read, and are missing in it.
    pub failed: Vec<MissingLayer>,
}

/// A layer that is missing in a picture.
#[derive(Debug)]
pub struct MissingLayer {
    /// Its position among the visible layers of the scene, the lowest first.
    pub layer: usize,
    /// Why it could not be read.
    pub error: std::io::Error,
}

/// Clients' buffers that the GPU reads; dropped, it waits until that is done.
///
/// A display that waited for the same fence is what normally drops it, and then there is nothing to wait for. A frame that
/// is given up waits here: a buffer that goes back while it is read would be shown half overwritten.
#[derive(Debug)]
pub struct GpuReadGuard {
    done: SyncPoint,
    _contents: Vec<Rc<Content>>,
}

impl Drop for GpuReadGuard {
    fn drop(&mut self) {
        // The contents are dropped after this.
        if !self.done.is_reached() && self.done.wait().is_err() {
            tracing::debug!("a buffer may go back while the GPU reads it");
        }
    }
}

/// Draws the scene into a picture of the compositor's own.
///
/// # Errors
///
/// When no picture is free, or its memory cannot be written.
pub fn compose(
    backend: &mut Backend,
    renderer: &mut Renderer,
    scene: &Scene,
) -> anyhow::Result<Composed> {
    let mut why_not_gles = None;
    if let Renderer::Gles(gles, _) = renderer {
        match compose_gles(backend, gles, scene) {
            Ok(composed) => return Ok(composed),
            Err(error) => {
                let reason = format!("{error:#}");
                tracing::debug!(reason, "the CPU draws a frame");
                why_not_gles = Some(reason);
            }
        }
    }
    let (index, failed) = compose_software(backend, renderer.software(), scene)?;
    Ok(Composed {
        index,
        renderer: SOFTWARE,
        why_not_gles,
        gpu_read: None,
        render_fence: None,
        failed,
    })
}

/// Returns the visible layers, the lowest first.
fn layers<'a>(scene: &'a Scene, backend: &Backend) -> Vec<Layer<'a>> {
    let visible = scene.visible(backend.mode().rect());
    visible
        .into_iter()
        .map(|layer| Layer {
            pixels: &*layer.content,
            view: layer.view,
            opaque: layer.opaque.clone(),
        })
        .collect()
}

fn missing(failed: Vec<LayerError>) -> Vec<MissingLayer> {
    let failed = failed.into_iter().map(|LayerError { layer, error }| {
        tracing::warn!(layer, %error, "a surface cannot be drawn");
        MissingLayer { layer, error }
    });
    failed.collect()
}

/// Draws by the CPU; returns the picture's place, and what is missing in it.
///
/// # Errors
///
/// When no picture is free, or its memory cannot be written.
pub fn compose_software(
    backend: &mut Backend,
    software: &mut Software,
    scene: &Scene,
) -> anyhow::Result<(usize, Vec<MissingLayer>)> {
    let output = backend.mode().rect();
    let layers = layers(scene, backend);
    let swapchain = backend.swapchain();
    let (index, target, mut damage) = swapchain
        .acquire()
        .ok_or_else(|| anyhow::anyhow!("all pictures of the output are in use"))?;
    damage.clip(output);
    let failed = software.draw(target, &damage, scene.background, &layers)?;
    swapchain.mark_drawn(index);
    Ok((index, missing(failed)))
}

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
        .ok_or_else(|| anyhow::anyhow!("all pictures of the GPU are in use"))?;
    damage.clip(output);
    let mut picture = target
        .dmabuf()
        .cloned()
        .ok_or_else(|| anyhow::anyhow!("the picture is not the GPU's"))?;
    let drawn = gles.draw(&mut picture, &damage, scene.background, &layers)?;
    let failed = missing(drawn.failed);
    swapchain.mark_drawn(index);
    let fence = drawn.done.export();
    let contents = scene
        .visible(output)
        .into_iter()
        .filter(|layer| layer.content.dmabuf().is_some())
        .map(|layer| layer.content.clone());
    let gpu_read = GpuReadGuard {
        done: drawn.done.clone(),
        _contents: contents
            .filter(|content| !release_with_fence(content, fence.as_ref()))
            .collect(),
    };
    let fence = fence.filter(|_| supports_in_fence);
    if fence.is_none() && drawn.done.wait().is_err() {
        // Without a fence that the display could wait for, somebody has to. Waiting for the event loop would take a frame
        // longer, since the display's own deadline goes on meanwhile, and nothing else can be drawn before this is shown.
        anyhow::bail!("the GPU's picture cannot be waited for");
    }
    Ok(Composed {
        index,
        renderer: GLES,
        why_not_gles: None,
        gpu_read: Some(gpu_read),
        render_fence: fence,
        failed,
    })
}

/// Gives a buffer the fence that ends the GPU's reading; tells whether it can go back by that alone.
///
/// A client without points finds the fence at its dma-buf, so that devices which are to write there wait for it.
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
        tracing::debug!("a buffer goes back later than it could: {error:#}");
        false
    })
}

/// Allocates the pictures of the mode that the GPU draws to.
fn add_gpu_buffers(backend: &mut Backend, gles: &mut Gles) -> anyhow::Result<()> {
    let mode = backend.mode();
    let size = (u32::try_from(mode.width)?, u32::try_from(mode.height)?);
    let kms = backend
        .kms()
        .ok_or_else(|| anyhow::anyhow!("the output is virtual"))?;
    let buffers = (0..BUFFER_COUNT)
        .map(|_| gles.allocate(size, kms.plane_formats()))
        .collect::<Result<Vec<_>, _>>()?;
    kms.add_gpu_buffers(buffers)?;
    Ok(())
}
