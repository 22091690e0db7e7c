//! Finds the widest scope of a refusal that trials with other sizes and formats confirm.

use super::result::Scope;
use covalent_solver::model::{Extent, FormatModifier};

/// The result of a further trial of a participant and a source, after the participant refused a buffer. The trial had another
/// size or format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The format and modifier of the buffer that was tried.
    pub format: FormatModifier,
    /// The size of the buffer that was tried, in pixels.
    pub extent: Extent,
    /// Whether the participant returned the same refusal. If false, it accepted the buffer.
    pub refused: bool,
}

/// The number of refusals at other sizes after which the scope is widened to all sizes. The same number of refusals in other
/// formats widens it to all formats.
pub const CONFIRMATIONS: usize = 2;

/// Returns the widest scope around a refused format and size that the probes confirm.
///
/// The scope is widened in steps:
///
/// 1. this format and modifier at this size;
/// 2. this format and modifier at every size, after [`CONFIRMATIONS`] refusals at other sizes;
/// 3. every format with this modifier at every size, after [`CONFIRMATIONS`] refusals in other formats;
/// 4. always, after one refusal with another modifier.
///
/// If the participant accepted a probe that is in the wider scope, the scope is not widened further.
#[must_use]
pub fn generalise(format: FormatModifier, extent: Extent, probes: &[Probe]) -> Scope {
    let mut scope = Scope::exactly(format, extent);
    let steps = [
        Scope {
            extent: None,
            ..scope
        },
        Scope {
            extent: None,
            fourcc: None,
            ..scope
        },
        Scope::default(),
    ];
    for (number, wider) in steps.into_iter().enumerate() {
        let inside = |probe: &&Probe| wider.covers(probe.format, probe.extent);
        if probes.iter().filter(inside).any(|probe| !probe.refused) {
            return scope;
        }
        let mut confirmations: Vec<(FormatModifier, Extent)> = probes
            .iter()
            .filter(inside)
            .filter(|probe| match number {
                0 => probe.format == format && probe.extent != extent,
                1 => probe.format.fourcc != format.fourcc,
                _ => probe.format.modifier != format.modifier,
            })
            .map(|probe| (probe.format, probe.extent))
            .collect();
        confirmations.sort_unstable();
        confirmations.dedup();
        let needed = if number == 2 { 1 } else { CONFIRMATIONS };
        if confirmations.len() < needed {
            return scope;
        }
        scope = wider;
    }
    scope
}

#[cfg(test)]
mod tests {
    use super::*;
    use covalent_solver::model::{Fourcc, Modifier};

    const XRGB: FormatModifier = FormatModifier::linear(Fourcc::XRGB8888);
    const NV12: FormatModifier = FormatModifier::linear(Fourcc::NV12);
    const YUYV: FormatModifier = FormatModifier::linear(Fourcc::YUYV);
    const TILED: FormatModifier =
        FormatModifier::new(Fourcc::XRGB8888, Modifier(0x0100_0000_0000_0001));

    fn extent(width: u32) -> Extent {
        Extent::new(width, 480).unwrap()
    }

    fn probe(format: FormatModifier, width: u32, refused: bool) -> Probe {
        Probe {
            format,
            extent: extent(width),
            refused,
        }
    }

    fn scope(probes: &[Probe]) -> String {
        generalise(XRGB, extent(640), probes).to_string()
    }

    #[test]
    fn refusal_without_probes_keeps_its_size_and_format() {
        assert_eq!(scope(&[]), "in XR24 LINEAR at 640x480");
        // A trial with the same size and format confirms nothing, and a refusal at one other size is not enough.
        let probes = [
            probe(XRGB, 640, true),
            probe(XRGB, 320, true),
            probe(XRGB, 320, true),
        ];
        assert_eq!(scope(&probes), "in XR24 LINEAR at 640x480");
    }

    #[test]
    fn refusals_of_other_sizes_and_formats_widen_the_scope_step_by_step() {
        let mut probes = vec![probe(XRGB, 320, true), probe(XRGB, 1280, true)];
        assert_eq!(scope(&probes), "in XR24 LINEAR at every size");
        probes.extend([probe(NV12, 640, true), probe(YUYV, 640, true)]);
        assert_eq!(scope(&probes), "in every LINEAR format at every size");
        probes.push(probe(TILED, 640, true));
        assert_eq!(scope(&probes), "always");
    }

    #[test]
    fn accepted_probe_ends_the_widening() {
        let sizes = [probe(XRGB, 320, true), probe(XRGB, 1280, true)];
        let small = [sizes[0], sizes[1], probe(XRGB, 16, false)];
        assert_eq!(scope(&small), "in XR24 LINEAR at 640x480");
        let other = [
            sizes[0],
            sizes[1],
            probe(NV12, 640, true),
            probe(YUYV, 640, true),
            probe(YUYV, 320, false),
        ];
        assert_eq!(scope(&other), "in XR24 LINEAR at every size");
    }
}
