//! Checks device nodes: whether they exist, and whether this user may open them.

use super::super::finding::{Finding, Severity};
use super::super::paste;
use super::super::snapshot::{AclSubject, Node, NodeFile, NodeKind, Snapshot};
use super::group;
use super::permission::{is_joinable, permits, permitted_groups};

/// The errors of missing permission: EACCES and EPERM.
const PERMISSION: [i32; 2] = [13, 1];
const EPERM: i32 = 1;
/// The group of the nodes of cards and cameras. The udev rule that is proposed for dma-heaps gives them the same group.
const GROUP: &str = "video";
/// The group of render nodes.
const RENDER_GROUP: &str = "render";

/// Returns the findings about device nodes that are missing or cannot be opened.
pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = missing(snapshot);
    // Nodes of one kind that fail to open with the same error, group and mode become one finding.
    let mut groups: Vec<(NodeKind, &NodeFile, Vec<&str>)> = Vec::new();
    for node in &snapshot.nodes {
        let Some(file) = node.file.as_ref().filter(|file| file.open_error.is_some()) else {
            continue;
        };
        let path = node.path.as_str();
        match groups
            .iter_mut()
            .find(|(kind, other, _)| *kind == node.kind && *other == file)
        {
            Some((_, _, paths)) => paths.push(path),
            None => groups.push((node.kind, file, vec![path])),
        }
    }
    let finding = |(kind, file, paths): &(NodeKind, &NodeFile, Vec<&str>)| {
        open_failure(snapshot, *kind, file, paths)
    };
    findings.extend(groups.iter().filter_map(finding));
    findings
}

/// Finds devices of the kernel whose node is missing in the file system: one finding for each kind.
fn missing(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    for kind in [
        NodeKind::Udmabuf,
        NodeKind::Heap,
        NodeKind::Card,
        NodeKind::Render,
        NodeKind::Video,
    ] {
        let gone: Vec<&Node> = snapshot
            .of_kind(kind)
            .filter(|node| node.file.is_none() && node.number.is_some())
            .collect();
        if gone.is_empty() {
            continue;
        }
        let paths: Vec<&str> = gone.iter().map(|node| node.path.as_str()).collect();
        let place = if snapshot.container.is_some() {
            "in this container"
        } else {
            "in /dev"
        };
        let finding = Finding::new(
            format!("{}-node", name(kind)),
            severity(snapshot, kind),
            format!(
                "the kernel has {}, but the device node does not exist {place}",
                paths.join(", ")
            ),
            why(kind),
        );
        let lines = flags(&paths).zip(make_nodes(&gone));
        let lines = lines.and_then(|(flags, make)| Some((flags, paste::word(&make)?, make)));
        findings.push(match (lines, &snapshot.container) {
            (None, _) => finding.without_remedy("the path of a node"),
            (Some((flags, _, make)), Some(_)) => finding.with_command(flags).with_note(format!(
                "This is an option of `docker run` and `podman run`, outside of the container. Or run this as root inside, if its device rules permit it: {make}"
            )),
            (Some((_, word, _)), None) => finding
                .with_command(snapshot.as_root(&format!("sh -c {word}")))
                .with_note("If udev runs and /dev is a devtmpfs, the node is created without this command."),
        });
    }
    findings
}

/// Returns the options of `docker run` that pass these nodes to a container. For a node in a folder below `/dev` the whole folder
/// is passed. Returns `None` if a path is not the path of a node.
fn flags(paths: &[&str]) -> Option<String> {
    let mut named: Vec<&str> = paths
        .iter()
        .map(|path| match path.rsplit_once('/') {
            Some((folder, _)) if folder != "/dev" => folder,
            _ => path,
        })
        .collect();
    named.dedup();
    let flags: Option<Vec<String>> = named
        .iter()
        .map(|path| Some(format!("--device {}", paste::node(path)?)))
        .collect();
    Some(flags?.join(" "))
}

/// Returns the command that creates the nodes; `None` if a path is not the path of a node.
fn make_nodes(gone: &[&Node]) -> Option<String> {
    let mut lines = Vec::new();
    for node in gone {
        let Some((major, minor)) = node.number else {
            continue;
        };
        let path = paste::node(&node.path)?;
        if let Some((folder, _)) = path
            .rsplit_once('/')
            .filter(|(folder, _)| *folder != "/dev")
        {
            let line = format!("mkdir -p {folder}");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines.push(format!("mknod -m 660 {path} c {major} {minor}"));
    }
    Some(lines.join(" && "))
}

/// Returns the finding for nodes of one kind that fail to open with the same error.
fn open_failure(
    snapshot: &Snapshot,
    kind: NodeKind,
    file: &NodeFile,
    paths: &[&str],
) -> Option<Finding> {
    let open_error = file.open_error.as_ref()?;
    let all = paths.join(", ");
    if !PERMISSION.contains(&open_error.errno) {
        let what = format!("cannot open {all}: {}", open_error.words);
        let id = format!("{}-open", name(kind));
        return Some(Finding::new(id, Severity::Limits, what, why(kind)));
    }
    let what = format!(
        "this user has no permission to open {all} ({}): {}group {}, mode {:04o}{}",
        open_error.words,
        match file.owner {
            0 => String::new(),
            owner => format!("owner {owner}, "),
        },
        file.group,
        file.mode,
        if file.acl.is_empty() {
            ""
        } else {
            " and an access control list"
        }
    );
    let id = format!("{}-permission", name(kind));
    let mut finding = Finding::new(id, severity(snapshot, kind), what, why(kind));
    let is_permitted = permits(snapshot, kind, file);
    // If the mode permits access and `open` returns EPERM nevertheless, the device rules of a container deny it.
    if is_permitted && open_error.errno == EPERM {
        let Some(flags) = flags(paths) else {
            return Some(finding.without_remedy("the path of a node"));
        };
        return Some(finding.with_command(flags).with_note(
            "The mode of the file permits it, but the device rules of the container do not. This is an option of `docker run` and `podman run`.",
        ));
    }
    if is_permitted {
        // Neither a group nor a udev rule would help, so no command is proposed.
        finding.why.push_str(
            " The file's owner, group and mode permit it, so something else denies it: a security module (AppArmor, SELinux), a sandbox, or a file system that is mounted with `nodev`.",
        );
        return Some(finding);
    }
    Some(with_permission_line(snapshot, kind, file, finding))
}

/// Adds the command that gives this user permission: joining a group that may open the node, or a udev rule that sets a group.
fn with_permission_line(
    snapshot: &Snapshot,
    kind: NodeKind,
    file: &NodeFile,
    finding: Finding,
) -> Finding {
    let joinable = permitted_groups(kind, file).find(|group| is_joinable(group));
    if let Some(group) = joinable {
        return group::join(snapshot, group, finding);
    }
    let who = match file.owner {
        0 => "only root".to_owned(),
        owner => format!("only root and the user with ID {owner}"),
    };
    let rule = match kind {
        NodeKind::Heap => format!("SUBSYSTEM==\"dma_heap\", GROUP=\"{GROUP}\", MODE=\"0660\""),
        NodeKind::Udmabuf => format!("KERNEL==\"udmabuf\", GROUP=\"{GROUP}\", MODE=\"0660\""),
        NodeKind::Card => {
            format!("SUBSYSTEM==\"drm\", KERNEL==\"card*\", GROUP=\"{GROUP}\", MODE=\"0660\"")
        }
        NodeKind::Render => format!(
            "SUBSYSTEM==\"drm\", KERNEL==\"renderD*\", GROUP=\"{RENDER_GROUP}\", MODE=\"0660\""
        ),
        NodeKind::Video => format!("SUBSYSTEM==\"video4linux\", GROUP=\"{GROUP}\", MODE=\"0660\""),
    };
    let group = if kind == NodeKind::Render {
        RENDER_GROUP
    } else {
        GROUP
    };
    let subsystem = match kind {
        NodeKind::Heap => "dma_heap",
        NodeKind::Udmabuf => "misc",
        NodeKind::Card | NodeKind::Render => "drm",
        NodeKind::Video => "video4linux",
    };
    let rules = format!("/etc/udev/rules.d/70-covalent-{}.rules", name(kind));
    let tee = snapshot.as_root(&format!("tee {rules}"));
    let reload = snapshot.as_root("udevadm control --reload");
    let trigger = snapshot.as_root(&format!(
        "udevadm trigger --settle --subsystem-match={subsystem}"
    ));
    let mut line = format!("echo '{rule}' | {tee} && {reload} && {trigger}");
    let is_member = snapshot.user.listed_groups.contains(group);
    if !is_member {
        let Some(user) = paste::user(snapshot.user.name.as_deref()) else {
            return finding.without_remedy("the name of this user");
        };
        let join = snapshot.as_root(&format!("usermod -aG {group} {user}"));
        line.push_str(&format!(" && {join}"));
    }
    let has_session_users = file
        .acl
        .iter()
        .any(|entry| matches!(entry.subject, AclSubject::User(_)));
    let mut note = if has_session_users {
        format!(
            "udev gives the user of the active session access to it (uaccess), and otherwise {who} may open it: from a session at the machine itself it works without this line."
        )
    } else {
        format!("There is no udev rule for this subsystem, so {who} may open its nodes.")
    };
    if !is_member {
        note.push_str(" The group takes effect at the next login.");
    }
    finding.with_command(line).with_note(note)
}

/// Returns the severity of a node that cannot be opened: other sources can replace a source of memory, but nothing replaces a
/// camera or a card.
fn severity(snapshot: &Snapshot, kind: NodeKind) -> Severity {
    match kind {
        NodeKind::Udmabuf | NodeKind::Heap if snapshot.has_memory() => Severity::Limits,
        NodeKind::Render => Severity::Limits,
        _ => Severity::Blocks,
    }
}

/// Returns the name of a kind in the ids of findings.
fn name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Udmabuf => "udmabuf",
        NodeKind::Heap => "heap",
        NodeKind::Card => "card",
        NodeKind::Render => "render",
        NodeKind::Video => "video",
    }
}

/// Returns what is not possible without access to a node of this kind.
fn why(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Udmabuf => {
            "udmabuf makes dma-bufs of ordinary memory, which every device can import that does not need contiguous memory. Without it lavapipe, Mesa's software Vulkan, cannot share images."
        }
        NodeKind::Heap => {
            "A dma-heap allocates memory that belongs to no device. If camera, GPU and display cannot import each other's buffers, they can share these."
        }
        NodeKind::Card => {
            "Without the card's node nothing can be displayed, and no memory can be allocated from the card."
        }
        NodeKind::Render => {
            "Without the render node programs render on the CPU instead of the GPU."
        }
        NodeKind::Video => "The camera, codec or output behind this node cannot be used.",
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{deny_open, desktop, node};
    use super::*;

    #[test]
    fn machine_without_problems_has_no_finding() {
        assert_eq!(check(&desktop()), []);
    }

    #[test]
    fn heap_that_only_root_may_open_gets_a_udev_rule() {
        let mut snapshot = desktop();
        deny_open(&mut snapshot, "/dev/dma_heap/system", "root", 0o600);
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(finding.id, "heap-permission");
        assert_eq!(finding.severity, Severity::Limits);
        let line = finding.remedy.unwrap().line;
        assert!(
            line.contains("SUBSYSTEM==\"dma_heap\", GROUP=\"video\""),
            "{line}"
        );
        assert!(!line.contains("usermod"), "the user is in video: {line}");
        // Without any other source of memory, the severity is `Blocks`.
        deny_open(&mut snapshot, "/dev/udmabuf", "root", 0o600);
        assert!(
            check(&snapshot)
                .iter()
                .all(|one| one.severity == Severity::Blocks)
        );
    }

    #[test]
    fn nodes_with_equal_errors_are_one_finding() {
        let mut snapshot = desktop();
        let mut second = node(&mut snapshot, "/dev/dma_heap/system").clone();
        second.path = "/dev/dma_heap/reserved".to_owned();
        snapshot.nodes.push(second);
        for path in ["/dev/dma_heap/system", "/dev/dma_heap/reserved"] {
            deny_open(&mut snapshot, path, "root", 0o600);
        }
        let [finding] = check(&snapshot).try_into().unwrap();
        assert!(
            finding
                .what
                .contains("/dev/dma_heap/system, /dev/dma_heap/reserved"),
            "{}",
            finding.what
        );
    }

    #[test]
    fn card_of_a_group_is_remedied_by_joining_the_group() {
        let mut snapshot = desktop();
        snapshot.user.groups.clear();
        snapshot.user.listed_groups.clear();
        deny_open(&mut snapshot, "/dev/dri/card0", "video", 0o660);
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(
            (finding.id.as_str(), finding.severity),
            ("card-permission", Severity::Blocks)
        );
        assert_eq!(finding.remedy.unwrap().line, "sudo usermod -aG video ada");
        // A user who is already listed in the group has to log in again.
        snapshot.user.listed_groups.insert("video".to_owned());
        deny_open(&mut snapshot, "/dev/video0", "video", 0o660);
        let both = check(&snapshot);
        assert_eq!(both.len(), 2, "a card and a camera: {both:?}");
        snapshot.nodes.retain(|node| node.kind != NodeKind::Video);
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(finding.remedy.unwrap().line, "exec su -l ada");
    }

    #[test]
    fn nodes_missing_in_a_container_are_added_by_a_device_option() {
        let mut snapshot = desktop();
        snapshot.user.id = 0;
        snapshot.container = Some("/.dockerenv".to_owned());
        for path in ["/dev/dri/card0", "/dev/dri/renderD128"] {
            node(&mut snapshot, path).file = None;
        }
        let [card, render] = check(&snapshot).try_into().unwrap();
        assert_eq!(
            (card.id.as_str(), card.severity),
            ("card-node", Severity::Blocks)
        );
        let remedy = card.remedy.unwrap();
        assert_eq!(remedy.line, "--device /dev/dri");
        let note = remedy.note.unwrap();
        assert!(
            note.contains("mknod -m 660 /dev/dri/card0 c 226 0"),
            "{note}"
        );
        assert_eq!(
            (render.id.as_str(), render.severity),
            ("render-node", Severity::Limits)
        );
    }

    #[test]
    fn node_missing_without_a_container_is_created() {
        let mut snapshot = desktop();
        snapshot.user.id = 0;
        node(&mut snapshot, "/dev/udmabuf").file = None;
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(
            finding.remedy.unwrap().line,
            "sh -c 'mknod -m 660 /dev/udmabuf c 10 124'"
        );
    }

    #[test]
    fn device_rules_of_a_container_are_distinguished_from_modes() {
        let mut snapshot = desktop();
        snapshot.user.id = 0;
        deny_open(&mut snapshot, "/dev/video0", "video", 0o660);
        let file = node(&mut snapshot, "/dev/video0").file.as_mut().unwrap();
        file.open_error.as_mut().unwrap().errno = EPERM;
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(finding.remedy.unwrap().line, "--device /dev/video0");
    }

    #[test]
    fn node_that_is_denied_although_its_mode_permits_it_gets_no_command() {
        let mut snapshot = desktop();
        deny_open(&mut snapshot, "/dev/video0", "video", 0o660);
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(finding.id, "video-permission");
        assert!(
            finding.why.contains("something else denies it"),
            "{}",
            finding.why
        );
        assert_eq!(finding.remedy, None);
    }
}
