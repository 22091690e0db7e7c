//! A prepared participant, whose constraints are sets of numbers.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::bits::Bits;
use super::fields::FieldSet;
use crate::constraint::{Constraints, Field, ImageConstraints, MergedImage, Participant, Source};
use crate::model::Fourcc;

/// A prepared participant.
pub(super) struct PreparedParticipant<'a> {
    pub(super) participant: &'a Participant,
    /// The sources on its own device.
    pub(super) own: Bits,
    /// Its alternatives, in order of preference.
    pub(super) choices: Vec<PreparedChoice<'a>>,
    /// The pairs that it accepts by any alternative.
    pub(super) formats: OnceCell<Option<Rc<Bits>>>,
}

/// One of a participant's alternatives.
pub(super) struct PreparedChoice<'a> {
    pub(super) constraints: &'a Constraints,
    /// The numbers of the pairs that are accepted; all if this is `None`.
    pub(super) formats: Option<Rc<Bits>>,
    /// The numbers of the pairs that have more memory planes than are accepted; `None` if there are none.
    pub(super) too_many_planes: Option<Bits>,
    /// The sources that a single demand rejects, by the demand's field.
    pub(super) rejects: Vec<(Field, Bits)>,
    /// The image fields on which there is a demand.
    pub(super) image_fields: FieldSet,
    /// A number that is the same for choices with equal constraints on every image.
    pub(super) kind: usize,
    /// Whether there are constraints on every image, including preferences.
    pub(super) has_image: bool,
    /// The merged form of the constraints on every image.
    pub(super) image: OnceCell<MergedImage>,
    /// The merged form of the further constraints on images of one format, by format.
    pub(super) by_fourcc: BTreeMap<Fourcc, (&'a ImageConstraints, OnceCell<Box<MergedImage>>)>,
}

impl PreparedChoice<'_> {
    /// Returns whether there is a demand on this field.
    pub(super) fn demands(&self, field: Field) -> bool {
        self.constraints.demands_field(field)
    }

    /// Returns the merged form of the constraints on every image. `owner` has to be the same in each call.
    pub(super) fn image(&self, owner: usize) -> &MergedImage {
        let image = || MergedImage::of(owner, &self.constraints.image);
        self.image.get_or_init(image)
    }

    /// Returns the merged form of the further constraints on images of one format. `owner` has to be the same in each call.
    pub(super) fn image_in(&self, owner: usize, fourcc: Fourcc) -> Option<&MergedImage> {
        let (constraints, known) = self.by_fourcc.get(&fourcc)?;
        let image = || Box::new(MergedImage::of(owner, constraints));
        Some(known.get_or_init(image))
    }

    /// Returns whether there are further constraints on images of some formats.
    pub(super) fn asks_by_fourcc(&self) -> bool {
        !self.by_fourcc.is_empty()
    }
}

impl PreparedParticipant<'_> {
    /// Returns the pairs that the participant accepts by any alternative; `None` if it accepts all.
    pub(super) fn formats(&self) -> Option<&Bits> {
        let any = || {
            let (first, rest) = self.choices.split_first()?;
            let mut any = Rc::clone(first.formats.as_ref()?);
            for more in rest {
                let more = more.formats.as_ref()?;
                if !Rc::ptr_eq(&any, more) {
                    Rc::make_mut(&mut any).add(more);
                }
            }
            Some(any)
        };
        self.formats.get_or_init(any).as_deref()
    }

    /// Returns whether any alternative may need a coded extent that is larger than the picture.
    pub(super) fn pads(&self) -> bool {
        (0..self.choices.len()).any(|alternative| self.pads_by(alternative))
    }

    /// Returns whether an alternative may need a coded extent that is larger than the picture.
    pub(super) fn pads_by(&self, alternative: usize) -> bool {
        let choice = &self.choices[alternative];
        choice.image_fields.contains(Field::Extent) && choice.constraints.pads()
    }

    /// Returns the fewest buffers that the participant holds by any alternative.
    pub(super) fn least_held(&self) -> u32 {
        let held = self
            .choices
            .iter()
            .map(|choice| choice.constraints.buffers_held);
        let Some(least) = held.min() else {
            unreachable!("every participant has constraints, and alternatives beside them")
        };
        least
    }

    /// Returns whether the participant's device owns a source's memory, so that it works on the shadow copy if there is one.
    pub(super) fn works_on(&self, source: usize) -> bool {
        self.own.contains(source) && self.participant.role.imports()
    }
}

/// Returns whether the CPU cannot access a source's memory.
pub(super) fn is_cpu_inaccessible(source: &Source) -> bool {
    source.guarantees.unmappable || source.guarantees.protected
}
