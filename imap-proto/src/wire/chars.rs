//! The character classes of the grammar (RFC 9051, section 9), as one table.

/// `ATOM-CHAR`.
pub(crate) const ATOM: u8 = 1;
/// `ASTRING-CHAR`: an atom's characters and `]`.
pub(crate) const ASTRING: u8 = 2;
/// `tag`: the characters of an astring but `+`.
pub(crate) const TAG: u8 = 4;
/// `list-char`: an astring's characters and the wildcards.
pub(crate) const LIST: u8 = 8;
/// What may stand in a quoted string without a backslash, 8-bit bytes (parts of UTF-8) included.
pub(crate) const QUOTED: u8 = 16;
/// Letters, digits, `.`, `-` and `_`: what command words and item names are made of.
pub(crate) const WORD: u8 = 32;
/// The base64 alphabet with its padding.
pub(crate) const BASE64: u8 = 64;

const CLASS: [u8; 256] = table();

const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let mut class = 0;
        let special = matches!(byte, b'(' | b')' | b'{' | b' ' | b'%' | b'*' | b'"' | b'\\' | b']');
        if byte > b' ' && byte < 0x7f && !special {
            class |= ATOM | ASTRING | LIST;
            if byte != b'+' {
                class |= TAG;
            }
        }
        if byte == b']' {
            class |= ASTRING | TAG | LIST;
        }
        if matches!(byte, b'%' | b'*') {
            class |= LIST;
        }
        if !matches!(byte, 0 | b'\r' | b'\n' | b'"' | b'\\') {
            class |= QUOTED;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            class |= WORD;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=') {
            class |= BASE64;
        }
        table[index] = class;
        index += 1;
    }
    table
}

/// Whether the byte belongs to one of these classes.
#[inline]
pub(crate) fn is(byte: u8, class: u8) -> bool {
    static TABLE: [u8; 256] = CLASS;
    TABLE[byte as usize] & class != 0
}

static WORD_LETTERS: [u8; 256] = {
    let mut letters = [0; 256];
    let mut index = 0;
    while index < 256 {
        if CLASS[index] & WORD != 0 {
            letters[index] = (index as u8).to_ascii_uppercase();
        }
        index += 1;
    }
    letters
};

/// A character of class [`WORD`] in upper case, 0 for any other.
#[inline]
pub(crate) fn in_word(byte: u8) -> u8 {
    WORD_LETTERS[byte as usize]
}

/// A word of at most 16 bytes in upper case as one number, to compare it with all known words at once. 0 for a longer
/// one, which is no word of the grammar.
#[inline]
pub(crate) const fn key(word: &[u8]) -> u128 {
    if word.len() > 16 {
        return 0;
    }
    let mut key = 0_u128;
    let mut index = 0;
    while index < word.len() {
        key = key << 8 | word[index].to_ascii_uppercase() as u128;
        index += 1;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_grammar() {
        for byte in 0..=255_u8 {
            let control = byte < b' ' || byte == 0x7f;
            let atom = byte < 0x80 && !control && !b"(){ %*\"\\]".contains(&byte);
            assert_eq!(is(byte, ATOM), atom, "{byte}");
            assert_eq!(is(byte, ASTRING), atom || byte == b']', "{byte}");
            assert_eq!(is(byte, TAG), (atom || byte == b']') && byte != b'+', "{byte}");
            assert_eq!(is(byte, LIST), atom || b"]%*".contains(&byte), "{byte}");
            assert_eq!(is(byte, QUOTED), !b"\0\r\n\"\\".contains(&byte), "{byte}");
        }
    }

    #[test]
    fn keys_ignore_case_and_differ_by_word() {
        assert_eq!(key(b"fetch"), key(b"FETCH"));
        assert_ne!(key(b"FETCH"), key(b"FETCHX"));
        assert_ne!(key(b"A"), key(b"\0A\0"));
        assert_eq!(key(b"HEADER.FIELDS.NOT"), 0);
    }
}
