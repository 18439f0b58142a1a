use pillarbox_proto_core::backend::*; use crate::service::Context; use pillarbox_proto_core::mail::UidSet;
pub(super) async fn search(_: &Context, _: &dyn Mailbox, r: SearchRequest) -> Result<UidSet> { Ok(r.within) }
