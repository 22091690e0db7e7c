//! The applied state of a `wl_surface`.

use std::rc::Rc;
use std::time::Duration;

use smithay::reexports::wayland_server::protocol::wl_output;
use smithay::wayland::compositor::{Damage, SurfaceAttributes, SurfaceData};
use smithay::wayland::viewporter::{ViewportCachedState, ensure_viewport_valid};

use crate::client_region::SurfaceRegions;
use crate::commits::{Attachment, CommittedBuffer, take_applied};
use crate::content::Content;
use crate::handlers::color_representation;
use crate::output_view::OutputId;
use crate::region::{Rect, Region};
use crate::render::view::Transform;
use crate::render::{BufferView, ColorRepresentation, PixelFormat, Pixels};

/// A surface's content, geometry, damage and opaque region in surface coordinates.
#[derive(Debug, Default)]
pub struct Surface {
    content: Option<Rc<Content>>,
    size: (i32, i32),
    source: (f64, f64, f64, f64),
    transform: Transform,
    colour: ColorRepresentation,
    opaque: Region,
    outputs: Vec<SurfaceOutputState>,
    callback_time: Option<Duration>,
}

/// The state of a surface on one output that has shown it.
#[derive(Debug)]
struct SurfaceOutputState {
    id: OutputId,
    /// The damage since the output last submitted a frame with the surface.
    damage: Region,
    /// Whether no frame of the output has shown the current content yet.
    has_new_content: bool,
    /// The number of pixels of the output on which the surface is visible; 0 while it is hidden.
    visible_area: u64,
}

impl Surface {
    /// Applies a commit. `attach` converts a new buffer to content. It returns `None` if the buffer cannot be shown.
    pub fn apply_commit(
        &mut self,
        states: &SurfaceData,
        attach: impl FnOnce(CommittedBuffer) -> Option<Content>,
    ) {
        match take_applied(states) {
            Some(Attachment::Buffer(buffer)) => {
                self.content = attach(buffer).map(Rc::new);
                for output in &mut self.outputs {
                    output.has_new_content = true;
                }
            }
            Some(Attachment::Removed) => self.content = None,
            None => {}
        }
        let mut guard = states.cached_state.get::<SurfaceAttributes>();
        let attributes = guard.current();
        let uncommitted = attributes.buffer.take();
        let scale = attributes.buffer_scale.max(1);
        self.transform = buffer_transform(attributes.buffer_transform);
        let damage = std::mem::take(&mut attributes.damage);
        // When the parent commits, Smithay also applies the pending state of this surface. A buffer that was attached and not
        // committed is moved back to the pending state, so that it waits for this surface's own commit.
        let pending = &mut guard.pending().buffer;
        *pending = pending.take().or(uncommitted);
        drop(guard);
        let colour = color_representation::current(states);
        let has_other_colours = std::mem::replace(&mut self.colour, colour) != colour;
        let opaque = states
            .cached_state
            .get::<SurfaceRegions>()
            .current()
            .opaque
            .clone();
        let Some(content) = &self.content else {
            self.size = (0, 0);
            // An unmapped surface has no state on any output. When it is mapped again, each output draws all of it.
            self.outputs.clear();
            return;
        };
        let logical = logical_size(content.size(), self.transform, scale);
        if !ensure_viewport_valid(states, logical.into()) {
            self.content = None;
            self.size = (0, 0);
            return;
        }
        let viewport = *states.cached_state.get::<ViewportCachedState>().current();
        let source = viewport.src.map_or(
            (0.0, 0.0, f64::from(logical.0), f64::from(logical.1)),
            |source| (source.loc.x, source.loc.y, source.size.w, source.size.h),
        );
        let scale = f64::from(scale);
        self.source = (
            source.0 * scale,
            source.1 * scale,
            source.2 * scale,
            source.3 * scale,
        );
        self.size = viewport.size().map_or(logical, |size| (size.w, size.h));
        let full = Rect::of_size(self.size.0, self.size.1);
        let plain = self.view((0, 0)).is_plain() && self.source.0 == 0.0 && self.source.1 == 0.0;
        for rect in damage {
            let rect = match rect {
                Damage::Surface(rect) => {
                    Rect::new(rect.loc.x, rect.loc.y, rect.size.w, rect.size.h)
                }
                Damage::Buffer(rect) if plain => {
                    Rect::new(rect.loc.x, rect.loc.y, rect.size.w, rect.size.h)
                }
                Damage::Buffer(_) => full,
            };
            for output in &mut self.outputs {
                output
                    .damage
                    .add(rect.intersection(full).unwrap_or_default());
                output.damage.simplify();
            }
        }
        if has_other_colours {
            for output in &mut self.outputs {
                output.damage = full.into();
            }
        }
        self.opaque = match (content.format().has_alpha(), opaque) {
            (false, _) => full.into(),
            (true, None) => Region::default(),
            (true, Some(opaque)) => opaque.opaque_part(full),
        };
    }

    /// Returns the content; `None` if the surface has none.
    pub fn content(&self) -> Option<&Rc<Content>> {
        self.content.as_ref()
    }

    /// Returns the size of the surface in surface coordinates.
    pub fn size(&self) -> (i32, i32) {
        self.size
    }

    /// Returns whether no frame of the output has shown the current content yet.
    pub fn has_new_content(&self, output: OutputId) -> bool {
        match self.on_output(output) {
            Some(on_output) => on_output.has_new_content,
            None => self.content.is_some(),
        }
    }

    /// Returns the surface's state on an output; `None` if the output has not shown the surface.
    fn on_output(&self, output: OutputId) -> Option<&SurfaceOutputState> {
        self.outputs.iter().find(|known| known.id == output)
    }

    /// Returns the state on an output. A new state has damage over the whole surface.
    fn on_output_mut(&mut self, output: OutputId) -> &mut SurfaceOutputState {
        let index = self.outputs.iter().position(|known| known.id == output);
        let index = index.unwrap_or_else(|| {
            self.outputs.push(SurfaceOutputState {
                id: output,
                damage: Rect::of_size(self.size.0, self.size.1).into(),
                has_new_content: self.content.is_some(),
                visible_area: 0,
            });
            self.outputs.len() - 1
        });
        &mut self.outputs[index]
    }

    /// Returns the source and destination rectangles of the buffer if the upper left corner of the surface is at `origin`.
    pub fn view(&self, origin: (i32, i32)) -> BufferView {
        BufferView {
            source: self.source,
            destination: Rect::new(origin.0, origin.1, self.size.0, self.size.1),
            transform: self.transform,
        }
    }

    /// Returns the conversion of the buffer's sample values to colours.
    pub fn colour(&self) -> ColorRepresentation {
        self.colour
    }

    /// Returns the opaque region of the surface.
    pub fn opaque(&self) -> &Region {
        &self.opaque
    }

    /// Returns the damage since the output last submitted a frame with the surface.
    pub fn damage(&self, output: OutputId) -> Region {
        match self.on_output(output) {
            Some(on_output) => on_output.damage.clone(),
            None => Rect::of_size(self.size.0, self.size.1).into(),
        }
    }

    /// Clears the damage on an output, because a frame with the current content was submitted to it.
    pub fn mark_latched(&mut self, output: OutputId) {
        let on_output = self.on_output_mut(output);
        on_output.has_new_content = false;
        on_output.damage = Region::default();
    }

    /// Damages the whole surface on an output.
    pub fn damage_all(&mut self, output: OutputId) {
        let full = Rect::of_size(self.size.0, self.size.1);
        self.on_output_mut(output).damage = full.into();
    }

    /// Sets the number of pixels of an output on which the surface is visible.
    pub fn set_visible_area(&mut self, output: OutputId, area: u64) {
        if area > 0 || self.on_output(output).is_some() {
            self.on_output_mut(output).visible_area = area;
        }
    }

    /// Returns the main output: the one that shows the largest part of the surface, and for whose refreshes the client draws. It
    /// is `None` while the surface is hidden.
    pub fn main_output(&self) -> Option<OutputId> {
        let visible = self.outputs.iter().filter(|output| output.visible_area > 0);
        let largest =
            visible.max_by_key(|output| (output.visible_area, std::cmp::Reverse(output.id)));
        largest.map(|output| output.id)
    }

    /// Removes the state of the surface on an output that was removed.
    pub fn forget_output(&mut self, output: OutputId) {
        self.outputs.retain(|known| known.id != output);
    }

    /// Returns whether the opaque region covers the whole surface.
    pub fn is_opaque(&self) -> bool {
        self.opaque.covers(Rect::of_size(self.size.0, self.size.1))
    }

    /// Returns the time at which frame callbacks were sent last; `None` if the surface received none yet.
    pub fn callback_time(&self) -> Option<Duration> {
        self.callback_time
    }

    /// Sets the time at which frame callbacks were sent last.
    pub fn set_callback_time(&mut self, time: Duration) {
        self.callback_time = Some(time);
    }

    /// Returns the pixel format of the content.
    pub fn format(&self) -> Option<PixelFormat> {
        self.content.as_ref().map(|content| content.format())
    }
}

/// Converts a size. Sizes beyond the range become its maximum.
fn clamp(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Returns the size in surface coordinates of a buffer with these pixels, before a viewport.
pub(crate) fn logical_size(pixels: (usize, usize), transform: Transform, scale: i32) -> (i32, i32) {
    let (width, height) = transform.size(pixels);
    (clamp(width) / scale, clamp(height) / scale)
}

/// Converts the transform of a buffer.
pub(crate) fn buffer_transform(transform: wl_output::Transform) -> Transform {
    match transform {
        wl_output::Transform::_90 => Transform::Rotated90,
        wl_output::Transform::_180 => Transform::Rotated180,
        wl_output::Transform::_270 => Transform::Rotated270,
        wl_output::Transform::Flipped => Transform::Flipped,
        wl_output::Transform::Flipped90 => Transform::Flipped90,
        wl_output::Transform::Flipped180 => Transform::Flipped180,
        wl_output::Transform::Flipped270 => Transform::Flipped270,
        _ => Transform::Normal,
    }
}
