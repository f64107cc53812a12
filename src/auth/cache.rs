//! Tokens that were accepted, so that each is verified once and not on every call.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};

use crate::auth::{Keys, Verified};

/// How many tokens are kept: some 300 bytes each.
const CAPACITY: usize = 1024;

/// The SHA-256 of a token: the token itself is kept nowhere.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(super) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}

/// The tokens that were accepted last, each with the keys that it was verified with.
#[derive(Default)]
pub(super) struct Cache(Mutex<Accepted>);

#[derive(Default)]
struct Accepted {
    /// What all of these tokens were verified with.
    keys: Option<Arc<Keys>>,
    tokens: HashMap<TokenDigest, Entry>,
    /// From the oldest to the newest; those that have expired since are in it as well.
    order: VecDeque<TokenDigest>,
}

struct Entry {
    verified: Arc<Verified>,
    /// A clock that was set back to a time before this has not seen `nbf`.
    since: SystemTime,
    until: SystemTime,
}

impl Cache {
    /// What the token says, if it was accepted with these very keys and still would be.
    pub(super) fn get(
        &self,
        token: &TokenDigest,
        keys: &Arc<Keys>,
        now: SystemTime,
    ) -> Option<Arc<Verified>> {
        let mut accepted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !accepted.are_of(keys) {
            return None;
        }
        let entry = accepted.tokens.get(token)?;
        if now >= entry.until {
            accepted.tokens.remove(token);
            return None;
        }
        (now >= entry.since).then(|| Arc::clone(&entry.verified))
    }

    /// Keeps a token that was accepted. With other keys than before, all others are forgotten.
    pub(super) fn insert(
        &self,
        token: TokenDigest,
        keys: &Arc<Keys>,
        verified: &Arc<Verified>,
        now: SystemTime,
        leeway: Duration,
    ) {
        let Some(until) = verified.expires_at.checked_add(leeway) else {
            return;
        };
        let mut accepted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !accepted.are_of(keys) {
            *accepted = Accepted {
                keys: Some(Arc::clone(keys)),
                ..Accepted::default()
            };
        }
        if accepted.order.len() == CAPACITY
            && let Some(oldest) = accepted.order.pop_front()
        {
            accepted.tokens.remove(&oldest);
        }
        let entry = Entry {
            verified: Arc::clone(verified),
            since: now,
            until,
        };
        accepted.order.push_back(token);
        accepted.tokens.insert(token, entry);
    }
}

impl Accepted {
    fn are_of(&self, keys: &Arc<Keys>) -> bool {
        self.keys.as_ref().is_some_and(|own| Arc::ptr_eq(own, keys))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::auth::Caller;
    use crate::auth::vectors::test_keys::OURS;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn keys() -> Arc<Keys> {
        let key = OURS.verifying_key().clone().pin(None).unwrap();
        Arc::new(Keys::One(key))
    }

    fn verified() -> Arc<Verified> {
        Arc::new(Verified {
            subject: None,
            issuer: None,
            scopes: Vec::new(),
            expires_at: at(100),
            caller: Caller::new(None, None, ""),
        })
    }

    fn digest_of(number: usize) -> TokenDigest {
        TokenDigest::of(&number.to_string())
    }

    fn insert(cache: &Cache, number: usize, keys: &Arc<Keys>) {
        let leeway = Duration::from_secs(5);
        cache.insert(digest_of(number), keys, &verified(), at(50), leeway);
    }

    #[test]
    fn a_token_is_kept_from_when_it_was_verified_until_it_expires() {
        let (cache, keys) = (Cache::default(), keys());
        insert(&cache, 1, &keys);

        for (seconds, hit) in [
            (49, false),
            (50, true),
            (104, true),
            (105, false),
            (50, false),
        ] {
            let found = cache.get(&digest_of(1), &keys, at(seconds));
            assert_eq!(found.is_some(), hit, "at {seconds}");
        }
        assert!(cache.0.lock().unwrap().tokens.is_empty());
    }

    #[test]
    fn the_oldest_goes_first_when_there_is_no_room() {
        let (cache, keys) = (Cache::default(), keys());
        for number in 0..CAPACITY + 10 {
            insert(&cache, number, &keys);
        }

        let found = |number| cache.get(&digest_of(number), &keys, at(60)).is_some();
        assert!((0..10).all(|number| !found(number)));
        assert!((10..CAPACITY + 10).all(found));
        let accepted = cache.0.lock().unwrap();
        assert_eq!(
            (accepted.tokens.len(), accepted.order.len()),
            (CAPACITY, CAPACITY)
        );
    }

    #[test]
    fn tokens_that_expire_and_come_again_do_not_break_the_bound() {
        let (cache, keys) = (Cache::default(), keys());
        for number in 0..CAPACITY * 3 {
            let number = number % 7;
            assert!(cache.get(&digest_of(number), &keys, at(200)).is_none());
            insert(&cache, number, &keys);
        }

        let accepted = cache.0.lock().unwrap();
        assert!(accepted.tokens.len() <= 7);
        assert!(accepted.order.len() <= CAPACITY);
    }

    #[test]
    fn a_token_is_not_known_under_other_keys() {
        let (cache, old, new) = (Cache::default(), keys(), keys());
        insert(&cache, 1, &old);
        assert!(cache.get(&digest_of(1), &new, at(60)).is_none());

        insert(&cache, 2, &new);
        assert!(cache.get(&digest_of(2), &new, at(60)).is_some());
        assert!(cache.get(&digest_of(1), &new, at(60)).is_none());
        assert!(cache.get(&digest_of(1), &old, at(60)).is_none());
        assert_eq!(cache.0.lock().unwrap().tokens.len(), 1);
    }

    #[test]
    fn a_token_that_never_expires_is_not_kept() {
        let (cache, keys) = (Cache::default(), keys());
        cache.insert(digest_of(1), &keys, &verified(), at(50), Duration::MAX);

        assert!(cache.get(&digest_of(1), &keys, at(60)).is_none());
    }
}
