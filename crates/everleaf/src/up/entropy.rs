//! System entropy, as the bytes that the libraries take as arguments.

use anyhow::{Result, anyhow};

/// Unpredictable bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bytes)
}

/// `length` characters of `a`–`z` and `0`–`9`, each as likely as the others.
pub(crate) fn letters(length: usize) -> Result<String> {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    // Bytes from here on would make the first letters more likely.
    const FAIR_BELOW: u8 = 252;
    let mut text = String::with_capacity(length);
    while text.len() < length {
        for byte in bytes::<32>()? {
            if byte < FAIR_BELOW && text.len() < length {
                text.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_of_the_alphabet_and_differ() {
        let (one, other) = (letters(64).unwrap(), letters(64).unwrap());
        assert_eq!(one.len(), 64);
        assert!(
            one.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        );
        assert_ne!(one, other);
    }
}
