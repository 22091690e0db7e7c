//! Determines which users may open a device node, by its owner, group, mode and access control list.

use super::super::snapshot::{AclSubject, NodeFile, NodeKind, Snapshot};

/// Returns the permission bits that opening a node of this kind needs. A dma-heap allocates with a read-only fd; all other nodes
/// are opened for reading and writing.
fn needed_permissions(kind: NodeKind) -> u32 {
    match kind {
        NodeKind::Heap => 4,
        _ => 6,
    }
}

/// Returns the groups whose members may open the node.
pub(super) fn permitted_groups<'a>(
    kind: NodeKind,
    file: &'a NodeFile,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let needed = needed_permissions(kind);
    let has = move |permissions: u32| permissions & needed == needed;
    // Without an access control list, the mode has the permissions of the owning group.
    let owning = match file
        .acl
        .iter()
        .find(|entry| entry.subject == AclSubject::OwningGroup)
    {
        Some(entry) => has(entry.permissions),
        None => has(file.mode >> 3),
    };
    let owning = owning.then_some(file.group.as_str());
    let named = file
        .acl
        .iter()
        .filter_map(move |entry| match &entry.subject {
            AclSubject::Group(group) if has(entry.permissions) => Some(group.as_str()),
            _ => None,
        });
    owning.into_iter().chain(named)
}

/// Returns whether `covalent doctor` may propose to join a group. The group `root` would give the user too many permissions, and
/// usermod accepts only groups that have a name.
pub(super) fn is_joinable(group: &str) -> bool {
    group != "root" && !group.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether owner, group, mode and access control list of a node permit this user to open it.
pub(super) fn permits(snapshot: &Snapshot, kind: NodeKind, file: &NodeFile) -> bool {
    let user = &snapshot.user;
    let needed = needed_permissions(kind);
    let has = |permissions: u32| permissions & needed == needed;
    user.id == 0
        || (file.owner == user.id && has(file.mode >> 6))
        || file
            .acl
            .iter()
            .any(|entry| entry.subject == AclSubject::User(user.id) && has(entry.permissions))
        || permitted_groups(kind, file).any(|group| user.groups.contains(group))
        || has(file.mode)
}

#[cfg(test)]
mod tests {
    use super::super::super::snapshot::AclEntry;
    use super::super::fixture::{deny_open, desktop, node};
    use super::super::node::check;
    use super::*;

    #[test]
    fn heap_of_a_group_that_reads_is_remedied_by_joining_it() {
        let mut snapshot = desktop();
        deny_open(&mut snapshot, "/dev/dma_heap/system", "memory", 0o640);
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(finding.remedy.unwrap().line, "sudo usermod -aG memory ada");
        // A card has to be opened for reading and writing, so joining a group that may only read does not help.
        let mut snapshot = desktop();
        deny_open(&mut snapshot, "/dev/dri/card0", "memory", 0o640);
        let [finding] = check(&snapshot).try_into().unwrap();
        let line = finding.remedy.unwrap().line;
        assert!(line.contains("SUBSYSTEM==\"drm\""), "{line}");
    }

    #[test]
    fn node_with_an_access_control_list_is_remedied_by_the_group_that_it_permits() {
        let mut snapshot = desktop();
        deny_open(&mut snapshot, "/dev/udmabuf", "kvm", 0o660);
        let with = |snapshot: &mut Snapshot, acl: &[(AclSubject, u32)]| {
            let file = node(snapshot, "/dev/udmabuf").file.as_mut().unwrap();
            file.acl = acl
                .iter()
                .map(|(subject, permissions)| AclEntry {
                    subject: subject.clone(),
                    permissions: *permissions,
                })
                .collect();
        };
        // With an access control list, the group bits of the mode are the mask. In this list the owning group has no permission.
        let builders = AclSubject::Group("builders".to_owned());
        with(
            &mut snapshot,
            &[(AclSubject::OwningGroup, 0), (builders, 6)],
        );
        let [finding] = check(&snapshot).try_into().unwrap();
        assert!(
            finding.what.contains("access control list"),
            "{}",
            finding.what
        );
        assert_eq!(
            finding.remedy.unwrap().line,
            "sudo usermod -aG builders ada"
        );
        // udev has given access to the user of another session.
        with(
            &mut snapshot,
            &[(AclSubject::User(7), 6), (AclSubject::OwningGroup, 0)],
        );
        let [finding] = check(&snapshot).try_into().unwrap();
        let remedy = finding.remedy.unwrap();
        assert!(
            remedy.line.contains("KERNEL==\"udmabuf\""),
            "{}",
            remedy.line
        );
        assert!(remedy.note.unwrap().contains("active session"));
    }

    #[test]
    fn node_of_a_group_without_a_name_or_of_another_user_gets_a_udev_rule() {
        for (owner, group, mode, who) in [
            (0, "4711", 0o660, "only root may"),
            (
                4711,
                "root",
                0o600,
                "only root and the user with ID 4711 may",
            ),
        ] {
            let mut snapshot = desktop();
            deny_open(&mut snapshot, "/dev/dri/card0", group, mode);
            let file = node(&mut snapshot, "/dev/dri/card0").file.as_mut().unwrap();
            file.owner = owner;
            let [finding] = check(&snapshot).try_into().unwrap();
            let remedy = finding.remedy.unwrap();
            assert!(remedy.line.contains("GROUP=\"video\""), "{}", remedy.line);
            let note = remedy.note.unwrap();
            assert!(note.contains(who), "{note}");
        }
    }
}
