//! Prepared participants. Their constraints are converted into sets of numbers.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::bits::Bits;
use super::fields::FieldSet;
use crate::constraint::{Constraints, Field, ImageConstraints, MergedImage, Participant, Source};
use crate::model::Fourcc;

/// A participant whose constraints are converted into sets of numbers of sources and pairs.
pub(super) struct PreparedParticipant<'a> {
    pub(super) participant: &'a Participant,
    /// The sources on the participant's own device.
    pub(super) own: Bits,
    /// The participant's alternatives, in order of preference.
    pub(super) choices: Vec<PreparedChoice<'a>>,
    /// The pairs that the participant accepts with any of its alternatives.
    pub(super) formats: OnceCell<Option<Rc<Bits>>>,
}

/// One alternative of a participant.
pub(super) struct PreparedChoice<'a> {
    pub(super) constraints: &'a Constraints,
    /// The numbers of the pairs that this alternative accepts; `None` if it accepts all pairs.
    pub(super) formats: Option<Rc<Bits>>,
    /// The numbers of the pairs that have more memory planes than this alternative accepts; `None` if there are none.
    pub(super) too_many_planes: Option<Bits>,
    /// The sources that a single demand rejects, for each field with such a demand.
    pub(super) rejects: Vec<(Field, Bits)>,
    /// The image fields on which this alternative has a demand.
    pub(super) image_fields: FieldSet,
    /// A number that is the same for alternatives with equal constraints on every image.
    pub(super) kind: usize,
    /// Whether this alternative has constraints on every image, including preferences.
    pub(super) has_image: bool,
    /// The constraints on every image, in their merged form.
    pub(super) image: OnceCell<MergedImage>,
    /// The further constraints on images of single formats, in their merged form.
    pub(super) by_fourcc: BTreeMap<Fourcc, (&'a ImageConstraints, OnceCell<Box<MergedImage>>)>,
}

impl PreparedChoice<'_> {
    /// Returns whether this alternative has a demand on a field.
    pub(super) fn demands(&self, field: Field) -> bool {
        self.constraints.demands_field(field)
    }

    /// Returns the constraints on every image, in their merged form. `owner` has to be the same in each call.
    pub(super) fn image(&self, owner: usize) -> &MergedImage {
        let image = || MergedImage::of(owner, &self.constraints.image);
        self.image.get_or_init(image)
    }

    /// Returns the further constraints on images of one format, in their merged form. `owner` has to be the same in each call.
    pub(super) fn image_in(&self, owner: usize, fourcc: Fourcc) -> Option<&MergedImage> {
        let (constraints, known) = self.by_fourcc.get(&fourcc)?;
        let image = || Box::new(MergedImage::of(owner, constraints));
        Some(known.get_or_init(image))
    }

    /// Returns whether there are further constraints on images of single formats.
    pub(super) fn has_per_fourcc(&self) -> bool {
        !self.by_fourcc.is_empty()
    }
}

impl PreparedParticipant<'_> {
    /// Returns the pairs that the participant accepts with any of its alternatives; `None` if it accepts all pairs.
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

    /// Returns the fewest buffers that the participant holds with any of its alternatives.
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

    /// Returns whether the participant's device owns a source's memory. Such a device works on the shadow copy, if there is one.
    pub(super) fn works_on(&self, source: usize) -> bool {
        self.own.contains(source) && self.participant.role.imports()
    }
}

/// Returns whether the CPU cannot access a source's memory.
pub(super) fn is_cpu_inaccessible(source: &Source) -> bool {
    source.guarantees.unmappable || source.guarantees.protected
}
