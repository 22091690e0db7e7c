//! A cache of imports, so that each buffer is imported once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Buffer, BufferIdentity};
use crate::model::Layout;

/// The imports of one device, by buffer. The same buffer gives the same import for as long as something holds that import.
///
/// The cache itself holds only weak references. An import keeps its buffer alive, as a [`Buffer`] clone does, so an identity in the
/// cache is that of the same dma-buf, and not of a later one with the same inode number.
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
    /// Those of `import`. Nothing is cached then.
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
        // Imports are rare compared with uses, so all entries are checked here, and the table stays as small as the imports in use.
        imports.retain(|_, import| import.strong_count() > 0);
        imports.insert(key, Arc::downgrade(&imported));
        Ok(imported)
    }

    /// Returns how many imports are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        let imports = self.imports.lock().unwrap_or_else(PoisonError::into_inner);
        imports
            .values()
            .filter(|import| import.strong_count() > 0)
            .count()
    }

    /// Returns whether no import is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
