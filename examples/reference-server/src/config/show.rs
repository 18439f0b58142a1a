//! Effective settings as text, for `--check-config`.

use std::fmt::{self, Write};

use super::error::quoted;
use super::value::Span;
use super::{Config, Fsync, Pem, tls_mode_name};

/// The settings in the form of a configuration file, every default filled in. Keys and other secrets are masked.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(data) = &self.data {
            writeln!(f, "data = {}", text(&data.display().to_string()))?;
        }
        let fsync = match self.fsync {
            Fsync::Optimized => "optimized",
            Fsync::Always => "always",
        };
        writeln!(f, "fsync = \"{fsync}\"\nmax-message-size = {}", self.max_message_size)?;
        writeln!(f, "\n[server]\nshutdown-grace = \"{}\"", Span(self.shutdown_grace))?;
        for listener in &self.listeners {
            writeln!(f, "\n[server.listener.{}]", quoted(&listener.id))?;
            let bind: Vec<String> = listener.bind.iter().map(|address| format!("\"{address}\"")).collect();
            writeln!(f, "bind = [{}]", bind.join(", "))?;
            writeln!(f, "protocol = \"{}\"", listener.protocol.name())?;
            writeln!(f, "max-connections = {}", listener.max_connections)?;
            writeln!(f, "tls-mode = \"{}\"", tls_mode_name(listener.tls_mode))?;
            if let Some(certificate) = &listener.certificate {
                writeln!(f, "tls.certificate = {}", text(certificate))?;
                writeln!(f, "tls.timeout = \"{}\"", Span(listener.tls_timeout))?;
            }
            let plain = if listener.allow_plain_text { "taken" } else { "refused" };
            writeln!(f, "# passwords without TLS are {plain}")?;
        }
        for (id, certificate) in &self.certificates {
            writeln!(f, "\n[certificate.{}]", quoted(id))?;
            writeln!(f, "cert = {}", pem(&certificate.cert, false))?;
            writeln!(f, "private-key = {}", pem(&certificate.private_key, true))?;
        }
        let literal = if self.imap.literal_minus { "literal-" } else { "literal+" };
        writeln!(f, "\n[imap]\nliteral-plus = \"{literal}\"\nauth.max-failures = {}", self.imap.max_failures)?;
        allow(f, self.imap.allow_plain_text)?;
        writeln!(f, "timeout.anonymous = \"{}\"", Span(self.imap.timeout_anonymous))?;
        writeln!(f, "timeout.authenticated = \"{}\"", Span(self.imap.timeout_authenticated))?;
        write!(f, "\n[pop3]\n{}", self.pop3)?;
        writeln!(f, "\n[log]\nlevel = {}", text(&self.log))
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
        Pem::Inline(_) if secret => "\"***\"".to_owned(),
        Pem::Inline(pem) => text(pem),
    }
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
