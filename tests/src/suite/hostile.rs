//! Theme `hostile`: runs ten clients that try to crash the compositor or to keep it from serving other clients, beside a
//! well-behaved client (the bystander) that measures how the compositor serves it.
//!
//! `compositor/tests/hostile` runs the same clients on the host. There only the CPU time of the compositor is limited, because
//! other limits on time would depend on other programs of the host.

use std::time::Duration;

use anyhow::ensure;

use super::{Case, Outcome, TestContext};
use crate::vm::config::Config;

/// The time limit for an hour of hostile clients and the measurements before it.
const CHECK_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// The number of seconds for which the hostile clients run, by the guest's clock.
const SECONDS: u32 = 6;

/// The number of seconds for which the hostile clients run with `--full`.
const SECONDS_IN_FULL: u32 = 3600;

/// The bounds that matter to a user: 99 of 100 round trips take at most 100 ms, and the compositor ends within two seconds after
/// SIGTERM. The guest has one processor that executes a billion instructions in a second; the hostile clients use it too.
const RESPONSE_BOUNDS: &str = "--round-trip 100 --terminate 2000";

/// The bound for a guest whose clock follows the host's clock. In this time the emulated compositor is ten to a hundred times
/// slower, so the bound only detects a compositor that hangs.
const HANG_BOUNDS: &str = "--terminate 60000";

pub(super) const CASES: &[Case] = &[
    // The guest's clock counts instructions, so the time limits do not depend on other programs of the host.
    Case::new(
        "hostile::bystander_of_ten_clients_is_served_in_time",
        Config::Virtio,
        |context| {
            check(
                context,
                "--backend headless --mode 640x480@60",
                RESPONSE_BOUNDS,
            )
        },
    )
    .counted()
    .limit(CHECK_LIMIT)
    .seconds(90),
    Case::new(
        "hostile::ten_clients_on_a_display_leave_nothing_behind",
        Config::Virtio,
        |context| check(context, "--mode 640x480", HANG_BOUNDS),
    )
    .limit(CHECK_LIMIT)
    .seconds(60),
];

/// Runs a compositor with these options and the hostile clients, and checks the compositor's exit status.
fn check(context: &mut TestContext<'_>, options: &str, bounds: &str) -> anyhow::Result<Outcome> {
    let seconds = if context.is_full() {
        SECONDS_IN_FULL
    } else {
        SECONDS
    };
    let line = format!(
        r#"rm -rf /tmp/hostile; mkdir /tmp/hostile; cd /tmp/hostile
covalent-compositor {options} --socket hostile >ready 2>log & compositor=$!
for _ in $(seq 300); do grep -qs ready ready && break; sleep 0.1; done
WAYLAND_DISPLAY=hostile covalent-hostile-check --pid $compositor --seconds {seconds} {bounds}
status=$?
[ $status -eq 0 ] || kill $compositor
wait $compositor; echo "the compositor's status: $?"
[ $status -eq 0 ] || {{ tail -n 20 log >&2; exit $status; }}"#
    );
    let output = context.guest()?.sh(&line, CHECK_LIMIT)?;
    context.save_artefact("stdout.txt", &output.stdout)?;
    let text = output.text();
    ensure!(
        output.status.success() && text.ends_with("the compositor's status: 0"),
        "{}: {text}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(Outcome::Passed)
}
