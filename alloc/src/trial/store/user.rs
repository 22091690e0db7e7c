//! Facts of the user who runs this process, where a fault of their file is told and nothing else depends on it.

use covalent_machine::trial_results::{TrialResult, TrialResults};

use super::{TrialResultError, TrialResultStore};
use crate::trial::environment;

/// Returns what is known of this machine's drivers: the facts that ship with the crate, and those learnt for this user.
///
/// What is wrong with the user's file goes to `tell`; the facts that ship serve then.
pub fn known_facts(tell: impl FnOnce(&TrialResultError)) -> TrialResults {
    match TrialResultStore::of_user() {
        Ok(store) => {
            let (book, read) = store.book();
            if let Err(error) = read {
                tell(&error);
            }
            book
        }
        Err(error) => {
            tell(&error);
            TrialResults::with_quirks(environment(), TrialResultStore::now())
        }
    }
}

/// Keeps what was learnt for this user. That it could not be kept goes to `tell`; what was found out stands.
pub fn keep_facts(learnt: &[TrialResult], tell: impl FnOnce(&TrialResultError)) {
    if learnt.is_empty() {
        return;
    }
    let kept = TrialResultStore::of_user().and_then(|store| {
        store.update(|book| learnt.iter().for_each(|fact| book.add(fact.clone())))
    });
    if let Err(error) = kept {
        tell(&error);
    }
}
