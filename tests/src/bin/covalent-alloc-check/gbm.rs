//! Every source against every GBM device, and what GBM itself allocates.

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::gbm::{Gbm, GbmError};
use covalent_alloc::constraint::{FormatSet, Source};
use covalent_alloc::model::{FormatModifier, Fourcc, Modifier};
use covalent_alloc::solve::{Request, Solution, Verdict, solve};
use covalent_tests::witness::Sources;
use covalent_tests::witness::pixels;
use covalent_tests::witness::{processor, vga};

use super::{Seen, Tally};

pub(crate) fn run(tally: &mut Tally) {
    let sources = Sources::discover_with_drivers();
    tally.check("gbm::device_is_there_and_says_nothing_implicit", || {
        let mut devices = 0;
        for (gbm, formats) in sources.gbm_devices() {
            ensure!(
                formats.iter().all(|format| !format.modifier.is_implicit()),
                "{gbm:?}: {formats:?}"
            );
            let implicit = FormatModifier::new(Fourcc::XRGB8888, Modifier::INVALID);
            ensure!(
                gbm.formats(&FormatSet::from([implicit])).is_empty(),
                "{gbm:?} has implicit formats"
            );
            devices += 1;
        }
        ensure!(devices > 0, "none; not usable: {:?}", sources.unavailable());
        Ok(Seen::Passed)
    });
    for (gbm, formats) in sources.gbm_devices() {
        let name = gbm.identity().driver.clone();
        for source in sources.declarations() {
            tally.check(&format!("gbm::{name}_imports_from_{}", source.id), || {
                import(&sources, gbm, formats, &source)
            });
        }
    }
}

fn import(sources: &Sources, gbm: &Gbm, formats: &FormatSet, source: &Source) -> Result<Seen> {
    if formats.is_empty() {
        return Ok(Seen::Skipped("its driver tells no arrangement".to_owned()));
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
                solution => return Ok(Seen::Skipped(solution.explain().replace('\n', "; "))),
            }
        }
    };
    let buffer = sources.allocate(&plan)?.pop().context("no buffer")?;
    let pattern = pixels::pattern(&buffer, 1)?;
    pixels::write(&buffer, &pattern)?;
    match (verdict, gbm.import(&buffer)) {
        (Some(_), Ok(imported)) => {
            // The same handle in GBM's table: the second must survive the first.
            let second = gbm.import(&buffer).context("the same buffer again")?;
            drop(imported);
            ensure!(
                second.buffer().identity() == buffer.identity(),
                "another buffer"
            );
            pixels::same(&[second.read()?], &pattern).context("GBM reads what was written")?;
            drop(second);
            gbm.import(&buffer).context("after both")?;
            Ok(Seen::Passed)
        }
        (Some(Verdict::Guaranteed), Err(error)) => Err(error).context("guaranteed, and yet"),
        (Some(_), Err(error)) => Ok(Seen::Skipped(format!(
            "possible, and not this time: {error}"
        ))),
        (None, Err(GbmError::Import { .. })) => Ok(Seen::Passed),
        (None, Err(error)) => Err(error).context("impossible, and for another reason"),
        (None, Ok(imported)) => {
            // What is impossible of a device with a copy of its own is that it sees what the processor wrote.
            ensure!(
                gbm.has_shadow_copy() == Some(true),
                "impossible, and yet it works"
            );
            ensure!(
                pixels::same(&[imported.read()?], &pattern).is_err(),
                "impossible, and yet the pixels are right"
            );
            Ok(Seen::Passed)
        }
    }
}
