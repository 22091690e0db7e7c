//! Reads the access control list of a node.

use super::super::snapshot::{AclEntry, AclSubject};
use super::system::group_name;

/// The longest access control list that is read, in bytes. An entry has eight bytes, and udev adds one or two entries.
const MAX_FILE_BYTES: usize = 4096;

/// Reads the access control list of the file at a path. Returns an empty list if the file has none or it cannot be read.
pub(super) fn read(path: &str) -> Vec<AclEntry> {
    let mut bytes = [0; MAX_FILE_BYTES];
    let length = rustix::fs::getxattr(path, "system.posix_acl_access", &mut bytes).unwrap_or(0);
    parse(bytes.get(..length).unwrap_or_default()).unwrap_or_default()
}

/// Parses an access control list. The entries of the owner and of all other users are left out, because the mode has the same
/// permissions.
///
/// # References
/// `linux/posix_acl_xattr.h`: a version, which is 2, then entries of u16 tag, u16 permissions and u32 ID, all little-endian.
/// `linux/posix_acl.h`: the tags. acl(5): the mask limits named users and all groups.
fn parse(bytes: &[u8]) -> Option<Vec<AclEntry>> {
    const VERSION: u32 = 2;
    const USER: u16 = 0x02;
    const OWNING_GROUP: u16 = 0x04;
    const GROUP: u16 = 0x08;
    const MASK: u16 = 0x10;
    let (version, rest) = bytes.split_first_chunk()?;
    if u32::from_le_bytes(*version) != VERSION {
        return None;
    }
    let entries = || {
        rest.chunks_exact(8).filter_map(|entry| {
            let tag = u16::from_le_bytes(*entry.first_chunk()?);
            let permissions = u16::from_le_bytes(*entry.get(2..)?.first_chunk()?);
            let id = u32::from_le_bytes(*entry.get(4..)?.first_chunk()?);
            Some((tag, u32::from(permissions), id))
        })
    };
    let mask = entries()
        .find(|(tag, ..)| *tag == MASK)
        .map_or(7, |(_, permissions, _)| permissions);
    let named = entries().filter_map(|(tag, permissions, id)| {
        let subject = match tag {
            USER => AclSubject::User(id),
            OWNING_GROUP => AclSubject::OwningGroup,
            GROUP => AclSubject::Group(group_name(id)),
            _ => return None,
        };
        Some(AclEntry {
            subject,
            permissions: permissions & mask,
        })
    });
    Some(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_of_an_active_session_is_read_with_its_mask() {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in [
            (0x01_u16, 6_u16, u32::MAX),
            (0x02, 6, 1000),
            (0x04, 7, u32::MAX),
            (0x08, 4, 4_000_000_000),
            (0x10, 6, u32::MAX),
            (0x20, 0, u32::MAX),
        ] {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        let entry = |subject, permissions| AclEntry {
            subject,
            permissions,
        };
        let expected = [
            entry(AclSubject::User(1000), 6),
            entry(AclSubject::OwningGroup, 6),
            entry(AclSubject::Group("4000000000".to_owned()), 4),
        ];
        assert_eq!(parse(&bytes).unwrap(), expected);
        assert_eq!(parse(&bytes[..3]), None);
        assert_eq!(parse(&[1, 0, 0, 0]), None);
        assert_eq!(parse(&[2, 0, 0, 0]), Some(Vec::new()));
    }

    #[test]
    fn file_without_a_list_has_an_empty_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(read(file.path().to_str().unwrap()), []);
    }
}
