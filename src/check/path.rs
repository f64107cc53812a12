//! The step `path`: does this very path take the connector's POST, and what does its twin do?

use http::StatusCode;
use url::Url;

use super::stage::{fail, pass, warn};
use super::{Outcome, shown};
use crate::address;
use crate::mcp::{Answer, ProbeError, ProbeResult};

/// The same URL with a slash at its end, or without it.
pub fn twin(url: &Url) -> Option<Url> {
    let path = url.path();
    let other = match path.strip_suffix('/') {
        Some("") => return None,
        Some(bare) => bare.to_owned(),
        None => format!("{path}/"),
    };
    let mut twin = url.clone();
    twin.set_path(&other);
    Some(twin)
}

/// What there is to say of the first answer, of the twin's, and of that to a GET.
pub fn judge(
    url: &Url,
    first: &ProbeResult,
    twin: Option<(&Url, &ProbeResult)>,
    get: Option<&ProbeResult>,
) -> Outcome {
    let answer = match &first.answer {
        Ok(answer) => answer,
        Err(error) => return silent(error),
    };
    let twin = twin.and_then(|(url, heard)| Some((url, heard.answer.as_ref().ok()?)));
    let path = url.path();
    if answer.status.is_redirection() {
        let lost = lost_on_redirect(url, answer);
        return fail(
            format!(
                "a POST to {path} is sent elsewhere: {}; {lost}",
                redirect(url, answer)
            ),
            match target(url, answer).filter(|to| to.origin() == url.origin()) {
                None if leaves_https(url, answer) => {
                    "let the server behind the proxy trust X-Forwarded-Proto, and serve the path with and without the slash".to_owned()
                }
                Some(to) => format!(
                    "use the URL {}, or serve both paths and redirect neither",
                    address::shown(&to)
                ),
                None => "use the URL that it redirects to, if it is yours".to_owned(),
            },
        );
    }
    match answer.status {
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::METHOD_NOT_ALLOWED => {
            if get.is_some_and(is_older) {
                return warn(
                    "the server speaks HTTP+SSE, the transport of MCP 2024-11-05; OpenAI takes it, newer clients may not",
                    "offer Streamable HTTP as well",
                );
            }
            let hint = match twin {
                Some((twin, answer)) if is_there(answer) => {
                    format!("{} is there: use that URL, or serve both", twin.path())
                }
                _ => "check the path; most servers use /mcp".to_owned(),
            };
            fail(
                format!("a POST to {path} finds nothing: {}", shown(answer)),
                hint,
            )
        }
        _ => match twin {
            Some((twin, answer)) if answer.status.is_redirection() => warn(
                format!(
                    "{} is sent elsewhere: {}; {}",
                    twin.path(),
                    redirect(twin, answer),
                    lost_on_redirect(twin, answer)
                ),
                format!("keep to {path}, or serve both paths without a redirect"),
            ),
            Some((twin, answer)) if is_there(answer) => pass(format!("{} too", twin.path())),
            Some((twin, _)) => pass(format!("{} is not served", twin.path())),
            None => Outcome::Pass(None),
        },
    }
}

fn silent(error: &ProbeError) -> Outcome {
    match error {
        ProbeError::Timeout(limit) => fail(
            format!(
                "a POST has no answer after {}",
                humantime::format_duration(*limit)
            ),
            "check whether the server, or a proxy in front of it, waits for something",
        ),
        ProbeError::BrokenOff(why) | ProbeError::NoConnection(why) => fail(
            format!("the connection breaks off on a POST: {why}"),
            "check the logs of the server and of a proxy in front of it",
        ),
        ProbeError::Tls { message, .. } => fail(
            format!("the connection breaks off: {message}"),
            "check the server's log",
        ),
    }
}

fn is_there(answer: &Answer) -> bool {
    let is_missing = matches!(
        answer.status,
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::METHOD_NOT_ALLOWED
    );
    !is_missing && !answer.status.is_redirection() && !answer.status.is_server_error()
}

/// Whether a GET is answered as HTTP+SSE begins (MCP 2024-11-05, transports).
pub fn is_older(get: &ProbeResult) -> bool {
    let answer = get.answer.as_ref().ok();
    answer.is_some_and(|it| it.is_event_stream() && it.start.starts_with("endpoint "))
}

fn target(from: &Url, answer: &Answer) -> Option<Url> {
    from.join(answer.header("location")?).ok()
}

fn redirect(from: &Url, answer: &Answer) -> String {
    let to = target(from, answer);
    let to = to.map_or_else(|| "nowhere".to_owned(), |to| address::shown(&to));
    format!("HTTP {} to {to}", answer.status)
}

fn leaves_https(from: &Url, answer: &Answer) -> bool {
    let to = target(from, answer);
    from.scheme() == "https" && to.is_some_and(|to| to.scheme() == "http")
}

/// What does not come along when a client follows.
fn lost_on_redirect(from: &Url, answer: &Answer) -> &'static str {
    let to = target(from, answer);
    let leaves = to.as_ref().is_none_or(|to| to.origin() != from.origin());
    match answer.status.as_u16() {
        _ if leaves_https(from, answer) => "it leaves https, and the token is not sent there",
        307 | 308 if leaves => "it leaves the server, and the token is not sent there",
        307 | 308 => "not every client sends the body and the token again",
        _ => "a client follows with a GET, and the body is lost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twin_of_a_path_has_the_slash_or_not() {
        for (url, expected) in [
            ("http://a/mcp", Some("http://a/mcp/")),
            ("http://a/mcp/", Some("http://a/mcp")),
            ("http://a/v1/mcp?key=1", Some("http://a/v1/mcp/?key=1")),
            ("http://a/", None),
        ] {
            let twin = twin(&Url::parse(url).unwrap());
            assert_eq!(twin.as_ref().map(Url::as_str), expected, "{url}");
        }
    }
}
