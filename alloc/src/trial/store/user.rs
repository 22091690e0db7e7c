//! Loads and stores the user's trial results. An error of the file is reported to a callback, and the caller can go on without
//! the file.

use covalent_machine::trial_results::{TrialResult, TrialResults};

use super::{TrialResultError, TrialResultStore};
use crate::trial::environment;

/// Returns the trial results for this machine: those that ship with the crate, and those that were learnt for this user.
///
/// An error of the user's file is passed to `report`, and only the results that ship are returned.
pub fn load_trial_results(report: impl FnOnce(&TrialResultError)) -> TrialResults {
    match TrialResultStore::for_user() {
        Ok(store) => {
            let (results, read) = store.load();
            if let Err(error) = read {
                report(&error);
            }
            results
        }
        Err(error) => {
            report(&error);
            TrialResults::with_quirks(environment(), TrialResultStore::now())
        }
    }
}

/// Writes trial results to the user's file. An error is passed to `report` and not returned, because the results are valid also
/// if they are not stored.
pub fn keep_trial_results(learnt: &[TrialResult], report: impl FnOnce(&TrialResultError)) {
    if learnt.is_empty() {
        return;
    }
    let kept = TrialResultStore::for_user().and_then(|store| {
        store.update(|results| learnt.iter().for_each(|one| results.add(one.clone())))
    });
    if let Err(error) = kept {
        report(&error);
    }
}
