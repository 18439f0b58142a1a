//! Where users come from: sources that are asked in their order.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::error::{ConfigError, Source};

/// A source of users. The first that knows a user decides.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserSource {
    /// The users' file of the data folder.
    File,
    /// Files in the form of `passwd`, one for each domain, in this folder.
    Virtdomain(PathBuf),
    /// The users of the system.
    System,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    source: Spanned<String>,
    passwd_dir: Option<Spanned<PathBuf>>,
}

impl UserSource {
    pub(super) fn resolve(source: &Source<'_>, tables: &[Table], base: &Path) -> Result<Vec<Self>, ConfigError> {
        #[derive(Clone, Copy, PartialEq)]
        enum Kind {
            File,
            Virtdomain,
            System,
        }
        let mut sources = Vec::new();
        for table in tables {
            let known = [("file", Kind::File), ("virtdomain", Kind::Virtdomain), ("system", Kind::System)];
            let kind = source.choice(&table.source, &known)?;
            let made = match (kind, &table.passwd_dir) {
                (Kind::Virtdomain, Some(folder)) => Self::Virtdomain(base.join(folder.get_ref())),
                (Kind::Virtdomain, None) => {
                    return Err(
                        source.error(&table.source.span(), "virtdomain needs passwd-dir, the folder of its files")
                    );
                }
                (_, Some(folder)) => {
                    return Err(source.error(&folder.span(), "passwd-dir is for the source \"virtdomain\""));
                }
                (Kind::File, None) => Self::File,
                (Kind::System, None) => Self::System,
            };
            if sources.contains(&made) {
                return Err(source.error(&table.source.span(), "this source stands there twice"));
            }
            sources.push(made);
        }
        if sources.is_empty() {
            sources.push(Self::File);
        }
        Ok(sources)
    }
}
