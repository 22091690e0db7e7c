//! The exchange: which process exports, which ones import, and what they answered.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use covalent_alloc::model::{Fourcc, Modifier};
use covalent_alloc::trial::{VendorGpu, environment};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::Serialize;

use super::WORKER;
use super::message::{Interface, Kind, Plane, Reply, Request, Verdict, receive, send};
use super::wrong::{self, Value};

/// The formats that are exchanged.
const FORMATS: [Fourcc; 2] = [Fourcc::XRGB8888, Fourcc::NV12];

/// The time that a driver has for an answer. Drivers answer within milliseconds, or within seconds on a busy emulated machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The maximum number of notes of a GPU.
const MAX_NOTES: usize = 64;

/// How many of the attempts had the expected result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Count {
    pub(crate) done: usize,
    pub(crate) tried: usize,
}

impl Count {
    fn add(&mut self, is_done: bool) {
        self.tried = self.tried.saturating_add(1);
        self.done = self.done.saturating_add(usize::from(is_done));
    }
}

/// The results of one GPU in one format.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FormatResult {
    /// The modifiers that the driver lists.
    pub(crate) modifiers: Vec<String>,
    /// Why the driver lists none.
    pub(crate) no_list: Option<String>,
    /// Exports of an image in each modifier.
    pub(crate) exported: Count,
    /// Imports of these images into a second process with the same GPU.
    pub(crate) same_gpu: Count,
    /// Imports of these images by covalent-alloc. Without dma-bufs none are tried.
    pub(crate) covalent: Count,
    /// Images in each modifier that covalent-alloc plans and allocates with the planes of Vulkan's. Without dma-bufs none are
    /// tried, and for NV12 neither.
    pub(crate) planned: Count,
    /// Imports of images that the same driver exported for another GPU.
    pub(crate) other_gpu: Count,
    /// Imports of images that another driver exported.
    pub(crate) other_driver: Count,
}

/// The answers to layouts in which one value is wrong.
#[derive(Debug, Default, Serialize)]
pub(crate) struct WrongResult {
    /// The layouts that the driver refused.
    pub(crate) refused: Count,
    /// How often the driver accepted the layout, and needs more memory for it than the buffer has.
    pub(crate) too_small: usize,
    /// How often the driver ended its process.
    pub(crate) aborted: usize,
    /// Of the layouts that the driver did not accept, those that covalent-alloc refused.
    pub(crate) covalent: Count,
    /// Of the layouts that the driver accepted, those that covalent-alloc refused.
    pub(crate) stricter: Count,
}

/// What GBM and EGL do with images of XRGB8888 in the modifiers that the Vulkan driver lists.
#[derive(Debug, Default, Serialize)]
pub(crate) struct GbmResult {
    /// Images that GBM allocates, reads back and exports.
    pub(crate) exported: Count,
    /// Of these, the images whose planes have the same offsets and pitches as Vulkan's.
    pub(crate) same_layout: Count,
    /// Imports of these images by Vulkan in another process.
    pub(crate) into_vulkan: Count,
    /// Imports of Vulkan's images by GBM in another process.
    pub(crate) from_vulkan: Count,
    /// Imports of Vulkan's images by EGL in another process.
    pub(crate) into_egl: Count,
}

/// The results of one GPU.
#[derive(Debug, Default, Serialize)]
pub(crate) struct GpuResult {
    pub(crate) gpu: &'static str,
    pub(crate) driver: &'static str,
    /// By the name of the format.
    pub(crate) formats: BTreeMap<String, FormatResult>,
    /// By the name of the wrong value, for XRGB8888.
    pub(crate) wrong: BTreeMap<&'static str, WrongResult>,
    pub(crate) gbm: GbmResult,
    /// Refusals of right layouts, and other surprises.
    pub(crate) notes: Vec<String>,
}

impl GpuResult {
    fn note(&mut self, text: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(text);
        }
    }
}

/// The results of all GPUs.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) mesa: String,
    /// Whether the exchanged files are dma-bufs, and not the memfds that replace them without `/dev/udmabuf`.
    pub(crate) are_dmabufs: bool,
    pub(crate) gpus: Vec<GpuResult>,
}

/// An image that a driver exported.
struct Exported {
    gpu: &'static VendorGpu,
    kind: Kind,
    planes: Vec<Plane>,
    fd: OwnedFd,
}

/// Exchanges buffers between the drivers of these GPUs.
pub(crate) fn run(gpus: &[&'static VendorGpu], library: &Path) -> Result<Report> {
    let state = std::env::temp_dir().join(format!("covalent-prime-{}", std::process::id()));
    std::fs::create_dir_all(&state)
        .with_context(|| format!("cannot create {}", state.display()))?;
    let report = run_in(gpus, library, &state);
    // The folder has a few kilobytes. If it stays, no later trial is wrong, because its name has the number of this process.
    let _ = std::fs::remove_dir_all(&state);
    report
}

fn run_in(gpus: &[&'static VendorGpu], library: &Path, state: &Path) -> Result<Report> {
    let mut results = Vec::new();
    let mut images = Vec::new();
    for gpu in gpus {
        let mut process = Process::new(gpu, library, state)?;
        results.push(export(&mut process, &mut images)?);
    }
    for (index, (gpu, result)) in gpus.iter().zip(&mut results).enumerate() {
        let mut process = Process::new(gpu, library, state)?;
        import(&mut process, index, &images, result)?;
        plan(&mut process, &images, result)?;
        exchange_with_gbm(&mut process, &images, result)?;
        try_wrong_layouts(&mut process, &images, result)?;
    }
    Ok(Report {
        mesa: environment().mesa,
        are_dmabufs: !images.is_empty() && images.iter().all(|image| is_dmabuf(image.fd.as_fd())),
        gpus: results,
    })
}

fn is_dmabuf(fd: BorrowedFd<'_>) -> bool {
    covalent_alloc::buffer::identify(fd).is_ok()
}

/// Lists the modifiers of a GPU and exports an image in each.
fn export(process: &mut Process, images: &mut Vec<Exported>) -> Result<GpuResult> {
    let gpu = process.gpu;
    let mut result = GpuResult {
        gpu: gpu.name(),
        driver: gpu.driver(),
        ..GpuResult::default()
    };
    for fourcc in FORMATS {
        let mut own = FormatResult::default();
        let modifiers = match process.ask(&Request::List { fourcc: fourcc.0 }, None)? {
            Some((Reply::Listed { modifiers }, _)) => modifiers,
            Some((Reply::Failed { why }, _)) => {
                own.no_list = Some(why);
                Vec::new()
            }
            Some(_) => bail!("{} gave another reply than a list", gpu.name()),
            None => {
                own.no_list = Some("the driver aborted".to_owned());
                Vec::new()
            }
        };
        own.modifiers = modifiers.iter().map(|own| name(*own)).collect();
        for modifier in modifiers {
            let kind = Kind {
                fourcc: fourcc.0,
                modifier,
            };
            let exported = process.export(Interface::Vulkan, kind)?;
            own.exported.add(exported.is_ok());
            match exported {
                Ok((planes, fd)) => images.push(Exported {
                    gpu,
                    kind,
                    planes,
                    fd,
                }),
                Err(why) => result.note(format!("export of {}: {why}", title(kind))),
            }
        }
        result.formats.insert(fourcc.to_string(), own);
    }
    Ok(result)
}

/// Imports the images of the same GPU, of another GPU with the same driver, and of another driver. `index` is that of the GPU.
fn import(
    process: &mut Process,
    index: usize,
    images: &[Exported],
    result: &mut GpuResult,
) -> Result<()> {
    let gpu = process.gpu;
    for image in images.iter().filter(|image| image.gpu.name() == gpu.name()) {
        // Other exporters of the same format and modifier. The next GPU takes the next of them.
        let choose = |is_wanted: &dyn Fn(&VendorGpu) -> bool| {
            let others: Vec<&Exported> = images
                .iter()
                .filter(|other| other.kind == image.kind && is_wanted(other.gpu))
                .collect();
            let place = index.checked_rem(others.len());
            place.and_then(|place| others.get(place).copied())
        };
        let is_sibling =
            |other: &VendorGpu| other.driver() == gpu.driver() && other.name() != gpu.name();
        let is_stranger = |other: &VendorGpu| other.driver() != gpu.driver();
        let tried = [
            (Some(image), 0),
            (choose(&is_sibling), 1),
            (choose(&is_stranger), 2),
        ];
        for (other, column) in tried {
            let Some(other) = other else { continue };
            let verdict = process.import(other, other.kind, &other.planes, Interface::Vulkan)?;
            let covalent = if column == 0 && is_dmabuf(other.fd.as_fd()) {
                Some(process.import(other, other.kind, &other.planes, Interface::Covalent)?)
            } else {
                None
            };
            let fourcc = Fourcc(image.kind.fourcc).to_string();
            let own = result.formats.entry(fourcc).or_default();
            let count = match column {
                0 => &mut own.same_gpu,
                1 => &mut own.other_gpu,
                _ => &mut own.other_driver,
            };
            count.add(verdict == Verdict::Accepted);
            if let Some(covalent) = covalent {
                own.covalent.add(covalent == Verdict::Accepted);
                if let Some(words) = refusal(&covalent) {
                    result.note(format!(
                        "import of {} by covalent-alloc: {words}",
                        title(other.kind)
                    ));
                }
            }
            if let Some(words) = refusal(&verdict) {
                let from = other.gpu.name();
                result.note(format!(
                    "import of {} from {from}: {words}",
                    title(other.kind)
                ));
            }
        }
    }
    Ok(())
}

/// Exchanges images of the GPU between Vulkan, GBM and EGL.
fn exchange_with_gbm(
    process: &mut Process,
    images: &[Exported],
    result: &mut GpuResult,
) -> Result<()> {
    let gpu = process.gpu;
    // GBM's images are exported by another process than the one that imports them.
    let mut exporter = Process::new(gpu, process.library, process.state)?;
    let is_own = |image: &&Exported| {
        image.gpu.name() == gpu.name() && image.kind.fourcc == Fourcc::XRGB8888.0
    };
    for image in images.iter().filter(is_own) {
        let kind = image.kind;
        let verdict = process.import(image, kind, &image.planes, Interface::Gbm)?;
        result.gbm.from_vulkan.add(verdict == Verdict::Accepted);
        if let Some(words) = refusal(&verdict) {
            result.note(format!("import of {} by GBM: {words}", title(kind)));
        }
        let verdict = process.import(image, kind, &image.planes, Interface::Egl)?;
        result.gbm.into_egl.add(verdict == Verdict::Accepted);
        if let Some(words) = refusal(&verdict) {
            result.note(format!("import of {} by EGL: {words}", title(kind)));
        }
        let exported = exporter.export(Interface::Gbm, kind)?;
        result.gbm.exported.add(exported.is_ok());
        let (planes, fd) = match exported {
            Ok(exported) => exported,
            Err(why) => {
                result.note(format!("export of {} by GBM: {why}", title(kind)));
                continue;
            }
        };
        result.gbm.same_layout.add(planes == image.planes);
        if planes != image.planes {
            let (gbm, vulkan) = (&planes, &image.planes);
            result.note(format!(
                "{}: GBM's planes are {gbm:?}, and Vulkan's {vulkan:?}",
                title(kind)
            ));
        }
        let by_gbm = Exported {
            gpu,
            kind,
            planes,
            fd,
        };
        let verdict = process.import(&by_gbm, kind, &by_gbm.planes, Interface::Vulkan)?;
        result.gbm.into_vulkan.add(verdict == Verdict::Accepted);
        if let Some(words) = refusal(&verdict) {
            result.note(format!("import of GBM's {}: {words}", title(kind)));
        }
    }
    Ok(())
}

/// Plans and allocates an image by covalent-alloc in each modifier.
fn plan(process: &mut Process, images: &[Exported], result: &mut GpuResult) -> Result<()> {
    let gpu = process.gpu;
    for image in images {
        let is_rgb = image.kind.fourcc == Fourcc::XRGB8888.0;
        if image.gpu.name() != gpu.name() || !is_rgb || !is_dmabuf(image.fd.as_fd()) {
            continue;
        }
        let planned = process.export(Interface::Covalent, image.kind)?;
        let words = match planned {
            Ok((planes, _)) if planes == image.planes => None,
            Ok((planes, _)) => Some(format!(
                "{planes:?}, and Vulkan's planes: {:?}",
                image.planes
            )),
            Err(why) => Some(why),
        };
        let fourcc = Fourcc(image.kind.fourcc).to_string();
        let own = result.formats.entry(fourcc).or_default();
        own.planned.add(words.is_none());
        if let Some(words) = words {
            result.note(format!("plan of {}: {words}", title(image.kind)));
        }
    }
    Ok(())
}

/// Imports each image of the GPU with one wrong value at a time.
fn try_wrong_layouts(
    process: &mut Process,
    images: &[Exported],
    result: &mut GpuResult,
) -> Result<()> {
    let name = process.gpu.name();
    let own: Vec<&Exported> = images
        .iter()
        .filter(|image| image.gpu.name() == name && image.kind.fourcc == Fourcc::XRGB8888.0)
        .collect();
    let listed: Vec<u64> = own.iter().map(|image| image.kind.modifier).collect();
    for image in own {
        for value in Value::ALL {
            for (kind, planes) in wrong::layouts(value, image.kind, &image.planes, &listed) {
                let verdict = process.import(image, kind, &planes, Interface::Vulkan)?;
                let covalent = if is_dmabuf(image.fd.as_fd()) {
                    Some(process.import(image, kind, &planes, Interface::Covalent)?)
                } else {
                    None
                };
                let found = result.wrong.entry(value.name()).or_default();
                found.refused.add(matches!(verdict, Verdict::Refused(_)));
                found.too_small += usize::from(matches!(verdict, Verdict::TooSmall(_)));
                found.aborted += usize::from(verdict == Verdict::Aborted);
                if verdict == Verdict::Aborted {
                    let (value, kind) = (value.name(), title(kind));
                    result.note(format!("the driver aborted at a wrong {value} of {kind}"));
                }
                let found = result.wrong.entry(value.name()).or_default();
                let Some(covalent) = covalent else { continue };
                let is_refused = matches!(covalent, Verdict::Refused(_));
                if verdict == Verdict::Accepted {
                    found.stricter.add(is_refused);
                    continue;
                }
                found.covalent.add(is_refused);
                if !is_refused {
                    result.note(format!(
                        "covalent-alloc does not refuse a wrong {} of {}: {covalent:?}, and the driver: {verdict:?}",
                        value.name(),
                        title(kind)
                    ));
                }
            }
        }
    }
    Ok(())
}

fn refusal(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Accepted => None,
        Verdict::Refused(words) | Verdict::TooSmall(words) => Some(words),
        Verdict::Aborted => Some("the driver aborted"),
    }
}

fn name(modifier: u64) -> String {
    format!("{:#}", Modifier(modifier))
}

fn title(kind: Kind) -> String {
    format!("{} {}", Fourcc(kind.fourcc), name(kind.modifier))
}

/// The process of one driver. It is started again after the driver has ended it.
struct Process<'a> {
    gpu: &'static VendorGpu,
    library: &'a Path,
    state: &'a Path,
    running: Option<(Running, OwnedFd)>,
}

/// A process that is killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl<'a> Process<'a> {
    fn new(gpu: &'static VendorGpu, library: &'a Path, state: &'a Path) -> Result<Self> {
        let mut process = Self {
            gpu,
            library,
            state,
            running: None,
        };
        process.running = Some(process.start()?);
        Ok(process)
    }

    fn start(&self) -> Result<(Running, OwnedFd)> {
        let (socket, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let mut command = Command::new(std::env::current_exe()?);
        for (name, value) in self.gpu.variables()? {
            if name == "LD_PRELOAD" {
                let mut both = self.library.as_os_str().to_owned();
                both.push(":");
                both.push(value);
                command.env(name, both);
            } else {
                command.env(name, value);
            }
        }
        let child = command
            .arg(WORKER)
            .env("COVALENT_PRIME_STATE", self.state)
            .stdin(other)
            .stdout(Stdio::null())
            .stderr(stderr()?)
            .spawn()
            .context("cannot start the process of a driver")?;
        Ok((Running(child), socket))
    }

    /// Sends a request and returns the reply; `None` if the driver ended the process or did not answer in time.
    fn ask(
        &mut self,
        request: &Request,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Option<(Reply, Option<OwnedFd>)>> {
        let running = match self.running.take() {
            Some(running) => running,
            None => self.start()?,
        };
        let (_, socket) = self.running.insert(running);
        let mut reply = None;
        if send(socket, request, fd).is_ok() {
            let timeout = rustix::event::Timespec::try_from(DEADLINE)?;
            let mut watched = [PollFd::new(socket, PollFlags::IN)];
            if poll(&mut watched, Some(&timeout))? > 0 {
                reply = receive(socket)?;
            }
        }
        if reply.is_none() {
            self.running = None;
        }
        Ok(reply)
    }

    /// Exports an image. The inner error is the driver's.
    fn export(
        &mut self,
        by: Interface,
        kind: Kind,
    ) -> Result<Result<(Vec<Plane>, OwnedFd), String>> {
        let request = Request::Export { by, kind };
        Ok(match self.ask(&request, None)? {
            Some((Reply::Exported { planes }, Some(fd))) => Ok((planes, fd)),
            Some((Reply::Failed { why }, _)) => Err(why),
            Some(_) => Err("the reply has no buffer".to_owned()),
            None => Err("the driver aborted".to_owned()),
        })
    }

    /// Imports an image with this layout.
    fn import(
        &mut self,
        image: &Exported,
        kind: Kind,
        planes: &[Plane],
        by: Interface,
    ) -> Result<Verdict> {
        let planes = planes.to_vec();
        let request = Request::Import { by, kind, planes };
        match self.ask(&request, Some(image.fd.as_fd()))? {
            None => Ok(Verdict::Aborted),
            Some((Reply::Imported { verdict }, _)) => Ok(verdict),
            Some((Reply::Failed { why }, _)) => bail!("{}: {why}", self.gpu.name()),
            Some(_) => bail!("{} gave another reply than a verdict", self.gpu.name()),
        }
    }
}

/// Returns where the messages of a driver go: nowhere, or to the file in `COVALENT_PRIME_LOG`.
fn stderr() -> Result<Stdio> {
    match std::env::var_os("COVALENT_PRIME_LOG") {
        None => Ok(Stdio::null()),
        Some(path) => Ok(File::options().create(true).append(true).open(path)?.into()),
    }
}
