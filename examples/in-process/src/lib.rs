//! A mail client's own test against a real IMAP server, in process and without a socket.
//!
//! [`connect`] gives one end of a duplex; behind the other, a session runs over a memory backend. A client that works on
//! any `AsyncRead + AsyncWrite` is tested as it is, with users, messages and live updates of the test's making.
#![forbid(unsafe_code)]

use std::sync::Arc;

use pillarbox_imap_proto::{Config, ImapService};
use pillarbox_proto_core::connection::{Connection, SessionId};
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::memory::MemoryBackend;
use pillarbox_server_core::{ServeOptions, serve_connection};
use tokio::io::DuplexStream;

/// Connects a client to a session over this backend.
pub fn connect(backend: &MemoryBackend) -> DuplexStream {
    let service = ImapService::new(Arc::new(backend.clone()), Config::default(), Arc::new(SystemEnv));
    let mut connection = Connection::new(SessionId::new(1));
    // Nobody can listen in on a duplex, so passwords may pass.
    connection.externally_secured = true;
    let conversation = service.connect(connection, pillarbox_server_core::now());
    let (client, server) = tokio::io::duplex(64 * 1024);
    tokio::spawn(serve_connection(server, conversation, ServeOptions::new()));
    client
}

#[cfg(test)]
mod tests {
    use pillarbox_proto_core::memory::crlf;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    /// What stands for the mail client here: it sends a line and reads up to the tagged answer.
    struct Client {
        stream: BufReader<DuplexStream>,
    }

    impl Client {
        async fn line(&mut self) -> String {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.unwrap();
            line
        }

        async fn command(&mut self, command: &str) -> Vec<String> {
            self.stream.write_all(format!("t {command}\r\n").as_bytes()).await.unwrap();
            let mut lines = Vec::new();
            loop {
                let line = self.line().await;
                let last = line.starts_with("t ") || line.is_empty();
                lines.push(line);
                if last {
                    return lines;
                }
            }
        }
    }

    #[tokio::test]
    async fn a_client_hears_of_new_mail() {
        let backend = MemoryBackend::builder().user("ada", "secret").mailbox("ada", "INBOX").build().unwrap();
        let mut client = Client { stream: BufReader::new(connect(&backend)) };
        assert!(client.line().await.starts_with("* OK"));
        assert!(client.command("LOGIN ada secret").await[0].starts_with("t OK"));
        assert!(client.command("SELECT INBOX").await.contains(&"* 0 EXISTS\r\n".to_owned()));

        client.stream.write_all(b"t IDLE\r\n").await.unwrap();
        assert_eq!(client.line().await, "+ idling\r\n");
        backend.deliver("ada", "INBOX", crlf("Subject: news\n\nHello\n")).unwrap();
        assert_eq!(client.line().await, "* 1 EXISTS\r\n");
        assert_eq!(client.line().await, "* 1 RECENT\r\n");
        client.stream.write_all(b"DONE\r\n").await.unwrap();
        assert!(client.line().await.starts_with("t OK"));

        let lines = client.command("FETCH 1 (FLAGS ENVELOPE)").await;
        assert!(lines[0].contains("\"news\""), "{lines:?}");
    }
}
