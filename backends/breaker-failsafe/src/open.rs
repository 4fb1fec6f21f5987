//! How the engine is opened, by hand and from a file.

use std::sync::Arc;

use async_trait::async_trait;
use onex_spi::breaker::CircuitBreaker;
use onex_spi::provider::{Engine, KeyError, OpenContext, Port, Provider, Table, parse_config};
use onex_spi::{Clock, Error, ErrorKind, Result};

use crate::{Config, FailsafeBreaker};

/// Opens a breaker that decides on `clock`; `seed` is for the share of openings that is left to chance.
///
/// # Errors
/// `InvalidInput` for a configuration out of range; `Unsupported` for one that needs what failsafe lacks.
pub fn open(config: Config, clock: Arc<dyn Clock>, seed: u64) -> Result<Arc<dyn CircuitBreaker>> {
    Ok(Arc::new(FailsafeBreaker::new(config, clock, seed)?))
}

/// Offers this engine to environments as `failsafe`.
#[must_use]
pub fn provider() -> FailsafeProvider {
    FailsafeProvider {}
}

/// The provider of the engine `failsafe`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct FailsafeProvider {}

#[async_trait]
impl Provider for FailsafeProvider {
    fn name(&self) -> &str {
        "failsafe"
    }

    fn ports(&self) -> &[Port] {
        &[Port::CircuitBreaker]
    }

    fn production(&self) -> bool {
        true
    }

    fn check(&self, port: Port, table: &Table) -> Vec<KeyError> {
        if port != Port::CircuitBreaker {
            return vec![KeyError::new("", "the engine `failsafe` is a circuit breaker only")];
        }
        let errors = KeyError::of_config::<Config>(table);
        if !errors.is_empty() {
            return errors;
        }
        // Reads as a config, so only its ranges can still be wrong; the message of a range begins with the field.
        let faults = match parse_config::<Config>("breaker.open", table.clone()) {
            Ok(config) => config.faults(),
            Err(error) => vec![(String::new(), error)],
        };
        let key_error = |(key, error): (String, Error)| {
            let field = match error.kind() {
                ErrorKind::InvalidInput => error.message().split(' ').next().unwrap_or_default(),
                _ => "",
            };
            let path =
                [&key, field].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
            KeyError::new(&path, error.message())
        };
        faults.into_iter().map(key_error).collect()
    }

    async fn open(&self, port: Port, table: Table, context: &OpenContext) -> Result<Engine> {
        if port != Port::CircuitBreaker {
            let text = format!("the engine `failsafe` cannot be a {port:?}; it is a circuit breaker");
            return Err(Error::unsupported("breaker.open", text));
        }
        let config = parse_config("breaker.open", table)?;
        open(config, Arc::clone(&context.clock), context.seed).map(Engine::CircuitBreaker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<(String, String)> {
        let table: Table = text.parse().expect("toml");
        let errors = provider().check(Port::CircuitBreaker, &table);
        errors.into_iter().map(|error| (error.path.join("."), error.message)).collect()
    }

    #[test]
    fn a_section_is_checked_to_the_key() {
        assert_eq!(errors("max_circuits = 9\n[defaults]\nopen_time = \"5s\""), []);
        assert_eq!(errors("max_circuit = 9")[0].0, "max_circuit");
        assert_eq!(errors("max_circuits = 0")[0].0, "max_circuits");
        let (path, message) = &errors("[defaults]\nfailure_threshold = 0")[0];
        assert_eq!(path, "defaults.failure_threshold");
        assert!(message.contains("is not in 1..=1000000"), "{message}");
        assert_eq!(errors("[defaults]\ncall_timeout = \"0s\"")[0].0, "defaults.call_timeout");
        assert_eq!(errors("success_rate = { required = 2.0 }")[0].0, "success_rate.required");
        let (_, message) = &errors("success_rate = { required = nan }")[0];
        assert_eq!(message, "success_rate.required = NaN is not in 0..=1");
        let templates =
            "[[templates]]\npattern = \"a\"\n[[templates]]\npattern = \"b\"\nconfig = { open_time = \"0s\" }";
        assert_eq!(errors(templates)[0].0, "templates.1.config.open_time");
        assert_eq!(errors("templates = [{ pattern = \"\" }]")[0].0, "templates.0.pattern");
        let (path, message) =
            &errors("[defaults.trip.rates]\nwindow = { calls = 10 }\nfailure_rate = 0.5")[0];
        assert!(path == "defaults" && message.contains("CountWindow"), "{path}: {message}");
        let wrong_port = provider().check(Port::KafkaDriver, &Table::new());
        assert!(wrong_port[0].message.contains("circuit breaker only"), "{wrong_port:?}");
    }

    /// Opening waits for nothing, so its first poll is its last.
    fn opened(port: Port, text: &str) -> Result<Engine> {
        let context = OpenContext::new(Arc::new(onex_testkit::clock::ManualClock::new()), 0);
        let table = text.parse().expect("toml");
        let (provider, waker) = (provider(), std::task::Waker::noop());
        match provider.open(port, table, &context).as_mut().poll(&mut std::task::Context::from_waker(waker)) {
            std::task::Poll::Ready(opened) => opened,
            std::task::Poll::Pending => panic!("opening waits"),
        }
    }

    #[test]
    fn a_section_opens_as_it_says_and_no_other_port_opens() {
        // ONEX-CB-18, ONEX-CB-23: the bound is 1024, and the defaults are those of ONEX.
        let Ok(Engine::CircuitBreaker(breaker)) = opened(Port::CircuitBreaker, "") else {
            panic!("an empty section is good");
        };
        assert_eq!(breaker.capabilities().limits.circuits, 1024);
        let circuit = breaker.circuit("payments").expect("there is room");
        let failures = (0..9).map_while(|_| circuit.admit(None).ok());
        assert_eq!(failures.map(|call| circuit.settle(call, onex_spi::breaker::Outcome::Failure)).count(), 5);
        assert_eq!(circuit.metrics().retry_after, Some(std::time::Duration::from_secs(60)));

        for (port, text, kind) in [
            (Port::HttpServer, "", onex_spi::ErrorKind::Unsupported),
            (Port::CircuitBreaker, "max_circuits = 0", onex_spi::ErrorKind::InvalidInput),
            (Port::CircuitBreaker, "unknown = 1", onex_spi::ErrorKind::InvalidInput),
        ] {
            let error = opened(port, text).expect_err("not to be opened");
            assert_eq!((error.kind(), error.effect()), (kind, onex_spi::Effect::NotApplied), "{error}");
        }
    }
}
