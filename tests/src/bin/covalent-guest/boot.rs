//! Prepares the guest: mounts, modules, udev and the loopback interface.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use covalent_tests::wire::{Module, PORT, Prepare, Ready, SecondDisk, VERSION};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::time::{ClockId, clock_gettime};

/// The folder that the host shares. Commands write files for the host into it.
pub(crate) const OUT: &str = "/out";

/// The value of XDG_RUNTIME_DIR, the folder of the compositor's socket.
pub(crate) const RUNTIME: &str = "/run/user/0";

/// The longest time until the kernel has created the virtio-serial port.
const PORT_DEADLINE: Duration = Duration::from_secs(20);

/// The subsystems for whose existing devices udev is triggered. Other devices would take most of the boot time, and would load
/// drivers that no test needs. udev handles all devices that appear later.
const SUBSYSTEMS: [&str; 8] = [
    "block",
    "dma_heap",
    "drm",
    "input",
    "media",
    "misc",
    "video4linux",
    "virtio-ports",
];

/// The guest's second virtio disk. QEMU adds it after the first disk, so the kernel names it vdb.
const SECOND_DISK: &str = "/dev/vdb";

/// The udev daemon, which names device nodes and sets their owners. The board's guest has no udev, because root can use the nodes
/// of devtmpfs.
const UDEV: &str = "/usr/lib/systemd/systemd-udevd";

/// The longest time for udev to handle all existing devices, in seconds.
const SETTLE_SECONDS: u32 = 60;

/// Mounts the file systems that programs expect. These mounts do not depend on a message of the host.
pub(crate) fn mount_early() -> io::Result<()> {
    let noexec = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let nodev = MountFlags::NOSUID | MountFlags::NODEV;
    mounted("proc", "/proc", noexec, "")?;
    mounted("sysfs", "/sys", noexec, "")?;
    mounted("devtmpfs", "/dev", MountFlags::NOSUID, "mode=0755")?;
    mounted(
        "devpts",
        "/dev/pts",
        MountFlags::NOSUID,
        "mode=0620,gid=5,ptmxmode=0666",
    )?;
    mounted("tmpfs", "/dev/shm", nodev, "mode=1777")?;
    mounted("tmpfs", "/run", nodev, "mode=0755")?;
    mounted("tmpfs", "/tmp", nodev, "mode=1777")?;
    mounted("cgroup2", "/sys/fs/cgroup", noexec, "")?;
    mounted("debugfs", "/sys/kernel/debug", noexec, "")?;
    fs::create_dir_all(RUNTIME)?;
    fs::set_permissions(RUNTIME, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        match std::os::unix::fs::symlink(target, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(with_operation(error, &format!("link {link}")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Opens the virtio-serial port to the host. Its node is found by the port's name in sysfs, because udev does not run yet.
pub(crate) fn open_port() -> io::Result<File> {
    let started = Instant::now();
    loop {
        if let Some(node) = port_node()? {
            let port = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default())
                .open(&node);
            match port {
                Ok(port) => return Ok(port),
                // The port appears in sysfs shortly before its node appears in devtmpfs.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(with_operation(error, &format!("open {}", node.display())));
                }
            }
        }
        if started.elapsed() > PORT_DEADLINE {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no virtio-serial port is named {PORT}: is virtio_console loaded?"),
            ));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the device node of the port to the host; `None` while there is no such port.
fn port_node() -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir("/sys/class/virtio-ports") {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        // The kernel creates the port in sysfs before it sets the port's name, so the name may be missing.
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim_end() == PORT {
            return Ok(Some(Path::new("/dev").join(entry.file_name())));
        }
    }
    Ok(None)
}

/// Prepares the guest as the host requests in its first message.
///
/// # Errors
/// A text for the host.
pub(crate) fn prepare(prepare: &Prepare) -> Result<Ready, String> {
    if prepare.version != VERSION {
        return Err(format!(
            "the host uses version {} of the protocol and the guest's program version {VERSION}: build the guest's programs again",
            prepare.version
        ));
    }
    rustix::system::sethostname(prepare.hostname.as_bytes())
        .map_err(|errno| format!("set the host name {:?}: {errno}", prepare.hostname))?;
    log_step("begins");
    match prepare.second_disk {
        Some(SecondDisk::Modules) => mount_modules().map_err(error_text)?,
        Some(SecondDisk::Peers) => mount_peers()?,
        None => {}
    }
    for module in &prepare.modules {
        load(module)?;
    }
    log_step("has its modules");
    if Path::new("/sys/kernel/config").exists() {
        let noexec = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mounted("configfs", "/sys/kernel/config", noexec, "").map_err(error_text)?;
    }
    mount_out(prepare.shared_out).map_err(error_text)?;
    // An image without iproute2 has no `ip` program, but its busybox has the applet `ip`.
    run("ip", &["link", "set", "lo", "up"])
        .or_else(|_| run("busybox", &["ip", "link", "set", "lo", "up"]))?;
    // udev starts after the modules are loaded, so that devices have the same numbers in every boot.
    if Path::new(UDEV).exists() {
        start_udev()?;
    }
    let uptime = uptime();
    log_step("is ready");
    Ok(Ready {
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
    })
}

/// Starts udev, and waits until udev has handled the existing devices.
fn start_udev() -> Result<(), String> {
    run(UDEV, &["--daemon"])?;
    log_step("has udev");
    let mut trigger = vec!["trigger".to_owned(), "--action=add".to_owned()];
    trigger.extend(SUBSYSTEMS.map(|name| format!("--subsystem-match={name}")));
    run(
        "udevadm",
        &trigger.iter().map(String::as_str).collect::<Vec<_>>(),
    )?;
    run(
        "udevadm",
        &["settle", &format!("--timeout={SETTLE_SECONDS}")],
    )
}

/// Writes all data to disk, and unmounts the folder that the host shares.
pub(crate) fn unmount_out() {
    rustix::fs::sync();
    if let Err(errno) = unmount(OUT, UnmountFlags::DETACH) {
        eprintln!("covalent-guest: unmount {OUT}: {errno}");
    }
}

/// Writes the name of a boot step and the uptime to the console, whose log the host keeps.
fn log_step(what: &str) {
    eprintln!(
        "covalent-guest: {what} after {:.1} s",
        uptime().as_secs_f32()
    );
}

/// Returns the time since the kernel started.
fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default()
}

/// Loads a kernel module with its options.
fn load(module: &Module) -> Result<(), String> {
    let mut arguments = vec!["--", module.name.as_str()];
    arguments.extend(module.options.iter().map(String::as_str));
    run("modprobe", &arguments)
}

/// Mounts the modules of the running kernel over the modules of the kernel that is in the guest's image.
fn mount_modules() -> io::Result<()> {
    mounted_from(
        SECOND_DISK,
        "ext4",
        "/usr/lib/modules",
        MountFlags::RDONLY,
        "",
    )
}

/// Mounts the programs of other projects (the peers) as an overlay over `/usr`, and copies their files in `/etc`.
fn mount_peers() -> Result<(), String> {
    const DISK: &str = "/run/peers";
    mounted_from(SECOND_DISK, "ext4", DISK, MountFlags::RDONLY, "").map_err(error_text)?;
    run("modprobe", &["--", "overlay"])?;
    let lower = format!("lowerdir={DISK}/usr:/usr");
    mounted("overlay", "/usr", MountFlags::RDONLY, &lower).map_err(error_text)?;
    let configuration = format!("{DISK}/etc/.");
    run("cp", &["-a", "--update=none", &configuration, "/etc/"])
}

/// Mounts the folder for results: the host's shared folder, or a file system in memory.
fn mount_out(shared: bool) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    if shared {
        // With cache=mmap, files can be mapped writable. Writes that do not use a mapping go to the host at once.
        let data = "trans=virtio,version=9p2000.L,msize=262144,cache=mmap";
        mounted_from("out", "9p", OUT, flags, data)
    } else {
        mounted("tmpfs", OUT, flags, "mode=0755")
    }
}

/// Mounts a file system that needs no device.
fn mounted(kind: &str, target: &str, flags: MountFlags, data: &str) -> io::Result<()> {
    mounted_from(kind, kind, target, flags, data)
}

/// Mounts a file system, and creates its folder if that is missing.
fn mounted_from(
    source: &str,
    kind: &str,
    target: &str,
    flags: MountFlags,
    data: &str,
) -> io::Result<()> {
    // In debugfs and similar file systems no folder can be created, but the needed folder exists.
    if !Path::new(target).exists() {
        fs::create_dir_all(target)
            .map_err(|error| with_operation(error, &format!("create {target}")))?;
    }
    let data = CString::new(data)?;
    match mount(source, target, kind, flags, data.as_c_str()) {
        // EBUSY means that the initramfs has already mounted the file system.
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(errno) => Err(with_operation(
            errno.into(),
            &format!("mount {kind} on {target}"),
        )),
    }
}

/// Runs a program; the error contains its output.
fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", super::command::PATH)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("run {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let mut output_text = String::from_utf8_lossy(&output.stdout).into_owned();
    output_text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(format!(
        "{program} {}: {}: {}",
        arguments.join(" "),
        output.status,
        output_text.trim_end()
    ))
}

/// Returns the error with the operation in its text.
fn with_operation(error: io::Error, operation: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{operation}: {error}"))
}

/// Returns the text of an error.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn error_text(error: io::Error) -> String {
    error.to_string()
}
