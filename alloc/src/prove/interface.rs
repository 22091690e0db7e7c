//! Through what a device is given a buffer, where it takes buffers in several ways.

use serde::{Deserialize, Serialize};

use crate::constraint::{Participant, Role};

/// The interface through which a participant imports.
///
/// One card can be three participants that import: by PRIME, by GBM and by Vulkan. What one of them refuses says nothing of
/// the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Interface {
    /// The kernel's own, whichever it is for the participant's role.
    Kernel,
    /// GBM.
    Gbm,
    /// An image of Vulkan.
    Vulkan,
}

impl Interface {
    /// Tells it by the name under which the backends declare a participant, the driver's with `GBM` or `image` behind it.
    #[must_use]
    pub fn of(participant: &Participant) -> Self {
        let rest = participant.name.strip_prefix(&participant.device.driver);
        let word = rest.and_then(|rest| rest.strip_prefix(' ')?.split(' ').next());
        match (participant.role, word) {
            (Role::Import, Some("GBM")) => Self::Gbm,
            (Role::Import | Role::Render, Some("image")) => Self::Vulkan,
            _ => Self::Kernel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DeviceIdentity;

    #[test]
    fn interface_is_told_by_the_name_that_a_backend_gives() {
        let of = |driver: &str, name: &str, role| {
            let identity = DeviceIdentity {
                driver: driver.to_owned(),
                location: String::new(),
                node: String::new(),
            };
            Interface::of(&Participant::new(name, identity, role))
        };
        for (name, expected) in [
            ("vkms GBM", Interface::Gbm),
            ("vkms GBM (/dev/dri/card1)", Interface::Gbm),
            ("vkms image", Interface::Vulkan),
            ("vkms import", Interface::Kernel),
            ("GBM", Interface::Kernel),
        ] {
            assert_eq!(of("vkms", name, Role::Import), expected, "{name}");
        }
        assert_eq!(of("vkms", "vkms GBM", Role::Display), Interface::Kernel);
        let renderer = of("vkms", "vkms image (rendered)", Role::Render);
        assert_eq!(renderer, Interface::Vulkan);
    }
}
