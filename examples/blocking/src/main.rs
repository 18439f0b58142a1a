//! `pillarbox-example-blocking [IMAP-ADDRESS [POP3-ADDRESS]]`: a mail store in memory, served without a runtime.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::error::Error;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use pillarbox_example_blocking::{Imap, Pop3, Service, serve};
use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::mail::SystemFlags;
use pillarbox_proto_core::memory::MemoryBackend;

const WELCOME: &str = "From: Pillarbox <postmaster@example.org>\r\nTo: demo@example.org\r\n\
    Subject: Threads will do\r\nDate: Mon, 6 Jan 2025 10:00:00 +0000\r\n\r\n\
    This message was served by std::net, one connection at a time to a thread.\r\n";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let imap_address = arguments.next().unwrap_or_else(|| "127.0.0.1:1143".to_owned());
    let pop3_address = arguments.next().unwrap_or_else(|| "127.0.0.1:1110".to_owned());

    let store = MemoryBackend::builder()
        .user("demo", "demo")
        .message("demo", "INBOX", SystemFlags::default(), WELCOME)
        .build()?;
    let backend: Arc<dyn Backend> = Arc::new(store);

    let services: [(Arc<dyn Service>, String); 2] =
        [(Arc::new(Imap::new(backend.clone())), imap_address), (Arc::new(Pop3::new(backend)), pop3_address)];
    let mut threads: Vec<thread::JoinHandle<()>> = Vec::new();
    for (service, address) in services {
        let listener = TcpListener::bind(&address).map_err(|error| format!("{address}: {error}"))?;
        println!("{} on {}", service.name(), listener.local_addr()?);
        threads.push(thread::spawn(move || {
            serve(&listener, &service);
        }));
    }
    println!("user demo, password demo");
    for thread in threads {
        thread.join().map_err(|_| "a listener's thread has panicked")?;
    }
    Ok(())
}
