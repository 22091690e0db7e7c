//! Divides the damage into rectangles in which the same layers are visible, so that hidden layers are not drawn.

use super::Layer;
use crate::region::{Rect, Region};

/// A rectangle of the output in which the same layers are visible everywhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) rect: Rect,
    /// The highest layer that is opaque in the whole rectangle. Layers below this layer are not read. `None` if no layer is
    /// opaque in the whole rectangle; the layers in `above` are then drawn over the background.
    pub(super) base: Option<usize>,
    /// The layers above the base, from the bottom to the top.
    pub(super) above: Vec<usize>,
}

/// The number of pieces at which the division stops. Clients choose the opaque regions, and the number of pieces multiplies where
/// their rectangles cross.
const PIECES_MAX: usize = 1024;

/// Divides the damage into pieces, each with its base and the layers above it.
pub(super) fn divide(damage: &Region, layers: &[Layer<'_>]) -> Vec<Piece> {
    let mut finished = Vec::new();
    // The pieces whose base is not found yet. Each has the layers that are above the base, from the top to the bottom.
    let mut open: Vec<(Rect, Vec<usize>)> = damage
        .rects()
        .iter()
        .map(|rect| (*rect, Vec::new()))
        .collect();
    for (index, layer) in layers.iter().enumerate().rev() {
        let destination = layer.view.destination;
        let mut lower = Vec::with_capacity(open.len());
        for (rect, above) in open {
            if rect.intersection(destination).is_none() {
                lower.push((rect, above));
                continue;
            }
            let mut uncovered = Region::from(rect);
            for opaque in layer.opaque.rects() {
                let count = finished.len() + lower.len() + uncovered.rects().len();
                let cut = rect
                    .intersection(*opaque)
                    .and_then(|cut| cut.intersection(destination));
                let Some(cut) = cut else { continue };
                // A layer that covers the piece completely always becomes its base, because this adds no pieces.
                if count >= PIECES_MAX && cut != rect {
                    break;
                }
                uncovered.subtract(cut);
                finished.push(Piece {
                    rect: cut,
                    base: Some(index),
                    above: above.iter().rev().copied().collect(),
                });
            }
            for rect in uncovered.rects() {
                let mut above = above.clone();
                if rect.intersection(destination).is_some() {
                    above.push(index);
                }
                lower.push((*rect, above));
            }
        }
        open = lower;
    }
    finished.extend(open.into_iter().map(|(rect, mut above)| {
        above.reverse();
        Piece {
            rect,
            base: None,
            above,
        }
    }));
    finished
}
