//! Checks that the checks detect leaked GEM handles.

use anyhow::ensure;
use covalent_tests::check_support::CardHandles;
use covalent_tests::check_support::Sources;
use drm::buffer::DrmFourcc;
use drm::control::Device as _;

use super::{CheckOutcome, CheckRunner};

/// Leaks a GEM handle on purpose on every card, and checks that [`CardHandles`] detects the leak. If it did not, the other checks
/// could not detect leaks either.
pub(crate) fn run(runner: &mut CheckRunner, sources: &Sources) {
    for card in sources.cards() {
        let name = format!(
            "handles::{}::leaked_handle_is_detected",
            card.path().display()
        );
        runner.check(&name, || {
            let before = CardHandles::of(card)?;
            let leaked = card.create_dumb_buffer((16, 16), DrmFourcc::Xrgb8888, 32)?;
            let after = CardHandles::of(card)?;
            card.destroy_dumb_buffer(leaked)?;
            ensure!(
                after.holds_more_than(&before),
                "the leak was not detected: {after:?}"
            );
            ensure!(
                CardHandles::of(card)? == before,
                "the closed handle still counts as leaked"
            );
            Ok(CheckOutcome::Passed)
        });
    }
}
