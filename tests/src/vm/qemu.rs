//! A QEMU process, its command line and its end.
//!
//! QEMU leaves nothing in the host's file system. It runs in the root file system, in namespaces that the kernel ends with this
//! process. It inherits one end of each of two socket pairs as stdin and stdout. Its log, which contains its own output and the
//! guest's console, is a temporary file without a name.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use tempfile::NamedTempFile;

use super::accel::Accelerator;
use super::config::{Config, Host, Memory, Size};
use super::devicetree::Devicetree;
use super::image::Image;
use super::platform::Platform;
use super::root::RootCommand;
use crate::wire::PORT;

/// The folder in the root file system where files of the host are mounted for QEMU.
const MOUNT_FOLDER: &str = "/run/covalent";

/// The maximum number of bytes of a log that are returned or saved. They are taken from its end.
const LOG_LIMIT: u64 = 4 << 20;

/// A shell script that starts an X server without a screen, and then QEMU. The server must not inherit QEMU's sockets.
///
/// The server listens only in its own `/tmp`. A `local` socket has the same name on the whole machine, so the server of a second
/// guest would end with "server already running".
const XVFB_SCRIPT: &str = r#"
Xvfb :9 -screen 0 2048x1200x24 -nolisten tcp -nolisten local </dev/null >&2 &
tries=0
until [ -S /tmp/.X11-unix/X9 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "covalent: Xvfb does not start" >&2; exit 1; }
    sleep 0.1
done
DISPLAY=:9 exec "$@"
"#;

/// The hardware of a guest.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The configuration: displays, cards and cameras.
    pub config: Config,
    /// The size of the memory.
    pub memory: Memory,
    /// The size of the first display.
    pub size: Size,
    /// The memory that is reserved for contiguous buffers (the kernel's option `cma=`), in MiB.
    pub contiguous_mebibytes: u32,
    /// The folder with the project's programs.
    pub share: PathBuf,
    /// The folder for the files that commands write to `$OUT`.
    pub out: Option<PathBuf>,
    /// Whether a window on the desktop of this program's user shows the display.
    pub watch: bool,
    /// The board's devicetree; `None` for the board's usual devicetree. A PC has no devicetree.
    pub devicetree: Option<Devicetree>,
}

/// A running QEMU process. When it is dropped, it is killed.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    log: File,
    _devicetree: Option<NamedTempFile>,
}

/// The host's ends of QEMU's sockets.
#[derive(Debug)]
pub struct Sockets {
    /// The virtio-serial port to the guest's first process.
    pub port: UnixStream,
    /// The connection to QEMU's monitor.
    pub monitor: UnixStream,
}

impl Qemu {
    /// Starts QEMU.
    ///
    /// # Errors
    /// A process cannot be started, or a file cannot be created. An error of QEMU itself is reported only by its log and its exit
    /// status.
    pub fn start(
        image: &Image,
        machine: &Machine,
        accelerator: Accelerator,
    ) -> io::Result<(Self, Sockets)> {
        let (port, guest_end) = UnixStream::pair()?;
        let (monitor, monitor_end) = UnixStream::pair()?;
        let log = tempfile::tempfile()?;
        fcntl_setfl(&log, OFlags::APPEND)?;

        let mut args = command_line(machine, accelerator, Host::here());
        if image.second_disk.is_some() {
            args.extend(["-drive".into(), second_drive().into()]);
        }
        let qemu = image.platform.qemu();
        let mut command = if machine.config.needs_x_server() && !machine.watch {
            let mut command = image.root.command("sh");
            command.args(["-c", XVFB_SCRIPT, "screen", qemu]);
            command
        } else {
            image.root.command(qemu)
        };
        command.args(args);
        // QEMU writes the changes of a snapshot disk to TMPDIR. This /tmp is in memory, and ends with QEMU's namespace.
        command.env("TMPDIR", "/tmp");
        for (path, name) in [
            (&image.kernel, "kernel"),
            (&image.initrd, "initrd"),
            (&machine.share, "share"),
        ] {
            command.bind_read_only(path, &mount_path(name));
        }
        if let Some(disk) = &image.disk {
            command.bind_read_only(disk, &mount_path("disk"));
        }
        if let Some((_, disk)) = &image.second_disk {
            command.bind_read_only(disk, &mount_path("second-disk"));
        }
        let devicetree = machine
            .devicetree
            .as_ref()
            .map(write_devicetree)
            .transpose()?;
        if let Some(file) = &devicetree {
            command.bind_read_only(file.path(), &mount_path("tree"));
        }
        if let Some(out) = &machine.out {
            command.bind(out, &mount_path("out"));
        }
        if machine.watch {
            show_desktop(&mut command, |name| std::env::var_os(name));
        }
        let child = command
            .stdin(OwnedFd::from(guest_end))
            .stdout(OwnedFd::from(monitor_end))
            .stderr(log.try_clone()?)
            .spawn()?;
        let qemu = Self {
            child,
            log,
            _devicetree: devicetree,
        };
        Ok((qemu, Sockets { port, monitor }))
    }

    /// Waits until QEMU ends by itself; returns `None` if it still runs after `limit`.
    ///
    /// # Errors
    /// The kernel cannot wait for the process.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills QEMU and every process in its namespace.
    ///
    /// # Errors
    /// The kernel cannot kill the process.
    pub fn kill(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }

    /// Returns the id of the first process of QEMU's namespace.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the output of QEMU and the guest's console, at most its last 4 MiB.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> io::Result<Vec<u8>> {
        let length = self.log.metadata()?.len();
        let from = length.saturating_sub(LOG_LIMIT);
        let mut bytes = vec![0; usize::try_from(length - from).unwrap_or(0)];
        self.log.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // The namespace ends with its first process, which this kills. If the kill fails, nothing else can be done.
        let _ = self.kill();
    }
}

/// Writes a devicetree to a temporary file, which is removed when the value is dropped.
fn write_devicetree(tree: &Devicetree) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(tree.bytes())?;
    file.flush()?;
    Ok(file)
}

/// Returns the QEMU options for the board's hardware on which QEMU's devicetree depends.
pub(super) fn hardware(machine: &Machine) -> Vec<String> {
    // The CPU `max` would have pointer authentication, which takes an emulated processor most of its time.
    let args = ["-machine", "virt", "-cpu", "cortex-a72", "-display", "none"];
    let mut args = args.map(str::to_owned).to_vec();
    args.extend(["-smp".to_owned(), Accelerator::Tcg.processors().to_string()]);
    args.extend(["-m".to_owned(), memory(machine)]);
    args.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned));
    args
}

/// Returns the size of the guest's memory as QEMU's options write it.
fn memory(machine: &Machine) -> String {
    format!("{}M", machine.memory.as_mebibytes())
}

/// Returns the arguments for QEMU.
fn command_line(machine: &Machine, accelerator: Accelerator, host: Host) -> Vec<OsString> {
    let platform = machine.config.platform();
    let mut args: Vec<OsString> = Vec::new();
    if platform == Platform::Board {
        args.extend(hardware(machine).into_iter().map(OsString::from));
    }
    let mut option = |name: &str, value: &str| args.extend([OsString::from(name), value.into()]);
    for (name, value) in accelerator.options() {
        // The board's `-cpu` is one of the options for its hardware.
        if platform == Platform::Pc || *name != "-cpu" {
            option(name, value);
        }
    }
    option("-kernel", &mount_path("kernel"));
    option("-initrd", &mount_path("initrd"));
    // quiet: QEMU emulates each character on the console, which is slow. panic: QEMU ends as soon as the kernel panics.
    // no_timer_check: on a busy host the kernel's check of its timer comes too late, and the kernel would then search for another
    // timer.
    let console = match platform {
        Platform::Pc => "console=ttyS0 no_timer_check",
        Platform::Board => "console=ttyAMA0",
    };
    let kernel = format!(
        "{console} quiet panic=-1 oops=panic cma={}M",
        machine.contiguous_mebibytes
    );
    option("-append", &kernel);
    match platform {
        Platform::Pc => {
            option("-machine", "pc,vmport=off");
            option("-smp", &accelerator.processors().to_string());
            option("-m", &memory(machine));
            let disk = format!(
                "file={},format=raw,if=virtio,snapshot=on,cache=unsafe",
                mount_path("disk")
            );
            option("-drive", &disk);
        }
        Platform::Board if machine.devicetree.is_some() => option("-dtb", &mount_path("tree")),
        Platform::Board => {}
    }
    let share = |tag: &str, path: &str, more: &str| {
        format!("local,path={path},mount_tag={tag},security_model=none{more}")
    };
    option(
        "-virtfs",
        &share(
            "covalent",
            &mount_path("share"),
            ",readonly=on,multidevs=remap",
        ),
    );
    if machine.out.is_some() {
        option(
            "-virtfs",
            &share("out", &mount_path("out"), ",multidevs=remap"),
        );
    }
    option("-device", "virtio-serial-pci");
    option("-chardev", "socket,id=port,fd=0");
    option(
        "-device",
        &format!("virtserialport,chardev=port,name={PORT}"),
    );
    option("-chardev", "socket,id=monitor,fd=1");
    option("-object", "monitor-qmp,id=control,chardev=monitor");
    option("-chardev", "file,id=console,path=/proc/self/fd/2,append=on");
    option("-serial", "chardev:console");
    option("-object", "rng-random,id=random,filename=/dev/urandom");
    option("-device", "virtio-rng-pci,rng=random");
    if platform == Platform::Pc {
        option("-device", "virtio-keyboard-pci");
        option("-device", "virtio-tablet-pci");
    }
    for device in machine.config.devices(machine.size, host, machine.watch) {
        option("-device", &device);
    }
    let display = match (machine.watch, machine.config.needs_x_server()) {
        (true, true) => "gtk,gl=on",
        (true, false) => "gtk",
        (false, true) => "sdl,gl=on",
        (false, false) => "none",
    };
    option("-display", display);
    if platform == Platform::Pc {
        args.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(OsString::from));
    }
    args
}

/// Returns QEMU's option for the second disk. It follows the first disk, so that the guest's kernel names it vdb.
fn second_drive() -> String {
    format!(
        "file={},format=raw,if=virtio,readonly=on",
        mount_path("second-disk")
    )
}

/// Returns the path of a file of the image, as QEMU sees it.
fn mount_path(name: &str) -> String {
    format!("{MOUNT_FOLDER}/{name}")
}

/// Gives QEMU access to the desktop from which this program was started.
fn show_desktop(command: &mut RootCommand, variable: impl Fn(&str) -> Option<OsString>) {
    if let Some(display) = variable("DISPLAY") {
        command.env("DISPLAY", display);
        let sockets = Path::new("/tmp/.X11-unix");
        if sockets.is_dir() {
            command.bind_read_only(sockets, "/tmp/.X11-unix");
        }
        if let Some(cookies) = variable("XAUTHORITY")
            .map(PathBuf::from)
            .filter(|path| path.is_file())
        {
            command.bind_read_only(&cookies, &mount_path("xauthority"));
            command.env("XAUTHORITY", mount_path("xauthority"));
        }
    }
    if let (Some(name), Some(folder)) = (variable("WAYLAND_DISPLAY"), variable("XDG_RUNTIME_DIR")) {
        // If the name is an absolute path, `join` returns the name alone.
        let socket = Path::new(&folder).join(&name);
        if socket.exists() {
            command.bind(&socket, &mount_path("wayland"));
            command.env("WAYLAND_DISPLAY", mount_path("wayland"));
            command.env("XDG_RUNTIME_DIR", MOUNT_FOLDER);
        }
    }
}

/// Returns whether there is a desktop that can show a window.
#[must_use]
pub fn has_desktop(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"]
        .into_iter()
        .any(|name| variable(name).is_some_and(|value| value != OsStr::new("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(config: Config, out: Option<&str>) -> String {
        line_with(Accelerator::Tcg, config, out)
    }

    fn line_with(accelerator: Accelerator, config: Config, out: Option<&str>) -> String {
        let machine = Machine {
            config,
            memory: Memory::default(),
            size: Size::default(),
            contiguous_mebibytes: 128,
            share: "/share".into(),
            out: out.map(PathBuf::from),
            watch: false,
            devicetree: None,
        };
        let args = command_line(&machine, accelerator, Host { udmabuf: false });
        args.join(OsStr::new(" ")).to_string_lossy().into_owned()
    }

    #[test]
    fn command_line_without_out_folder_shares_none() {
        assert!(!line(Config::Virtio, None).contains("mount_tag=out"));
        assert!(line(Config::Virtio, Some("/o")).contains("path=/run/covalent/out,mount_tag=out"));
    }

    #[test]
    fn command_line_of_the_board_has_no_disk_and_one_cpu() {
        let board = line(Config::Board, None);
        assert!(board.contains("-machine virt ") && !board.contains("-drive"));
        assert_eq!(board.matches("-cpu").count(), 1);
        assert!(board.contains("console=ttyAMA0"));
    }

    #[test]
    fn command_line_with_gl_needs_an_x_server() {
        assert!(line(Config::Venus, None).contains("-display sdl,gl=on"));
        assert!(line(Config::Vkms, None).contains("-display none"));
    }

    #[test]
    fn xvfb_script_has_no_machine_wide_socket() {
        let server = XVFB_SCRIPT
            .lines()
            .find(|line| line.starts_with("Xvfb "))
            .unwrap();
        for transport in ["tcp", "local"] {
            let args = format!(" -nolisten {transport} ");
            assert!(server.contains(&args), "{server}");
        }
    }

    #[test]
    fn command_line_of_counted_instructions_has_one_processor() {
        let counted = line_with(Accelerator::Counted, Config::Virtio, None);
        assert!(counted.contains("-smp 1 ") && counted.contains("-icount shift=0,sleep=off"));
        let timed = line(Config::Virtio, None);
        assert!(timed.contains("-smp 2 ") && !timed.contains("-icount"));
    }

    #[test]
    fn command_line_of_the_disk_is_a_snapshot() {
        assert!(line(Config::Full, None).contains("format=raw,if=virtio,snapshot=on"));
    }
}
