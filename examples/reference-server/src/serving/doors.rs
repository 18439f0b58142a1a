//! Who may come in, and what they are told at the door.

use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_server_core::access::{Acl, HostsAccess};
use pillarbox_server_core::{Gate, Refusal};

use super::live::Live;

/// What decides about the clients of one listener. All of it is made anew at a reload.
#[derive(Debug)]
pub struct Doors {
    /// The listener's own list.
    pub own: Acl,
    /// That of the server.
    pub server: Arc<Acl>,
    /// The tables of tcp-wrappers.
    pub tables: Option<HostsAccess>,
}

/// The door of a listener: what its doors are now is looked up for each connection.
pub(super) struct Door {
    pub(super) live: Arc<Live>,
    pub(super) listener: Arc<str>,
}

#[async_trait]
impl Gate for Door {
    async fn admit(&self, connection: &mut Connection) -> Result<(), Refusal> {
        let Some(current) = self.live.current() else { return Err(Refusal::new("not serving yet")) };
        let Some(doors) = current.doors(&self.listener) else { return Err(Refusal::new("no rules for this listener")) };
        doors.own.admit(connection).await?;
        doors.server.admit(connection).await?;
        if let Some(tables) = &doors.tables {
            tables.admit(connection).await?;
        }
        self.live.brief(connection);
        Ok(())
    }
}
