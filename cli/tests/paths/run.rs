//! Runs the tool with a path as argument.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode};

use super::table::{PathOption, Use};

/// The time after which a verb counts as hanging, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A temporary folder with the kinds of files that a path can name.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.folder.path().join(name.as_ref())
    }

    /// Creates a named pipe, a socket and, if possible, a device node. Returns the path of each, with the description that error
    /// messages use.
    pub(crate) fn special_files(&self) -> Vec<(PathBuf, &'static str)> {
        let mode = Mode::RUSR | Mode::WUSR;
        let (fifo, device) = (self.path("fifo"), self.path("device"));
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, mode, 0).unwrap();
        let socket = self.path("socket");
        drop(UnixListener::bind(&socket).unwrap());
        let mut all = vec![(fifo, "a named pipe"), (socket, "a socket")];
        // The device has the numbers of /dev/zero, which never ends. Only root can create the node, and not in every container.
        let zero = rustix::fs::makedev(1, 5);
        match rustix::fs::mknodat(CWD, &device, FileType::CharacterDevice, mode, zero) {
            Ok(()) => all.push((device, "a device node")),
            Err(error) => {
                println!("skipped, because a device node cannot be created here: {error}")
            }
        }
        all
    }

    /// Creates a link to a file and a dangling link. Returns both with their targets.
    pub(crate) fn links(&self) -> [(PathBuf, PathBuf); 2] {
        let targets = [self.path("target"), self.path("nowhere")];
        fs::write(&targets[0], "kept").unwrap();
        let links = ["link", "dangling"].map(|name| self.path(name));
        for (link, target) in links.iter().zip(&targets) {
            symlink(target, link).unwrap();
        }
        let [one, two] = links;
        let [there, nowhere] = targets;
        [(one, there), (two, nowhere)]
    }

    /// Creates a path of every kind that is not a regular file; the named pipe comes first. Returns the paths, the target of the
    /// valid link, and the missing target of the dangling link.
    pub(crate) fn of_every_kind(&self) -> (Vec<PathBuf>, PathBuf, PathBuf) {
        let mut paths: Vec<_> = self
            .special_files()
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        let [(link, target), (dangling, nowhere)] = self.links();
        fs::create_dir(self.path("inner")).unwrap();
        paths.extend([link, dangling, self.path("inner"), self.path("none")]);
        (paths, target, nowhere)
    }

    /// Creates a file that belongs to another user; returns `None` if this user may not change the owner of a file.
    pub(crate) fn file_of_other_user(&self) -> Option<PathBuf> {
        let path = self.path("foreign");
        fs::write(&path, "theirs").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        match std::os::unix::fs::chown(&path, Some(12345), None) {
            Ok(()) => Some(path),
            Err(error) => {
                println!("skipped, because this user cannot change the owner of files: {error}");
                None
            }
        }
    }

    pub(crate) fn names(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<OsString> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }
}

/// Returns the command line that uses a path with an option, including other arguments that the option requires.
pub(crate) fn line(option: &PathOption, path: &Path) -> Vec<OsString> {
    let machine = sample("tests/machines/raspberry-pi-4.json");
    let matrix = sample("docs/matrix/bochs.json");
    let mut words: Vec<OsString> = option.verbs.iter().map(OsString::from).collect();
    let special_files: Vec<OsString> = match (option.verbs, option.name) {
        (["diff"], "two") => vec![machine.clone().into()],
        (["import"], "--out") => vec![sample("tests/cases/24-pasted-dumps/drm_info.json").into()],
        (["import"], "files") => vec!["--json".into()],
        (["matrix"], "--svg") => vec!["--from".into(), matrix.into()],
        (["plan"], "--devicetree" | "--record") => {
            let words = ["--camera", "/dev/video0", "--display", "vc4"];
            let mut special_files = vec![OsString::from("--machine"), machine.clone().into()];
            special_files.extend(words.map(OsString::from));
            special_files
        }
        (["report"], _) => vec!["--no-matrix".into()],
        (["plan"], "--machine") => ["--camera", "/dev/video0"].map(OsString::from).to_vec(),
        _ => Vec::new(),
    };
    words.extend(special_files);
    if option.name.starts_with("--") {
        words.push(option.name.into());
    }
    words.push(path.into());
    if (option.verbs, option.name) == (&["diff"], "one") {
        words.push(machine.into());
    }
    words
}

/// Returns the path of a file that the option accepts.
pub(crate) fn valid_file(option: &PathOption, folder: &Folder) -> PathBuf {
    match (option.verbs, option.name) {
        (["diff"], _) | (["plan"], "--machine") => sample("tests/machines/raspberry-pi-4.json"),
        (["import"], _) => sample("tests/cases/24-pasted-dumps/drm_info.json"),
        (["matrix"], "--from") => sample("docs/matrix/bochs.json"),
        (["plan"], "--devicetree") => {
            // A copy of /proc/device-tree is accepted too. It can be created without a devicetree compiler.
            let tree = folder.path("tree");
            fs::create_dir_all(tree.join("reserved-memory")).unwrap();
            tree
        }
        (["plan"], "--from") => {
            let path = folder.path("request.json");
            let record = PathOption {
                verbs: &["plan"],
                name: "--record",
                path_use: Use::Write,
            };
            run(&line(&record, &path));
            path
        }
        (["doctor"], "--from") => {
            let path = folder.path("snapshot.json");
            run(&[
                OsStr::new("doctor"),
                OsStr::new("--record"),
                path.as_os_str(),
            ]);
            path
        }
        _ => {
            let path = folder.path("empty");
            fs::write(&path, "").unwrap();
            path
        }
    }
}

fn sample(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn command() -> Command {
    // The environment variable COVALENT_TOOL selects another build of the tool for these tests.
    let tool = std::env::var_os("COVALENT_TOOL");
    let mut command = Command::new(tool.unwrap_or_else(|| env!("CARGO_BIN_EXE_covalent").into()));
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.env(
        "XDG_CACHE_HOME",
        concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
    );
    command
}

/// Runs the tool with an empty standard input.
pub(crate) fn run(words: &[impl AsRef<OsStr>]) -> Output {
    finish(command().args(words), b"")
}

/// Runs the tool in a folder.
pub(crate) fn run_in(folder: &Path, words: &[impl AsRef<OsStr>]) -> Output {
    finish(command().args(words).current_dir(folder), b"")
}

/// Runs the tool with a standard input.
pub(crate) fn run_with(words: &[impl AsRef<OsStr>], input: &[u8]) -> Output {
    finish(command().args(words), input)
}

/// Runs the tool with a file size limit of 0 bytes, so that every write to a file fails as if the disk were full.
pub(crate) fn run_with_full_disk(words: &[impl AsRef<OsStr>]) -> Output {
    let tool = command();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -f 0; exec \"$0\" \"$@\""])
        .arg(tool.get_program())
        .args(words);
    for (name, value) in tool.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    finish(&mut shell, b"")
}

fn finish(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let input = input.to_vec();
    // The tool may exit before it has read all input.
    std::thread::spawn(move || to.write_all(&input));
    let id = rustix::process::Pid::from_child(&child);
    let begun = Instant::now();
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        if ended.recv_timeout(LIMIT).is_err() {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    guard.join().unwrap();
    assert!(begun.elapsed() < LIMIT, "{command:?} hangs");
    output
}
