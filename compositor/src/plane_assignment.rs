//! Chooses a plane for each layer of an output.
//!
//! This module has no state and makes no commits. [`choose`] returns the best assignment that no test commit has rejected. The
//! caller makes the test commit, if none was made for this assignment yet, and records its result in the [`TestCache`].
//!
//! ```text
//!   cursor plane    the pointer
//!   overlay planes  layers that no drawn layer covers, in the stacking order of the scene
//!   primary plane   one layer that covers the output, if all others have planes; or else everything that is drawn
//! ```

mod test_cache;

use covalent_alloc::backend::drm::PlaneKind;
use covalent_alloc::model::FormatModifier;

use crate::kms::{PlaneDescription, SourceRect, YuvEncoding};
use crate::region::Rect;

pub use test_cache::{Configuration, TestCache};

/// The maximum number of layers that are considered for planes. With more layers, all of them are drawn.
const LAYERS_MAX: usize = 32;

/// The properties of a layer's buffer that decide whether a plane can show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Picture {
    /// The format and modifier of the buffer.
    pub format: FormatModifier,
    /// The size of the buffer in pixels.
    pub extent: (u32, u32),
    /// The offset and stride of each colour plane in bytes.
    pub layout: Vec<(u64, u32)>,
    /// The source rectangle in the buffer.
    pub source: SourceRect,
    /// The conversion of YUV; `None` for RGB.
    pub yuv: Option<YuvEncoding>,
}

/// A visible layer, as a candidate for a plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The destination rectangle on the output.
    pub destination: Rect,
    /// The properties of the layer's buffer; `None` if no plane can show it.
    pub picture: Option<Picture>,
    /// Whether the layer is opaque and covers the output, so that the primary plane can show it instead of an output buffer.
    pub covers_output: bool,
    /// Layers with a greater number get planes first.
    pub priority: u32,
}

/// The pointer, as a candidate for the cursor plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorCandidate {
    /// The destination rectangle on the output.
    pub destination: Rect,
    /// The properties of the pointer's buffer; `None` if the cursor plane cannot show it.
    pub picture: Option<Picture>,
}

/// The visible layers of an output, the lowest first, and the pointer above them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// The visible layers, the lowest layer first.
    pub layers: Vec<Candidate>,
    /// The pointer, if it is visible.
    pub cursor: Option<CursorCandidate>,
}

/// The planes of the layers in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The index of the plane of each layer; `None` for a layer that is drawn.
    pub layers: Vec<Option<usize>>,
    /// The index of the plane of the pointer; `None` if it is drawn or not visible.
    pub cursor: Option<usize>,
    /// Whether the primary plane shows an output buffer.
    pub is_drawn: bool,
}

impl Assignment {
    /// Returns the assignment in which the renderer draws all layers and the pointer.
    pub fn drawn(layers: usize) -> Self {
        Self {
            layers: vec![None; layers],
            cursor: None,
            is_drawn: true,
        }
    }

    /// Returns whether a plane shows a layer or the pointer.
    pub fn uses_planes(&self) -> bool {
        self.cursor.is_some() || self.layers.iter().any(Option::is_some)
    }
}

/// An assignment, and the state of its test commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The chosen assignment.
    pub assignment: Assignment,
    /// Whether a test commit of the assignment has passed. The assignment that draws everything needs no test commit.
    pub is_tested: bool,
    /// Why the card rejected the test commit of a better assignment.
    pub rejected: Option<String>,
}

/// Returns the best assignment that `cache` does not record as rejected.
///
/// If all assignments with planes were rejected, the result is the assignment that draws everything.
pub fn choose(candidates: &Candidates, planes: &[PlaneDescription], cache: &TestCache) -> Choice {
    let mut rejected = None;
    for assignment in assignments(candidates, planes) {
        let configuration = Configuration::new(&assignment, candidates, planes);
        match cache.result(&configuration) {
            Some(Err(reason)) => {
                rejected.get_or_insert_with(|| reason.clone());
            }
            result => {
                return Choice {
                    is_tested: result.is_some() || !assignment.uses_planes(),
                    assignment,
                    rejected,
                };
            }
        }
    }
    Choice {
        assignment: Assignment::drawn(candidates.layers.len()),
        is_tested: true,
        rejected,
    }
}

/// Returns the assignments that are possible according to the descriptions of the planes, from best to worst.
fn assignments(candidates: &Candidates, planes: &[PlaneDescription]) -> Vec<Assignment> {
    let mut list = Vec::new();
    if candidates.layers.len() > LAYERS_MAX {
        return list;
    }
    let cursor_plane = candidates.cursor.as_ref().and_then(|cursor| {
        let picture = cursor.picture.as_ref()?;
        planes.iter().position(|plane| {
            plane.kind == PlaneKind::Cursor && rejection(plane, picture).is_none()
        })
    });
    let drawn_cursor = |plane: Option<usize>| match plane {
        Some(_) => None,
        None => candidates.cursor.as_ref().map(|cursor| cursor.destination),
    };
    for cursor in cursor_plane.map(Some).into_iter().chain([None]) {
        let above = drawn_cursor(cursor);
        if above.is_none() {
            list.extend(without_drawing(candidates, planes, cursor));
        }
        let mut layers = overlay_layers(candidates, planes, cursor, above);
        loop {
            if let Some(planes) = match_overlays(candidates, planes, cursor, &layers) {
                list.push(Assignment {
                    layers: planes,
                    cursor,
                    is_drawn: true,
                });
            }
            // A layer that is removed from the set is drawn into the output buffer, which is below all overlay planes. The layers
            // that it covers must then be drawn too, so they are removed from the set as well.
            let Some(least) = least_important(candidates, &layers) else {
                break;
            };
            layers.retain(|layer| *layer != least);
            layers = remove_covered(candidates, layers, above);
        }
    }
    list
}

/// Returns the reason why a plane cannot show a picture, according to the plane's description; `None` if the plane can show it.
pub fn rejection(plane: &PlaneDescription, picture: &Picture) -> Option<PlaneRejection> {
    if !plane.formats.contains(&picture.format) {
        return Some(PlaneRejection::Format);
    }
    if picture.yuv.is_some() && !plane.converts_yuv {
        return Some(PlaneRejection::Yuv);
    }
    let (least, most) = plane.sizes;
    let fits = |pixels: u32, least: u32, most: u32| (least..=most).contains(&pixels);
    let (width, height) = picture.extent;
    if !fits(width, least.0, most.0) || !fits(height, least.1, most.1) {
        return Some(PlaneRejection::Size);
    }
    None
}

/// Why a plane cannot show a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum PlaneRejection {
    /// The plane does not list the format with the modifier.
    #[error("no plane above the primary plane supports the format and modifier of the buffer")]
    Format,
    /// The plane lacks the properties that define how it converts YUV.
    #[error(
        "no overlay plane has the properties COLOR_ENCODING and COLOR_RANGE, so it is not known how the overlay planes convert YUV"
    )]
    Yuv,
    /// The buffer's size exceeds the limits of the plane.
    #[error("no overlay plane supports the size of the buffer")]
    Size,
    /// A drawn layer or the drawn pointer is above the layer.
    #[error("a drawn layer or the drawn pointer covers the surface")]
    Covered,
    /// Other layers use the planes, or a test commit was rejected.
    #[error(
        "other layers use all suitable planes, or the card rejected the surface on an overlay plane in a test commit"
    )]
    InUse,
}

/// Returns why a drawn layer has no overlay plane; `None` if the output has no overlay planes.
pub fn explain(
    candidates: &Candidates,
    planes: &[PlaneDescription],
    assignment: &Assignment,
    layer: usize,
) -> Option<PlaneRejection> {
    let overlays = overlays(planes, None);
    let candidate = candidates.layers.get(layer)?;
    let picture = candidate.picture.as_ref()?;
    let reasons = overlays.iter().map(|index| {
        planes
            .get(*index)
            .and_then(|plane| rejection(plane, picture))
    });
    let reasons: Vec<_> = reasons.collect();
    if reasons.is_empty() {
        return None;
    }
    if reasons.iter().all(Option::is_some) {
        return reasons.into_iter().flatten().max();
    }
    let cursor = candidates
        .cursor
        .as_ref()
        .filter(|_| assignment.cursor.is_none())
        .map(|cursor| cursor.destination);
    let on_planes: Vec<usize> = (0..candidates.layers.len())
        .filter(|other| assignment.layers.get(*other).is_some_and(Option::is_some))
        .chain([layer])
        .collect();
    if is_covered(candidates, &on_planes, cursor, layer) {
        return Some(PlaneRejection::Covered);
    }
    Some(PlaneRejection::InUse)
}

/// Returns the assignment in which the lowest layer is on the primary plane and all others are on overlay planes.
fn without_drawing(
    candidates: &Candidates,
    planes: &[PlaneDescription],
    cursor: Option<usize>,
) -> Option<Assignment> {
    let lowest = candidates
        .layers
        .first()
        .filter(|layer| layer.covers_output)?;
    let primary = primary(planes)?;
    let picture = lowest.picture.as_ref()?;
    if rejection(planes.get(primary)?, picture).is_some() {
        return None;
    }
    let others: Vec<usize> = (1..candidates.layers.len()).collect();
    let mut layers = match_overlays(candidates, planes, cursor, &others)?;
    *layers.first_mut()? = Some(primary);
    Some(Assignment {
        layers,
        cursor,
        is_drawn: false,
    })
}

/// Returns the index of the primary plane.
fn primary(planes: &[PlaneDescription]) -> Option<usize> {
    planes
        .iter()
        .position(|plane| plane.kind == PlaneKind::Primary)
}

/// Returns the overlay planes that are above the primary plane and below the cursor plane `cursor`, from the top to the bottom.
fn overlays(planes: &[PlaneDescription], cursor: Option<usize>) -> Vec<usize> {
    let order = |index: Option<usize>| {
        index
            .and_then(|index| planes.get(index))
            .map(|plane| plane.order)
    };
    let lowest = order(primary(planes));
    let highest = order(cursor);
    let mut overlays: Vec<usize> = (0..planes.len())
        .filter(|index| {
            planes.get(*index).is_some_and(|plane| {
                plane.kind == PlaneKind::Overlay
                    && lowest.is_some_and(|lowest| plane.order > lowest)
                    && highest.is_none_or(|highest| plane.order < highest)
            })
        })
        .collect();
    overlays.sort_by_key(|index| std::cmp::Reverse(order(Some(*index))));
    overlays
}

/// Returns the set of most important layers that overlay planes can show at the same time, from the bottom to the top.
fn overlay_layers(
    candidates: &Candidates,
    planes: &[PlaneDescription],
    cursor: Option<usize>,
    above: Option<Rect>,
) -> Vec<usize> {
    let overlays = overlays(planes, cursor);
    let mut by_priority: Vec<usize> = (0..candidates.layers.len())
        .filter(|layer| {
            let picture = candidates
                .layers
                .get(*layer)
                .and_then(|layer| layer.picture.as_ref());
            picture.is_some_and(|picture| {
                overlays
                    .iter()
                    .filter_map(|index| planes.get(*index))
                    .any(|plane| rejection(plane, picture).is_none())
            })
        })
        .collect();
    let priority = |layer: &usize| candidates.layers.get(*layer).map(|layer| layer.priority);
    // Of two layers with equal priority the higher one comes first, because fewer layers can cover it.
    by_priority.sort_by_key(|layer| std::cmp::Reverse((priority(layer), *layer)));
    let mut chosen: Vec<usize> = Vec::new();
    // A layer can get a plane only after every layer that overlaps it from above has a plane. So the list is processed until a
    // pass adds no layer.
    loop {
        let before = chosen.len();
        for layer in &by_priority {
            if chosen.contains(layer) || chosen.len() >= overlays.len() {
                continue;
            }
            let mut with: Vec<usize> = chosen.clone();
            with.push(*layer);
            with.sort_unstable();
            if !is_covered(candidates, &with, above, *layer)
                && match_overlays(candidates, planes, cursor, &with).is_some()
            {
                chosen = with;
            }
        }
        if chosen.len() == before {
            return chosen;
        }
    }
}

/// Returns whether a drawn layer or the drawn pointer is above a layer. All layers that are not in `on_planes` are drawn;
/// `cursor` is the rectangle of a drawn pointer.
fn is_covered(
    candidates: &Candidates,
    on_planes: &[usize],
    cursor: Option<Rect>,
    layer: usize,
) -> bool {
    let Some(own) = candidates.layers.get(layer) else {
        return true;
    };
    let drawn_above = candidates
        .layers
        .iter()
        .enumerate()
        .skip(layer.saturating_add(1))
        .filter(|(other, _)| !on_planes.contains(other))
        .map(|(_, other)| other.destination);
    drawn_above
        .chain(cursor)
        .any(|rect| rect.intersection(own.destination).is_some())
}

/// Removes layers that a drawn layer or the drawn pointer covers, until no remaining layer is covered.
fn remove_covered(
    candidates: &Candidates,
    mut layers: Vec<usize>,
    cursor: Option<Rect>,
) -> Vec<usize> {
    loop {
        let covered = layers
            .iter()
            .copied()
            .find(|layer| is_covered(candidates, &layers, cursor, *layer));
        match covered {
            Some(covered) => layers.retain(|layer| *layer != covered),
            None => return layers,
        }
    }
}

/// Returns the layer with the lowest priority, and of several the lowest in the stacking order.
fn least_important(candidates: &Candidates, layers: &[usize]) -> Option<usize> {
    let priority = |layer: &usize| candidates.layers.get(*layer).map(|layer| layer.priority);
    layers
        .iter()
        .copied()
        .min_by_key(|layer| (priority(layer), *layer))
}

/// Assigns each of `layers`, which are sorted, to an overlay plane, so that the stacking order of the planes is that of the
/// layers.
///
/// The layers are processed from the top to the bottom. Each gets the highest free plane that supports it, so that as many planes
/// as possible remain for the layers below.
fn match_overlays(
    candidates: &Candidates,
    planes: &[PlaneDescription],
    cursor: Option<usize>,
    layers: &[usize],
) -> Option<Vec<Option<usize>>> {
    let mut free = overlays(planes, cursor).into_iter();
    let mut assigned = vec![None; candidates.layers.len()];
    for layer in layers.iter().rev() {
        let picture = candidates.layers.get(*layer)?.picture.as_ref()?;
        let plane = free.find(|index| {
            planes
                .get(*index)
                .is_some_and(|plane| rejection(plane, picture).is_none())
        })?;
        *assigned.get_mut(*layer)? = Some(plane);
    }
    Some(assigned)
}

#[cfg(test)]
mod tests;
