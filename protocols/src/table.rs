//! The format table of `linux-dmabuf` feedback: 16 bytes an entry, native endian, in a sealed memfd.
//!
//! ```text
//!   0        4        8                16
//!   | fourcc | unused |    modifier    |   entry 0
//!   | fourcc | unused |    modifier    |   entry 1 …
//! ```

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::io::Errno;

/// The size of a table entry in bytes.
pub const ENTRY_BYTES: usize = 16;

/// The maximum number of entries in a table: an index has 16 bits.
pub const ENTRIES_MAX: usize = 1 << 16;

/// A pair of format and modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FormatEntry {
    /// DRM fourcc code.
    pub fourcc: u32,
    /// DRM format modifier.
    pub modifier: u64,
}

/// Why a format table cannot be made, sealed or received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The table has more entries than 16-bit indices can refer to.
    #[error(
        "the format table has {0} entries, and 16-bit indices can refer to at most {ENTRIES_MAX}; advertise fewer formats"
    )]
    TooLong(usize),
    /// The table has the same pair twice.
    #[error(
        "the format table holds {fourcc:#010x} with modifier {modifier:#018x} twice; every pair may appear once"
    )]
    Duplicate {
        /// DRM fourcc code of the pair.
        fourcc: u32,
        /// DRM format modifier of the pair.
        modifier: u64,
    },
    /// The size of the table is not a multiple of [`ENTRY_BYTES`].
    #[error("a format table of {0} bytes: the size must be a multiple of {ENTRY_BYTES}")]
    Size(usize),
    /// The file is shorter than the size that the peer sent.
    #[error(
        "the peer sent a format table size of {claimed} bytes, and the file has only {actual} bytes"
    )]
    Truncated {
        /// The size that the peer sent, in bytes.
        claimed: usize,
        /// The size of the file, in bytes.
        actual: u64,
    },
    /// A system call on the table's file failed.
    #[error("{operation} on the file of the format table failed: {source}")]
    Kernel {
        /// The system call that failed.
        operation: &'static str,
        /// The errno that the system call returned.
        source: Errno,
    },
}

/// The pairs of format and modifier to which tranches refer by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormatTable {
    entries: Vec<FormatEntry>,
}

/// A format table in a sealed memfd, which no process can change. It is sent to clients.
#[derive(Debug)]
pub struct SealedTable {
    fd: OwnedFd,
    size_bytes: u32,
}

impl SealedTable {
    /// Returns the size of the table in bytes.
    pub fn size_bytes(&self) -> u32 {
        self.size_bytes
    }
}

impl AsFd for SealedTable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl FormatTable {
    /// Makes a table of these pairs, in this order.
    ///
    /// # Errors
    ///
    /// [`TableError::TooLong`] for more than [`ENTRIES_MAX`] pairs, [`TableError::Duplicate`] for a pair that occurs twice.
    pub fn new(entries: impl IntoIterator<Item = FormatEntry>) -> Result<Self, TableError> {
        let table = Self {
            entries: entries.into_iter().collect(),
        };
        if table.entries.len() > ENTRIES_MAX {
            return Err(TableError::TooLong(table.entries.len()));
        }
        let mut seen = HashSet::with_capacity(table.entries.len());
        for entry in &table.entries {
            if !seen.insert(*entry) {
                return Err(TableError::Duplicate {
                    fourcc: entry.fourcc,
                    modifier: entry.modifier,
                });
            }
        }
        Ok(table)
    }

    /// Returns all pairs in the order of their indices.
    pub fn entries(&self) -> &[FormatEntry] {
        &self.entries
    }

    /// Returns the pair at `index`; `None` beyond the end of the table.
    pub fn get(&self, index: u16) -> Option<FormatEntry> {
        self.entries.get(usize::from(index)).copied()
    }

    /// Returns the index of a pair; `None` if the table does not contain it.
    pub fn index_of(&self, entry: FormatEntry) -> Option<u16> {
        let at = self
            .entries
            .iter()
            .position(|candidate| *candidate == entry)?;
        u16::try_from(at).ok()
    }

    /// Returns the table in the layout that the protocol sends.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len().saturating_mul(ENTRY_BYTES));
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.fourcc.to_ne_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&entry.modifier.to_ne_bytes());
        }
        bytes
    }

    /// Parses a table from bytes that a peer sent.
    ///
    /// A pair that occurs twice is kept twice, because the peer's indices count both entries.
    ///
    /// # Errors
    ///
    /// [`TableError::Size`] for a length that is not a multiple of [`ENTRY_BYTES`], [`TableError::TooLong`] for more than
    /// [`ENTRIES_MAX`] entries.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TableError> {
        let chunks = bytes.chunks_exact(ENTRY_BYTES);
        if !chunks.remainder().is_empty() {
            return Err(TableError::Size(bytes.len()));
        }
        if chunks.len() > ENTRIES_MAX {
            return Err(TableError::TooLong(chunks.len()));
        }
        let entries = chunks
            .map(|chunk| {
                let mut fourcc = [0; 4];
                let mut modifier = [0; 8];
                fourcc.copy_from_slice(&chunk[..4]);
                modifier.copy_from_slice(&chunk[8..]);
                FormatEntry {
                    fourcc: u32::from_ne_bytes(fourcc),
                    modifier: u64::from_ne_bytes(modifier),
                }
            })
            .collect();
        Ok(Self { entries })
    }

    /// Writes the table to a new memfd and seals it against every change.
    ///
    /// # Errors
    ///
    /// [`TableError::Kernel`] if the memfd cannot be created, written or sealed.
    ///
    /// # References
    ///
    /// `memfd_create(2)`, `fcntl(2)` on file sealing.
    pub fn seal(&self) -> Result<SealedTable, TableError> {
        let kernel = |operation| move |source| TableError::Kernel { operation, source };
        let bytes = self.to_bytes();
        let size_bytes =
            u32::try_from(bytes.len()).map_err(|_| TableError::TooLong(self.entries.len()))?;
        let fd = memfd_create(
            "covalent-format-table",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )
        .map_err(kernel("memfd_create"))?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&fd, rest))
                .map_err(kernel("write"))?;
            rest = rest.get(written..).unwrap_or_default();
        }
        fcntl_add_seals(
            &fd,
            SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
        )
        .map_err(kernel("fcntl(F_ADD_SEALS)"))?;
        Ok(SealedTable { fd, size_bytes })
    }

    /// Reads a table from a file descriptor that a peer sent. `size_bytes` is the size that the peer claims.
    ///
    /// The file is read and not mapped. If the peer truncates the file meanwhile, the read returns an error, while an access to a
    /// mapping would raise SIGBUS.
    ///
    /// # Errors
    ///
    /// The errors of [`from_bytes`](Self::from_bytes), [`TableError::Truncated`] if the file is shorter than `size_bytes`, and
    /// [`TableError::Kernel`] if it cannot be read.
    pub fn receive(fd: impl AsFd, size_bytes: u32) -> Result<Self, TableError> {
        let kernel = |operation| move |source| TableError::Kernel { operation, source };
        let fd = fd.as_fd();
        let claimed = usize::try_from(size_bytes).map_err(|_| TableError::TooLong(usize::MAX))?;
        if claimed % ENTRY_BYTES != 0 {
            return Err(TableError::Size(claimed));
        }
        if claimed / ENTRY_BYTES > ENTRIES_MAX {
            return Err(TableError::TooLong(claimed / ENTRY_BYTES));
        }
        let actual = u64::try_from(fstat(fd).map_err(kernel("fstat"))?.st_size).unwrap_or(0);
        if actual < u64::from(size_bytes) {
            return Err(TableError::Truncated { claimed, actual });
        }
        let mut bytes = vec![0; claimed];
        let mut filled = 0;
        while filled < claimed {
            let offset = u64::try_from(filled).unwrap_or(u64::MAX);
            let got =
                rustix::io::retry_on_intr(|| rustix::io::pread(fd, &mut bytes[filled..], offset))
                    .map_err(kernel("pread"))?;
            if got == 0 {
                return Err(TableError::Truncated {
                    claimed,
                    actual: offset,
                });
            }
            filled = filled.saturating_add(got);
        }
        Self::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = FormatEntry> {
        (any::<u32>(), any::<u64>()).prop_map(|(fourcc, modifier)| FormatEntry { fourcc, modifier })
    }

    proptest! {
        #[test]
        fn table_sealed_and_received_is_unchanged(entries in prop::collection::hash_set(entry(), 0..64)) {
            let table = FormatTable::new(entries).unwrap();
            let sealed = table.seal().unwrap();
            prop_assert_eq!(FormatTable::receive(&sealed, sealed.size_bytes()).unwrap(), table);
        }

        #[test]
        fn table_from_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            match FormatTable::from_bytes(&bytes) {
                Ok(table) => prop_assert_eq!(table.entries().len() * ENTRY_BYTES, bytes.len()),
                Err(error) => prop_assert!(matches!(error, TableError::Size(_))),
            }
        }
    }

    #[test]
    fn table_with_a_pair_twice_is_refused() {
        let pair = FormatEntry {
            fourcc: 1,
            modifier: 2,
        };
        assert!(matches!(
            FormatTable::new([pair, pair]),
            Err(TableError::Duplicate {
                fourcc: 1,
                modifier: 2
            })
        ));
    }

    #[test]
    fn table_longer_than_its_file_is_refused() {
        let sealed = FormatTable::new([FormatEntry {
            fourcc: 1,
            modifier: 0,
        }])
        .unwrap()
        .seal()
        .unwrap();
        assert!(matches!(
            FormatTable::receive(&sealed, 32),
            Err(TableError::Truncated {
                claimed: 32,
                actual: 16
            })
        ));
    }

    #[test]
    fn table_whose_size_is_no_multiple_of_an_entry_is_refused() {
        let sealed = FormatTable::new([FormatEntry {
            fourcc: 1,
            modifier: 0,
        }])
        .unwrap()
        .seal()
        .unwrap();
        assert!(matches!(
            FormatTable::receive(&sealed, 15),
            Err(TableError::Size(15))
        ));
        assert!(matches!(
            FormatTable::receive(&sealed, u32::MAX - 15),
            Err(TableError::TooLong(_))
        ));
    }

    #[test]
    fn table_in_a_pipe_is_refused_without_waiting() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(FormatTable::receive(&reader, 16).is_err());
    }

    #[test]
    fn sealed_table_cannot_be_written() {
        let sealed = FormatTable::new([FormatEntry {
            fourcc: 1,
            modifier: 0,
        }])
        .unwrap()
        .seal()
        .unwrap();
        assert_eq!(
            rustix::io::pwrite(&sealed, &[1], 0).unwrap_err(),
            Errno::PERM
        );
        assert_eq!(rustix::fs::ftruncate(&sealed, 0).unwrap_err(), Errno::PERM);
    }
}
