//! Vulkan on a device that an application created: an engine passes its VkDevice to covalent-alloc, records the ownership
//! transfers in its own command buffers, and enables the validation layer on its instance.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::vulkan::{Capabilities, Gpu, Purpose, VulkanError};
use covalent_alloc::buffer::{Buffer, Descriptor, PlaneDescriptor};
use covalent_alloc::constraint::{Participant, Source};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_tests::check_support::{processor, vga};

use super::engine::scenes::{self, SAMPLED, SceneOutcome};
use super::engine::{Engine, Setup};
use super::exchange;
use super::rows::{RowOutcome, Rows};
use super::test_machine::{PlanResult, TestMachine, classify};

/// The longest time for the device to complete work whose handle was dropped.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The formats that the engine copies: one plane of RGB, packed YUV 4:2:2, YUV with two planes and with three.
const COPIED: [Fourcc; 4] = [Fourcc::XRGB8888, Fourcc::YUYV, Fourcc::NV12, Fourcc::YUV420];

pub(crate) fn run(machine: &TestMachine, rows: &mut Rows) {
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
            format!("{} without extensions", engine.supported.name),
            || check_bare_device(number, setup),
        );
        match engine.check(Capabilities::IMAGES) {
            Ok(()) => on_device(machine, rows, &engine),
            Err(error) => rows.row(
                format!("{} reports what it lacks", engine.supported.name),
                || check_unsupported(&error),
            ),
        }
        number = number.saturating_add(1);
    }
}

/// Checks a device on which no extension is enabled: the error must list every extension and feature that covalent-alloc needs.
fn check_bare_device(number: usize, setup: Setup) -> Result<RowOutcome> {
    let nothing = Setup {
        device_extensions: Some(&[]),
        ..setup
    };
    let engine = Arc::new(Engine::open(number, nothing)?.context("the device disappeared")?);
    let Err(VulkanError::Missing { missing, .. }) = engine.adopt(Capabilities::all()) else {
        bail!("a device without extensions was adopted");
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
        ensure!(
            names.contains(&name),
            "the error does not list {name}, but {names:?}"
        );
    }
    expect_no_messages(&engine)
}

/// Checks the error for a device that has every extension of its driver and still cannot share images. For each missing extension
/// or feature, the error must state that the driver does not support it.
fn check_unsupported(error: &VulkanError) -> Result<RowOutcome> {
    let VulkanError::Missing { missing, .. } = error else {
        bail!("{error}");
    };
    for one in missing {
        ensure!(one.remedy.contains("does not support it"), "{one}");
    }
    let names: Vec<&str> = missing.iter().map(|one| one.name.as_str()).collect();
    Ok(RowOutcome::PassedWithNote(names.join(", ")))
}

/// Checks the device of an application that the crate adopts.
fn on_device(machine: &TestMachine, rows: &mut Rows, engine: &Arc<Engine>) {
    let gpu = match engine.adopt(Capabilities::IMAGES) {
        Ok(gpu) => gpu,
        Err(error) => {
            let row = format!("an engine on {} is adopted", engine.supported.name);
            rows.row(row, || Err(error.into()));
            return;
        }
    };
    let device = gpu.identity().driver.clone();
    let mut sources: Vec<String> = machine
        .sources
        .declarations()
        .into_iter()
        .map(|source| source.id.to_string())
        .filter(|id| id == "heap:system" || id.starts_with("udmabuf"))
        .collect();
    sources.sort();
    // `None` selects the memory of the adopted device itself.
    for id in std::iter::once(None).chain(sources.iter().map(Some)) {
        let name = id.map_or("its own memory", String::as_str);
        let memory = Memory {
            machine,
            gpu: &gpu,
            id: id.map(String::as_str),
        };
        rows.row(format!("an engine on {device} draws to {name}"), || {
            memory.with(Purpose::Render, Fourcc::XRGB8888, size(), 1, |buffers| {
                Ok(scenes::draws(engine, &gpu, first_buffer(buffers)?)?)
            })
        });
        for fourcc in COPIED {
            let row = format!("an engine on {device} copies {fourcc} within {name}");
            rows.row(row, || {
                memory.with(Purpose::Copy, fourcc, size(), 2, |buffers| {
                    let second = buffers
                        .get(1)
                        .context("the source allocated only one buffer")?;
                    Ok(scenes::copies(
                        engine,
                        &gpu,
                        first_buffer(buffers)?,
                        second,
                    )?)
                })
            });
        }
        rows.row(
            format!("an engine on {device} samples NV12 in {name}"),
            || {
                let extent = Extent::new(SAMPLED.0, SAMPLED.1).map_err(anyhow::Error::from);
                memory.with(Purpose::Sample, Fourcc::NV12, extent, 1, |buffers| {
                    Ok(scenes::samples(engine, &gpu, first_buffer(buffers)?)?)
                })
            },
        );
    }
    for (gpu, _) in machine
        .gpus
        .iter()
        .filter(|(one, _)| one.name() == gpu.name())
    {
        let row = format!("{device} reads and writes NV12 in two dma-bufs");
        rows.row(row, || {
            disjoint(machine, gpu, |apart, _| exchange::both_ways(gpu, apart))
        });
    }
    let row = format!("an engine on {device} copies NV12 between one dma-buf and two");
    rows.row(row, || {
        disjoint(machine, &gpu, |apart, together| {
            Ok(row_outcome(scenes::copies(engine, &gpu, apart, together)?))
        })
    });
    rows.row(
        format!("an engine on {device} gets no message of the validation layer"),
        || expect_no_messages(engine),
    );
    rows.row(
        format!("an engine on {device} gets a message of a deliberate write hazard"),
        || check_hazard_is_reported(engine, &gpu),
    );
    rows.row(
        format!("an engine on {device} can use its device after Covalent"),
        || {
            ensure!(
                gpu.finish(TIMEOUT)?,
                "the device has not completed all work"
            );
            drop(gpu);
            ensure!(
                Arc::strong_count(engine) == 1,
                "covalent-alloc still holds the engine"
            );
            engine.is_alive()?;
            expect_no_messages(engine)
        },
    );
}

/// Checks that the validation layer reports a hazard on the engine's device. If the layer reported no hazards, every other row
/// would pass.
fn check_hazard_is_reported(engine: &Engine, gpu: &Gpu) -> Result<RowOutcome> {
    gpu.submit_write_hazard()?;
    let messages = engine.validation_messages.take();
    if !Engine::has_layer() {
        return expect_no_messages(engine);
    }
    ensure!(
        messages
            .iter()
            .any(|message| message.contains("WRITE-AFTER-WRITE")
                || message.contains("WRITE_AFTER_WRITE")),
        "the validation layer does not report the hazard, but reports {messages:?}"
    );
    Ok(RowOutcome::Passed)
}

/// Checks that the validation layer has reported nothing since the last call.
fn expect_no_messages(engine: &Engine) -> Result<RowOutcome> {
    if !Engine::has_layer() {
        return Ok(RowOutcome::Skipped(
            "VK_LAYER_KHRONOS_validation is not installed (Debian's package vulkan-validationlayers)"
                .to_owned(),
        ));
    }
    let messages = engine.validation_messages.take();
    ensure!(
        messages.is_empty(),
        "the validation layer reports: {}",
        messages.join(" | ")
    );
    Ok(RowOutcome::Passed)
}

/// Returns the size of the pictures.
fn size() -> Result<Extent> {
    Ok(Extent::new(320, 48)?)
}

/// Returns the first of the allocated buffers.
fn first_buffer(buffers: &[Buffer]) -> Result<&Buffer> {
    buffers.first().context("the source allocated no buffer")
}

/// Converts the outcome of an engine's scene to the outcome of a row.
fn row_outcome(ended: SceneOutcome) -> RowOutcome {
    match ended {
        SceneOutcome::Passed(note) if note.is_empty() => RowOutcome::Passed,
        SceneOutcome::Passed(note) => RowOutcome::PassedWithNote(note),
        SceneOutcome::Unsupported(why) => RowOutcome::Skipped(why),
    }
}

/// The origin of a buffer: a source of the machine, or the adopted device if `id` is `None`.
struct Memory<'a> {
    machine: &'a TestMachine,
    gpu: &'a Gpu,
    id: Option<&'a str>,
}

impl Memory<'_> {
    /// Allocates buffers for the device and the CPU, and calls `act` with them.
    fn with(
        &self,
        purpose: Purpose,
        fourcc: Fourcc,
        extent: Result<Extent>,
        count: u32,
        act: impl FnOnce(&[Buffer]) -> Result<SceneOutcome>,
    ) -> Result<RowOutcome> {
        let extent = extent?;
        let mut participants: Vec<Participant> = vec![processor(fourcc)];
        participants.push(self.gpu.participant_for(purpose, extent, Some(fourcc))?);
        if purpose == Purpose::Render {
            // The scene copies the rendered image in order to read its pixels, so the copying device is a participant.
            participants.push(self.gpu.participant(extent, Some(fourcc))?);
        }
        let sources: Vec<Source> = match self.id {
            None => self.gpu.source_of_size(extent)?.into_iter().collect(),
            Some(id) => {
                let mut all = self.machine.sources.declarations();
                all.retain(|source| source.id.as_str() == id);
                all
            }
        };
        let plan = match self.machine.plan_of(extent, count, participants, sources) {
            PlanResult::Plan(plan) => plan,
            PlanResult::Impossible(why) => return Ok(RowOutcome::Skipped(why)),
        };
        let buffers = match self.id {
            None => self.gpu.allocate(&plan).map_err(anyhow::Error::from),
            Some(_) => self.machine.sources.allocate(&plan).map_err(Into::into),
        };
        classify(
            &plan,
            buffers.and_then(|buffers| act(&buffers).map(row_outcome)),
        )
    }
}

/// Calls `act` with two NV12 pictures: one has its planes in two dma-bufs, the other in a single dma-buf. Every dma-buf has more
/// bytes than the picture needs, because lavapipe requires the bytes of a whole picture for each plane.
fn disjoint(
    machine: &TestMachine,
    gpu: &Gpu,
    act: impl FnOnce(&Buffer, &Buffer) -> Result<RowOutcome>,
) -> Result<RowOutcome> {
    let extent = size()?;
    let memory = |fourcc| -> Result<Buffer> {
        let mut sources = machine.sources.declarations();
        sources.retain(|source| source.id.as_str() == "heap:system");
        match machine.plan(vga()?, vec![processor(fourcc)], sources) {
            PlanResult::Plan(plan) => machine
                .sources
                .allocate(&plan)?
                .pop()
                .context("the source allocated no buffer"),
            PlanResult::Impossible(why) => bail!("{why}"),
        }
    };
    let (luma, chroma, whole) = (
        memory(Fourcc::R8)?,
        memory(Fourcc::R8)?,
        memory(Fourcc::NV12)?,
    );
    let plane = |buffer: &Buffer, offset_bytes| -> Result<PlaneDescriptor> {
        let fd = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
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
    let chroma_offset = extent
        .width()
        .checked_mul(extent.height())
        .context("the size overflows")?;
    let together = described(vec![
        plane(&whole, 0)?,
        plane(&whole, chroma_offset.into())?,
    ])?;
    ensure!(apart.dmabuf_count() == 2 && together.dmabuf_count() == 1);
    let image = match gpu.import(&apart) {
        Err(VulkanError::Unsuitable { why, .. }) => return Ok(RowOutcome::Skipped(why)),
        image => image?,
    };
    ensure!(
        image.disjoint_planes() == Some(2),
        "the image of two dma-bufs is not disjoint"
    );
    drop(image);
    act(&apart, &together)
}
