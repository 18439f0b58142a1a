//! The Maildir++ store with its SQLite index.
