//! A cache of imports, so that a device imports each buffer once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Buffer, BufferIdentity};
use crate::model::Layout;

/// The imports of one device, by buffer. While a caller keeps the import of a buffer, [`ImportCache::get_or_import`] returns that
/// import for the buffer.
///
/// The cache has only weak references to imports. An import keeps its dma-bufs open, so the inode number of a cached dma-buf
/// cannot be reused for another dma-buf.
#[derive(Debug)]
pub struct ImportCache<T> {
    imports: Mutex<HashMap<Key, Weak<T>>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    dmabufs: Vec<BufferIdentity>,
    layout: Layout,
}

impl<T> Default for ImportCache<T> {
    fn default() -> Self {
        Self {
            imports: Mutex::new(HashMap::new()),
        }
    }
}

impl<T> ImportCache<T> {
    /// Returns the import of the buffer, or imports it. Two threads that call this for the same buffer get one import.
    ///
    /// # Errors
    /// The errors of `import`, after which nothing is cached.
    pub fn get_or_import<E>(
        &self,
        buffer: &Buffer,
        import: impl FnOnce(&Buffer) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let key = Key {
            dmabufs: buffer.identities().collect(),
            layout: buffer.layout().clone(),
        };
        let mut imports = self.imports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = imports.get(&key).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let imported = Arc::new(import(buffer)?);
        // Entries whose import was dropped are removed at each new import, because imports are rare compared with look-ups.
        imports.retain(|_, import| import.strong_count() > 0);
        imports.insert(key, Arc::downgrade(&imported));
        Ok(imported)
    }

    /// Returns how many imports still exist.
    #[must_use]
    pub fn len(&self) -> usize {
        let imports = self.imports.lock().unwrap_or_else(PoisonError::into_inner);
        imports
            .values()
            .filter(|import| import.strong_count() > 0)
            .count()
    }

    /// Returns whether no import exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
