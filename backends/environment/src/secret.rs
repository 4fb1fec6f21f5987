//! What is a secret, and what stands for one.

/// Whether a text under that key is a secret: by the key's name, or because it is a URL with a password.
pub(crate) fn is_secret(key: &str, text: &str) -> bool {
    names_secret(key) || holds_password(text)
}

/// Whether the name of a key says that its value is a secret.
pub(crate) fn names_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    ["password", "secret", "token"].iter().any(|word| key.contains(word))
}

/// Whether a text is a URL with a password in it.
pub(crate) fn holds_password(text: &str) -> bool {
    let authority = text.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    authority.and_then(|authority| authority.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':'))
}

/// Whether a text is a reference.
pub(crate) fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_key_or_its_url() {
        for key in ["password", "sasl.password", "ClientSecret", "token", "secret_key", "PASSWORD_2"] {
            assert!(names_secret(key), "{key}");
        }
        for key in ["user", "bootstrap_servers", "pass", "key"] {
            assert!(!names_secret(key), "{key}");
        }
        for url in ["http://u:p@host", "socks5://a:b@c@host:1/x", "kafka://:p@h"] {
            assert!(holds_password(url), "{url}");
        }
        for url in ["http://host:80/a:b@c", "http://user@host", "a:b@c", "https://h/?x=a:b@c"] {
            assert!(!holds_password(url), "{url}");
        }
    }
}
