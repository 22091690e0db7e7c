//! Groups: how a user comes to be in one.

use super::super::finding::Finding;
use super::super::paste;
use super::super::snapshot::Snapshot;

/// Adds the line by which this user is in a group that would let it in.
pub(super) fn join(snapshot: &Snapshot, group: &str, finding: Finding) -> Finding {
    let Some(user) = paste::user(snapshot.user.name.as_deref()) else {
        return finding.unhelped("the name of this user");
    };
    let Some(word) = paste::name(group) else {
        return finding.unhelped("the name of this group");
    };
    if snapshot.user.listed_groups.contains(group) {
        return finding
            .helped_by(format!("exec su -l {user}"))
            .noting(format!(
                "{user} is in group {group} since this session began: log in again, or paste this."
            ));
    }
    finding
        .helped_by(snapshot.as_root(&format!("usermod -aG {word} {user}")))
        .noting("It counts from the next login on.")
}
