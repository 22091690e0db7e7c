//! `wl_region`, and the opaque and input regions of surfaces.
//!
//! Smithay 0.7 copies a region for each surface that uses it and for each commit of the surface, so a client could make the
//! compositor allocate much memory by small requests. In this module the surfaces and commits share one copy-on-write region.
//! Each rectangle of each copy counts against the client's limit while the copy exists.

use std::sync::{Arc, Mutex, PoisonError};

use smithay::reexports::wayland_server::protocol::wl_region::{self, WlRegion};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource as _,
};
use smithay::wayland::compositor::{Cacheable, with_states};

use crate::limits::{Charge, Limit, LimitExceeded, amount};
use crate::region::{Rect, Region};
use crate::state::{State, usage_of};

/// The maximum number of rectangles of an opaque region, after overlapping rectangles were split. Each rectangle is compared with
/// each surface below.
const OPAQUE_RECTS_MAX: usize = 64;

/// Whether a request adds or subtracts a rectangle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionOperation {
    /// `wl_region.add`: the region contains the pixels of the rectangle.
    Add,
    /// `wl_region.subtract`: the region does not contain the pixels of the rectangle.
    Subtract,
}

/// The rectangles of a `wl_region` in the order of the requests.
#[derive(Debug)]
pub struct ClientRegion {
    rects: Vec<(RegionOperation, Rect)>,
    charge: Charge,
}

impl ClientRegion {
    fn push(&mut self, operation: RegionOperation, rect: Rect) -> Result<(), LimitExceeded> {
        self.charge.set(self.charge.amount().saturating_add(1))?;
        self.rects.push((operation, rect));
        Ok(())
    }

    fn try_clone(&self) -> Result<Self, LimitExceeded> {
        Ok(Self {
            charge: self.charge.try_clone()?,
            rects: self.rects.clone(),
        })
    }

    /// Returns the opaque region: the pixels of this region that are inside of `bounds`.
    ///
    /// If there are very many rectangles, the result is empty. That is correct, because a compositor may treat opaque pixels as
    /// translucent.
    pub fn opaque_part(&self, bounds: Rect) -> Region {
        let mut region = Region::default();
        for (operation, rect) in &self.rects {
            let Some(rect) = rect.intersection(bounds) else {
                continue;
            };
            match operation {
                RegionOperation::Add => region.add(rect),
                RegionOperation::Subtract => region.subtract(rect),
            }
            if region.rects().len() > OPAQUE_RECTS_MAX {
                return Region::default();
            }
        }
        region
    }

    /// Returns whether the region contains a pixel.
    pub fn contains(&self, x: i32, y: i32) -> bool {
        let last = self
            .rects
            .iter()
            .rev()
            .find(|(_, rect)| rect.contains(Rect::new(x, y, 1, 1)));
        last.is_some_and(|(operation, _)| *operation == RegionOperation::Add)
    }
}

/// The user data of a `wl_region`.
#[derive(Debug)]
pub struct RegionData(Mutex<Arc<ClientRegion>>);

impl RegionData {
    /// Creates the data of an empty region.
    pub fn new(client: &Client) -> Self {
        Self(Mutex::new(Arc::new(ClientRegion {
            rects: Vec::new(),
            charge: usage_of(client).charge_nothing(Limit::Rectangles),
        })))
    }

    /// Returns the region as it is now. Later requests of the client do not change the result.
    fn region(&self) -> Arc<ClientRegion> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn push(&self, operation: RegionOperation, rect: Rect) -> Result<(), LimitExceeded> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(region) = Arc::get_mut(&mut shared) {
            return region.push(operation, rect);
        }
        // A surface that uses the region keeps the rectangles from before this request.
        let mut copy = shared.try_clone()?;
        copy.push(operation, rect)?;
        *shared = Arc::new(copy);
        Ok(())
    }

    fn len(&self) -> usize {
        self.region().rects.len()
    }
}

/// The opaque and the input region of a surface. With `None`, the default of the protocol applies: no pixel is opaque, and every
/// pixel accepts input.
#[derive(Clone, Debug, Default)]
pub struct SurfaceRegions {
    /// The opaque region; `None` if no pixel is opaque.
    pub opaque: Option<Arc<ClientRegion>>,
    /// The input region; `None` if every pixel accepts input.
    pub input: Option<Arc<ClientRegion>>,
}

impl Cacheable for SurfaceRegions {
    fn commit(&mut self, _display: &DisplayHandle) -> Self {
        self.clone()
    }

    fn merge_into(self, into: &mut Self, _display: &DisplayHandle) {
        *into = self;
    }
}

/// Sets the opaque region of a surface from its next commit on.
pub fn set_opaque_region(surface: &WlSurface, region: Option<&WlRegion>) {
    let region = region.and_then(region_of);
    with_states(surface, |states| {
        states.cached_state.get::<SurfaceRegions>().pending().opaque = region;
    });
}

/// Sets the input region of a surface from its next commit on.
pub fn set_input_region(surface: &WlSurface, region: Option<&WlRegion>) {
    let region = region.and_then(region_of);
    with_states(surface, |states| {
        states.cached_state.get::<SurfaceRegions>().pending().input = region;
    });
}

/// Returns whether the input region of a surface contains a pixel.
pub fn accepts_input(surface: &WlSurface, x: i32, y: i32) -> bool {
    let region = with_states(surface, |states| {
        let mut regions = states.cached_state.get::<SurfaceRegions>();
        regions.current().input.clone()
    });
    region.is_none_or(|region| region.contains(x, y))
}

/// Returns the rectangles that a region has now.
pub(crate) fn region_of(region: &WlRegion) -> Option<Arc<ClientRegion>> {
    region.data::<RegionData>().map(RegionData::region)
}

impl Dispatch<WlRegion, RegionData> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        _region: &WlRegion,
        request: wl_region::Request,
        data: &RegionData,
        display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        use wl_region::Request;
        let (operation, x, y, width, height) = match request {
            Request::Add {
                x,
                y,
                width,
                height,
            } => (RegionOperation::Add, x, y, width, height),
            Request::Subtract {
                x,
                y,
                width,
                height,
            } => (RegionOperation::Subtract, x, y, width, height),
            _ => return,
        };
        let rect = Rect::new(x, y, width, height);
        if rect.is_empty() {
            return;
        }
        let count = amount(data.len()).saturating_add(1);
        let added = usage_of(client)
            .check(Limit::RegionRectangles, count)
            .and_then(|()| data.push(operation, rect));
        if let Err(exceeded) = added {
            state.connections.disconnect(display, client, exceeded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Limits, Usage};

    fn data(limit: u64) -> (Arc<Usage>, RegionData) {
        let mut limits = Limits::default();
        limits.set(Limit::Rectangles, limit);
        let usage = Arc::new(Usage::new(limits));
        let region = ClientRegion {
            rects: Vec::new(),
            charge: usage.charge_nothing(Limit::Rectangles),
        };
        (usage, RegionData(Mutex::new(Arc::new(region))))
    }

    fn square(position: i32) -> Rect {
        Rect::new(position, position, 10, 10)
    }

    #[test]
    fn region_that_is_set_is_shared_until_it_is_changed() {
        let (usage, data) = data(5);
        data.push(RegionOperation::Add, square(0)).unwrap();
        data.push(RegionOperation::Add, square(20)).unwrap();
        let surfaces: Vec<_> = (0..1000).map(|_| data.region()).collect();
        assert_eq!(usage.used(Limit::Rectangles), 2);
        data.push(RegionOperation::Subtract, square(20)).unwrap();
        assert_eq!(usage.used(Limit::Rectangles), 5);
        assert!(surfaces[0].contains(25, 25) && !data.region().contains(25, 25));
        assert!(data.push(RegionOperation::Add, square(40)).is_err());
        drop(surfaces);
        assert_eq!(usage.used(Limit::Rectangles), 3);
        drop(data);
        assert_eq!(usage.used(Limit::Rectangles), 0);
    }

    #[test]
    fn opaque_region_of_crossing_rectangles_is_empty() {
        let (_, data) = data(1000);
        for place in 0..32 {
            data.push(RegionOperation::Add, Rect::new(place * 4, 0, 2, 200))
                .unwrap();
            data.push(RegionOperation::Add, Rect::new(0, place * 4, 200, 2))
                .unwrap();
        }
        let bounds = Rect::of_size(200, 200);
        assert!(data.region().opaque_part(bounds).is_empty());
        let (_, data) = self::data(1000);
        data.push(RegionOperation::Add, bounds).unwrap();
        data.push(RegionOperation::Subtract, square(4)).unwrap();
        assert_eq!(data.region().opaque_part(bounds).area(), 200 * 200 - 100);
        assert_eq!(data.region().opaque_part(square(0)).area(), 100 - 36);
    }

    #[test]
    fn last_rectangle_that_contains_a_pixel_decides() {
        let (_, data) = data(1000);
        assert!(!data.region().contains(5, 5));
        data.push(RegionOperation::Add, square(0)).unwrap();
        data.push(RegionOperation::Subtract, square(4)).unwrap();
        assert!(data.region().contains(3, 3) && !data.region().contains(4, 4));
        data.push(RegionOperation::Add, square(2)).unwrap();
        assert!(data.region().contains(4, 4) && !data.region().contains(13, 13));
    }
}
