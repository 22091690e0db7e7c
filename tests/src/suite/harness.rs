//! Theme `harness`: checks that `./x vm run` passes streams, files and exit statuses as a script expects, and that nothing is
//! left however the run ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::vm::config::Config;

use super::{Case, Outcome, TestContext};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "harness::run_passes_streams_status_and_files",
        Config::Virtio,
        run_passes_streams_status_and_files,
    ),
    Case::new(
        "harness::run_past_its_deadline_ends_with_124",
        Config::Virtio,
        run_past_its_deadline_ends_with_124,
    ),
    Case::new(
        "harness::run_interrupted_leaves_nothing",
        Config::Virtio,
        run_interrupted_leaves_nothing,
    ),
    Case::new(
        "harness::run_killed_leaves_nothing",
        Config::Virtio,
        run_killed_leaves_nothing,
    ),
    Case::new(
        "harness::run_terminated_while_booting_leaves_nothing",
        Config::Virtio,
        run_terminated_while_booting_leaves_nothing,
    ),
];

/// The exit status of a run that its deadline ended.
const DEADLINE_STATUS: i32 = 124;

/// The time limit from the start of a run until QEMU runs.
const START_LIMIT: Duration = Duration::from_secs(300);

/// The time limit from the end of a run until its last process has ended.
const CLEANUP_LIMIT: Duration = Duration::from_secs(10);

/// Prepares `./x vm run` with an unusual memory size, by which the processes of this run are found.
fn vm_run(context: &TestContext<'_>, mebibytes: u32, scratch: &Path) -> Command {
    // The program is started through /proc/self/exe, because a newer build may have replaced the file at its path.
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["vm", "run", "--memory", &format!("{mebibytes}M")])
        .arg("--programs")
        .arg(context.share())
        .env("TMPDIR", scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run_passes_streams_status_and_files(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let scratch = tempfile::tempdir()?;
    let out = scratch.path().join("deep/out");
    let script = "cat; printf 'a word' >&2; mkdir $OUT/folder; head -c 300000 /dev/urandom >$OUT/folder/bytes; \
                  sha256sum <$OUT/folder/bytes >$OUT/sum; kill -USR1 $$";
    let temporary = scratch.path().join("temporary");
    fs::create_dir(&temporary)?;
    let mut child = vm_run(context, 1537, &temporary)
        .arg("--out")
        .arg(&out)
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .spawn()?;
    let sent: Vec<u8> = (0..=255).cycle().take(500_000).collect();
    let mut stdin = child.stdin.take().context("the child has no stdin pipe")?;
    let input = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    writer
        .join()
        .map_err(|_| anyhow::anyhow!("the writing thread panicked"))??;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.stdout == sent,
        "stdout differs, {} bytes were received; stderr: {stderr}",
        output.stdout.len()
    );
    ensure!(stderr == "a word", "stderr is {stderr:?}");
    ensure!(
        output.status.code() == Some(128 + 10),
        "`./x vm run` ended with {}",
        output.status
    );
    let sum = Command::new("sha256sum")
        .stdin(fs::File::open(out.join("folder/bytes"))?)
        .output()?;
    ensure!(
        sum.stdout == fs::read(out.join("sum"))?,
        "the files that the command wrote to $OUT differ from those on the host"
    );
    clean(1537, &temporary)?;
    context.save_artefact("stderr.txt", stderr.as_bytes())?;
    Ok(Outcome::Passed)
}

fn run_past_its_deadline_ends_with_124(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let scratch = tempfile::tempdir()?;
    let output = vm_run(context, 1538, scratch.path())
        .args(["--deadline", "2s", "--", "sleep", "1000"])
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(DEADLINE_STATUS),
        "`./x vm run` with a deadline ended with {}: {stderr}",
        output.status
    );
    ensure!(stderr.contains("2 s"), "stderr is {stderr:?}");
    clean(1538, scratch.path())?;
    Ok(Outcome::Passed)
}

fn run_interrupted_leaves_nothing(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    ended_by(context, Signal::INT, 1539)
}

fn run_killed_leaves_nothing(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    ended_by(context, Signal::KILL, 1540)
}

fn ended_by(context: &TestContext<'_>, signal: Signal, mebibytes: u32) -> anyhow::Result<Outcome> {
    let scratch = tempfile::tempdir()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut child = vm_run(context, mebibytes, scratch.path())
        .args(["--", "sh", "-c", "echo begun; sleep 1000"])
        .spawn()?;
    let stdout = child
        .stdout
        .take()
        .context("the child has no stdout pipe")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    ensure!(line == "begun\n", "the first line is {line:?}");
    ensure!(
        !processes(mebibytes)?.is_empty(),
        "the processes of the run were not found"
    );
    end(&mut child, signal)?;
    clean(mebibytes, scratch.path())?;
    ensure!(
        fs::read_to_string("/proc/self/mounts")? == mounts,
        "the mounts of the host have changed"
    );
    Ok(Outcome::Passed)
}

fn run_terminated_while_booting_leaves_nothing(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let scratch = tempfile::tempdir()?;
    let mut child = vm_run(context, 1541, scratch.path())
        .args(["--", "true"])
        .spawn()?;
    let started = Instant::now();
    while processes(1541)?.len() < 2 {
        ensure!(started.elapsed() < START_LIMIT, "QEMU does not start");
        if let Some(status) = child.try_wait()? {
            bail!("`./x vm run` ended by itself with {status}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    end(&mut child, Signal::TERM)?;
    clean(1541, scratch.path())?;
    Ok(Outcome::Passed)
}

fn end(child: &mut Child, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("the process id of the child is not valid")?;
    kill_process(pid, signal)?;
    let status = child.wait()?;
    ensure!(!status.success(), "the run ended with success");
    Ok(())
}

/// Checks that no process and no file of a run is left.
fn clean(mebibytes: u32, temporary: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let left = processes(mebibytes)?;
        if left.is_empty() {
            break;
        }
        ensure!(
            started.elapsed() < CLEANUP_LIMIT,
            "processes of the run are still running: {left:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let files: Vec<_> = fs::read_dir(temporary)?.collect::<Result<_, _>>()?;
    ensure!(files.is_empty(), "files of the run are left: {files:?}");
    Ok(())
}

/// Lists the processes whose command line gives a guest this memory size.
fn processes(mebibytes: u32) -> anyhow::Result<Vec<String>> {
    let mark = format!("-m\0{mebibytes}M\0");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // A process may end before its command line is read.
        let line = fs::read(format!("/proc/{name}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains(&mark) {
            found.push(format!(
                "{name}: {}",
                line.replace('\0', " ").chars().take(80).collect::<String>()
            ));
        }
    }
    Ok(found)
}
