//! Theme `guest`: checks that every configuration boots with the devices that it declares, and that commands and files are
//! transferred unchanged between host and guest.

mod environment;
mod screendump;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::vm::config::{Config, Memory, Size};
use crate::vm::guest::GuestError;
use crate::vm::guest::shell;
use crate::vm::link::LinkError;
use crate::wire::{Exec, Status, Stream, Window};

use environment::environment;
use screendump::{screendump, screendump_size};

use super::{Case, Outcome, TestContext};

/// The time limit of each of these commands on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "guest::virtio_has_its_devices",
        Config::Virtio,
        check_devices,
    ),
    Case::new("guest::bochs_has_its_devices", Config::Bochs, check_devices),
    Case::new("guest::vkms_has_its_devices", Config::Vkms, check_devices),
    Case::new("guest::venus_has_its_devices", Config::Venus, check_devices),
    Case::new("guest::full_has_its_devices", Config::Full, check_devices),
    Case::new(
        "guest::venus_has_vulkan_of_the_host",
        Config::Venus,
        venus_has_vulkan_of_the_host,
    ),
    Case::new(
        "guest::vkms_has_writeback_and_overlays",
        Config::Vkms,
        vkms_has_writeback_and_overlays,
    ),
    Case::new(
        "guest::virtio_imports_foreign_buffers_with_blobs",
        Config::Virtio,
        virtio_imports_foreign_buffers_with_blobs,
    ),
    Case::new(
        "guest::memory_of_4g_reaches_above_4g",
        Config::Virtio,
        memory_of_4g_reaches_above_4g,
    )
    .memory(Memory::FOUR_GIBIBYTES),
    Case::new(
        "guest::contiguous_memory_has_the_requested_size",
        Config::Vkms,
        contiguous_memory_has_the_requested_size,
    )
    // The needs are those of the theme `pools`, so that this case can use the same guest.
    .contiguous(32),
    Case::new(
        "guest::display_of_another_size_has_its_mode",
        Config::Virtio,
        display_of_another_size_has_its_mode,
    )
    .size(Size {
        width: 1280,
        height: 720,
    }),
    Case::new(
        "guest::modules_missing_from_debian_load",
        Config::Virtio,
        modules_missing_from_debian_load,
    ),
    Case::new(
        "guest::command_exit_status_is_returned",
        Config::Virtio,
        command_exit_status_is_returned,
    ),
    Case::new(
        "guest::command_with_10_megabytes_comes_back_unchanged",
        Config::Virtio,
        command_with_10_megabytes_comes_back_unchanged,
    ),
    Case::new(
        "guest::command_past_its_deadline_is_ended_with_its_children",
        Config::Virtio,
        command_past_its_deadline_is_ended_with_its_children,
    ),
    Case::new(
        "guest::commands_run_in_parallel",
        Config::Virtio,
        commands_run_in_parallel,
    ),
    Case::new(
        "guest::command_on_a_terminal_has_job_control",
        Config::Virtio,
        command_on_a_terminal_has_job_control,
    ),
    Case::new(
        "guest::file_written_is_read_back_unchanged",
        Config::Virtio,
        file_written_is_read_back_unchanged,
    ),
    Case::new(
        "guest::environment_is_what_programs_expect",
        Config::Virtio,
        environment,
    ),
    Case::new(
        "guest::screendump_is_what_the_display_shows",
        Config::Virtio,
        screendump,
    ),
    Case::new(
        "guest::bochs_screendump_has_its_size",
        Config::Bochs,
        screendump_size,
    ),
    Case::new(
        "guest::display_is_unplugged",
        Config::Bochs,
        display_is_unplugged,
    )
    .last(),
    Case::new(
        "guest::kernel_panic_error_shows_the_console",
        Config::Bochs,
        kernel_panic_error_shows_the_console,
    )
    .last(),
    Case::new(
        "guest::kernel_log_after_boot_has_no_error",
        Config::Full,
        kernel_log_after_boot_has_no_error,
    ),
];

fn check_devices(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let config = context.guest()?.config();
    // sysfs has no driver name for platform devices, so the name of the card is read from debugfs.
    let cards = context.sh(
        "for card in /sys/class/drm/card?; do cat /sys/kernel/debug/dri/${card##*card}/name; done",
        COMMAND_LIMIT,
    )?;
    let text = cards.text();
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    ensure!(
        names == config.cards(),
        "the cards are {names:?}, not {:?}",
        config.cards()
    );

    for node in [
        "/dev/dma_heap/system",
        "/dev/dma_heap/default_cma_region",
        "/dev/udmabuf",
    ] {
        context
            .sh(&format!("test -c {node}"), COMMAND_LIMIT)
            .with_context(|| format!("{node} does not exist"))?;
    }
    for (node, capability) in [
        ("/dev/video0", "Video Capture"),
        ("/dev/video1", "Video Output"),
        ("/dev/video2", "Video Capture"),
        ("/dev/video3", "Video Output"),
    ] {
        let text = context
            .sh(&format!("v4l2-ctl -d {node} -D"), COMMAND_LIMIT)?
            .text();
        ensure!(text.contains("vivid"), "{node} is no vivid node: {text}");
        let own = text.split("Device Caps").nth(1).unwrap_or_default();
        ensure!(
            own.contains(capability),
            "{node} has no {capability}: {text}"
        );
    }
    let inputs = context
        .sh("v4l2-ctl -d /dev/video0 -n", COMMAND_LIMIT)?
        .text();
    ensure!(
        inputs.contains("Webcam 0") && inputs.contains("HDMI"),
        "inputs: {inputs}"
    );
    Ok(Outcome::Passed)
}

fn venus_has_vulkan_of_the_host(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let line = "VK_DRIVER_FILES=/usr/share/vulkan/icd.d/virtio_icd.json vulkaninfo --summary";
    let text = context.sh(line, Duration::from_secs(120))?.text();
    ensure!(text.contains("DRIVER_ID_MESA_VENUS"), "{text}");
    Ok(Outcome::Passed)
}

fn vkms_has_writeback_and_overlays(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let text = context.sh("modetest -M vkms -p", COMMAND_LIMIT)?.text();
    let connectors = context.sh("ls /sys/class/drm", COMMAND_LIMIT)?.text();
    ensure!(
        connectors.contains("card0-Writeback-1"),
        "connectors: {connectors}"
    );
    let planes = text.matches("XR24").count();
    ensure!(planes > 1, "only {planes} planes show XR24: {text}");
    Ok(Outcome::Passed)
}

fn virtio_imports_foreign_buffers_with_blobs(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    if !crate::vm::config::Host::here().udmabuf {
        return Ok(Outcome::Skip("this host has no /dev/udmabuf".to_owned()));
    }
    let text = context
        .sh(
            "cat /sys/kernel/debug/dri/0/virtio-gpu-features",
            COMMAND_LIMIT,
        )?
        .text();
    let blob = text
        .lines()
        .any(|line| line.contains("blob") && line.contains("yes"));
    ensure!(blob, "the virtio-gpu has no blob resources: {text}");
    Ok(Outcome::Passed)
}

fn memory_of_4g_reaches_above_4g(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let text = context
        .sh("awk '/MemTotal/ { print $2 }' /proc/meminfo", COMMAND_LIMIT)?
        .text();
    let kibibytes: u64 = text.parse().with_context(|| text.clone())?;
    ensure!(
        kibibytes > 3_700_000,
        "the guest has only {kibibytes} KiB of memory"
    );
    // This memory size is chosen so that a part of the memory is above 4 GiB.
    let above = context
        .sh(
            "grep -c '^1[0-9a-f]\\{8\\}-.*System RAM' /proc/iomem",
            COMMAND_LIMIT,
        )?
        .text();
    ensure!(above == "1", "no memory is above 4 GiB");
    Ok(Outcome::Passed)
}

fn contiguous_memory_has_the_requested_size(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let text = context
        .sh("awk '/CmaTotal/ { print $2 }' /proc/meminfo", COMMAND_LIMIT)?
        .text();
    ensure!(text == "32768", "CMA has {text} KiB");
    Ok(Outcome::Passed)
}

fn display_of_another_size_has_its_mode(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let text = context
        .sh("head -n 1 /sys/class/drm/card0-*/modes", COMMAND_LIMIT)?
        .text();
    ensure!(text == "1280x720", "the preferred mode is {text}");
    Ok(Outcome::Passed)
}

fn modules_missing_from_debian_load(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    context.sh(
        "modprobe vim2m && modprobe vicodec && modprobe sw_sync",
        COMMAND_LIMIT,
    )?;
    context.sh("test -e /sys/kernel/debug/sync/sw_sync", COMMAND_LIMIT)?;
    let names = context
        .sh("cat /sys/class/video4linux/*/name", COMMAND_LIMIT)?
        .text();
    for name in ["vim2m", "stateful-encoder", "stateful-decoder"] {
        ensure!(
            names.contains(name),
            "no video node has the name {name}: {names}"
        );
    }
    context.sh("modprobe -r vim2m vicodec", COMMAND_LIMIT)?;
    Ok(Outcome::Passed)
}

fn command_exit_status_is_returned(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    for (line, status) in [
        ("exit 0", Status::Code(0)),
        ("exit 41", Status::Code(41)),
        ("kill -SEGV $$", Status::Signal(11)),
        ("exec /no/such/program", Status::Code(127)),
    ] {
        let output = guest.sh(line, COMMAND_LIMIT)?;
        ensure!(
            output.status == status,
            "`{line}` ended with {}",
            output.status
        );
    }
    let output = guest.sh("printf a; printf b >&2; printf c", COMMAND_LIMIT)?;
    ensure!(
        output.stdout == b"ac" && output.stderr == b"b",
        "the outputs are {output:?}"
    );
    ensure!(
        guest.protocol_errors().is_empty(),
        "the guest's first process reported messages that it did not understand"
    );
    Ok(Outcome::Passed)
}

fn command_with_10_megabytes_comes_back_unchanged(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    // The length is not a power of two, and every byte value occurs.
    let sent: Vec<u8> = (0..10_000_019_u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_le_bytes()[0])
        .collect();
    let guest = context.guest()?;
    let exec = Exec {
        argv: vec!["tee".into(), "/dev/stderr".into()],
        ..Exec::default()
    };
    let output = guest.run(exec, &sent, Duration::from_secs(120))?;
    ensure!(output.status.success(), "tee ended with {}", output.status);
    ensure!(
        output.stdout == sent,
        "stdout differs: {} bytes were received",
        output.stdout.len()
    );
    ensure!(
        output.stderr == sent,
        "stderr differs: {} bytes were received",
        output.stderr.len()
    );
    Ok(Outcome::Passed)
}

fn command_past_its_deadline_is_ended_with_its_children(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    // Both `setsid` commands start a process in a session of its own. The second process also leaves its parent, because `-f`
    // forks.
    let line = "echo begun; setsid sleep 4242 & (setsid -f sleep 4242); sleep 4242";
    let started = Instant::now();
    let limit = Duration::from_secs(3);
    let error = guest
        .sh(line, limit)
        .err()
        .context("the command ended by itself")?;
    match error {
        GuestError::Link(LinkError::CommandDeadline { output, .. }) => {
            ensure!(
                output.stdout == b"begun\n",
                "the error lacks the output of the killed command: {output:?}"
            );
        }
        other => anyhow::bail!("the error is not that of the exceeded time limit: {other}"),
    }
    ensure!(
        started.elapsed() < limit + Duration::from_secs(15),
        "the command was ended only after {:?}",
        started.elapsed()
    );
    let left = context
        .sh("pgrep -fc 'sleep [4]242' || true", COMMAND_LIMIT)?
        .text();
    ensure!(
        left == "0",
        "{left} processes of the command are still running"
    );
    let groups = context
        .sh("ls -d /sys/fs/cgroup/command-* | wc -l", COMMAND_LIMIT)?
        .text();
    ensure!(
        groups == "1",
        "there are {groups} control groups, but only one command runs"
    );
    Ok(Outcome::Passed)
}

fn commands_run_in_parallel(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    let mut echo = guest.start(shell("while read line; do echo \"got $line\"; done"))?;
    // In the meantime a second command writes to the port without end, and its output is not read.
    let flood = guest.start(shell("cat /dev/zero"))?;
    for word in ["one", "two", "three"] {
        echo.input()
            .write_all(format!("{word}\n").as_bytes(), COMMAND_LIMIT)?;
        let line = echo.line(Stream::Out, COMMAND_LIMIT)?;
        ensure!(
            line.as_deref() == Some(format!("got {word}").as_str()),
            "{line:?}"
        );
    }
    flood.kill()?;
    echo.input().close()?;
    ensure!(echo.wait(COMMAND_LIMIT)?.status.success());
    Ok(Outcome::Passed)
}

fn command_on_a_terminal_has_job_control(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let window = Window {
        rows: 33,
        columns: 101,
    };
    // bash prints the warning `no job control` only if it has no controlling terminal.
    let exec = Exec {
        terminal: Some(window),
        argv: [
            "bash",
            "-c",
            "set -m; tty && stty size && sleep 1 & wait; exit 6",
        ]
        .map(Into::into)
        .to_vec(),
        ..Exec::default()
    };
    let output = context.guest()?.run(exec, b"", COMMAND_LIMIT)?;
    let text = output.text().replace('\r', "");
    ensure!(
        output.status == Status::Code(6),
        "the command in the terminal ended with {}: {text}",
        output.status
    );
    ensure!(
        text.contains("/dev/pts/") && text.contains("33 101"),
        "{text}"
    );
    ensure!(!text.contains("no job control"), "{text}");
    Ok(Outcome::Passed)
}

fn file_written_is_read_back_unchanged(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    let bytes: Vec<u8> = (0..=255).cycle().take(1_234_567).collect();
    guest.put("/tmp/files/deep", &bytes, 0o750)?;
    ensure!(
        guest.get("/tmp/files/deep")? == bytes,
        "the guest returned other bytes than were written to the file"
    );
    let mode = context
        .sh(
            "stat -c %a /tmp/files/deep; rm -r /tmp/files",
            COMMAND_LIMIT,
        )?
        .text();
    ensure!(mode == "750", "the mode of the file is {mode}");
    let error = context
        .guest()?
        .get("/no/such/file")
        .err()
        .context("a file that does not exist was read")?;
    ensure!(error.to_string().contains("/no/such/file"), "{error}");
    Ok(Outcome::Passed)
}

fn display_is_unplugged(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    context
        .guest()?
        .monitor()
        .unplug("display", COMMAND_LIMIT)?;
    let left = context
        .sh(
            "cat /sys/kernel/debug/dri/*/name | grep -c bochs || true",
            COMMAND_LIMIT,
        )?
        .text();
    ensure!(
        left == "0",
        "the card is still listed after it was unplugged"
    );
    let options = serde_json::json!({"driver": "bochs-display", "id": "again"});
    context.guest()?.monitor().plug(&options)?;
    let line = "for try in $(seq 100); do grep -q bochs /sys/kernel/debug/dri/*/name && exit; sleep 0.1; done; exit 1";
    context
        .sh(line, COMMAND_LIMIT)
        .context("the card that was plugged in does not appear")?;
    context.discard();
    Ok(Outcome::Passed)
}

fn kernel_panic_error_shows_the_console(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    let error = guest
        .sh("echo c > /proc/sysrq-trigger; sleep 100", COMMAND_LIMIT)
        .err()
        .context("the guest survived a panic")?;
    let message = error.to_string();
    ensure!(matches!(error, GuestError::Ended { .. }), "{message}");
    ensure!(
        message.contains("Kernel panic") && message.contains(".log"),
        "{message}"
    );
    context.discard();
    Ok(Outcome::Passed)
}

fn kernel_log_after_boot_has_no_error(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let text = context
        .sh("dmesg --level=emerg,alert,crit,err", COMMAND_LIMIT)?
        .text();
    ensure!(text.is_empty(), "the kernel logged: {text}");
    Ok(Outcome::Passed)
}
