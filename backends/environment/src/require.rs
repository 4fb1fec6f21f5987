//! What a program cannot do without, asked at start-up.

use std::fmt;

use onex_spi::breaker::BreakerFeature;
use onex_spi::http::HttpFeature;
use onex_spi::kafka::KafkaFeature;
use onex_spi::provider::{Engine, Port};

/// Something that a program needs of its environment, told to [`EnvironmentBuilder::require`](crate::EnvironmentBuilder::require).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// A section for the port, whatever its engine offers.
    Port(Port),
    /// A circuit breaker with the feature.
    Breaker(BreakerFeature),
    /// An HTTP transport with the feature.
    Http(HttpFeature),
    /// A Kafka driver with the feature.
    Kafka(KafkaFeature),
}

impl From<Port> for Requirement {
    fn from(port: Port) -> Self {
        Self::Port(port)
    }
}

impl From<BreakerFeature> for Requirement {
    fn from(feature: BreakerFeature) -> Self {
        Self::Breaker(feature)
    }
}

impl From<HttpFeature> for Requirement {
    fn from(feature: HttpFeature) -> Self {
        Self::Http(feature)
    }
}

impl From<KafkaFeature> for Requirement {
    fn from(feature: KafkaFeature) -> Self {
        Self::Kafka(feature)
    }
}

impl Requirement {
    pub(crate) fn port(self) -> Port {
        match self {
            Self::Port(port) => port,
            Self::Breaker(_) => Port::CircuitBreaker,
            Self::Http(_) => Port::HttpTransport,
            Self::Kafka(_) => Port::KafkaDriver,
        }
    }

    /// The feature's name, if `engine` should declare it and does not.
    pub(crate) fn missing_from(self, engine: &Engine) -> Option<String> {
        let (declared, name) = match (self, engine) {
            (Self::Breaker(feature), Engine::CircuitBreaker(breaker)) => {
                (breaker.capabilities().features.has(feature), format!("{feature:?}"))
            }
            (Self::Http(feature), Engine::HttpTransport(transport)) => {
                (transport.capabilities().features.has(feature), format!("{feature:?}"))
            }
            (Self::Kafka(feature), Engine::KafkaDriver(driver)) => {
                (driver.capabilities().features.has(feature), format!("{feature:?}"))
            }
            _ => return None,
        };
        (!declared).then_some(name)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => f.write_str(port.section()),
            Self::Breaker(feature) => write!(f, "breaker with {feature:?}"),
            Self::Http(feature) => write!(f, "http with {feature:?}"),
            Self::Kafka(feature) => write!(f, "kafka with {feature:?}"),
        }
    }
}
