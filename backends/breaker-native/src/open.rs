//! How the engine is opened, by hand and from a file.

use std::sync::Arc;

use async_trait::async_trait;
use onex_spi::breaker::CircuitBreaker;
use onex_spi::provider::{Engine, KeyError, OpenContext, Port, Provider, Table, parse_config};
use onex_spi::{Clock, Error, Result};

use crate::{Config, NativeBreaker};

/// Opens a breaker that decides on `clock`.
///
/// # Errors
/// `InvalidInput` for a configuration out of range.
pub fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Arc<dyn CircuitBreaker>> {
    Ok(Arc::new(NativeBreaker::new(config, clock)?))
}

/// Offers this engine to environments as `native`.
#[must_use]
pub fn provider() -> NativeProvider {
    NativeProvider {}
}

/// The provider of the engine `native`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct NativeProvider {}

#[async_trait]
impl Provider for NativeProvider {
    fn name(&self) -> &str {
        "native"
    }

    fn ports(&self) -> &[Port] {
        &[Port::CircuitBreaker]
    }

    fn production(&self) -> bool {
        true
    }

    fn check(&self, port: Port, table: &Table) -> Vec<KeyError> {
        if port != Port::CircuitBreaker {
            return vec![KeyError::new("", "the engine `native` is a circuit breaker only")];
        }
        let errors = KeyError::of_config::<Config>(table);
        if !errors.is_empty() {
            return errors;
        }
        // Reads as a config, so only its ranges can still be wrong; each message begins with the field.
        let faults = match parse_config::<Config>("breaker.open", table.clone()) {
            Ok(config) => config.faults(),
            Err(error) => vec![(String::new(), error)],
        };
        let key_error = |(key, error): (String, Error)| {
            let field = error.message().split(' ').next().unwrap_or_default();
            let path = if key.is_empty() { field.to_owned() } else { format!("{key}.{field}") };
            KeyError::new(&path, error.message())
        };
        faults.into_iter().map(key_error).collect()
    }

    async fn open(&self, port: Port, table: Table, context: &OpenContext) -> Result<Engine> {
        if port != Port::CircuitBreaker {
            let text = format!("the engine `native` cannot be a {port:?}; it is a circuit breaker");
            return Err(Error::unsupported("breaker.open", text));
        }
        let config = parse_config("breaker.open", table)?;
        let breaker = NativeBreaker::with_seed(config, Arc::clone(&context.clock), context.seed)?;
        Ok(Engine::CircuitBreaker(Arc::new(breaker)))
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
        let templates =
            "[[templates]]\npattern = \"a\"\n[[templates]]\npattern = \"b\"\nconfig = { open_time = \"0s\" }";
        assert_eq!(errors(templates)[0].0, "templates.1.config.open_time");
        assert_eq!(errors("templates = [{ pattern = \"\" }]")[0].0, "templates.0.pattern");
        assert_eq!(errors("max_circuits = 0\n[defaults]\nopen_time = \"0s\"").len(), 2, "all at once");
        let wrong_port = provider().check(Port::KafkaDriver, &Table::new());
        assert!(wrong_port[0].message.contains("circuit breaker only"), "{wrong_port:?}");
    }

    /// Whatever a file holds instead of a number in range: the field, the value and the range, at its key.
    #[test]
    fn no_number_of_a_file_gets_through_that_is_no_rate() {
        let rates = "[defaults.trip.rates]\nwindow = { calls = 10 }\n";
        let backoff = "[defaults.open_backoff]\ncap = \"10m\"\n";
        for (value, told) in
            [("nan", "NaN"), ("inf", "inf"), ("-inf", "-inf"), ("1.1", "1.1"), ("-0.1", "-0.1")]
        {
            let slow = format!("{rates}slow_calls = {{ rate = {value}, time = \"1s\" }}");
            let jitter = format!("{backoff}growth = 2.0\njitter = {value}");
            for (text, field) in [
                (format!("{rates}failure_rate = {value}"), "trip.rates.failure_rate"),
                (slow, "trip.rates.slow_calls.rate"),
                (jitter, "open_backoff.jitter"),
            ] {
                let due = (format!("defaults.{field}"), format!("{field} = {told} is not in 0..=1"));
                assert_eq!(errors(&text), [due]);
                let error = opened(Port::CircuitBreaker, &text).expect_err("not to be opened");
                assert_eq!(error.kind(), onex_spi::ErrorKind::InvalidInput, "{error}");
            }
        }
        let growth = errors(&format!("{backoff}growth = nan"));
        assert_eq!(growth[0].1, "open_backoff.growth = NaN is not in 1..=100");
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
