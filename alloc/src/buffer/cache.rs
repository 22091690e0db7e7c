//! What a buffer was imported as, so that it is imported once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Buffer, BufferIdentity};
use crate::model::Layout;

/// Imports of one device, by buffer: the same buffer gives the same import for as long as anybody holds it.
///
/// The cache holds nothing alive. An import keeps its buffer (as [`Buffer`] clones do), so an identity that is found is the
/// same memory and not a later one under the same number.
#[derive(Debug)]
pub struct ImportCache<T> {
    known: Mutex<HashMap<Key, Weak<T>>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    memories: Vec<BufferIdentity>,
    layout: Layout,
}

impl<T> Default for ImportCache<T> {
    fn default() -> Self {
        Self {
            known: Mutex::new(HashMap::new()),
        }
    }
}

impl<T> ImportCache<T> {
    /// Returns what the buffer is imported as, or imports it. Two who ask for the same buffer at once get one import.
    ///
    /// # Errors
    /// Those of `import`; nothing is remembered then.
    pub fn get_or_import<E>(
        &self,
        buffer: &Buffer,
        import: impl FnOnce(&Buffer) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let key = Key {
            memories: buffer.identities().collect(),
            layout: buffer.layout().clone(),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let made = Arc::new(import(buffer)?);
        // Imports are rare beside uses: a look at all of them keeps the table as small as what is in use.
        known.retain(|_, import| import.strong_count() > 0);
        known.insert(key, Arc::downgrade(&made));
        Ok(made)
    }

    /// How many imports are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .values()
            .filter(|import| import.strong_count() > 0)
            .count()
    }

    /// Whether none is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
