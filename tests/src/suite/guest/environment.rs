//! Checks the environment of programs in a guest.

use anyhow::{Context as _, ensure};

use super::{COMMAND_LIMIT, Outcome, TestContext};

/// One property of the guest's environment.
struct Expectation {
    /// The property in words, for the message of a failed check.
    what: &'static str,
    /// A shell command that succeeds if the property holds.
    check: &'static str,
    /// A prefix that runs a command in an environment without the property. It does not affect other processes of the guest.
    ///
    /// The case also runs the command with this prefix. It must then fail, because a command that always succeeds would check
    /// nothing.
    counterexample: &'static str,
}

const fn expect(
    what: &'static str,
    check: &'static str,
    counterexample: &'static str,
) -> Expectation {
    Expectation {
        what,
        check,
        counterexample,
    }
}

/// The properties. A separate command checks each property. In a single command with `&&` and `||`, the failure of one property
/// could be hidden by another part of the command.
const EXPECTED: [Expectation; 12] = [
    expect(
        "commands run as root",
        "test \"$(id -u)\" = 0",
        "setpriv --reuid=65534 --clear-groups",
    ),
    expect(
        "HOME is root's",
        "test \"$HOME\" = /root",
        "env HOME=/nonexistent",
    ),
    expect(
        "commands start in root's home",
        "test \"$(pwd)\" = /root",
        "env -C /",
    ),
    expect(
        "XDG_RUNTIME_DIR is a folder",
        "test -d \"$XDG_RUNTIME_DIR\"",
        "env XDG_RUNTIME_DIR=/nonexistent",
    ),
    expect(
        "OUT is a folder that can be written to",
        "test -d \"$OUT\" && test -w \"$OUT\"",
        "env OUT=/nonexistent",
    ),
    expect(
        "/tmp can be written to",
        "test -w /tmp",
        "unshare --mount sh -c 'mount -t tmpfs -o ro none /tmp && exec \"$@\"' sh",
    ),
    expect(
        "/dev/shm can be written to",
        "test -w /dev/shm",
        "unshare --mount sh -c 'mount -t tmpfs -o ro none /dev/shm && exec \"$@\"' sh",
    ),
    expect(
        "covalent-compositor is in PATH",
        "command -v covalent-compositor",
        "env PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    expect(
        "covalent-camera is in PATH",
        "command -v covalent-camera",
        "env PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    expect(
        "debugfs is mounted",
        "grep -q ' /sys/kernel/debug ' /proc/mounts",
        "unshare --mount sh -c 'umount --lazy /sys/kernel/debug && exec \"$@\"' sh",
    ),
    expect(
        "configfs is mounted",
        "grep -q ' /sys/kernel/config ' /proc/mounts",
        "unshare --mount sh -c 'umount --lazy /sys/kernel/config && exec \"$@\"' sh",
    ),
    expect(
        "the loopback device is up, has its address and is its route",
        "ip -brief address show dev lo up | grep -q '127\\.0\\.0\\.1/8' && ip route get 127.0.0.1",
        "unshare --net",
    ),
];

pub(super) fn environment(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    for expectation in &EXPECTED {
        let Expectation {
            what,
            check,
            counterexample,
        } = expectation;
        context
            .sh(check, COMMAND_LIMIT)
            .with_context(|| format!("the guest does not have this property: {what}"))?;
        context
            .sh(&format!("{counterexample} true"), COMMAND_LIMIT)
            .with_context(|| format!("`{counterexample}` cannot run a command"))?;
        let line = format!("{counterexample} sh -c {}", quoted(check));
        let output = context.guest()?.sh(&line, COMMAND_LIMIT)?;
        ensure!(
            !output.status.success(),
            "`{check}` succeeds under `{counterexample}`, where the guest does not have this property: {what}"
        );
    }
    context.sh(
        "udevadm info /dev/dri/card0 | grep -q 'CURRENT_TAGS=.*:seat:'",
        COMMAND_LIMIT,
    )?;
    context.sh(
        "udevadm info --export-db | grep -q ID_INPUT_KEYBOARD=1",
        COMMAND_LIMIT,
    )?;
    context.sh(
        "udevadm info --export-db | grep -q ID_INPUT_MOUSE=1",
        COMMAND_LIMIT,
    )?;
    let unreaped = context
        .sh(
            "sh -c '(sleep 0.2 &)'; sleep 1; ps -eo stat= | grep -c '^Z' || true",
            COMMAND_LIMIT,
        )?
        .text();
    ensure!(unreaped == "0", "{unreaped} processes were not waited for");
    Ok(Outcome::Passed)
}

/// Quotes a text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn quoted_text_is_one_word_and_unchanged() {
        for text in ["plain", "it's \"$HOME\" `x`", "a\\b 'c'"] {
            let line = format!("printf %s {}", quoted(text));
            let output = Command::new("sh").args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
