//! A participant made ready: what it accepts, as sets of numbers.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::bits::Bits;
use super::fields::FieldSet;
use crate::constraint::{Constraints, Field, ImageConstraints, MergedImage, Participant, Source};
use crate::model::Fourcc;

/// A participant made ready.
pub(super) struct PreparedParticipant<'a> {
    pub(super) participant: &'a Participant,
    /// Sources on its own device.
    pub(super) own: Bits,
    /// What it accepts, best first.
    pub(super) choices: Vec<PreparedChoice<'a>>,
    /// The pairs that it takes by any of these.
    pub(super) formats: OnceCell<Option<Rc<Bits>>>,
}

/// One of the sets of constraints that a participant accepts.
pub(super) struct PreparedChoice<'a> {
    pub(super) constraints: &'a Constraints,
    /// The numbers of the pairs that are taken; all where there is none.
    pub(super) formats: Option<Rc<Bits>>,
    /// Sources that a demand rules out by itself.
    pub(super) rejects: Vec<(Field, Bits)>,
    /// The fields of pictures of which anything is demanded.
    pub(super) image_fields: FieldSet,
    /// Which other choices ask the same of every picture: those of the same number.
    pub(super) kind: usize,
    /// Whether anything is asked of every picture, wishes included.
    pub(super) has_image: bool,
    /// All that is asked of every picture.
    pub(super) image: OnceCell<MergedImage>,
    /// All that is asked beyond that of pictures in one format, by the format.
    pub(super) by_fourcc: BTreeMap<Fourcc, (&'a ImageConstraints, OnceCell<Box<MergedImage>>)>,
}

impl PreparedChoice<'_> {
    /// Returns whether anything is demanded of a field.
    pub(super) fn demands(&self, field: Field) -> bool {
        self.constraints.demands_field(field)
    }

    /// Returns all that is asked of every picture, by an owner that is the same each time.
    pub(super) fn image(&self, owner: usize) -> &MergedImage {
        let image = || MergedImage::of(owner, &self.constraints.image);
        self.image.get_or_init(image)
    }

    /// Returns all that is asked beyond that of pictures in one format, by an owner that is the same each time.
    pub(super) fn image_in(&self, owner: usize, fourcc: Fourcc) -> Option<&MergedImage> {
        let (constraints, known) = self.by_fourcc.get(&fourcc)?;
        let image = || Box::new(MergedImage::of(owner, constraints));
        Some(known.get_or_init(image))
    }

    /// Returns whether more is asked of pictures in some formats than of all.
    pub(super) fn asks_by_fourcc(&self) -> bool {
        !self.by_fourcc.is_empty()
    }
}

impl PreparedParticipant<'_> {
    /// Returns the pairs that it takes by any of its alternatives; none where it takes all.
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

    /// Returns the fewest buffers that it holds by any of its alternatives.
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

    /// Returns whether its device works on a source's memory as its own.
    pub(super) fn works_on(&self, source: usize) -> bool {
        self.own.contains(source) && self.participant.role.imports()
    }
}

/// Returns whether the processor is kept from a source's memory.
pub(super) fn is_cpu_inaccessible(source: &Source) -> bool {
    source.guarantees.unmappable || source.guarantees.protected
}
