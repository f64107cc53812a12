//! What an issuer may publish, and when it is asked again.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use crate::auth::jwks::{MAX_BYTES, WAITING};
use crate::auth::vectors::test_keys::{AnyKey, ED25519, P256, RSA};
use crate::auth::vectors::token::{NOW, at, claims_with, policy};
use crate::auth::{Algorithm, Error, Jwks, KeySource, Rejection, Verifier};

/// What the issuer answers.
enum Answer {
    Keys(Vec<Value>),
    Text(String),
    /// The text without its length, in two pieces.
    Pieces(String),
    Status(StatusCode),
    Redirect,
    CutShort,
    Never,
}

/// An issuer that publishes its keys on a free port.
struct Issuer {
    answer: Mutex<Answer>,
    fetches: AtomicUsize,
    url: Url,
}

impl Issuer {
    async fn start(answer: Answer) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let issuer = Arc::new(Self {
            answer: Mutex::new(answer),
            fetches: AtomicUsize::new(0),
            url: Url::parse(&format!("http://{address}/jwks")).unwrap(),
        });
        let asked = Arc::clone(&issuer);
        let router = Router::new()
            .route("/jwks", get(async move || asked.answer()))
            .route("/good", get(async || set_of(&[RSA.jwk("old")])));
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer
    }

    /// An issuer, and a verifier that has fetched its keys.
    async fn of(keys: &[Value]) -> (Arc<Self>, Verifier) {
        let issuer = Self::start(Answer::Keys(keys.to_vec())).await;
        let jwks = issuer.load().await.unwrap();
        (issuer, Verifier::new(KeySource::Published(jwks), policy()))
    }

    async fn load(&self) -> Result<Arc<Jwks>, Error> {
        let timeout = Duration::from_secs(2);
        Jwks::load_within(timeout, self.url.clone(), Algorithm::RS256, at(NOW)).await
    }

    fn answer(&self) -> Response {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        match &*self.answer.lock().unwrap() {
            Answer::Keys(keys) => set_of(keys).into_response(),
            Answer::Text(text) => text.clone().into_response(),
            Answer::Pieces(text) => {
                let (first, second) = text.split_at(text.len() / 2);
                let pieces = [first, second].map(|it| Ok(Bytes::from(it.to_owned())));
                in_pieces(pieces.into())
            }
            Answer::Status(status) => status.into_response(),
            Answer::Redirect => Redirect::temporary("/good").into_response(),
            Answer::CutShort => {
                let broken = io::Error::from(io::ErrorKind::BrokenPipe);
                in_pieces(vec![Ok(Bytes::from("{")), Err(broken)])
            }
            Answer::Never => {
                Body::from_stream(stream::pending::<io::Result<Bytes>>()).into_response()
            }
        }
    }

    fn publish(&self, keys: &[Value]) {
        self.answers(Answer::Keys(keys.to_vec()));
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn in_pieces(pieces: Vec<io::Result<Bytes>>) -> Response {
    let slowly = stream::iter(pieces).then(async |piece| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        piece
    });
    Body::from_stream(slowly).into_response()
}

fn set_of(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// A token that is good for a day.
fn token(key: &AnyKey, kid: &str) -> String {
    let header = json!({ "alg": key.algorithm.as_str(), "kid": kid }).to_string();
    let exp = (NOW + 86_400).to_string();
    key.sign(&header, &claims_with("exp", Some(&exp)))
}

async fn verdict(verifier: &Verifier, token: &str, seconds: u64) -> Result<(), Rejection> {
    let verified = verifier.verify(token, at(NOW + seconds)).await;
    verified.map(|_| ())
}

/// What comes of so many tokens at once, each with a key id of its own.
async fn flood(verifier: &Verifier, count: usize, seconds: u64) -> Vec<Result<(), Rejection>> {
    let tokens: Vec<String> = (0..count).map(|it| token(&P256, &it.to_string())).collect();
    join_all(tokens.iter().map(|it| verdict(verifier, it, seconds))).await
}

#[tokio::test]
async fn a_new_key_is_found_and_an_old_one_stays_good_as_long_as_it_is_published() {
    let (issuer, verifier) = Issuer::of(&[RSA.jwk("old")]).await;
    let (old, new) = (token(&RSA, "old"), token(&P256, "new"));
    let unknown = Err(Rejection::UnknownKey);
    assert_eq!(verdict(&verifier, &old, 1).await, Ok(()));

    issuer.publish(&[RSA.jwk("old"), P256.jwk("new")]);
    assert_eq!(verdict(&verifier, &new, 29).await, unknown);
    assert_eq!(issuer.fetches(), 1);
    assert_eq!(verdict(&verifier, &new, 30).await, Ok(()));
    assert_eq!(verdict(&verifier, &old, 30).await, Ok(()));
    assert_eq!(verdict(&verifier, &new, 31).await, Ok(()));
    assert_eq!(issuer.fetches(), 2);

    issuer.publish(&[P256.jwk("new")]);
    assert_eq!(verdict(&verifier, &old, 3629).await, Ok(()));
    assert_eq!(verdict(&verifier, &old, 3630).await, unknown);
    assert_eq!(verdict(&verifier, &new, 3630).await, Ok(()));
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_one_fetch_in_30_seconds() {
    let (issuer, verifier) = Issuer::of(&[RSA.jwk("old")]).await;
    for (seconds, fetches) in [(0, 1), (29, 1), (30, 2), (31, 2), (59, 2), (60, 3)] {
        for verdict in flood(&verifier, 100, seconds).await {
            assert_eq!(verdict, Err(Rejection::UnknownKey));
        }
        assert_eq!(issuer.fetches(), fetches, "after {seconds} s");
    }
    assert_eq!(verdict(&verifier, &token(&RSA, "old"), 61).await, Ok(()));
}

#[tokio::test]
async fn a_new_key_is_found_by_all_who_wait_for_it() {
    let (issuer, verifier) = Issuer::of(&[RSA.jwk("old")]).await;
    issuer.publish(&[ED25519.jwk("new")]);
    let new = token(&ED25519, "new");

    let verdicts = join_all((0..50).map(|_| verdict(&verifier, &new, 30))).await;

    assert_eq!(verdicts, vec![Ok(()); 50]);
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn a_fetch_that_fails_counts_and_the_old_keys_stay() {
    for answer in [
        Answer::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Answer::Status(StatusCode::NO_CONTENT),
        Answer::Text("<!doctype html><title>Sign in</title>".to_owned()),
        Answer::Text(set_of(&[])),
        Answer::Keys(vec![P256.with(json!({ "kid": "0", "d": "AAAA" }))]),
        Answer::Keys(vec![P256.jwk("0"), RSA.jwk("0")]),
        Answer::Redirect,
        Answer::CutShort,
        Answer::Never,
    ] {
        let (issuer, verifier) = Issuer::of(&[RSA.jwk("old")]).await;
        issuer.answers(answer);
        for seconds in [30, 59] {
            for verdict in flood(&verifier, 5, seconds).await {
                assert_eq!(verdict, Err(Rejection::UnknownKey));
            }
        }
        assert_eq!(verdict(&verifier, &token(&RSA, "old"), 59).await, Ok(()));
        assert_eq!(issuer.fetches(), 2);

        issuer.publish(&[P256.jwk("0")]);
        assert_eq!(verdict(&verifier, &token(&P256, "0"), 60).await, Ok(()));
        assert_eq!(issuer.fetches(), 3);
    }
}

#[tokio::test]
async fn old_keys_serve_while_the_issuer_is_away_and_nobody_waits_for_it_twice() {
    let (issuer, verifier) = Issuer::of(&[RSA.jwk("old")]).await;
    issuer.answers(Answer::Never);
    let old = token(&RSA, "old");
    assert_eq!(verdict(&verifier, &old, 3600).await, Ok(()));
    assert_eq!(issuer.fetches(), 2);

    for seconds in [3601, 3630, 3631] {
        let asked = Instant::now();
        assert_eq!(verdict(&verifier, &old, seconds).await, Ok(()));
        assert!(asked.elapsed() < Duration::from_millis(250), "{seconds}");
    }
}

#[tokio::test]
async fn the_same_keys_fetched_again_are_the_same_value() {
    let (issuer, _) = Issuer::of(&[RSA.jwk("old")]).await;
    let jwks = issuer.load().await.unwrap();
    let keys = jwks.current(at(NOW)).await;
    let fetches = issuer.fetches();

    assert!(jwks.newer_than(&keys, at(NOW + 30)).await.is_none());
    let an_hour_later = jwks.current(at(NOW + 3630)).await;

    assert!(Arc::ptr_eq(&an_hour_later, &keys));
    assert_eq!(issuer.fetches(), fetches + 2);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_end_the_fetch() {
    let (issuer, verifier) = Issuer::of(&[RSA.jwk("old")]).await;
    issuer.publish(&[P256.jwk("new")]);
    let new = token(&P256, "new");
    {
        let mut impatient = Box::pin(verdict(&verifier, &new, 30));
        assert!(futures::poll!(&mut impatient).is_pending());
    }
    assert_eq!(verdict(&verifier, &new, 31).await, Ok(()));
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn only_so_many_wait_for_a_fetch() {
    let (issuer, verifier) = Issuer::of(&[RSA.jwk("old")]).await;
    issuer.answers(Answer::Never);
    let tokens: Vec<String> = (0..100).map(|it| token(&P256, &it.to_string())).collect();
    let mut waiting = Vec::new();
    for token in &tokens {
        let mut verdict = Box::pin(verdict(&verifier, token, 30));
        if futures::poll!(&mut verdict).is_pending() {
            waiting.push(verdict);
        }
    }
    assert_eq!(waiting.len(), WAITING);
}

#[tokio::test]
async fn a_clock_that_is_set_back_stops_nothing() {
    let (issuer, verifier) = Issuer::of(&[RSA.jwk("old")]).await;
    issuer.publish(&[P256.jwk("new")]);
    let earlier = at(NOW - 86_400);

    assert!(verifier.verify(&token(&P256, "new"), earlier).await.is_ok());
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_is_called_what_it_is() {
    let padded = |size: usize| {
        let keys = set_of(&[RSA.jwk("old")]);
        format!("{keys}{}", " ".repeat(size - keys.len()))
    };
    let too_large = Err("the answer is larger than 64 KiB");
    for (answer, expected) in [
        (Answer::Text(padded(MAX_BYTES)), Ok(())),
        (Answer::Pieces(padded(MAX_BYTES)), Ok(())),
        (Answer::Text(padded(MAX_BYTES + 1)), too_large),
        (Answer::Pieces(padded(MAX_BYTES + 1)), too_large),
        (Answer::Pieces(padded(50 << 20)), too_large),
        (
            Answer::Text("<!doctype html><title>Sign in</title>".to_owned()),
            Err("it is not a JSON Web Key Set, which is an object with a list of `keys`"),
        ),
        (
            Answer::Status(StatusCode::NOT_FOUND),
            Err("the server answered with HTTP 404"),
        ),
        (Answer::Redirect, Err("the server answered with HTTP 307")),
        (Answer::CutShort, Err("the answer ended too early")),
        (Answer::Never, Err("there was no answer in time")),
        (
            Answer::Keys(vec![P256.with(json!({ "d": "AAAA" }))]),
            Err("it holds a private key, which nobody but the issuer should have"),
        ),
    ] {
        let issuer = Issuer::start(answer).await;
        let told = issuer
            .load()
            .await
            .map(|_| ())
            .map_err(|error| match error {
                Error::KeySetFetch { url, source } => {
                    assert_eq!(url, issuer.url.as_str());
                    source.to_string()
                }
                other => other.to_string(),
            });
        assert_eq!(told, expected.map_err(str::to_owned));
        assert_eq!(issuer.fetches(), 1);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_password() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = Url::parse(&format!("http://user:canary@{address}/jwks?key=canary")).unwrap();

    let error = Jwks::load(url, Algorithm::RS256, at(NOW))
        .await
        .unwrap_err();

    assert_eq!(
        error.to_string(),
        format!("the key set at http://{address}/jwks cannot be used")
    );
    let mut source: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = source {
        assert!(!error.to_string().contains("canary"), "{error}");
        source = error.source();
    }
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}
