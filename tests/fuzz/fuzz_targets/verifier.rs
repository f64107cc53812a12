//! Whatever is done to a good token, it is never accepted, and nothing panics.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use mcp_cli::auth::{Algorithm, Claims, KeySize, Keys, Policy, SigningKey};

static NOW: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(KeySize::Rsa2048).expect("a key"));

static KEYS: LazyLock<Keys> =
    LazyLock::new(|| Keys::One(KEY.verifying_key().clone().pin(None).expect("RS256")));

static GOOD: LazyLock<String> = LazyLock::new(|| {
    let claims = Claims {
        expires_in: Duration::from_secs(24 * 60 * 60),
        ..Claims::default()
    };
    let token = claims.mint(&KEY, Algorithm::RS256, *NOW).expect("a token");
    token.expose().to_owned()
});

/// Three bytes are one change: where, which, and with what.
fn change(token: &mut Vec<u8>, [place, kind, byte]: [u8; 3]) {
    if token.is_empty() {
        return token.push(byte);
    }
    // One byte does not reach all places of a token.
    let place = (usize::from(place) + 256 * usize::from(kind / 6)) % token.len();
    match kind % 6 {
        0 => token[place] = byte,
        1 => token[place] ^= 1 << (byte % 8),
        2 => token.insert(place, byte),
        3 => {
            token.remove(place);
        }
        4 => token.truncate(place),
        _ => token.swap(place, usize::from(byte)),
    }
}

fuzz_target!(|input: &[u8]| {
    let policy = Policy::default();
    if let Ok(text) = std::str::from_utf8(input) {
        assert!(policy.verify(&KEYS, text, *NOW).is_err());
    }

    let mut token = GOOD.clone().into_bytes();
    assert!(policy.verify(&KEYS, &GOOD, *NOW).is_ok());
    let (changes, _) = input.as_chunks();
    for &it in changes {
        // Long enough for `swap`, whatever was cut away.
        token.resize(token.len().max(256), b'A');
        change(&mut token, it);
    }
    if token != GOOD.as_bytes()
        && let Ok(token) = std::str::from_utf8(&token)
    {
        assert!(policy.verify(&KEYS, token, *NOW).is_err(), "{token}");
    }
});
