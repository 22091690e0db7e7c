//! Tables of constraint fields: all that is known of a field follows from its row.

use super::demand::Field;
use super::merge::MergeRule;
use super::owners::Owners;
use super::participant::Role;

/// Demands that a table of fields defines.
pub(crate) trait FieldTable: Sized {
    /// What the demands of several merge into.
    type Merged;

    /// Returns whether anything is demanded of a field; wishes are not demands.
    fn demands_field(&self, field: Field) -> bool;

    /// Gives up what is demanded of a field; wishes stay, since they are in nobody's way.
    fn relax(&mut self, field: Field);

    /// Returns whether two differ in what they demand of a field.
    fn differs(&self, other: &Self, field: Field) -> bool;

    /// Adds what is said of the demands on a field.
    fn clauses(&self, role: Role, field: Field, clauses: &mut Vec<Clause>);

    /// Takes one participant's demands; `owner` is the number by which the participant is remembered.
    fn merged(&self, owner: usize) -> Self::Merged;

    /// Returns what demands nothing.
    fn nothing() -> Self::Merged;

    /// Returns what two ask for together.
    fn merge(one: &Self::Merged, two: &Self::Merged) -> Self::Merged;

    /// Adds who may be the reason that no layout meets the demands on a field.
    fn blame(merged: &Self::Merged, field: Field, owners: &mut Owners);

    /// Adds why a plan is as it is.
    fn reasons<'m>(merged: &'m Self::Merged, reasons: &mut Vec<Reason<'m>>);

    /// Adds the rules by which the fields merge; `within` is the field that they are in.
    fn rules(within: &'static str, rules: &mut Vec<MergeRule>);

    /// Says what is demanded of a field, in words that follow the owner's name; `None` where nothing is.
    fn words(&self, role: Role, field: Field) -> Option<String> {
        let mut clauses = Vec::new();
        self.clauses(role, field, &mut clauses);
        clauses.sort_by_key(|clause| clause.place);
        let (amounts, whole): (Vec<_>, Vec<_>) =
            clauses.into_iter().partition(|clause| clause.is_amount);
        let [amounts, mut whole] =
            [amounts, whole].map(|clauses| clauses.into_iter().map(|clause| clause.words));
        let amounts: Vec<String> = amounts.collect();
        let amounts = (!amounts.is_empty()).then(|| match field {
            Field::Stride => format!("a stride {} bytes", amounts.join(" ")),
            _ => format!("{} bytes of memory", amounts.join(", ")),
        });
        let verb = match field {
            Field::Stride | Field::Offset | Field::Size => "needs ",
            _ => "",
        };
        let all: Vec<String> = amounts.into_iter().chain(whole.by_ref()).collect();
        (!all.is_empty()).then(|| format!("{verb}{}", all.join(" and ")))
    }
}

/// A part of what is said of a participant's demands on one field.
pub(crate) struct Clause {
    place: u8,
    is_amount: bool,
    words: String,
}

impl Clause {
    /// Says something by itself, such as `rows without a gap between them`.
    pub(super) fn whole(words: impl Into<String>) -> Self {
        Self {
            place: u8::MAX,
            is_amount: false,
            words: words.into(),
        }
    }

    /// Says a number of bytes, such as `at least 4096`; all of a field's are said together.
    pub(super) fn amount(words: impl Into<String>) -> Self {
        Self {
            is_amount: true,
            ..Self::whole(words)
        }
    }

    /// Says it in this place, the lowest first; clauses without one follow in the order of the table.
    #[must_use]
    pub(super) fn at(self, place: u8) -> Self {
        Self { place, ..self }
    }
}

/// What a merged demand made of a plan.
pub(crate) struct Reason<'m> {
    /// Its place among others, the lowest first.
    pub(crate) place: u8,
    /// What is so.
    pub(crate) words: String,
    /// Who asked for it.
    pub(crate) owners: &'m Owners,
}

impl Reason<'_> {
    /// Returns the place of a reason: numbers of bytes, those that are only wished for, other numbers, and the rest.
    pub(super) fn place_of(unit: &str, field: Option<Field>) -> u8 {
        match (unit, field) {
            ("bytes", Some(_)) => 0,
            ("bytes", None) => 1,
            ("", _) => 3,
            _ => 2,
        }
    }
}

/// Says something of a merged value.
pub(super) fn said<T: ?Sized>(value: &T, say: impl FnOnce(&T) -> Option<String>) -> Option<String> {
    say(value)
}

/// The field that a row's demands are on; none for wishes.
macro_rules! group {
    (Preference) => {
        None
    };
    ($field:ident) => {
        Some(Field::$field)
    };
}

/// What the values of a row merge into.
macro_rules! merged_type {
    (Lcm, $type:ty) => {
        Bound<CommonMultiple>
    };
    (Apart, $type:ty) => {
        NotMerged
    };
    (Within, $type:ty, $merged:ident) => {
        $merged
    };
    ($kind:ident, $type:ty) => {
        Bound<$type>
    };
}

/// Defines a structure of demands, what several of them merge into, and all that is known of its fields, by a table.
///
/// A row is `field: type = identity, kind, unit, field that conflicts name, blamed for [fields that layouts fail for]`, and then what is
/// said of a demand and why a plan is as it is. `kept` structures keep fields that are unknown, and `plain` ones leave that to the
/// structure that they are in.
macro_rules! field_table {
    (@struct kept [] [$(#[doc = $doc:literal])*] $name:ident {$(
        [$(#[doc = $field_doc:literal])+] $field:ident: $type:ty,
    )*}) => {
        keeps_extra_fields! {
            $(#[doc = $doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            #[serde(default)]
            pub struct $name {
                $($(#[doc = $field_doc])+ pub $field: $type,)*
                /// Fields of a newer version, those of the structures within too.
                #[serde(skip)]
                pub extra_fields: ExtraFields,
            }
        }
    };
    (@struct plain [$($derive:ident)*] [$(#[doc = $doc:literal])*] $name:ident {$(
        [$(#[doc = $field_doc:literal])+] $field:ident: $type:ty,
    )*}) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize $(, $derive)*)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $field_doc])+ pub $field: $type,)*
        }
    };
    (@forget kept $own:expr, $field:expr) => {
        if $field == Field::Unknown {
            $own.extra_fields = ExtraFields::default();
        }
    };
    (@forget plain $own:expr, $field:expr) => {};
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
            blamed for [$($blame:ident),*]
            $(, says $says:expr)?
            $(, reason $reason:expr)?;
        )*
    ) => {
        field_table!(@struct $mode [$($derive)*] [$(#[doc = $doc])*] $name {
            $([$(#[doc = $field_doc])+] $field: $type,)*
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

        /// Demands nothing.
        impl Default for $merged {
            fn default() -> Self {
                $name::nothing()
            }
        }

        impl $merged {
            /// Takes one participant's demands; `owner` is the number by which the participant is remembered.
            #[must_use]
            pub fn of(owner: usize, constraints: &$name) -> Self {
                constraints.merged(owner)
            }

            /// Returns what two ask for together.
            #[must_use]
            pub fn merge(&self, other: &Self) -> Self {
                $name::merge(self, other)
            }
        }

        impl FieldTable for $name {
            type Merged = $merged;

            fn demands_field(&self, field: Field) -> bool {
                $(<$kind as Kind<$type>>::demands(&self.$field, $identity, group!($group), field))||*
            }

            fn relax(&mut self, field: Field) {
                $(<$kind as Kind<$type>>::relax(&mut self.$field, $identity, group!($group), field);)*
                field_table!(@forget $mode self, field);
            }

            fn differs(&self, other: &Self, field: Field) -> bool {
                $((group!($group) == Some(field) && self.$field != other.$field))||*
            }

            #[allow(unused_variables, reason = "not every field has words of its own")]
            fn clauses(&self, role: Role, field: Field, clauses: &mut Vec<Clause>) {
                $(
                    <$kind as Kind<$type>>::clauses(&self.$field, role, field, clauses);
                    $(if group!($group) == Some(field) {
                        let says: fn(&Self, Role) -> Option<Clause> = $says;
                        clauses.extend(says(self, role));
                    })?
                )*
            }

            fn merged(&self, owner: usize) -> $merged {
                $merged { $($field: <$kind as Kind<$type>>::of(owner, &self.$field, $identity),)* }
            }

            fn nothing() -> $merged {
                $merged { $($field: <$kind as Kind<$type>>::nothing($identity),)* }
            }

            fn merge(one: &$merged, two: &$merged) -> $merged {
                $merged { $($field: <$kind as Kind<$type>>::merge(&one.$field, &two.$field),)* }
            }

            fn blame(merged: &$merged, field: Field, owners: &mut Owners) {
                $(
                    let is_to_blame = false $(|| field == Field::$blame)*;
                    <$kind as Kind<$type>>::blame(&merged.$field, is_to_blame, field, owners);
                )*
            }

            fn reasons<'m>(merged: &'m $merged, reasons: &mut Vec<Reason<'m>>) {
                $(
                    <$kind as Kind<$type>>::reasons(&merged.$field, reasons);
                    $(if !merged.$field.owners.is_empty() {
                        if let Some(words) = said(&merged.$field.value, $reason) {
                            reasons.push(Reason {
                                place: Reason::place_of($unit, group!($group)),
                                words,
                                owners: &merged.$field.owners,
                            });
                        }
                    })?
                )*
            }

            fn rules(within: &'static str, rules: &mut Vec<MergeRule>) {
                $(<$kind as Kind<$type>>::rules(MergeRule {
                    within,
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
