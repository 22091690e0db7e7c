//! Vulkan on a device that an application made: an engine lends its device, records ownership transfers among its own commands, and
//! the validation layer watches its instance.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::vulkan::{Capabilities, Gpu, Purpose, VulkanError};
use covalent_alloc::buffer::{Buffer, Descriptor, PlaneDescriptor};
use covalent_alloc::constraint::{Participant, Source};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_tests::witness::{processor, vga};

use super::engine::scenes::{self, SAMPLED, SceneOutcome};
use super::engine::{Engine, Setup};
use super::exchange;
use super::rows::{Rows, Seen};
use super::world::{Planned, World, judge};

/// How long what was dropped early may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Formats that the engine copies: one plane, packed 4:2:2, two planes and three.
const COPIED: [Fourcc; 4] = [Fourcc::XRGB8888, Fourcc::YUYV, Fourcc::NV12, Fourcc::YUV420];

pub(crate) fn run(world: &World, rows: &mut Rows) {
    let setup = Setup {
        is_validated: Engine::has_layer(),
        ..Setup::default()
    };
    let mut number = 0;
    loop {
        let engine = match Engine::open(number, setup) {
            Ok(None) => break,
            Ok(Some(engine)) => Arc::new(engine),
            Err(error) => {
                rows.row(
                    format!("an engine on device {number}"),
                    || Err(error.into()),
                );
                break;
            }
        };
        rows.row(
            format!("{} without extensions", engine.offered.name),
            || bare(number, setup),
        );
        match engine.check(Capabilities::IMAGES) {
            Ok(()) => on_device(world, rows, &engine),
            Err(error) => rows.row(
                format!("{} says what it has not", engine.offered.name),
                || lacking(&error),
            ),
        }
        number = number.saturating_add(1);
    }
}

/// A device that enabled nothing is told everything.
fn bare(number: usize, setup: Setup) -> Result<Seen> {
    let nothing = Setup {
        only: Some(&[]),
        ..setup
    };
    let engine = Arc::new(Engine::open(number, nothing)?.context("it is gone")?);
    let Err(VulkanError::Missing { missing, .. }) = engine.adopt(Capabilities::all()) else {
        bail!("nothing is missing");
    };
    let names: Vec<&str> = missing.iter().map(|one| one.name.as_str()).collect();
    for name in [
        "VK_KHR_external_memory_fd",
        "VK_EXT_external_memory_dma_buf",
        "VK_EXT_image_drm_format_modifier",
        "VK_KHR_external_semaphore_fd",
        "VkPhysicalDeviceTimelineSemaphoreFeatures::timelineSemaphore",
        "VkPhysicalDeviceSamplerYcbcrConversionFeatures::samplerYcbcrConversion",
    ] {
        ensure!(names.contains(&name), "{name} is not among {names:?}");
    }
    quiet(&engine)
}

/// A device that enabled all it has, and does not share images: each thing that is missing is one that its driver has not.
fn lacking(error: &VulkanError) -> Result<Seen> {
    let VulkanError::Missing { missing, .. } = error else {
        bail!("{error}");
    };
    for one in missing {
        ensure!(one.remedy.contains("does not have it"), "{one}");
    }
    let names: Vec<&str> = missing.iter().map(|one| one.name.as_str()).collect();
    Ok(Seen::PassedBut(names.join(", ")))
}

fn on_device(world: &World, rows: &mut Rows, engine: &Arc<Engine>) {
    let gpu = match engine.adopt(Capabilities::IMAGES) {
        Ok(gpu) => gpu,
        Err(error) => {
            let row = format!("an engine on {} is adopted", engine.offered.name);
            rows.row(row, || Err(error.into()));
            return;
        }
    };
    let device = gpu.identity().driver.clone();
    let mut sources: Vec<String> = world
        .sources
        .declarations()
        .into_iter()
        .map(|source| source.id.to_string())
        .filter(|id| id == "heap:system" || id.starts_with("udmabuf"))
        .collect();
    sources.sort();
    // None: the adopted device itself.
    for id in std::iter::once(None).chain(sources.iter().map(Some)) {
        let name = id.map_or("its own memory", String::as_str);
        let memory = Memory {
            world,
            gpu: &gpu,
            id: id.map(String::as_str),
        };
        rows.row(format!("an engine on {device} draws to {name}"), || {
            memory.with(Purpose::Render, Fourcc::XRGB8888, size(), 1, |buffers| {
                Ok(scenes::draws(engine, &gpu, first(buffers)?)?)
            })
        });
        for fourcc in COPIED {
            let row = format!("an engine on {device} copies {fourcc} within {name}");
            rows.row(row, || {
                memory.with(Purpose::Copy, fourcc, size(), 2, |buffers| {
                    let second = buffers.get(1).context("no second buffer")?;
                    Ok(scenes::copies(engine, &gpu, first(buffers)?, second)?)
                })
            });
        }
        rows.row(
            format!("an engine on {device} samples NV12 in {name}"),
            || {
                let extent = Extent::new(SAMPLED.0, SAMPLED.1).map_err(anyhow::Error::from);
                memory.with(Purpose::Sample, Fourcc::NV12, extent, 1, |buffers| {
                    Ok(scenes::samples(engine, &gpu, first(buffers)?)?)
                })
            },
        );
    }
    for (gpu, _) in world
        .gpus
        .iter()
        .filter(|(one, _)| one.name() == gpu.name())
    {
        let row = format!("{device} reads and writes NV12 in two dma-bufs");
        rows.row(row, || {
            disjoint(world, gpu, |apart, _| exchange::both_ways(gpu, apart))
        });
    }
    let row = format!("an engine on {device} copies NV12 between one dma-buf and two");
    rows.row(row, || {
        disjoint(world, &gpu, |apart, together| {
            Ok(seen(scenes::copies(engine, &gpu, apart, together)?))
        })
    });
    rows.row(
        format!("an engine on {device} hears nothing of the validation layer"),
        || quiet(engine),
    );
    rows.row(
        format!("an engine on {device} hears of a planted hazard"),
        || planted(engine, &gpu),
    );
    rows.row(
        format!("an engine on {device} has its device still when Covalent is done"),
        || {
            ensure!(gpu.finish(PATIENCE)?, "something is in use still");
            drop(gpu);
            ensure!(Arc::strong_count(engine) == 1, "somebody has the engine");
            engine.is_alive()?;
            quiet(engine)
        },
    );
}

/// That the layer looks at the engine's device at all.
fn planted(engine: &Engine, gpu: &Gpu) -> Result<Seen> {
    gpu.plant_hazard()?;
    let said = engine.validation_messages.take();
    if !Engine::has_layer() {
        return quiet(engine);
    }
    ensure!(
        said.iter()
            .any(|words| words.contains("WRITE-AFTER-WRITE") || words.contains("WRITE_AFTER_WRITE")),
        "of a hazard it says {said:?}"
    );
    Ok(Seen::Passed)
}

fn quiet(engine: &Engine) -> Result<Seen> {
    if !Engine::has_layer() {
        return Ok(Seen::Skipped(
            "VK_LAYER_KHRONOS_validation is not installed (Debian's package vulkan-validationlayers)"
                .to_owned(),
        ));
    }
    let said = engine.validation_messages.take();
    ensure!(said.is_empty(), "it says: {}", said.join(" | "));
    Ok(Seen::Passed)
}

fn size() -> Result<Extent> {
    Ok(Extent::new(320, 48)?)
}

fn first(buffers: &[Buffer]) -> Result<&Buffer> {
    buffers.first().context("no buffer")
}

fn seen(ended: SceneOutcome) -> Seen {
    match ended {
        SceneOutcome::Passed(words) if words.is_empty() => Seen::Passed,
        SceneOutcome::Passed(words) => Seen::PassedBut(words),
        SceneOutcome::Unsupported(why) => Seen::Skipped(why),
    }
}

/// Where buffers come from: a source of the machine, or the adopted device.
struct Memory<'a> {
    world: &'a World,
    gpu: &'a Gpu,
    id: Option<&'a str>,
}

impl Memory<'_> {
    fn with(
        &self,
        purpose: Purpose,
        fourcc: Fourcc,
        extent: Result<Extent>,
        count: u32,
        act: impl FnOnce(&[Buffer]) -> Result<SceneOutcome>,
    ) -> Result<Seen> {
        let extent = extent?;
        let mut participants: Vec<Participant> = vec![processor(fourcc)];
        participants.push(self.gpu.participant_for(purpose, extent, Some(fourcc))?);
        if purpose == Purpose::Render {
            // The colour is read back by a copy.
            participants.push(self.gpu.participant(extent, Some(fourcc))?);
        }
        let sources: Vec<Source> = match self.id {
            None => self.gpu.source_of_size(extent)?.into_iter().collect(),
            Some(id) => {
                let mut all = self.world.sources.declarations();
                all.retain(|source| source.id.as_str() == id);
                all
            }
        };
        let plan = match self.world.plan_of(extent, count, participants, sources) {
            Planned::Plan(plan) => plan,
            Planned::Impossible(why) => return Ok(Seen::Skipped(why)),
        };
        let buffers = match self.id {
            None => self.gpu.allocate(&plan).map_err(anyhow::Error::from),
            Some(_) => self.world.sources.allocate(&plan).map_err(Into::into),
        };
        judge(&plan, buffers.and_then(|buffers| act(&buffers).map(seen)))
    }
}

/// Does something with a picture whose planes lie in a dma-buf each and with one in a single dma-buf. Both dma-bufs have
/// more bytes than a picture has, since lavapipe asks for a picture's bytes behind each plane.
fn disjoint(
    world: &World,
    gpu: &Gpu,
    act: impl FnOnce(&Buffer, &Buffer) -> Result<Seen>,
) -> Result<Seen> {
    let extent = size()?;
    let memory = |fourcc| -> Result<Buffer> {
        let mut sources = world.sources.declarations();
        sources.retain(|source| source.id.as_str() == "heap:system");
        match world.plan(vga()?, vec![processor(fourcc)], sources) {
            Planned::Plan(plan) => world.sources.allocate(&plan)?.pop().context("no buffer"),
            Planned::Impossible(why) => bail!("{why}"),
        }
    };
    let (luma, chroma, whole) = (
        memory(Fourcc::R8)?,
        memory(Fourcc::R8)?,
        memory(Fourcc::NV12)?,
    );
    let plane = |buffer: &Buffer, offset_bytes| -> Result<PlaneDescriptor> {
        let fd = buffer.dmabuf_fd(0).context("no memory")?;
        Ok(PlaneDescriptor {
            fd: fd.try_clone_to_owned()?,
            offset_bytes,
            stride_bytes: extent.width(),
        })
    };
    let described = |planes| {
        Buffer::import(Descriptor {
            extent,
            format: FormatModifier::linear(Fourcc::NV12),
            planes,
        })
    };
    let apart = described(vec![plane(&luma, 0)?, plane(&chroma, 0)?])?;
    let behind = extent
        .width()
        .checked_mul(extent.height())
        .context("too large")?;
    let together = described(vec![plane(&whole, 0)?, plane(&whole, behind.into())?])?;
    ensure!(apart.dmabuf_count() == 2 && together.dmabuf_count() == 1);
    let image = match gpu.import(&apart) {
        Err(VulkanError::Unsuitable { why, .. }) => return Ok(Seen::Skipped(why)),
        image => image?,
    };
    ensure!(image.disjoint_planes() == Some(2), "it is not disjoint");
    drop(image);
    act(&apart, &together)
}
