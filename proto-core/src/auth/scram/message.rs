//! The client's two messages (RFC 5802, section 7).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::auth::SaslError;

/// What a client says about channel binding (`gs2-cbind-flag`).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// `n`: it does not know any.
    NotSupported,
    /// `y`: it does, but thinks that the server does not.
    NotOffered,
    /// `p=name`: it uses this type.
    Required(String),
}

/// `client-first-message`.
#[derive(Debug)]
pub(super) struct ClientFirst {
    pub(super) binding: Binding,
    /// As whom to act; empty for none.
    pub(super) authzid: String,
    pub(super) user: String,
    pub(super) nonce: String,
    /// The message up to and with its second comma.
    pub(super) gs2_header: String,
    /// The rest.
    pub(super) bare: String,
}

impl ClientFirst {
    pub(super) fn parse(message: &str) -> Result<Self, SaslError> {
        const MALFORMED: SaslError = SaslError::Malformed("malformed SCRAM client-first-message");
        let mut parts = message.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(MALFORMED);
        };
        let binding = match flag {
            "n" => Binding::NotSupported,
            "y" => Binding::NotOffered,
            _ => match flag.strip_prefix("p=") {
                Some(name) if is_binding_name(name) => Binding::Required(name.to_owned()),
                _ => return Err(MALFORMED),
            },
        };
        let authzid = match authzid {
            "" => String::new(),
            _ => authzid.strip_prefix("a=").and_then(unescape).ok_or(MALFORMED)?,
        };
        let gs2_header = message.get(..message.len() - bare.len()).ok_or(MALFORMED)?.to_owned();
        if bare.starts_with("m=") {
            return Err(SaslError::Malformed("a mandatory SCRAM extension is not known here"));
        }
        let mut attributes = bare.split(',');
        let user = attributes.next().and_then(|user| user.strip_prefix("n=")).and_then(unescape).ok_or(MALFORMED)?;
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r=")).ok_or(MALFORMED)?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) || !attributes.all(is_extension) {
            return Err(MALFORMED);
        }
        Ok(Self { binding, authzid, user, nonce: nonce.to_owned(), gs2_header, bare: bare.to_owned() })
    }
}

/// `client-final-message`.
pub(super) struct ClientFinal<'a> {
    pub(super) channel_binding: Vec<u8>,
    pub(super) nonce: &'a str,
    pub(super) proof: Vec<u8>,
    pub(super) without_proof: &'a str,
}

impl<'a> ClientFinal<'a> {
    pub(super) fn parse(message: &'a str) -> Option<Self> {
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next()?.strip_prefix("c=")?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        if !attributes.all(is_extension) {
            return None;
        }
        let channel_binding = STANDARD.decode(binding).ok()?;
        let proof = STANDARD.decode(proof).ok()?;
        Some(Self { channel_binding, nonce, proof, without_proof })
    }
}

/// `cb-name`.
fn is_binding_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
}

/// `attr-val`: extensions that are not mandatory are ignored.
fn is_extension(attribute: &str) -> bool {
    let bytes = attribute.as_bytes();
    matches!(bytes, [name, b'=', _, ..] if name.is_ascii_alphabetic()) && !bytes.contains(&0)
}

/// `saslname`: `=2C` is a comma, `=3D` an equals sign, and no other `=` may stand.
pub(in crate::auth) fn unescape(name: &str) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    let mut pieces = name.split('=');
    text.push_str(pieces.next()?);
    for piece in pieces {
        let (escaped, rest) = match piece.as_bytes() {
            [b'2', b'C', ..] => (',', piece.get(2..)?),
            [b'3', b'D', ..] => ('=', piece.get(2..)?),
            _ => return None,
        };
        text.push(escaped);
        text.push_str(rest);
    }
    Some(text).filter(|text| !text.is_empty() && !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_messages() {
        let first = ClientFirst::parse("p=tls-exporter,a=boss=2C=3D,n=us=3Der,r=nonce,x=y").unwrap();
        assert_eq!(first.binding, Binding::Required("tls-exporter".into()));
        assert_eq!((first.authzid.as_str(), first.user.as_str()), ("boss,=", "us=er"));
        assert_eq!(first.gs2_header, "p=tls-exporter,a=boss=2C=3D,");
        assert_eq!(first.bare, "n=us=3Der,r=nonce,x=y");
        for bad in [
            "",
            ",,",
            "n,,",
            "n,n=user,r=x",
            "n,,n=,r=x",
            "n,,n=user,r=",
            "n,,n=user",
            "n,,r=x,n=user",
            "n,,m=x,n=user,r=x",
            "n,,n=us=er,r=x",
            "n,,n=us=2cer,r=x",
            "n,a=,n=user,r=x",
            "n,user,n=user,r=x",
            "p=,,n=user,r=x",
            "p=a b,,n=user,r=x",
            "z,,n=user,r=x",
            "n,,n=user,r=a b",
            "n,,n=user,r=x,",
            "n,,n=us\0er,r=x",
        ] {
            assert!(ClientFirst::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn final_messages() {
        let last = ClientFinal::parse("c=biws,r=abc,x=1,p=AAAA").unwrap();
        assert_eq!(last.channel_binding, b"n,,");
        assert_eq!((last.nonce, last.without_proof, last.proof.len()), ("abc", "c=biws,r=abc,x=1", 3));
        for bad in ["", "c=biws,r=abc", "r=abc,c=biws,p=AAAA", "c=?,r=abc,p=AAAA", "c=biws,r=abc,p=A", "c=biws,p=AAAA"]
        {
            assert!(ClientFinal::parse(bad).is_none(), "{bad}");
        }
    }
}
