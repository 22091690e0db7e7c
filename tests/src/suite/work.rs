//! The remaining work of a run: checks, and cases grouped by the guest that they need. Workers take their next job from this
//! list.

use super::Needs;
use super::case_queue::CaseQueue;
use super::check_queue::CheckQueue;
use super::images::ImageKind;

/// The next job of a worker.
#[derive(Debug, PartialEq)]
pub(super) enum Job {
    Check(&'static str),
    /// Boots guests that meet these needs, and runs cases in them.
    Guest(Needs),
    /// The worker waits until an image is built.
    Wait,
    /// No job is left for this worker.
    End,
}

/// The checks and cases that no worker has taken.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) checks: CheckQueue,
    pub(super) cases: CaseQueue,
    /// The number of further workers that may boot guests.
    pub(super) guests: usize,
}

impl Work {
    /// Takes the next job of a worker. `boots_guests` is whether the worker is one of those that boot guests; the function sets
    /// it. `is_made` returns whether an image is built.
    pub(super) fn next(
        &mut self,
        boots_guests: &mut bool,
        is_made: impl Fn(ImageKind) -> bool,
    ) -> Job {
        let has_root = is_made(ImageKind::PC);
        if let Some(name) = self.checks.take(has_root) {
            return Job::Check(name);
        }
        let is_left = !self.checks.is_empty() || self.cases.has_unstarted();
        if !has_root && is_left {
            return Job::Wait;
        }
        if !*boots_guests {
            // A worker that may not boot guests ends here. Checks that wait for a folder are left to the worker whose check is
            // using the folder.
            let Some(others) = self.guests.checked_sub(1) else {
                return Job::End;
            };
            self.guests = others;
            *boots_guests = true;
        }
        let can_boot = |needs: &Needs| is_made(ImageKind::of(needs));
        match self.cases.choose(can_boot) {
            Some(needs) => Job::Guest(needs),
            None if self.cases.has_unstarted() => Job::Wait,
            None => Job::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Case, Outcome, TestContext};
    use crate::vm::config::Config;

    fn passes(_: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
        Ok(Outcome::Passed)
    }

    fn work(checks: &[&'static str], configs: &[Config], guests: usize) -> Work {
        let case =
            |(index, config): (usize, &Config)| Case::new(["a", "b", "c"][index], *config, passes);
        let cases: Vec<Case> = configs.iter().enumerate().map(case).collect();
        Work {
            checks: CheckQueue::new(checks, false),
            cases: CaseQueue::new(&cases),
            guests,
        }
    }

    fn config(job: &Job) -> Option<Config> {
        match job {
            Job::Guest(needs) => Some(needs.config),
            _ => None,
        }
    }

    #[test]
    fn next_beside_a_check_that_compiles_is_a_guest() {
        let mut work = work(&["check::lints", "unit::tests"], &[Config::Bochs], 2);
        let [mut first, mut second] = [false; 2];
        let all = |_| true;
        assert_eq!(work.next(&mut first, all), Job::Check("check::lints"));
        assert_eq!(config(&work.next(&mut second, all)), Some(Config::Bochs));
        work.checks.end("check::lints");
        assert_eq!(work.next(&mut first, all), Job::Check("unit::tests"));
        assert_eq!(work.next(&mut second, all), Job::End);
        work.checks.end("unit::tests");
        assert_eq!(work.next(&mut first, all), Job::End);
    }

    #[test]
    fn next_without_an_image_waits_and_then_prefers_checks() {
        let mut work = work(&["check::tree", "check::lints"], &[Config::Board], 1);
        let mut worker = false;
        let none = |_| false;
        let pc = |kind| kind == ImageKind::PC;
        assert_eq!(work.next(&mut worker, none), Job::Check("check::tree"));
        assert_eq!(work.next(&mut worker, none), Job::Wait);
        assert_eq!(work.next(&mut worker, pc), Job::Check("check::lints"));
        // The board's image is not built yet, so the worker has to wait.
        assert_eq!(work.next(&mut worker, pc), Job::Wait);
        let guest = work.next(&mut worker, |_| true);
        assert_eq!(config(&guest), Some(Config::Board));
        assert_eq!(work.next(&mut worker, |_| true), Job::End);
    }

    #[test]
    fn next_of_more_workers_than_guests_boots_no_more_guests() {
        let mut work = work(&[], &[Config::Bochs, Config::Vkms], 1);
        let [mut first, mut second] = [false; 2];
        let all = |_| true;
        assert!(config(&work.next(&mut first, all)).is_some());
        assert_eq!(work.next(&mut second, all), Job::End);
        assert!(config(&work.next(&mut first, all)).is_some());
        assert_eq!(work.next(&mut first, all), Job::End);
    }

    #[test]
    fn next_of_checks_alone_without_an_image_ends() {
        let mut work = work(&["check::tree"], &[], 1);
        let mut worker = false;
        assert_eq!(work.next(&mut worker, |_| false), Job::Check("check::tree"));
        assert_eq!(work.next(&mut worker, |_| false), Job::End);
    }
}
