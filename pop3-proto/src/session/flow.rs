//! How much is fetched and sent at once.

use crate::config::Limits;

/// How often a client that keeps up doubles what it is sent at once.
const DOUBLINGS: u32 = 3;

/// Whether the client takes what it asks for as fast as it comes.
///
/// One that does would go to sleep between small writes, and waking it takes longer than copying them; so it is sent
/// more at once. For one that falls behind no more is kept in memory than the limits say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    doublings: u32,
    /// Messages were fetched since this was looked at.
    fetched: bool,
}

impl Flow {
    /// Tells whether the client has taken everything when it is its turn again.
    pub(crate) fn observe(&mut self, taken: bool) {
        if !taken {
            self.doublings = 0;
        } else if std::mem::take(&mut self.fetched) {
            self.doublings = (self.doublings + 1).min(DOUBLINGS);
        }
    }

    /// Several messages are fetched for the pipeline.
    pub(crate) fn fetches(&mut self) {
        self.fetched = true;
    }

    /// A large message is shown piece by piece; more of them at once would only cost memory.
    pub(crate) fn streams(&mut self) {
        *self = Self::default();
    }

    /// How many messages to fetch ahead.
    pub(crate) fn read_ahead(&self, limits: &Limits) -> usize {
        limits.read_ahead.max(1).saturating_mul(1 << self.doublings)
    }

    /// How many octets of them.
    pub(crate) fn read_ahead_bytes(&self, limits: &Limits) -> usize {
        limits.read_ahead_bytes.saturating_mul(1 << self.doublings)
    }

    /// How many octets of output may wait before no more is made.
    pub(crate) fn high_water(&self, limits: &Limits) -> usize {
        match self.doublings {
            0 => limits.output_high_water.max(1),
            // What was fetched is in memory anyway.
            _ => limits.output_high_water.max(1).max(self.read_ahead_bytes(limits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_up_gets_more_until_it_falls_behind() {
        let limits = Limits::default();
        let mut flow = Flow::default();
        // Commands that fetch nothing say nothing about it.
        (0..10).for_each(|_| flow.observe(true));
        assert_eq!(flow.high_water(&limits), limits.output_high_water);
        for _ in 0..10 {
            flow.fetches();
            flow.observe(true);
        }
        assert_eq!(flow.high_water(&limits), 1 << 20);
        assert_eq!(flow.read_ahead(&limits), 128);
        flow.observe(false);
        assert_eq!(flow.high_water(&limits), limits.output_high_water);
        assert_eq!(flow.read_ahead_bytes(&limits), limits.read_ahead_bytes);
    }
}
