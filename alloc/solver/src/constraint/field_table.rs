//! Tables of constraint fields. All code for a field is generated from the field's row.

use super::demand::Field;
use super::merge::MergeRule;
use super::owners::Owners;
use super::participant::Role;

/// A structure of constraints that a table defines.
pub(crate) trait FieldTable: Sized {
    /// The type of merged constraints.
    type Merged;

    /// Returns whether there is a demand on a field. A preference is no demand.
    fn demands_field(&self, field: Field) -> bool;

    /// Removes the demands on a field. Preferences stay, because they rule out no layout.
    fn relax(&mut self, field: Field);

    /// Returns whether the demands of the two structures on a field differ.
    fn differs(&self, other: &Self, field: Field) -> bool;

    /// Adds the phrases that describe the demands on a field.
    fn phrases(&self, role: Role, field: Field, phrases: &mut Vec<Phrase>);

    /// Makes merged constraints from one participant's constraints. `owner` is the participant's number.
    fn merged(&self, owner: usize) -> Self::Merged;

    /// Returns merged constraints that demand nothing.
    fn no_demand() -> Self::Merged;

    /// Merges two merged constraints.
    fn merge(one: &Self::Merged, two: &Self::Merged) -> Self::Merged;

    /// Adds the owners of those constraints that may be the reason why no layout satisfies the demands on a field.
    fn add_limiting_owners(merged: &Self::Merged, field: Field, owners: &mut Owners);

    /// Adds the reasons for a plan's layout.
    fn reasons<'m>(merged: &'m Self::Merged, reasons: &mut Vec<Reason<'m>>);

    /// Adds the merge rules of the fields. `within` is the path of the field that contains them.
    fn rules(within: &str, rules: &mut Vec<MergeRule>);

    /// Describes the demands on a field, as a clause that follows the owner's name; `None` if there are no demands.
    fn describe(&self, role: Role, field: Field) -> Option<String> {
        let mut phrases = Vec::new();
        self.phrases(role, field, &mut phrases);
        phrases.sort_by_key(|phrase| phrase.order);
        let (sizes, standalone): (Vec<_>, Vec<_>) =
            phrases.into_iter().partition(|phrase| phrase.is_bytes);
        let [sizes, mut standalone] =
            [sizes, standalone].map(|phrases| phrases.into_iter().map(|phrase| phrase.words));
        let sizes: Vec<String> = sizes.collect();
        let sizes = (!sizes.is_empty()).then(|| match field {
            Field::Stride => format!("a stride {} bytes", sizes.join(" ")),
            _ => format!("memory {} bytes", sizes.join(", ")),
        });
        let verb = match field {
            Field::Stride | Field::Offset | Field::Size => "needs ",
            _ => "",
        };
        let all: Vec<String> = sizes.into_iter().chain(standalone.by_ref()).collect();
        (!all.is_empty()).then(|| format!("{verb}{}", all.join(" and ")))
    }
}

/// A phrase in the description of a participant's demands on one field.
pub(crate) struct Phrase {
    order: u8,
    is_bytes: bool,
    words: String,
}

impl Phrase {
    /// Makes a phrase that is not joined with others, such as `rows without a gap between them`.
    pub(super) fn standalone(words: impl Into<String>) -> Self {
        Self {
            order: u8::MAX,
            is_bytes: false,
            words: words.into(),
        }
    }

    /// Makes a phrase about a number of bytes, such as `at least 4096`. All such phrases of one field are joined into one.
    pub(super) fn bytes(words: impl Into<String>) -> Self {
        Self {
            is_bytes: true,
            ..Self::standalone(words)
        }
    }

    /// Sets the position of the phrase in the description. Lower positions come first. Phrases without a position follow in the
    /// order of the table.
    #[must_use]
    pub(super) fn with_order(self, order: u8) -> Self {
        Self { order, ..self }
    }
}

/// A reason for a plan's layout: the effect of one merged constraint.
pub(crate) struct Reason<'m> {
    /// The position of the reason in an explanation. Lower positions come first.
    pub(crate) order: u8,
    /// The field of the constraint; `None` for a preference.
    pub(crate) field: Option<Field>,
    /// The property of the layout that the constraint caused.
    pub(crate) words: String,
    /// The participants and sources whose constraints caused it.
    pub(crate) owners: &'m Owners,
}

impl Reason<'_> {
    /// Returns whether the constraint is about strides or plane offsets. Only linear layouts have constraints on these, because
    /// the driver chooses both for any other layout.
    pub(crate) fn is_about_rows(&self) -> bool {
        matches!(self.field, None | Some(Field::Stride | Field::Offset))
    }

    /// Returns the position of a reason: first demands in bytes, then preferences in bytes, then reasons in other units, then
    /// reasons without a unit.
    pub(super) fn order_of(unit: &str, field: Option<Field>) -> u8 {
        match (unit, field) {
            ("bytes", Some(_)) => 0,
            ("bytes", None) => 1,
            ("", _) => 3,
            _ => 2,
        }
    }
}

/// Calls `say` with the value. This function exists so that the compiler infers the type of the closure's parameter.
pub(super) fn apply<T: ?Sized>(
    value: &T,
    say: impl FnOnce(&T) -> Option<String>,
) -> Option<String> {
    say(value)
}

/// Expands to the field on which a row's demands are; `None` for a preference.
macro_rules! group {
    (Preference) => {
        None
    };
    ($field:ident) => {
        Some(Field::$field)
    };
}

/// Expands to the type of a row's merged value.
macro_rules! merged_type {
    (Lcm, $type:ty) => {
        Bound<CommonMultiple>
    };
    (PerParticipant, $type:ty) => {
        NotMerged
    };
    (Nested, $type:ty, $merged:ident) => {
        $merged
    };
    (Optional, $type:ty, $merged:ident) => {
        Option<Box<$merged>>
    };
    ($kind:ident, $type:ty) => {
        Bound<$type>
    };
}

/// Defines a structure of constraints, its merged type, and the functions of [`FieldTable`] from a table.
///
/// A row is `field: type = identity, kind, unit, demanded field, limits [fields]`. The demanded field is the [`Field`] that a
/// conflict names. The fields in `limits` are those for which the row can rule out layouts. Three options may follow. `omitted`
/// names the function that returns for which values the field is not written. `describe` describes a demand. `reason` describes
/// the effect of the merged value. A `kept` structure keeps extra fields itself; the extra fields of a `plain` structure are kept
/// by the structure that contains it.
macro_rules! field_table {
    (@struct kept [] [$(#[doc = $doc:literal])*] $name:ident {$(
        [$(#[doc = $field_doc:literal])+] [$($omitted:literal)?] $field:ident: $type:ty,
    )*}) => {
        keeps_extra_fields! {
            $(#[doc = $doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            #[serde(default)]
            pub struct $name {
                $($(#[doc = $field_doc])+ $(#[serde(skip_serializing_if = $omitted)])? pub $field: $type,)*
                /// JSON fields that a newer version wrote, including those of nested structures.
                #[serde(skip)]
                pub extra_fields: ExtraFields,
            }
        }
    };
    (@struct plain [$($derive:ident)*] [$(#[doc = $doc:literal])*] $name:ident {$(
        [$(#[doc = $field_doc:literal])+] [$($omitted:literal)?] $field:ident: $type:ty,
    )*}) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize $(, $derive)*)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $field_doc])+ $(#[serde(skip_serializing_if = $omitted)])? pub $field: $type,)*
        }
    };
    (@relax_extra kept $own:expr, $field:expr) => {
        if $field == Field::Unknown {
            $own.extra_fields = ExtraFields::default();
        }
    };
    (@relax_extra plain $own:expr, $field:expr) => {};
    (@default kept $name:ident {$($field:ident: $identity:expr,)*}) => {
        $name { $($field: $identity,)* extra_fields: ExtraFields::default() }
    };
    (@default plain $name:ident {$($field:ident: $identity:expr,)*}) => {
        $name { $($field: $identity,)* }
    };
    (
        $mode:ident $(+ $derive:ident)*;
        $(#[doc = $doc:literal])*
        $name:ident,
        #[doc = $merged_doc:literal]
        $merged:ident;
        $(
            $(#[doc = $field_doc:literal])+
            $field:ident: $type:ty = $identity:expr, $kind:ident $(as $of:ident)?, $unit:literal, $group:ident,
            limits [$($limited:ident),*]
            $(, omitted $omitted:literal)?
            $(, describe $describe:expr)?
            $(, reason $reason:expr)?;
        )*
    ) => {
        field_table!(@struct $mode [$($derive)*] [$(#[doc = $doc])*] $name {
            $([$(#[doc = $field_doc])+] [$($omitted)?] $field: $type,)*
        });

        impl Default for $name {
            fn default() -> Self {
                field_table!(@default $mode $name { $($field: $identity,)* })
            }
        }

        #[doc = $merged_doc]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $merged {
            $($(#[doc = $field_doc])+ pub $field: merged_type!($kind, $type $(, $of)?),)*
        }

        /// Returns constraints that demand nothing.
        impl Default for $merged {
            fn default() -> Self {
                $name::no_demand()
            }
        }

        impl $merged {
            /// Makes merged constraints from one participant's constraints. `owner` is the participant's number.
            #[must_use]
            pub fn of(owner: usize, constraints: &$name) -> Self {
                constraints.merged(owner)
            }

            /// Merges two merged constraints.
            #[must_use]
            pub fn merge(&self, other: &Self) -> Self {
                $name::merge(self, other)
            }
        }

        impl FieldTable for $name {
            type Merged = $merged;

            fn demands_field(&self, field: Field) -> bool {
                $(<$kind as FieldKind<$type>>::demands(&self.$field, $identity, group!($group), field))||*
            }

            fn relax(&mut self, field: Field) {
                $(<$kind as FieldKind<$type>>::relax(&mut self.$field, $identity, group!($group), field);)*
                field_table!(@relax_extra $mode self, field);
            }

            fn differs(&self, other: &Self, field: Field) -> bool {
                $((group!($group) == Some(field) && self.$field != other.$field))||*
            }

            #[allow(unused_variables, reason = "not every field has words of its own")]
            fn phrases(&self, role: Role, field: Field, phrases: &mut Vec<Phrase>) {
                $(
                    <$kind as FieldKind<$type>>::phrases(&self.$field, role, field, phrases);
                    $(if group!($group) == Some(field) {
                        let describe: fn(&Self, Role) -> Option<Phrase> = $describe;
                        phrases.extend(describe(self, role));
                    })?
                )*
            }

            fn merged(&self, owner: usize) -> $merged {
                $merged { $($field: <$kind as FieldKind<$type>>::of(owner, &self.$field, $identity),)* }
            }

            fn no_demand() -> $merged {
                $merged { $($field: <$kind as FieldKind<$type>>::no_demand($identity),)* }
            }

            fn merge(one: &$merged, two: &$merged) -> $merged {
                $merged { $($field: <$kind as FieldKind<$type>>::merge(&one.$field, &two.$field),)* }
            }

            fn add_limiting_owners(merged: &$merged, field: Field, owners: &mut Owners) {
                $(
                    let is_limited = false $(|| field == Field::$limited)*;
                    <$kind as FieldKind<$type>>::add_limiting_owners(&merged.$field, is_limited, field, owners);
                )*
            }

            fn reasons<'m>(merged: &'m $merged, reasons: &mut Vec<Reason<'m>>) {
                $(
                    <$kind as FieldKind<$type>>::reasons(&merged.$field, reasons);
                    $(if !merged.$field.owners.is_empty() {
                        if let Some(words) = apply(&merged.$field.value, $reason) {
                            reasons.push(Reason {
                                order: Reason::order_of($unit, group!($group)),
                                field: group!($group),
                                words,
                                owners: &merged.$field.owners,
                            });
                        }
                    })?
                )*
            }

            fn rules(within: &str, rules: &mut Vec<MergeRule>) {
                $(<$kind as FieldKind<$type>>::rules(MergeRule {
                    within: within.to_owned(),
                    field: stringify!($field),
                    identity: stringify!($identity),
                    operator: "",
                    unit: $unit,
                    means: concat!($($field_doc),+),
                }, rules);)*
            }
        }
    };
}

pub(super) use {field_table, group, merged_type};
