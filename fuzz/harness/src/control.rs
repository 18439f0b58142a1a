//! The steering part of an input.

/// Stands between the text of an input and the bytes that steer.
const SEPARATOR: &[u8] = b"\n%%\n";

/// An endless source of decisions: first the bytes of the input, then pseudo-random ones that follow from them.
#[derive(Clone, Debug)]
pub struct Control<'a> {
    bytes: std::slice::Iter<'a, u8>,
    state: u64,
}

impl<'a> Control<'a> {
    /// Decisions that begin with these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8], seed: u64) -> Self {
        Self { bytes: bytes.iter(), state: seed | 1 }
    }

    /// The next decision.
    pub fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or_else(|| {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            (self.state >> 32) as u8
        })
    }

    /// A number from 0 to `bound - 1`.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = usize::from(self.byte()) << 8 | usize::from(self.byte());
        number % bound.max(1)
    }

    /// A number that follows from all decisions to come, for whoever decides on its own.
    #[must_use]
    pub fn clone_seed(&self) -> u64 {
        self.bytes
            .as_slice()
            .iter()
            .fold(self.state, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// A length of a piece: mostly short, now and then long.
    pub fn piece(&mut self) -> usize {
        let choice = self.byte();
        match choice {
            0..=63 => 1,
            64..=191 => usize::from(choice - 60),
            _ => 1 + self.below(8192),
        }
    }
}

/// Splits an input into its text and its decisions.
#[must_use]
pub fn split(data: &[u8]) -> (&[u8], Control<'_>) {
    let seed = data
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let at = data.windows(SEPARATOR.len()).rposition(|window| window == SEPARATOR);
    match at {
        // The line end before the separator belongs to the text.
        Some(at) => (&data[..=at], Control::new(&data[at + SEPARATOR.len()..], seed)),
        None => (data, Control::new(&[], seed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_decisions() {
        let (text, mut control) = split(b"a NOOP\r\n%%\n\x05");
        assert_eq!(text, b"a NOOP\r\n");
        assert_eq!(control.byte(), 5);
        let (text, mut control) = split(b"a NOOP\r\n");
        assert_eq!(text, b"a NOOP\r\n");
        let again: Vec<u8> = (0..4).map(|_| split(b"a NOOP\r\n").1.byte()).collect();
        assert!(again.iter().all(|byte| *byte == again[0]));
        assert!((0..100).map(|_| control.byte()).any(|byte| byte != again[0]));
    }
}
