//! Theme `views`: checks that CPU access through access guards is necessary and sufficient. A test exporter has separate memory
//! for the CPU and the device, and copies between them only in its cache maintenance.

use std::time::Duration;

use super::alloc::check;
use super::{Case, Outcome, TestContext};
use crate::vm::config::Config;
use crate::vm::views::build;

/// The time limit of one command on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

pub(super) const CASES: &[Case] = &[Case::new(
    "views::only_cpu_access_guards_make_writes_visible",
    Config::Bochs,
    only_cpu_access_guards_make_writes_visible,
)];

fn only_cpu_access_guards_make_writes_visible(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let module = build(&context.image().root, context.share())?;
    context.sh(&format!("insmod {}", module.display()), COMMAND_LIMIT)?;
    let outcome = check(context, "views")?;
    context.sh("rmmod covalent_views", COMMAND_LIMIT)?;
    Ok(outcome)
}
