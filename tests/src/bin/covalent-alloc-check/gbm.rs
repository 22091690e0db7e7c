//! Checks every GBM device with the buffers of every source, including GBM's own buffers.

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::gbm::{Gbm, GbmError};
use covalent_alloc::constraint::{FormatSet, Source};
use covalent_alloc::model::{FormatModifier, Fourcc, Modifier};
use covalent_alloc::solve::{Request, Solution, Verdict, solve};
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::pixels;
use covalent_tests::check_support::{processor, vga};

use super::{CheckOutcome, CheckRunner};

pub(crate) fn run(runner: &mut CheckRunner) {
    let sources = Sources::discover_with_drivers();
    runner.check("gbm::device_exists_and_lists_no_implicit_modifier", || {
        let mut devices = 0;
        for (gbm, formats) in sources.gbm_devices() {
            ensure!(
                formats.iter().all(|format| !format.modifier.is_implicit()),
                "{gbm:?}: {formats:?}"
            );
            let implicit = FormatModifier::new(Fourcc::XRGB8888, Modifier::INVALID);
            ensure!(
                gbm.formats(&FormatSet::from([implicit])).is_empty(),
                "{gbm:?} lists a format with an implicit modifier"
            );
            devices += 1;
        }
        ensure!(
            devices > 0,
            "there is no usable GBM device; not usable are {:?}",
            sources.unavailable()
        );
        Ok(CheckOutcome::Passed)
    });
    for (gbm, formats) in sources.gbm_devices() {
        let name = gbm.identity().driver.clone();
        for source in sources.declarations() {
            runner.check(&format!("gbm::{name}_imports_from_{}", source.id), || {
                gbm_imports_from_a_source(&sources, gbm, formats, &source)
            });
        }
    }
}

fn gbm_imports_from_a_source(
    sources: &Sources,
    gbm: &Gbm,
    formats: &FormatSet,
    source: &Source,
) -> Result<CheckOutcome> {
    if formats.is_empty() {
        return Ok(CheckOutcome::Skipped(
            "the driver of the GBM device lists no modifiers".to_owned(),
        ));
    }
    let request = Request {
        participants: vec![processor(Fourcc::XRGB8888), gbm.participant(formats)],
        sources: vec![source.clone()],
        ..Request::new(vga()?)
    };
    let (plan, verdict) = match solve(&request) {
        Solution::Share(plan) => {
            let verdict = plan.verdict();
            (plan, Some(verdict))
        }
        _ => {
            let alone = Request {
                participants: vec![processor(Fourcc::XRGB8888)],
                ..request
            };
            match solve(&alone) {
                Solution::Share(plan) => (plan, None),
                solution => {
                    return Ok(CheckOutcome::Skipped(
                        solution.explain().replace('\n', "; "),
                    ));
                }
            }
        }
    };
    let buffer = sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")?;
    let pattern = pixels::pattern(&buffer, 1)?;
    pixels::write(&buffer, &pattern)?;
    match (verdict, gbm.import(&buffer)) {
        (Some(_), Ok(imported)) => {
            // Both imports have the same GEM handle. Dropping the first import must not close it.
            let second = gbm
                .import(&buffer)
                .context("import the same buffer a second time")?;
            drop(imported);
            ensure!(
                second.buffer().identity() == buffer.identity(),
                "the second import refers to another buffer"
            );
            pixels::same(&[second.read()?], &pattern)
                .context("GBM must read the pixels that were written")?;
            drop(second);
            gbm.import(&buffer)
                .context("import the buffer after both imports were dropped")?;
            Ok(CheckOutcome::Passed)
        }
        (Some(Verdict::Guaranteed), Err(error)) => {
            Err(error).context("the import failed although the solver guarantees it")
        }
        (Some(_), Err(error)) => Ok(CheckOutcome::Skipped(format!(
            "the import is possible but not guaranteed, and failed: {error}"
        ))),
        (None, Err(GbmError::Import { .. })) => Ok(CheckOutcome::Passed),
        (None, Err(error)) => Err(error)
            .context("the import failed as the solver predicts, but with an unexpected error"),
        (None, Ok(imported)) => {
            // A virtual GPU with a shadow copy can import the buffer, but does not see pixels that the CPU writes.
            ensure!(
                gbm.has_shadow_copy() == Some(true),
                "the import succeeded although the solver says that it is impossible"
            );
            ensure!(
                pixels::same(&[imported.read()?], &pattern).is_err(),
                "GBM reads the pixels that the CPU wrote, although the solver says that sharing is impossible"
            );
            Ok(CheckOutcome::Passed)
        }
    }
}
