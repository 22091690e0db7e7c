//! The buffer objects of the open files, by their GEM handles.

use std::collections::BTreeMap;

use crate::export::Shared;

/// What is known about a buffer object.
pub(crate) struct Object {
    pub(crate) size_bytes: u64,
    /// The attributes that the kernel's driver keeps, in the encoding of the driver's module.
    pub(crate) attributes: Vec<u8>,
    /// The file of the object, once it is exported or imported.
    pub(crate) shared: Option<Shared>,
    /// The offset in the memory of the shim, once the object is exported or imported.
    pub(crate) map_offset: Option<u64>,
    /// Whether another process exported the memory, so that mappings are those of its file.
    pub(crate) is_imported: bool,
    /// Whether the memory is another GPU's, so that its attributes are not known here.
    pub(crate) is_foreign: bool,
}

/// The buffer objects.
#[derive(Default)]
pub(crate) struct Objects {
    by_handle: BTreeMap<(u64, u32), Object>,
}

impl Objects {
    pub(crate) const fn new() -> Self {
        Self {
            by_handle: BTreeMap::new(),
        }
    }

    pub(crate) fn insert(&mut self, file: u64, handle: u32, object: Object) {
        self.by_handle.insert((file, handle), object);
    }

    pub(crate) fn get_mut(&mut self, file: u64, handle: u32) -> Option<&mut Object> {
        self.by_handle.get_mut(&(file, handle))
    }

    pub(crate) fn remove(&mut self, file: u64, handle: u32) -> Option<Object> {
        self.by_handle.remove(&(file, handle))
    }

    /// Removes all objects of a file.
    pub(crate) fn remove_file(&mut self, file: u64) -> Vec<Object> {
        let handles = self.of(file).map(|(handle, _)| handle).collect::<Vec<_>>();
        handles
            .into_iter()
            .filter_map(|handle| self.remove(file, handle))
            .collect()
    }

    /// Returns the handle of the object that already has this dma-buf. The kernel returns the same handle for each import of a
    /// dma-buf into a file.
    pub(crate) fn handle_of(&self, file: u64, inode: u64) -> Option<u32> {
        let is_same = |object: &Object| {
            let shared = object.shared.as_ref();
            shared.is_some_and(|shared| shared.inode == inode)
        };
        self.of(file)
            .find(|(_, object)| is_same(object))
            .map(|(handle, _)| handle)
    }

    /// Returns the imported file that a mapping at this offset shows.
    pub(crate) fn imported_at(&self, file: u64, offset: u64) -> Option<&Shared> {
        let (_, object) = self
            .of(file)
            .find(|(_, object)| object.is_imported && object.map_offset == Some(offset))?;
        object.shared.as_ref()
    }

    fn of(&self, file: u64) -> impl Iterator<Item = (u32, &Object)> {
        self.by_handle
            .range((file, 0)..=(file, u32::MAX))
            .map(|((_, handle), object)| (*handle, object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_a_closed_file_are_removed_and_those_of_others_kept() {
        let object = || Object {
            size_bytes: 1,
            attributes: Vec::new(),
            shared: None,
            map_offset: None,
            is_imported: false,
            is_foreign: false,
        };
        let mut objects = Objects::new();
        for (file, handle) in [(1, 1), (1, u32::MAX), (2, 1)] {
            objects.insert(file, handle, object());
        }
        assert_eq!(objects.remove_file(1).len(), 2);
        assert!(objects.get_mut(1, 1).is_none() && objects.get_mut(2, 1).is_some());
    }
}
