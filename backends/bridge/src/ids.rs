//! Identities for messages that bring none.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use onex_spi::Clock;
use onex_spi::bridge::{BridgeContext, MessageId};

/// Makes ids that sort by the time of their making: 48 bits of milliseconds, then 80 random ones.
pub(crate) struct Ids {
    clock: Arc<dyn Clock>,
    random: Mutex<fastrand::Rng>,
}

impl Ids {
    /// Draws from the context's seed; `salt` keeps those apart who share it.
    pub(crate) fn new(context: &BridgeContext, salt: &str) -> Self {
        let seed = context.seed ^ hash(&[salt.as_bytes(), context.bridge.as_bytes()]) as u64;
        Self { clock: context.clock.clone(), random: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    pub(crate) fn next(&self) -> MessageId {
        let since = self.clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let random = self.random.lock().unwrap_or_else(PoisonError::into_inner).u128(..);
        MessageId::from_u128((since.as_millis() << 80) | (random >> 48))
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").finish_non_exhaustive()
    }
}

/// FNV-1a of 128 bits over `parts`, each closed by its length: the same for ever and on every machine.
pub(crate) fn hash(parts: &[&[u8]]) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mut add = |byte: u8| hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
    for part in parts {
        part.iter().copied().for_each(&mut add);
        (part.len() as u64).to_le_bytes().into_iter().for_each(&mut add);
    }
    hash
}
