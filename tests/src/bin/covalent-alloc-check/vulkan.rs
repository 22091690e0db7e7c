//! Every source against every Vulkan device that works on the processor: what one writes, the other reads.
//!
//! Devices that work elsewhere can end the process; they are tried in a process of their own.

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::vulkan::{Complaints, Gpu, Vulkan, VulkanError};
use covalent_alloc::buffer::{Buffer, Descriptor, PlaneDescriptor};
use covalent_alloc::constraint::{PlanePlacement, Source};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::{Plan, Request, Solution, Verdict, solve};
use covalent_tests::witness::Sources;
use covalent_tests::witness::pixels::{pattern, read, same, write};
use covalent_tests::witness::{processor, vga};

use super::{Seen, Tally};

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

pub(crate) fn run(tally: &mut Tally) {
    run_with(tally, &Sources::discover_with_drivers());
}

/// The same under the eyes of the validation layer, which is shown to look.
pub(crate) fn run_validated(tally: &mut Tally) {
    let (vulkan, complaints) = match Vulkan::load_validated() {
        Ok(loaded) => loaded,
        Err(error) => {
            tally.check("vulkan::validation_layer_is_there", || Err(error.into()));
            return;
        }
    };
    let mut sources = Sources::discover();
    sources.add_vulkan(&vulkan);
    drop(vulkan);
    run_with(tally, &sources);
    let silent = |complaints: &Complaints| -> Result<Seen> {
        let said = complaints.take();
        ensure!(said.is_empty(), "{}", said.join(" | "));
        Ok(Seen::Passed)
    };
    tally.check("vulkan::validation_layer_has_nothing_to_say", || {
        silent(&complaints)
    });
    tally.check("vulkan::validation_layer_finds_a_planted_hazard", || {
        for gpu in sources.gpus() {
            gpu.plant_hazard()?;
            let said = complaints.take();
            ensure!(
                said.iter().any(|words| words.contains("WRITE-AFTER-WRITE")
                    || words.contains("WRITE_AFTER_WRITE")),
                "of a hazard on {} it says {said:?}",
                gpu.name()
            );
        }
        Ok(Seen::Passed)
    });
    drop(sources);
    tally.check("vulkan::validation_layer_finds_nothing_left", || {
        silent(&complaints)
    });
}

fn run_with(tally: &mut Tally, sources: &Sources) {
    let on_processor: Vec<&Gpu> = sources.gpus().filter(|gpu| gpu.is_processor()).collect();
    tally.check("vulkan::device_on_the_processor_is_there", || {
        let [gpu] = on_processor.as_slice() else {
            bail!(
                "{} devices; not usable: {:?}",
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
        let source = gpu.source()?.context("it exports nothing")?;
        let formats = source.constraints.formats.context("any format")?;
        ensure!(
            formats.contains(FormatModifier::linear(Fourcc::XRGB8888)),
            "it exports {formats:?}"
        );
        Ok(Seen::Passed)
    });
    for gpu in on_processor {
        for source in sources.declarations() {
            if source.id.as_str().starts_with("gbm:") {
                // The memory of dumb buffers once more.
                continue;
            }
            for fourcc in FORMATS {
                let name = format!("vulkan::{fourcc}_from_{}_is_read_both_ways", source.id);
                tally.check(&name, || both_ways(sources, gpu, &source, fourcc));
            }
        }
        tally.check(
            "vulkan::planes_of_two_dma_bufs_are_disjoint_or_refused",
            || disjoint(sources, gpu),
        );
        tally.check("vulkan::buffer_that_is_too_small_is_refused", || {
            too_small(sources, gpu)
        });
        tally.check(
            "vulkan::image_is_imported_twice_and_outlives_its_buffer",
            || twice(sources, gpu),
        );
        tally.check("vulkan::two_images_lie_in_one_dma_buf", || {
            suballocated(sources, gpu)
        });
        tally.check(
            "vulkan::order_of_export_import_and_write_does_not_matter",
            || orders(sources, gpu),
        );
    }
}

/// Sizes with strides of their own: plain, one that is no multiple of 64 bytes, and rows that are wider than the picture.
fn sizes() -> Result<[(Extent, u32); 3]> {
    Ok([
        (vga()?, 0),
        (Extent::new(322, 46)?, 0),
        (Extent::new(322, 46)?, 2048),
    ])
}

fn both_ways(sources: &Sources, gpu: &Gpu, source: &Source, fourcc: Fourcc) -> Result<Seen> {
    let mut seen = 0;
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
            solution => return Ok(Seen::Skipped(solution.explain().replace('\n', "; "))),
        };
        let (sure, what) = (
            plan.verdict() == Verdict::Guaranteed,
            format!("{extent} in {fourcc}"),
        );
        match exchange(sources, gpu, &plan) {
            Ok(()) => seen += 1,
            Err(error) if sure => return Err(error.context(format!("guaranteed, and yet {what}"))),
            Err(error) => {
                return Ok(Seen::Skipped(format!(
                    "possible, and not this time: {error:#}"
                )));
            }
        }
    }
    ensure!(seen == 3, "only {seen} sizes");
    Ok(Seen::Passed)
}

fn exchange(sources: &Sources, gpu: &Gpu, plan: &Plan) -> Result<()> {
    let buffer = sources.allocate(plan)?.pop().context("no buffer")?;
    let image = gpu.import(&buffer)?;
    let (first, second) = (pattern(&buffer, 1)?, pattern(&buffer, 2)?);
    write(&buffer, &first)?;
    same(&image.read()?, &first).context("the device reads what the processor wrote")?;
    image.write(&second)?;
    same(&read(&buffer)?, &second).context("the processor reads what the device wrote")
}

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

fn disjoint(sources: &Sources, gpu: &Gpu) -> Result<Seen> {
    let participant = gpu.participant(vga()?, Some(Fourcc::NV12))?;
    let formats = participant
        .constraints()
        .formats
        .as_ref()
        .context("any format")?;
    if !formats.contains_fourcc(Fourcc::NV12) {
        return Ok(Seen::Skipped("it has no NV12".to_owned()));
    }
    let terms = participant
        .constraints()
        .per_fourcc
        .get(&Fourcc::NV12)
        .context("no terms for NV12")?;
    let plan = plan_from(sources, "heap:system", Fourcc::NV12, true)?;
    let buffer = sources.allocate(&plan)?.pop().context("no buffer")?;
    ensure!(
        buffer.dmabuf_count() == 2,
        "{} memories",
        buffer.dmabuf_count()
    );
    match (terms.placement, gpu.import(&buffer)) {
        (
            PlanePlacement::Together,
            Err(VulkanError::Unsuitable { .. } | VulkanError::TooSmall { .. }),
        ) => Ok(Seen::Passed),
        (PlanePlacement::Either, Ok(image)) => {
            let (first, second) = (pattern(&buffer, 3)?, pattern(&buffer, 4)?);
            write(&buffer, &first)?;
            same(&image.read()?, &first)?;
            image.write(&second)?;
            same(&read(&buffer)?, &second)?;
            Ok(Seen::Passed)
        }
        (said, answer) => bail!("it says {said:?}, and {answer:?}"),
    }
}

fn too_small(sources: &Sources, gpu: &Gpu) -> Result<Seen> {
    let plan = plan_from(sources, "heap:system", Fourcc::R8, false)?;
    let buffer = sources.allocate(&plan)?.pop().context("no buffer")?;
    // The dma-buf ends with the picture: one row more and the image needs what is not there.
    let bytes = buffer.layout().total_bytes();
    let rows = u32::try_from(bytes / 640)?;
    let fd = buffer.dmabuf_fd(0).context("no memory")?;
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
        // A device that asks for no more than the picture takes it, and all of it is there.
        Ok(image) => same(&image.read()?, &[vec![0; 640 * usize::try_from(rows)?]])?,
        Err(VulkanError::TooSmall { .. } | VulkanError::Unsuitable { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Seen::Passed)
}

fn twice(sources: &Sources, gpu: &Gpu) -> Result<Seen> {
    let plan = plan_from(sources, "heap:system", Fourcc::XRGB8888, false)?;
    let buffer = sources.allocate(&plan)?.pop().context("no buffer")?;
    let pixels = pattern(&buffer, 5)?;
    write(&buffer, &pixels)?;
    let one = gpu.import(&buffer)?;
    let two = gpu.import(&buffer)?;
    drop(buffer);
    same(&one.read()?, &pixels)?;
    drop(one);
    same(&two.read()?, &pixels)?;
    Ok(Seen::Passed)
}

/// One dma-buf with two pictures, the second behind the first: neither is seen in the other.
fn suballocated(sources: &Sources, gpu: &Gpu) -> Result<Seen> {
    const SIDE: u32 = 64;
    let plan = plan_from(sources, "heap:system", Fourcc::XRGB8888, false)?;
    let whole = sources.allocate(&plan)?.pop().context("no buffer")?;
    let fd = whole.dmabuf_fd(0).context("no memory")?;
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
    same(&one.read()?, &above).context("the first after the second was written")?;
    same(&other.read()?, &below)?;
    same(&read(&first)?, &above)?;
    same(&read(&second)?, &below)?;
    // The rest of the dma-buf is as it was.
    let bytes = usize::try_from(SIDE * SIDE * 8)?;
    let pixels = read(&whole)?.pop().context("no plane")?;
    let touched = pixels.iter().skip(bytes).any(|byte| *byte != 0);
    ensure!(!touched, "what lies behind both was written");
    Ok(Seen::Passed)
}

/// The device's own memory: exported, imported and written in every order.
fn orders(sources: &Sources, gpu: &Gpu) -> Result<Seen> {
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
        return Ok(Seen::Skipped("it exports nothing".to_owned()));
    };
    let fresh = || -> Result<Buffer> { sources.allocate(&plan)?.pop().context("no buffer") };
    // Written, then imported.
    let buffer = fresh()?;
    let pixels = pattern(&buffer, 8)?;
    write(&buffer, &pixels)?;
    same(&gpu.import(&buffer)?.read()?, &pixels).context("written before the import")?;
    // Imported, then written by the processor.
    let buffer = fresh()?;
    let image = gpu.import(&buffer)?;
    write(&buffer, &pixels)?;
    same(&image.read()?, &pixels).context("written after the import")?;
    // Imported, written by that import, which goes; then imported again.
    let other = pattern(&buffer, 9)?;
    image.write(&other)?;
    drop(image);
    same(&gpu.import(&buffer)?.read()?, &other).context("written by an import that is gone")?;
    // Two imports: one is made before the other writes, one after.
    let (first, second) = (gpu.import(&buffer)?, gpu.import(&buffer)?);
    first.write(&pixels)?;
    same(&second.read()?, &pixels).context("written by another import")?;
    drop((first, second));
    same(&read(&buffer)?, &pixels)?;
    Ok(Seen::Passed)
}
