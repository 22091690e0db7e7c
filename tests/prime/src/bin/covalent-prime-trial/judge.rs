//! What every driver has to answer: `--check` ends with an error otherwise.

use covalent_alloc::model::Fourcc;

use super::exchange::{Count, GpuResult, Report};

/// The smallest number of GPUs that must export and import XRGB8888 in every modifier that they list, if all GPUs are tried.
const MIN_GPUS: usize = 20;

/// Returns what is wrong in a report.
pub(crate) fn problems(report: &Report) -> Vec<String> {
    let mut problems = Vec::new();
    let mut exchanging: usize = 0;
    for gpu in &report.gpus {
        let found = problems_of(gpu, report.are_dmabufs);
        let lists_modifiers = modifier_count(gpu) > 0;
        exchanging = exchanging.saturating_add(usize::from(lists_modifiers && found.is_empty()));
        problems.extend(found.iter().map(|words| format!("{}: {words}", gpu.gpu)));
    }
    if report.gpus.len() >= MIN_GPUS && exchanging < MIN_GPUS {
        problems.push(format!(
            "{exchanging} GPUs exchange XRGB8888 in every modifier that they list, and at least {MIN_GPUS} have to"
        ));
    }
    problems
}

/// Returns how many modifiers the driver lists for XRGB8888.
fn modifier_count(gpu: &GpuResult) -> usize {
    let format = gpu.formats.get(&Fourcc::XRGB8888.to_string());
    format.map_or(0, |format| format.modifiers.len())
}

fn problems_of(gpu: &GpuResult, are_dmabufs: bool) -> Vec<String> {
    let Some(format) = gpu.formats.get(&Fourcc::XRGB8888.to_string()) else {
        return vec!["XRGB8888 was not tried".to_owned()];
    };
    let listed = modifier_count(gpu);
    let covalent_tried = if are_dmabufs { listed } else { 0 };
    let mut counts = vec![
        ("exports", format.exported, listed),
        ("imports of its own images", format.same_gpu, listed),
        (
            "imports of its own images by covalent-alloc",
            format.covalent,
            covalent_tried,
        ),
        (
            "plans and allocations by covalent-alloc",
            format.planned,
            covalent_tried,
        ),
        (
            "imports from another GPU with the same driver",
            format.other_gpu,
            format.other_gpu.tried,
        ),
        (
            "imports from another driver",
            format.other_driver,
            format.other_driver.tried,
        ),
    ];
    for wrong in gpu.wrong.values() {
        counts.push((
            "refusals by covalent-alloc of what the driver refuses",
            wrong.covalent,
            wrong.covalent.tried,
        ));
    }
    let gbm = &gpu.gbm;
    // A machine without libgbm or libEGL exchanges nothing with them.
    if gbm.exported.done > 0 {
        counts.extend([
            ("exports by GBM", gbm.exported, listed),
            ("imports of GBM's images", gbm.into_vulkan, listed),
            ("imports by GBM", gbm.from_vulkan, listed),
        ]);
    }
    if gbm.into_egl.done > 0 {
        counts.push(("imports by EGL", gbm.into_egl, listed));
    }
    counts
        .into_iter()
        .filter(|(_, count, expected)| count.done != *expected || count.tried != *expected)
        .map(|(name, Count { done, tried }, expected)| {
            format!("{name}: {done} of {tried}, expected {expected}")
        })
        .collect()
}
