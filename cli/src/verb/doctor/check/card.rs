//! Checks features of the cards: import of other devices' buffers, timeline syncobjs, rendering.

use super::super::finding::{Finding, Severity};
use super::super::snapshot::{CardInfo, Snapshot};

/// The QEMU options for a virtio-gpu that imports buffers of other devices. Its blob resources need guest memory that the host
/// can share.
const QEMU_BLOB_OPTIONS: &str = "-object memory-backend-memfd,id=mem,size=2G,share=on -machine memory-backend=mem -device virtio-gpu-pci,blob=on";

/// Returns the findings about all cards.
pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    snapshot
        .cards
        .iter()
        .flat_map(|card| [import(card), timelines(card), rendering(snapshot, card)])
        .flatten()
        .collect()
}

/// Returns a finding if a card cannot import buffers of other devices.
fn import(card: &CardInfo) -> Option<Finding> {
    if card.imports_foreign {
        return None;
    }
    let finding = Finding::new(
        "card-import",
        Severity::Limits,
        format!("{} ({}): {}", card.node, card.driver, card.import),
        "The card can display only buffers that it allocates. If the other devices cannot import these, each frame has to be copied.",
    );
    // With these options a virtio-gpu with 3D would lose rendering, so they are proposed only if the missing RESOURCE_BLOB is the
    // cause.
    if card.driver == "virtio_gpu" && card.import.contains("no RESOURCE_BLOB") {
        return Some(finding.with_command(QEMU_BLOB_OPTIONS).with_note(
            "These are options of QEMU on the host, which needs /dev/udmabuf there. `size` is the memory of the machine.",
        ));
    }
    Some(finding)
}

/// Returns a finding if a card with a display does not support timeline syncobjs.
fn timelines(card: &CardInfo) -> Option<Finding> {
    (card.drives_display && !card.has_timelines).then(|| {
        Finding::new(
            "card-timelines",
            Severity::Notes,
            format!("{} ({}) has no timeline syncobjs", card.node, card.driver),
            "Buffers are synchronised with implicit fences, at no cost; the compositor does not offer linux-drm-syncobj to clients.",
        )
    })
}

/// Returns a finding if a card has a display and no card can render.
fn rendering(snapshot: &Snapshot, card: &CardInfo) -> Option<Finding> {
    // If any card can render, the compositor can use it, so no finding is needed.
    if !card.drives_display || snapshot.cards.iter().any(|card| card.has_render_node) {
        return None;
    }
    Some(Finding::new(
        "card-rendering",
        Severity::Notes,
        format!(
            "{} ({}) has no render node, and no other card has one",
            card.node, card.driver
        ),
        "Windows are composed on the CPU. A fullscreen window on a KMS plane needs no composition.",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::desktop;
    use super::*;

    #[test]
    fn machine_without_problems_has_no_finding() {
        assert_eq!(check(&desktop()), []);
    }

    #[test]
    fn virtio_gpu_without_blob_is_remedied_by_qemu_options() {
        let mut snapshot = desktop();
        let card = &mut snapshot.cards[0];
        card.driver = "virtio_gpu".to_owned();
        card.imports_foreign = false;
        card.import =
            "it takes only buffers that it allocated itself: this virtio-gpu has no RESOURCE_BLOB"
                .to_owned();
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(
            (finding.id.as_str(), finding.severity),
            ("card-import", Severity::Limits)
        );
        assert!(finding.remedy.unwrap().line.contains("blob=on"));
        // No remedy is known for other cards.
        snapshot.cards[0].driver = "other".to_owned();
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(finding.remedy, None);
    }

    #[test]
    fn card_without_timelines_and_rendering_gives_notes() {
        let mut snapshot = desktop();
        snapshot.cards[0].has_timelines = false;
        snapshot.cards[0].has_render_node = false;
        let ids: Vec<String> = check(&snapshot).into_iter().map(|one| one.id).collect();
        assert_eq!(ids, ["card-timelines", "card-rendering"]);
    }
}
