//! What was learnt of a pair of devices, or is well known, as plain data.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::outcome::Refusal;
use covalent_solver::constraint::{Interface, Participant, Role, Source};
use covalent_solver::model::{DeviceIdentity, Extent, FormatModifier, Fourcc, Modifier};
use covalent_solver::text::Printable;

/// Something that no declaration says and that drivers have shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialResult {
    /// Of whom it is.
    pub participant: ParticipantSelector,
    /// What it is.
    pub effect: Effect,
    /// Where it holds.
    #[serde(default)]
    pub conditions: Conditions,
    /// How it is known.
    pub origin: Origin,
    /// The second since 1970 in which it is forgotten; never where there is none.
    #[serde(default)]
    pub expires: Option<u64>,
}

impl TrialResult {
    /// Returns whether both say the same of the same; only how they are known may differ.
    #[must_use]
    pub fn says_as(&self, other: &Self) -> bool {
        #[cfg(test)]
        COMPARED.set(COMPARED.get() + 1);
        self.what_is_said() == other.what_is_said()
    }

    /// Returns all by which a fact says the same as another.
    pub(super) fn what_is_said(&self) -> (&ParticipantSelector, &Conditions, Said<'_>) {
        let said = match &self.effect {
            Effect::Refuses { source, scope, .. } => Said::Refuses(source, scope),
            Effect::StrideAlignment { bytes } => Said::StrideAlignment(*bytes),
        };
        (&self.participant, &self.conditions, said)
    }
}

/// An effect without how it came about.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Said<'a> {
    Refuses(&'a str, &'a Scope),
    StrideAlignment(u32),
}

#[cfg(test)]
std::thread_local! {
    static COMPARED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How often this thread has compared two facts.
#[cfg(test)]
pub(super) fn compared() -> usize {
    COMPARED.get()
}

impl fmt::Display for TrialResult {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.participant, self.effect)?;
        match &self.origin {
            Origin::Learnt { times, .. } => write!(out, "; seen {times} times here"),
            Origin::WellKnown { reference } => {
                write!(out, "; known from {}", Printable(reference))
            }
        }
    }
}

/// The participants that a fact is about: all of a driver, or of one device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParticipantSelector {
    /// The kernel driver.
    pub driver: String,
    /// Where the device sits; any place where there is none.
    #[serde(default)]
    pub location: Option<String>,
    /// What it does with the pixels; anything where there is none.
    #[serde(default)]
    pub role: Option<Role>,
    /// Through what it takes buffers; anything where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Interface>,
}

impl ParticipantSelector {
    /// One device in one role.
    #[must_use]
    pub fn of(participant: &Participant) -> Self {
        Self {
            driver: participant.device.driver.clone(),
            location: Some(participant.device.location.clone()),
            role: Some(participant.role),
            interface: Some(Interface::of(participant)),
        }
    }

    /// Returns whether the participant is one of them.
    #[must_use]
    pub fn is(&self, participant: &Participant) -> bool {
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

/// What a fact changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Effect {
    /// Memory of a source is refused.
    Refuses {
        /// The source's identifier; one that ends in `*` means all that begin so.
        source: String,
        /// In which pictures.
        scope: Scope,
        /// What came back.
        refusal: Refusal,
    },
    /// Strides of linear pictures are multiples of this many bytes.
    StrideAlignment {
        /// The step in bytes.
        bytes: u32,
    },
}

impl Effect {
    /// Returns whether memory of this source is what is refused.
    #[must_use]
    pub fn is_about(&self, source: &Source) -> bool {
        match self {
            Self::Refuses { source: name, .. } => is_meant(source, name),
            Self::StrideAlignment { .. } => false,
        }
    }
}

/// Returns whether a source is meant by a fact's name of sources.
pub(super) fn is_meant(source: &Source, name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(start) => source.id.as_str().starts_with(start),
        None => source.id.as_str() == name,
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

/// The pictures that a refusal is about. [`Default`] is all of them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// In this format alone.
    pub fourcc: Option<Fourcc>,
    /// In this arrangement alone.
    pub modifier: Option<Modifier>,
    /// Of this size alone.
    pub extent: Option<Extent>,
}

impl Scope {
    /// One size in one format.
    #[must_use]
    pub fn exactly(format: FormatModifier, extent: Extent) -> Self {
        Self {
            fourcc: Some(format.fourcc),
            modifier: Some(format.modifier),
            extent: Some(extent),
        }
    }

    /// Returns whether a picture is among them.
    #[must_use]
    pub fn covers(&self, format: FormatModifier, extent: Extent) -> bool {
        self.covers_format(format) && self.extent.is_none_or(|own| own == extent)
    }

    pub(super) fn covers_format(&self, format: FormatModifier) -> bool {
        self.fourcc.is_none_or(|own| own == format.fourcc)
            && self.modifier.is_none_or(|own| own == format.modifier)
    }

    /// Returns whether every picture of `other` is among them.
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

/// All of a machine that a refusal may depend on beside the devices themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// The kernel's release, as uname tells it.
    pub kernel: String,
    /// Mesa's version; empty where it is not installed.
    pub mesa: String,
    /// Memory in MiB, rounded up to steps of 256.
    pub memory_mebibytes: u64,
    /// Whether any IOMMU stands between devices and memory.
    pub iommu: bool,
    /// What the kernel's command line says of swiotlb; empty where it says nothing.
    pub swiotlb: String,
    /// What the host of a virtual machine offers its devices: feature bits by device.
    pub host: BTreeSet<String>,
}

/// Where a fact holds: what is there must be equal, what is left out does not matter. [`Default`] is everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// The kernel's release.
    pub kernel: Option<String>,
    /// Mesa's version; empty where it must not be installed.
    pub mesa: Option<String>,
    /// Memory in MiB.
    pub memory_mebibytes: Option<u64>,
    /// Whether there is an IOMMU.
    pub iommu: Option<bool>,
    /// What the kernel's command line says of swiotlb; empty where it must say nothing.
    pub swiotlb: Option<String>,
    /// What the host offers.
    pub host: Option<BTreeSet<String>>,
}

impl Conditions {
    /// This machine as it is, and no other.
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

    /// Returns whether a machine is as they say.
    #[must_use]
    pub(super) fn hold_in(&self, environment: &Environment) -> bool {
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

/// How a fact is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// A driver of this machine showed it.
    Learnt {
        /// The second since 1970 in which it was seen last.
        at: u64,
        /// How often it was seen.
        times: u32,
    },
    /// It ships with this crate.
    WellKnown {
        /// Where it can be looked up.
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
    fn scope_covers_what_it_leaves_open() {
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
    fn conditions_of_a_machine_hold_in_it_alone() {
        let here = Environment {
            kernel: "7.3.4".to_owned(),
            memory_mebibytes: 2048,
            ..Environment::default()
        };
        let conditions = Conditions::exactly(&here);
        assert!(conditions.hold_in(&here));
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
            assert!(!conditions.hold_in(&other), "{other:?}");
            assert!(Conditions::default().hold_in(&other));
        }
    }

    #[test]
    fn conditions_of_no_mesa_survive_json() {
        // An absent field means any Mesa: that there is none must not be read as that.
        let conditions = Conditions::exactly(&Environment::default());
        let text = serde_json::to_string(&conditions).unwrap();
        assert_eq!(
            serde_json::from_str::<Conditions>(&text).unwrap(),
            conditions
        );
    }
}
