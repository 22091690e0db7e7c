//! Reads the user, the container, the resource limits, and which programs are installed.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use rustix::process::{Resource, getegid, getgroups, getrlimit, getuid};

use super::super::snapshot::{HugePagePool, Limits, UdmabufLimits, User, Vulkan};
use super::{names, number, text};

/// The folders in which distributions install libraries.
const LIBRARY_FOLDERS: [&str; 6] = [
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/arm-linux-gnueabihf",
    "/usr/local/lib",
];
/// The folders of Vulkan driver manifests.
const VULKAN_FOLDERS: [&str; 4] = [
    "/usr/share/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/run/opengl-driver/share/vulkan/icd.d",
];
/// The environment variables that name Vulkan driver manifests. If one is set, the Vulkan loader does not search the folders.
const VULKAN_VARIABLES: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// Reads the name and the groups of the user who runs this program.
pub(super) fn user() -> User {
    let id = getuid().as_raw();
    let name = entries(&text("/etc/passwd"))
        .find(|fields| fields.get(2).is_some_and(|field| *field == id.to_string()))
        .and_then(|fields| fields.first().map(|name| (*name).to_owned()));
    let supplementary = getgroups().unwrap_or_default();
    let groups: BTreeSet<String> = supplementary
        .into_iter()
        .chain([getegid()])
        .map(|group| group_name(group.as_raw()))
        .collect();
    let listed_groups = name.as_deref().map_or_else(BTreeSet::new, |name| {
        groups_of_user(name, &text("/etc/group"), &text("/etc/passwd"))
    });
    User {
        id,
        name,
        groups,
        listed_groups,
    }
}

/// Returns the groups of a user. `groups` is the text of `/etc/group`, and `users` is the text of `/etc/passwd`.
fn groups_of_user(user: &str, groups: &str, users: &str) -> BTreeSet<String> {
    let primary_group = entries(users)
        .find(|fields| fields.first() == Some(&user))
        .and_then(|fields| fields.get(3).map(|id| (*id).to_owned()));
    entries(groups)
        .filter(|fields| {
            let is_member = fields
                .get(3)
                .is_some_and(|members| members.split(',').any(|member| member == user));
            is_member || fields.get(2).map(|id| (*id).to_owned()) == primary_group
        })
        .filter_map(|fields| fields.first().map(|name| (*name).to_owned()))
        .collect()
}

/// Returns the fields of each line. Fields after the fourth are not used and not split, to bound the memory for a long line.
fn entries(text: &str) -> impl Iterator<Item = Vec<&str>> {
    const FIELDS: usize = 5;
    text.lines().map(|line| line.splitn(FIELDS, ':').collect())
}

/// Returns the name of a group, or its number if it has no name.
pub(super) fn group_name(id: u32) -> String {
    // The file is read only once, because this function is called for every node and for every group of the user.
    static NAMES: OnceLock<BTreeMap<u32, String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| group_names(&text("/etc/group")));
    names.get(&id).cloned().unwrap_or_else(|| id.to_string())
}

/// Returns the names of groups by number; if several have the same number, the first counts.
fn group_names(groups: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for fields in entries(groups) {
        let id = fields.get(2).and_then(|id| id.parse().ok());
        if let (Some(id), Some(name)) = (id, fields.first()) {
            names.entry(id).or_insert_with(|| (*name).to_owned());
        }
    }
    names
}

/// Returns a sign that this process runs in a container, such as `/.dockerenv`; `None` if there is no sign.
pub(super) fn container() -> Option<String> {
    for file in ["/.dockerenv", "/run/.containerenv"] {
        if Path::new(file).exists() {
            return Some(file.to_owned());
        }
    }
    if let Ok(kind) = env::var("container") {
        return Some(format!("container={kind}"));
    }
    // Only root may read the mount namespace of process 1. For other users this check finds nothing.
    let own_namespace = fs::read_link("/proc/self/ns/mnt").ok()?;
    let init_namespace = fs::read_link("/proc/1/ns/mnt").ok()?;
    (own_namespace != init_namespace).then(|| "a mount namespace of its own".to_owned())
}

/// Reads the resource limits of this process.
pub(super) fn limits() -> Limits {
    let current = |resource| getrlimit(resource).current;
    Limits {
        files: current(Resource::Nofile),
        files_hard: getrlimit(Resource::Nofile).maximum,
        locked_bytes: current(Resource::Memlock),
        file_bytes: current(Resource::Fsize),
        group_bytes: group_bytes(&text("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")),
    }
}

/// Returns the smallest memory limit of this process's control group and of the groups that contain it.
fn group_bytes(cgroup: &str, root: &Path) -> Option<u64> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // If a process is outside the root of its cgroup namespace, its path contains `..`.
    let is_plain = |part| matches!(part, Component::Normal(_));
    if !Path::new(path).components().all(is_plain) {
        return None;
    }
    let mut folder = root.join(path);
    let mut least = None;
    while folder.starts_with(root) {
        let limit = number(folder.join("memory.max"));
        least = [least, limit].into_iter().flatten().min();
        if !folder.pop() {
            break;
        }
    }
    least
}

/// Reads the limits of udmabuf; `None` if the module is not loaded.
pub(super) fn udmabuf() -> Option<UdmabufLimits> {
    let folder = Path::new("/sys/module/udmabuf/parameters");
    Some(UdmabufLimits {
        size_mebibytes: number(folder.join("size_limit_mb"))?,
        list_entries: number(folder.join("list_limit"))?,
    })
}

/// Reads the numbers of huge pages of each size from sysfs.
pub(super) fn huge_pages(folder: &Path) -> Vec<HugePagePool> {
    names(folder)
        .into_iter()
        .filter_map(|name| {
            let size = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
            let read = |file: &str| number(folder.join(&name).join(file));
            Some(HugePagePool {
                kibibytes: size.parse().ok()?,
                total: read("nr_hugepages")?,
                free: read("free_hugepages")?,
            })
        })
        .collect()
}

/// Returns the size of the CMA region from the text of `/proc/meminfo`.
pub(super) fn cma_kibibytes(meminfo: &str) -> Option<u64> {
    let value = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("CmaTotal:"))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Finds the Vulkan loader and the manifests of the installed drivers.
pub(super) fn vulkan() -> Vulkan {
    let named = VULKAN_VARIABLES.iter().find_map(env::var_os);
    let drivers: Vec<PathBuf> = match named {
        Some(paths) => env::split_paths(&paths)
            .filter(|path| path.exists())
            .collect(),
        None => VULKAN_FOLDERS
            .iter()
            .flat_map(|folder| {
                names(folder)
                    .into_iter()
                    .filter(|name| name.ends_with(".json"))
                    .map(move |name| Path::new(folder).join(name))
            })
            .collect(),
    };
    Vulkan {
        has_loader: LIBRARY_FOLDERS
            .iter()
            .any(|folder| Path::new(folder).join("libvulkan.so.1").exists()),
        drivers: drivers
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
    }
}

/// Returns the values of `ID` and `ID_LIKE` in the text of os-release.
pub(super) fn distribution(os_release: &str) -> Vec<String> {
    os_release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|value| value.trim_matches('"').split(' '))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::measured;

    #[test]
    fn groups_of_a_user_are_found_by_membership_and_by_primary_group() {
        let groups = "root:x:0:\nvideo:x:44:bob,ada\nada:x:1000:\nkvm:x:104:adam\n";
        let users = "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";
        let expected = ["ada", "video"].map(str::to_owned);
        assert_eq!(
            groups_of_user("ada", groups, users),
            BTreeSet::from(expected)
        );
    }

    #[test]
    fn line_with_many_fields_takes_bounded_memory() {
        let groups = format!("video:x:44:{}\nvideo2:x:44:\n", ":".repeat(1 << 20));
        let (names, usage) = measured(|| group_names(&groups));
        assert_eq!(names, BTreeMap::from([(44, "video".to_owned())]));
        assert!(usage.peak_bytes < 4096, "{}", usage.peak_bytes);
    }

    #[test]
    fn memory_limit_is_the_smallest_of_the_groups_above() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/memory.max"), "1000\n").unwrap();
        fs::write(root.path().join("a/b/memory.max"), "max\n").unwrap();
        assert_eq!(group_bytes("0::/a/b\n", root.path()), Some(1000));
        assert_eq!(group_bytes("1:cpu:/\n", root.path()), None);
        assert_eq!(group_bytes("0::/../a/b\n", &root.path().join("a")), None);
    }

    #[test]
    fn huge_pages_are_read_by_size() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("hugepages-2048kB");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("nr_hugepages"), "4\n").unwrap();
        fs::write(folder.join("free_hugepages"), "3\n").unwrap();
        let expected = HugePagePool {
            kibibytes: 2048,
            total: 4,
            free: 3,
        };
        assert_eq!(huge_pages(root.path()), [expected]);
    }

    #[test]
    fn meminfo_and_os_release_are_parsed() {
        assert_eq!(
            cma_kibibytes("MemTotal: 1 kB\nCmaTotal:   131072 kB\n"),
            Some(131_072)
        );
        assert_eq!(cma_kibibytes("MemTotal: 1 kB\n"), None);
        assert_eq!(
            distribution("NAME=\"x\"\nID=ubuntu\nID_LIKE=\"debian\"\n"),
            ["ubuntu", "debian"]
        );
    }
}
