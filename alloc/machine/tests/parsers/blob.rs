//! A writer of flattened devicetrees that `dtc` would not write: the caller controls each token.

/// A flattened tree under construction.
#[derive(Default)]
pub(crate) struct Blob {
    pub(crate) structure: Vec<u8>,
    pub(crate) strings: Vec<u8>,
}

impl Blob {
    pub(crate) fn word(&mut self, number: u32) {
        self.structure.extend(number.to_be_bytes());
    }

    pub(crate) fn begin(&mut self, name: &str) {
        self.word(1);
        self.structure.extend(name.as_bytes());
        self.structure.push(0);
        self.align();
    }

    pub(crate) fn end(&mut self) {
        self.word(2);
    }

    /// Adds a property whose name begins at this offset of the strings block.
    pub(crate) fn property_at(&mut self, name_at: usize, value: &[u8]) {
        self.word(3);
        self.word(value.len() as u32);
        self.word(name_at as u32);
        self.structure.extend(value);
        self.align();
    }

    /// Adds a property. Its name is added to the strings block only if the block does not contain the name yet.
    pub(crate) fn property(&mut self, name: &str, value: &[u8]) {
        let wanted = [name.as_bytes(), &[0]].concat();
        let known = self
            .strings
            .windows(wanted.len())
            .position(|bytes| bytes == wanted);
        let at = known.unwrap_or_else(|| {
            self.strings.extend(&wanted);
            self.strings.len() - wanted.len()
        });
        self.property_at(at, value);
    }

    pub(crate) fn cells(&mut self, name: &str, numbers: &[u32]) {
        let value: Vec<u8> = numbers.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.property(name, &value);
    }

    /// Returns the length of the tree so far, in bytes.
    pub(crate) fn length(&self) -> usize {
        self.structure.len() + self.strings.len() + 56
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.word(9);
        let begin = 56;
        let strings_at = begin + self.structure.len();
        let mut bytes = Vec::with_capacity(self.length());
        for number in [
            0xd00d_feed,
            strings_at + self.strings.len(),
            begin,
            strings_at,
            40,
            17,
            16,
            0,
            self.strings.len(),
            self.structure.len(),
        ] {
            bytes.extend((number as u32).to_be_bytes());
        }
        // The memory reservation block is empty.
        bytes.extend([0; 16]);
        bytes.extend(self.structure);
        bytes.extend(self.strings);
        bytes
    }

    fn align(&mut self) {
        let length = self.structure.len().next_multiple_of(4);
        self.structure.resize(length, 0);
    }
}
