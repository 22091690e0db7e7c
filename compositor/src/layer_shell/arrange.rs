//! The rectangles of the layer surfaces of an output, and the usable area that their exclusive zones leave.

use smithay::wayland::shell::wlr_layer::{Anchor, ExclusiveZone, Layer, LayerSurfaceCachedState};

use crate::region::Rect;

/// The share of an output's width and height that exclusive zones leave for windows: one in this number. Otherwise a client
/// could leave no room for the windows of the others.
const USABLE_SHARE: i32 = 4;

/// The margins of a layer surface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Margins {
    /// The distance from the upper edge.
    pub top: i32,
    /// The distance from the right edge.
    pub right: i32,
    /// The distance from the lower edge.
    pub bottom: i32,
    /// The distance from the left edge.
    pub left: i32,
}

/// What a client committed about the place of its layer surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The layer.
    pub layer: Layer,
    /// The width and height; 0 for the distance between two opposite edges.
    pub size: (i32, i32),
    /// The edges to which the surface is anchored.
    pub anchor: Anchor,
    /// The zone that other surfaces avoid.
    pub zone: ExclusiveZone,
    /// The margins.
    pub margins: Margins,
}

impl Default for Placement {
    fn default() -> Self {
        Self::new(&LayerSurfaceCachedState::default())
    }
}

impl Placement {
    /// Returns the place in a state of Smithay.
    pub fn new(state: &LayerSurfaceCachedState) -> Self {
        Self {
            layer: state.layer,
            size: (state.size.w, state.size.h),
            anchor: state.anchor,
            zone: state.exclusive_zone,
            margins: Margins {
                top: state.margin.top,
                right: state.margin.right,
                bottom: state.margin.bottom,
                left: state.margin.left,
            },
        }
    }

    /// Returns the rectangle of the surface on an output with this usable area.
    fn rect(&self, output: Rect, usable: Rect) -> Rect {
        let area = match self.zone {
            ExclusiveZone::DontCare => output,
            ExclusiveZone::Exclusive(_) | ExclusiveZone::Neutral => usable,
        };
        let has = |edge: Anchor| self.anchor.contains(edge);
        let (x, width) = along(
            (area.x, area.width),
            self.size.0,
            (has(Anchor::LEFT), has(Anchor::RIGHT)),
            (self.margins.left, self.margins.right),
        );
        let (y, height) = along(
            (area.y, area.height),
            self.size.1,
            (has(Anchor::TOP), has(Anchor::BOTTOM)),
            (self.margins.top, self.margins.bottom),
        );
        Rect::new(x, y, width, height)
    }

    /// Returns the edge that the exclusive zone is at, and the length that it takes from there. A surface that is anchored to a
    /// corner, to opposite edges or to nothing has none.
    fn exclusive_edge(&self) -> Option<(Anchor, i32)> {
        let ExclusiveZone::Exclusive(zone) = self.zone else {
            return None;
        };
        let (horizontal, vertical) = (Anchor::LEFT | Anchor::RIGHT, Anchor::TOP | Anchor::BOTTOM);
        let edges = [
            (Anchor::TOP, horizontal, self.margins.top),
            (Anchor::BOTTOM, horizontal, self.margins.bottom),
            (Anchor::LEFT, vertical, self.margins.left),
            (Anchor::RIGHT, vertical, self.margins.right),
        ];
        let mut edges = edges.into_iter();
        let (edge, _, margin) = edges
            .find(|(edge, sides, _)| self.anchor == *edge || self.anchor == edge.union(*sides))?;
        let zone = i32::try_from(zone).unwrap_or(i32::MAX);
        Some((edge, zone.saturating_add(margin)))
    }
}

/// Returns the start and the length of a surface along one axis of an area. `anchored` and `margins` are those of the start and
/// the end of the axis.
fn along(
    (start, length): (i32, i32),
    size: i32,
    anchored: (bool, bool),
    margins: (i32, i32),
) -> (i32, i32) {
    let from_start = start.saturating_add(margins.0);
    if size <= 0 {
        let inside = length.saturating_sub(margins.0).saturating_sub(margins.1);
        // A size of 0 would let the client choose the size.
        return (from_start, inside.max(1));
    }
    let start = match anchored {
        (true, false) => from_start,
        (false, true) => start
            .saturating_add(length)
            .saturating_sub(size)
            .saturating_sub(margins.1),
        // The surface is in the middle if it is anchored to both edges or to none.
        _ => start.saturating_add(length / 2).saturating_sub(size / 2),
    };
    (start, size)
}

/// Takes an exclusive zone away from the usable area of an output.
fn reserve(output: Rect, usable: Rect, (edge, length): (Anchor, i32)) -> Rect {
    let take = |whole: i32, space: i32| {
        length
            .min(space.saturating_sub(whole / USABLE_SHARE))
            .max(0)
    };
    let (width, height) = (
        take(output.width, usable.width),
        take(output.height, usable.height),
    );
    let mut rest = usable;
    if edge == Anchor::TOP || edge == Anchor::BOTTOM {
        rest.height = usable.height.saturating_sub(height);
    } else {
        rest.width = usable.width.saturating_sub(width);
    }
    if edge == Anchor::TOP {
        rest.y = usable.y.saturating_add(height);
    } else if edge == Anchor::LEFT {
        rest.x = usable.x.saturating_add(width);
    }
    rest
}

/// Returns the number of a layer, which is higher for a layer that is above another one.
pub(super) fn height_of(layer: Layer) -> u8 {
    match layer {
        Layer::Background => 0,
        Layer::Bottom => 1,
        Layer::Top => 2,
        Layer::Overlay => 3,
    }
}

/// Computes the rectangles of the layer surfaces of an output, and the usable area. A surface that is not mapped takes no
/// exclusive zone.
///
/// Surfaces with an exclusive zone are placed first, those of the highest layer before those of lower layers, as wlroots does.
pub(super) fn arrange(output: Rect, surfaces: &[(Placement, bool)]) -> (Vec<Rect>, Rect) {
    let mut order: Vec<usize> = (0..surfaces.len()).collect();
    order.sort_by_key(|index| {
        let (placement, _) = surfaces.get(*index).copied().unwrap_or_default();
        let is_exclusive = matches!(placement.zone, ExclusiveZone::Exclusive(_));
        (!is_exclusive, std::cmp::Reverse(height_of(placement.layer)))
    });
    let mut rects = vec![Rect::default(); surfaces.len()];
    let mut usable = output;
    for index in order {
        let (Some((placement, is_mapped)), Some(rect)) =
            (surfaces.get(index), rects.get_mut(index))
        else {
            continue;
        };
        *rect = placement.rect(output, usable);
        if let Some(zone) = placement.exclusive_edge().filter(|_| *is_mapped) {
            usable = reserve(output, usable, zone);
        }
    }
    (rects, usable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: Rect = Rect::new(100, 50, 800, 600);

    fn panel(edge: Anchor, size: (i32, i32), zone: u32) -> Placement {
        Placement {
            layer: Layer::Top,
            size,
            anchor: edge,
            zone: ExclusiveZone::Exclusive(zone),
            ..Placement::default()
        }
    }

    #[test]
    fn panels_of_all_edges_leave_the_usable_area() {
        let (horizontal, vertical) = (Anchor::LEFT | Anchor::RIGHT, Anchor::TOP | Anchor::BOTTOM);
        let mut left = panel(Anchor::LEFT | vertical, (40, 0), 40);
        left.margins.left = 5;
        let surfaces = [
            (panel(Anchor::TOP | horizontal, (0, 30), 30), true),
            (panel(Anchor::BOTTOM | horizontal, (0, 20), 20), true),
            (left, true),
            (panel(Anchor::RIGHT, (10, 100), 10), true),
        ];
        let (rects, usable) = arrange(OUTPUT, &surfaces);
        assert_eq!(usable, Rect::new(145, 80, 745, 550));
        assert_eq!(
            rects,
            [
                Rect::new(100, 50, 800, 30),
                Rect::new(100, 630, 800, 20),
                Rect::new(105, 80, 40, 550),
                Rect::new(890, 305, 10, 100),
            ]
        );
    }

    #[test]
    fn surface_without_a_zone_avoids_those_of_others_unless_it_ignores_them() {
        let bar = panel(Anchor::TOP | Anchor::LEFT | Anchor::RIGHT, (0, 30), 30);
        let mut wallpaper = Placement {
            anchor: Anchor::all(),
            ..Placement::default()
        };
        let (rects, _) = arrange(OUTPUT, &[(wallpaper, true), (bar, true)]);
        assert_eq!(rects.first(), Some(&Rect::new(100, 80, 800, 570)));
        wallpaper.zone = ExclusiveZone::DontCare;
        let (rects, usable) = arrange(OUTPUT, &[(wallpaper, true), (bar, false)]);
        assert_eq!((rects.first(), usable), (Some(&OUTPUT), OUTPUT));
    }

    #[test]
    fn surface_that_is_anchored_to_nothing_is_in_the_middle_and_takes_no_zone() {
        let surface = panel(Anchor::empty(), (200, 100), 50);
        let corner = panel(Anchor::TOP | Anchor::LEFT, (200, 100), 50);
        let (rects, usable) = arrange(OUTPUT, &[(surface, true), (corner, true)]);
        assert_eq!(usable, OUTPUT);
        assert_eq!(
            rects,
            [Rect::new(400, 300, 200, 100), Rect::new(100, 50, 200, 100)]
        );
    }

    #[test]
    fn exclusive_zones_of_any_size_leave_a_quarter_of_the_output() {
        let greedy = panel(Anchor::TOP, (10, 10), u32::MAX);
        let mut wide = panel(Anchor::LEFT, (10, 10), 500);
        wide.margins.left = i32::MAX;
        let mut negative = panel(Anchor::RIGHT, (10, 10), 5);
        negative.margins.right = i32::MIN;
        let surfaces = [greedy, greedy, wide, wide, negative].map(|surface| (surface, true));
        let (_, usable) = arrange(OUTPUT, &surfaces);
        assert_eq!(usable, Rect::new(700, 500, 200, 150));
    }

    #[test]
    fn surface_without_room_has_a_size_of_at_least_one_pixel() {
        let mut surface = Placement {
            anchor: Anchor::all(),
            ..Placement::default()
        };
        surface.margins.left = i32::MAX;
        surface.margins.top = i32::MIN;
        let (rects, _) = arrange(OUTPUT, &[(surface, true)]);
        let rect = rects.first().unwrap();
        assert!(rect.width >= 1 && rect.height >= 1, "{rect:?}");
    }
}
