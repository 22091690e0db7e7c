//! From what processes have and what debugfs lists to one account of each dma-buf. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use covalent_alloc::kernel::Object;

use super::census::{Census, Process};
use super::report::{BufferReport, Holder, Mapped};

/// Which dma-bufs are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Those of these processes; all where there are none.
    pub(super) processes: Option<BTreeSet<u32>>,
    /// That with this number in them.
    pub(super) fd: Option<u32>,
    /// That with this inode.
    pub(super) inode: Option<u64>,
}

impl Wanted {
    /// The inodes that are asked for, of those that processes have; `None` for all there are.
    fn inodes(&self, census: &Census) -> Option<BTreeSet<u64>> {
        let Some(ids) = &self.processes else {
            return self.inode.map(|inode| BTreeSet::from([inode]));
        };
        let own = census
            .processes
            .iter()
            .filter(|process| ids.contains(&process.id));
        let of = |process: &Process| -> Vec<u64> {
            let held = process
                .held
                .iter()
                .filter(|held| self.fd.is_none_or(|fd| fd == held.fd))
                .map(|held| held.buffer.inode);
            let mapped = process
                .mapped
                .iter()
                .filter(|_| self.fd.is_none())
                .map(|line| line.inode);
            held.chain(mapped).collect()
        };
        let mut inodes: BTreeSet<u64> = own.flat_map(of).collect();
        if let Some(inode) = self.inode {
            inodes.retain(|found| *found == inode);
        }
        Some(inodes)
    }
}

/// Accounts for every dma-buf that is asked for, by inode. `listed` is what debugfs has, where it can be read.
pub(super) fn gather(
    census: &Census,
    listed: Option<&[Object]>,
    wanted: &Wanted,
    now: SystemTime,
) -> Vec<BufferReport> {
    let inodes = wanted.inodes(census);
    let is_wanted = |inode: u64| inodes.as_ref().is_none_or(|inodes| inodes.contains(&inode));
    let mut buffers: BTreeMap<u64, BufferReport> = BTreeMap::new();
    for process in &census.processes {
        for held in process
            .held
            .iter()
            .filter(|held| is_wanted(held.buffer.inode))
        {
            let buffer = buffers.entry(held.buffer.inode).or_default();
            buffer.inode = held.buffer.inode;
            buffer.size_bytes = held.buffer.size_bytes;
            buffer.references = buffer.references.max(held.buffer.references);
            buffer.exporter.clone_from(&held.buffer.exporter);
            buffer.name.clone_from(&held.buffer.name);
            let age = held.made.and_then(|made| now.duration_since(made).ok());
            let age = age.and_then(|age| u64::try_from(age.as_nanos()).ok());
            buffer.age_ns = buffer.age_ns.or(age);
            match buffer.holders.last_mut() {
                Some(holder) if holder.process == process.id => holder.fds.push(held.fd),
                _ => buffer.holders.push(Holder {
                    process: process.id,
                    started: process.started,
                    command: process.command.clone(),
                    fds: vec![held.fd],
                }),
            }
        }
        for line in process.mapped.iter().filter(|line| is_wanted(line.inode)) {
            let buffer = buffers.entry(line.inode).or_default();
            buffer.inode = line.inode;
            // What is mapped and held by nobody is known by its mappings alone.
            let end = line.offset_bytes.saturating_add(line.length_bytes);
            if buffer.holders.is_empty() {
                buffer.size_bytes = buffer.size_bytes.max(end);
            }
            buffer.mappings.push(Mapped {
                process: process.id,
                command: process.command.clone(),
                start: line.start,
                length_bytes: line.length_bytes,
                offset_bytes: line.offset_bytes,
                permissions: line.permissions.clone(),
            });
        }
    }
    for object in listed.unwrap_or_default() {
        // Those that no process has are the drivers' own, and belong to the whole machine.
        let is_machine = wanted.processes.is_none() && is_wanted(object.inode);
        if !is_machine && !buffers.contains_key(&object.inode) {
            continue;
        }
        let buffer = buffers.entry(object.inode).or_default();
        buffer.inode = object.inode;
        buffer.size_bytes = object.size_bytes;
        buffer.references = object.references;
        buffer.exporter.clone_from(&object.exporter);
        buffer.name = buffer.name.take().or_else(|| object.name.clone());
        buffer.attached = Some(object.attached.clone());
        buffer.listed_fences = Some(object.fences.clone());
    }
    let mut buffers: Vec<BufferReport> = buffers.into_values().collect();
    for buffer in &mut buffers {
        let fds: usize = buffer.holders.iter().map(|holder| holder.fds.len()).sum();
        let seen = fds.saturating_add(buffer.mappings.len());
        let seen = u64::try_from(seen).unwrap_or(u64::MAX);
        buffer.elsewhere = buffer.references.saturating_sub(seen);
    }
    buffers
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use covalent_alloc::kernel::{Fdinfo, ListedFence, MapLine};

    use super::super::census::Held;
    use super::*;

    fn held(fd: u32, inode: u64, name: Option<&str>) -> Held {
        Held {
            fd,
            buffer: Fdinfo {
                inode,
                size_bytes: 1_228_800,
                references: 6,
                exporter: "virtio_gpu".to_owned(),
                name: name.map(str::to_owned),
            },
            made: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(100)),
        }
    }

    fn mapped(inode: u64) -> MapLine {
        MapLine {
            start: 0x7f00_0000_0000,
            length_bytes: 1_228_800,
            permissions: "rw-s".to_owned(),
            offset_bytes: 0,
            device: (0, 12),
            inode,
            what: "/dmabuf:".to_owned(),
        }
    }

    /// A camera and a compositor that share one buffer; the compositor has another for itself.
    pub(in super::super) fn census() -> Census {
        Census {
            processes: vec![
                Process {
                    id: 401,
                    started: Some(7),
                    name: b"covalent-compos".to_vec(),
                    command: "covalent-compos".to_owned(),
                    held: vec![held(23, 17, None), held(30, 18, None)],
                    mapped: vec![mapped(18)],
                },
                Process {
                    id: 412,
                    started: Some(8),
                    name: b"covalent-camera".to_vec(),
                    command: "covalent-camera".to_owned(),
                    held: vec![
                        held(9, 17, Some("covalent-XR24-640x480-2560")),
                        held(12, 17, Some("covalent-XR24-640x480-2560")),
                    ],
                    mapped: Vec::new(),
                },
            ],
            closed: Vec::new(),
        }
    }

    pub(in super::super) fn listed() -> Vec<Object> {
        let object = |inode, attached: &[&str]| Object {
            size_bytes: 1_228_800,
            references: 7,
            exporter: "virtio_gpu".to_owned(),
            inode,
            name: None,
            fences: vec![ListedFence {
                usage: "bookkeep".to_owned(),
                words: "12:4 ring virtio_gpu".to_owned(),
                is_signalled: false,
            }],
            attached: attached.iter().map(|one| (*one).to_owned()).collect(),
        };
        vec![object(17, &["vivid-000"]), object(18, &[]), object(99, &[])]
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(112)
    }

    fn wanted(processes: &[u32], fd: Option<u32>) -> Wanted {
        Wanted {
            processes: Some(processes.iter().copied().collect()),
            fd,
            inode: None,
        }
    }

    #[test]
    fn buffer_of_one_process_names_everybody_who_has_it() {
        let found = gather(&census(), None, &wanted(&[412], Some(9)), now());
        let [buffer] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(buffer.inode, 17);
        assert_eq!(buffer.age_ns, Some(12_000_000_000));
        let holders: Vec<(u32, &[u32])> = buffer
            .holders
            .iter()
            .map(|holder| (holder.process, holder.fds.as_slice()))
            .collect();
        assert_eq!(holders, [(401, &[23][..]), (412, &[9, 12])]);
        // Six references, of which three are fds of processes that were seen.
        assert_eq!((buffer.references, buffer.elsewhere), (6, 3));
        assert_eq!(buffer.attached, None);
        assert!(gather(&census(), None, &wanted(&[412], Some(10)), now()).is_empty());
        assert!(gather(&census(), None, &wanted(&[1], None), now()).is_empty());
    }

    #[test]
    fn whole_machine_has_what_drivers_keep_for_themselves() {
        let found = gather(&census(), Some(&listed()), &Wanted::default(), now());
        let inodes: Vec<u64> = found.iter().map(|buffer| buffer.inode).collect();
        assert_eq!(inodes, [17, 18, 99]);
        assert_eq!(found[0].attached, Some(vec!["vivid-000".to_owned()]));
        assert_eq!(found[1].mappings.len(), 1);
        assert_eq!((found[2].references, found[2].elsewhere), (7, 7));
        let found = gather(&census(), Some(&listed()), &wanted(&[401], None), now());
        assert_eq!(found.len(), 2);
        let only = Wanted {
            inode: Some(18),
            ..Wanted::default()
        };
        assert_eq!(gather(&census(), Some(&listed()), &only, now()).len(), 1);
    }

    #[test]
    fn buffer_that_is_mapped_and_held_by_nobody_is_known_by_its_mapping() {
        let mut census = census();
        census.processes[0].held.clear();
        let found = gather(&census, None, &wanted(&[401], None), now());
        let [buffer] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!((buffer.inode, buffer.size_bytes), (18, 1_228_800));
        assert_eq!((buffer.references, buffer.elsewhere), (0, 0));
    }
}
