//! Runs the tools of a check, and measures their processor time.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::suite::Outcome;
use crate::vm::build::{self, checkout};
use crate::vm::namespace::{namespace, spawn_bound_to_process};
use crate::vm::progress::Step;
use crate::vm::root::Root;
use crate::vm::toolchain::Toolchain;

/// The time limit of one tool. The first compilation of everything and all unit tests take eight minutes on two cores, and twice
/// as long while a guest runs.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// The maximum number of bytes of a tool's output that the message of a failure contains.
const TAIL_BYTES: usize = 8000;

/// The interval at which a tool's state is read.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The output of a tool, and whether it succeeded.
pub(super) struct ToolOutput {
    pub(super) success: bool,
    pub(super) text: String,
}

impl ToolOutput {
    pub(super) fn judge(self) -> Result<Outcome, String> {
        if self.success {
            Ok(Outcome::Passed)
        } else {
            Err(tail(&self.text).to_owned())
        }
    }
}

/// The environment in which a check runs cargo.
pub(super) enum CargoEnvironment<'a> {
    /// Cargo runs in the image's root file system, which has the libraries of every backend; `None` if the root file system is
    /// not built.
    Root(Option<&'a Root>),
    /// Cargo runs on the host, which has the same toolchain as the root file system.
    Host(&'a Toolchain),
}

/// Runs the tools of one check.
pub(super) struct Tools<'a> {
    environment: CargoEnvironment<'a>,
    pub(super) step: Step,
    processor_time: Cell<Duration>,
}

impl<'a> Tools<'a> {
    pub(super) fn new(environment: CargoEnvironment<'a>, step: Step) -> Self {
        Self {
            environment,
            step,
            processor_time: Cell::default(),
        }
    }

    /// Returns the processor time of all tools that have ended, including the processes that they started.
    pub(super) fn processor_time(&self) -> Duration {
        self.processor_time.get()
    }

    /// Runs cargo in the check's environment. The outcome depends on cargo's exit status.
    pub(super) fn cargo(
        &self,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Outcome, String> {
        self.cargo_output(args, variables)?.judge()
    }

    /// Runs cargo in the check's environment, and returns its output.
    pub(super) fn cargo_output(
        &self,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<ToolOutput, String> {
        let root = match &self.environment {
            CargoEnvironment::Root(root) => {
                root.ok_or("this check runs in the image's root, which is not built")?
            }
            CargoEnvironment::Host(toolchain) => {
                let mut command = toolchain
                    .host_cargo()
                    .ok_or("the host has no toolchain of its own")?;
                command
                    .args(args)
                    .current_dir(checkout())
                    .env("CARGO_TARGET_DIR", self.target_folder());
                for (name, value) in variables {
                    command.env(name, value);
                }
                return self.host(command);
            }
        };
        let mut command = build::cargo(root, args);
        for (name, value) in variables {
            command.env(name, value);
        }
        self.wait(|log| {
            let copy = log.try_clone()?;
            command
                .stdin(Stdio::null())
                .stdout(log)
                .stderr(copy)
                .spawn()
        })
    }

    /// Returns the path of cargo's target folder on the host.
    pub(super) fn target_folder(&self) -> PathBuf {
        checkout().join(match self.environment {
            CargoEnvironment::Root(_) => "target/guest",
            CargoEnvironment::Host(_) => "target/harness",
        })
    }

    /// Returns the path of a folder below [`Tools::target_folder`] in cargo's environment.
    pub(super) fn seen_by_cargo(&self, folder: &Path) -> String {
        let seen = match (&self.environment, folder.strip_prefix(self.target_folder())) {
            (CargoEnvironment::Root(_), Ok(inside)) => Path::new("/target").join(inside),
            _ => folder.to_owned(),
        };
        seen.to_string_lossy().into_owned()
    }

    /// Runs a command of the host. The kernel kills the command and all its descendants when this process ends, however it ends.
    pub(super) fn host(&self, command: Command) -> Result<ToolOutput, String> {
        let mut command = in_namespace(&command);
        self.wait(|log| {
            let copy = log.try_clone()?;
            command.stdin(Stdio::null()).stdout(log).stderr(copy);
            spawn_bound_to_process(command)
        })
    }

    /// Runs a tool of the host. If the tool is not installed, the check is skipped.
    pub(super) fn installed(&self, program: &str, args: &[&str]) -> Result<Outcome, String> {
        let version = Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match version {
            Ok(status) if status.success() => {}
            _ => return Ok(Outcome::Skip(format!("{program} is not installed"))),
        }
        let mut command = Command::new(program);
        command.args(args).current_dir(checkout());
        self.host(command)?.judge()
    }

    fn wait(&self, start: impl FnOnce(File) -> io::Result<Child>) -> Result<ToolOutput, String> {
        let describe = |error: io::Error| error.to_string();
        let mut log = tempfile::tempfile().map_err(describe)?;
        let mut child = start(log.try_clone().map_err(describe)?).map_err(describe)?;
        let status = self.wait_for(&mut child)?;
        let mut bytes = Vec::new();
        log.rewind().map_err(describe)?;
        log.read_to_end(&mut bytes).map_err(describe)?;
        Ok(ToolOutput {
            success: status.success(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }

    fn wait_for(&self, child: &mut Child) -> Result<ExitStatus, String> {
        let describe = |error: io::Error| error.to_string();
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or("the tool has no process id")?;
        let started = Instant::now();
        // With WNOWAIT the process remains a zombie, so its processor time can still be read.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            let ended = waitid(WaitId::Pid(pid), options).map_err(|error| error.to_string())?;
            if ended.is_some() {
                let spent = processor_time(child.id());
                self.processor_time
                    .set(self.processor_time.get().saturating_add(spent));
                return child.wait().map_err(describe);
            }
            if started.elapsed() > LIMIT {
                // The call fails if the process has ended in the meantime.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "the tool took longer than {} s and was ended",
                    LIMIT.as_secs()
                ));
            }
            self.step.alive();
            thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Returns a command that runs `command` in namespaces that end with this process.
fn in_namespace(command: &Command) -> Command {
    let words = namespace();
    let mut bound = Command::new(words[0]);
    bound.args(&words[1..]).arg(command.get_program());
    bound.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    bound
}

/// Returns the processor time of a process and of its descendants that it has waited for; zero if the kernel reports none.
fn processor_time(id: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let ticks = ticks(&text).saturating_mul(1000);
    Duration::from_millis(ticks.checked_div(ticks_per_second).unwrap_or(0))
}

/// Returns the clock ticks in a line of `/proc/PID/stat`: user and system time of the process and of its children.
fn ticks(stat: &str) -> u64 {
    // The name of the program is in parentheses, and may contain spaces. The next field is the state. Counted from the state, the
    // times are the 12th to 15th field.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after_name.split_whitespace().skip(11).take(4);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Returns the last [`TAIL_BYTES`] bytes of a text.
pub(super) fn tail(text: &str) -> &str {
    let text = text.trim();
    let mut from = text.len().saturating_sub(TAIL_BYTES);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::progress::Progress;

    fn run(script: &str) -> (ToolOutput, Duration) {
        let tools = Tools::new(
            CargoEnvironment::Root(None),
            Progress::silent().step("a tool"),
        );
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        (tools.host(command).unwrap(), tools.processor_time())
    }

    #[test]
    fn ticks_of_a_program_with_a_strange_name_are_added() {
        let stat = "7 (a ) b) Z 1 7 7 0 -1 4227084 9 8 0 0 1 20 300 4000 20 0 1 0 555 0 0";
        assert_eq!(ticks(stat), 4321);
        assert_eq!(ticks(""), 0);
    }

    #[test]
    fn processor_time_of_a_child_of_the_tool_is_counted() {
        let busy = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; exit 0";
        let (output, spent) = run(busy);
        assert!(output.success);
        assert!(spent > Duration::ZERO);
    }

    #[test]
    fn tool_that_fails_is_judged_by_its_output() {
        let (output, _) = run("echo out; echo err >&2; exit 3");
        assert_eq!(output.judge().unwrap_err(), "out\nerr");
    }

    #[test]
    fn folder_below_target_is_seen_where_cargo_runs() {
        let step = || Progress::silent().step("a tool");
        let in_root = Tools::new(CargoEnvironment::Root(None), step());
        let folder = in_root.target_folder().join("packaging");
        assert_eq!(in_root.seen_by_cargo(&folder), "/target/packaging");
        let toolchain = Toolchain::Host("/opt/x".into());
        let on_host = Tools::new(CargoEnvironment::Host(&toolchain), step());
        let folder = on_host.target_folder().join("packaging");
        assert_eq!(Path::new(&on_host.seen_by_cargo(&folder)), folder);
    }

    #[test]
    fn in_namespace_keeps_folder_variables_and_arguments() {
        let mut command = Command::new("sh");
        command.args(["-c", "a b"]).current_dir("/tmp");
        command.env("A", "1").env_remove("B");
        let bound = in_namespace(&command);
        let args: Vec<_> = bound.get_args().collect();
        assert!(args.ends_with(&["--".as_ref(), "sh".as_ref(), "-c".as_ref(), "a b".as_ref()]));
        assert_eq!(bound.get_current_dir(), Some(Path::new("/tmp")));
        let variables: Vec<_> = bound.get_envs().collect();
        let expected = [("A", Some("1")), ("B", None)];
        assert_eq!(
            variables,
            expected.map(|(name, value)| (name.as_ref(), value.map(AsRef::as_ref)))
        );
    }

    #[test]
    fn cargo_without_a_root_is_an_error() {
        let tools = Tools::new(
            CargoEnvironment::Root(None),
            Progress::silent().step("a tool"),
        );
        assert!(tools.cargo(&["fmt"], &[]).unwrap_err().contains("root"));
    }

    #[test]
    fn tail_of_multibyte_text_keeps_whole_characters() {
        let text = "é".repeat(TAIL_BYTES);
        assert!(tail(&text).len() <= TAIL_BYTES);
    }
}
