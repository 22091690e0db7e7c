//! Jobs: the participants of a recorded machine that share a buffer, selected by name as on the machine itself.

mod declared_at_size;

use std::collections::BTreeSet;

use self::declared_at_size::DeclaredAtSize;
use super::declared::merge_extra_fields;
use super::error::MachineError;
use super::interface::interface_of;
use super::partial_plane::partial_planes;
use super::plane_choice::choose_planes;
use super::resolved_request::ResolvedRequest;
use super::{Machine, ProvenanceByPath, RecordedParticipant, RecordedSource, UnverifiedValue};
use crate::trial_results::Interface;
use covalent_solver::constraint::{CopyDevice, CpuUse, FormatSet, Participant, PoolId, Role};
use covalent_solver::model::{Extent, FormatModifier, Fourcc};
use covalent_solver::solve::{Request, solve};

/// The participants that share a buffer, and the size and number of buffers.
///
/// A job names a device by its node (`/dev/video0` or `video0`), by the name of its participant (`vivid capture`), or by a prefix
/// of that name that is unique.
#[derive(Clone, Debug)]
pub struct Job {
    /// The V4L2 capture queues, of cameras and decoders.
    pub cameras: Vec<String>,
    /// The V4L2 output queues, of outputs and encoders.
    pub outputs: Vec<String>,
    /// The cards or single planes that scan out the buffer. For a card, the solver chooses the primary plane if it can scan out
    /// the buffer, or else another plane.
    pub displays: Vec<String>,
    /// The cards on which a renderer imports the buffer through GBM.
    pub gbm: Vec<String>,
    /// Whether all Vulkan devices of the machine read the buffer.
    pub vulkan: bool,
    /// The names of further participants, of any kind.
    pub others: Vec<String>,
    /// How much the CPU reads; `None` if it reads nothing.
    pub cpu: Option<CpuUse>,
    /// The only format that queues and renderers may use.
    pub format: Option<Fourcc>,
    /// The size of the buffers in pixels.
    pub size: Extent,
    /// The minimum number of buffers to allocate.
    pub count: u32,
}

impl Job {
    /// Makes a job without participants.
    #[must_use]
    pub fn new(size: Extent, count: u32) -> Self {
        Self {
            cameras: Vec::new(),
            outputs: Vec::new(),
            displays: Vec::new(),
            gbm: Vec::new(),
            vulkan: false,
            others: Vec::new(),
            cpu: None,
            format: None,
            size,
            count,
        }
    }
}

impl Machine {
    /// Makes the request to the solver that this machine itself would make for a job, with its trial results applied.
    ///
    /// The sources are those that the machine itself would use: heaps, udmabuf and dumb buffers, and the queues of the job's
    /// participants. Buffers of GBM or Vulkan are sources if a GBM or Vulkan participant is in the job.
    ///
    /// # Errors
    /// [`MachineError`] if a name matches no participant or several, if the job names no participant, or if the machine was not
    /// recorded at the job's size.
    pub fn request(&self, job: &Job) -> Result<ResolvedRequest, MachineError> {
        let declared = self.declared_at(job.size)?;
        let mut planes = Vec::new();
        for name in &job.displays {
            planes.push(declared.planes(name)?);
        }
        let displays: Vec<Vec<&Participant>> = planes
            .iter()
            .map(|planes| planes.iter().map(|plane| &plane.participant).collect())
            .collect();
        let with = |chosen: &[usize]| {
            let shown = planes
                .iter()
                .zip(chosen)
                .filter_map(|(planes, place)| planes.get(*place));
            self.request_with_planes(job, &declared, shown.copied())
        };
        // The error of a request that cannot be made does not depend on the planes, so it is ignored here and returned below.
        let chosen = choose_planes(&displays, |chosen| {
            let resolved = with(chosen).ok()?;
            Some(solve(&resolved.request))
        })?;
        let mut resolved = with(&chosen.places)?;
        if chosen.is_shared == Some(false) {
            let counts: Vec<usize> = planes.iter().map(Vec::len).collect();
            let first = job.cameras.len().saturating_add(job.outputs.len());
            resolved.planes = partial_planes(&counts, &chosen.places, first, |places| {
                Some(with(places).ok()?.request)
            });
        }
        Ok(resolved)
    }

    /// Makes the request for a job whose displays scan out the buffer with these planes.
    fn request_with_planes<'machine>(
        &self,
        job: &Job,
        declared: &DeclaredAtSize<'machine>,
        displays: impl Iterator<Item = &'machine RecordedParticipant>,
    ) -> Result<ResolvedRequest, MachineError> {
        let mut chosen: Vec<(&RecordedParticipant, Participant)> = Vec::new();
        let mut queue_sources = Vec::new();
        for (names, role) in [(&job.cameras, Role::Capture), (&job.outputs, Role::Output)] {
            for name in names {
                let queue = declared.find(name, role_label(role), |other| other.role == role)?;
                queue_sources.extend(declared.source_of_queue(&queue.participant, job.format));
                chosen.push((queue, with_only_format(queue.to_participant(), job.format)));
            }
        }
        chosen.extend(displays.map(|display| (display, display.to_participant())));
        for name in &job.gbm {
            let gbm = declared.gbm(name)?;
            chosen.push((gbm, with_formats_of(gbm.to_participant(), job.format)));
        }
        if job.vulkan {
            let before = chosen.len();
            for image in declared
                .participants()
                .filter(|other| interface_of(&other.participant) == Interface::Vulkan)
            {
                chosen.push((image, with_formats_of(image.to_participant(), job.format)));
            }
            if chosen.len() == before {
                return Err(MachineError::NotFound {
                    what: "participant",
                    name: "a Vulkan device".to_owned(),
                    known: declared.available_labels(|_| true),
                });
            }
        }
        for name in &job.others {
            let other = declared.find(name, "participant", |_| true)?;
            if matches!(other.participant.role, Role::Capture | Role::Output) {
                queue_sources.extend(declared.source_of_queue(&other.participant, job.format));
            }
            chosen.push((other, with_only_format(other.to_participant(), job.format)));
        }
        let mut sources = declared.kernel_sources();
        // A queue that the job names twice adds one source.
        for source in queue_sources {
            if sources
                .iter()
                .all(|other| other.source.id != source.source.id)
            {
                sources.push(source);
            }
        }
        let uses_driver = chosen
            .iter()
            .any(|(_, participant)| interface_of(participant) != Interface::Kernel);
        if uses_driver {
            sources.extend(declared.driver_sources());
        }
        let mut request = Request::new(job.size);
        request.count = job.count;
        let mut provenances = Vec::new();
        for (recorded, participant) in chosen {
            request.participants.push(participant);
            provenances.push(&recorded.provenance);
        }
        request.participants.extend(job.cpu.map(processor));
        if request.participants.is_empty() {
            return Err(MachineError::NoParticipants);
        }
        unique_names(&mut request.participants);
        let mut unverified = Vec::new();
        let mut add_unknown = |name: &str, provenance: &ProvenanceByPath| {
            let unknown = provenance.unknown();
            unverified.extend(unknown.map(|(path, what)| UnverifiedValue {
                owner: name.to_owned(),
                path: path.to_owned(),
                what: what.to_owned(),
            }));
        };
        for (participant, provenance) in request.participants.iter().zip(provenances) {
            add_unknown(&participant.name, provenance);
        }
        for recorded in sources {
            add_unknown(&recorded.source.name, &recorded.provenance);
            request.sources.push(recorded.to_source());
        }
        let own_memory = request.participants.iter().flat_map(Participant::choices);
        let own_memory = own_memory.flat_map(|choice| &choice.own_memory);
        let named: BTreeSet<&PoolId> = request
            .sources
            .iter()
            .flat_map(|source| &source.guarantees.pools)
            .chain(own_memory.map(|own| &own.pool))
            .collect();
        let named = self
            .pools
            .iter()
            .filter(|recorded| named.contains(&recorded.pool.id));
        for recorded in named {
            add_unknown(&recorded.pool.name, &recorded.provenance);
            request.pools.push(recorded.to_pool());
        }
        if let Some(tree) = &self.devicetree {
            tree.refine(&mut request, |participant| declared.node_of(participant));
        }
        request.copiers = declared.copiers().cloned().collect();
        merge_extra_fields(&self.extra_fields, &mut request.extra_fields);
        for declared in &declared.declared {
            merge_extra_fields(&declared.extra_fields, &mut request.extra_fields);
        }
        crate::memory_manager::apply(&mut request, &self.environment.kernel);
        let request = self.trial_results_and_quirks().apply(&request).request;
        Ok(ResolvedRequest {
            request,
            planes: Vec::new(),
            unverified,
        })
    }

    /// Returns the sizes at which the machine was recorded. The result is empty if all declarations are valid at every size.
    pub fn sizes(&self) -> impl Iterator<Item = Extent> + '_ {
        self.declared.iter().filter_map(|declared| declared.size)
    }

    /// Returns the devices that copy frames of one size, with those that are declared for every size.
    ///
    /// # Errors
    /// [`MachineError::NoSize`] if the machine was recorded at other sizes only.
    pub fn copiers_at(&self, size: Extent) -> Result<Vec<&CopyDevice>, MachineError> {
        Ok(self.declared_at(size)?.copiers().collect())
    }

    /// Returns the participants that are declared at one size, with those that are declared for every size.
    ///
    /// # Errors
    /// [`MachineError::NoSize`] if the machine was recorded at other sizes only.
    pub fn participants_at(&self, size: Extent) -> Result<Vec<&RecordedParticipant>, MachineError> {
        Ok(self.declared_at(size)?.participants().collect())
    }

    /// Returns the sources that are declared at one size, with those that are declared for every size.
    ///
    /// # Errors
    /// [`MachineError::NoSize`] if the machine was recorded at other sizes only.
    pub fn sources_at(&self, size: Extent) -> Result<Vec<&RecordedSource>, MachineError> {
        Ok(self.declared_at(size)?.sources().collect())
    }

    fn declared_at(&self, size: Extent) -> Result<DeclaredAtSize<'_>, MachineError> {
        let is_sized = self.sizes().next().is_some();
        if is_sized && self.sizes().all(|known| known != size) {
            let known: Vec<String> = self.sizes().map(|known| known.to_string()).collect();
            return Err(MachineError::NoSize {
                size,
                known: known.join(", "),
            });
        }
        let declared = self
            .declared
            .iter()
            .filter(|declared| declared.size.is_none_or(|own| own == size))
            .collect();
        Ok(DeclaredAtSize { declared })
    }
}

/// Returns the name of a participant with the path of its device node, for lists in messages.
pub(super) fn label(participant: &Participant) -> String {
    let node = &participant.device.node;
    if node.is_empty() {
        participant.name.clone()
    } else {
        format!("{} ({node})", participant.name)
    }
}

/// Makes the names of participants unique: adds the node to a repeated name, and a number if the node is the same too.
pub fn unique_names(participants: &mut [Participant]) {
    for index in 1..participants.len() {
        let (before, rest) = participants.split_at_mut(index);
        let own = &mut rest[0];
        if before.iter().any(|other| other.name.starts_with(&own.name)) {
            own.name = label(own);
        }
        let is_taken = |name: &str| before.iter().any(|other| other.name == name);
        if is_taken(&own.name) {
            let mut numbered = (2..).map(|number: u64| format!("{} #{number}", own.name));
            if let Some(name) = numbered.find(|name| !is_taken(name)) {
                own.name = name;
            }
        }
    }
}

fn role_label(role: Role) -> &'static str {
    if role == Role::Output {
        "output"
    } else {
        "camera"
    }
}

/// Returns the pairs of a list that have one format. A participant or source without a list is assumed to support the format with
/// `LINEAR`, so the result is then that pair.
fn pairs_in_format(formats: Option<&FormatSet>, wanted: Fourcc) -> FormatSet {
    match formats {
        Some(formats) => {
            let pairs = formats.iter();
            pairs.filter(|pair| pair.fourcc == wanted).collect()
        }
        None => FormatSet::from([FormatModifier::linear(wanted)]),
    }
}

/// Limits a participant to one format. Its constraints on single formats (`per_fourcc`) stay, also those of other formats.
fn with_formats_of(mut participant: Participant, format: Option<Fourcc>) -> Participant {
    if let Some(wanted) = format {
        for choice in participant.choices_mut() {
            choice.formats = Some(pairs_in_format(choice.formats.as_ref(), wanted));
        }
    }
    participant
}

/// Limits a participant to one format, and removes its constraints on other formats (`per_fourcc`).
fn with_only_format(participant: Participant, format: Option<Fourcc>) -> Participant {
    let mut participant = with_formats_of(participant, format);
    if let Some(wanted) = format {
        for choice in participant.choices_mut() {
            choice.per_fourcc.retain(|own, _| *own == wanted);
        }
    }
    participant
}

fn processor(cpu: CpuUse) -> Participant {
    let mut participant = Participant::processor(Role::CpuRead);
    participant.for_each_choice(|own| own.memory.cpu = cpu);
    participant
}
