//! Explanations of plans and splits for people.

use std::fmt;

use super::Solution;
use super::bounded_text::{self, NAMES_SHOWN, joined_up_to};
use super::explanation_text::{Section, Text};
use super::plan::{Action, Handover, Plan, Rejection, Step, Verdict};
use super::split::{Group, Split};
use super::work::LeftOut;
use crate::constraint::{CopyDevice, SyncMechanism};
use crate::model::Modifier;

/// The maximum number of modifiers that an explanation names. Further modifiers are only counted.
const MODIFIERS_NAMED: usize = 8;

/// The maximum number of groups of a split whose plans are explained.
const GROUPS_SHOWN: usize = 8;

impl Solution {
    /// Explains what was found and why, in at most [`EXPLANATION_LINES`](super::EXPLANATION_LINES) lines and
    /// [`EXPLANATION_BYTES`](super::EXPLANATION_BYTES) bytes.
    ///
    /// Each list that is shortened states how many entries are left out. [`Solution::explain_all`] contains all entries.
    pub fn explain(&self) -> String {
        match self {
            Self::Share(plan) => plan.explain(),
            Self::Split(split) => split.explain(),
        }
    }

    /// Explains what was found and why, without a bound on the length. The text contains every rejected source and every
    /// participant.
    pub fn explain_all(&self) -> String {
        match self {
            Self::Share(plan) => plan.explain_all(),
            Self::Split(split) => split.explain_all(),
        }
    }
}

impl fmt::Display for Solution {
    /// Writes the result of [`Solution::explain`].
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.explain().trim_end())
    }
}

impl fmt::Display for Plan {
    /// Writes the result of [`Plan::explain`].
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.explain().trim_end())
    }
}

impl Plan {
    /// Explains which buffers are allocated from which source, what each participant does, and why this plan was chosen. The
    /// length has the same bound as that of [`Solution::explain`].
    pub fn explain(&self) -> String {
        self.text(Text::bounded()).finish()
    }

    /// Explains the plan like [`Plan::explain`], without a bound on the length.
    pub fn explain_all(&self) -> String {
        self.text(Text::whole()).finish()
    }

    fn text(&self, mut text: Text) -> Text {
        self.write(&mut text, "");
        write_left_out(&mut text, &self.left_out, "  ");
        write_rejections(&mut text, &self.rejections);
        text
    }

    fn write(&self, text: &mut Text, indent: &'static str) {
        text.add(Section::of(indent, "lines", [self.allocation_line()]));
        if self.is_laid_out_by_driver() {
            text.add(Section::of(indent, "lines", [self.driver_layout()]));
        } else {
            let lines = text.limited(self.layout_lines());
            text.add(Section::new(indent, "lines", lines, self.layout_count()));
        }
        if self.layout().is_cropped() {
            text.add(Section::of(indent, "lines", [self.picture()]));
        }
        let lines = text.limited(self.pools().iter().map(|own| format!("  takes {own}")));
        text.add(Section::new(indent, "pools", lines, self.pools().len()));
        let lines = text.limited(self.steps().iter().map(step));
        text.add(Section::new(
            indent,
            "participants",
            lines,
            self.steps().len(),
        ));
        let lines = text.limited(self.handovers().iter().map(handover));
        text.add(Section::new(
            indent,
            "hand-overs",
            lines,
            self.handovers().len(),
        ));
        let copies = self.internal_copies.iter();
        let lines = text.limited(copies.map(|copy| {
            format!(
                "  {} copies {} bytes of each frame for itself, from {} to {}, because {}",
                bounded_text::name(&copy.participant),
                copy.bytes_per_frame,
                copy.from,
                copy.to,
                copy.reason
            )
        }));
        let count = self.internal_copies.len();
        text.add(Section::new(indent, "copies", lines, count));
        if self.needs_transfers {
            let line = format!(
                "  the device of {} works on a shadow copy: after each frame that another device writes, the driver transfers it to the device",
                self.source_name()
            );
            text.add(Section::of(indent, "lines", [line]));
        }
        let reasons = self.reasons.iter().map(|why| format!("  because: {why}"));
        text.add(Section::new(
            indent,
            "reasons",
            text.limited(reasons),
            self.reasons.len(),
        ));
        let caveats = self.caveats().iter();
        let lines = text.limited(caveats.map(|caveat| format!("  uncertain: {caveat}")));
        text.add(Section::new(indent, "caveats", lines, self.caveats().len()));
    }

    fn allocation_line(&self) -> String {
        let layout = self.layout();
        let verdict = match self.verdict() {
            Verdict::Guaranteed => "guaranteed",
            Verdict::Possible => "possible, not guaranteed",
            Verdict::Impossible => "impossible",
            Verdict::Undecided => "undecided",
        };
        format!(
            "{} allocates {} buffers of {} in {} ({verdict})",
            self.source_name(),
            self.count(),
            layout.extent(),
            layout.format()
        )
    }

    fn layout_lines(&self) -> impl Iterator<Item = String> {
        let several = self.layouts().nth(1).is_some();
        let planes = self.layouts().flat_map(move |layout| {
            let extent = several.then(|| match layout.is_cropped() {
                false => format!("  for images of {}:", layout.extent()),
                true => format!(
                    "  for images of {} in {} coded pixels:",
                    layout.visible().extent(),
                    layout.extent()
                ),
            });
            let planes = layout.planes().iter().enumerate().map(|(number, plane)| {
                format!(
                    "  plane {number}: dma-buf {}, offset {} bytes, stride {} bytes, {} bytes",
                    plane.memory, plane.offset_bytes, plane.stride_bytes, plane.size_bytes
                )
            });
            extent.into_iter().chain(planes)
        });
        let sizes: Vec<_> = self
            .layout()
            .memory_sizes()
            .iter()
            .map(u64::to_string)
            .collect();
        let sizes = (several || sizes.len() > 1).then(|| {
            format!(
                "  each buffer has dma-bufs of {} bytes",
                sizes.join(" and ")
            )
        });
        planes.chain(sizes)
    }

    /// Describes the position of the picture in the coded image, and the participants that crop.
    fn picture(&self) -> String {
        let layout = self.layout();
        let crops = self.steps().iter().filter(|step| step.crops);
        let names: Vec<&str> = crops.map(|step| step.participant.as_str()).collect();
        let who = match names.len() {
            0 => String::new(),
            1 => format!(", which {} crops", names[0]),
            _ => format!(
                ", which {} crop",
                joined_up_to(names.iter().copied(), NAMES_SHOWN, " and ")
            ),
        };
        format!(
            "  the picture is {} of {} coded pixels{who}; the pixels outside of it are undefined",
            layout.visible(),
            layout.extent()
        )
    }

    fn layout_count(&self) -> usize {
        self.layout_lines().count()
    }
}

/// Describes in one line what a participant does with the buffers.
fn step(step: &Step) -> String {
    let action = match step.action {
        Action::Exports => "allocates and exports them",
        Action::Imports => "imports them",
        Action::Maps => "maps them for CPU access",
        Action::Accepts => "accepts their format",
    };
    let which = match step.alternative {
        0 => String::new(),
        number => format!(", with alternative {number} of its constraints"),
    };
    format!("  {} {action}{which}", step.participant)
}

/// Describes in one line how a reader waits for a writer.
fn handover(handover: &Handover) -> String {
    let how = match handover.sync {
        Some(SyncMechanism::Implicit) => "the fence is attached to the dma-buf (implicit sync)",
        Some(SyncMechanism::SyncFile) => "the fence is passed as a sync_file",
        Some(SyncMechanism::Timeline) => "the fence is passed as a point of a timeline syncobj",
        None => "the CPU waits, because they support no common kind of fence",
    };
    format!("  from {} to {}: {how}", handover.from, handover.to)
}

impl Plan {
    fn driver_layout(&self) -> String {
        let least = self.layout().total_bytes();
        let (first, more) = (self.modifiers().first(), self.modifiers().len());
        let which = match (first, more) {
            (Some(&Modifier::INVALID), _) => {
                "and does not report it (implicit modifier)".to_owned()
            }
            (Some(&Modifier::NONE), _) => "for this V4L2 pixel format".to_owned(),
            (_, 0 | 1) => "for this modifier".to_owned(),
            (_, count) if count > MODIFIERS_NAMED => format!("for one of {count} modifiers"),
            (_, _) => {
                let names: Vec<String> = self
                    .modifiers()
                    .iter()
                    .map(|modifier| format!("{modifier:#}"))
                    .collect();
                format!("for one of the modifiers {}", names.join(", "))
            }
        };
        if least == 0 {
            return format!("  the driver chooses the layout {which}, and its size");
        }
        format!("  the driver chooses the layout {which}; it has at least {least} bytes")
    }
}

impl Split {
    /// Explains where frames are copied, what the copies cost, which constraints conflict, and which constraints to give up. The
    /// length has the same bound as that of [`Solution::explain`].
    pub fn explain(&self) -> String {
        self.text(Text::bounded()).finish()
    }

    /// Explains the split like [`Split::explain`], without a bound on the length.
    pub fn explain_all(&self) -> String {
        self.text(Text::whole()).finish()
    }

    fn text(&self, mut text: Text) -> Text {
        let heading = if self.is_undecided() {
            "no buffer was found that all participants can share"
        } else {
            "no single buffer meets the constraints of all participants"
        };
        text.add(Section::of("", "lines", [heading.to_owned()]));
        if !self.conflict().is_empty() {
            let heading = "these constraints conflict:".to_owned();
            text.add(Section::of("", "lines", [heading]));
            let lines = text.limited(self.conflict().iter().map(|demand| format!("  {demand}")));
            text.add(Section::new(
                "",
                "constraints",
                lines,
                self.conflict().len(),
            ));
        } else if !self.is_undecided() {
            let words = "no source can allocate such a buffer, even without the constraints of the participants";
            text.add(Section::of("", "lines", [words.to_owned()]));
        }
        write_left_out(&mut text, self.left_out(), "");
        if let Some(relaxation) = self.relaxation() {
            text.add(Section::of("", "lines", [relaxation.to_owned()]));
        }
        let all = self.groups().iter().all(|group| group.plan.is_some());
        if all && self.groups().len() > 1 {
            let is_copied = |group: &Group| group.copied_bytes_per_frame > 0;
            let line = match self.copied_bytes_per_frame() {
                _ if !self.groups().iter().any(is_copied) => {
                    "the producer's frames cannot be copied:".to_owned()
                }
                bytes => format!("sharing in groups instead copies {bytes} bytes a frame:"),
            };
            text.add(Section::of("", "lines", [line]));
        }
        let shown = if text.is_whole() {
            self.groups().len()
        } else {
            GROUPS_SHOWN
        };
        for group in self.groups().iter().take(shown) {
            group.write(&mut text, self);
        }
        let more = self.groups().len().saturating_sub(shown);
        text.add(Section::new("  ", "groups", Vec::new(), more));
        write_rejections(&mut text, self.rejections());
        text
    }
}

impl Group {
    fn write(&self, text: &mut Text, split: &Split) {
        let copy_crops = split.copy_crops(self);
        let most = if text.is_whole() {
            self.participants.len()
        } else {
            NAMES_SHOWN
        };
        let names = joined_up_to(self.participants.iter().map(String::as_str), most, " and ");
        let line = match &self.plan {
            None if self.is_undecided => {
                format!("  for {names}: the search ended before a plan was found")
            }
            None => format!("  for {names}: no source can allocate a buffer for this group either"),
            Some(plan) if self.copied_bytes_per_frame > 0 => {
                let bytes = self.copied_bytes_per_frame;
                let cropped = if copy_crops {
                    format!(", only the visible {}", plan.layout().visible().extent())
                } else {
                    String::new()
                };
                let made = split.groups().first().and_then(|made| made.plan.as_ref());
                match &self.copier {
                    None => format!(
                        "  for {names}, into whose buffer the CPU copies {bytes} bytes a frame{cropped}{}:",
                        made.map_or_else(String::new, |made| format!(
                            " from {} to {}",
                            made.layout().format(),
                            plan.layout().format()
                        ))
                    ),
                    Some(copier) => format!(
                        "  for {names}, into whose buffer {} (a {}) copies {bytes} bytes a frame{cropped} from {} to {}, at a cost of {} (a copy by the CPU costs {}):",
                        bounded_text::name(&copier.name),
                        copier.kind.label(),
                        copier.from,
                        copier.to,
                        copier.cost,
                        CopyDevice::PROCESSOR_COST
                    ),
                }
            }
            Some(_) => format!("  for {names}:"),
        };
        // The lines of a group are added as one list. If that list is shortened, the first lines, which matter most, are kept.
        let mut own = if text.is_whole() {
            Text::whole()
        } else {
            Text::bounded()
        };
        own.add(Section::of("", "lines", [line]));
        if self.copied_bytes_per_frame > 0 {
            // For a group without a plan, the demands of the conflict are the reason, as far as they belong to the group's
            // participants.
            let demands = split.conflict().iter();
            let demands = demands.filter(|demand| self.participants.contains(&demand.owner));
            let lines = own.limited(demands.clone().map(|why| format!("copied because {why}")));
            own.add(Section::new("    ", "constraints", lines, demands.count()));
        }
        if let Some(plan) = &self.plan {
            plan.write(&mut own, "    ");
        }
        let count = self.rejections.len();
        let lines = self.rejections.iter();
        let lines = lines.map(|why| format!("not {}: it {}", why.source_name, why.words));
        let lines = own.limited(lines);
        own.add(Section::new("    ", "sources", lines, count));
        text.add(own.into_section());
    }
}

fn write_left_out(text: &mut Text, left_out: &[LeftOut], indent: &'static str) {
    let lines = text.limited(left_out.iter().map(LeftOut::to_string));
    text.add(Section::new(indent, "notes", lines, left_out.len()));
}

fn write_rejections(text: &mut Text, rejections: &[Rejection]) {
    let lines = rejections
        .iter()
        .map(|rejection| format!("not {}: it {}", rejection.source_name, rejection.words));
    let lines = text.limited(lines);
    text.add(Section::new("", "sources", lines, rejections.len()));
}
