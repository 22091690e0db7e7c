//! Theme `planes`: checks that primary, overlay and cursor planes show every format that they list.

use crate::vm::config::Config;

use super::alloc::check;
use super::{Case, Outcome, TestContext};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "planes::virtio_planes_show_what_they_list",
        Config::Virtio,
        check_planes,
    ),
    Case::new(
        "planes::bochs_planes_show_what_they_list",
        Config::Bochs,
        check_planes,
    ),
    Case::new(
        "planes::vkms_planes_show_what_they_list",
        Config::Vkms,
        check_planes,
    ),
];

fn check_planes(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    check(context, "planes")
}
