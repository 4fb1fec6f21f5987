//! What an environment tells through `tracing`.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};

use onex_environment::Environment;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps the events of `onex_environment`, a line each.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("onex_environment")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fields.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// CARD-14: what was opened, for which profile and with which seed stands in an event; a secret does not.
#[tokio::test]
async fn opening_is_told_once_with_the_seed_and_without_secrets() {
    let lines = Lines::default();
    let _here = tracing::subscriber::set_default(lines.clone());
    let text =
        "[test]\nkafka.engine = 'memory'\nhttp = { engine = 'memory', client.user_agent = 'env:AGENT' }";
    Environment::builder()
        .with(onex_memory::provider())
        .with_variables([("AGENT", "not-to-be-told")])
        .seed(7)
        .parse(text, "onex.toml", "test")
        .await
        .expect("a good file");
    let told = lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with(Level::INFO.as_str()) && told[0].contains("opened the environment"),
        "{told:?}"
    );
    for part in ["onex.toml", "profile=\"test\"", "seed=7", "kafka", "memory"] {
        assert!(told[0].contains(part), "{part} is not in {told:?}");
    }
    assert!(!told[0].contains("not-to-be-told"), "{told:?}");
}
