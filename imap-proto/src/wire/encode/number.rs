//! Numbers and sets of them.

use bytes::BytesMut;
use pillarbox_proto_core::mail::{Uid, UidSet};

/// 00 to 99, two digits each.
static PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut index = 0;
    while index < 100 {
        pairs[index * 2] = b'0' + (index / 10) as u8;
        pairs[index * 2 + 1] = b'0' + (index % 10) as u8;
        index += 1;
    }
    pairs
};

/// A number in decimal, at the end of a small array.
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    #[inline]
    fn new(mut number: u64) -> Self {
        let mut digits = [0; 20];
        let mut start = 20;
        while number >= 100 {
            let pair = (number % 100) as usize * 2;
            number /= 100;
            start -= 2;
            digits[start] = PAIRS[pair];
            digits[start + 1] = PAIRS[pair + 1];
        }
        if number >= 10 {
            let pair = number as usize * 2;
            start -= 2;
            digits[start] = PAIRS[pair];
            digits[start + 1] = PAIRS[pair + 1];
        } else {
            start -= 1;
            digits[start] = b'0' + number as u8;
        }
        Self { digits, start }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// A number below 10^8 as eight decimal digits, the first in the lowest byte; each 0 to 9.
#[inline]
const fn eight_digits(number: u32) -> u64 {
    // Halves, quarters, single digits: all lanes of a step are divided at once, by multiplying with a rounded-up
    // inverse that is exact for lanes this small.
    let halves = (number / 10_000) as u64 | ((number % 10_000) as u64) << 32;
    let hundreds = ((halves * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | (halves - hundreds * 100) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - tens * 10) << 8
}

/// A 32-bit number in decimal, at the start of an array, and its length. What is behind it has no meaning.
#[inline]
pub(super) const fn decimal32(number: u32) -> ([u8; 16], usize) {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let (high, low) = (number / 100_000_000, eight_digits(number % 100_000_000));
    // Leading zeros are lowest bytes that are 0; the number 0 keeps its last digit.
    let zeros = (low | 1 << 63).trailing_zeros() / 8;
    let (digits, length) = match high {
        0 => (((low | ZEROS) >> (zeros * 8)) as u128, 8 - zeros as usize),
        1..10 => (((low | ZEROS) as u128) << 8 | (high | 0x30) as u128, 9),
        _ => (((low | ZEROS) as u128) << 16 | ((high / 10) | ((high % 10) << 8) | 0x3030) as u128, 10),
    };
    (digits.to_le_bytes(), length)
}

/// A number in decimal.
#[inline]
pub fn number(out: &mut BytesMut, number: impl Into<u64>) {
    out.extend_from_slice(Decimal::new(number.into()).as_bytes());
}

/// A `sequence-set` of these ranges, in their order: the smaller end first, ends included. Writes nothing for none,
/// which is no set; the caller must not come to that.
pub fn ranges(out: &mut BytesMut, ranges: impl IntoIterator<Item = (u32, u32)>) {
    let mut first = true;
    for (start, end) in ranges {
        if !std::mem::take(&mut first) {
            out.extend_from_slice(b",");
        }
        number(out, start);
        if end != start {
            out.extend_from_slice(b":");
            number(out, end);
        }
    }
}

/// A `uid-set`: ascending, in as few ranges as can be. Writes nothing for an empty one, which is no `uid-set`.
pub fn uid_set(out: &mut BytesMut, uids: &UidSet) {
    ranges(out, uids.ranges().map(|(first, last)| (first.get(), last.get())));
}

/// A `uid-set` in just this order, with runs of consecutive UIDs as ranges, as COPYUID and APPENDUID need it to tell
/// which UID became which (RFC 4315, section 3).
pub fn uids_in_order(out: &mut BytesMut, uids: impl IntoIterator<Item = Uid>) {
    let mut uids = uids.into_iter().map(Uid::get).peekable();
    let runs = std::iter::from_fn(|| {
        let start = uids.next()?;
        let mut end = start;
        while let Some(next) = uids.next_if(|next| Some(*next) == end.checked_add(1)) {
            end = next;
        }
        Some((start, end))
    });
    ranges(out, runs);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        for value in [0_u64, 1, 9, 10, 99, 100, 101, 999, 1000, 12345, 4_294_967_295, u64::MAX] {
            let mut out = BytesMut::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    #[test]
    fn numbers_of_32_bits_are_decimal() {
        let mut steps: Vec<u32> = (0..32).flat_map(|shift| [1 << shift, (1 << shift) - 1]).collect();
        steps.extend((0..10).flat_map(|power| [10_u32.pow(power), 10_u32.pow(power) - 1, 10_u32.pow(power) * 4 + 1]));
        steps.extend((0..100_000).chain((0..43_000).map(|step| step * 99_877)));
        steps.push(u32::MAX);
        for value in steps {
            let (digits, length) = decimal32(value);
            assert_eq!(&digits[..length], value.to_string().as_bytes());
        }
    }

    #[test]
    fn sets_are_compressed() {
        let uid = |number| Uid::new(number).unwrap();
        let mut out = BytesMut::new();
        uid_set(&mut out, &[9, 1, 2, 3, 5].map(uid).into_iter().collect());
        assert_eq!(out, "1:3,5,9");
        let mut out = BytesMut::new();
        uids_in_order(&mut out, [7, 8, 3, 2, 1, u32::MAX].map(uid));
        assert_eq!(out, "7:8,3,2,1,4294967295");
    }
}
