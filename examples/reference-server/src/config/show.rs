//! Effective settings as text, for `--check-config`.

use std::fmt::{self, Write};
use std::path::Path;

use pillarbox_server_core::limits::MinRate;
use pillarbox_server_core::tls::FileKind;

use super::access::{Acl, Preauth};
use super::error::quoted;
use super::limits::{Limits, MIN_RATE_WINDOW};
use super::listener::{Listener, Server};
use super::logging::{Logging, facility_name};
use super::socket::Socket;
use super::tls::{Tls, TlsVersions};
use super::value::{Patience, Span};
use super::{Certificate, Config, Fsync, IdField, Imap, Pem, UserSource, tls_mode_name};

/// The settings in the form of a configuration file, every default filled in. Keys and other secrets are masked.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(data) = &self.data {
            writeln!(f, "data = {}", path(data))?;
        }
        if let Some(folder) = &self.configdirectory {
            writeln!(f, "configdirectory = {}", path(folder))?;
        }
        let fsync = match self.fsync {
            Fsync::Optimized => "optimized",
            Fsync::Always => "always",
        };
        writeln!(f, "fsync = \"{fsync}\"\nmax-message-size = {}", self.max_message_size)?;
        writeln!(f, "create-home-dir = {}\nhome-dir-mode = \"{:o}\"", self.create_home_dir, self.home_dir_mode)?;
        if !self.debug_command.is_empty() {
            writeln!(f, "debug-command = {}", list(&self.debug_command))?;
        }
        for source in &self.users {
            f.write_str("\n[[auth]]\n")?;
            match source {
                UserSource::File => writeln!(f, "source = \"file\"")?,
                UserSource::System => writeln!(f, "source = \"system\"")?,
                UserSource::Virtdomain(folder) => {
                    writeln!(f, "source = \"virtdomain\"\npasswd-dir = {}", path(folder))?;
                }
            }
        }
        write!(f, "{}", self.server)?;
        if let Some(inetd) = self.inetd.first() {
            options(f, inetd)?;
        }
        for listener in &self.listeners {
            write!(f, "{listener}")?;
        }
        for (id, certificate) in &self.certificates {
            writeln!(f, "\n[certificate.{}]\n{certificate}", quoted(id))?;
        }
        writeln!(f, "\n[store]\nmessage-cache = {}", self.message_cache)?;
        write!(f, "\n[limits]\n{}", self.limits)?;
        write!(f, "\n[imap]\n{}", self.imap)?;
        write!(f, "\n[pop3]\n{}", self.pop3)?;
        write!(f, "\n{}", self.logging)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n[server]\nshutdown-grace = \"{}\"", Span(self.shutdown_grace))?;
        let stagger = Patience((!self.shutdown_stagger.is_zero()).then_some(self.shutdown_stagger));
        writeln!(f, "shutdown-stagger = {stagger}\nmax-children = {}", self.max_children.unwrap_or(0))?;
        if let Some(file) = &self.pidfile {
            writeln!(f, "pidfile = {}", path(file))?;
        }
        if let Some((user, group)) = &self.run_as {
            writeln!(f, "run-as.user = {}", text(user))?;
            if let Some(group) = group {
                writeln!(f, "run-as.group = {}", text(group))?;
            }
        }
        write!(f, "{}", self.acl)?;
        if let Some(tables) = &self.tcp_wrappers {
            if let Some(daemon) = &tables.daemon {
                writeln!(f, "tcp-wrappers.daemon = {}", text(daemon))?;
            }
            writeln!(f, "tcp-wrappers.allow-table = {}", path(&tables.allow_table))?;
            writeln!(f, "tcp-wrappers.deny-table = {}", path(&tables.deny_table))?;
        }
        Ok(())
    }
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let entries: Vec<String> = self.0.iter().map(|words| list(words)).collect();
        writeln!(f, "acl = [{}]", entries.join(", "))
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n[server.listener.{}]", quoted(&self.id))?;
        let bind: Vec<String> = self.bind.iter().map(ToString::to_string).collect();
        writeln!(f, "bind = {}\nprotocol = \"{}\"", list(&bind), self.protocol.name())?;
        options(f, self)?;
        write!(f, "{}", self.acl)?;
        writeln!(f, "login-disabled = {}", self.login_disabled)?;
        let plain = if self.allow_plain_text { "taken" } else { "refused" };
        writeln!(f, "# passwords without TLS are {plain}")
    }
}

/// What stands in a listener's table as well as in the server's.
fn options(f: &mut fmt::Formatter<'_>, listener: &Listener) -> fmt::Result {
    writeln!(f, "max-connections = {}\ntls-mode = \"{}\"", listener.max_connections, tls_mode_name(listener.tls_mode))?;
    for (key, value) in [("hostname", &listener.hostname), ("greeting", &listener.greeting)] {
        if let Some(value) = value {
            writeln!(f, "{key} = {}", text(value))?;
        }
    }
    if let Some(timeout) = listener.timeout {
        writeln!(f, "timeout = {}", Patience(timeout))?;
    }
    writeln!(f, "transcript = {}\nsingle-process = {}", listener.transcript, listener.single_process)?;
    writeln!(f, "transcript-secrets = {}", listener.transcript_secrets)?;
    writeln!(f, "transcript-data = {}", listener.transcript_data)?;
    write!(f, "{}{}{}", listener.preauth, listener.tls, listener.socket)?;
    if !listener.trusted_networks.is_empty() {
        let networks: Vec<String> = listener.trusted_networks.iter().map(ToString::to_string).collect();
        writeln!(f, "proxy.trusted-networks = {}", list(&networks))?;
    }
    Ok(())
}

impl fmt::Display for Preauth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            writeln!(f, "preauth = {}", text(scheme))?;
        }
        writeln!(f, "preauth-only = {}\nident-encrypt-only = {}", self.only, self.ident_encrypt_only)?;
        match &self.ident_keyfile {
            Some(file) => writeln!(f, "ident-keyfile = {}", path(file)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(certificate) = &self.certificate {
            writeln!(f, "tls.certificate = {}", text(certificate))?;
        }
        if !self.sni.is_empty() {
            let one = |sni: &super::Sni| {
                format!("{{ subject = {}, certificate = {} }}", text(&sni.subject), text(&sni.certificate))
            };
            let all: Vec<String> = self.sni.iter().map(one).collect();
            writeln!(f, "tls.sni = [{}]", all.join(", "))?;
        }
        writeln!(f, "tls.timeout = \"{}\"", Span(self.timeout))?;
        let versions = match self.versions {
            TlsVersions::Both => "\"TLSv1.2\", \"TLSv1.3\"",
            TlsVersions::Only12 => "\"TLSv1.2\"",
            TlsVersions::Only13 => "\"TLSv1.3\"",
        };
        writeln!(f, "tls.protocols = [{versions}]")?;
        if let Some(ciphers) = &self.ciphers {
            let names: Vec<String> = ciphers.iter().map(ToString::to_string).collect();
            writeln!(f, "tls.ciphers = {}", list(&names))?;
        }
        if let Some(priorities) = &self.priorities {
            writeln!(f, "tls.ssl-priorities = {}", text(priorities))?;
        }
        writeln!(f, "tls.ignore-client-order = {}", self.ignore_client_order)?;
        if let Some(file) = &self.ca_file {
            let wanted = if self.client_certificate_required { "required" } else { "optional" };
            writeln!(f, "tls.ssl-ca-file = {}\ntls.client-certificate = \"{wanted}\"", path(file))?;
        }
        for (key, kind) in
            [("key-file", FileKind::Key), ("cert-file", FileKind::Certificate), ("ca-file", FileKind::Authorities)]
        {
            let names: Vec<String> =
                std::iter::once("none").chain(self.file_checks.names(kind)).map(str::to_owned).collect();
            writeln!(f, "tls-file-checks.{key} = {}", list(&names))?;
        }
        Ok(())
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "socket.reuse-addr = {}\nsocket.reuse-port = {}", self.reuse_addr, self.reuse_port)?;
        writeln!(f, "socket.backlog = {}\nsocket.nodelay = {}", self.backlog, self.nodelay)?;
        for (key, value) in [
            ("ttl", self.ttl),
            ("send-buffer-size", self.send_buffer_size),
            ("recv-buffer-size", self.recv_buffer_size),
            ("tos", self.tos),
        ] {
            if let Some(value) = value {
                writeln!(f, "socket.{key} = {value}")?;
            }
        }
        for (key, value) in [("linger", self.linger), ("keepalive", self.keepalive)] {
            if let Some(value) = value {
                writeln!(f, "socket.{key} = \"{}\"", Span(value))?;
            }
        }
        if let Some(mode) = self.mode {
            writeln!(f, "socket.mode = \"{mode:o}\"")?;
        }
        Ok(())
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cert = {}\nprivate-key = {}", pem(&self.cert, false), pem(&self.private_key, true))
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, login) = (&self.address, &self.login);
        let networks: Vec<String> = address.exempt.iter().map(ToString::to_string).collect();
        writeln!(f, "exempt = {}\nmemory = {}", list(&networks), self.memory.unwrap_or(0))?;
        writeln!(f, "address.connections = {}", address.connections.unwrap_or(0))?;
        writeln!(f, "address.network-connections = {}", address.network_connections.unwrap_or(0))?;
        if let Some((count, time, burst)) = self.rate {
            writeln!(f, "address.rate = \"{count}/{}\"\naddress.burst = {burst}", Span(time))?;
        }
        writeln!(f, "address.ipv6-prefix = {}", address.ipv6_address)?;
        writeln!(
            f,
            "address.ipv4-network = {}\naddress.ipv6-network = {}",
            address.ipv4_network, address.ipv6_network
        )?;
        let window = self.min_rate.map_or(MIN_RATE_WINDOW, MinRate::window);
        writeln!(f, "transfer.min-rate = {}", self.min_rate.map_or(0, MinRate::bytes_per_second))?;
        writeln!(f, "transfer.window = \"{}\"", Span(window))?;
        writeln!(f, "transfer.stall = \"{}\"", Span(self.write_stall))?;
        writeln!(f, "user.sessions = {}", self.user_sessions.unwrap_or(0))?;
        writeln!(f, "login.window = \"{}\"\nlogin.free = {}", Span(login.window), login.free)?;
        writeln!(f, "login.first-delay = \"{}\"", Span(login.first_delay))?;
        writeln!(f, "login.longest-delay = \"{}\"\nlogin.waiting = {}", Span(login.longest_delay), login.waiting)?;
        writeln!(f, "login.block-after = {}", login.block_after.unwrap_or(0))?;
        writeln!(f, "login.block-for = \"{}\"", Span(login.block_for))
    }
}

impl fmt::Display for Imap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let literal = if self.literal_minus { "literal-" } else { "literal+" };
        writeln!(f, "literal-plus = \"{literal}\"\nauth.max-failures = {}", self.max_failures)?;
        allow(f, self.allow_plain_text)?;
        writeln!(f, "timeout.anonymous = \"{}\"", Span(self.timeout_anonymous))?;
        writeln!(f, "timeout.authenticated = \"{}\"", Span(self.timeout_authenticated))?;
        if let Some(heartbeat) = self.heartbeat {
            writeln!(f, "heartbeat = {}", Patience(heartbeat))?;
        }
        writeln!(f, "login-disabled = {}", self.login_disabled)?;
        let Some(fields) = &self.id_fields else { return Ok(()) };
        let mut names = Vec::new();
        let mut variables = None;
        for field in fields {
            names.push(match field {
                IdField::Known(name) => (*name).to_owned(),
                IdField::Arguments => "arguments".to_owned(),
                IdField::Environment(names) => {
                    variables = Some(names);
                    "environment".to_owned()
                }
                IdField::Own(name, value) => format!("{name}={value}"),
            });
        }
        writeln!(f, "id-fields = {}", list(&names))?;
        match variables {
            Some(names) => writeln!(f, "id-environment = {}", list(names)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Logging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[logging]\nsyslog = {}\nsocket = {}", self.syslog, path(&self.socket))?;
        writeln!(f, "severity = \"{}\"\nfacility = \"{}\"", self.severity.name(), facility_name(self.facility))?;
        if let Some(tag) = &self.tag {
            writeln!(f, "tag = {}", text(tag))?;
        }
        writeln!(f, "session-id = {}\nprint-severity = {}", self.session_id, self.print_severity)?;
        writeln!(f, "\n[debug]\nline-info = {}", self.line_info)?;
        match &self.debug {
            Some(level) => writeln!(f, "level = {}", text(level)),
            None => Ok(()),
        }
    }
}

pub(super) fn allow(f: &mut fmt::Formatter<'_>, allowed: Option<bool>) -> fmt::Result {
    match allowed {
        Some(allowed) => writeln!(f, "auth.allow-plain-text = {allowed}"),
        None => Ok(()),
    }
}

fn pem(pem: &Pem, secret: bool) -> String {
    match pem {
        Pem::File(path) => text(&format!("file://{}", path.display())),
        Pem::Env(name, _) => format!("{{ env = {} }}", text(name)),
        Pem::Inline(_) if secret => "\"***\"".to_owned(),
        Pem::Inline(pem) => text(pem),
    }
}

fn path(path: &Path) -> String {
    text(&path.display().to_string())
}

/// A TOML array of texts.
fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| text(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A TOML basic string.
pub(super) fn text(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
