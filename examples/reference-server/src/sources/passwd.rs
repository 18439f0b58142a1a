//! Files of passwd(5): `name:password:uid:gid:gecos:home:shell`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use zeroize::Zeroizing;

use crate::users::PasswordHash;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: PathBuf,
}

/// All lines of a file, by name.
#[derive(Debug, Default)]
pub(super) struct Passwd {
    pub(super) entries: HashMap<String, (Entry, Option<PasswordHash>)>,
}

impl Passwd {
    /// Reads a file. A line that is wrong is left out, and the log says which and why; so is the second of a name.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let text = Zeroizing::new(fs::read_to_string(path)?);
        let mut passwd = Self::default();
        for (at, line) in text.lines().enumerate() {
            let place = format_args!("{}:{}", path.display(), at + 1).to_string();
            // NIS has lines that begin with a sign.
            if line.is_empty() || line.starts_with(['#', '+', '-']) {
                continue;
            }
            match entry(line) {
                Ok((name, entry, hash)) => {
                    if passwd.entries.contains_key(name) {
                        tracing::warn!("{place}: left out: the name stands above already");
                    } else {
                        passwd.entries.insert(name.to_owned(), (entry, hash));
                    }
                }
                Err(what) => tracing::warn!("{place}: left out: {what}"),
            }
        }
        Ok(passwd)
    }

    /// The hash of some user's password.
    pub(super) fn any_hash(&self) -> Option<PasswordHash> {
        self.entries.values().find_map(|(_, hash)| hash.clone())
    }
}

fn entry(line: &str) -> Result<(&str, Entry, Option<PasswordHash>), &'static str> {
    let fields: Vec<_> = line.split(':').collect();
    let &[name, password, uid, gid, _, home, _] = fields.as_slice() else { return Err("not seven fields") };
    if name.is_empty() || name.contains(['/', '\0']) {
        return Err("no name");
    }
    let uid = uid.parse().map_err(|_| "the user id is no number")?;
    let gid = gid.parse().map_err(|_| "the group id is no number")?;
    let home = Path::new(home);
    if !home.is_absolute() || home.components().any(|part| part == std::path::Component::ParentDir) {
        return Err("the home is no absolute path");
    }
    Ok((name, Entry { uid, gid, home: home.to_owned() }, PasswordHash::crypt(password)))
}

/// The hashes of a shadow(5) file, by name; accounts that have expired by this day (since 1970) have none.
pub(super) fn read_shadow(path: &Path, today: i64) -> io::Result<HashMap<String, PasswordHash>> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    let mut hashes = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(hash)) = (fields.next(), fields.next()) else { continue };
        let expires = fields.nth(5).and_then(|day| day.parse::<i64>().ok());
        if expires.is_some_and(|day| day >= 0 && day <= today) {
            continue;
        }
        if let Some(hash) = PasswordHash::crypt(hash) {
            hashes.insert(name.to_owned(), hash);
        }
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const HASH: &str = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";

    #[test]
    fn lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        let text = format!(
            "# users\n\nada:{HASH}:1000:1000:Ada:/home/ada:/bin/sh\nbob:!:1001:1001::/home/bob:\n\
             ada:{HASH}:5:5::/other:\nshort:x:1:1\nneg:x:-1:1::/h:\nrel:x:1:1::h:\nup:x:1:1::/h/../x:\n+nis::::::\n"
        );
        fs::write(&path, text).unwrap();
        let passwd = Passwd::read(&path).unwrap();
        assert_eq!(passwd.entries.len(), 2);
        let (ada, hash) = &passwd.entries["ada"];
        assert_eq!((ada.uid, ada.gid, ada.home.as_path()), (1000, 1000, Path::new("/home/ada")));
        assert_eq!(hash.as_ref().map(PasswordHash::expose), Some(HASH));
        assert!(passwd.entries["bob"].1.is_none(), "locked");
        assert!(passwd.any_hash().is_some());
        assert!(!format!("{passwd:?}").contains("saltstring"));
    }

    #[test]
    fn shadows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shadow");
        fs::write(
            &path,
            format!("a:{HASH}:1:0:99999:7:::\nb:{HASH}:1:0:99999:7::100:\nc:{HASH}:1:0:99999:7::101:\nd:*:::::::\n"),
        )
        .unwrap();
        let hashes = read_shadow(&path, 100).unwrap();
        let mut names: Vec<_> = hashes.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "c"]);
    }
}
