//! Device nodes: missing in a container, or not this user's to open.

use super::super::finding::{Finding, Severity};
use super::super::paste;
use super::super::snapshot::{Kind, Node, NodeFile, Snapshot};
use super::group;

/// EACCES and EPERM.
const PERMISSION: [i32; 2] = [13, 1];
const EPERM: i32 = 1;
/// The group of graphics, cameras and, by the rule below, heaps.
const GROUP: &str = "video";
/// Members of this one may render.
const RENDER_GROUP: &str = "render";

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = missing(snapshot);
    // Nodes that are refused alike are one finding.
    let mut alike: Vec<(Kind, &NodeFile, Vec<&str>)> = Vec::new();
    for node in &snapshot.nodes {
        let Some(file) = node.file.as_ref().filter(|file| file.refusal.is_some()) else {
            continue;
        };
        let path = node.path.as_str();
        match alike
            .iter_mut()
            .find(|(kind, own, _)| *kind == node.kind && *own == file)
        {
            Some((_, _, paths)) => paths.push(path),
            None => alike.push((node.kind, file, vec![path])),
        }
    }
    let refused =
        |(kind, file, paths): &(Kind, &NodeFile, Vec<&str>)| refused(snapshot, *kind, file, paths);
    findings.extend(alike.iter().filter_map(refused));
    findings
}

/// Devices that the kernel has and the file system does not: one finding for each kind.
fn missing(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    for kind in [
        Kind::Udmabuf,
        Kind::Heap,
        Kind::Card,
        Kind::Render,
        Kind::Video,
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
            format!("the kernel has {}, which is not {place}", paths.join(", ")),
            why(kind),
        );
        let lines = flags(&paths).zip(make_nodes(&gone));
        let lines = lines.and_then(|(flags, make)| Some((flags, paste::word(&make)?, make)));
        findings.push(match (lines, &snapshot.container) {
            (None, _) => finding.unhelped("the path of a node"),
            (Some((flags, _, make)), Some(_)) => finding.helped_by(flags).noting(format!(
                "This is for `docker run` or `podman run`, outside. As root inside, where devices are allowed: {make}"
            )),
            (Some((_, word, _)), None) => finding
                .helped_by(snapshot.as_root(&format!("sh -c {word}")))
                .noting("udev makes nodes by itself where it runs and /dev is a devtmpfs."),
        });
    }
    findings
}

/// The container's option: whole folders where they have one. None where a path is no node's.
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

/// The line that makes nodes; none where a path is no node's.
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

/// Nodes of one kind that are there and do not open, all for the same reason.
fn refused(snapshot: &Snapshot, kind: Kind, file: &NodeFile, paths: &[&str]) -> Option<Finding> {
    let refusal = file.refusal.as_ref()?;
    let all = paths.join(", ");
    if !PERMISSION.contains(&refusal.errno) {
        let what = format!("{all}: does not open: {}", refusal.words);
        let id = format!("{}-open", name(kind));
        return Some(Finding::new(id, Severity::Limits, what, why(kind)));
    }
    let what = format!(
        "this user may not open {all} ({}): group {}, mode {:04o}",
        refusal.words, file.group, file.mode
    );
    let id = format!("{}-permission", name(kind));
    let finding = Finding::new(id, severity(snapshot, kind), what, why(kind));
    // The mode would let this user in: something above the file system does not.
    if lets_in(snapshot, file) && refusal.errno == EPERM {
        let Some(flags) = flags(paths) else {
            return Some(finding.unhelped("the path of a node"));
        };
        return Some(finding.helped_by(flags).noting(
            "The file's mode is no hindrance: the container's device rules are. The option is for `docker run` or `podman run`.",
        ));
    }
    Some(permit(snapshot, kind, file, finding))
}

fn permit(snapshot: &Snapshot, kind: Kind, file: &NodeFile, finding: Finding) -> Finding {
    let group_may = file.mode & 0o060 == 0o060 && file.group != "root";
    if group_may {
        return group::join(snapshot, &file.group, finding);
    }
    let rule = match kind {
        Kind::Heap => format!("SUBSYSTEM==\"dma_heap\", GROUP=\"{GROUP}\", MODE=\"0660\""),
        Kind::Udmabuf => format!("KERNEL==\"udmabuf\", GROUP=\"{GROUP}\", MODE=\"0660\""),
        Kind::Card => {
            format!("SUBSYSTEM==\"drm\", KERNEL==\"card*\", GROUP=\"{GROUP}\", MODE=\"0660\"")
        }
        Kind::Render => format!(
            "SUBSYSTEM==\"drm\", KERNEL==\"renderD*\", GROUP=\"{RENDER_GROUP}\", MODE=\"0660\""
        ),
        Kind::Video => format!("SUBSYSTEM==\"video4linux\", GROUP=\"{GROUP}\", MODE=\"0660\""),
    };
    let group = if kind == Kind::Render {
        RENDER_GROUP
    } else {
        GROUP
    };
    let subsystem = match kind {
        Kind::Heap => "dma_heap",
        Kind::Udmabuf => "misc",
        Kind::Card | Kind::Render => "drm",
        Kind::Video => "video4linux",
    };
    let file = format!("/etc/udev/rules.d/70-covalent-{}.rules", name(kind));
    let tee = snapshot.as_root(&format!("tee {file}"));
    let reload = snapshot.as_root("udevadm control --reload");
    let trigger = snapshot.as_root(&format!(
        "udevadm trigger --settle --subsystem-match={subsystem}"
    ));
    let mut line = format!("echo '{rule}' | {tee} && {reload} && {trigger}");
    let is_member = snapshot.user.listed_groups.contains(group);
    if !is_member {
        let Some(user) = paste::user(snapshot.user.name.as_deref()) else {
            return finding.unhelped("the name of this user");
        };
        let join = snapshot.as_root(&format!("usermod -aG {group} {user}"));
        line.push_str(&format!(" && {join}"));
    }
    finding.helped_by(line).noting(if is_member {
        "A udev rule for this subsystem is missing: its nodes are root's alone."
    } else {
        "A udev rule for this subsystem is missing: its nodes are root's alone. The group counts from the next login on."
    })
}

/// Returns whether owner, group and mode of a node let the user read and write.
fn lets_in(snapshot: &Snapshot, file: &NodeFile) -> bool {
    let user = &snapshot.user;
    user.id == 0
        || (file.owner == user.id && file.mode & 0o600 == 0o600)
        || (user.groups.contains(&file.group) && file.mode & 0o060 == 0o060)
        || file.mode & 0o006 == 0o006
}

/// How much it matters: memory can come from elsewhere, a camera and a card cannot.
fn severity(snapshot: &Snapshot, kind: Kind) -> Severity {
    match kind {
        Kind::Udmabuf | Kind::Heap if snapshot.has_memory() => Severity::Limits,
        Kind::Render => Severity::Limits,
        _ => Severity::Blocks,
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Udmabuf => "udmabuf",
        Kind::Heap => "heap",
        Kind::Card => "card",
        Kind::Render => "render",
        Kind::Video => "video",
    }
}

fn why(kind: Kind) -> &'static str {
    match kind {
        Kind::Udmabuf => {
            "udmabuf makes buffers of ordinary memory, which everybody can import who reaches memory page by page; without it Mesa's Vulkan on the processor shares no images."
        }
        Kind::Heap => {
            "A dma-heap gives memory that belongs to no device: where camera, GPU and display refuse each other's, it is what they can share."
        }
        Kind::Card => {
            "Without the card's node nothing is shown, and none of its memory can be had."
        }
        Kind::Render => {
            "Without the render node programs draw on the processor instead of the GPU."
        }
        Kind::Video => "The camera, codec or output behind this node cannot be used.",
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{desktop, node, refused as refuse};
    use super::*;

    #[test]
    fn machine_in_order_has_no_finding() {
        assert_eq!(check(&desktop()), []);
    }

    #[test]
    fn heap_that_is_roots_is_given_to_a_group_by_a_rule() {
        let mut snapshot = desktop();
        refuse(&mut snapshot, "/dev/dma_heap/system", "root", 0o600);
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(finding.id, "heap-permission");
        assert_eq!(finding.severity, Severity::Limits);
        let line = finding.remedy.unwrap().line;
        assert!(
            line.contains("SUBSYSTEM==\"dma_heap\", GROUP=\"video\""),
            "{line}"
        );
        assert!(!line.contains("usermod"), "the user is in video: {line}");
        // Without any other memory it is in the way.
        refuse(&mut snapshot, "/dev/udmabuf", "root", 0o600);
        assert!(
            check(&snapshot)
                .iter()
                .all(|one| one.severity == Severity::Blocks)
        );
    }

    #[test]
    fn nodes_that_are_refused_alike_are_one_finding() {
        let mut snapshot = desktop();
        let mut second = node(&mut snapshot, "/dev/dma_heap/system").clone();
        second.path = "/dev/dma_heap/reserved".to_owned();
        snapshot.nodes.push(second);
        for path in ["/dev/dma_heap/system", "/dev/dma_heap/reserved"] {
            refuse(&mut snapshot, path, "root", 0o600);
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
    fn card_of_a_group_is_opened_by_joining_it() {
        let mut snapshot = desktop();
        snapshot.user.groups.clear();
        snapshot.user.listed_groups.clear();
        refuse(&mut snapshot, "/dev/dri/card0", "video", 0o660);
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(
            (finding.id.as_str(), finding.severity),
            ("card-permission", Severity::Blocks)
        );
        assert_eq!(finding.remedy.unwrap().line, "sudo usermod -aG video ada");
        // Who has joined has to log in.
        snapshot.user.listed_groups.insert("video".to_owned());
        refuse(&mut snapshot, "/dev/video0", "video", 0o660);
        let both = check(&snapshot);
        assert_eq!(both.len(), 2, "a card and a camera: {both:?}");
        snapshot.nodes.retain(|node| node.kind != Kind::Video);
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(finding.remedy.unwrap().line, "exec su -l ada");
    }

    #[test]
    fn container_without_a_folder_is_given_it_by_a_flag() {
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
    fn node_that_no_container_hides_is_made() {
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
    fn device_rules_of_a_container_are_told_from_modes() {
        let mut snapshot = desktop();
        snapshot.user.id = 0;
        refuse(&mut snapshot, "/dev/video0", "video", 0o660);
        let file = node(&mut snapshot, "/dev/video0").file.as_mut().unwrap();
        file.refusal.as_mut().unwrap().errno = EPERM;
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(finding.remedy.unwrap().line, "--device /dev/video0");
    }
}
