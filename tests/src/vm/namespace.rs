//! Process and mount namespaces that end with this process. Every process and mount inside of them ends too.
//!
//! The design decisions:
//! - `unshare` and `setpriv` of util-linux create the namespaces, instead of system calls of this program: they are installed
//!   wherever mmdebstrap is, and a process with several threads may do little between fork and exec.
//! - Every mount is made in a private mount namespace and every process is in a private process namespace. Both end with their
//!   first process, which the kernel kills when this process ends, however it ends. So no clean-up is needed that could fail.
//! - The kernel sends the signal of `--pdeathsig` when the *thread* that started the child ends. So a separate thread, which runs
//!   as long as the process, starts all children.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};

/// A shell script that creates a mount, and fails if the mount is visible outside of the namespace.
const CHECK_SCRIPT: &str = r#"
mount -t tmpfs covalent /tmp || exit 1
if grep -q " /tmp .* shared:.* tmpfs covalent " /proc/self/mountinfo; then
    umount /tmp
    echo "mounts in the namespace are visible outside of it" >&2
    exit 1
fi
"#;

/// Returns the command line prefix that starts a program in process and mount namespaces which end with this process.
///
/// Root needs no user namespace. Another user becomes root of a user namespace with the subordinate ids of `/etc/subuid`, because
/// the files of a Debian tree have many owners.
#[must_use]
pub fn namespace() -> Vec<&'static str> {
    let mut args = vec!["setpriv", "--pdeathsig", "KILL", "unshare"];
    if !rustix::process::geteuid().is_root() {
        args.extend(["--user", "--map-root-user", "--map-auto"]);
    }
    args.extend(["--mount", "--pid", "--fork", "--kill-child=KILL"]);
    if is_in_chroot() {
        // In a chroot `/` is not a mount point, so unshare cannot make it private. [`check`] tests whether mounts are private.
        args.extend(["--propagation", "unchanged"]);
    }
    args.push("--");
    args
}

/// Returns whether this process is in a chroot, where `/` is a folder of a mount that is not visible.
fn is_in_chroot() -> bool {
    static ANSWER: LazyLock<bool> = LazyLock::new(|| {
        // Without /proc it is not known whether this is a chroot. A chroot is rare, so none is assumed.
        std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| !has_root_mount(&mounts))
    });
    *ANSWER
}

fn has_root_mount(mountinfo: &str) -> bool {
    mountinfo
        .lines()
        .any(|line| line.split(' ').nth(4) == Some("/"))
}

/// The reason why this machine does not allow namespaces.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// A program is missing.
    #[error("start setpriv: {0}; is util-linux installed?")]
    Start(io::Error),
    /// The kernel or a security policy refuses namespaces or mounts.
    #[error("this machine refuses to create namespaces or to mount in them: {message}\n{remedy}")]
    Refused {
        /// The error message of unshare or mount.
        message: String,
        /// A remedy that may help.
        remedy: &'static str,
    },
}

/// Checks that programs can be started in their own namespaces and can mount there, so that a refusal is reported once, with a
/// remedy.
///
/// # Errors
/// This machine refuses namespaces or mounts.
pub fn check() -> Result<(), NamespaceError> {
    let args = namespace();
    let mut command = Command::new(args[0]);
    command.args(&args[1..]).args(["sh", "-c", CHECK_SCRIPT]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = spawn_bound_to_process(command).map_err(NamespaceError::Start)?;
    let output = child.wait_with_output().map_err(NamespaceError::Start)?;
    if output.status.success() {
        return Ok(());
    }
    let remedy = if is_in_chroot() {
        "this is a chroot: enter it by `unshare --mount --propagation private chroot`, or by systemd-nspawn"
    } else if rustix::process::geteuid().is_root() {
        "in a container: give it the capability SYS_ADMIN, and seccomp and AppArmor profiles that allow mounts (as \
         --privileged does)"
    } else {
        "this program needs newuidmap (package uidmap), lines for your user in /etc/subuid and /etc/subgid, util-linux 2.38, and user \
         namespaces that the system allows (sysctl kernel.apparmor_restrict_unprivileged_userns=0 where AppArmor forbids \
         them); or run it as root"
    };
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NamespaceError::Refused { message, remedy })
}

/// Starts `command` from a thread that runs as long as this process.
///
/// # Errors
/// Those of [`Command::spawn`].
pub fn spawn_bound_to_process(command: Command) -> io::Result<Child> {
    type Request = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<Request>>> = LazyLock::new(|| {
        let (sender, receiver) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                // The caller may have ended, and then it does not need the result.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let ended = || io::Error::other("the thread that starts processes has ended");
    let (answer, result) = mpsc::channel();
    SPAWNER
        .lock()
        .map_err(|_| ended())?
        .send((command, answer))
        .map_err(|_| ended())?;
    result.recv().map_err(|_| ended())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_root_mount_among_others_is_true() {
        let mounts =
            "22 1 254:0 / /proc rw - proc proc rw\n1 0 254:0 / / rw,relatime - ext4 /dev/vda rw\n";
        assert!(has_root_mount(mounts));
    }

    #[test]
    fn has_root_mount_in_a_chroot_is_false() {
        assert!(!has_root_mount("22 1 0:5 / /proc rw - proc proc rw\n"));
    }

    #[test]
    fn spawn_of_a_missing_program_is_an_error() {
        let error = spawn_bound_to_process(Command::new("/nonexistent/program")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
