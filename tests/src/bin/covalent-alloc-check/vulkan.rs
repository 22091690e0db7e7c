//! Checks every Vulkan CPU driver with the buffers of every source: the device reads what the CPU wrote, and the CPU reads what
//! the device wrote.
//!
//! Only CPU drivers are checked here, because a hardware driver can crash the process. `covalent-interop-check` tries hardware
//! drivers in a separate process.

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::vulkan::{Gpu, ValidationMessages, Vulkan, VulkanError};
use covalent_alloc::buffer::{Buffer, Descriptor, PlaneDescriptor};
use covalent_alloc::constraint::{PlanePlacement, Source};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::{Plan, Request, Solution, Verdict, solve};
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::pixels::{pattern, read, same, write};
use covalent_tests::check_support::{processor, vga};

use super::{CheckOutcome, CheckRunner};

const FORMATS: [Fourcc; 9] = [
    Fourcc::XRGB8888,
    Fourcc::ABGR8888,
    Fourcc::RGB565,
    Fourcc::R8,
    Fourcc::YUYV,
    Fourcc::UYVY,
    Fourcc::NV12,
    Fourcc::NV16,
    Fourcc::YUV420,
];

pub(crate) fn run(runner: &mut CheckRunner) {
    run_with(runner, &Sources::discover_with_drivers());
}

/// Runs the same checks with the validation layer, and checks that the layer detects a hazard.
pub(crate) fn run_validated(runner: &mut CheckRunner) {
    let (vulkan, validation_messages) = match Vulkan::load_validated() {
        Ok(loaded) => loaded,
        Err(error) => {
            runner.check(
                "vulkan::validation_layer_is_installed",
                || Err(error.into()),
            );
            return;
        }
    };
    let mut sources = Sources::discover();
    sources.add_vulkan(&vulkan);
    drop(vulkan);
    run_with(runner, &sources);
    let silent = |validation_messages: &ValidationMessages| -> Result<CheckOutcome> {
        let messages = validation_messages.take();
        ensure!(
            messages.is_empty(),
            "the validation layer reports: {}",
            messages.join(" | ")
        );
        Ok(CheckOutcome::Passed)
    };
    runner.check("vulkan::validation_layer_reports_nothing", || {
        silent(&validation_messages)
    });
    runner.check("vulkan::validation_layer_detects_a_write_hazard", || {
        for gpu in sources.gpus() {
            gpu.submit_write_hazard()?;
            let messages = validation_messages.take();
            ensure!(
                messages
                    .iter()
                    .any(|message| message.contains("WRITE-AFTER-WRITE")
                        || message.contains("WRITE_AFTER_WRITE")),
                "the validation layer does not report a hazard on {}, but reports {messages:?}",
                gpu.name()
            );
        }
        Ok(CheckOutcome::Passed)
    });
    drop(sources);
    runner.check("vulkan::validation_layer_reports_no_leak", || {
        silent(&validation_messages)
    });
}

/// Runs the checks on the Vulkan devices of these sources.
fn run_with(runner: &mut CheckRunner, sources: &Sources) {
    let on_processor: Vec<&Gpu> = sources.gpus().filter(|gpu| gpu.is_cpu()).collect();
    runner.check("vulkan::machine_has_one_cpu_driver", || {
        let [gpu] = on_processor.as_slice() else {
            bail!(
                "the machine has {} Vulkan CPU drivers; not usable are {:?}",
                on_processor.len(),
                sources.unavailable()
            );
        };
        ensure!(gpu.identity().driver == "llvmpipe", "{}", gpu.identity());
        ensure!(
            gpu.identity().location.starts_with("uuid:"),
            "{}",
            gpu.identity()
        );
        let source = gpu.source()?.context("the device exports no images")?;
        let formats = source
            .constraints
            .formats
            .context("the participant does not list its formats")?;
        ensure!(
            formats.contains(FormatModifier::linear(Fourcc::XRGB8888)),
            "the device exports {formats:?}, without linear XR24"
        );
        Ok(CheckOutcome::Passed)
    });
    for gpu in on_processor {
        for source in sources.declarations() {
            if source.id.as_str().starts_with("gbm:") {
                // GBM's buffers are in the same memory as the card's dumb buffers, which are checked as a source.
                continue;
            }
            for fourcc in FORMATS {
                let name = format!(
                    "vulkan::{fourcc}_from_{}_is_read_in_both_directions",
                    source.id
                );
                runner.check(&name, || both_ways(sources, gpu, &source, fourcc));
            }
        }
        runner.check(
            "vulkan::planes_of_two_dma_bufs_are_disjoint_or_refused",
            || planes_of_two_dma_bufs_are_disjoint_or_refused(sources, gpu),
        );
        runner.check("vulkan::buffer_that_is_too_small_is_refused", || {
            buffer_that_is_too_small_is_refused(sources, gpu)
        });
        runner.check(
            "vulkan::image_is_imported_twice_and_outlives_its_buffer",
            || image_is_imported_twice_and_outlives_its_buffer(sources, gpu),
        );
        runner.check("vulkan::two_images_lie_in_one_dma_buf", || {
            suballocated(sources, gpu)
        });
        runner.check(
            "vulkan::order_of_export_import_and_write_does_not_matter",
            || orders(sources, gpu),
        );
    }
}

/// Returns sizes, each with a minimum stride: 640x480, a width whose stride is no multiple of 64 bytes, and rows with padding.
fn sizes() -> Result<[(Extent, u32); 3]> {
    Ok([
        (vga()?, 0),
        (Extent::new(322, 46)?, 0),
        (Extent::new(322, 46)?, 2048),
    ])
}

/// Checks that the CPU and the device read each other's pixels in the source's buffers, in three sizes.
fn both_ways(
    sources: &Sources,
    gpu: &Gpu,
    source: &Source,
    fourcc: Fourcc,
) -> Result<CheckOutcome> {
    let mut passed = 0;
    for (extent, least_stride) in sizes()? {
        let mut writer = processor(fourcc);
        writer.for_each_choice(|own| own.image.stride.minimum = least_stride);
        let request = Request {
            participants: vec![writer, gpu.participant(extent, Some(fourcc))?],
            sources: vec![source.clone()],
            ..Request::new(extent)
        };
        let plan = match solve(&request) {
            Solution::Share(plan) => plan,
            solution => {
                return Ok(CheckOutcome::Skipped(
                    solution.explain().replace('\n', "; "),
                ));
            }
        };
        let (is_guaranteed, what) = (
            plan.verdict() == Verdict::Guaranteed,
            format!("{extent} in {fourcc}"),
        );
        match exchange(sources, gpu, &plan) {
            Ok(()) => passed += 1,
            Err(error) if is_guaranteed => {
                return Err(error.context(format!(
                    "sharing {what} failed although the plan is guaranteed"
                )));
            }
            Err(error) => {
                return Ok(CheckOutcome::Skipped(format!(
                    "the exchange is possible but not guaranteed, and failed: {error:#}"
                )));
            }
        }
    }
    ensure!(passed == 3, "only {passed} of 3 sizes passed");
    Ok(CheckOutcome::Passed)
}

/// Checks that the CPU and the device read each other's pixels in a buffer of this plan.
fn exchange(sources: &Sources, gpu: &Gpu, plan: &Plan) -> Result<()> {
    let buffer = sources
        .allocate(plan)?
        .pop()
        .context("the source allocated no buffer")?;
    let image = gpu.import(&buffer)?;
    let (first, second) = (pattern(&buffer, 1)?, pattern(&buffer, 2)?);
    write(&buffer, &first)?;
    same(&image.read()?, &first).context("the device must read the pixels that the CPU wrote")?;
    image.write(&second)?;
    same(&read(&buffer)?, &second).context("the CPU must read the pixels that the device wrote")
}

/// Plans a picture for the CPU from the source `id`; with `apart`, each plane has a dma-buf of its own.
fn plan_from(sources: &Sources, id: &str, fourcc: Fourcc, apart: bool) -> Result<Plan> {
    let mut writer = processor(fourcc);
    if apart {
        writer.for_each_choice(|own| own.image.placement = PlanePlacement::Disjoint);
    }
    let mut request = Request::new(vga()?);
    request.participants.push(writer);
    request.sources = sources.declarations();
    request.sources.retain(|source| source.id.as_str() == id);
    match solve(&request) {
        Solution::Share(plan) => Ok(plan),
        solution => bail!("{}", solution.explain()),
    }
}

fn planes_of_two_dma_bufs_are_disjoint_or_refused(
    sources: &Sources,
    gpu: &Gpu,
) -> Result<CheckOutcome> {
    let participant = gpu.participant(vga()?, Some(Fourcc::NV12))?;
    let formats = participant
        .constraints()
        .formats
        .as_ref()
        .context("the participant does not list its formats")?;
    if !formats.contains_fourcc(Fourcc::NV12) {
        return Ok(CheckOutcome::Skipped(
            "the device does not support NV12".to_owned(),
        ));
    }
    let constraints = participant
        .constraints()
        .per_fourcc
        .get(&Fourcc::NV12)
        .context("the device declares no constraints for NV12")?;
    let plan = plan_from(sources, "heap:system", Fourcc::NV12, true)?;
    let buffer = sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")?;
    ensure!(
        buffer.dmabuf_count() == 2,
        "the buffer has {} dma-bufs",
        buffer.dmabuf_count()
    );
    match (constraints.placement, gpu.import(&buffer)) {
        (
            PlanePlacement::Together,
            Err(VulkanError::Unsuitable { .. } | VulkanError::TooSmall { .. }),
        ) => Ok(CheckOutcome::Passed),
        (PlanePlacement::Either, Ok(image)) => {
            let (first, second) = (pattern(&buffer, 3)?, pattern(&buffer, 4)?);
            write(&buffer, &first)?;
            same(&image.read()?, &first)?;
            image.write(&second)?;
            same(&read(&buffer)?, &second)?;
            Ok(CheckOutcome::Passed)
        }
        (declared, imported) => {
            bail!(
                "the device declares placement {declared:?}, and the import returned {imported:?}"
            )
        }
    }
}

fn buffer_that_is_too_small_is_refused(sources: &Sources, gpu: &Gpu) -> Result<CheckOutcome> {
    let plan = plan_from(sources, "heap:system", Fourcc::R8, false)?;
    let buffer = sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")?;
    // The picture fills the dma-buf completely, so the dma-buf is too small for an image that needs bytes after its last row.
    let bytes = buffer.layout().total_bytes();
    let rows = u32::try_from(bytes / 640)?;
    let fd = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
    let described = Buffer::import(Descriptor {
        extent: Extent::new(640, rows)?,
        format: FormatModifier::linear(Fourcc::R8),
        planes: vec![PlaneDescriptor {
            fd: fd.try_clone_to_owned()?,
            offset_bytes: 0,
            stride_bytes: 640,
        }],
    })?;
    match gpu.import(&described) {
        // The device needs no bytes after the last row, so it can import the buffer and read the whole picture.
        Ok(image) => same(&image.read()?, &[vec![0; 640 * usize::try_from(rows)?]])?,
        Err(VulkanError::TooSmall { .. } | VulkanError::Unsuitable { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(CheckOutcome::Passed)
}

fn image_is_imported_twice_and_outlives_its_buffer(
    sources: &Sources,
    gpu: &Gpu,
) -> Result<CheckOutcome> {
    let plan = plan_from(sources, "heap:system", Fourcc::XRGB8888, false)?;
    let buffer = sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")?;
    let pixels = pattern(&buffer, 5)?;
    write(&buffer, &pixels)?;
    let one = gpu.import(&buffer)?;
    let two = gpu.import(&buffer)?;
    drop(buffer);
    same(&one.read()?, &pixels)?;
    drop(one);
    same(&two.read()?, &pixels)?;
    Ok(CheckOutcome::Passed)
}

/// Checks one dma-buf that contains two pictures, one after the other. Writes to one picture must not change the other.
fn suballocated(sources: &Sources, gpu: &Gpu) -> Result<CheckOutcome> {
    const SIDE: u32 = 64;
    let plan = plan_from(sources, "heap:system", Fourcc::XRGB8888, false)?;
    let whole = sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")?;
    let fd = whole.dmabuf_fd(0).context("the buffer has no dma-buf")?;
    let part = |offset_bytes: u64| -> Result<Buffer> {
        Ok(Buffer::import(Descriptor {
            extent: Extent::new(SIDE, SIDE)?,
            format: FormatModifier::linear(Fourcc::XRGB8888),
            planes: vec![PlaneDescriptor {
                fd: fd.try_clone_to_owned()?,
                offset_bytes,
                stride_bytes: SIDE * 4,
            }],
        })?)
    };
    let (first, second) = (part(0)?, part(u64::from(SIDE * SIDE * 4))?);
    let (one, other) = (gpu.import(&first)?, gpu.import(&second)?);
    let (above, below) = (pattern(&first, 6)?, pattern(&second, 7)?);
    one.write(&above)?;
    other.write(&below)?;
    same(&one.read()?, &above)
        .context("the first picture must not change when the second is written")?;
    same(&other.read()?, &below)?;
    same(&read(&first)?, &above)?;
    same(&read(&second)?, &below)?;
    // The bytes of the dma-buf after both pictures are unchanged.
    let bytes = usize::try_from(SIDE * SIDE * 8)?;
    let pixels = read(&whole)?.pop().context("the layout has no plane")?;
    let touched = pixels.iter().skip(bytes).any(|byte| *byte != 0);
    ensure!(!touched, "bytes after the second picture were written");
    Ok(CheckOutcome::Passed)
}

/// Checks memory that the device allocates, with exports, imports and writes in every order.
fn orders(sources: &Sources, gpu: &Gpu) -> Result<CheckOutcome> {
    let extent = Extent::new(322, 46)?;
    let request = Request {
        participants: vec![
            processor(Fourcc::XRGB8888),
            gpu.participant(extent, Some(Fourcc::XRGB8888))?,
        ],
        sources: gpu.source_of_size(extent)?.into_iter().collect(),
        ..Request::new(extent)
    };
    let Solution::Share(plan) = solve(&request) else {
        return Ok(CheckOutcome::Skipped(
            "the device exports no images".to_owned(),
        ));
    };
    let fresh = || -> Result<Buffer> {
        sources
            .allocate(&plan)?
            .pop()
            .context("the source allocated no buffer")
    };
    // The CPU writes before the import.
    let buffer = fresh()?;
    let pixels = pattern(&buffer, 8)?;
    write(&buffer, &pixels)?;
    same(&gpu.import(&buffer)?.read()?, &pixels)
        .context("the device must read the pixels that the CPU wrote before the import")?;
    // The CPU writes after the import.
    let buffer = fresh()?;
    let image = gpu.import(&buffer)?;
    write(&buffer, &pixels)?;
    same(&image.read()?, &pixels)
        .context("the device must read the pixels that the CPU wrote after the import")?;
    // The device writes through an import that is dropped, and the buffer is imported again.
    let other = pattern(&buffer, 9)?;
    image.write(&other)?;
    drop(image);
    same(&gpu.import(&buffer)?.read()?, &other).context(
        "the device must read the pixels that the device wrote through an import that was dropped",
    )?;
    // The device writes through one of two imports and reads through the other.
    let (first, second) = (gpu.import(&buffer)?, gpu.import(&buffer)?);
    first.write(&pixels)?;
    same(&second.read()?, &pixels)
        .context("the device must read the pixels that the device wrote through another import")?;
    drop((first, second));
    same(&read(&buffer)?, &pixels)?;
    Ok(CheckOutcome::Passed)
}
