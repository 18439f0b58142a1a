//! What a command may cost at most. A session holds one set for before and one for after login.

/// Limits on one finished command. Each is a count, chosen so that the work stays proportional to the command's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseLimits {
    /// Ranges and numbers in one sequence set.
    pub set_ranges: u32,
    /// How deep search keys may nest: parentheses, NOT and OR each count one.
    pub search_depth: u32,
    /// Search keys in one command, all levels together.
    pub search_keys: u32,
    /// Members of any other list: flags, fetch items, header fields, LIST patterns, ID fields, parameters.
    pub list_items: u32,
}

impl ParseLimits {
    /// No limit but that of the nesting, which guards the stack: for reading again what has been checked.
    pub(crate) const CHECKED: Self =
        Self { set_ranges: u32::MAX, search_depth: 64, search_keys: u32::MAX, list_items: u32::MAX };
}

impl Default for ParseLimits {
    /// 8,192 ranges, 32 levels, 1,000 keys, 1,000 members.
    fn default() -> Self {
        Self { set_ranges: 8192, search_depth: 32, search_keys: 1000, list_items: 1000 }
    }
}

/// Limits on what is gathered before a command is finished, in octets unless said otherwise.
///
/// Nothing is ever allocated from an announced size; these bound what a client can make the read buffer hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameLimits {
    /// All lines of one command together, line ends included, literals not. Also the longest single line in the
    /// framer's line mode.
    pub line: usize,
    /// One literal that is no message of an APPEND.
    pub literal: u64,
    /// All such literals of one command together.
    pub literals: u64,
    /// How many literals one command may have; messages of an APPEND are not counted.
    pub literal_count: u32,
    /// The largest non-synchronizing literal that is taken at all, messages included: 4,096 with LITERAL-
    /// (RFC 7888, section 5), no limit with LITERAL+.
    pub non_synchronizing: u64,
    /// How much of a refused command is read and dropped, to find its end, before the connection is given up.
    pub discard: u64,
}

impl FrameLimits {
    /// For a client that has not logged in: 8 KiB of line, 4 KiB of literals, 64 KiB dropped.
    #[must_use]
    pub const fn before_login() -> Self {
        Self {
            line: 8 << 10,
            literal: 4 << 10,
            literals: 8 << 10,
            literal_count: 16,
            non_synchronizing: u64::MAX,
            discard: 64 << 10,
        }
    }

    /// For a client that has: 64 KiB of line, 64 KiB a literal, 256 KiB of literals, 64 MiB dropped.
    #[must_use]
    pub const fn after_login() -> Self {
        Self {
            line: 64 << 10,
            literal: 64 << 10,
            literals: 256 << 10,
            literal_count: 128,
            non_synchronizing: u64::MAX,
            discard: 64 << 20,
        }
    }
}

impl Default for FrameLimits {
    /// [`FrameLimits::before_login`].
    fn default() -> Self {
        Self::before_login()
    }
}
