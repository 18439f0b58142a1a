//! Encrypted user names of ident: the token, and the keys that open it.
//!
//! A token is 24 bytes, encrypted with DES in CBC mode from an initialisation vector of zeros. Its numbers, with the most
//! significant byte first, are a checksum (32 bits), anything (16), the user's number (16), the time (32), the address of
//! the client and ours (32 each), the client's port and ours (16 each). All 32-bit words together have an exclusive or of
//! zero.
//!
//! A key file is a sequence of records of 1024 bytes, each of which makes a key as a password does in Kerberos 4.
//! DES keeps a secret from nobody today who takes the trouble; the format is what identity servers speak.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use des::Des;
use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use zeroize::Zeroizing;

/// The size of a record of a key file, in bytes.
const RECORD: usize = 1024;
/// The most records that a key file may have.
const MOST_RECORDS: usize = 1024;
/// The size of a token, in bytes.
pub(super) const TOKEN: usize = 24;

type Block = [u8; 8];

/// The keys of encrypted ident, as a key file has them. The first that fits a token opens it.
///
/// `Debug` shows how many there are.
#[derive(Clone)]
pub struct IdentKeys(Vec<Zeroizing<Block>>);

impl IdentKeys {
    /// Reads a key file: one record of 1024 bytes or more of them, up to 1024.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is empty, or is no sequence of whole records.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let error = |fault| KeyFileError { file: path.into(), fault };
        let most = MOST_RECORDS * RECORD;
        let file = File::open(path).map_err(|cause| error(KeyFault::Read(cause)))?;
        // At once as large as it will be, lest growing leaves copies of keys behind.
        let size = file.metadata().map_or(0, |metadata| metadata.len()).min(most as u64);
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or_default() + RECORD));
        file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(|cause| error(KeyFault::Read(cause)))?;
        let (records, rest) = bytes.as_chunks::<RECORD>();
        if records.is_empty() && rest.is_empty() {
            return Err(error(KeyFault::Empty));
        }
        if bytes.len() > most {
            return Err(error(KeyFault::Many));
        }
        if !rest.is_empty() {
            return Err(error(KeyFault::Partial));
        }
        Ok(Self(records.iter().map(key_of).collect()))
    }

    /// What the token says, by the first key that opens it.
    pub(super) fn open(&self, token: &[u8; TOKEN]) -> Option<Token> {
        self.0.iter().find_map(|key| Token::read(&decrypt(key, token)))
    }
}

impl fmt::Debug for IdentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentKeys({})", self.0.len())
    }
}

/// A key file that cannot be used. Its message is one line and begins with the file's name.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", file.display())]
pub struct KeyFileError {
    file: PathBuf,
    fault: KeyFault,
}

#[derive(Debug, thiserror::Error)]
enum KeyFault {
    #[error("cannot read: {0}")]
    Read(io::Error),
    #[error("no key in it")]
    Empty,
    #[error("not a multiple of {RECORD} bytes")]
    Partial,
    #[error("more than {MOST_RECORDS} keys")]
    Many,
}

/// What an opened token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) uid: u16,
    client: ([u8; 4], u16),
    server: ([u8; 4], u16),
}

impl Token {
    fn read(plain: &[u8; TOKEN]) -> Option<Self> {
        let (words, _) = plain.as_chunks::<4>();
        if words.iter().fold(0, |sum, word| sum ^ u32::from_be_bytes(*word)) != 0 {
            return None;
        }
        let &[_, [_, _, uid @ ..], _, client, server, [a, b, c, d]] = words else { return None };
        Some(Self {
            uid: u16::from_be_bytes(uid),
            client: (client, u16::from_be_bytes([a, b])),
            server: (server, u16::from_be_bytes([c, d])),
        })
    }

    /// Whether it was made for the connection between these two. What it leaves out (zero), and addresses where it has no
    /// room for ours (IPv6), are not compared.
    pub(super) fn is_for(&self, client: SocketAddr, server: SocketAddr) -> bool {
        fits(self.client, client) && fits(self.server, server)
    }
}

fn fits((address, port): ([u8; 4], u16), actual: SocketAddr) -> bool {
    let address = match actual.ip().to_canonical() {
        IpAddr::V4(actual) => address == [0; 4] || address == actual.octets(),
        IpAddr::V6(_) => true,
    };
    address && (port == 0 || port == actual.port())
}

/// CBC from zeros, without padding.
fn decrypt(key: &Block, token: &[u8; TOKEN]) -> Zeroizing<[u8; TOKEN]> {
    let cipher = Des::new(&(*key).into());
    let mut plain = Zeroizing::new(*token);
    let mut before: Block = [0; 8];
    for (block, coded) in plain.as_chunks_mut::<8>().0.iter_mut().zip(token.as_chunks::<8>().0) {
        let mut opened = (*block).into();
        cipher.decrypt_block(&mut opened);
        *block = xor(opened.into(), before);
        before = *coded;
    }
    plain
}

/// The key that a record makes: its bits folded into 56, and the last block of the record encrypted with that.
fn key_of(record: &[u8; RECORD]) -> Zeroizing<Block> {
    let mut bits = Zeroizing::new([0_u8; 56]);
    for (number, group) in record.as_chunks::<8>().0.iter().enumerate() {
        let stream = group.iter().flat_map(|byte| (0..7).map(move |bit| byte >> bit & 1));
        if number % 2 == 0 {
            bits.iter_mut().zip(stream).for_each(|(bit, new)| *bit ^= new);
        } else {
            bits.iter_mut().rev().zip(stream).for_each(|(bit, new)| *bit ^= new);
        }
    }
    let mut folded = Zeroizing::new([0; 8]);
    for (byte, seven) in folded.iter_mut().zip(bits.as_chunks::<7>().0) {
        *byte = seven.iter().rev().fold(0, |byte, bit| byte << 1 | bit) << 1;
    }
    let folded = Zeroizing::new(folded.map(odd_parity));
    let cipher = Des::new(&(*folded).into());
    let last = record.as_chunks::<8>().0.iter().fold(*folded, |before, block| {
        let mut block = xor(*block, before).into();
        cipher.encrypt_block(&mut block);
        block.into()
    });
    Zeroizing::new(last.map(odd_parity))
}

fn odd_parity(byte: u8) -> u8 {
    let seven = byte & 0xfe;
    seven | u8::from(seven.count_ones().is_multiple_of(2))
}

fn xor(one: Block, other: Block) -> Block {
    (u64::from_ne_bytes(one) ^ u64::from_ne_bytes(other)).to_ne_bytes()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Bytes that count from 0 on, and what its key makes of user 1000, ports 40000 and 143, at 127.0.0.1.
    pub(in crate::preauth) fn record() -> Vec<u8> {
        (0..RECORD).map(|number| (number % 256) as u8).collect()
    }

    pub(in crate::preauth) const CIPHER: [u8; TOKEN] = [
        0xe2, 0xb2, 0x03, 0xf4, 0x5a, 0xbf, 0x35, 0xf6, 0x7e, 0xe1, 0xcb, 0x49, 0x51, 0xd3, 0x62, 0x0a, 0x3d, 0xa5,
        0x9b, 0x0b, 0x3f, 0xd4, 0x28, 0x3c,
    ];

    fn keys(bytes: &[u8]) -> Result<IdentKeys, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, bytes).unwrap();
        IdentKeys::from_file(&path).map_err(|error| error.to_string().replace(folder.path().to_str().unwrap(), "DIR"))
    }

    fn second() -> Vec<u8> {
        let mut record = b"mailutils".to_vec();
        record.resize(RECORD, 0);
        record
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn records_make_keys() {
        for (record, key) in [
            (record(), [0xa8, 0x01, 0x2a, 0xf4, 0xf7, 0x3d, 0xfb, 0x23]),
            (second(), [0x0e, 0x4a, 0x19, 0xc1, 0xc2, 0x62, 0x16, 0x54]),
        ] {
            assert_eq!(*key_of(&record.try_into().unwrap()), key);
        }
    }

    #[test]
    fn tokens_are_opened() {
        let token = Token { uid: 1000, client: ([127, 0, 0, 1], 40_000), server: ([127, 0, 0, 1], 143) };
        assert_eq!(keys(&record()).unwrap().open(&CIPHER), Some(token));
        let both = keys(&[second(), record()].concat()).unwrap();
        assert_eq!((both.open(&CIPHER), format!("{both:?}").as_str()), (Some(token), "IdentKeys(2)"));
        assert_eq!(keys(&second()).unwrap().open(&CIPHER), None);
        for place in 0..TOKEN {
            let mut flipped = CIPHER;
            flipped[place] ^= 1;
            assert_eq!(both.open(&flipped), None, "{place}");
        }
    }

    #[test]
    fn tokens_are_for_a_connection() {
        let token = keys(&record()).unwrap().open(&CIPHER).unwrap();
        assert!(token.is_for(at("127.0.0.1:40000"), at("127.0.0.1:143")));
        assert!(token.is_for(at("[::ffff:127.0.0.1]:40000"), at("[::ffff:127.0.0.1]:143")));
        assert!(token.is_for(at("[::1]:40000"), at("[::1]:143")));
        for (client, server) in [
            ("127.0.0.1:40001", "127.0.0.1:143"),
            ("127.0.0.2:40000", "127.0.0.1:143"),
            ("127.0.0.1:40000", "127.0.0.2:143"),
            ("127.0.0.1:40000", "127.0.0.1:144"),
            ("[::1]:40001", "[::1]:143"),
        ] {
            assert!(!token.is_for(at(client), at(server)), "{client} {server}");
        }
        let open = Token { uid: 1, client: ([0; 4], 0), server: ([0; 4], 0) };
        assert!(open.is_for(at("192.0.2.1:5"), at("192.0.2.2:6")));
    }

    #[test]
    fn files_that_have_no_keys() {
        for (bytes, error) in [
            (&[][..], "DIR/keys: no key in it"),
            (&[0; 1000], "DIR/keys: not a multiple of 1024 bytes"),
            (&[0; 1025], "DIR/keys: not a multiple of 1024 bytes"),
            (&[0; 1024 * 1024 + 1], "DIR/keys: more than 1024 keys"),
        ] {
            assert_eq!(keys(bytes).unwrap_err(), error);
        }
        let error = IdentKeys::from_file("/no/such/file").unwrap_err();
        assert_eq!(error.to_string(), "/no/such/file: cannot read: No such file or directory (os error 2)");
    }
}
