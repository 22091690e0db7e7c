//! Runs programs inside the root file system, in namespaces that end with them.
//!
//! The root file system is read-only for these programs, so that a run cannot see files of another run.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use super::namespace::{namespace, spawn_bound_to_process};

/// A shell script that creates the mounts and runs the program as a child process. The first process of the namespace is this
/// shell, which reaps orphans. A comment in the script describes its arguments.
const ENTER: &str = include_str!("scripts/enter.sh");

/// The PATH of Debian's programs.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A complete root file system: a Debian tree in the cache.
#[derive(Debug, Clone)]
pub struct Root {
    folder: PathBuf,
}

impl Root {
    /// Returns the root file system in `folder`. This function checks nothing; [`super::image::ensure`] builds and checks root
    /// file systems.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Returns the folder of the root file system on the host.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Creates a command for `program`, which is a name in the PATH of the root file system or a path inside it.
    #[must_use]
    pub fn command(&self, program: &str) -> RootCommand {
        RootCommand {
            root: self.folder.clone(),
            args: vec![program.into()],
            environment: Vec::new(),
            binds: Vec::new(),
            folder: "/".to_owned(),
            writable: false,
            stdin: None,
            stdout: None,
            stderr: None,
        }
    }
}

/// A program to run in the root file system, like a [`Command`] with bind mounts.
///
/// The program sees `/proc`, a small `/dev`, empty `/tmp` and `/run`, the host's network, a read-only root and the bind mounts.
/// Its environment contains only `PATH`, `HOME`, `LANG`, `TERM` and the variables that [`RootCommand::env`] sets.
#[derive(Debug)]
pub struct RootCommand {
    root: PathBuf,
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    binds: Vec<Bind>,
    folder: String,
    writable: bool,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
}

/// A folder of the host that a command sees inside the root file system.
#[derive(Debug)]
struct Bind {
    host: PathBuf,
    inside: String,
    mode: &'static str,
}

impl RootCommand {
    /// Adds one argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Mounts the host's file or folder `host` at the path `inside`, writable.
    pub fn bind(&mut self, host: &Path, inside: &str) -> &mut Self {
        self.binds.push(Bind {
            host: host.to_owned(),
            inside: inside.to_owned(),
            mode: "rw",
        });
        self
    }

    /// Mounts the host's file or folder `host` at the path `inside`, read-only.
    pub fn bind_read_only(&mut self, host: &Path, inside: &str) -> &mut Self {
        self.binds.push(Bind {
            host: host.to_owned(),
            inside: inside.to_owned(),
            mode: "ro",
        });
        self
    }

    /// Sets the working directory, a path inside the root file system.
    pub fn workdir(&mut self, inside: &str) -> &mut Self {
        inside.clone_into(&mut self.folder);
        self
    }

    /// Makes the root file system writable for the program. This is used while the root file system is built.
    pub fn writable(&mut self) -> &mut Self {
        self.writable = true;
        self
    }

    /// Sets standard input; it is inherited by default, as with [`Command`].
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Sets standard output; it is inherited by default.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// Sets standard error; it is inherited by default.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Starts the program. If the child is killed, every process in its namespace ends.
    ///
    /// A program that a signal ended has the exit status 128 plus the signal's number, because a shell runs it.
    ///
    /// # Errors
    /// `setpriv` cannot be started. A namespace or bind mount that is refused gives the exit status 125 and a message on
    /// stderr.
    pub fn spawn(&mut self) -> io::Result<Child> {
        let args = namespace();
        let mut command = Command::new(args[0]);
        command.args(&args[1..]).args(["sh", "-c", ENTER, "enter"]);
        command
            .arg(&self.root)
            .arg(&self.folder)
            .arg(if self.writable { "rw" } else { "ro" });
        command.arg(self.binds.len().to_string());
        for bind in &self.binds {
            command.arg(&bind.host).arg(&bind.inside).arg(bind.mode);
        }
        command.arg("env").arg("-i");
        // TERM is copied from the host's environment, because only the host knows the type of the terminal.
        let terminal = std::env::var_os("TERM").unwrap_or_else(|| "dumb".into());
        command.args([&format!("PATH={PATH}"), "HOME=/root", "LANG=C.UTF-8"]);
        command.arg(assignment("TERM".as_ref(), &terminal));
        command.args(
            self.environment
                .iter()
                .map(|(name, value)| assignment(name, value)),
        );
        command.args(&self.args);
        command.stdin(self.stdin.take().unwrap_or_else(Stdio::inherit));
        command.stdout(self.stdout.take().unwrap_or_else(Stdio::inherit));
        command.stderr(self.stderr.take().unwrap_or_else(Stdio::inherit));
        spawn_bound_to_process(command)
    }

    /// Runs the program to its end, and returns its output.
    ///
    /// # Errors
    /// Those of [`RootCommand::spawn`], and of reading the output.
    pub fn output(&mut self) -> io::Result<Output> {
        self.stdin.get_or_insert_with(Stdio::null);
        self.stdout.get_or_insert_with(Stdio::piped);
        self.stderr.get_or_insert_with(Stdio::piped);
        self.spawn()?.wait_with_output()
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// Those of [`RootCommand::spawn`], and of waiting.
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }
}

/// Returns the word `name=value`.
fn assignment(name: &OsStr, value: &OsStr) -> OsString {
    let mut word = name.to_owned();
    word.push("=");
    word.push(value);
    word
}
