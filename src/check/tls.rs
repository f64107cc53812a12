//! The step `tls`: is the certificate publicly trusted?

use url::Url;

use super::Outcome;
use super::stage::{fail, pass, skip};
use crate::mcp::{ProbeError, ProbeResult, TlsFault};

/// What there is to say of the first connection.
pub fn judge(url: &Url, first: &ProbeResult) -> Outcome {
    if url.scheme() != "https" {
        return skip("the URL is not https");
    }
    match &first.answer {
        Ok(answer) => Outcome::Pass(answer.tls.map(str::to_owned)),
        Err(ProbeError::Tls { fault, message }) => {
            fail(format!("{}: {message}", meaning(*fault)), hint(*fault))
        }
        Err(ProbeError::BrokenOff(_)) => pass("the connection was made"),
        // The next step says what became of it.
        Err(_) => skip("there was no answer to tell it by"),
    }
}

fn meaning(fault: TlsFault) -> &'static str {
    match fault {
        TlsFault::Expired => "the certificate has expired",
        TlsFault::NotYetValid => "the certificate is not valid yet",
        TlsFault::WrongName => "the certificate is for another name",
        TlsFault::UnknownIssuer => "the certificate is not from a trusted authority",
        TlsFault::NotTls => "the port does not speak TLS",
        TlsFault::Other => "no secure connection could be made",
    }
}

fn hint(fault: TlsFault) -> &'static str {
    match fault {
        TlsFault::Expired => "renew it, and reload the server",
        TlsFault::NotYetValid => "check the clocks of both machines",
        TlsFault::WrongName => {
            "use a name that the certificate covers, or get a certificate for this name"
        }
        TlsFault::UnknownIssuer => {
            "serve the whole chain, with the intermediate certificates; a self-signed certificate is not trusted"
        }
        TlsFault::NotTls => "look at the port, or write http://",
        TlsFault::Other => "check that the port speaks TLS 1.2 or 1.3",
    }
}
