//! Who of a recorded machine is to share pictures: chosen by name, as they are chosen on the machine itself.

use super::declared::take_over;
use super::error::MachineError;
use super::interface::{interface_of, is_primary};
use super::resolved_request::ResolvedRequest;
use super::{
    Declared, Machine, ProvenanceByPath, RecordedParticipant, RecordedSource, UnverifiedValue,
};
use crate::facts::Interface;
use covalent_solver::constraint::{CpuUse, FormatSet, Participant, Role, Source, SourceKind};
use covalent_solver::model::{Extent, FormatModifier, Fourcc};
use covalent_solver::solve::Request;

/// Who shares which pictures.
///
/// Devices are named by node (`/dev/video0`), by the name that the machine gave a participant (`vivid capture`), or by the
/// beginning of that where only one begins so.
#[derive(Clone, Debug)]
pub struct Job {
    /// Queues that write: cameras and decoders.
    pub cameras: Vec<String>,
    /// Queues that read: outputs and encoders.
    pub outputs: Vec<String>,
    /// Cards whose primary plane shows the pictures, or single planes by their names.
    pub displays: Vec<String>,
    /// Cards through whose GBM a renderer imports.
    pub gbm: Vec<String>,
    /// Every Vulkan device reads.
    pub vulkan: bool,
    /// Anybody else.
    pub others: Vec<String>,
    /// How much the processor reads.
    pub cpu: Option<CpuUse>,
    /// The only format that queues and renderers are asked for.
    pub format: Option<Fourcc>,
    /// The pictures' size.
    pub size: Extent,
    /// The least number of buffers.
    pub count: u32,
}

impl Job {
    /// Nobody yet, for pictures of this size.
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

/// Everybody of a machine for one size.
struct Everybody<'machine> {
    declared: Vec<&'machine Declared>,
}

impl Machine {
    /// Puts together the request that this machine would make of the solver for a job, its facts included.
    ///
    /// The sources are those that the machine itself would ask: heaps, udmabuf and the cards' buffers, the chosen queues' own,
    /// and GBM's and Vulkan's where one of theirs takes part.
    ///
    /// # Errors
    /// [`MachineError`], where somebody is not there or may be several, where nobody was named, and for a size at which the
    /// machine was not recorded.
    pub fn request(&self, job: &Job) -> Result<ResolvedRequest, MachineError> {
        let everybody = self.everybody(job.size)?;
        let mut chosen: Vec<(&RecordedParticipant, Participant)> = Vec::new();
        let mut queue_sources = Vec::new();
        for (names, role) in [(&job.cameras, Role::Capture), (&job.outputs, Role::Output)] {
            for name in names {
                let queue = everybody.one(name, role_word(role), |other| other.role == role)?;
                queue_sources.extend(everybody.source_of_queue(&queue.participant, job.format));
                chosen.push((queue, in_format_alone(queue.to_participant(), job.format)));
            }
        }
        for name in &job.displays {
            let display = everybody.display(name)?;
            chosen.push((display, display.to_participant()));
        }
        for name in &job.gbm {
            let gbm = everybody.gbm(name)?;
            chosen.push((gbm, with_formats_of(gbm.to_participant(), job.format)));
        }
        if job.vulkan {
            let before = chosen.len();
            for image in everybody
                .participants()
                .filter(|other| interface_of(&other.participant) == Interface::Vulkan)
            {
                chosen.push((image, with_formats_of(image.to_participant(), job.format)));
            }
            if chosen.len() == before {
                return Err(MachineError::Nobody {
                    what: "participant",
                    name: "a Vulkan device".to_owned(),
                    known: everybody.known(|_| true),
                });
            }
        }
        for name in &job.others {
            let other = everybody.one(name, "participant", |_| true)?;
            if matches!(other.participant.role, Role::Capture | Role::Output) {
                queue_sources.extend(everybody.source_of_queue(&other.participant, job.format));
            }
            chosen.push((other, in_format_alone(other.to_participant(), job.format)));
        }
        let mut sources = everybody.kernel_sources();
        // A queue that is named twice gives one memory.
        for source in queue_sources {
            if sources
                .iter()
                .all(|other| other.source.id != source.source.id)
            {
                sources.push(source);
            }
        }
        let drivers = chosen
            .iter()
            .any(|(_, participant)| interface_of(participant) != Interface::Kernel);
        if drivers {
            sources.extend(everybody.driver_sources());
        }
        let mut request = Request::new(job.size);
        request.count = job.count;
        let mut grounds = Vec::new();
        for (recorded, participant) in chosen {
            request.participants.push(participant);
            grounds.push(&recorded.grounds);
        }
        request.participants.extend(job.cpu.map(processor));
        if request.participants.is_empty() {
            return Err(MachineError::NobodyNamed);
        }
        unique_names(&mut request.participants);
        let mut unknown = Vec::new();
        let mut note = |name: &str, grounds: &ProvenanceByPath| {
            let words = grounds.unknown();
            unknown.extend(words.map(|(place, what)| UnverifiedValue {
                who: name.to_owned(),
                place: place.to_owned(),
                what: what.to_owned(),
            }));
        };
        for (participant, grounds) in request.participants.iter().zip(grounds) {
            note(&participant.name, grounds);
        }
        for recorded in sources {
            note(&recorded.source.name, &recorded.grounds);
            request.sources.push(recorded.to_source());
        }
        if let Some(tree) = &self.devicetree {
            tree.refine(&mut request, |participant| everybody.node_of(participant));
        }
        take_over(&self.extra_fields, &mut request.extra_fields);
        for declared in &everybody.declared {
            take_over(&declared.extra_fields, &mut request.extra_fields);
        }
        let request = self.fact_book().inform(&request).request;
        Ok(ResolvedRequest { request, unknown })
    }

    /// Lists the sizes at which the machine was recorded; none for a machine of which everything holds at every size.
    pub fn sizes(&self) -> impl Iterator<Item = Extent> + '_ {
        self.declared.iter().filter_map(|declared| declared.size)
    }

    /// Lists everybody at one size, those too who are the same at every size.
    ///
    /// # Errors
    /// [`MachineError::NoSize`].
    pub fn participants_at(&self, size: Extent) -> Result<Vec<&RecordedParticipant>, MachineError> {
        Ok(self.everybody(size)?.participants().collect())
    }

    /// Lists every source at one size, those too that are the same at every size.
    ///
    /// # Errors
    /// [`MachineError::NoSize`].
    pub fn sources_at(&self, size: Extent) -> Result<Vec<&RecordedSource>, MachineError> {
        Ok(self.everybody(size)?.sources().collect())
    }

    fn everybody(&self, size: Extent) -> Result<Everybody<'_>, MachineError> {
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
        Ok(Everybody { declared })
    }
}

impl<'machine> Everybody<'machine> {
    fn participants(&self) -> impl Iterator<Item = &'machine RecordedParticipant> {
        self.declared
            .iter()
            .flat_map(|declared| &declared.participants)
    }

    fn sources(&self) -> impl Iterator<Item = &'machine RecordedSource> {
        self.declared.iter().flat_map(|declared| &declared.sources)
    }

    /// The node of a participant's device in the devicetree.
    fn node_of(&self, participant: &Participant) -> Option<String> {
        let of_device = |recorded: &&RecordedParticipant| {
            recorded.participant.device == participant.device && recorded.tree_node.is_some()
        };
        self.participants()
            .find(of_device)
            .and_then(|recorded| recorded.tree_node.clone())
    }

    /// Finds the one that is meant by a name among those that `fits` picks.
    fn one(
        &self,
        name: &str,
        what: &'static str,
        fits: impl Fn(&Participant) -> bool,
    ) -> Result<&'machine RecordedParticipant, MachineError> {
        let all: Vec<_> = self
            .participants()
            .filter(|recorded| fits(&recorded.participant))
            .collect();
        for is_meant in [is_exactly, begins_like] {
            let found: Vec<_> = all
                .iter()
                .filter(|recorded| is_meant(&recorded.participant, name))
                .collect();
            match found.as_slice() {
                [] => {}
                [one] => return Ok(**one),
                several => {
                    let found: Vec<String> = several
                        .iter()
                        .map(|recorded| called(&recorded.participant))
                        .collect();
                    return Err(MachineError::Several {
                        what,
                        name: name.to_owned(),
                        found: found.join(", "),
                    });
                }
            }
        }
        Err(MachineError::Nobody {
            what,
            name: name.to_owned(),
            known: self.known(fits),
        })
    }

    /// Finds a display as it is found on the machine: the first primary plane of a card, what it imports where it has none.
    /// A single plane goes by its own name.
    fn display(&self, name: &str) -> Result<&'machine RecordedParticipant, MachineError> {
        let is_display = |other: &Participant| other.role == Role::Display;
        let of_card =
            |other: &Participant| other.device.node == name || other.device.driver == name;
        let primary = self.participants().find(|recorded| {
            let other = &recorded.participant;
            is_display(other) && of_card(other) && is_primary(other)
        });
        if let Some(primary) = primary {
            return Ok(primary);
        }
        let importer = self.participants().find(|recorded| {
            let other = &recorded.participant;
            of_card(other) && other.role == Role::Import && interface_of(other) == Interface::Kernel
        });
        match importer {
            Some(importer) => Ok(importer),
            None => self.one(name, "display", is_display),
        }
    }

    /// Finds a card's GBM, by the card's node too: where there is a render node, GBM is on that.
    fn gbm(&self, name: &str) -> Result<&'machine RecordedParticipant, MachineError> {
        let is_gbm = |other: &Participant| interface_of(other) == Interface::Gbm;
        let card = self
            .participants()
            .map(|recorded| &recorded.participant.device)
            .find(|device| device.node == name);
        let of_card = card.and_then(|card| {
            self.participants().find(|recorded| {
                let other = &recorded.participant;
                is_gbm(other) && other.device.same_device(card)
            })
        });
        match of_card {
            Some(found) => Ok(found),
            None => self.one(name, "GBM device", is_gbm),
        }
    }

    /// Lists who there is, and what could not be asked.
    fn known(&self, fits: impl Fn(&Participant) -> bool) -> String {
        let known: Vec<String> = self
            .participants()
            .map(|recorded| &recorded.participant)
            .filter(|participant| fits(participant))
            .map(called)
            .collect();
        let missing = self.declared.iter().flat_map(|declared| &declared.missing);
        let missing: String = missing
            .map(|missing| format!("; {} could not be asked: {}", missing.name, missing.why))
            .collect();
        if known.is_empty() {
            format!("none{missing}")
        } else {
            format!("{}{missing}", known.join(", "))
        }
    }

    /// The memory of a queue's own, in the format that is asked of it.
    fn source_of_queue(
        &self,
        queue: &Participant,
        format: Option<Fourcc>,
    ) -> Option<RecordedSource> {
        let direction = if queue.role == Role::Output {
            ":output"
        } else {
            ":capture"
        };
        let mut found = self
            .sources()
            .find(|recorded| {
                let source = &recorded.source;
                is_of_queue(source)
                    && source.device.as_ref() == Some(&queue.device)
                    && source.id.as_str().ends_with(direction)
            })?
            .clone();
        if let Some(wanted) = format {
            let constraints = &mut found.source.constraints;
            constraints.formats = Some(only(constraints.formats.as_ref(), wanted));
            constraints.per_fourcc.retain(|own, _| *own == wanted);
        }
        Some(found)
    }

    fn kernel_sources(&self) -> Vec<RecordedSource> {
        self.sources()
            .filter(|recorded| !is_of_queue(&recorded.source) && !is_of_driver(&recorded.source))
            .cloned()
            .collect()
    }

    fn driver_sources(&self) -> Vec<RecordedSource> {
        self.sources()
            .filter(|recorded| is_of_driver(&recorded.source))
            .cloned()
            .collect()
    }
}

/// What a participant is called in lists.
pub(super) fn called(participant: &Participant) -> String {
    let node = &participant.device.node;
    if node.is_empty() {
        participant.name.clone()
    } else {
        format!("{} ({node})", participant.name)
    }
}

/// Tells participants that would be called the same apart, by their nodes, and by numbers where these are the same too.
pub fn unique_names(participants: &mut [Participant]) {
    for place in 1..participants.len() {
        let (before, rest) = participants.split_at_mut(place);
        let own = &mut rest[0];
        if before.iter().any(|other| other.name.starts_with(&own.name)) {
            own.name = called(own);
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

fn is_exactly(participant: &Participant, name: &str) -> bool {
    participant.name == name || participant.device.node == name || called(participant) == name
}

fn begins_like(participant: &Participant, name: &str) -> bool {
    !name.is_empty() && (participant.name.starts_with(name) || participant.device.location == name)
}

fn is_of_queue(source: &Source) -> bool {
    SourceKind::of(&source.id) == SourceKind::Queue
}

fn is_of_driver(source: &Source) -> bool {
    SourceKind::of(&source.id).is_of_driver()
}

fn role_word(role: Role) -> &'static str {
    if role == Role::Output {
        "output"
    } else {
        "camera"
    }
}

/// What is taken or given of one format. Who lists nothing takes any and gives rows: of both, rows are what is sure.
fn only(formats: Option<&FormatSet>, wanted: Fourcc) -> FormatSet {
    match formats {
        Some(formats) => {
            let pairs = formats.iter();
            pairs.filter(|pair| pair.fourcc == wanted).collect()
        }
        None => FormatSet::from([FormatModifier::linear(wanted)]),
    }
}

/// A renderer keeps what it says of other formats.
fn with_formats_of(mut participant: Participant, format: Option<Fourcc>) -> Participant {
    if let Some(wanted) = format {
        for choice in participant.choices_mut() {
            choice.formats = Some(only(choice.formats.as_ref(), wanted));
        }
    }
    participant
}

/// A queue that is asked for one format says nothing of others.
fn in_format_alone(participant: Participant, format: Option<Fourcc>) -> Participant {
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
