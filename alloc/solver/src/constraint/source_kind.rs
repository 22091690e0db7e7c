//! The backend that a source's identifier names.

use super::SourceId;

/// The backend that allocates a source's memory.
///
/// The text before the first colon of an identifier names the backend, and the rest names one of the backend's sources. Only this
/// type parses identifiers. The name of a source is for people, and no program interprets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceKind {
    /// A dma-heap. The identifier is `heap:` and the name of the heap's device node.
    Heap,
    /// Pages of a memfd through `/dev/udmabuf`. The identifier is `udmabuf`.
    Udmabuf,
    /// Dumb buffers of a DRM card. The identifier begins with `dumb:`.
    Dumb,
    /// Host textures of a virtio-gpu. The identifier begins with `texture:`.
    Texture,
    /// Buffers of GBM. The identifier begins with `gbm:`.
    Gbm,
    /// Buffers of Vulkan. The identifier begins with `vulkan:`.
    Vulkan,
    /// Buffers of a V4L2 queue. The identifier begins with `v4l2:`.
    Queue,
    /// A source that the application defines, or that this version does not know.
    Other,
}

impl SourceKind {
    /// Returns the backend that a source's identifier names.
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

    /// Returns whether a GBM or Vulkan driver in the calling process allocates the memory.
    #[must_use]
    pub fn is_of_driver(self) -> bool {
        matches!(self, Self::Gbm | Self::Vulkan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_kind_is_the_text_before_the_first_colon() {
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
