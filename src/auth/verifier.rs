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
