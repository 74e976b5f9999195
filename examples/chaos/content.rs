//! What is sent: a function of seed, connection, way and place, so that any byte can be judged wherever it arrives.

/// The bytes of one connection, one way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content(u64);

impl Content {
    /// Of a connection by its number; `way` tells its two directions apart.
    pub(crate) fn new(seed: u64, connection: usize, way: Way) -> Self {
        let key = seed ^ (connection as u64).rotate_left(40) ^ (way as u64).rotate_left(20);
        Self(key.wrapping_mul(MIX))
    }

    /// Writes what stands from `at` on.
    pub(crate) fn fill(self, at: u64, into: &mut [u8]) {
        let mut rest = into;
        let mut word = at / 8;
        let skip = usize::try_from(at % 8).unwrap_or(0);
        if skip > 0 {
            let (head, tail) = rest.split_at_mut(rest.len().min(8 - skip));
            head.copy_from_slice(&self.word(word)[skip..skip + head.len()]);
            (rest, word) = (tail, word + 1);
        }
        for piece in rest.chunks_mut(8) {
            piece.copy_from_slice(&self.word(word)[..piece.len()]);
            word += 1;
        }
    }

    /// How many of these bytes are not what stands from `at` on.
    pub(crate) fn wrong(self, at: u64, bytes: &[u8]) -> u64 {
        let (mut wrong, mut place, mut expected) = (0, at, [0; PIECE]);
        for piece in bytes.chunks(PIECE) {
            let expected = &mut expected[..piece.len()];
            self.fill(place, expected);
            if expected != piece {
                wrong +=
                    piece.iter().zip(&*expected).filter(|(found, wanted)| found != wanted).count() as u64;
            }
            place += piece.len() as u64;
        }
        wrong
    }

    fn word(self, index: u64) -> [u8; 8] {
        let mixed = (index ^ self.0).wrapping_mul(MIX);
        (mixed ^ (mixed >> 29)).to_le_bytes()
    }
}

/// One of the two directions of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// From the client to the server.
    Up = 1,
    /// From the server to the client.
    Down,
}

/// The golden ratio in 64 bits: neighbours come to lie far apart.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is judged at a time.
const PIECE: usize = 4096;
