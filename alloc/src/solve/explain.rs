//! Plans and splits in words that an engineer can act on.

use std::fmt::Write as _;

use super::plan::{Action, Plan, Rejection, Verdict};
use super::split::Split;

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
        for step in self.steps() {
            let action = match step.action {
                Action::Exports => "allocates and exports them",
                Action::Imports => "imports them",
                Action::Maps => "maps them for the processor",
                Action::Accepts => "accepts their format",
            };
            line(
                text,
                indent,
                format_args!("  {} {action}", step.participant),
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
                    let copied = if all && group.copied_bytes_per_frame > 0 {
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
