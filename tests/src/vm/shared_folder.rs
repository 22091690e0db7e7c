//! The folder that a guest shares with its host (`$OUT`). Its files are made safe for the host.
//!
//! Root in the guest writes to the folder through QEMU, which runs with the rights of the user who started the guest. So a
//! command in the guest can leave setuid programs, which everybody can run as that user, device nodes if the user is root, FIFOs
//! that block a reader, and links to any path of the host. After the cleanup, the folder contains only plain files and folders of
//! the caller, and links to entries of the folder.
//!
//! While the guest runs, only the owner can access the folder, so that no other user finds unsafe files there.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::namespace::{namespace, spawn_bound_to_process};

/// The maximum number of levels of nested folders. The output of programs has fewer.
const MAX_DEPTH: usize = 64;

/// A shared folder. When this is dropped, its files are made safe for the host.
#[derive(Debug)]
pub(super) struct SharedFolder {
    folder: PathBuf,
    /// The permissions of the folder before other users' access was removed.
    mode: u32,
}

impl SharedFolder {
    /// Removes other users' access to `folder` until this value is dropped.
    ///
    /// # Errors
    /// `folder` is no folder, or belongs to another user.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(folder)?;
        let user = rustix::process::geteuid().as_raw();
        if !metadata.is_dir() || metadata.uid() != user {
            return Err(io::Error::other(format!(
                "{} is not a folder of this user: make one, or name another",
                folder.display()
            )));
        }
        let mode = metadata.mode() & 0o777;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        Ok(Self {
            folder: folder.to_owned(),
            mode,
        })
    }

    /// Makes the files safe for the host, and logs the entries that were removed.
    ///
    /// # Errors
    /// The folder cannot be read or changed.
    pub(super) fn make_safe(&self) -> io::Result<()> {
        for path in self.removed()? {
            tracing::warn!(
                path,
                "the guest left an entry that is not a plain file; the entry was removed"
            );
        }
        Ok(())
    }

    /// Cleans the folder, and returns the removed entries.
    fn removed(&self) -> io::Result<Vec<String>> {
        let mut cleanup = clean(&self.folder)?;
        if cleanup.has_foreign {
            give_to_caller(&self.folder)?;
            let again = clean(&self.folder)?;
            cleanup.removed.extend(again.removed);
            if again.has_foreign {
                return Err(io::Error::other("some files still belong to another user"));
            }
        }
        Ok(cleanup.removed)
    }
}

impl Drop for SharedFolder {
    fn drop(&mut self) {
        match self.make_safe() {
            // The folder gets its original permissions back.
            Ok(()) => {
                let _ = fs::set_permissions(&self.folder, fs::Permissions::from_mode(self.mode));
            }
            Err(error) => tracing::warn!(
                %error,
                folder = %self.folder.display(),
                "the files that the guest left cannot be made safe; other users still have no access to the folder"
            ),
        }
    }
}

/// The result of a cleanup.
#[derive(Debug, Default)]
struct Cleanup {
    /// The removed entries: those that are neither plain files nor folders nor links to entries of the folder.
    removed: Vec<String>,
    /// Whether a file belongs to another user and this user cannot change its owner.
    has_foreign: bool,
}

/// Removes everything except plain files, folders, and links that stay inside the folder. Gives the rest to this user if
/// possible.
fn clean(folder: &Path) -> io::Result<Cleanup> {
    let mut cleanup = Cleanup::default();
    let root = open_folder(CWD, folder.as_os_str())?;
    walk(root, Path::new(""), &mut cleanup)?;
    Ok(cleanup)
}

/// Opens a folder, but does not follow a link.
fn open_folder(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Cleans the entries of a folder and of the folders below it.
fn walk(folder: OwnedFd, place: &Path, cleanup: &mut Cleanup) -> io::Result<()> {
    let depth = place.components().count();
    let mut names: Vec<OsString> = Vec::new();
    for entry in rustix::fs::Dir::read_from(&folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    for name in names {
        let path = place.join(&name);
        let stat = match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // The guest may still be running, and may have removed the entry.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        take_ownership(folder.as_fd(), &name, &stat, cleanup);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth < MAX_DEPTH => {
                clear_special_bits(folder.as_fd(), &name, &stat, 0o700)?;
                match open_folder(folder.as_fd(), &name) {
                    Ok(below) => walk(below, &path, cleanup)?,
                    Err(Errno::ACCESS) => cleanup.has_foreign = true,
                    Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            FileType::RegularFile => clear_special_bits(folder.as_fd(), &name, &stat, 0o600)?,
            FileType::Symlink if stays_inside(&folder, &name, depth) => {}
            kind => {
                let flags = if kind == FileType::Directory {
                    AtFlags::REMOVEDIR
                } else {
                    AtFlags::empty()
                };
                rustix::fs::unlinkat(&folder, &name, flags)?;
                cleanup.removed.push(path.display().to_string());
            }
        }
    }
    Ok(())
}

/// Clears the setuid, setgid and sticky bits of a file, and gives its owner access.
fn clear_special_bits(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    stat: &Stat,
    least: u32,
) -> io::Result<()> {
    let mode = (stat.st_mode & 0o777) | least;
    if stat.st_mode & 0o7777 == mode {
        return Ok(());
    }
    // The mode is changed through an fd, so that no link is followed that the guest may put at the path in the meantime.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let now = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(now.st_mode) == FileType::Symlink {
        return Ok(());
    }
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    match rustix::fs::chmod(format!("/proc/self/fd/{number}"), Mode::from_raw_mode(mode)) {
        // EPERM means that the file belongs to another user. `take_ownership` gives it to the caller, and then it is handled
        // again.
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// If the caller is root, gives a file to the caller. Otherwise records that the file belongs to another user.
fn take_ownership(folder: BorrowedFd<'_>, name: &OsStr, stat: &Stat, cleanup: &mut Cleanup) {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if stat.st_uid == user.as_raw() {
        return;
    }
    let given = rustix::fs::chownat(
        folder,
        name,
        Some(Uid::from_raw(user.as_raw())),
        Some(Gid::from_raw(group.as_raw())),
        AtFlags::SYMLINK_NOFOLLOW,
    );
    cleanup.has_foreign |= given.is_err();
}

/// Returns whether the target of a symbolic link is an entry of the shared folder.
///
/// `..` is accepted only at the beginning of the target. After a name that is itself a link, `..` would not be the folder of that
/// name.
fn stays_inside(folder: &OwnedFd, name: &OsStr, depth: usize) -> bool {
    let Ok(target) = rustix::fs::readlinkat(folder, name, Vec::new()) else {
        return false;
    };
    let target = PathBuf::from(OsStr::from_bytes(target.to_bytes()));
    let mut parts = target.components().peekable();
    let mut up = 0;
    while parts.next_if_eq(&Component::ParentDir).is_some() {
        up += 1;
    }
    up <= depth && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Gives files of subordinate user ids to the caller, in a namespace in which the caller is root.
fn give_to_caller(folder: &Path) -> io::Result<()> {
    let args = namespace();
    let mut command = Command::new(args[0]);
    command
        .args(&args[1..])
        .args(["chown", "-h", "-R", "-P", "0:0", "--"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = spawn_bound_to_process(command)?.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("chown: {status}")))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn dropped_folder_has_only_plain_files_of_the_caller() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("out");
        fs::create_dir(&folder).unwrap();
        set(&folder, 0o755);
        fs::write(scratch.path().join("host"), "the host's").unwrap();
        let out = SharedFolder::open(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700, "other users have no access");
        let at = |name: &str| folder.join(name);
        fs::create_dir_all(at("deep/er")).unwrap();
        set(&at("deep"), 0o7777);
        for name in ["plain", "setuid", "deep/er/setgid", "closed"] {
            fs::write(at(name), name).unwrap();
        }
        set(&at("setuid"), 0o6755);
        set(&at("deep/er/setgid"), 0o2755);
        set(&at("closed"), 0o000);
        let own = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(CWD, at("deep/fifo"), FileType::Fifo, own, 0).unwrap();
        let device = rustix::fs::makedev(1, 5);
        let has_device =
            rustix::fs::mknodat(CWD, at("device"), FileType::CharacterDevice, own, device).is_ok();
        drop(UnixListener::bind(at("socket")).unwrap());
        for (name, target) in [
            ("deep/in", "../plain"),
            ("absolute", "/etc/passwd"),
            ("up", "../host"),
            ("deep/up", "../../host"),
            ("deep/self", "."),
            ("around", "deep/self/../../../host"),
        ] {
            symlink(target, at(name)).unwrap();
        }
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            std::os::unix::fs::chown(at("plain"), Some(12345), Some(12345)).unwrap();
        }
        let mut removed = out.removed().unwrap();
        removed.sort();
        let mut expected = vec!["absolute", "around", "deep/fifo", "deep/up", "socket", "up"];
        if has_device {
            expected.push("device");
        }
        expected.sort_unstable();
        assert_eq!(removed, expected);
        assert_eq!(mode(&at("setuid")), 0o755);
        assert_eq!(mode(&at("deep/er/setgid")), 0o755);
        assert_eq!(mode(&at("deep")), 0o777);
        assert_eq!(mode(&at("closed")), 0o600);
        let user = rustix::process::geteuid().as_raw();
        assert_eq!(at("plain").metadata().unwrap().uid(), user);
        assert_eq!(fs::read_to_string(at("deep/in")).unwrap(), "plain");
        assert_eq!(
            fs::read_to_string(scratch.path().join("host")).unwrap(),
            "the host's"
        );
        // A second cleanup changes nothing, and the folder gets its original permissions back.
        assert_eq!(out.removed().unwrap(), [""; 0]);
        fs::write(at("late"), "").unwrap();
        set(&at("late"), 0o4755);
        drop(out);
        assert_eq!(mode(&at("late")), 0o755);
        assert_eq!(mode(&folder), 0o755);
    }

    #[test]
    fn open_of_a_link_or_another_users_folder_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let (folder, link) = (scratch.path().join("out"), scratch.path().join("link"));
        fs::create_dir(&folder).unwrap();
        symlink(&folder, &link).unwrap();
        assert!(SharedFolder::open(&link).is_err());
        if std::os::unix::fs::chown(&folder, Some(12345), None).is_ok() {
            assert!(SharedFolder::open(&folder).is_err());
        }
    }
}
