//! The remedy for a user who is not in a group that may open a device node.

use super::super::finding::Finding;
use super::super::paste;
use super::super::snapshot::Snapshot;

/// Adds the command that makes this user a member of a group.
pub(super) fn join(snapshot: &Snapshot, group: &str, finding: Finding) -> Finding {
    let Some(user) = paste::user(snapshot.user.name.as_deref()) else {
        return finding.without_remedy("the name of this user");
    };
    let Some(word) = paste::name(group) else {
        return finding.without_remedy("the name of this group");
    };
    if snapshot.user.listed_groups.contains(group) {
        return finding
            .with_command(format!("exec su -l {user}"))
            .with_note(format!(
                "{user} became a member of group {group} after this session began: log in again, or paste this."
            ));
    }
    finding
        .with_command(snapshot.as_root(&format!("usermod -aG {word} {user}")))
        .with_note("This takes effect at the next login.")
}
