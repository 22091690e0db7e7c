//! What the cards cannot: import foreign memory, timelines, rendering.

use super::super::finding::{Finding, Severity};
use super::super::snapshot::{Card, Snapshot};

/// QEMU's options for a virtio-gpu that imports. Blobs need guest memory that the host can share.
const BLOB: &str = "-object memory-backend-memfd,id=mem,size=2G,share=on -machine memory-backend=mem -device virtio-gpu-pci,blob=on";

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    snapshot
        .cards
        .iter()
        .flat_map(|card| [import(card), timelines(card), rendering(snapshot, card)])
        .flatten()
        .collect()
}

fn import(card: &Card) -> Option<Finding> {
    if card.imports_foreign {
        return None;
    }
    let finding = Finding::new(
        "card-import",
        Severity::Limits,
        format!("{} ({}): {}", card.node, card.driver, card.import),
        "What this card shows has to be allocated by it, which is planned so where the others take that. Where they do not, a frame is copied.",
    );
    // One that renders would lose that.
    if card.driver == "virtio_gpu" && card.import.contains("no RESOURCE_BLOB") {
        return Some(finding.helped_by(BLOB).noting(
            "This is for QEMU, on the host, which needs /dev/udmabuf there; `size` is the machine's memory.",
        ));
    }
    Some(finding)
}

fn timelines(card: &Card) -> Option<Finding> {
    (card.shows && !card.has_timelines).then(|| {
        Finding::new(
            "card-timelines",
            Severity::Notes,
            format!("{} ({}) has no timelines", card.node, card.driver),
            "Buffers are handed over by the fences that they carry, which costs nothing; clients are offered no linux-drm-syncobj.",
        )
    })
}

fn rendering(snapshot: &Snapshot, card: &Card) -> Option<Finding> {
    // One renderer is enough.
    if !card.shows || snapshot.cards.iter().any(|card| card.has_render_node) {
        return None;
    }
    Some(Finding::new(
        "card-rendering",
        Severity::Notes,
        format!(
            "{} ({}) does not render, and no other card does",
            card.node, card.driver
        ),
        "Windows are composed by the processor; what is shown fullscreen is not touched by anybody.",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::desktop;
    use super::*;

    #[test]
    fn machine_in_order_has_no_finding() {
        assert_eq!(check(&desktop()), []);
    }

    #[test]
    fn virtio_without_blob_is_told_with_qemus_options() {
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
        // Of another card nothing is known that helps.
        snapshot.cards[0].driver = "other".to_owned();
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(finding.remedy, None);
    }

    #[test]
    fn card_without_timelines_and_rendering_is_noted() {
        let mut snapshot = desktop();
        snapshot.cards[0].has_timelines = false;
        snapshot.cards[0].has_render_node = false;
        let ids: Vec<String> = check(&snapshot).into_iter().map(|one| one.id).collect();
        assert_eq!(ids, ["card-timelines", "card-rendering"]);
    }
}
