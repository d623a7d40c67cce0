//! Numbers for places and times, the same for the same seed.

/// A small generator (Marsaglia, Xorshift RNGs, 2003). Its seed is not zero.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
