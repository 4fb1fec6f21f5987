//! Capabilities as data: a set of features that an engine declares once.

use std::fmt;
use std::marker::PhantomData;

use crate::{Error, Result};

/// One optional ability of a port; implemented by that port's feature enum.
pub trait Feature: Copy + fmt::Debug + Send + Sync + 'static {
    /// Every feature of the port, in order.
    const ALL: &'static [Self];

    /// The place of this feature in the set, below 64.
    fn index(self) -> u32;
}

/// A set of the features of one port; small, `Copy`, constant for an instance's life.
///
/// # Examples
/// ```
/// use onex_spi::Features;
/// use onex_spi::kafka::KafkaFeature;
///
/// let declared = Features::none().with(KafkaFeature::Groups);
/// assert!(declared.has(KafkaFeature::Groups));
/// let refused = declared.require("kafka.create_topic", KafkaFeature::TopicConfig).unwrap_err();
/// assert_eq!(refused.kind(), onex_spi::ErrorKind::Unsupported);
/// ```
pub struct Features<F> {
    bits: u64,
    of: PhantomData<F>,
}

impl<F: Feature> Features<F> {
    /// The empty set.
    #[must_use]
    pub const fn none() -> Self {
        Self { bits: 0, of: PhantomData }
    }

    /// Every feature of the port.
    #[must_use]
    pub fn all() -> Self {
        F::ALL.iter().fold(Self::none(), |set, feature| set.with(*feature))
    }

    /// The set and `feature`.
    #[must_use]
    pub fn with(self, feature: F) -> Self {
        Self { bits: self.bits | 1 << feature.index(), of: PhantomData }
    }

    /// The set without `feature`.
    #[must_use]
    pub fn without(self, feature: F) -> Self {
        Self { bits: self.bits & !(1 << feature.index()), of: PhantomData }
    }

    /// Whether `feature` is declared.
    #[must_use]
    pub fn has(self, feature: F) -> bool {
        self.bits & 1 << feature.index() != 0
    }

    /// The features in the set, in order.
    pub fn iter(self) -> impl Iterator<Item = F> {
        F::ALL.iter().copied().filter(move |feature| self.has(*feature))
    }

    /// Refuses `operation` unless `feature` is declared; to be called before any effect.
    ///
    /// # Errors
    /// `Unsupported`, with no effect.
    pub fn require(self, operation: &'static str, feature: F) -> Result<()> {
        if self.has(feature) {
            return Ok(());
        }
        Err(Error::unsupported(
            operation,
            format!("this engine does not declare {feature:?}; choose one that does"),
        ))
    }
}

impl<F> Clone for Features<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Features<F> {}

impl<F> PartialEq for Features<F> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl<F> Eq for Features<F> {}

impl<F: Feature> Default for Features<F> {
    fn default() -> Self {
        Self::none()
    }
}

impl<F: Feature> fmt::Debug for Features<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Implements [`Feature`] for a fieldless enum whose variants are listed in order.
macro_rules! features {
    ($name:ident { $($variant:ident),+ $(,)? }) => {
        impl $crate::Feature for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            fn index(self) -> u32 {
                self as u32
            }
        }
    };
}
pub(crate) use features;
