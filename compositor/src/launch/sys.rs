//! Undoes in a child process what the compositor has changed for itself. Nothing here allocates memory or takes a lock, since
//! other threads of the compositor may have held locks when the process was copied.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit, setsid};

/// The first file descriptor after the standard streams.
const FIRST: libc::c_int = 3;

/// The end of the file descriptors that are marked one by one where the kernel has no `close_range`.
const END: libc::c_int = 65_536;

/// The highest number of a signal on Linux.
const LAST_SIGNAL: libc::c_int = 64;

/// The size of the kernel's set of these signals.
const SIGNAL_SET_BYTES: usize = 8;

/// Makes the child process of `command` reset itself before it runs the program. `limit` is its limit of file descriptors; with
/// `None` it has the one of this process.
pub(super) fn reset_in_child(command: &mut Command, limit: Option<Rlimit>) {
    // SAFETY: `reset` makes system calls only, by functions that are async-signal-safe.
    unsafe { command.pre_exec(move || reset(limit)) };
}

fn reset(limit: Option<Rlimit>) -> io::Result<()> {
    setsid()?;
    if let Some(limit) = limit {
        setrlimit(Resource::Nofile, limit)?;
    }
    reset_signals();
    close_on_exec();
    Ok(())
}

/// Gives each signal its default action, and unblocks all.
fn reset_signals() {
    // The C library's function refuses the two signals that it uses itself, which the compositor may have inherited as ignored. The
    // kernel's structure has up to four words; zeros are SIG_DFL, no flags and an empty mask.
    let default_action = [0_u64; 8];
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the kernel reads the action, which is larger than its structure, and writes nothing. Numbers that have no action
        // to set are rejected with EINVAL, which changes nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default_action.as_ptr(),
                std::ptr::null_mut::<u64>(),
                SIGNAL_SET_BYTES,
            )
        };
    }
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set, which `sigprocmask` reads then. The old mask is not requested.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Marks all file descriptors apart from the standard streams, so that the program does not get them. They are not closed here,
/// since the standard library reports by one of them that the program cannot be run.
fn close_on_exec() {
    // SAFETY: the call takes numbers only.
    let marked = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if marked == 0 {
        return;
    }
    // Kernels before 5.11 and some sandboxes do not have the call.
    for descriptor in FIRST..END {
        // SAFETY: the call takes numbers only. It fails with EBADF for numbers that are not in use.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    /// Prints what a program inherits, with one line for each property.
    const SCRIPT: &str = "
        echo limit $(ulimit -Sn)
        cat /proc/self/status
        echo session $(cut -d' ' -f6 /proc/$$/stat) $$
        for fd in /proc/$$/fd/*; do [ -e $fd ] && echo descriptor ${fd##*/}; done
    ";

    /// Blocks a signal in this thread, and returns the previous mask.
    fn block(signal: libc::c_int) -> libc::sigset_t {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        let mut old = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: both sets are initialised by the calls before they are read.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), signal);
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), old.as_mut_ptr());
            old.assume_init()
        }
    }

    #[test]
    fn started_program_has_none_of_the_changes_that_the_compositor_made_for_itself() {
        let mask = block(libc::SIGUSR1);
        // SAFETY: no handler is installed, and no other test uses the signal.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        let leaked = rustix::io::dup(io::stderr()).unwrap();
        assert!(leaked.as_raw_fd() >= FIRST);
        let limit = Rlimit {
            current: Some(77),
            maximum: rustix::process::getrlimit(Resource::Nofile).maximum,
        };
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT])
            .stdin(std::process::Stdio::null());
        reset_in_child(&mut command, Some(limit));
        let output = command.output().unwrap();
        // SAFETY: the mask is the one that the call above returned.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut()) };
        let text = String::from_utf8(output.stdout).unwrap();
        let has = |line: &str| assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        has("limit 77");
        for field in ["SigBlk:", "SigIgn:"] {
            has(&format!("{field}\t0000000000000000"));
        }
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let own = own.lines().find(|line| line.starts_with("NoNewPrivs:"));
        has(own.unwrap());
        let session = text.lines().find(|line| line.starts_with("session "));
        let numbers: Vec<&str> = session.unwrap().split(' ').skip(1).collect();
        assert_eq!(numbers[0], numbers[1], "{text}");
        // The folder, which the shell had open while it listed it, is left out by its `-e`.
        let descriptors: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("descriptor "))
            .collect();
        assert_eq!(descriptors, ["0", "1", "2"], "{text}");
        drop(leaked);
    }

    #[test]
    fn program_that_does_not_exist_is_an_error_of_the_start() {
        let mut command = Command::new("/nonexistent/program");
        reset_in_child(&mut command, None);
        let error = command.spawn().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
