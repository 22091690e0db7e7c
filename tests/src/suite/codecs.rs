//! Theme `codecs`: memory-to-memory devices accept the buffers that the solver guarantees, and the converted pictures have the
//! expected pixels.

use std::time::Duration;

use crate::vm::config::Config;

use super::alloc::check;
use super::{Case, Outcome, TestContext};

pub(super) const CASES: &[Case] = &[Case::new(
    "codecs::converted_pictures_come_back_from_every_source",
    Config::Vkms,
    codecs,
)];

fn codecs(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let limit = Duration::from_secs(60);
    context.sh("modprobe vim2m && modprobe vicodec", limit)?;
    let outcome = check(context, "codecs");
    context.sh("modprobe -r vim2m && modprobe -r vicodec", limit)?;
    outcome
}
