//! Theme `views`: cache maintenance is seen to matter, by an exporter whose two views meet in it alone.

use std::time::Duration;

use super::alloc::check;
use super::{Bench, Case, Outcome};
use crate::vm::config::Config;
use crate::vm::views::build;

/// Enough for any single command on a busy machine without KVM.
const SOON: Duration = Duration::from_secs(60);

pub(super) const CASES: &[Case] = &[Case::new(
    "views::guards_make_pixels_arrive_and_nothing_else_does",
    Config::Bochs,
    guards,
)];

fn guards(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let module = build(&bench.image().root, bench.share())?;
    bench.sh(&format!("insmod {}", module.display()), SOON)?;
    let outcome = check(bench, "views")?;
    bench.sh("rmmod covalent_views", SOON)?;
    Ok(outcome)
}
