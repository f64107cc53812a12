//! A key set that is published at a URL: fetched, kept, and fetched again when that is needed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{self, Digest};
use http::header::ACCEPT;
use reqwest::redirect;
use tokio::sync::{Semaphore, watch};
use url::Url;

use crate::address;
use crate::auth::{Algorithm, Error, KeySetRefusal, Keys, jwk};
use crate::outgoing;

/// How long the server may take to accept a connection, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);

/// A key is less than 2 KiB, and few issuers publish more than five.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// How far two fetches are apart, whatever tokens come in.
const PAUSE: Duration = Duration::from_secs(30);

/// How long a key that is published no more may still be taken.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How many requests wait for a fetch; to more of them, the keys are those that are known.
pub(super) const WAITING: usize = 64;

/// A key set at a URL.
pub struct Jwks {
    url: Url,
    client: reqwest::Client,
    rsa_algorithm: Algorithm,
    state: Mutex<State>,
    waiting: Semaphore,
}

struct State {
    keys: Arc<Keys>,
    /// Of the text that the keys were read from.
    digest: Digest,
    fetched_at: SystemTime,
    /// When the last fetch began, whatever became of it.
    attempted_at: SystemTime,
    /// Whether the last fetch that ended was of no use.
    has_failed: bool,
    /// Closed when no fetch is under way.
    fetching: watch::Receiver<()>,
}

/// Why there is no key set at a URL.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the server could not be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("there was no answer in time")]
    Timeout,
    #[error("the server answered with HTTP {0}")]
    Status(u16),
    #[error("the answer is larger than 64 KiB")]
    TooLarge,
    #[error("the answer ended too early")]
    BrokenOff(#[source] reqwest::Error),
    #[error(transparent)]
    NotUsable(#[from] KeySetRefusal),
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
}

impl Jwks {
    /// Fetches the keys for the first time.
    pub(super) async fn load(
        url: Url,
        rsa_algorithm: Algorithm,
        now: SystemTime,
    ) -> Result<Arc<Self>, Error> {
        Self::load_within(TIMEOUT, url, rsa_algorithm, now).await
    }

    pub(super) async fn load_within(
        timeout: Duration,
        url: Url,
        rsa_algorithm: Algorithm,
        now: SystemTime,
    ) -> Result<Arc<Self>, Error> {
        let failed = |source| Error::KeySetFetch {
            url: address::shown(&url),
            source,
        };
        // A redirect could lead to another machine, or from https to http.
        let client = outgoing::client_for(&url)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| failed(FetchError::Setup(error)))?;
        let text = fetch(&client, &url).await.map_err(failed)?;
        let keys = jwk::read_set(&text, rsa_algorithm).map_err(|refusal| failed(refusal.into()))?;
        Ok(Arc::new(Self {
            state: Mutex::new(State {
                keys: Arc::new(keys),
                digest: digest_of(&text),
                fetched_at: now,
                attempted_at: now,
                has_failed: false,
                fetching: watch::channel(()).1,
            }),
            url,
            client,
            rsa_algorithm,
            waiting: Semaphore::new(WAITING),
        }))
    }

    /// The keys, if they are of this hour.
    pub(super) fn fresh(&self, now: SystemTime) -> Option<Arc<Keys>> {
        let state = self.state();
        (apart(state.fetched_at, now) < LIFETIME).then(|| Arc::clone(&state.keys))
    }

    /// The keys, of this hour if they can be had.
    pub(super) async fn current(self: &Arc<Self>, now: SystemTime) -> Arc<Keys> {
        if let Some(keys) = self.fresh(now) {
            return keys;
        }
        let fetching = {
            let mut state = self.state();
            let fetching = self.fetch_again(&mut state, now);
            // After a failed fetch the old keys stay in use, and requests do not wait for the next one.
            fetching.filter(|_| !state.has_failed)
        };
        self.ended(fetching).await;
        Arc::clone(&self.state().keys)
    }

    /// Other keys than these, if there are any by now.
    pub(super) async fn newer_than(
        self: &Arc<Self>,
        keys: &Arc<Keys>,
        now: SystemTime,
    ) -> Option<Arc<Keys>> {
        let fetching = {
            let mut state = self.state();
            if !Arc::ptr_eq(&state.keys, keys) {
                return Some(Arc::clone(&state.keys));
            }
            self.fetch_again(&mut state, now)
        };
        self.ended(fetching).await;
        let newer = Arc::clone(&self.state().keys);
        (!Arc::ptr_eq(&newer, keys)).then_some(newer)
    }

    /// The fetch in progress, or a new one if the last was long enough ago.
    fn fetch_again(
        self: &Arc<Self>,
        state: &mut State,
        now: SystemTime,
    ) -> Option<watch::Receiver<()>> {
        if state.fetching.has_changed().is_ok() {
            return Some(state.fetching.clone());
        }
        if apart(state.attempted_at, now) < PAUSE {
            return None;
        }
        let (ending, fetching) = watch::channel(());
        state.attempted_at = now;
        state.fetching = fetching.clone();
        // On its own, so that a client that hangs up does not end what others wait for. The timeout ends it.
        let jwks = Arc::clone(self);
        tokio::spawn(async move {
            let text = fetch(&jwks.client, &jwks.url).await;
            if let Err(error) = text.and_then(|text| jwks.replace(&text, now)) {
                jwks.state().has_failed = true;
                let url = address::shown(&jwks.url);
                tracing::warn!(url, %error, "the key set was not renewed");
            }
            drop(ending);
        });
        Some(fetching)
    }

    /// Takes what was published; the old keys stay if it is of no use.
    fn replace(&self, text: &[u8], now: SystemTime) -> Result<(), FetchError> {
        let digest = digest_of(text);
        let mut state = self.state();
        // The same keys stay the same value, and so what was verified with them stays known.
        if state.digest.as_ref() != digest.as_ref() {
            state.keys = Arc::new(jwk::read_set(text, self.rsa_algorithm)?);
            state.digest = digest;
        }
        state.fetched_at = now;
        state.has_failed = false;
        Ok(())
    }

    async fn ended(&self, fetching: Option<watch::Receiver<()>>) {
        if let Some(mut fetching) = fetching
            && let Ok(_place) = self.waiting.try_acquire()
        {
            // Nothing is ever sent: the channel closes when the fetch has ended, with or without success.
            let _ = fetching.changed().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Jwks({})", address::shown(&self.url))
    }
}

/// What is published at the URL now. The size limit counts bytes and does not trust Content-Length.
async fn fetch(client: &reqwest::Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    let request = client
        .get(url.clone())
        .header(ACCEPT, "application/jwk-set+json, application/json");
    let failed = |error: reqwest::Error, otherwise: fn(reqwest::Error) -> FetchError| {
        if error.is_timeout() {
            FetchError::Timeout
        } else {
            // The URL may hold a password.
            otherwise(error.without_url())
        }
    };
    let mut response = request
        .send()
        .await
        .map_err(|error| failed(error, FetchError::Unreachable))?;
    if response.status() != http::StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let mut text = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| failed(error, FetchError::BrokenOff))?
    {
        if text.len() + chunk.len() > MAX_BYTES {
            return Err(FetchError::TooLarge);
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

fn digest_of(text: &[u8]) -> Digest {
    digest::digest(&digest::SHA256, text)
}

/// How far two times are apart. A clock that was set back far enough has to stop nothing for long.
fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other)
        .unwrap_or_else(|error| error.duration())
}
