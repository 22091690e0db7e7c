//! Combines the fds and mappings of all processes with the dma-buf list of debugfs into one report for each dma-buf. Pure
//! functions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use covalent_alloc::kernel::Object;

use super::process_scan::{Process, ProcessScan};
use super::report::{BufferMapping, BufferReport, Holder};

/// Selects the dma-bufs that the report contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BufferFilter {
    /// Selects the dma-bufs that one of these processes holds or maps; `None` selects those of every process.
    pub(super) processes: Option<BTreeSet<u32>>,
    /// Selects the dma-buf to which this fd of a selected process refers.
    pub(super) fd: Option<u32>,
    /// Selects the dma-buf with this inode.
    pub(super) inode: Option<u64>,
}

impl BufferFilter {
    /// Returns the selected inodes; `None` selects all.
    fn inodes(&self, scan: &ProcessScan) -> Option<BTreeSet<u64>> {
        let Some(pids) = &self.processes else {
            return self.inode.map(|inode| BTreeSet::from([inode]));
        };
        let selected = scan
            .processes
            .iter()
            .filter(|process| pids.contains(&process.pid));
        let of = |process: &Process| -> Vec<u64> {
            let open = process
                .dmabuf_fds
                .iter()
                .filter(|dmabuf| self.fd.is_none_or(|fd| fd == dmabuf.fd))
                .map(|dmabuf| dmabuf.info.inode);
            let mapped = process
                .mappings
                .iter()
                .filter(|_| self.fd.is_none())
                .map(|line| line.inode);
            open.chain(mapped).collect()
        };
        let mut inodes: BTreeSet<u64> = selected.flat_map(of).collect();
        if let Some(inode) = self.inode {
            inodes.retain(|found| *found == inode);
        }
        Some(inodes)
    }
}

/// Returns a report for each selected dma-buf, ordered by inode. `listed` is the dma-buf list of debugfs; `None` if it could not
/// be read.
pub(super) fn collect_buffers(
    scan: &ProcessScan,
    listed: Option<&[Object]>,
    filter: &BufferFilter,
    now: SystemTime,
) -> Vec<BufferReport> {
    let inodes = filter.inodes(scan);
    let is_selected = |inode: u64| inodes.as_ref().is_none_or(|inodes| inodes.contains(&inode));
    let mut buffers: BTreeMap<u64, BufferReport> = BTreeMap::new();
    for process in &scan.processes {
        for dmabuf in process
            .dmabuf_fds
            .iter()
            .filter(|dmabuf| is_selected(dmabuf.info.inode))
        {
            let info = &dmabuf.info;
            let buffer = buffers.entry(info.inode).or_default();
            buffer.inode = info.inode;
            buffer.size_bytes = info.size_bytes;
            buffer.references = buffer.references.max(info.references);
            buffer.exporter.clone_from(&info.exporter);
            buffer.name.clone_from(&info.name);
            let age = dmabuf
                .created_at
                .and_then(|created_at| now.duration_since(created_at).ok());
            let age = age.and_then(|age| u64::try_from(age.as_nanos()).ok());
            buffer.age_ns = buffer.age_ns.or(age);
            match buffer.holders.last_mut() {
                Some(holder) if holder.pid == process.pid => holder.fds.push(dmabuf.fd),
                _ => buffer.holders.push(Holder {
                    pid: process.pid,
                    start_ticks: process.start_ticks,
                    command: process.command.clone(),
                    fds: vec![dmabuf.fd],
                }),
            }
        }
        for line in process
            .mappings
            .iter()
            .filter(|line| is_selected(line.inode))
        {
            let buffer = buffers.entry(line.inode).or_default();
            buffer.inode = line.inode;
            // If no process has an fd of a dma-buf, there is no fdinfo with its size. Its size is at least the end of its largest
            // mapping.
            let end = line.offset_bytes.saturating_add(line.length_bytes);
            if buffer.holders.is_empty() {
                buffer.size_bytes = buffer.size_bytes.max(end);
            }
            buffer.mappings.push(BufferMapping {
                pid: process.pid,
                command: process.command.clone(),
                start: line.start,
                length_bytes: line.length_bytes,
                offset_bytes: line.offset_bytes,
                permissions: line.permissions.clone(),
            });
        }
    }
    for object in listed.unwrap_or_default() {
        // A driver may hold a dma-buf of which no process has an fd. Such dma-bufs are reported unless `--pid` names processes.
        let is_whole_machine = filter.processes.is_none() && is_selected(object.inode);
        if !is_whole_machine && !buffers.contains_key(&object.inode) {
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
        buffer.unseen_references = buffer.references.saturating_sub(seen);
    }
    buffers
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use covalent_alloc::kernel::{Fdinfo, ListedFence, MapLine};

    use super::super::process_scan::DmabufFd;
    use super::*;

    fn dmabuf_fd(fd: u32, inode: u64, name: Option<&str>) -> DmabufFd {
        DmabufFd {
            fd,
            info: Fdinfo {
                inode,
                size_bytes: 1_228_800,
                references: 6,
                exporter: "virtio_gpu".to_owned(),
                name: name.map(str::to_owned),
            },
            created_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(100)),
        }
    }

    fn mapping(inode: u64) -> MapLine {
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

    /// A camera and a compositor that share one dma-buf. The compositor has a second dma-buf that it does not share.
    pub(in super::super) fn scan() -> ProcessScan {
        ProcessScan {
            processes: vec![
                Process {
                    pid: 401,
                    start_ticks: Some(7),
                    name: b"covalent-compos".to_vec(),
                    command: "covalent-compos".to_owned(),
                    dmabuf_fds: vec![dmabuf_fd(23, 17, None), dmabuf_fd(30, 18, None)],
                    mappings: vec![mapping(18)],
                },
                Process {
                    pid: 412,
                    start_ticks: Some(8),
                    name: b"covalent-camera".to_vec(),
                    command: "covalent-camera".to_owned(),
                    dmabuf_fds: vec![
                        dmabuf_fd(9, 17, Some("covalent-XR24-640x480-2560")),
                        dmabuf_fd(12, 17, Some("covalent-XR24-640x480-2560")),
                    ],
                    mappings: Vec::new(),
                },
            ],
            inaccessible: Vec::new(),
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

    fn filter(processes: &[u32], fd: Option<u32>) -> BufferFilter {
        BufferFilter {
            processes: Some(processes.iter().copied().collect()),
            fd,
            inode: None,
        }
    }

    #[test]
    fn buffer_selected_by_one_process_lists_all_holders() {
        let found = collect_buffers(&scan(), None, &filter(&[412], Some(9)), now());
        let [buffer] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(buffer.inode, 17);
        assert_eq!(buffer.age_ns, Some(12_000_000_000));
        let holders: Vec<(u32, &[u32])> = buffer
            .holders
            .iter()
            .map(|holder| (holder.pid, holder.fds.as_slice()))
            .collect();
        assert_eq!(holders, [(401, &[23][..]), (412, &[9, 12])]);
        // Six references, of which three are fds of processes that were scanned.
        assert_eq!((buffer.references, buffer.unseen_references), (6, 3));
        assert_eq!(buffer.attached, None);
        assert!(collect_buffers(&scan(), None, &filter(&[412], Some(10)), now()).is_empty());
        assert!(collect_buffers(&scan(), None, &filter(&[1], None), now()).is_empty());
    }

    #[test]
    fn report_of_the_whole_machine_has_buffers_that_only_drivers_hold() {
        let found = collect_buffers(&scan(), Some(&listed()), &BufferFilter::default(), now());
        let inodes: Vec<u64> = found.iter().map(|buffer| buffer.inode).collect();
        assert_eq!(inodes, [17, 18, 99]);
        assert_eq!(found[0].attached, Some(vec!["vivid-000".to_owned()]));
        assert_eq!(found[1].mappings.len(), 1);
        assert_eq!((found[2].references, found[2].unseen_references), (7, 7));
        let found = collect_buffers(&scan(), Some(&listed()), &filter(&[401], None), now());
        assert_eq!(found.len(), 2);
        let only = BufferFilter {
            inode: Some(18),
            ..BufferFilter::default()
        };
        assert_eq!(
            collect_buffers(&scan(), Some(&listed()), &only, now()).len(),
            1
        );
    }

    #[test]
    fn buffer_without_an_fd_is_reported_by_its_mapping() {
        let mut scan = scan();
        scan.processes[0].dmabuf_fds.clear();
        let found = collect_buffers(&scan, None, &filter(&[401], None), now());
        let [buffer] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!((buffer.inode, buffer.size_bytes), (18, 1_228_800));
        assert_eq!((buffer.references, buffer.unseen_references), (0, 0));
    }
}
