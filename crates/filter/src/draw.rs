//! Chance: a row of draws that follows from one.

/// Even draws over all of `u64`, each independent of the others, and the same for the same beginning (SplitMix64).
#[derive(Debug, Clone, Copy)]
pub struct Draws {
    pub(crate) seed: u64,
    /// How many were drawn. After very many they come again.
    pub(crate) drawn: u16,
}

impl Draws {
    /// The row that begins with `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The next draw.
    pub fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        self.at(self.drawn)
    }

    /// The draw by which a route chooses its cluster: always the same, whoever asks, and none of the others.
    pub fn of_cluster(&self) -> u64 {
        self.at(0)
    }

    fn at(&self, number: u16) -> u64 {
        let mut z = self.seed.wrapping_add(u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
