//! Checks plans against the documentation of each field, one participant after another. It merges nothing and shares no code with
//! the solver.
//! of the solver is used.

use covalent_solver::constraint::{
    Coherency, Constraints, Contiguity, CpuUse, Exports, ImageConstraints, Imports, MemoryScope,
    Participant, PlanePlacement, Protection, Role, Source,
};
use covalent_solver::model::{FormatInfo, FormatModifier, Layout, Modifier};
use covalent_solver::solve::{Plan, Request, Verdict};

/// Participants of a request, each with the alternative that was chosen for it.
pub struct ChosenMembers<'a> {
    pub request: &'a Request,
    pub members: Vec<(&'a Participant, &'a Constraints)>,
    /// Whether the CPU copies frames into or out of the buffers.
    pub copies: bool,
}

/// A demand that is not met.
pub type Broken = String;

fn demand(met: bool, words: impl FnOnce() -> String) -> Result<(), Broken> {
    if met { Ok(()) } else { Err(words()) }
}

fn divides(step: u64, number: u64) -> bool {
    step == 0 || number % step == 0
}

impl ChosenMembers<'_> {
    /// Returns the image constraints of all participants and the source on one format.
    pub fn image_constraints<'t>(
        &'t self,
        source: &'t Source,
        format: FormatModifier,
    ) -> Vec<&'t ImageConstraints> {
        let all = self.members.iter().map(|(_, constraints)| *constraints);
        all.chain([&source.constraints])
            .flat_map(|constraints| {
                let own = constraints.per_fourcc.get(&format.fourcc);
                std::iter::once(&constraints.image).chain(own)
            })
            .collect()
    }

    /// Checks everything that does not depend on the layout, and returns how many kinds of caveats there are.
    pub fn check_source(&self, source: &Source, format: FormatModifier) -> Result<usize, Broken> {
        let gives = match &source.constraints.formats {
            Some(formats) => formats.contains(format),
            None => format.modifier == Modifier::LINEAR,
        };
        demand(gives && format.fourcc.info().is_some(), || {
            format!("the source does not give {format}")
        })?;
        let promised = &source.guarantees;
        let hidden = promised.unmappable || promised.protected;
        demand(!(self.copies && hidden), || "no copy".to_owned())?;
        let (mut lowest, mut highest) = (0, u64::MAX);
        let (mut coherency, mut protection, mut transfer) = (false, false, false);
        let on_device = |participant: &Participant| {
            let device = source.device.as_ref();
            device.is_some_and(|device| {
                device.driver == participant.device.driver
                    && device.location == participant.device.location
            }) && !matches!(participant.role, Role::CpuRead | Role::CpuWrite)
        };
        let touching = self
            .members
            .iter()
            .map(|(participant, _)| *participant)
            .filter(|participant| participant.role != Role::Compositor);
        let (inside, outside): (Vec<_>, Vec<_>) =
            touching.partition(|participant| on_device(participant));
        let two_sides = !inside.is_empty() && !outside.is_empty();
        for (participant, constraints) in &self.members {
            let memory = &constraints.memory;
            let name = &participant.name;
            let refuse = |what: &str| format!("{name}: {what}");
            if let Some(formats) = &constraints.formats {
                demand(formats.iter().any(|own| own == format), || refuse("format"))?;
            }
            let own = source.device.as_ref().is_some_and(|device| {
                device.driver == participant.device.driver
                    && device.location == participant.device.location
            });
            let imported = match &memory.imports {
                Imports::Any => true,
                Imports::OnlyFrom {
                    devices, sources, ..
                } => {
                    sources.contains(&source.id)
                        || source.device.as_ref().is_some_and(|own| {
                            devices.iter().any(|device| {
                                device.driver == own.driver && device.location == own.location
                            })
                        })
                }
                Imports::Nothing { .. } => false,
            };
            demand(own || imported || !participant.role.imports(), || {
                refuse("imports")
            })?;
            let is_card = source.id.as_str().starts_with("gbm:");
            let stays = is_card && outside.is_empty();
            demand(!own || stays || memory.exports == Exports::Declared, || {
                refuse("exports")
            })?;
            let serves = match &promised.scope {
                MemoryScope::Everybody => true,
                MemoryScope::Devices(devices) => {
                    own || devices.iter().any(|device| {
                        device.driver == participant.device.driver
                            && device.location == participant.device.location
                    })
                }
                _ => own,
            };
            demand(serves || !participant.role.imports(), || refuse("scope"))?;
            if let Some(permitted) = &memory.permitted {
                demand(permitted.contains(&source.id), || refuse("permitted"))?;
            }
            demand(memory.cpu == CpuUse::None || !hidden, || refuse("cpu"))?;
            if memory.coherency == Coherency::Coherent {
                demand(promised.coherent != Some(false), || refuse("coherency"))?;
                coherency |= promised.coherent.is_none();
            }
            if two_sides && memory.coherency != Coherency::Synced {
                demand(promised.has_shadow_copy != Some(true), || refuse("copy"))?;
                transfer |= promised.has_shadow_copy.is_none();
            }
            let takes = match memory.protection {
                Protection::Unspecified | Protection::Accepted => true,
                Protection::Rejected => !promised.protected,
                Protection::Required => promised.protected,
                Protection::Conflicting => false,
            };
            demand(takes, || refuse("protection"))?;
            protection |= promised.protected && memory.protection == Protection::Unspecified;
            if !own {
                lowest = lowest.max(memory.address.lowest);
                highest = highest.min(memory.address.highest);
            }
        }
        let lies = promised.address;
        demand(lowest.max(lies.lowest) <= highest.min(lies.highest), || {
            "out of reach".to_owned()
        })?;
        let address = lowest > lies.lowest || highest < lies.highest;
        Ok([coherency, transfer, protection, address]
            .into_iter()
            .filter(|caveats| *caveats)
            .count())
    }

    /// Checks the dma-bufs' sizes against the source. Returns whether contiguous memory may be needed that the source does not
    /// guarantee.
    pub fn check_sizes(&self, source: &Source, sizes: &[u64]) -> Result<bool, Broken> {
        let promised = &source.guarantees;
        let largest = sizes.iter().copied().max().unwrap();
        if let Some(maximum) = promised.maximum_bytes {
            demand(largest <= maximum, || format!("{largest} over {maximum}"))?;
        }
        let held = self.members.iter();
        let held: u64 = held.map(|(_, own)| u64::from(own.buffers_held)).sum();
        let count = u128::from(held.max(self.request.count.into()).max(1));
        demand(count <= 1024, || format!("{count} buffers"))?;
        let all = sizes.iter().map(|size| u128::from(*size)).sum::<u128>() * count;
        let available = promised.available_bytes.unwrap_or(u64::MAX);
        demand(all <= available.into(), || {
            format!("{all} over {available}")
        })?;
        Ok(largest > promised.contiguous_up_to_bytes
            && self.members.iter().any(|(participant, constraints)| {
                !source.is_of(&participant.device)
                    && constraints.memory.contiguity != Contiguity::Scattered
            }))
    }
}

/// Checks a linear layout against one set of constraints.
pub fn check_layout(constraints: &ImageConstraints, layout: &Layout) -> Result<(), Broken> {
    check_extent(constraints, layout)?;
    let info = layout.format().fourcc.info().unwrap();
    let planes = layout.planes();
    let first = planes[0].stride_bytes;
    let stride = &constraints.stride;
    demand(stride.minimum <= first && first <= stride.maximum, || {
        format!("stride {first}")
    })?;
    demand(
        info.planes.len() as u64 <= u64::from(constraints.maximum_planes),
        || "planes".to_owned(),
    )?;
    let sizes = layout.memory_sizes();
    let placed = match constraints.placement {
        PlanePlacement::Either => true,
        PlanePlacement::Together => sizes.len() == 1,
        PlanePlacement::Disjoint => sizes.len() == planes.len(),
        PlanePlacement::SinglePlane => planes.len() == 1,
    };
    demand(placed, || format!("{} dma-bufs", sizes.len()))?;
    for (number, plane) in planes.iter().enumerate() {
        let refuse = |what: &str| format!("plane {number}: {what} of {plane:?}");
        let rows = u64::from(info.planes[number].rows(layout.extent().height()));
        demand(
            divides(stride.alignment.into(), plane.stride_bytes.into()),
            || refuse("stride"),
        )?;
        demand(
            number > 0
                || divides(
                    stride.first_plane_alignment.into(),
                    plane.stride_bytes.into(),
                ),
            || refuse("first stride"),
        )?;
        let shape = info.planes[number];
        demand(
            !shape.block_bytes.is_power_of_two()
                || divides(shape.block_bytes.into(), plane.stride_bytes.into()),
            || refuse("whole pixels"),
        )?;
        let row = layout.extent().width().div_ceil(shape.hsub) * shape.block_bytes;
        demand(!stride.packed || plane.stride_bytes == row, || {
            refuse("row gap")
        })?;
        demand(
            divides(constraints.offset_alignment_bytes, plane.offset_bytes),
            || refuse("offset"),
        )?;
        demand(
            plane.offset_bytes >= constraints.padding_before_bytes,
            || refuse("padding before"),
        )?;
        // 128 bits hold every sum and product of 64-bit numbers.
        let mut room = u128::from(plane.size_bytes);
        let stride_bytes = u128::from(plane.stride_bytes);
        demand(
            room >= stride_bytes * u128::from(rows)
                && divides(constraints.plane_size_alignment_bytes, plane.size_bytes),
            || refuse("size"),
        )?;
        let multiple = u64::from(constraints.rows_multiple_of.max(1));
        let luma = u64::from(layout.extent().height()).div_ceil(multiple) * multiple;
        let with_more = u128::from(luma.div_ceil(u64::from(shape.vsub)));
        demand(room >= stride_bytes * with_more, || refuse("rows"))?;
        if number + 1 == planes.len() {
            room += u128::from(constraints.padding_bytes);
        }
        let next = planes.get(number + 1);
        let end = match next.filter(|next| next.memory == plane.memory) {
            Some(next) => next.offset_bytes,
            None => sizes[plane.memory],
        };
        demand(
            u128::from(plane.offset_bytes) + room <= u128::from(end),
            || refuse("room"),
        )?;
        if constraints.packed_planes {
            let begin = match number.checked_sub(1).map(|before| planes[before]) {
                Some(before) if before.memory == plane.memory => {
                    let rows = info.planes[number - 1].rows(layout.extent().height());
                    before.offset_bytes + u64::from(before.stride_bytes) * u64::from(rows)
                }
                _ => 0,
            };
            demand(plane.offset_bytes == begin, || refuse("gap"))?;
        }
    }
    let total: u128 = sizes.iter().map(|size| u128::from(*size)).sum();
    demand(
        sizes
            .iter()
            .all(|size| divides(constraints.size_alignment_bytes, *size))
            && u128::from(constraints.minimum_size_bytes) <= total
            && total <= u128::from(constraints.maximum_size_bytes),
        || format!("sizes {sizes:?}"),
    )
}

/// Checks a plan for some of a request's participants.
pub fn check_plan(request: &Request, members: &[usize], plan: &Plan, copies: bool) {
    let source = request
        .sources
        .iter()
        .find(|source| source.id == *plan.source())
        .unwrap();
    let chosen = ChosenMembers {
        request,
        copies,
        members: members
            .iter()
            .zip(plan.steps())
            .map(|(place, step)| {
                let participant = &request.participants[*place];
                assert_eq!(participant.name, step.participant);
                (
                    participant,
                    participant.choices().nth(step.alternative).unwrap(),
                )
            })
            .collect(),
    };
    let format = plan.layout().format();
    let mut caveats = 0;
    for modifier in plan.modifiers() {
        let format = FormatModifier::new(format.fourcc, *modifier);
        caveats = chosen.check_source(source, format).unwrap();
    }
    let extents: Vec<_> = plan.layouts().map(|layout| layout.extent()).collect();
    assert!(request.extents().eq(extents));
    let in_pieces = chosen
        .check_sizes(source, plan.layout().memory_sizes())
        .unwrap();
    caveats += usize::from(in_pieces);
    if !plan.is_laid_out_by_driver() {
        assert_eq!(plan.modifiers(), [format.modifier]);
        for layout in plan.layouts() {
            for constraints in chosen.image_constraints(source, format) {
                check_layout(constraints, layout).unwrap();
            }
            plan.accepts(layout).unwrap();
        }
        assert_eq!(plan.caveats().len(), caveats, "{:?}", plan.caveats());
    }
    assert_eq!(
        plan.verdict() == Verdict::Guaranteed,
        plan.caveats().is_empty()
    );
    let held = chosen
        .members
        .iter()
        .map(|(_, own)| u64::from(own.buffers_held));
    let held: u64 = held.sum();
    assert_eq!(
        u64::from(plan.count()),
        held.max(request.count.into()).max(1)
    );
}

pub fn check_extent(constraints: &ImageConstraints, layout: &Layout) -> Result<(), Broken> {
    for (pixels, side) in [
        (layout.extent().width(), &constraints.width),
        (layout.extent().height(), &constraints.height),
    ] {
        demand(
            side.minimum <= pixels
                && pixels <= side.maximum
                && divides(side.multiple_of.into(), pixels.into()),
            || format!("a side of {pixels}"),
        )?;
    }
    Ok(())
}

/// Returns the bytes of the pixels without padding.
pub fn unpadded_bytes(info: &FormatInfo, layout: &Layout) -> u64 {
    info.planes
        .iter()
        .map(|plane| {
            let columns = layout.extent().width().div_ceil(plane.hsub);
            u64::from(columns * plane.block_bytes)
                * u64::from(layout.extent().height().div_ceil(plane.vsub))
        })
        .sum()
}
