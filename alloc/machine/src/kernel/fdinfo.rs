//! The parser of `/proc/PID/fdinfo/N`, which describes one file descriptor of a process.

use serde::{Deserialize, Serialize};

/// The dma-buf to which a file descriptor refers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fdinfo {
    /// The inode number of the dma-buf's file, which identifies the dma-buf.
    pub inode: u64,
    /// The size of the dma-buf in bytes.
    pub size_bytes: u64,
    /// The number of references to the dma-buf's file, by file descriptors, mappings and drivers.
    pub references: u64,
    /// The name of the exporter, which is a driver or a dma-buf heap.
    pub exporter: String,
    /// The name that a process set with `DMA_BUF_SET_NAME`.
    pub name: Option<String>,
}

/// Parses one fdinfo; `None` if the file descriptor is not a dma-buf.
///
/// The result takes at most 12 bytes for each byte of the text. The worst case is a name that is not UTF-8, of which each byte is
/// replaced by three.
///
/// The kernel prints the name last, so all text after `name:` belongs to the name, including line breaks. For each other field,
/// the first line is used, because only the kernel can have written it.
///
/// # References
/// Linux, `fs/proc/fd.c`, `seq_show`; `drivers/dma-buf/dma-buf.c`, `dma_buf_show_fdinfo`.
#[must_use]
pub fn fdinfo(text: &[u8]) -> Option<Fdinfo> {
    const NAME: &[u8] = b"\nname:\t";
    let name_at = text.windows(NAME.len()).position(|bytes| bytes == NAME);
    let (fields, name) = match name_at.and_then(|at| text.split_at_checked(at)) {
        Some((fields, name)) => (fields, name.strip_prefix(NAME)),
        None => (text, None),
    };
    let field = |name: &str| {
        fields.split(|byte| *byte == b'\n').find_map(|line| {
            let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
            Some(value.trim_ascii())
        })
    };
    let number = |name: &str| std::str::from_utf8(field(name)?).ok()?.parse().ok();
    Some(Fdinfo {
        size_bytes: number("size")?,
        // Linux prints the inode number since version 5.14.
        inode: number("ino")?,
        references: number("count")?,
        exporter: String::from_utf8_lossy(field("exp_name")?).into_owned(),
        name: name.map(|name| {
            let name = name.strip_suffix(b"\n").unwrap_or(name);
            String::from_utf8_lossy(name).into_owned()
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "pos:\t0\nflags:\t02100002\nmnt_id:\t11\nino:\t42\nsize:\t1228800\ncount:\t3\nexp_name:\tvirtio_gpu\n";

    #[test]
    fn fdinfo_of_a_dma_buf_is_parsed_and_of_a_file_is_not() {
        let expected = Fdinfo {
            inode: 42,
            size_bytes: 1_228_800,
            references: 3,
            exporter: "virtio_gpu".to_owned(),
            name: None,
        };
        assert_eq!(fdinfo(TEXT.as_bytes()), Some(expected.clone()));
        let named = format!("{TEXT}name:\tcamera: ring\n");
        assert_eq!(
            fdinfo(named.as_bytes()),
            Some(Fdinfo {
                name: Some("camera: ring".to_owned()),
                ..expected
            })
        );
        assert_eq!(
            fdinfo(b"pos:\t0\nflags:\t02100002\nmnt_id:\t11\nino:\t42\n"),
            None
        );
    }

    #[test]
    fn name_that_imitates_fields_is_part_of_the_name() {
        let text = format!("{TEXT}name:\tx\nino:\t7\nsize:\t1\nname:\ty\n");
        let found = fdinfo(text.as_bytes()).unwrap();
        assert_eq!((found.inode, found.size_bytes), (42, 1_228_800));
        assert_eq!(
            found.name.as_deref(),
            Some("x\nino:\t7\nsize:\t1\nname:\ty")
        );
        let mut bytes = TEXT.as_bytes().to_vec();
        bytes.extend_from_slice(b"name:\t\xff\xfe\n");
        assert_eq!(fdinfo(&bytes).unwrap().name.unwrap(), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn fdinfo_that_is_damaged_is_none() {
        for end in 0..TEXT.len() - "exp_name:\tvirtio_gpu\n".len() {
            assert_eq!(fdinfo(&TEXT.as_bytes()[..end]), None, "{end}");
        }
        let negative = TEXT.replace("1228800", "-4");
        assert_eq!(fdinfo(negative.as_bytes()), None);
        let huge = TEXT.replace("1228800", "99999999999999999999");
        assert_eq!(fdinfo(huge.as_bytes()), None);
    }
}
