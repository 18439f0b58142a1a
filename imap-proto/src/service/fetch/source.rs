use pillarbox_proto_core::backend::*;
use bytes::Bytes;
use super::plan::View;
pub(super) struct Source<'a> { pub m: &'a dyn Mailbox, pub uid: pillarbox_proto_core::mail::Uid, pub content: Option<Bytes>, pub open: Option<Box<dyn Message>> }
impl<'a> Source<'a> {
 pub(super) fn new(m: &'a dyn Mailbox, row: &mut Row) -> Self { Self { m, uid: row.uid, content: row.content.take(), open: None } }
 pub(super) async fn prepare(&mut self, _: &[View], _: u64) -> Result<(), Error> { if let Some(c) = self.content.take() { self.open = Some(Box::new(c)); } else { self.open = Some(self.m.message(self.uid).await?); } Ok(()) }
 pub(super) async fn remember(&mut self) {}
}
