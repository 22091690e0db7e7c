//! The applied state of a `wl_surface`.

use std::rc::Rc;

use smithay::reexports::wayland_server::protocol::wl_output;
use smithay::wayland::compositor::{
    Damage, RectangleKind, RegionAttributes, SurfaceAttributes, SurfaceData,
};
use smithay::wayland::viewporter::{ViewportCachedState, ensure_viewport_valid};

use crate::commits::{Attachment, CommittedBuffer, take_applied};
use crate::content::Content;
use crate::region::{Rect, Region};
use crate::render::software::Transform;
use crate::render::{PixelFormat, Pixels, View};

/// The largest number of rectangles of an opaque region that is used.
const RECTS_MAX: usize = 64;

/// A surface's content, geometry, damage and opaque region in surface coordinates.
#[derive(Debug, Default)]
pub struct Surface {
    content: Option<Rc<Content>>,
    has_new_content: bool,
    size: (i32, i32),
    source: (f64, f64, f64, f64),
    transform: Transform,
    damage: Region,
    opaque: Region,
}

impl Surface {
    /// Applies a commit. `attach` turns a new buffer into content, or returns `None` if the buffer cannot be shown.
    pub fn apply_commit(
        &mut self,
        states: &SurfaceData,
        attach: impl FnOnce(CommittedBuffer) -> Option<Content>,
    ) {
        match take_applied(states) {
            Some(Attachment::Buffer(buffer)) => {
                self.content = attach(buffer).map(Rc::new);
                self.has_new_content = self.content.is_some();
            }
            Some(Attachment::Removed) => {
                self.content = None;
                self.has_new_content = false;
            }
            None => {}
        }
        let mut guard = states.cached_state.get::<SurfaceAttributes>();
        let attributes = guard.current();
        let uncommitted = attributes.buffer.take();
        let scale = attributes.buffer_scale.max(1);
        self.transform = buffer_transform(attributes.buffer_transform);
        let damage = std::mem::take(&mut attributes.damage);
        let opaque = attributes.opaque_region.clone();
        // A commit of the parent makes Smithay commit the pending state of this surface as well. A buffer that was attached and
        // not committed is put back into the pending state, so that it waits for the commit of this surface.
        let pending = &mut guard.pending().buffer;
        *pending = pending.take().or(uncommitted);
        drop(guard);
        let Some(content) = &self.content else {
            self.size = (0, 0);
            self.damage = Region::default();
            return;
        };
        let (width, height) = self.transform.size(content.size());
        let pixels = (clamp(width), clamp(height));
        let logical = (pixels.0 / scale, pixels.1 / scale);
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
            self.damage.add(rect.intersection(full).unwrap_or_default());
            self.damage.simplify();
        }
        self.opaque = match (content.format().has_alpha(), opaque) {
            (false, _) => full.into(),
            (true, None) => Region::default(),
            (true, Some(opaque)) => region(&opaque, full),
        };
    }

    /// Returns the content; `None` if the surface has none.
    pub fn content(&self) -> Option<&Rc<Content>> {
        self.content.as_ref()
    }

    /// Returns the size in output pixels.
    pub fn size(&self) -> (i32, i32) {
        self.size
    }

    /// Returns whether the content was not part of a frame yet.
    pub fn has_new_content(&self) -> bool {
        self.has_new_content
    }

    /// Returns source and destination of the buffer if the upper left corner of the surface is at `origin`.
    pub fn view(&self, origin: (i32, i32)) -> View {
        View {
            source: self.source,
            destination: Rect::new(origin.0, origin.1, self.size.0, self.size.1),
            transform: self.transform,
        }
    }

    /// Returns the opaque region.
    pub fn opaque(&self) -> &Region {
        &self.opaque
    }

    /// Returns the damage since the last frame that showed the surface.
    pub fn damage(&self) -> &Region {
        &self.damage
    }

    /// Clears the damage after a frame with the current content was submitted.
    pub fn mark_latched(&mut self) {
        self.has_new_content = false;
        self.damage = Region::default();
    }

    /// Damages the whole surface.
    pub fn damage_all(&mut self) {
        self.damage = Rect::of_size(self.size.0, self.size.1).into();
    }

    /// Returns whether the opaque region covers the whole surface.
    pub fn is_opaque(&self) -> bool {
        self.opaque.covers(Rect::of_size(self.size.0, self.size.1))
    }

    /// Returns the pixel format of the content.
    pub fn format(&self) -> Option<PixelFormat> {
        self.content.as_ref().map(|content| content.format())
    }
}

fn clamp(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn buffer_transform(transform: wl_output::Transform) -> Transform {
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

fn region(attributes: &RegionAttributes, full: Rect) -> Region {
    let mut region = Region::default();
    // An opaque region may always be taken as smaller than it is, so a region with very many rectangles is treated as empty.
    if attributes.rects.len() > RECTS_MAX {
        return region;
    }
    for (kind, rect) in &attributes.rects {
        let rect = Rect::new(rect.loc.x, rect.loc.y, rect.size.w, rect.size.h);
        let Some(rect) = rect.intersection(full) else {
            continue;
        };
        match kind {
            RectangleKind::Add => region.add(rect),
            RectangleKind::Subtract => region.subtract(rect),
        }
    }
    region
}
