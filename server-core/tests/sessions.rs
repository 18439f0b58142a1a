//! The list of sessions, ending them, and counting what they do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]

mod watched;

use std::net::Ipv4Addr;
use std::time::Duration;

use pillarbox_server_core::{Listener, Server, ServerHandle};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use watched::clerk;

fn server() -> ServerHandle {
    let listener = Listener::new("clerk", clerk).address((Ipv4Addr::LOCALHOST, 0)).max_connections(3);
    Server::new().listener(listener).bind().unwrap().start().unwrap()
}

async fn connect(server: &ServerHandle) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(server.local_addr("clerk").unwrap()).await.unwrap())
}

async fn ask(client: &mut BufReader<TcpStream>, line: &str) -> String {
    client.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    let mut reply = String::new();
    client.read_line(&mut reply).await.unwrap();
    reply.trim_end().to_owned()
}

async fn gone(server: &ServerHandle) {
    while server.connections() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn sessions_are_listed_with_what_they_do() {
    let server = server();
    let mut bob = connect(&server).await;
    assert_eq!(ask(&mut bob, "hello").await, "hello");
    let mut eve = connect(&server).await;
    assert_eq!(ask(&mut eve, "LOGIN eve sesame").await, "welcome eve");
    let sessions = server.sessions();
    let [first, second] = &sessions[..] else { panic!("{sessions:?}") };
    assert_eq!((&*first.listener, first.user.as_deref(), first.state), ("clerk", None, "waiting"));
    assert_eq!((second.user.as_deref(), second.state, second.secure), (Some("eve"), "inside", false));
    assert_eq!((first.received, first.sent), (7, 7));
    assert_eq!((second.received, second.sent), (18, 13));
    assert_eq!(second.peer, Some(eve.get_ref().local_addr().unwrap()));
    assert_eq!(second.client, second.peer);
    assert!(first.age >= second.age);
    drop((bob, eve));
    gone(&server).await;
    assert!(server.sessions().is_empty());
}

#[tokio::test]
async fn a_session_or_all_of_a_user_can_be_ended() {
    let server = server();
    let mut clients = Vec::new();
    for user in ["bob", "bob", "eve"] {
        let mut client = connect(&server).await;
        ask(&mut client, &format!("LOGIN {user} sesame")).await;
        clients.push(client);
    }
    assert_eq!(server.end_user("nobody", "go"), 0);
    assert_eq!(server.end_user("bob", "go away"), 2);
    for client in &mut clients[..2] {
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "go away\r\n");
    }
    let mut eve = clients.pop().unwrap();
    drop(clients);
    let id = server.sessions().iter().find(|session| session.user.as_deref() == Some("eve")).unwrap().id;
    assert!(server.end_session(id, "you too"));
    let mut rest = String::new();
    eve.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "you too\r\n");
    drop(eve);
    gone(&server).await;
    assert!(!server.end_session(id, "again"));
}

#[cfg(feature = "metrics")]
mod counted {
    use metrics_util::debugging::{DebuggingRecorder, Snapshotter};

    use super::*;

    /// Each series: `name label label value`, values of labels in their order. Taking it sets counters back.
    fn series(snapshotter: &Snapshotter) -> Vec<String> {
        let all = snapshotter.snapshot().into_vec();
        let told = all.into_iter().map(|(key, _, description, value)| {
            assert!(description.is_some(), "{key:?} is not described");
            let labels: Vec<_> = key.key().labels().map(|label| label.value().to_owned()).collect();
            format!("{} {} {value:?}", key.key().name(), labels.join(" "))
        });
        told.collect()
    }

    #[test]
    fn what_happens_is_counted() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let live = metrics::with_local_recorder(&recorder, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = server();
                let mut clients = Vec::new();
                for _ in 0..3 {
                    let mut client = connect(&server).await;
                    ask(&mut client, "LOGIN bob wrong").await;
                    ask(&mut client, "LOGIN bob sesame").await;
                    clients.push(client);
                }
                let mut refused = connect(&server).await;
                let mut nothing = String::new();
                refused.read_to_string(&mut nothing).await.unwrap();
                let live = series(&snapshotter);
                drop(clients);
                gone(&server).await;
                live
            })
        });
        for expected in [
            "pillarbox_connections_total clerk Counter(3)",
            "pillarbox_sessions clerk Gauge(3.0)",
            "pillarbox_refused_total clerk too-many-connections-of-listener Counter(1)",
            "pillarbox_logins_total clerk LOGIN ok Counter(3)",
            "pillarbox_logins_total clerk LOGIN credentials Counter(3)",
            "pillarbox_commands_total clerk LOGIN ok Counter(3)",
            "pillarbox_commands_total clerk LOGIN no Counter(3)",
            "pillarbox_command_duration_seconds clerk LOGIN Histogram([0.003, 0.003, 0.003, 0.003, 0.003, 0.003])",
            "pillarbox_received_bytes_total clerk Counter(105)",
            "pillarbox_sent_bytes_total clerk Counter(51)",
        ] {
            assert!(live.iter().any(|series| series == expected), "{expected}\n{live:#?}");
        }
        assert!(!live.iter().any(|series| series.contains("bob") || series.contains("127.")), "{live:#?}");
        let ended = series(&snapshotter);
        // What was counted was set back by the first look, and the gauge with it.
        assert!(ended.iter().any(|series| series == "pillarbox_sessions clerk Gauge(-3.0)"), "{ended:#?}");
        let lasted = ended.iter().find(|series| series.starts_with("pillarbox_session_duration_seconds clerk"));
        assert_eq!(lasted.unwrap().matches(", ").count(), 2, "{lasted:?}");
    }
}
