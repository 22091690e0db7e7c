//! Runs checks, and cases in several guests, in parallel. Enforces the time limits of cases, and reports the result of each check
//! and case.
//!
//! Each worker runs one check after another as long as a check can start (`check_queue.rs`), and then boots guests
//! (`case_queue.rs`). So while a check uses only one processor, a guest or another check uses the other processors. The images
//! are built at the same time.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::vm::build;
use crate::vm::guest::GuestError;
use crate::vm::image::Image;
use crate::vm::kernel::Kernel;
use crate::vm::platform::Platform;
use crate::vm::progress::Progress;

use super::case_queue::CaseQueue;
use super::check_queue::CheckQueue;
use super::checks;
use super::context::{GuestProcessId, TestContext};
use super::record::{Record, Verdict};
use super::skips::Skips;
use super::work::{Job, Work};
use super::{Case, Needs, Outcome};

pub use super::images::{ImageKind, Images};

/// The settings of a run of the suite.
#[derive(Debug)]
pub struct Runner<'a> {
    /// The images from which guests boot. The run builds them. The PC's image contains the root file system in which checks run.
    pub images: &'a Images,
    /// The progress of checks and images.
    pub progress: &'a Progress,
    /// The list of cases that may be skipped.
    pub skips: &'a Skips,
    /// The folder in which cases save files that a person may inspect after the run.
    pub artefacts: PathBuf,
    /// Whether `--full` was given.
    pub full: bool,
    /// The number of guests that run at the same time; see [`parallel_guests`].
    pub guests: usize,
}

/// A check or a case that has ended.
#[derive(Debug)]
pub enum Ended {
    /// A check, with its name and its records.
    Check(&'static str, Vec<Record>),
    /// A case.
    Case(Record),
}

/// The state that the workers share: the remaining work, the event that an image was built, and the compiled programs.
#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    image_made: Condvar,
    programs: Programs,
}

/// The programs that guests run, by platform. A run compiles them once, when the first case needs them.
#[derive(Debug, Default)]
struct Programs(Mutex<BTreeMap<Platform, Compiled>>);

type Compiled = Arc<OnceLock<Result<PathBuf, String>>>;

impl Programs {
    /// Returns the folder with the compiled programs. Compiles them, or waits for the worker that is compiling them.
    fn get(&self, image: &Image) -> Result<PathBuf, String> {
        let compiled = Arc::clone(lock(&self.0).entry(image.platform).or_default());
        let compile = || build::programs(image, &[]).map_err(|error| error.to_string());
        compiled.get_or_init(compile).clone()
    }
}

/// The most memory in bytes that one guest takes from the host, including QEMU itself and the helper process of Venus.
const GUEST_BYTES: u64 = 5 << 30;

/// Returns the number of workers of a run: one for each guest, or at least two if there are checks and the host has two
/// processors. More workers for checks would only wait for each other, because most checks compile in the same folder.
fn worker_count(guests: usize, processors: usize, has_checks: bool) -> usize {
    let for_checks = if has_checks { processors.min(2) } else { 1 };
    guests.max(for_checks).max(1)
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Returns the number of guests that this machine can run in parallel.
///
/// A guest has two processors and seldom uses more than one of them: it boots on one, and then waits for cameras and displays,
/// which have a fixed rate. So the number is that of the host's processors, unless there is too little memory. It is at most
/// four, because more guests would wait for the disk that they share.
#[must_use]
pub fn parallel_guests() -> usize {
    let available = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    guest_count(processors(), available_bytes(&available))
}

fn guest_count(processors: usize, available_bytes: u64) -> usize {
    let by_memory = usize::try_from(available_bytes / GUEST_BYTES).unwrap_or(usize::MAX);
    processors.min(by_memory).clamp(1, 4)
}

/// Returns the memory that the kernel reports as available, in bytes; 0 if it reports none.
fn available_bytes(meminfo: &str) -> u64 {
    let kibibytes = |line: &str| {
        let line = line.strip_prefix("MemAvailable:")?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    meminfo
        .lines()
        .find_map(kibibytes)
        .map_or(0, |kibibytes| kibibytes.saturating_mul(1024))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A lock may be poisoned, but its data is valid: the panics of cases are caught, and no other code panics while it holds one
    // of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(event: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    // The data is valid for the same reason as in `lock`.
    event.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

impl Runner<'_> {
    /// Builds the images, runs `checks` and `cases`, and calls `report` with each result as soon as the check or case has ended.
    ///
    /// # Errors
    /// The PC's image cannot be built. In this case only the checks that need no image have run.
    pub fn run(
        &self,
        checks: &[&'static str],
        cases: &[Case],
        mut report: impl FnMut(Ended),
    ) -> Result<(), String> {
        let shared = Shared {
            work: Mutex::new(Work {
                checks: CheckQueue::new(checks, !checks::toolchain().is_debian()),
                cases: CaseQueue::new(cases),
                guests: self.guests.max(1),
            }),
            image_made: Condvar::new(),
            programs: Programs::default(),
        };
        // Only the images that a case of this run needs are built. Most runs have no case that needs the board or an older
        // kernel.
        let needed: BTreeSet<_> = cases
            .iter()
            .map(|case| ImageKind::of(&case.needs))
            .collect();
        let workers = worker_count(self.guests, processors(), !checks.is_empty());
        let (sender, ended) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..workers {
                let sender = sender.clone();
                let shared = &shared;
                scope.spawn(move || self.run_worker(shared, &sender));
            }
            drop(sender);
            scope.spawn(|| {
                self.images.make(&needed, self.progress, || {
                    // A worker that has just found that the image is missing still holds the lock, so it cannot miss this event.
                    drop(lock(&shared.work));
                    shared.image_made.notify_all();
                });
            });
            for ended in ended {
                report(ended);
            }
        });
        match self.images.get(ImageKind::PC) {
            Some(Err(message)) => Err(message.to_owned()),
            _ => Ok(()),
        }
    }

    /// The loop of one worker, which does one job after another until no job is left for it.
    fn run_worker(&self, shared: &Shared, sender: &mpsc::Sender<Ended>) {
        // The receiver exists longer than every worker, so sending cannot fail.
        let report = |ended| drop(sender.send(ended));
        let is_made = |kind| self.images.get(kind).is_some();
        let mut boots_guests = false;
        let mut work = lock(&shared.work);
        loop {
            // If the PC's image could not be built, there is no root, so this worker starts no further check or case.
            if let Some(Err(_)) = self.images.get(ImageKind::PC) {
                return;
            }
            match work.next(&mut boots_guests, is_made) {
                Job::Check(name) => {
                    drop(work);
                    let image = self.images.get(ImageKind::PC).and_then(Result::ok);
                    let root = image.map(|image| &image.root);
                    let records = checks::run(name, root, self.full, self.skips, self.progress);
                    report(Ended::Check(name, records));
                    work = lock(&shared.work);
                    work.checks.end(name);
                }
                Job::Guest(needs) => {
                    drop(work);
                    self.run_guest(shared, needs, |record| report(Ended::Case(record)));
                    work = lock(&shared.work);
                }
                Job::Wait => {
                    work = wait(&shared.image_made, work);
                }
                Job::End => return,
            }
        }
    }

    /// Compiles the programs for guests with these needs, if they are not compiled yet, and runs cases in such guests.
    fn run_guest(&self, shared: &Shared, needs: Needs, report: impl Fn(Record)) {
        let next = || lock(&shared.work).cases.next(&needs);
        let image = match self.images.get(ImageKind::of(&needs)) {
            Some(Ok(image)) => Ok(image),
            Some(Err(message)) => Err(message.to_owned()),
            None => Err("the image of the guest was not built".to_owned()),
        };
        let programs = |image| {
            let share = shared.programs.get(image)?;
            Ok((image, share))
        };
        let programs = image.and_then(programs);
        // Cases of the theme `harness` start `./x`, which waits while an image is being built.
        let mut work = lock(&shared.work);
        while !self.images.is_finished() {
            work = wait(&shared.image_made, work);
        }
        drop(work);
        match programs {
            Ok((image, share)) => self.run_group(needs, image, &share, next, report),
            Err(message) => std::iter::from_fn(next).for_each(|case| {
                report(Record::new(
                    case.name,
                    &describe_guest(&needs),
                    Verdict::Failed,
                    Duration::ZERO,
                    &message,
                ));
            }),
        }
    }

    /// Runs the cases that `next` returns in one guest after another. All these guests meet `needs`.
    fn run_group(
        &self,
        needs: Needs,
        image: &Image,
        share: &Path,
        mut next: impl FnMut() -> Option<Case>,
        report: impl Fn(Record),
    ) {
        let guest_process = GuestProcessId::default();
        let mut context =
            TestContext::new(image, share, needs, self.full, Arc::clone(&guest_process));
        while let Some(case) = next() {
            context.prepare_for(&self.artefacts, case.name);
            let started = Instant::now();
            let result = run_with_limit(case.limit, &guest_process, || {
                catch_unwind(AssertUnwindSafe(|| (case.run)(&mut context)))
            });
            let (verdict, message) = match result {
                Timed::InTime(Ok(Ok(Outcome::Passed))) => (Verdict::Passed, String::new()),
                Timed::InTime(Ok(Ok(Outcome::Skip(reason)))) => self.skip(case.name, reason),
                Timed::InTime(Ok(Err(error))) => match unavailable(&error) {
                    Some(reason) => self.skip(case.name, reason),
                    None => (Verdict::Failed, format!("{error:#}")),
                },
                Timed::InTime(Err(panic)) => (
                    Verdict::Failed,
                    format!("the case panicked: {}", panic_message(&*panic)),
                ),
                Timed::TooLate => (
                    Verdict::Failed,
                    format!(
                        "the case took longer than {} s and its guest was ended",
                        case.limit.as_secs()
                    ),
                ),
            };
            if verdict == Verdict::Failed {
                // After a failure the state of the guest is not known, so the guest is not used again.
                context.discard();
            }
            report(Record {
                skipped_checks: context.skipped_checks(),
                ..Record::new(
                    case.name,
                    &describe_guest(&needs),
                    verdict,
                    started.elapsed(),
                    &message,
                )
            });
        }
        let started = Instant::now();
        if let Err(error) = context.stop() {
            let name = format!("guest::stops_{}", needs.config);
            let message = format!("{error:#}");
            report(Record::new(
                &name,
                &describe_guest(&needs),
                Verdict::Failed,
                started.elapsed(),
                &message,
            ));
        }
    }

    fn skip(&self, name: &str, reason: String) -> (Verdict, String) {
        judge_skip(self.skips, name, reason)
    }
}

/// Returns the verdict on a skipped case. A skip that is not in the committed list is a failure.
#[must_use]
pub fn judge_skip(skips: &Skips, name: &str, reason: String) -> (Verdict, String) {
    if skips.allows(name) {
        (Verdict::Skipped, reason)
    } else {
        let message = format!("skipped because {reason}; but tests/skips.toml does not list it");
        (Verdict::Failed, message)
    }
}

fn describe_guest(needs: &Needs) -> String {
    let counted = if needs.counted { ", counted" } else { "" };
    let peers = if needs.peers { ", with peers" } else { "" };
    let kernel = match needs.kernel {
        Kernel::Backports => String::new(),
        older => format!(", Linux {older}"),
    };
    format!(
        "{}, {}, {}{counted}{peers}{kernel}",
        needs.config, needs.memory, needs.size
    )
}

fn unavailable(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref::<GuestError>() {
        Some(GuestError::Unavailable { reason, .. }) => Some(reason.clone()),
        _ => None,
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

enum Timed<T> {
    InTime(T),
    TooLate,
}

/// Runs `work`. When `limit` has passed, kills the guest's process, so that everything that waits for the guest fails at once.
fn run_with_limit<T>(
    limit: Duration,
    guest_process: &GuestProcessId,
    work: impl FnOnce() -> T,
) -> Timed<T> {
    let (done, wait) = mpsc::channel::<()>();
    let guest_process = Arc::clone(guest_process);
    let late = Arc::new(Mutex::new(false));
    let flag = Arc::clone(&late);
    let watcher = thread::spawn(move || {
        if wait.recv_timeout(limit) != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        // The kill is repeated, because the case may boot another guest.
        while wait.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let running = guest_process
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(pid) = running.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    });
    let result = work();
    drop(done);
    // If the watcher thread panicked, it has not set the flag, so its result does not matter.
    let _ = watcher.join();
    if *late.lock().unwrap_or_else(PoisonError::into_inner) {
        Timed::TooLate
    } else {
        Timed::InTime(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_with_limit_of_slow_work_is_too_late() {
        let guest_process = GuestProcessId::default();
        let slow = run_with_limit(Duration::from_millis(20), &guest_process, || {
            thread::sleep(Duration::from_millis(60));
        });
        assert!(matches!(slow, Timed::TooLate));
        assert!(matches!(
            run_with_limit(Duration::from_secs(9), &guest_process, || 3),
            Timed::InTime(3)
        ));
    }

    #[test]
    fn guest_count_is_bounded_by_processors_and_memory() {
        let mib = 1 << 20;
        assert_eq!(guest_count(2, 16_000 * mib), 2);
        assert_eq!(guest_count(1, 16_000 * mib), 1);
        assert_eq!(guest_count(2, 7_900 * mib), 1);
        assert_eq!(guest_count(64, u64::MAX), 4);
        // If the available memory is not known, one guest runs.
        assert_eq!(guest_count(8, available_bytes("")), 1);
        let meminfo = "MemTotal:  24 kB\nMemAvailable:   20971520 kB\n";
        assert_eq!(available_bytes(meminfo), 20 << 30);
    }

    #[test]
    fn worker_count_of_a_run_with_checks_is_two_at_least() {
        assert_eq!(worker_count(2, 2, true), 2);
        assert_eq!(worker_count(1, 2, true), 2);
        assert_eq!(worker_count(1, 1, true), 1);
        assert_eq!(worker_count(4, 64, true), 4);
        assert_eq!(worker_count(1, 64, false), 1);
    }

    #[test]
    fn judge_skip_unlisted_is_a_failure() {
        let skips = Skips::committed().unwrap();
        let (verdict, message) = judge_skip(&skips, "no::such_case", "of rain".to_owned());
        assert_eq!(verdict, Verdict::Failed);
        assert!(message.contains("of rain"));
        assert_eq!(
            judge_skip(&skips, "check::spelling", String::new()).0,
            Verdict::Skipped
        );
    }
}
