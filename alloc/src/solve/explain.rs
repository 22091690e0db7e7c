//! Plans and splits in words that an engineer can act on.

use std::fmt::Write as _;

use super::plan::{Action, Plan, Rejection, Verdict};
use super::split::{self, Split};
use crate::constraint::SyncLanguage;
use crate::model::Modifier;

/// How many modifiers are named; of more, it is said how many there are.
const MODIFIERS_NAMED: usize = 8;

impl Plan {
    /// Says in words what is allocated where, who does what, and why it is this plan.
    pub fn explain(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, "");
        write_rejections(&mut text, &self.rejections);
        text
    }

    fn write(&self, text: &mut String, indent: &str) {
        let layout = self.layout();
        let sure = match self.verdict() {
            Verdict::Guaranteed => "guaranteed",
            Verdict::Possible => "possible, not guaranteed",
            Verdict::Impossible => "impossible",
        };
        line(
            text,
            indent,
            format_args!(
                "{} allocates {} buffers of {} in {} ({sure})",
                self.source_name(),
                self.count(),
                layout.extent(),
                layout.format()
            ),
        );
        if self.is_arranged_by_source() {
            self.write_arrangement(text, indent);
        } else {
            let several = self.layouts().nth(1).is_some();
            for layout in self.layouts() {
                if several {
                    line(
                        text,
                        indent,
                        format_args!("  for pictures of {}:", layout.extent()),
                    );
                }
                for (number, plane) in layout.planes().iter().enumerate() {
                    line(
                        text,
                        indent,
                        format_args!(
                            "  plane {number}: dma-buf {}, offset {} bytes, stride {} bytes, {} bytes",
                            plane.memory, plane.offset_bytes, plane.stride_bytes, plane.size_bytes
                        ),
                    );
                }
            }
            let sizes: Vec<_> = layout.memory_sizes().iter().map(u64::to_string).collect();
            if several || sizes.len() > 1 {
                line(
                    text,
                    indent,
                    format_args!(
                        "  each buffer has dma-bufs of {} bytes",
                        sizes.join(" and ")
                    ),
                );
            }
        }
        for step in self.steps() {
            let action = match step.action {
                Action::Exports => "allocates and exports them",
                Action::Imports => "imports them",
                Action::Maps => "maps them for the processor",
                Action::Accepts => "accepts their format",
            };
            let which = match step.alternative {
                0 => String::new(),
                number => format!(", by its alternative {number}"),
            };
            line(
                text,
                indent,
                format_args!("  {} {action}{which}", step.participant),
            );
        }
        for handover in self.handovers() {
            let how = match handover.sync {
                Some(SyncLanguage::Implicit) => "the dma-buf carries the fence",
                Some(SyncLanguage::SyncFile) => "a sync_file is handed over",
                Some(SyncLanguage::Timeline) => "a timeline point is handed over",
                None => "the processor waits, as they have no fence in common",
            };
            line(
                text,
                indent,
                format_args!("  from {} to {}: {how}", handover.from, handover.to),
            );
        }
        if self.needs_transfers {
            line(
                text,
                indent,
                format_args!(
                    "  {} works on a copy of its own: whoever else writes has its driver transfer each frame",
                    self.source_name()
                ),
            );
        }
        for reason in &self.reasons {
            line(text, indent, format_args!("  because: {reason}"));
        }
        for doubt in self.doubts() {
            line(text, indent, format_args!("  not sure: {doubt}"));
        }
    }
}

impl Plan {
    fn write_arrangement(&self, text: &mut String, indent: &str) {
        let least = self.layout().total_bytes();
        let (first, more) = (self.modifiers().first(), self.modifiers().len());
        let which = match (first, more) {
            (Some(&Modifier::INVALID), _) => "and does not tell how".to_owned(),
            (_, 0 | 1) => "by this modifier".to_owned(),
            (_, count) if count > MODIFIERS_NAMED => format!("by one of {count} modifiers"),
            (_, _) => {
                let names: Vec<String> = self
                    .modifiers()
                    .iter()
                    .map(|modifier| format!("{modifier:#}"))
                    .collect();
                format!("by one of {}", names.join(" and "))
            }
        };
        line(
            text,
            indent,
            format_args!("  it arranges the pixels itself, {which}, in {least} bytes at the least"),
        );
    }
}

impl Split {
    /// Says in words where the copy is, what it costs, which demands conflict and what would help.
    pub fn explain(&self) -> String {
        let mut text = String::new();
        line(
            &mut text,
            "",
            format_args!("no buffer serves all participants"),
        );
        if self.conflict().is_empty() {
            line(
                &mut text,
                "",
                format_args!(
                    "no source here gives such a buffer, whatever the participants demand"
                ),
            );
        } else {
            line(
                &mut text,
                "",
                format_args!("these demands cannot stand together:"),
            );
            for demand in self.conflict() {
                line(&mut text, "", format_args!("  {demand}"));
            }
        }
        if self.is_cut_short() {
            line(&mut text, "", format_args!("{}", split::cut_short()));
        }
        if self.is_capped() {
            line(&mut text, "", format_args!("{}", split::capped()));
        }
        if let Some(relaxation) = self.relaxation() {
            line(&mut text, "", format_args!("{relaxation}"));
        }
        let all = self.groups().iter().all(|group| group.plan.is_some());
        if all && self.groups().len() > 1 {
            line(
                &mut text,
                "",
                format_args!(
                    "the way round copies {} bytes a frame:",
                    self.copied_bytes_per_frame()
                ),
            );
        }
        for group in self.groups() {
            let names = group.participants.join(" and ");
            match &group.plan {
                None => line(
                    &mut text,
                    "",
                    format_args!("  for {names}: no source serves even this"),
                ),
                Some(plan) => {
                    let copied = if group.copied_bytes_per_frame > 0 {
                        format!(
                            ", into which the processor copies {} bytes a frame",
                            group.copied_bytes_per_frame
                        )
                    } else {
                        String::new()
                    };
                    line(&mut text, "", format_args!("  for {names}{copied}:"));
                    plan.write(&mut text, "    ");
                }
            }
        }
        write_rejections(&mut text, self.rejections());
        text
    }
}

fn write_rejections(text: &mut String, rejections: &[Rejection]) {
    for rejection in rejections {
        line(
            text,
            "",
            format_args!("not {}: it {}", rejection.source_name, rejection.words),
        );
    }
}

fn line(text: &mut String, indent: &str, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{indent}{words}");
}
