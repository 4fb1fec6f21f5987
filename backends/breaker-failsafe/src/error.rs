//! Every error of this engine; it has no engine below it, so these are the whole map.

use onex_spi::{Error, ErrorKind};

/// The most characters of a name that an error repeats.
const SHOWN: usize = 64;

fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}..` ({} bytes)", &name[..end], name.len()),
        None => format!("`{name}`"),
    }
}

/// A name that no circuit has.
pub(crate) fn unknown(operation: &'static str, name: &str) -> Error {
    let text = format!("no circuit is called {}; a first call or a configuration makes it", shown(name));
    Error::new(ErrorKind::NotFound, operation, text).not_applied()
}

/// A new name where the bound is reached.
pub(crate) fn full(operation: &'static str, name: &str, most: usize) -> Error {
    let text =
        format!("{} would be one more than the {most} circuits allowed; raise max_circuits", shown(name));
    Error::new(ErrorKind::ResourceExhausted, operation, text).not_applied()
}

/// A name that is too long.
pub(crate) fn long(operation: &'static str, name: &str, most: usize) -> Error {
    Error::invalid(operation, format!("the name {} has more than {most} bytes; shorten it", shown(name)))
}

#[cfg(test)]
mod tests {
    use onex_spi::Effect;

    use super::*;

    #[test]
    fn every_error_has_its_kind_no_effect_and_a_bounded_text() {
        let name = "ä".repeat(40_000);
        let table = [
            (unknown("breaker.state", &name), ErrorKind::NotFound),
            (full("breaker.circuit", &name, 7), ErrorKind::ResourceExhausted),
            (long("breaker.circuit", &name, 65_536), ErrorKind::InvalidInput),
        ];
        for (error, kind) in table {
            assert_eq!((error.kind(), error.effect()), (kind, Effect::NotApplied), "{error}");
            assert!(error.to_string().len() < 400 && error.message().contains("ä.."), "{error}");
        }
        assert!(unknown("breaker.state", "payments").message().contains("`payments`"));
    }
}
