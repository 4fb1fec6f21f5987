//! The service behind the circuit, and what its answers say about it.

use std::time::Duration;

use onex_spi::breaker::Outcome;
use onex_spi::{Error, ErrorKind, Result};

/// What the price service answers.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As in HTTP.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// An answer with a status alone.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, retry_after: None }
    }
}

/// The custom failure detection: what a result says about the service, whatever it says to the shop.
///
/// A 404 is a good answer to a bad question, and a question that was never sent says nothing. A 429 or 503 that names a time speaks
/// for every caller: the circuit opens at once, for that long.
#[must_use]
pub fn judge(result: &Result<Answer>) -> Outcome {
    match result {
        Ok(Answer { status: 429 | 503, retry_after: Some(wait) }) => Outcome::Trip { wait: Some(*wait) },
        Ok(Answer { status: 429 | 500..=599, .. }) => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(error) if error.kind() == ErrorKind::InvalidInput => Outcome::Ignored,
        Err(_) => Outcome::Failure,
    }
}

/// What the service does next; a real one is not asked to.
#[allow(clippy::exhaustive_enums, reason = "the program plays them all")]
#[derive(Clone, Copy, Debug)]
pub enum Mood {
    /// Answers.
    Answers(Answer),
    /// Never answers.
    Hangs,
    /// Cannot be reached.
    Down,
}

/// Asks the service for the price of an item.
///
/// # Errors
/// `InvalidInput`, with nothing sent, for an item without a name; `Unavailable`.
pub async fn ask(item: &str, mood: Mood) -> Result<Answer> {
    if item.is_empty() {
        return Err(Error::invalid("prices.ask", "an item needs a name"));
    }
    match mood {
        Mood::Answers(answer) => Ok(answer),
        Mood::Hangs => std::future::pending().await,
        Mood::Down => Err(Error::new(ErrorKind::Unavailable, "prices.ask", "connection refused")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_speak_of_the_service_and_not_of_the_question() {
        // ONEX-EX-10
        let busy = Some(Duration::from_secs(30));
        let table = [
            (Ok(Answer::status(200)), Outcome::Success),
            (Ok(Answer::status(404)), Outcome::Success),
            (Ok(Answer::status(429)), Outcome::Failure),
            (Ok(Answer::status(503)), Outcome::Failure),
            (Ok(Answer { status: 429, retry_after: busy }), Outcome::Trip { wait: busy }),
            (Ok(Answer { status: 500, retry_after: busy }), Outcome::Failure),
            (Err(Error::invalid("prices.ask", "no name")), Outcome::Ignored),
            (Err(Error::new(ErrorKind::Unavailable, "prices.ask", "refused")), Outcome::Failure),
        ];
        for (result, outcome) in table {
            assert_eq!(judge(&result), outcome, "{result:?}");
        }
    }
}
