//! Random numbers from a seed, or numbers that the bytes of a fuzzer determine.

/// The values at which arithmetic of 32 bits overflows or changes its sign.
const EXTREMES: [u32; 8] = [
    0x8000_0000,
    0x8000_0001,
    u32::MAX,
    0,
    1,
    0x0001_0000,
    0x7fff_fffe,
    0x7fff_ffff,
];

/// A generator of numbers.
#[derive(Debug)]
pub(super) enum Random {
    /// A xorshift generator. Each run with the same seed uses the same numbers.
    Generator(u64),
    /// The fuzzer's bytes that are not used yet. Each number uses one or two bytes.
    Bytes(Vec<u8>),
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        // The state of a xorshift generator must not be 0, because it would stay 0.
        Self::Generator(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a generator whose numbers `bytes` determine. After the last byte every number is 0.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.iter().rev().copied().collect())
    }

    /// Returns whether no bytes are left.
    pub(super) fn is_exhausted(&self) -> bool {
        matches!(self, Self::Bytes(left) if left.is_empty())
    }

    /// Returns a number below `end`; 0 if `end` is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let number = match self {
            Self::Generator(state) => {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                usize::try_from(*state >> 33).unwrap_or(0)
            }
            Self::Bytes(left) => {
                let mut next = || usize::from(left.pop().unwrap_or(0));
                let low = next();
                if end > 256 { low | next() << 8 } else { low }
            }
        };
        number.checked_rem(end).unwrap_or(0)
    }

    /// Returns true for one of `times` calls on average.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Returns one of the items; `None` if there are none.
    pub(super) fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// Returns a number for an argument of a request: mostly small, sometimes extreme.
    pub(super) fn argument(&mut self) -> u32 {
        match self.below(4) {
            0 => self.choose(&EXTREMES).copied().unwrap_or(0),
            1 => u32::try_from(self.below(4)).unwrap_or(0),
            _ => u32::try_from(self.below(512)).unwrap_or(0),
        }
    }
}
