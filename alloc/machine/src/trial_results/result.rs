//! One trial result as plain data: its participants, its effect, its conditions and its origin.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::outcome::Refusal;
use covalent_solver::constraint::{Interface, Participant, Role, Source};
use covalent_solver::model::{DeviceIdentity, Extent, FormatModifier, Fourcc, Modifier};
use covalent_solver::text::Printable;

/// A refusal or a stride alignment that a driver has shown and that no device declares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialResult {
    /// The participants to which the result applies.
    pub participant: ParticipantSelector,
    /// The constraint that the result adds to a request.
    pub effect: Effect,
    /// The machines on which the result is valid.
    #[serde(default)]
    pub conditions: Conditions,
    /// Whether a trial on this machine has shown the result, or it ships with this crate.
    pub origin: Origin,
    /// The time at which the result stops being valid, in seconds since 1970. `None` means that it does not expire.
    #[serde(default)]
    pub expires: Option<u64>,
}

impl TrialResult {
    /// Returns whether both results state the same effect for the same participants under the same conditions.
    ///
    /// Their origin, their expiry and the error that the driver returned may differ.
    #[must_use]
    pub fn is_repeat_of(&self, other: &Self) -> bool {
        #[cfg(test)]
        COMPARISONS.set(COMPARISONS.get() + 1);
        self.identity() == other.identity()
    }

    /// Returns the fields that are equal in two results of which one repeats the other.
    pub(super) fn identity(&self) -> (&ParticipantSelector, &Conditions, EffectIdentity<'_>) {
        let effect = match &self.effect {
            Effect::Refuses { source, scope, .. } => EffectIdentity::Refuses(source, scope),
            Effect::StrideAlignment { bytes } => EffectIdentity::StrideAlignment(*bytes),
        };
        (&self.participant, &self.conditions, effect)
    }
}

/// An effect without the error that the driver returned. Two results that differ only in this error repeat each other.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum EffectIdentity<'a> {
    Refuses(&'a str, &'a Scope),
    StrideAlignment(u32),
}

#[cfg(test)]
std::thread_local! {
    static COMPARISONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Returns how often this thread has compared two results.
#[cfg(test)]
pub(super) fn comparisons() -> usize {
    COMPARISONS.get()
}

impl fmt::Display for TrialResult {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.participant, self.effect)?;
        match &self.origin {
            Origin::Learnt { times, .. } => write!(out, "; seen {times} times here"),
            Origin::Quirk { reference } => {
                write!(out, "; known from {}", Printable(reference))
            }
        }
    }
}

/// The participants to which a trial result applies: all participants of a driver, or those of one device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParticipantSelector {
    /// The name of the kernel driver.
    pub driver: String,
    /// The bus address of the device. `None` selects every device of the driver.
    #[serde(default)]
    pub location: Option<String>,
    /// What the participant does with the pixels. `None` selects every role.
    #[serde(default)]
    pub role: Option<Role>,
    /// The interface through which the participant imports buffers. `None` selects every interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Interface>,
}

impl ParticipantSelector {
    /// Makes a selector for the device of this participant, with its role and its interface.
    #[must_use]
    pub fn of(participant: &Participant) -> Self {
        Self {
            driver: participant.device.driver.clone(),
            location: Some(participant.device.location.clone()),
            role: Some(participant.role),
            interface: Some(Interface::of(participant)),
        }
    }

    /// Returns whether the selector selects this participant.
    #[must_use]
    pub fn matches(&self, participant: &Participant) -> bool {
        let DeviceIdentity {
            driver, location, ..
        } = &participant.device;
        self.driver == *driver
            && self.location.as_ref().is_none_or(|own| own == location)
            && self.role.is_none_or(|own| own == participant.role)
            && self
                .interface
                .is_none_or(|own| own == Interface::of(participant))
    }
}

impl fmt::Display for ParticipantSelector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", Printable(&self.driver))?;
        if let Some(location) = self.location.as_ref().filter(|place| !place.is_empty()) {
            write!(out, " at {}", Printable(location))?;
        }
        match (self.role, self.interface) {
            (_, Some(Interface::Gbm)) => out.write_str(" (GBM)"),
            (_, Some(Interface::Vulkan)) => out.write_str(" (Vulkan)"),
            (Some(role), _) => write!(out, " ({})", role.label()),
            (None, _) => Ok(()),
        }
    }
}

/// The constraint that a trial result adds to a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Effect {
    /// The participant does not import memory of a source.
    Refuses {
        /// The source's identifier. A trailing `*` matches every identifier with that prefix.
        source: String,
        /// The formats and sizes that are refused.
        scope: Scope,
        /// The error that the driver returned.
        refusal: Refusal,
    },
    /// The stride of a linear format is a multiple of this many bytes.
    StrideAlignment {
        /// The alignment in bytes.
        bytes: u32,
    },
}

/// Returns whether a source's identifier matches a pattern. A `*` at the end of the pattern matches any text.
pub(super) fn source_matches(source: &Source, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => source.id.as_str().starts_with(prefix),
        None => source.id.as_str() == pattern,
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuses {
                source,
                scope,
                refusal,
            } => write!(
                out,
                "refuses memory of {} {scope} ({})",
                Printable(source),
                refusal.in_short()
            ),
            Self::StrideAlignment { bytes } => {
                write!(out, "needs strides in multiples of {bytes} bytes")
            }
        }
    }
}

/// The formats and sizes to which a refusal applies. The [`Default`] is every format at every size.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// The format to which the refusal applies; `None` for every format.
    pub fourcc: Option<Fourcc>,
    /// The modifier to which the refusal applies; `None` for every modifier.
    pub modifier: Option<Modifier>,
    /// The size in pixels to which the refusal applies; `None` for every size.
    pub extent: Option<Extent>,
}

impl Scope {
    /// Makes the scope of a single format, modifier and size.
    #[must_use]
    pub fn exactly(format: FormatModifier, extent: Extent) -> Self {
        Self {
            fourcc: Some(format.fourcc),
            modifier: Some(format.modifier),
            extent: Some(extent),
        }
    }

    /// Returns whether a buffer of this format and size is in the scope.
    #[must_use]
    pub fn covers(&self, format: FormatModifier, extent: Extent) -> bool {
        self.covers_format(format) && self.extent.is_none_or(|own| own == extent)
    }

    pub(super) fn covers_format(&self, format: FormatModifier) -> bool {
        self.fourcc.is_none_or(|own| own == format.fourcc)
            && self.modifier.is_none_or(|own| own == format.modifier)
    }

    /// Returns whether every format and size in `other` is also in this scope.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        fn within<T: PartialEq>(outer: Option<T>, inner: Option<T>) -> bool {
            outer.is_none() || outer == inner
        }
        within(self.fourcc, other.fourcc)
            && within(self.modifier, other.modifier)
            && within(self.extent, other.extent)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.fourcc, self.modifier) {
            (Some(fourcc), Some(modifier)) => write!(out, "in {fourcc} {modifier:#}")?,
            (Some(fourcc), None) => write!(out, "in {fourcc}")?,
            (None, Some(modifier)) => write!(out, "in every {modifier:#} format")?,
            (None, None) if self.extent.is_none() => return out.write_str("always"),
            (None, None) => out.write_str("in every format")?,
        }
        match self.extent {
            Some(extent) => write!(out, " at {extent}"),
            None => out.write_str(" at every size"),
        }
    }
}

/// The properties of a machine on which a refusal may depend, apart from the devices themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// The release of the kernel, as `uname -r` prints it.
    pub kernel: String,
    /// The version of Mesa; empty if Mesa is not installed.
    pub mesa: String,
    /// The size of the system's memory in MiB, rounded up to a multiple of 256.
    pub memory_mebibytes: u64,
    /// Whether an IOMMU translates addresses for at least one device.
    pub iommu: bool,
    /// The value of `swiotlb=` on the kernel's command line; empty if the option is absent.
    pub swiotlb: String,
    /// The features that the host offers to a virtual machine. Each text names a device and its feature bits.
    pub host: BTreeSet<String>,
}

/// The machines on which a trial result is valid. Each field that is set must be equal to the machine's value. The [`Default`] is
/// every machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// The release of the kernel.
    pub kernel: Option<String>,
    /// The version of Mesa. An empty text means that Mesa is not installed.
    pub mesa: Option<String>,
    /// The size of the system's memory in MiB, rounded up to a multiple of 256.
    pub memory_mebibytes: Option<u64>,
    /// Whether an IOMMU translates addresses for at least one device.
    pub iommu: Option<bool>,
    /// The value of `swiotlb=` on the kernel's command line. An empty text means that the option is absent.
    pub swiotlb: Option<String>,
    /// The features that the host offers to the virtual machine.
    pub host: Option<BTreeSet<String>>,
}

impl Conditions {
    /// Makes the conditions that only a machine with this environment meets.
    #[must_use]
    pub fn exactly(environment: &Environment) -> Self {
        let Environment {
            kernel,
            mesa,
            memory_mebibytes,
            iommu,
            swiotlb,
            host,
        } = environment.clone();
        Self {
            kernel: Some(kernel),
            mesa: Some(mesa),
            memory_mebibytes: Some(memory_mebibytes),
            iommu: Some(iommu),
            swiotlb: Some(swiotlb),
            host: Some(host),
        }
    }

    /// Returns whether a machine with this environment meets the conditions.
    #[must_use]
    pub(super) fn are_met_by(&self, environment: &Environment) -> bool {
        fn same<T: PartialEq>(own: Option<&T>, found: &T) -> bool {
            own.is_none_or(|own| own == found)
        }
        same(self.kernel.as_ref(), &environment.kernel)
            && same(self.mesa.as_ref(), &environment.mesa)
            && same(
                self.memory_mebibytes.as_ref(),
                &environment.memory_mebibytes,
            )
            && same(self.iommu.as_ref(), &environment.iommu)
            && same(self.swiotlb.as_ref(), &environment.swiotlb)
            && same(self.host.as_ref(), &environment.host)
    }
}

/// Where a trial result comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// A trial on this machine has shown the result.
    Learnt {
        /// The time when the refusal was last seen, in seconds since 1970.
        at: u64,
        /// The number of times that the refusal was seen.
        times: u32,
    },
    /// The result is documented driver behaviour and ships with this crate.
    #[serde(rename = "well_known")]
    Quirk {
        /// The place in the driver's source that shows the behaviour.
        reference: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vga() -> Extent {
        Extent::new(640, 480).unwrap()
    }

    #[test]
    fn scope_without_a_field_covers_every_value_of_it() {
        let xrgb = FormatModifier::linear(Fourcc::XRGB8888);
        let exact = Scope::exactly(xrgb, vga());
        assert!(exact.covers(xrgb, vga()));
        assert!(!exact.covers(xrgb, Extent::new(641, 480).unwrap()));
        assert!(!exact.covers(FormatModifier::linear(Fourcc::NV12), vga()));
        let all = Scope::default();
        assert!(all.covers(xrgb, vga()) && all.contains(&exact) && !exact.contains(&all));
        assert_eq!(all.to_string(), "always");
        assert_eq!(exact.to_string(), "in XR24 LINEAR at 640x480");
    }

    #[test]
    fn conditions_of_a_machine_are_met_by_it_alone() {
        let here = Environment {
            kernel: "7.3.4".to_owned(),
            memory_mebibytes: 2048,
            ..Environment::default()
        };
        let conditions = Conditions::exactly(&here);
        assert!(conditions.are_met_by(&here));
        for other in [
            Environment {
                kernel: "7.3.5".to_owned(),
                ..here.clone()
            },
            Environment {
                mesa: "26.1.6".to_owned(),
                ..here.clone()
            },
            Environment {
                memory_mebibytes: 4096,
                ..here.clone()
            },
            Environment {
                iommu: true,
                ..here.clone()
            },
            Environment {
                swiotlb: "force".to_owned(),
                ..here.clone()
            },
            Environment {
                host: BTreeSet::from(["blob".to_owned()]),
                ..here
            },
        ] {
            assert!(!conditions.are_met_by(&other), "{other:?}");
            assert!(Conditions::default().are_met_by(&other));
        }
    }

    #[test]
    fn conditions_without_mesa_are_read_back_as_written() {
        // An absent field means any version of Mesa, so an empty text means that Mesa is not installed.
        let conditions = Conditions::exactly(&Environment::default());
        let text = serde_json::to_string(&conditions).unwrap();
        assert_eq!(
            serde_json::from_str::<Conditions>(&text).unwrap(),
            conditions
        );
    }
}
