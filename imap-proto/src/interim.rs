//! stub
/// x
#[derive(Debug, Clone, PartialEq)]
pub enum SectionKind { /// x
 Whole, /// x
 Header, /// x
 HeaderFields(Vec<Vec<u8>>), /// x
 HeaderFieldsNot(Vec<Vec<u8>>), /// x
 Text, /// x
 Mime }
/// x
pub mod search { /// x
 pub fn decode_charset(_: &[u8], t: &[u8]) -> Option<Result<String, ()>> { Some(String::from_utf8(t.to_vec()).map_err(|_| ())) } }
/// x
#[derive(Clone,Copy)] pub struct Charset;
impl Charset { /// x
 pub fn for_label(_: &[u8]) -> Option<Self> { Some(Self) } /// x
 pub fn decode_strict(self, t: &[u8]) -> Option<std::borrow::Cow<'_, str>> { std::str::from_utf8(t).ok().map(Into::into) } }
