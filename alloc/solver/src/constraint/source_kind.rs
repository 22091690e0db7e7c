//! Which backend gives a source's memory.

use super::SourceId;

/// The backend that gives a source's memory.
///
/// An identifier is an address: what stands before its first colon says who is asked for the memory, and the rest which of
/// theirs it is. This is the one place where that is read; names are for people, and nothing is told by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceKind {
    /// A dma-heap: `heap:` and the name of its node.
    Heap,
    /// Pages of a memfd: `udmabuf`.
    Udmabuf,
    /// A card's dumb buffers: `dumb:`.
    Dumb,
    /// A virtio-gpu's textures: `texture:`.
    Texture,
    /// GBM: `gbm:`.
    Gbm,
    /// Vulkan: `vulkan:`.
    Vulkan,
    /// A V4L2 queue: `v4l2:`.
    Queue,
    /// An application's own, or one that this version does not know.
    Other,
}

impl SourceKind {
    /// Tells it by the identifier.
    #[must_use]
    pub fn of(id: &SourceId) -> Self {
        match id.as_str().split_once(':') {
            Some(("heap", _)) => Self::Heap,
            Some(("dumb", _)) => Self::Dumb,
            Some(("texture", _)) => Self::Texture,
            Some(("gbm", _)) => Self::Gbm,
            Some(("vulkan", _)) => Self::Vulkan,
            Some(("v4l2", _)) => Self::Queue,
            None if id.as_str() == "udmabuf" => Self::Udmabuf,
            _ => Self::Other,
        }
    }

    /// Returns whether a driver of GBM's or Vulkan's gives it, which is loaded into the process that asks.
    #[must_use]
    pub fn is_of_driver(self) -> bool {
        matches!(self, Self::Gbm | Self::Vulkan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_of_a_source_is_told_by_what_stands_before_the_colon() {
        for (id, kind) in [
            ("heap:system", SourceKind::Heap),
            ("udmabuf", SourceKind::Udmabuf),
            ("udmabuf:1G", SourceKind::Other),
            ("dumb:vkms@vkms", SourceKind::Dumb),
            ("v4l2:/dev/video0:capture", SourceKind::Queue),
            ("heaps:system", SourceKind::Other),
            ("my heap:system", SourceKind::Other),
            ("", SourceKind::Other),
        ] {
            assert_eq!(SourceKind::of(&SourceId::new(id)), kind, "{id}");
        }
    }
}
