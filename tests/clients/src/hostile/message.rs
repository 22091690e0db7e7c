//! Messages of the Wayland wire format.

/// An argument of a request.
#[derive(Clone, Debug)]
pub(super) enum Argument {
    /// A number, an object id or a new object id.
    Word(u32),
    /// A string; `None` is the null string.
    Text(Option<String>),
    /// An array.
    Array(Vec<u8>),
}

impl From<u32> for Argument {
    fn from(word: u32) -> Self {
        Self::Word(word)
    }
}

impl From<i32> for Argument {
    fn from(number: i32) -> Self {
        Self::Word(u32::from_ne_bytes(number.to_ne_bytes()))
    }
}

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

/// Encodes a message.
pub(super) fn encode(object: u32, opcode: u32, arguments: &[Argument]) -> Vec<u8> {
    let mut bytes = object.to_ne_bytes().to_vec();
    bytes.extend([0; 4]);
    for argument in arguments {
        match argument {
            Argument::Word(word) => bytes.extend(word.to_ne_bytes()),
            Argument::Text(None) => bytes.extend(0_u32.to_ne_bytes()),
            Argument::Text(Some(text)) => {
                let mut content = text.clone().into_bytes();
                content.push(0);
                append_array(&mut bytes, &content);
            }
            Argument::Array(content) => append_array(&mut bytes, content),
        }
    }
    let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let header = size << 16 | opcode;
    bytes.splice(4..8, header.to_ne_bytes());
    bytes
}

fn append_array(bytes: &mut Vec<u8>, content: &[u8]) {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Returns the word at this offset in bytes; 0 if there is none.
pub(super) fn word(bytes: &[u8], offset: usize) -> u32 {
    bytes
        .get(offset..offset.saturating_add(4))
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_ne_bytes)
}
