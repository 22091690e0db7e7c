//! Checks plans against the documentation of each constraint field, one participant after another. This module merges no
//! constraints and shares no code with the solver.

mod layout;

use std::collections::BTreeMap;

use covalent_solver::constraint::{
    Coherency, Constraints, Contiguity, CpuUse, Crop, Exports, ImageConstraints, Imports,
    MemoryScope, Participant, Pool, PoolId, Protection, Role, Source,
};
use covalent_solver::model::{FormatModifier, Fourcc, Layout, Modifier};
use covalent_solver::solve::{Plan, Request, Verdict};

pub use layout::{check_extent, check_layout, unpadded_bytes};

/// Some participants of a request (the members), each with the alternative that was chosen for it.
pub struct ChosenMembers<'a> {
    pub request: &'a Request,
    pub members: Vec<(&'a Participant, &'a Constraints)>,
    /// Whether the CPU copies frames into or out of the buffers.
    pub copies: bool,
    /// The number of bytes that other plans have taken from pools.
    pub taken: Taken,
}

/// The number of bytes that are taken from pools, by the identifier of the pool.
pub type Taken = BTreeMap<PoolId, u64>;

/// A description of a demand that is not met.
pub type Broken = String;

fn demand(met: bool, words: impl FnOnce() -> String) -> Result<(), Broken> {
    if met { Ok(()) } else { Err(words()) }
}

fn divides(step: u64, number: u64) -> bool {
    step == 0 || number % step == 0
}

impl ChosenMembers<'_> {
    /// Returns the image constraints of all members and of the source on one format.
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

    /// Returns the largest ability to crop that all members have.
    pub fn crop(&self, fourcc: Fourcc) -> Crop {
        let own = self.members.iter().map(|(participant, constraints)| {
            if matches!(participant.role, Role::CpuRead | Role::CpuWrite) {
                return Crop::Anywhere;
            }
            let mut widest = Crop::None;
            let by_format = constraints.per_fourcc.get(&fourcc);
            for image in std::iter::once(&constraints.image).chain(by_format) {
                let implied = match &image.coded {
                    Some(coded) if coded.x.minimum > 0 || coded.y.minimum > 0 => Crop::Anywhere,
                    Some(coded)
                        if [&coded.width, &coded.height]
                            .iter()
                            .any(|side| side.minimum > 1 || side.multiple_of > 1) =>
                    {
                        Crop::TopLeft
                    }
                    _ => Crop::None,
                };
                widest = widest.max(image.crop).max(implied);
            }
            widest
        });
        own.min().unwrap_or(Crop::Anywhere)
    }

    /// Checks that every member can crop the picture out of the layout's coded extent.
    pub fn check_crop(&self, layout: &Layout) -> Result<(), Broken> {
        let (extent, visible) = (layout.extent(), layout.visible());
        let needed = if (visible.x(), visible.y()) != (0, 0) {
            Crop::Anywhere
        } else if visible.extent() != extent {
            Crop::TopLeft
        } else {
            Crop::None
        };
        let crop = self.crop(layout.format().fourcc);
        demand(crop >= needed, || {
            format!("{visible} of {extent}: {crop:?}")
        })
    }

    /// Checks all demands that do not depend on the layout, and returns the number of kinds of caveats.
    pub fn check_source(&self, source: &Source, format: FormatModifier) -> Result<usize, Broken> {
        let gives = match &source.constraints.formats {
            Some(formats) => formats.contains(format),
            None => format.modifier == Modifier::LINEAR,
        };
        demand(gives && format.fourcc.info().is_some(), || {
            format!("the source does not support {format}")
        })?;
        let promised = &source.guarantees;
        let hidden = promised.unmappable || promised.protected;
        demand(!(self.copies && hidden), || "no copy".to_owned())?;
        let (mut lowest, mut highest) = (0, u64::MAX);
        let (mut coherency, mut protection, mut transfer) = (false, false, false);
        let mut imports = false;
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
                Imports::Any | Imports::Unknown { .. } => true,
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
            imports |= matches!(memory.imports, Imports::Unknown { .. })
                && !own
                && participant.role.imports();
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
                MemoryScope::Groups(groups) => {
                    let mut named = participant.groups.iter();
                    own || named.any(|group| groups.contains(group))
                }
                _ => own,
            };
            let serves = serves || participant.maps && !hidden;
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
        let unknown = promised.is_unknown;
        Ok([coherency, transfer, protection, address, imports, unknown]
            .into_iter()
            .filter(|caveats| *caveats)
            .count())
    }

    /// Returns the number of members that copy each frame for themselves, if the buffers may have any of these pairs.
    pub fn internal_copies(&self, pairs: &[FormatModifier]) -> u64 {
        let mut all = self.request.participants.iter();
        if !all.any(|own| own.role.writes()) {
            return 0;
        }
        let readers = self.members.iter().filter(|(own, _)| !own.role.writes());
        let copies = readers.filter(|(_, constraints)| {
            let mut copies = constraints.internal_copies.iter();
            copies.any(|copy| pairs.iter().any(|pair| copy.from.contains(*pair)))
        });
        copies.count() as u64
    }

    /// Returns the number of bytes that are taken from a pool. If the source allocates from the pool, these are `count` buffers
    /// with dma-bufs of these sizes. In addition, the members may allocate memory for themselves.
    pub fn taken_of(&self, pool: &Pool, source: &Source, sizes: &[u64], count: u128) -> u128 {
        let whole = |size: u64| {
            let mut step = 1_u128;
            while step < size.into() && step < pool.alignment_bytes.into() {
                step *= 2;
            }
            let step = step.min(pool.alignment_bytes.into());
            let step = step.max(pool.unit_bytes.into()).max(1);
            u128::from(size).div_ceil(step) * step
        };
        let stays = |size: &&u64| {
            pool.fallback.as_ref().is_none_or(|fallback| {
                **size > fallback.up_to_bytes
                    || !(fallback.sources.is_empty() || fallback.sources.contains(&source.id))
            })
        };
        let draws = source.guarantees.pools.contains(&pool.id);
        let shared: u128 = sizes.iter().filter(stays).map(|size| whole(*size)).sum();
        let own: u128 = self
            .members
            .iter()
            .flat_map(|(_, constraints)| &constraints.own_memory)
            .filter(|own| own.pool == pool.id)
            .map(|own| whole(own.bytes) * u128::from(own.buffers))
            .sum();
        own + if draws { shared * count } else { 0 }
    }

    /// Checks the sizes of the dma-bufs against the source and its pools. Returns the number of caveats. There is a caveat if the
    /// buffers may need contiguous memory that the source does not guarantee, and if a pool may have too little free memory.
    pub fn check_sizes(&self, source: &Source, sizes: &[u64]) -> Result<usize, Broken> {
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
        let mut short = 0;
        for pool in &self.request.pools {
            let needed = self.taken_of(pool, source, sizes, count);
            let taken = u128::from(self.taken.get(&pool.id).copied().unwrap_or(0));
            let limit = u128::from(pool.capacity_bytes.unwrap_or(u64::MAX));
            demand(needed == 0 || needed + taken <= limit, || {
                format!("{needed} and {taken} of {limit}")
            })?;
            let free = u128::from(pool.free.map_or(u64::MAX, |free| free.bytes));
            short += usize::from(needed > 0 && needed + taken > free);
        }
        let in_pieces = largest > promised.contiguous_up_to_bytes
            && self.members.iter().any(|(participant, constraints)| {
                !source.is_of(&participant.device)
                    && constraints.memory.contiguity != Contiguity::Scattered
            });
        Ok(short + usize::from(in_pieces))
    }
}

/// Checks a plan for some of a request's participants.
pub fn check_plan(request: &Request, members: &[usize], plan: &Plan, copies: bool, taken: &Taken) {
    let source = request
        .sources
        .iter()
        .find(|source| source.id == *plan.source())
        .unwrap();
    let chosen = ChosenMembers {
        request,
        copies,
        taken: taken.clone(),
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
    let pictures = plan.layouts().map(|layout| layout.visible().extent());
    assert!(request.extents().eq(pictures));
    for layout in plan.layouts() {
        chosen.check_crop(layout).unwrap();
        for constraints in chosen.image_constraints(source, format) {
            check_extent(constraints, layout).unwrap();
        }
        let info = format.fourcc.info().unwrap();
        for plane in info.planes {
            assert_eq!(layout.visible().x() % plane.hsub, 0);
            assert_eq!(layout.visible().y() % plane.vsub, 0);
        }
    }
    let pairs = plan.modifiers().iter();
    let pairs: Vec<_> = pairs
        .map(|modifier| FormatModifier::new(format.fourcc, *modifier))
        .collect();
    let frame = request.extents().map(|extent| {
        let layout = Layout::linear(extent, format.fourcc, 1, 0).unwrap();
        unpadded_bytes(format.fourcc.info().unwrap(), &layout)
    });
    assert_eq!(
        plan.copied_bytes_per_frame(),
        frame.max().unwrap() * chosen.internal_copies(&pairs)
    );
    let sizes = plan.layout().memory_sizes();
    caveats += chosen.check_sizes(source, sizes).unwrap();
    let mut pools: Vec<&Pool> = request.pools.iter().collect();
    pools.sort_by(|one, two| one.id.cmp(&two.id));
    let uses: Vec<_> = pools
        .into_iter()
        .map(|pool| {
            let bytes = chosen.taken_of(pool, source, sizes, plan.count().into());
            (&pool.id, bytes)
        })
        .filter(|(_, bytes)| *bytes > 0)
        .collect();
    let reported = plan.pools().iter();
    let reported: Vec<_> = reported
        .map(|own| (&own.pool, u128::from(own.bytes)))
        .collect();
    assert_eq!(reported, uses);
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
