//! Builds the request for the devices of this machine that the options name.

use anyhow::{Result, bail};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::v4l2::{Device, Direction, Error};
use covalent_alloc::backend::{self, devicetree};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{FormatSet, Participant, Role, Source};
use covalent_alloc::machine::{PartialPlane, choose_planes, partial_planes};
use covalent_alloc::model::Extent;
use covalent_alloc::solve::{Request, Solution, solve};
use covalent_alloc::text::printable_path;
use covalent_alloc::trial::Interface;

use super::{DEFAULT_SIZE, Options};
use crate::{machine, vendor_gpus};

/// Adds the participants that `--gbm` and `--vulkan` name, and returns the sources of all GBM and Vulkan drivers.
fn add_drivers(
    options: &Options,
    size: Extent,
    participants: &mut Vec<Participant>,
) -> Result<Vec<Source>> {
    let mut declared = machine::started_helper()?.declare_drivers(size);
    keep_format(options, &mut declared.participants);
    let unavailable = || {
        let words: Vec<_> = declared
            .unavailable
            .iter()
            .map(ToString::to_string)
            .collect();
        words.join("; ")
    };
    for path in &options.gbm {
        let card = Card::open(path)?;
        let found = declared.participants.iter().find(|participant| {
            Interface::of(participant) == Interface::Gbm
                && participant.device.same_device(card.identity())
        });
        let Some(found) = found else {
            bail!(
                "cannot use GBM on {}: {}",
                printable_path(path),
                unavailable()
            );
        };
        participants.push(found.clone());
    }
    if options.vulkan {
        let before = participants.len();
        let images = declared
            .participants
            .iter()
            .filter(|participant| Interface::of(participant) == Interface::Vulkan);
        participants.extend(images.cloned());
        if participants.len() == before {
            bail!("no Vulkan device can share images: {}", unavailable());
        }
    }
    Ok(declared.sources)
}

/// Restricts the participants to the format that `--format` names.
fn keep_format(options: &Options, participants: &mut [Participant]) {
    let Some(fourcc) = options.format else {
        return;
    };
    for participant in participants {
        participant.for_each_choice(|choice| {
            let formats = choice.formats.iter().flat_map(FormatSet::iter);
            choice.formats = Some(formats.filter(|format| format.fourcc == fourcc).collect());
        });
    }
}

/// Adds the participants of the GPUs that `--gpu` names, and returns the sources of these GPUs.
fn add_vendor_gpus(
    options: &Options,
    size: Extent,
    participants: &mut Vec<Participant>,
) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for name in &options.gpu {
        let mut declared = vendor_gpus::declare(name, size)?;
        keep_format(options, &mut declared.participants);
        participants.extend(declared.participants);
        sources.extend(declared.sources);
    }
    Ok(sources)
}

/// Returns the request for the devices of this machine that the options name. If these devices cannot all share one buffer, also
/// returns the planes that were not chosen but can show the frames in some format.
pub(super) fn request(options: &Options) -> Result<(Request, Vec<PartialPlane>)> {
    let size = match options.size {
        Some(size) => size,
        None => Extent::new(DEFAULT_SIZE.0, DEFAULT_SIZE.1)?,
    };
    let mut request = Request::new(size);
    request.count = options.count;
    let mut queue_sources = Vec::new();
    let cameras = options.camera.iter().map(|path| (path, Direction::Capture));
    let outputs = options.output.iter().map(|path| (path, Direction::Output));
    for (path, direction) in cameras.chain(outputs) {
        let queue = Device::open(path)?.queue(direction)?;
        let participant = queue.participant(size, options.format)?;
        match queue.source(&participant) {
            Ok(source) => queue_sources.extend(source),
            Err(Error::Busy { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        request.participants.push(participant);
    }
    let mut displays = Vec::new();
    for path in &options.display {
        let planes = machine::planes(&Card::open(path)?)?;
        let place = request.participants.len();
        request.participants.extend(planes.first().cloned());
        displays.push((place, planes));
    }
    if options.vulkan || !options.gbm.is_empty() {
        queue_sources.extend(add_drivers(options, size, &mut request.participants)?);
    }
    queue_sources.extend(add_vendor_gpus(options, size, &mut request.participants)?);
    if let Some(cpu) = options.cpu {
        let mut participant = Participant::processor(Role::CpuRead);
        participant.for_each_choice(|choice| choice.memory.cpu = cpu.to_use());
        request.participants.push(participant);
    }
    if request.participants.is_empty() {
        bail!(
            "there is no participant to plan for: give --camera, --output, --display, --gbm, --vulkan, --gpu or --cpu"
        );
    }
    request.sources = BufferCollection::new(size).sources();
    // A queue that the options name twice is added as one source.
    for source in queue_sources {
        if request.sources.iter().all(|other| other.id != source.id) {
            request.sources.push(source);
        }
    }
    let reserved = machine::reserved_memory(options.devicetree.as_deref())?;
    if let Some(reserved) = &reserved {
        devicetree::refine(reserved, &mut request.participants, &mut request.sources);
        for (_, planes) in &mut displays {
            devicetree::refine(reserved, planes, &mut request.sources);
        }
    }
    request.pools = backend::pools(&request.sources);
    if let Some(reserved) = &reserved {
        reserved.add_pools(&request.sources, &mut request.pools);
    }
    let with = |chosen: &[usize]| {
        let mut request = request.clone();
        for ((place, planes), plane) in displays.iter().zip(chosen) {
            if let Some(plane) = planes.get(*plane) {
                request.participants[*place] = plane.clone();
            }
        }
        machine::unique_names(&mut request.participants);
        request
    };
    let planes: Vec<Vec<&Participant>> = displays
        .iter()
        .map(|(_, planes)| planes.iter().collect())
        .collect();
    let chosen = choose_planes(&planes, |chosen| Some(solve(&with(chosen))))?;
    let mut others = Vec::new();
    if chosen.is_shared == Some(false) {
        let counts: Vec<usize> = planes.iter().map(Vec::len).collect();
        let first = displays.first().map_or(0, |(place, _)| *place);
        others = partial_planes(&counts, &chosen.places, first, |places| Some(with(places)));
    }
    let mut request = with(&chosen.places);
    let is_shared = chosen
        .is_shared
        .unwrap_or_else(|| matches!(solve(&request), Solution::Share(_)));
    if options.prove || !is_shared {
        request.copiers = machine::copiers(size);
    }
    Ok((request, others))
}
