//! Device nodes: those that the kernel says there are, and those in the file system.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::super::snapshot::{Kind, Node, NodeFile, Refusal};
use super::system::group_name;
use super::{names, text};

/// Lists all nodes that matter, by path.
pub(super) fn nodes() -> Vec<Node> {
    let mut found: BTreeMap<String, (Kind, Option<(u32, u32)>)> = BTreeMap::new();
    for (class, kind_of) in CLASSES {
        for name in names(Path::new("/sys/class").join(class)) {
            let folder = Path::new("/sys/class").join(class).join(&name);
            let uevent = text(folder.join("uevent"));
            let device = uevent
                .lines()
                .find_map(|line| line.strip_prefix("DEVNAME="));
            let Some((kind, device)) = kind_of(&name).zip(device) else {
                continue;
            };
            let number = pair(&text(folder.join("dev")));
            found.insert(format!("/dev/{device}"), (kind, number));
        }
    }
    // Where sysfs does not show, the nodes may be there all the same.
    for (folder, kind_of) in FOLDERS {
        for name in names(folder) {
            if let Some(kind) = kind_of(&name) {
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

type KindOf = fn(&str) -> Option<Kind>;

const CLASSES: [(&str, KindOf); 4] = [
    ("misc", |name| (name == "udmabuf").then_some(Kind::Udmabuf)),
    ("dma_heap", |_| Some(Kind::Heap)),
    ("drm", card),
    ("video4linux", video),
];

const FOLDERS: [(&str, KindOf); 3] = [
    ("/dev", |name| {
        (name == "udmabuf")
            .then_some(Kind::Udmabuf)
            .or_else(|| video(name))
    }),
    ("/dev/dma_heap", |_| Some(Kind::Heap)),
    ("/dev/dri", card),
];

fn card(name: &str) -> Option<Kind> {
    if numbered(name, "card") {
        Some(Kind::Card)
    } else if numbered(name, "renderD") {
        Some(Kind::Render)
    } else {
        None
    }
}

fn video(name: &str) -> Option<Kind> {
    numbered(name, "video").then_some(Kind::Video)
}

/// Connectors begin like their card.
fn numbered(name: &str, start: &str) -> bool {
    name.strip_prefix(start)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn pair(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn file(path: &str, kind: Kind) -> Option<NodeFile> {
    // Heaps are asked for memory by a descriptor that only reads.
    let access = if kind == Kind::Heap {
        OFlags::RDONLY
    } else {
        OFlags::RDWR
    };
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK;
    seen(path, || {
        rustix::fs::open(path, flags, Mode::empty()).map_err(Into::into)
    })
}

/// What there is at a path, and how using it is answered; none where nothing is there.
pub(super) fn seen<T>(path: &str, using: impl FnOnce() -> io::Result<T>) -> Option<NodeFile> {
    let status = rustix::fs::stat(path).ok()?;
    let refusal = using().err().map(|error| Refusal {
        errno: error.raw_os_error().unwrap_or_default(),
        words: words(&error),
    });
    Some(NodeFile {
        owner: status.st_uid,
        group: group_name(status.st_gid),
        mode: status.st_mode & 0o7777,
        refusal,
    })
}

/// The kernel's words without the number behind them.
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
    fn connectors_and_others_are_no_nodes() {
        assert_eq!(card("card0"), Some(Kind::Card));
        assert_eq!(card("renderD128"), Some(Kind::Render));
        for name in ["card0-Virtual-1", "card", "by-path", "controlD64"] {
            assert_eq!(card(name), None, "{name}");
        }
        assert_eq!(video("v4l-subdev0"), None);
        assert_eq!(pair("226:128\n"), Some((226, 128)));
        assert_eq!(pair(""), None);
    }
}
