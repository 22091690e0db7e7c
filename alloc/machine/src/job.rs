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
/// A device is named by its node (`/dev/video0` or `video0`), by the name of its participant (`vivid capture`), or by a prefix of that name
/// that is unique.
#[derive(Clone, Debug)]
pub struct Job {
    /// V4L2 capture queues: cameras and decoders.
    pub cameras: Vec<String>,
    /// V4L2 output queues: outputs and encoders.
    pub outputs: Vec<String>,
    /// Cards of which any plane scans out the buffer, the primary plane if it can, or single planes by their names.
    pub displays: Vec<String>,
    /// Cards on which a renderer imports the buffer through GBM.
    pub gbm: Vec<String>,
    /// Whether every Vulkan device reads the buffer.
    pub vulkan: bool,
    /// Any other participants.
    pub others: Vec<String>,
    /// How much the CPU reads.
    pub cpu: Option<CpuUse>,
    /// The only format that queues and renderers may use.
    pub format: Option<Fourcc>,
    /// The size of the buffers in pixels.
    pub size: Extent,
    /// The least number of buffers.
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
    /// The sources are those that the machine itself would use: heaps, udmabuf and dumb buffers, the queues of the job's
    /// participants, and GBM's and Vulkan's buffers where one of their participants is in the job.
    ///
    /// # Errors
    /// [`MachineError`] where a name matches no participant or several, where the job names none, and for a size at which the
    /// machine was not recorded.
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
        // An error is the same for every plane, and is returned below.
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

    /// Makes the request for a job in which these planes scan out the buffer.
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
                    known: declared.known(|_| true),
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
        // A queue that is named twice is one source.
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

    /// Returns the sizes at which the machine was recorded. A machine whose declarations are valid at every size has none.
    pub fn sizes(&self) -> impl Iterator<Item = Extent> + '_ {
        self.declared.iter().filter_map(|declared| declared.size)
    }

    /// Returns the devices that copy at one size, with those that are declared for every size.
    ///
    /// # Errors
    /// [`MachineError::NoSize`] where the machine was recorded at other sizes only.
    pub fn copiers_at(&self, size: Extent) -> Result<Vec<&CopyDevice>, MachineError> {
        Ok(self.declared_at(size)?.copiers().collect())
    }

    /// Returns the participants at one size, with those that are declared for every size.
    ///
    /// # Errors
    /// [`MachineError::NoSize`] where the machine was recorded at other sizes only.
    pub fn participants_at(&self, size: Extent) -> Result<Vec<&RecordedParticipant>, MachineError> {
        Ok(self.declared_at(size)?.participants().collect())
    }

    /// Returns the sources at one size, with those that are declared for every size.
    ///
    /// # Errors
    /// [`MachineError::NoSize`] where the machine was recorded at other sizes only.
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

/// Returns the name of a participant with its node, for lists.
pub(super) fn label(participant: &Participant) -> String {
    let node = &participant.device.node;
    if node.is_empty() {
        participant.name.clone()
    } else {
        format!("{} ({node})", participant.name)
    }
}

/// Makes the names of participants unique: adds the node to a repeated name, and a number where the node is the same too.
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

/// Returns the pairs of one format. A participant or source without a list supports the format at least with `LINEAR`.
fn only(formats: Option<&FormatSet>, wanted: Fourcc) -> FormatSet {
    match formats {
        Some(formats) => {
            let pairs = formats.iter();
            pairs.filter(|pair| pair.fourcc == wanted).collect()
        }
        None => FormatSet::from([FormatModifier::linear(wanted)]),
    }
}

/// Limits a participant to one format. Its `per_fourcc` constraints stay.
fn with_formats_of(mut participant: Participant, format: Option<Fourcc>) -> Participant {
    if let Some(wanted) = format {
        for choice in participant.choices_mut() {
            choice.formats = Some(only(choice.formats.as_ref(), wanted));
        }
    }
    participant
}

/// Limits a participant to one format, and removes its `per_fourcc` constraints of other formats.
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
