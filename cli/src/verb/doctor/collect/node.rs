//! Lists device nodes: those for which the kernel has a device, and those that are in the file system.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::super::snapshot::{Node, NodeFile, NodeKind, OpenError};
use super::acl;
use super::system::group_name;
use super::{names, text};

/// Lists the nodes of all devices that concern buffer sharing, sorted by path.
pub(super) fn nodes() -> Vec<Node> {
    let mut found: BTreeMap<String, (NodeKind, Option<(u32, u32)>)> = BTreeMap::new();
    for (class, matcher) in CLASSES {
        for name in names(Path::new("/sys/class").join(class)) {
            let folder = Path::new("/sys/class").join(class).join(&name);
            let uevent = text(folder.join("uevent"));
            let device = uevent
                .lines()
                .find_map(|line| line.strip_prefix("DEVNAME="));
            let Some((kind, device)) = matcher(&name).zip(device) else {
                continue;
            };
            let number = pair(&text(folder.join("dev")));
            found.insert(format!("/dev/{device}"), (kind, number));
        }
    }
    // In a container without sysfs, the nodes may still be in the file system.
    for (folder, matcher) in FOLDERS {
        for name in names(folder) {
            if let Some(kind) = matcher(&name) {
                let path = format!("{folder}/{name}");
                found.entry(path).or_insert((kind, None));
            }
        }
    }
    found
        .into_iter()
        .map(|(path, (kind, number))| Node {
            file: file(&path, kind),
            path,
            kind,
            number,
        })
        .collect()
}

/// Returns the kind of a node by its name; `None` for a node that Covalent does not use.
type KindMatcher = fn(&str) -> Option<NodeKind>;

const CLASSES: [(&str, KindMatcher); 4] = [
    ("misc", |name| {
        (name == "udmabuf").then_some(NodeKind::Udmabuf)
    }),
    ("dma_heap", |_| Some(NodeKind::Heap)),
    ("drm", card),
    ("video4linux", video),
];

const FOLDERS: [(&str, KindMatcher); 3] = [
    ("/dev", |name| {
        (name == "udmabuf")
            .then_some(NodeKind::Udmabuf)
            .or_else(|| video(name))
    }),
    ("/dev/dma_heap", |_| Some(NodeKind::Heap)),
    ("/dev/dri", card),
];

/// Returns the kind of a node in `/dev/dri`, by its name.
fn card(name: &str) -> Option<NodeKind> {
    if numbered(name, "card") {
        Some(NodeKind::Card)
    } else if numbered(name, "renderD") {
        Some(NodeKind::Render)
    } else {
        None
    }
}

/// Returns the kind of a node in `/dev` if it is a video node.
fn video(name: &str) -> Option<NodeKind> {
    numbered(name, "video").then_some(NodeKind::Video)
}

/// Returns whether a name is `start` and a number. This excludes connectors such as `card0-HDMI-A-1`, whose names begin with that
/// of their card.
fn numbered(name: &str, start: &str) -> bool {
    name.strip_prefix(start)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Parses a device number such as `226:0`.
fn pair(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Reads the owner and the permissions of a node, and tries to open it.
fn file(path: &str, kind: NodeKind) -> Option<NodeFile> {
    // DMA_HEAP_IOCTL_ALLOC works on a read-only fd.
    let access = if kind == NodeKind::Heap {
        OFlags::RDONLY
    } else {
        OFlags::RDWR
    };
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK;
    node_file(path, || {
        rustix::fs::open(path, flags, Mode::empty()).map_err(Into::into)
    })
}

/// Returns owner, group and mode of the file at a path, and the error of opening it; `None` if there is no file.
pub(super) fn node_file<T>(path: &str, open: impl FnOnce() -> io::Result<T>) -> Option<NodeFile> {
    let status = rustix::fs::stat(path).ok()?;
    let open_error = open().err().map(|error| OpenError {
        errno: error.raw_os_error().unwrap_or_default(),
        words: words(&error),
    });
    Some(NodeFile {
        owner: status.st_uid,
        group: group_name(status.st_gid),
        mode: status.st_mode & 0o7777,
        acl: acl::read(path),
        open_error,
    })
}

/// Returns the text of an error without its number.
fn words(error: &io::Error) -> String {
    let words = error.to_string();
    match words.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connectors_and_other_entries_are_not_listed() {
        assert_eq!(card("card0"), Some(NodeKind::Card));
        assert_eq!(card("renderD128"), Some(NodeKind::Render));
        for name in ["card0-Virtual-1", "card", "by-path", "controlD64"] {
            assert_eq!(card(name), None, "{name}");
        }
        assert_eq!(video("v4l-subdev0"), None);
        assert_eq!(pair("226:128\n"), Some((226, 128)));
        assert_eq!(pair(""), None);
    }
}
