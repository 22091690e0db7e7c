//! Theme `kernels`: checks on the kernels of older Debian releases that the solver's verdicts match the drivers, and that the
//! tool reports what the kernel lacks.

use anyhow::ensure;

use crate::vm::config::{Config, Memory};
use crate::vm::kernel::Kernel;

use super::alloc::with_huge_pages;
use super::matrix::{COMMAND_LIMIT, LIMIT, expect, verify};
use super::{Case, Outcome, TestContext};

/// The cases for a kernel: one for each configuration and memory size. They run only with `--full`.
macro_rules! every_configuration {
    ($kernel:expr, $series:literal) => {
        [
            full(
                concat!("kernels::linux_", $series, "_virtio_in_2g_verdicts_match"),
                Config::Virtio,
                $kernel,
            ),
            full(
                concat!("kernels::linux_", $series, "_bochs_in_2g_verdicts_match"),
                Config::Bochs,
                $kernel,
            ),
            full(
                concat!("kernels::linux_", $series, "_vkms_in_2g_verdicts_match"),
                Config::Vkms,
                $kernel,
            ),
            full(
                concat!("kernels::linux_", $series, "_venus_in_2g_verdicts_match"),
                Config::Venus,
                $kernel,
            ),
            full(
                concat!("kernels::linux_", $series, "_full_in_2g_verdicts_match"),
                Config::Full,
                $kernel,
            ),
            in_6g(
                concat!("kernels::linux_", $series, "_virtio_in_6g_verdicts_match"),
                Config::Virtio,
                $kernel,
            ),
            in_6g(
                concat!("kernels::linux_", $series, "_bochs_in_6g_verdicts_match"),
                Config::Bochs,
                $kernel,
            ),
            in_6g(
                concat!("kernels::linux_", $series, "_vkms_in_6g_verdicts_match"),
                Config::Vkms,
                $kernel,
            ),
            in_6g(
                concat!("kernels::linux_", $series, "_venus_in_6g_verdicts_match"),
                Config::Venus,
                $kernel,
            ),
            in_6g(
                concat!("kernels::linux_", $series, "_full_in_6g_verdicts_match"),
                Config::Full,
                $kernel,
            ),
        ]
    };
}

/// The cases of each older kernel.
const BOOKWORM: [Case; 10] = every_configuration!(Kernel::Bookworm, "6_1");
const TRIXIE: [Case; 10] = every_configuration!(Kernel::Trixie, "6_12");

/// The cases that run without `--full` too: for each older kernel, the configuration whose display driver differs most.
const ALWAYS: [Case; 4] = [
    Case::new(
        "kernels::linux_6_1_verdicts_match_the_drivers",
        Config::Virtio,
        few_verdicts,
    )
    .kernel(Kernel::Bookworm)
    .limit(LIMIT),
    Case::new(
        "kernels::linux_6_1_doctor_and_plan_name_what_it_lacks",
        Config::Virtio,
        old_kernel_is_described,
    )
    .kernel(Kernel::Bookworm),
    Case::new(
        "kernels::linux_6_12_verdicts_match_the_drivers",
        Config::Bochs,
        few_verdicts,
    )
    .kernel(Kernel::Trixie)
    .limit(LIMIT),
    Case::new(
        "kernels::linux_6_12_bochs_import_is_impossible_and_named",
        Config::Bochs,
        linux_6_12_bochs_import_is_impossible_and_named,
    )
    .kernel(Kernel::Trixie),
];

/// Returns all cases of the theme.
pub(super) fn cases() -> Vec<Case> {
    [&ALWAYS[..], &BOOKWORM, &TRIXIE].concat()
}

const fn full(name: &'static str, config: Config, kernel: Kernel) -> Case {
    Case::new(name, config, verdicts)
        .kernel(kernel)
        .limit(LIMIT)
        .full()
}

const fn in_6g(name: &'static str, config: Config, kernel: Kernel) -> Case {
    full(name, config, kernel).memory(Memory::SIX_GIBIBYTES)
}

/// Verifies the verdicts for one RGB format and one YUV format in one size.
fn few_verdicts(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    verify(
        context,
        "matrix.json",
        "--size 640x480 --format XR24 --format NV12",
    )?;
    Ok(Outcome::Passed)
}

fn verdicts(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    with_huge_pages(context, 16, |context| {
        let options = "--size 640x480 --size 1280x720 --format XR24 --format AR24 --format RG16 --format NV12 --format YU12 --format YUYV";
        verify(context, "matrix.json", options)?;
        Ok(Outcome::Passed)
    })
}

fn old_kernel_is_described(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    ensure!(
        Kernel::Bookworm.is_of_series(&guest.ready().kernel),
        "{}",
        guest.ready().kernel
    );
    let doctor = guest.sh("covalent doctor", COMMAND_LIMIT)?.text();
    let plan = guest.sh(
        "covalent plan --camera /dev/video0 --display /dev/dri/card0",
        COMMAND_LIMIT,
    )?;
    expect(&plan, 0, &[])?;
    for (output, parts) in [
        (doctor, &["udmabuf", "dma-heaps", "SYNCOBJ_EVENTFD"][..]),
        (plan.text(), &["Linux 6.1 has no DRM_IOCTL_SYNCOBJ_EVENTFD"]),
    ] {
        // The tool wraps its text at the width of the terminal, so line breaks are replaced by spaces.
        let words: Vec<&str> = output.split_whitespace().collect();
        let output = words.join(" ");
        for part in parts {
            ensure!(output.contains(part), "no {part:?} in {output}");
        }
    }
    Ok(Outcome::Passed)
}

/// Until Linux 6.12, bochs-drm has its buffers in the memory of the card and cannot import, although DRM_CAP_PRIME reports
/// import.
fn linux_6_12_bochs_import_is_impossible_and_named(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    let line = "covalent matrix --json --source heap:system --format XR24";
    let report = guest.sh(line, COMMAND_LIMIT)?;
    expect(&report, 0, &[])?;
    let report: serde_json::Value = serde_json::from_slice(&report.stdout)?;
    let cells = report["cells"].as_array().into_iter().flatten();
    let planes: Vec<_> = cells
        .filter(|cell| {
            cell["participant"]
                .as_str()
                .is_some_and(|name| name.starts_with("bochs-drm primary"))
        })
        .collect();
    ensure!(!planes.is_empty(), "the display is not in the matrix");
    for cell in planes {
        ensure!(
            cell["said"] == "impossible" && cell["reasons"].to_string().contains("VRAM helpers"),
            "{cell}"
        );
    }
    Ok(Outcome::Passed)
}
