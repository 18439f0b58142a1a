//! Channel bindings: data that ties a login to the TLS session that it came over.

use pillarbox_proto_core::connection::ChannelBinding;
use ring::digest;
use rustls_pki_types::CertificateDer;
use tokio_rustls::rustls::ServerConnection;

/// `tls-exporter` (RFC 9266, section 2).
pub(super) fn exporter(session: &ServerConnection) -> Option<ChannelBinding> {
    session
        .export_keying_material([0_u8; 32], b"EXPORTER-Channel-Binding", Some(b""))
        .ok()
        .map(|data| ChannelBinding::new(&data))
}

/// `tls-server-end-point` (RFC 5929, section 4.1): the certificate's hash, by the hash function of its own signature,
/// with SHA-256 in place of MD5 and SHA-1.
///
/// `None` where the signature has no single hash function (Ed25519), for which the RFC defines nothing, and for hash
/// functions that are not at hand.
pub(super) fn server_end_point(certificate: &CertificateDer<'_>) -> Option<ChannelBinding> {
    let algorithm = hash_of_signature(certificate)?;
    Some(ChannelBinding::new(digest::digest(algorithm, certificate).as_ref()))
}

fn hash_of_signature(certificate: &[u8]) -> Option<&'static digest::Algorithm> {
    // Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { OID, parameters }, ... }
    let (inside, _) = element(certificate, SEQUENCE)?;
    let (_, rest) = element(inside, SEQUENCE)?;
    let (algorithm, _) = element(rest, SEQUENCE)?;
    let (oid, parameters) = element(algorithm, OID)?;
    match oid {
        // 1.2.840.113549.1.1: md5, sha1, sha256, sha384, sha512 WithRSAEncryption
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 4 | 5 | 11] => Some(&digest::SHA256),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 12] => Some(&digest::SHA384),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 13] => Some(&digest::SHA512),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 10] => hash_of_pss(parameters),
        // 1.2.840.10045.4: ecdsa-with-SHA1, then .3: with SHA256, SHA384, SHA512
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 2] => {
            Some(&digest::SHA256)
        }
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 3] => Some(&digest::SHA384),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 4] => Some(&digest::SHA512),
        _ => None,
    }
}

/// RSASSA-PSS names its hash in its parameters (RFC 4055, section 3.1); the default is SHA-1.
fn hash_of_pss(parameters: &[u8]) -> Option<&'static digest::Algorithm> {
    let (inside, _) = element(parameters, SEQUENCE)?;
    let Some((tagged, _)) = element(inside, 0xa0) else { return Some(&digest::SHA256) };
    let (hash, _) = element(tagged, SEQUENCE)?;
    match element(hash, OID)?.0 {
        [0x2b, 0x0e, 0x03, 0x02, 0x1a] | [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 1] => Some(&digest::SHA256),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 2] => Some(&digest::SHA384),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 3] => Some(&digest::SHA512),
        _ => None,
    }
}

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;

/// Takes one DER element with this tag off the front: its content, and what follows it.
fn element(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    if tag != wanted {
        return None;
    }
    if length < 0x80 {
        return rest.split_at_checked(usize::from(length));
    }
    let (size, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    if size.len() > 4 {
        return None;
    }
    let length = size.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> CertificateDer<'static> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let parameters = rcgen::CertificateParams::new(["mail.example.org".to_owned()]).unwrap();
        parameters.self_signed(&key).unwrap().into()
    }

    #[test]
    fn the_hash_is_the_signatures_own() {
        let small = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        let expected = digest::digest(&digest::SHA256, &small);
        assert_eq!(server_end_point(&small).unwrap().as_bytes(), expected.as_ref());
        let large = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        let expected = digest::digest(&digest::SHA384, &large);
        assert_eq!(server_end_point(&large).unwrap().as_bytes(), expected.as_ref());
        assert_eq!(server_end_point(&certificate(&rcgen::PKCS_ED25519)), None);
    }

    #[test]
    fn old_hashes_are_replaced_and_pss_names_its_own() {
        let rsa = |last: u8, parameters: &[u8]| {
            let oid = [&[OID, 9][..], &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last]].concat();
            let algorithm = wrap(SEQUENCE, &[&oid, parameters].concat());
            let der = wrap(SEQUENCE, &[wrap(SEQUENCE, &[0; 300]), algorithm].concat());
            hash_of_signature(&der)
        };
        assert_eq!(rsa(4, &[5, 0]), Some(&digest::SHA256));
        assert_eq!(rsa(5, &[5, 0]), Some(&digest::SHA256));
        assert_eq!(rsa(12, &[5, 0]), Some(&digest::SHA384));
        assert_eq!(rsa(13, &[5, 0]), Some(&digest::SHA512));
        assert_eq!(rsa(14, &[5, 0]), None, "SHA-224");
        let sha512 = wrap(OID, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 3]);
        let parameters = wrap(SEQUENCE, &wrap(0xa0, &wrap(SEQUENCE, &sha512)));
        assert_eq!(rsa(10, &parameters), Some(&digest::SHA512));
        assert_eq!(rsa(10, &wrap(SEQUENCE, &[])), Some(&digest::SHA256));
    }

    #[test]
    fn broken_der_has_no_hash() {
        let whole = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        for length in 0..whole.len() {
            assert_eq!(hash_of_signature(&whole[..length]), None);
        }
        assert_eq!(hash_of_signature(&[0x30, 0x89, 1, 2, 3, 4, 5, 6, 7, 8, 9]), None);
    }

    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }
}
