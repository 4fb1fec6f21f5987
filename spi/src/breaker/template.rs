//! Configurations that many circuits share, by the pattern of their names.

use serde::{Deserialize, Serialize};

use super::CircuitBreakerConfig;
use crate::{Error, Result};

/// The configuration of every circuit whose name fits a pattern (R22).
///
/// # Examples
/// ```
/// use onex_spi::breaker::{CircuitBreakerConfig, CircuitTemplate};
///
/// let template = CircuitTemplate::new("payments.*", CircuitBreakerConfig::new().with_failure_threshold(2));
/// assert!(template.fits("payments.refund") && !template.fits("search.payments.refund"));
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitTemplate {
    /// A whole name, in which each `*` stands for any text, also none.
    pub pattern: String,
    /// What these circuits are configured with when they are made.
    #[serde(default)]
    pub config: CircuitBreakerConfig,
}

impl CircuitTemplate {
    /// Configures names that fit `pattern`.
    #[must_use]
    pub fn new(pattern: impl Into<String>, config: CircuitBreakerConfig) -> Self {
        Self { pattern: pattern.into(), config }
    }

    /// Whether a name fits; bytes are compared as they are, upper and lower case are two.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let Some((head, rest)) = self.pattern.split_once('*') else { return name == self.pattern };
        let Some(mut name) = name.strip_prefix(head) else { return false };
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        // The leftmost place of each part leaves the most for the next: no way back is ever needed.
        for part in middle.split('*') {
            let Some(at) = name.find(part) else { return false };
            name = &name[at + part.len()..];
        }
        name.ends_with(tail)
    }

    /// The configuration for a new circuit: that of the first template that fits, else `defaults`.
    #[must_use]
    pub fn choose<'a>(
        templates: &'a [Self],
        name: &str,
        defaults: &'a CircuitBreakerConfig,
    ) -> &'a CircuitBreakerConfig {
        templates.iter().find(|template| template.fits(name)).map_or(defaults, |template| &template.config)
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// `InvalidInput` naming field, value and range.
    pub fn validate(&self) -> Result<()> {
        const MOST: usize = 1024;
        if self.pattern.is_empty() || self.pattern.len() > MOST {
            let text = format!("pattern of {} bytes is not of 1..={MOST}", self.pattern.len());
            return Err(Error::invalid("breaker.open", text));
        }
        self.config.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text_and_nothing_else_is_special() {
        let table = [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "a", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*a", "a", false),
            ("*b*", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a**c", "abc", true),
            ("ab*bc", "abc", false),
            ("?[a]", "?[a]", true),
            ("?", "a", false),
            ("é*", "été", true),
        ];
        for (pattern, name, fits) in table {
            let template = CircuitTemplate::new(pattern, CircuitBreakerConfig::new());
            assert_eq!(template.fits(name), fits, "`{pattern}` and `{name}`");
        }
    }
}
