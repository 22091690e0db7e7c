//! What differs between two recorded machines, and what that changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::interface::interface_of;
use super::job::called;
use super::{Job, Machine, MachineError, RecordedParticipant, RecordedSource};
use crate::facts::Interface;
use covalent_solver::constraint::Role;
use covalent_solver::model::Extent;
use covalent_solver::solve::{Request, Solution, Verdict, candidates, solve};

/// What is asked of two machines that say the same at every size.
const USUAL: (u32, u32) = (1920, 1080);

/// How many buffers a plan that is compared has.
const BUFFERS: u32 = 4;

/// Pairs of format and modifier are named up to this many; of more, it is said how many there are.
const NAMED: usize = 6;

/// Something that is not the same on both machines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// What it is about.
    pub what: String,
    /// How it is on the first; none where it is not there.
    pub one: Option<String>,
    /// How it is on the second; none where it is not there.
    pub two: Option<String>,
}

/// Everything that differs between two machines; empty where they are the same.
///
/// What is free at the moment of recording is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Kernel, Mesa, memory, facts, reserved memory.
    pub machine: Vec<Change>,
    /// Who takes buffers, and what each asks for.
    pub participants: Vec<Change>,
    /// Who gives them, and what each promises.
    pub sources: Vec<Change>,
    /// Whether a source's buffers serve a participant, where both machines have both.
    pub verdicts: Vec<Change>,
    /// Where the buffers of the usual jobs come from: each camera to each display.
    pub plans: Vec<Change>,
}

impl Difference {
    /// Compares two machines.
    #[must_use]
    pub fn between(one: &Machine, two: &Machine) -> Self {
        let mut difference = Self {
            machine: changes(&about(one), &about(two)),
            ..Self::default()
        };
        for size in sizes(one, two) {
            difference.compare_at(size, one, two);
        }
        difference
    }

    /// Returns whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds().iter().all(|(_, changes)| changes.is_empty())
    }

    /// Says it in words, a line for each change.
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

    fn kinds(&self) -> [(&'static str, &Vec<Change>); 5] {
        [
            ("Machine", &self.machine),
            ("Participants", &self.participants),
            ("Sources", &self.sources),
            ("Verdicts", &self.verdicts),
            ("Plans", &self.plans),
        ]
    }

    fn compare_at(&mut self, size: Extent, one: &Machine, two: &Machine) {
        let at = |what: String| format!("{what} at {size}");
        // A machine that was not recorded at this size has nobody there, which is the one error.
        let of = |machine: &Machine| At {
            participants: machine.participants_at(size).map_or_else(
                |_| BTreeMap::new(),
                |found| {
                    let named = found.into_iter();
                    named
                        .map(|recorded| (called(&recorded.participant), recorded.clone()))
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
            let flat = |at: &At| {
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
            let flat = |at: &At| {
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
                        one: Some(verdict_word(verdicts.0).to_owned()),
                        two: Some(verdict_word(verdicts.1).to_owned()),
                    });
                }
            }
        }
        let jobs: BTreeSet<(String, String)> =
            [&first, &second].into_iter().flat_map(At::jobs).collect();
        for (camera, display) in jobs {
            let outcome = |machine: &Machine| {
                let mut job = Job::new(size, BUFFERS);
                job.cameras.push(camera.clone());
                job.displays.push(display.clone());
                match machine.request(&job) {
                    Ok(asked) => Some(outcome(&solve(&asked.request))),
                    // One of them is not on this machine, or nothing is known of it at this size.
                    Err(MachineError::Nobody { .. } | MachineError::NoSize { .. }) => None,
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

/// Everybody of one machine at one size, by name.
struct At {
    participants: BTreeMap<String, RecordedParticipant>,
    sources: BTreeMap<String, RecordedSource>,
}

impl At {
    /// Each camera to each display, by their nodes.
    fn jobs(&self) -> Vec<(String, String)> {
        let nodes = |fits: fn(&RecordedParticipant) -> bool| -> BTreeSet<String> {
            let fitting = self.participants.values().filter(|recorded| fits(recorded));
            fitting
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

fn sizes(one: &Machine, two: &Machine) -> BTreeSet<Extent> {
    let mut sizes: BTreeSet<Extent> = one.sizes().chain(two.sizes()).collect();
    if sizes.is_empty() {
        let Ok(usual) = Extent::new(USUAL.0, USUAL.1) else {
            unreachable!("these are sides of a picture")
        };
        sizes.insert(usual);
    }
    sizes
}

fn names<T>(one: &BTreeMap<String, T>, two: &BTreeMap<String, T>) -> BTreeSet<String> {
    one.keys().chain(two.keys()).cloned().collect()
}

/// The values of the machine itself, by place.
fn about(machine: &Machine) -> BTreeMap<String, String> {
    let mut found = flattened(&machine.environment);
    if let Some(tree) = &machine.devicetree {
        for region in &tree.regions {
            for (place, value) in flattened(region) {
                found.insert(format!("{}: {place}", region.path), value);
            }
        }
        for user in &tree.users {
            let regions = user.regions.join(", ");
            found.insert(format!("memory-region of {}", user.node), regions);
        }
    }
    for fact in &machine.facts {
        found.insert(
            format!("fact: {} {}", fact.participant, fact.effect),
            "known".to_owned(),
        );
    }
    found
}

/// Compares two of the same name; where only one is there, that is all that is told.
fn entries(
    name: &str,
    one: Option<&BTreeMap<String, String>>,
    two: Option<&BTreeMap<String, String>>,
) -> Vec<Change> {
    let there = || Some("there".to_owned());
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
            one: one.and_then(|_| there()),
            two: two.and_then(|_| there()),
        }],
    }
}

fn changes(one: &BTreeMap<String, String>, two: &BTreeMap<String, String>) -> Vec<Change> {
    names(one, two)
        .into_iter()
        .filter(|name| one.get(name) != two.get(name))
        .map(|name| match (one.get(&name), two.get(&name)) {
            (Some(first), Some(second)) if name.ends_with(FORMATS) => {
                let (first, second) = (lines(first), lines(second));
                Change {
                    one: Some(named(first.difference(&second))),
                    two: Some(named(second.difference(&first))),
                    what: format!("{name}, those of one alone"),
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

/// The field that holds pairs of format and modifier.
const FORMATS: &str = "formats";

fn lines(text: &str) -> BTreeSet<&str> {
    text.lines().collect()
}

fn named<'a>(pairs: impl Iterator<Item = &'a &'a str>) -> String {
    let pairs: Vec<&str> = pairs.copied().collect();
    match pairs.split_at_checked(NAMED) {
        _ if pairs.is_empty() => "none".to_owned(),
        Some((first, rest)) if !rest.is_empty() => {
            format!("{} and {} more", first.join(", "), rest.len())
        }
        _ => pairs.join(", "),
    }
}

/// Every value within, by its place; pairs of format and modifier are one value, a line each.
fn flattened<T: Serialize>(given: &T) -> BTreeMap<String, String> {
    fn walk(value: &Value, place: &str, found: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let below = if place.is_empty() {
                        name.clone()
                    } else {
                        format!("{place}.{name}")
                    };
                    walk(value, &below, found);
                }
            }
            Value::Array(items) => {
                let words: Vec<String> = items.iter().map(words).collect();
                found.insert(place.to_owned(), words.join("\n"));
            }
            value => {
                found.insert(place.to_owned(), words(value));
            }
        }
    }
    let mut found = BTreeMap::new();
    match serde_json::to_value(given) {
        Ok(value) => walk(&value, "", &mut found),
        Err(error) => unreachable!("what was read from JSON can be written as JSON: {error}"),
    }
    // What is free at a moment is no property of the machine.
    found.retain(|place, _| !place.ends_with("available_bytes"));
    found
}

fn words(value: &Value) -> String {
    match (value, value.get("fourcc"), value.get("modifier")) {
        (Value::String(text), ..) => text.clone(),
        (_, Some(Value::String(fourcc)), Some(Value::String(modifier))) => {
            format!("{fourcc} {modifier}")
        }
        _ => value.to_string(),
    }
}

fn verdict(participant: &RecordedParticipant, source: &RecordedSource, size: Extent) -> Verdict {
    let mut request = Request::new(size);
    request.participants.push(participant.to_participant());
    request.sources.push(source.to_source());
    let found = candidates(&request);
    // Where not everything was tried, what was not found may be there.
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

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Guaranteed => "guaranteed",
        Verdict::Possible => "possible",
        Verdict::Impossible => "impossible",
        Verdict::Undecided => "undecided",
    }
}

fn outcome(solution: &Solution) -> String {
    match solution {
        Solution::Share(plan) => format!(
            "{} in {} ({})",
            plan.source_name(),
            plan.layout().format(),
            verdict_word(plan.verdict())
        ),
        Solution::Split(split) => {
            let conflict: Vec<String> = split.conflict().iter().map(ToString::to_string).collect();
            format!("a copy, because {}", conflict.join("; and "))
        }
    }
}
