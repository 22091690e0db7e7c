//! Prepares a request's participants within their share of the budget.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::bits::Bits;
use super::fields::FieldSet;
use super::pairs::numbers;
use super::prepared_participant::{PreparedChoice, PreparedParticipant, is_cpu_inaccessible};
use super::work::Work;
use crate::constraint::{
    Coherency, Constraints, CpuUse, Exports, Field, FormatSet, ImageConstraints, Imports,
    Participant, Protection, Source, SourceKind, common_prefix_len,
};
use crate::model::{DeviceIdentity, FormatModifier, Modifier};

/// Prepares participants one after another. Participants with equal sets or constraints share the prepared form.
pub(super) struct ParticipantReader<'r, 'a> {
    sources: &'r [&'a Source],
    universe: &'r [FormatModifier],
    work: &'r Work,
    /// The sources on each device, by the driver and location of the device.
    own: BTreeMap<(&'a str, &'a str), Bits>,
    /// The sets of formats that were read most recently. Many participants have equal sets.
    formats: Vec<(&'a FormatSet, Rc<Bits>)>,
    /// The constraints on every image that were read most recently, with their numbers.
    kinds: Vec<(&'a ImageConstraints, usize)>,
    next_kind: usize,
}

/// How many of the most recently read sets are compared with the next set.
const REMEMBERED: usize = 8;

impl<'r, 'a> ParticipantReader<'r, 'a> {
    pub(super) fn new(
        sources: &'r [&'a Source],
        universe: &'r [FormatModifier],
        work: &'r Work,
    ) -> Self {
        Self {
            sources,
            universe,
            work,
            own: BTreeMap::new(),
            formats: Vec::new(),
            kinds: Vec::new(),
            next_kind: 0,
        }
    }

    /// Prepares a participant; `None` if the budget was spent.
    pub(super) fn participant(
        &mut self,
        participant: &'a Participant,
    ) -> Option<PreparedParticipant<'a>> {
        let own = self.own(&participant.device);
        let mut choices = Vec::with_capacity(participant.alternatives().len().saturating_add(1));
        for constraints in participant.choices() {
            choices.push(self.choice(participant, constraints, &own)?);
        }
        Some(PreparedParticipant {
            participant,
            own,
            choices,
            formats: OnceCell::new(),
        })
    }

    /// Returns the sources on a device.
    fn own(&mut self, device: &'a DeviceIdentity) -> Bits {
        let sources = self.sources;
        let work = self.work;
        let own = self.own.entry((&device.driver, &device.location));
        own.or_insert_with(|| {
            work.charge(sources.len().saturating_mul(4));
            where_source(sources, |source| source.is_of(device))
        })
        .clone()
    }

    /// Prepares one alternative of a participant; `None` if the budget was spent.
    fn choice(
        &mut self,
        participant: &'a Participant,
        constraints: &'a Constraints,
        own: &Bits,
    ) -> Option<PreparedChoice<'a>> {
        let by_fourcc = &constraints.per_fourcc;
        self.work
            .charge(by_fourcc.len().saturating_mul(24).saturating_add(64));
        let has_image = constraints.image != ImageConstraints::default();
        let mut image_fields = FieldSet::default();
        // If there are no constraints on images, there are no demands on these fields.
        let asks = has_image || !by_fourcc.is_empty();
        for field in Field::OF_IMAGES.into_iter().filter(|_| asks) {
            if constraints.demands_field(field) {
                image_fields.insert(field);
            }
        }
        let formats = match &constraints.formats {
            Some(formats) => Some(self.formats(formats)?),
            None => None,
        };
        let choice = PreparedChoice {
            constraints,
            formats,
            too_many_planes: self.too_many_planes(constraints),
            rejects: rejects(participant, constraints, self.sources, own, self.work)?,
            image_fields,
            kind: self.kind(&constraints.image),
            has_image,
            image: OnceCell::new(),
            by_fourcc: by_fourcc
                .iter()
                .map(|(fourcc, constraints)| (*fourcc, (constraints, OnceCell::new())))
                .collect(),
        };
        (!self.work.is_spent()).then_some(choice)
    }

    /// Returns the pairs that are known to have more memory planes than a choice accepts. Linear pairs are not included, because
    /// the choice of a layout checks their planes.
    fn too_many_planes(&self, constraints: &Constraints) -> Option<Bits> {
        let every = constraints.image.maximum_planes;
        let is_limited = every < u32::MAX
            || constraints
                .per_fourcc
                .values()
                .any(|image| image.maximum_planes < u32::MAX);
        if !is_limited {
            return None;
        }
        self.work.charge(self.universe.len().saturating_mul(16));
        let mut bits = Bits::none(self.universe.len());
        for (number, pair) in self.universe.iter().enumerate() {
            let own = constraints.per_fourcc.get(&pair.fourcc);
            let most = own.map_or(every, |own| own.maximum_planes.min(every));
            let is_tiled = pair.modifier != Modifier::LINEAR;
            if is_tiled && pair.memory_planes().is_some_and(|planes| planes > most) {
                bits.insert(number);
            }
        }
        (!bits.is_empty()).then_some(bits)
    }

    /// Returns the numbers of the pairs in a set of formats. Equal sets of several participants share one result. The result is
    /// `None` if the budget was spent.
    fn formats(&mut self, formats: &'a FormatSet) -> Option<Rc<Bits>> {
        let pairs = formats.pairs();
        let same = self.formats.iter().find(|(known, _)| {
            let known = known.pairs();
            known.len() == pairs.len() && {
                let run = common_prefix_len(known, pairs);
                self.work.charge((run >> 1).saturating_add(1));
                run == pairs.len()
            }
        });
        if let Some((_, bits)) = same {
            return Some(Rc::clone(bits));
        }
        self.work.charge(pairs.len());
        self.work.charge(self.universe.len() >> 5);
        if self.work.is_spent() {
            return None;
        }
        let bits = Rc::new(numbers(self.universe, formats, self.work));
        if self.formats.len() >= REMEMBERED {
            self.formats.remove(0);
        }
        self.formats.push((formats, Rc::clone(&bits)));
        Some(bits)
    }

    /// Returns a number that is the same for equal constraints on images.
    fn kind(&mut self, image: &'a ImageConstraints) -> usize {
        if let Some((_, kind)) = self.kinds.iter().find(|(known, _)| **known == *image) {
            return *kind;
        }
        self.next_kind = self.next_kind.saturating_add(1);
        if self.kinds.len() >= REMEMBERED {
            self.kinds.remove(0);
        }
        self.kinds.push((image, self.next_kind));
        self.next_kind
    }
}

pub(super) fn where_source(sources: &[&Source], is: impl Fn(&Source) -> bool) -> Bits {
    let mut bits = Bits::none(sources.len());
    for (number, source) in sources.iter().enumerate() {
        if is(source) {
            bits.insert(number);
        }
    }
    bits
}

/// Returns the sources that are rejected by a single demand, for each field with such a demand.
fn rejects(
    participant: &Participant,
    constraints: &Constraints,
    sources: &[&Source],
    own: &Bits,
    work: &Work,
) -> Option<Vec<(Field, Bits)>> {
    let memory = &constraints.memory;
    let listed = match &memory.imports {
        Imports::OnlyFrom { devices, .. } => devices.len().saturating_mul(2).saturating_add(16),
        Imports::Any | Imports::Unknown { .. } | Imports::Nothing { .. } => 4,
    };
    let listed = listed.saturating_add(memory.permitted.as_ref().map_or(0, |_| 32));
    work.charge(sources.len().saturating_mul(listed));
    if work.is_spent() {
        return None;
    }
    let mut rejects = Vec::new();
    let mut add = |field, bits: Bits| {
        if !bits.is_empty() {
            rejects.push((field, bits));
        }
    };
    if let Some(permitted) = &memory.permitted {
        add(
            Field::Permitted,
            where_source(sources, |source| !permitted.contains(&source.id)),
        );
    }
    if memory.cpu != CpuUse::None {
        add(Field::Cpu, where_source(sources, is_cpu_inaccessible));
    }
    if memory.coherency == Coherency::Coherent {
        add(
            Field::Coherency,
            where_source(sources, |source| source.guarantees.coherent == Some(false)),
        );
    }
    if participant.role.imports() && memory.imports != Imports::Any {
        add(
            Field::Imports,
            where_source(sources, |source| {
                !memory.imports.takes(source, &participant.device)
            }),
        );
    }
    if memory.exports != Exports::Declared {
        // KMS uses GBM's buffers on the same card by handles of the card, without an export. Buffers of all other sources are
        // shared as dma-bufs.
        let mut rejected = own.clone();
        rejected.keep(&where_source(sources, |source| {
            SourceKind::of(&source.id) != SourceKind::Gbm
        }));
        add(Field::Exports, rejected);
    }
    match memory.protection {
        Protection::Unspecified | Protection::Accepted => {}
        Protection::Rejected => add(
            Field::Protection,
            where_source(sources, |source| source.guarantees.protected),
        ),
        Protection::Required => add(
            Field::Protection,
            where_source(sources, |source| !source.guarantees.protected),
        ),
        Protection::Conflicting => add(Field::Protection, Bits::all(sources.len())),
    }
    if !participant.extra_fields.required().is_empty()
        || constraints.extra_field_names().next().is_some()
    {
        add(Field::Unknown, Bits::all(sources.len()));
    }
    Some(rejects)
}
