//! Runs cases: groups them by the guest they need, watches their time, and says how each ended.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::vm::build;
use crate::vm::guest::GuestError;
use crate::vm::image::Image;
use crate::vm::platform::Platform;

use super::bench::{Bench, Holder};
use super::record::{Record, Verdict};
use super::skips::Skips;
use super::{Case, Needs, Outcome};

/// What to run, and what to tell.
#[derive(Debug)]
pub struct Runner<'a> {
    /// The image that guests are booted from.
    pub image: &'a Image,
    /// The board's, where a case needs it.
    pub board: Option<&'a Image>,
    /// What may be skipped.
    pub skips: &'a Skips,
    /// Where cases keep what a person should see.
    pub artefacts: PathBuf,
    /// Whether `--full` was asked for.
    pub full: bool,
}

impl Runner<'_> {
    /// Runs `cases` and tells each one's end as it comes.
    pub fn run(&self, cases: &[Case], mut tell: impl FnMut(Record)) {
        let mut groups: BTreeMap<Needs, Vec<Case>> = BTreeMap::new();
        for case in cases {
            groups.entry(case.needs).or_default().push(*case);
        }
        for (needs, mut cases) in groups {
            cases.sort_by_key(|case| case.name);
            let image = match (needs.config.platform(), self.board) {
                (Platform::Board, Some(board)) => board,
                _ => self.image,
            };
            match build::programs(image, needs.features) {
                Ok(share) => self.group(needs, image, &share, &cases, &mut tell),
                Err(error) => {
                    for case in cases {
                        let words = error.to_string();
                        let guest = guest(&needs);
                        tell(Record::new(
                            case.name,
                            &guest,
                            Verdict::Failed,
                            Duration::ZERO,
                            &words,
                        ));
                    }
                }
            }
        }
    }

    fn group(
        &self,
        needs: Needs,
        image: &Image,
        share: &Path,
        cases: &[Case],
        tell: &mut impl FnMut(Record),
    ) {
        let holder = Holder::default();
        let mut bench = Bench::new(image, share, needs, self.full, Arc::clone(&holder));
        for case in cases {
            bench.begin(&self.artefacts, case.name);
            let started = Instant::now();
            let result = watched(case.limit, &holder, || {
                catch_unwind(AssertUnwindSafe(|| (case.run)(&mut bench)))
            });
            let (verdict, words) = match result {
                Watched::InTime(Ok(Ok(Outcome::Passed))) => (Verdict::Passed, String::new()),
                Watched::InTime(Ok(Ok(Outcome::Skip(reason)))) => self.skip(case.name, reason),
                Watched::InTime(Ok(Err(error))) => match unavailable(&error) {
                    Some(reason) => self.skip(case.name, reason),
                    None => (Verdict::Failed, format!("{error:#}")),
                },
                Watched::InTime(Err(panic)) => (
                    Verdict::Failed,
                    format!("it panicked: {}", panicked(&*panic)),
                ),
                Watched::TooLate => (
                    Verdict::Failed,
                    format!(
                        "it took longer than {} s and its guest was ended",
                        case.limit.as_secs()
                    ),
                ),
            };
            if verdict == Verdict::Failed {
                // What such a case leaves behind is not known.
                bench.discard();
            }
            tell(Record::new(
                case.name,
                &guest(&needs),
                verdict,
                started.elapsed(),
                &words,
            ));
        }
        let started = Instant::now();
        if let Err(error) = bench.stop() {
            let name = format!("guest::stops_{}", needs.config);
            let words = format!("{error:#}");
            tell(Record::new(
                &name,
                &guest(&needs),
                Verdict::Failed,
                started.elapsed(),
                &words,
            ));
        }
    }

    fn skip(&self, name: &str, reason: String) -> (Verdict, String) {
        judge_skip(self.skips, name, reason)
    }
}

/// How a skip counts: one that is not on the committed list is a failure.
#[must_use]
pub fn judge_skip(skips: &Skips, name: &str, reason: String) -> (Verdict, String) {
    if skips.allows(name) {
        (Verdict::Skipped, reason)
    } else {
        let words = format!("skipped because {reason}; but tests/skips.toml does not list it");
        (Verdict::Failed, words)
    }
}

fn guest(needs: &Needs) -> String {
    let counted = if needs.counted { ", counted" } else { "" };
    format!(
        "{}, {}, {}{counted}",
        needs.config, needs.memory, needs.size
    )
}

fn unavailable(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref::<GuestError>() {
        Some(GuestError::Unavailable { reason, .. }) => Some(reason.clone()),
        _ => None,
    }
}

fn panicked(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words")
}

enum Watched<T> {
    InTime(T),
    TooLate,
}

/// Runs `work`; after `limit` its guest is ended, on which everything that waits for the guest fails at once.
fn watched<T>(limit: Duration, holder: &Holder, work: impl FnOnce() -> T) -> Watched<T> {
    let (done, wait) = mpsc::channel::<()>();
    let holder = Arc::clone(holder);
    let late = Arc::new(Mutex::new(false));
    let told = Arc::clone(&late);
    let watcher = thread::spawn(move || {
        if wait.recv_timeout(limit) != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
        *told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        // Again and again: a case may be about to boot another.
        while wait.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let held = holder.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(pid) = held.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    });
    let result = work();
    drop(done);
    // A watcher that died has watched nothing, and says nothing either.
    let _ = watcher.join();
    if *late.lock().unwrap_or_else(PoisonError::into_inner) {
        Watched::TooLate
    } else {
        Watched::InTime(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watched_work_beyond_its_limit_is_too_late() {
        let holder = Holder::default();
        let slow = watched(Duration::from_millis(20), &holder, || {
            thread::sleep(Duration::from_millis(60));
        });
        assert!(matches!(slow, Watched::TooLate));
        assert!(matches!(
            watched(Duration::from_secs(9), &holder, || 3),
            Watched::InTime(3)
        ));
    }

    #[test]
    fn judge_skip_unlisted_is_a_failure() {
        let skips = Skips::committed().unwrap();
        let (verdict, words) = judge_skip(&skips, "no::such_case", "of rain".to_owned());
        assert_eq!(verdict, Verdict::Failed);
        assert!(words.contains("of rain"));
        assert_eq!(
            judge_skip(&skips, "check::spelling", String::new()).0,
            Verdict::Skipped
        );
    }
}
