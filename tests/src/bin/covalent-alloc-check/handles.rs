//! That what a process holds of a card by name is seen.

use anyhow::ensure;
use covalent_tests::check_support::CardHandles;
use covalent_tests::check_support::Sources;
use drm::buffer::DrmFourcc;
use drm::control::Device as _;

use super::{CheckOutcome, CheckRunner};

/// Every card that is watched has to see what is kept: else nothing that is found nowhere says anything.
pub(crate) fn run(runner: &mut CheckRunner, sources: &Sources) {
    for card in sources.cards() {
        let name = format!(
            "handles::{}::one_that_is_kept_is_seen",
            card.path().display()
        );
        runner.check(&name, || {
            let before = CardHandles::of(card)?;
            let kept = card.create_dumb_buffer((16, 16), DrmFourcc::Xrgb8888, 32)?;
            let with_it = CardHandles::of(card)?;
            card.destroy_dumb_buffer(kept)?;
            ensure!(with_it.holds_more_than(&before), "{with_it:?}");
            ensure!(CardHandles::of(card)? == before, "it is not seen to go");
            Ok(CheckOutcome::Passed)
        });
    }
}
