//! `Verifier`: the keys, the policy, and the tokens that they have accepted.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::auth::cache::{Cache, TokenDigest};
use crate::auth::policy::MAX_TOKEN;
use crate::auth::{KeySource, Policy, Rejection, Verified};

/// Whether a token is accepted.
pub struct Verifier {
    keys: KeySource,
    policy: Policy,
    accepted: Cache,
}

impl Verifier {
    pub fn new(keys: impl Into<KeySource>, policy: Policy) -> Self {
        Self {
            keys: keys.into(),
            policy,
            accepted: Cache::default(),
        }
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What the token says, if it was accepted before and still is.
    pub fn known(&self, token: &str, now: SystemTime) -> Option<Arc<Verified>> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let keys = self.keys.at_hand(now)?;
        self.accepted.get(&TokenDigest::of(token), &keys, now)
    }

    /// What the token says, if it is accepted.
    ///
    /// This waits only where keys are fetched: when they are old, or the token names one that is not known.
    pub async fn verify(&self, token: &str, now: SystemTime) -> Result<Arc<Verified>, Rejection> {
        if token.len() > MAX_TOKEN {
            return Err(Rejection::TooLong);
        }
        let digest = TokenDigest::of(token);
        let mut keys = self.keys.current(now).await;
        if let Some(verified) = self.accepted.get(&digest, &keys, now) {
            return Ok(verified);
        }
        let mut verdict = self.policy.verify(&keys, token, now);
        if verdict == Err(Rejection::UnknownKey)
            && let Some(newer) = self.keys.newer_than(&keys, now).await
        {
            keys = newer;
            verdict = self.policy.verify(&keys, token, now);
        }
        let verified = Arc::new(verdict?);
        let leeway = self.policy.leeway;
        self.accepted.insert(digest, &keys, &verified, now, leeway);
        Ok(verified)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Verifier")
            .field("keys", &self.keys)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::auth::Algorithm;
    use crate::auth::vectors::test_keys::{AnyKey, RSA, THEIRS};
    use crate::auth::vectors::token::{NOW, at, claims_with, keys, policy};

    fn verifier() -> Verifier {
        let policy = Policy {
            leeway: Duration::from_secs(5),
            ..policy()
        };
        let keys = KeySource::Fixed(Arc::new(keys(Algorithm::RS256)));
        Verifier::new(keys, policy)
    }

    async fn is_kept(verifier: &Verifier, token: &str, now: SystemTime) -> bool {
        let keys = verifier.keys.current(now).await;
        let digest = TokenDigest::of(token);
        verifier.accepted.get(&digest, &keys, now).is_some()
    }

    fn token(name: &str, json: &str) -> String {
        RSA.sign(r#"{"alg":"RS256"}"#, &claims_with(name, Some(json)))
    }

    #[tokio::test]
    async fn an_accepted_token_is_known_until_it_expires() {
        let verifier = verifier();
        let token = token("exp", &(NOW + 100).to_string());
        assert!(!is_kept(&verifier, &token, at(NOW)).await);

        let first = verifier.verify(&token, at(NOW)).await.unwrap();
        let second = verifier.verify(&token, at(NOW + 104)).await.unwrap();

        assert!(Arc::ptr_eq(&first, &second), "it was verified twice");
        let expired = verifier.verify(&token, at(NOW + 105)).await;
        assert!(matches!(expired, Err(Rejection::Expired { .. })));
        assert!(!is_kept(&verifier, &token, at(NOW)).await);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_before_nbf_refuses_a_known_token() {
        let verifier = verifier();
        let token = token("nbf", &NOW.to_string());

        assert!(verifier.verify(&token, at(NOW)).await.is_ok());
        let earlier = verifier.verify(&token, at(NOW - 60)).await;

        assert!(matches!(earlier, Err(Rejection::NotYetValid { .. })));
        assert!(verifier.verify(&token, at(NOW + 1)).await.is_ok());
    }

    #[tokio::test]
    async fn a_token_that_was_refused_is_not_known() {
        let verifier = verifier();
        let early = token("nbf", &(NOW + 60).to_string());
        let forged = AnyKey::rsa(&THEIRS).sign(r#"{"alg":"RS256"}"#, &claims_with("", None));
        for token in [
            early.as_str(),
            &forged,
            &token("aud", r#""other""#),
            &token("scope", r#""other""#),
            &token("exp", "1"),
            "x",
            "",
        ] {
            assert!(verifier.verify(token, at(NOW)).await.is_err());
            assert!(!is_kept(&verifier, token, at(NOW)).await);
        }
        assert!(verifier.verify(&early, at(NOW + 60)).await.is_ok());
    }

    #[tokio::test]
    async fn debug_shows_no_key_and_no_token() {
        let verifier = verifier();
        let token = token("sub", r#""XYZZY""#);
        verifier.verify(&token, at(NOW)).await.unwrap();

        let shown = format!("{verifier:?}");

        assert!(shown.starts_with("Verifier { keys: Fixed(One(PinnedKey(RS256))), policy: "));
        assert!(!shown.contains("XYZZY"), "{shown}");
    }
}
