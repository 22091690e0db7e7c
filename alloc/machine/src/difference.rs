//! The comparison of two recorded machines: their declarations, and the verdicts and plans that follow from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::interface::interface_of;
use super::job::label;
use super::{Job, Machine, MachineError, RecordedParticipant, RecordedSource};
use crate::trial_results::Interface;
use covalent_solver::constraint::Role;
use covalent_solver::model::Extent;
use covalent_solver::solve::{Request, Solution, Verdict, candidates, solve};

/// The size in pixels at which two machines are compared if all their declarations are valid at every size.
const DEFAULT_SIZE: (u32, u32) = (1920, 1080);

/// The number of buffers that the compared plans allocate.
const BUFFERS: u32 = 4;

/// The maximum number of pairs of format and modifier that a change lists. Further pairs are only counted.
const PAIRS_LISTED: usize = 6;

/// A value that differs between the two machines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The path of the value in the recording, or a label such as the names of a source and a participant.
    pub what: String,
    /// The value on the first machine; `None` if the first machine does not have it.
    pub one: Option<String>,
    /// The value on the second machine; `None` if the second machine does not have it.
    pub two: Option<String>,
}

/// The differences between two machines; empty where they are the same.
///
/// The amount of free memory is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// Changes of the kernel, Mesa, memory, trial results and reserved memory.
    pub machine: Vec<Change>,
    /// Changes of the participants and their constraints.
    pub participants: Vec<Change>,
    /// Changes of the sources and their guarantees.
    pub sources: Vec<Change>,
    /// Changes of the devices that copy frames.
    pub copiers: Vec<Change>,
    /// Changes of the verdict for each pair of source and participant that both machines have.
    pub verdicts: Vec<Change>,
    /// Changes of the plans from each camera to each display.
    pub plans: Vec<Change>,
}

impl Difference {
    /// Compares two machines at each size at which they were recorded.
    #[must_use]
    pub fn between(one: &Machine, two: &Machine) -> Self {
        let mut difference = Self {
            machine: changes(&machine_values(one), &machine_values(two)),
            ..Self::default()
        };
        for size in sizes(one, two) {
            difference.compare_at(size, one, two);
        }
        difference
    }

    /// Returns whether the machines are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds().iter().all(|(_, changes)| changes.is_empty())
    }

    /// Returns the differences as text, one line for each change.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = String::new();
        for (title, changes) in self.kinds() {
            if changes.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{title}:");
            for change in changes {
                let _ = match (&change.one, &change.two) {
                    (Some(one), Some(two)) => {
                        writeln!(text, "  {}: {one} -> {two}", change.what)
                    }
                    (Some(one), None) => writeln!(text, "  - {}: {one}", change.what),
                    (None, Some(two)) => writeln!(text, "  + {}: {two}", change.what),
                    (None, None) => writeln!(text, "  {}", change.what),
                };
            }
        }
        text
    }

    /// Returns the lists of changes with their headings.
    fn kinds(&self) -> [(&'static str, &Vec<Change>); 6] {
        [
            ("Machine", &self.machine),
            ("Participants", &self.participants),
            ("Sources", &self.sources),
            ("Copiers", &self.copiers),
            ("Verdicts", &self.verdicts),
            ("Plans", &self.plans),
        ]
    }

    fn compare_at(&mut self, size: Extent, one: &Machine, two: &Machine) {
        let at = |what: String| format!("{what} at {size}");
        // The only possible error is that the machine was not recorded at this size. The lists are then empty.
        let of = |machine: &Machine| ByName {
            participants: machine.participants_at(size).map_or_else(
                |_| BTreeMap::new(),
                |found| {
                    let named = found.into_iter();
                    named
                        .map(|recorded| (label(&recorded.participant), recorded.clone()))
                        .collect()
                },
            ),
            sources: machine.sources_at(size).map_or_else(
                |_| BTreeMap::new(),
                |found| {
                    let named = found.into_iter();
                    named
                        .map(|recorded| (recorded.source.id.to_string(), recorded.clone()))
                        .collect()
                },
            ),
        };
        let (first, second) = (of(one), of(two));
        for name in names(&first.participants, &second.participants) {
            let flat = |at: &ByName| {
                at.participants
                    .get(&name)
                    .map(|recorded| flattened(&recorded.participant))
            };
            self.participants.extend(entries(
                &at(name.clone()),
                flat(&first).as_ref(),
                flat(&second).as_ref(),
            ));
        }
        for name in names(&first.sources, &second.sources) {
            let flat = |at: &ByName| {
                at.sources
                    .get(&name)
                    .map(|recorded| flattened(&recorded.source))
            };
            self.sources.extend(entries(
                &at(name.clone()),
                flat(&first).as_ref(),
                flat(&second).as_ref(),
            ));
        }
        let (mine, theirs) = (copiers(one, size), copiers(two, size));
        for name in names(&mine, &theirs) {
            let changed = entries(&at(name.clone()), mine.get(&name), theirs.get(&name));
            self.copiers.extend(changed);
        }
        for (participant, recorded) in &first.participants {
            let Some(other) = second.participants.get(participant) else {
                continue;
            };
            for (id, source) in &first.sources {
                let Some(other_source) = second.sources.get(id) else {
                    continue;
                };
                let verdicts = (
                    verdict(recorded, source, size),
                    verdict(other, other_source, size),
                );
                if verdicts.0 != verdicts.1 {
                    self.verdicts.push(Change {
                        what: at(format!("{id} for {participant}")),
                        one: Some(verdict_label(verdicts.0).to_owned()),
                        two: Some(verdict_label(verdicts.1).to_owned()),
                    });
                }
            }
        }
        let jobs: BTreeSet<(String, String)> = [&first, &second]
            .into_iter()
            .flat_map(ByName::jobs)
            .collect();
        for (camera, display) in jobs {
            let outcome = |machine: &Machine| {
                let mut job = Job::new(size, BUFFERS);
                job.cameras.push(camera.clone());
                job.displays.push(display.clone());
                match machine.request(&job) {
                    Ok(resolved) => Some(outcome(&solve(&resolved.request))),
                    // This machine does not have the camera or the display, or was not recorded at this size.
                    Err(MachineError::NotFound { .. } | MachineError::NoSize { .. }) => None,
                    Err(error) => Some(format!("not known: {error}")),
                }
            };
            let (first, second) = (outcome(one), outcome(two));
            if first != second {
                self.plans.push(Change {
                    what: at(format!("{camera} to {display}")),
                    one: first,
                    two: second,
                });
            }
        }
    }
}

/// The participants and sources of one machine at one size, by name.
struct ByName {
    participants: BTreeMap<String, RecordedParticipant>,
    sources: BTreeMap<String, RecordedSource>,
}

impl ByName {
    /// Returns each pair of a camera's node and a display's node.
    fn jobs(&self) -> Vec<(String, String)> {
        let nodes = |filter: fn(&RecordedParticipant) -> bool| -> BTreeSet<String> {
            let matching = self
                .participants
                .values()
                .filter(|recorded| filter(recorded));
            matching
                .map(|recorded| recorded.participant.device.node.clone())
                .filter(|node| !node.is_empty())
                .collect()
        };
        let cameras = nodes(|recorded| recorded.participant.role == Role::Capture);
        let displays = nodes(|recorded| {
            recorded.participant.role == Role::Display
                && interface_of(&recorded.participant) == Interface::Kernel
        });
        cameras
            .iter()
            .flat_map(|camera| {
                displays
                    .iter()
                    .map(|display| (camera.clone(), display.clone()))
            })
            .collect()
    }
}

/// Returns the sizes of both machines, or the default size if none of them states one.
fn sizes(one: &Machine, two: &Machine) -> BTreeSet<Extent> {
    let mut sizes: BTreeSet<Extent> = one.sizes().chain(two.sizes()).collect();
    if sizes.is_empty() {
        let Ok(size) = Extent::new(DEFAULT_SIZE.0, DEFAULT_SIZE.1) else {
            unreachable!("1920x1080 is a valid size")
        };
        sizes.insert(size);
    }
    sizes
}

fn names<T>(one: &BTreeMap<String, T>, two: &BTreeMap<String, T>) -> BTreeSet<String> {
    one.keys().chain(two.keys()).cloned().collect()
}

/// Returns the values of the devices that copy frames at one size, by device and then by path.
fn copiers(machine: &Machine, size: Extent) -> BTreeMap<String, BTreeMap<String, String>> {
    let found = machine.copiers_at(size).unwrap_or_default().into_iter();
    found
        .map(|copier| {
            (
                format!("{} of {}", copier.name, copier.device),
                flattened(copier),
            )
        })
        .collect()
}

/// Returns the values of the machine that belong to no participant or source, by path.
fn machine_values(machine: &Machine) -> BTreeMap<String, String> {
    let mut found = flattened(&machine.environment);
    if let Some(tree) = &machine.devicetree {
        for region in &tree.regions {
            for (path, value) in flattened(region) {
                found.insert(format!("{}: {path}", region.path), value);
            }
        }
        for user in &tree.users {
            let regions = user.regions.join(", ");
            found.insert(format!("memory-region of {}", user.node), regions);
        }
    }
    for result in &machine.trial_results {
        found.insert(
            format!("trial result: {} {}", result.participant, result.effect),
            "known".to_owned(),
        );
    }
    found
}

/// Compares two participants or sources of the same name. If only one machine has this name, the result is a single change.
fn entries(
    name: &str,
    one: Option<&BTreeMap<String, String>>,
    two: Option<&BTreeMap<String, String>>,
) -> Vec<Change> {
    let present = || Some("present".to_owned());
    match (one, two) {
        (Some(one), Some(two)) => changes(one, two)
            .into_iter()
            .map(|change| Change {
                what: format!("{name}: {}", change.what),
                ..change
            })
            .collect(),
        (one, _) => vec![Change {
            what: name.to_owned(),
            one: one.and_then(|_| present()),
            two: two.and_then(|_| present()),
        }],
    }
}

/// Returns a change for each value that differs or exists on one side only. The keys are paths.
fn changes(one: &BTreeMap<String, String>, two: &BTreeMap<String, String>) -> Vec<Change> {
    names(one, two)
        .into_iter()
        .filter(|name| one.get(name) != two.get(name))
        .map(|name| match (one.get(&name), two.get(&name)) {
            (Some(first), Some(second)) if FORMATS.iter().any(|list| name.ends_with(list)) => {
                let (first, second) = (lines(first), lines(second));
                Change {
                    one: Some(named(first.difference(&second))),
                    two: Some(named(second.difference(&first))),
                    what: format!("{name}, only in one recording"),
                }
            }
            (first, second) => Change {
                one: first.map(|text| named(lines(text).iter())),
                two: second.map(|text| named(lines(text).iter())),
                what: name,
            },
        })
        .collect()
}

/// The names of the fields with pairs of format and modifier.
const FORMATS: [&str; 3] = ["formats", "reads", "writes"];

fn lines(text: &str) -> BTreeSet<&str> {
    text.lines().collect()
}

/// Lists pairs of format and modifier in one line. Pairs after the first [`PAIRS_LISTED`] are only counted.
fn named<'a>(pairs: impl Iterator<Item = &'a &'a str>) -> String {
    let pairs: Vec<&str> = pairs.copied().collect();
    match pairs.split_at_checked(PAIRS_LISTED) {
        _ if pairs.is_empty() => "none".to_owned(),
        Some((first, rest)) if !rest.is_empty() => {
            format!("{} and {} more", first.join(", "), rest.len())
        }
        _ => pairs.join(", "),
    }
}

/// Returns the numbers, texts and other leaves of a JSON value by their paths. A list is one leaf, with one line for each item.
fn flattened<T: Serialize>(given: &T) -> BTreeMap<String, String> {
    /// Collects the values below a JSON value as texts, by their paths.
    fn walk(value: &Value, path: &str, found: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let below = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}.{name}")
                    };
                    walk(value, &below, found);
                }
            }
            Value::Array(items) => {
                let lines: Vec<String> = items.iter().map(value_label).collect();
                found.insert(path.to_owned(), lines.join("\n"));
            }
            value => {
                found.insert(path.to_owned(), value_label(value));
            }
        }
    }
    let mut found = BTreeMap::new();
    match serde_json::to_value(given) {
        Ok(value) => walk(&value, "", &mut found),
        Err(error) => unreachable!("what was read from JSON can be written as JSON: {error}"),
    }
    // The amount of free memory changes all the time, so it is not a property of the machine.
    found.retain(|path, _| !path.ends_with("available_bytes"));
    found
}

fn value_label(value: &Value) -> String {
    match (value, value.get("fourcc"), value.get("modifier")) {
        (Value::String(text), ..) => text.clone(),
        (_, Some(Value::String(fourcc)), Some(Value::String(modifier))) => {
            format!("{fourcc} {modifier}")
        }
        _ => value.to_string(),
    }
}

/// Returns the verdict on a buffer of one source for one participant.
fn verdict(participant: &RecordedParticipant, source: &RecordedSource, size: Extent) -> Verdict {
    let mut request = Request::new(size);
    request.participants.push(participant.to_participant());
    request.sources.push(source.to_source());
    let found = candidates(&request);
    // If the solver has left out combinations of source and format, one of these may be feasible.
    let mut best = match found.left_out() {
        None => Verdict::Impossible,
        Some(_) => Verdict::Undecided,
    };
    for (_, _, verdict) in found {
        match verdict {
            Verdict::Guaranteed => return verdict,
            verdict => best = verdict,
        }
    }
    best
}

fn verdict_label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Guaranteed => "guaranteed",
        Verdict::Possible => "possible",
        Verdict::Impossible => "impossible",
        Verdict::Undecided => "undecided",
    }
}

/// Describes a solution in one line.
fn outcome(solution: &Solution) -> String {
    match solution {
        Solution::Share(plan) => format!(
            "{} in {} ({})",
            plan.source_name(),
            plan.layout().format(),
            verdict_label(plan.verdict())
        ),
        Solution::Split(split) => {
            let conflict: Vec<String> = split.conflict().iter().map(ToString::to_string).collect();
            format!("a copy, because {}", conflict.join("; and "))
        }
    }
}
