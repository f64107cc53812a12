//! The steps of OpenAI's connector against one server, in order.

use std::time::{Duration, Instant, SystemTime};

use futures::future::{LocalBoxFuture, OptionFuture, join};
use url::Url;

use super::credentials::{self, Others};
use super::opening::{self, Era, Opening};
use super::requests::{Form, Message, Requests};
use super::stage::{Stage, Steps};
use super::variations::{self, Accepts};
use super::{Complaint, Outcome, address, details, path, tls, tools};
use crate::address as addresses;
use crate::connector::{self, Server};
use crate::engine::Engine;
use crate::mcp::{self, Endpoint, JsonObject, ProbeResult, Tool, ToolList};

/// The name that a request has which did not come from here.
const FOREIGN_HOST: &str = "mcp-cli-check.example.com";

/// A tool to call, and what with.
pub struct Call {
    pub name: String,
    pub arguments: Box<ArgumentsFor>,
}

/// The arguments for a tool with this `inputSchema`, or why they do not fit it.
pub type ArgumentsFor =
    dyn for<'a> Fn(&'a JsonObject) -> LocalBoxFuture<'a, Result<JsonObject, Complaint>>;

/// One server, and what is to be found out about it.
pub struct Run<'a> {
    pub engine: &'a Engine,
    pub server_label: &'a str,
    pub server: Server,
    pub call: Option<&'a Call>,
    /// How long the first answer may take.
    pub limit: Duration,
}

impl Run<'_> {
    /// Takes all steps that make sense, and reports to `progress` what it waits for. Returns the tools
    /// that were listed.
    pub async fn take_steps(
        &self,
        progress: &mut impl FnMut(&str),
    ) -> Result<(Steps, Option<Vec<Tool>>), mcp::Error> {
        let mut steps = Steps::default();
        let listed = match &self.server.as_mcp().endpoint {
            Endpoint::Http(url) => {
                let on_wire = self.engine.clients().on_wire();
                let requests = Requests::new(url, self.server.as_mcp(), self.limit, on_wire)?;
                let listed = self.ask(url, &requests, &mut steps, progress).await;
                requests.close().await;
                listed
            }
            // Neither has an address whose way could be walked.
            Endpoint::Stdio(_) | Endpoint::InProcess(_) => {
                let skipped = [Stage::Address, Stage::Tls, Stage::Path, Stage::Credentials];
                let why = "the server is started on this machine";
                self.connect(&skipped, why, &mut steps, progress).await
            }
        };
        let listed = listed.and_then(Result::ok).map(|list| list.tools);
        self.call(listed.as_deref(), &mut steps, progress).await;
        Ok((steps, listed))
    }

    /// The steps of a server on HTTP.
    async fn ask(
        &self,
        url: &Url,
        requests: &Requests,
        steps: &mut Steps,
        progress: &mut impl FnMut(&str),
    ) -> Option<Result<ToolList, mcp::Error>> {
        progress("the first answer");
        let looking = timed(address::look_up(url));
        let ((found, looked), opening) = join(looking, Opening::make(requests)).await;
        let first = opening.last();
        let verdict = address::judge(self.server_label, url, &found, first);
        steps.add(Stage::Address, looked, verdict);
        steps.add(Stage::Tls, first.took, tls::judge(url, first));

        let has_answer = first.answer.is_ok();
        let era = opening.era();
        progress("answers to other requests");
        let paths = has_answer.then(|| paths(url, requests));
        let rest = era
            .as_ref()
            .map(|era| self.vary(url, era, &opening, requests));
        let (paths, rest) = join(OptionFuture::from(paths), OptionFuture::from(rest)).await;

        let (twin, get) = paths.unzip();
        let twin = twin.flatten();
        let twin = twin.as_ref().map(|(url, heard)| (url, heard));
        steps.add(
            Stage::Path,
            opening.took(),
            path::judge(url, first, twin, get.as_ref()),
        );
        if get.as_ref().is_some_and(path::is_older) {
            let skipped = [Stage::Credentials];
            return self
                .connect(&skipped, "the server speaks HTTP+SSE", steps, progress)
                .await;
        }
        let (others, rest) = rest.map(|it| (it.others, it.rest)).unzip();
        let others = others.flatten();
        let took = others.as_ref().map_or(Duration::ZERO, |others| {
            others.none.took.max(others.broken.took)
        });
        steps.add(
            Stage::Credentials,
            took,
            credentials::judge(
                requests.authorization(),
                first,
                others.as_ref(),
                SystemTime::now(),
            ),
        );
        steps.add(Stage::Protocol, opening.took(), opening::protocol(&opening));
        let dropped = rest.as_ref().and_then(|rest| rest.dropped.as_ref());
        match &era {
            Some(era) => steps.add(
                Stage::Session,
                took_of(dropped),
                variations::session(era, dropped),
            ),
            None => steps.skip(Stage::Session, "there is no session without an answer"),
        }
        match &get {
            Some(get) => steps.add(Stage::Get, get.took, variations::get(get)),
            None => steps.skip(Stage::Get, "there is no answer"),
        }
        let foreign = rest.as_ref().and_then(|rest| rest.foreign.as_ref());
        steps.add(Stage::Host, took_of(foreign), variations::host(foreign));
        let accepts = rest.as_ref().map(|rest| &rest.accepts);
        let took = accepts.map_or(first.took, |it| it.json.took);
        steps.add(Stage::Accept, took, variations::accept(&opening, accepts));
        let Some((listed, took)) = rest.map(|rest| rest.listed) else {
            steps.skip(Stage::ToolsList, "the server's answer was not understood");
            return None;
        };
        listing(&listed, took, steps);
        Some(listed)
    }

    /// All that is asked of a server that answers, at once.
    async fn vary(&self, url: &Url, era: &Era, opening: &Opening, requests: &Requests) -> Varied {
        let message = era.opening();
        let ask = |form| requests.post(form, &message);
        let accepting = |accept| {
            ask(Form {
                accept,
                ..requests.side()
            })
        };
        let others = requests.authorization().map(|_| {
            join(
                ask(credentials::without(requests)),
                ask(credentials::broken(requests)),
            )
        });
        let foreign = addresses::is_local(url).then(|| {
            ask(Form {
                host: Some(FOREIGN_HOST),
                ..requests.side()
            })
        });
        let dropped = match era {
            Era::Legacy { version } if opening.has_session() => Some(version),
            Era::Legacy { .. } | Era::Modern { .. } => None,
        };
        let dropped = dropped.map(|version| async move {
            requests
                .post(requests.side(), &Message::list_tools(version))
                .await
        });
        let listed = timed(Box::pin(self.server.list(self.engine.clients())));
        let (others, foreign, dropped, json, events, anything, listed) = futures::join!(
            OptionFuture::from(others),
            OptionFuture::from(foreign),
            OptionFuture::from(dropped),
            accepting("application/json"),
            accepting("text/event-stream"),
            accepting("*/*"),
            listed
        );
        Varied {
            others: others.map(|(none, broken)| Others { none, broken }),
            rest: Rest {
                dropped,
                foreign,
                accepts: Accepts {
                    json,
                    events,
                    anything,
                },
                listed,
            },
        }
    }

    /// The steps of a server that is looked at as the client sees it; `skipped` are those before.
    async fn connect(
        &self,
        skipped: &[Stage],
        why: &str,
        steps: &mut Steps,
        progress: &mut impl FnMut(&str),
    ) -> Option<Result<ToolList, mcp::Error>> {
        for stage in skipped {
            steps.skip(*stage, why);
        }
        progress("the server to start");
        let clients = self.engine.clients();
        let (version, took) = timed(clients.version(self.server.as_mcp())).await;
        steps.add(Stage::Protocol, took, tools::started(&version));
        for stage in [Stage::Session, Stage::Get, Stage::Host, Stage::Accept] {
            steps.skip(stage, why);
        }
        if version.is_err() {
            steps.skip(Stage::ToolsList, "the server's answer was not understood");
            return None;
        }
        progress("the list of tools");
        let (listed, took) = timed(self.server.list(clients)).await;
        listing(&listed, took, steps);
        Some(listed)
    }

    /// The step `call`, if a call is to be made.
    async fn call(
        &self,
        listed: Option<&[Tool]>,
        steps: &mut Steps,
        progress: &mut impl FnMut(&str),
    ) {
        let Some(call) = self.call else {
            return;
        };
        let Some(listed) = listed else {
            return steps.skip(Stage::Call, "there is no list of tools");
        };
        let Some(tool) = listed.iter().find(|tool| tool.name() == call.name) else {
            let unknown = tools::unknown(&call.name, listed);
            return steps.add(Stage::Call, Duration::ZERO, unknown);
        };
        if !self.server.allows(&connector::listed(tool.clone())) {
            let refused = tools::not_allowed(&call.name);
            return steps.add(Stage::Call, Duration::ZERO, refused);
        }
        let arguments = match (call.arguments)(tool.input_schema()).await {
            Ok(arguments) => arguments,
            Err(why) => return steps.add(Stage::Call, Duration::ZERO, Outcome::Fail(why)),
        };
        progress("the answer to the call");
        let clients = self.engine.clients();
        let called = self.server.call(clients, &call.name, &arguments);
        let (result, took) = timed(called).await;
        let result = result.map(|called| called.result);
        steps.add(Stage::Call, took, tools::call(result, took));
    }
}

/// The steps `tools_list` and `details`.
fn listing(listed: &Result<ToolList, mcp::Error>, took: Duration, steps: &mut Steps) {
    steps.add(Stage::ToolsList, took, tools::list(listed, took));
    if let Ok(list) = listed {
        let remarks = details::judge(&list.remarks);
        steps.add(Stage::Details, Duration::ZERO, remarks);
    }
}

/// What a server that answers said to other requests.
struct Varied {
    others: Option<Others>,
    rest: Rest,
}

struct Rest {
    /// To `tools/list` without the session that it had opened.
    dropped: Option<ProbeResult>,
    foreign: Option<ProbeResult>,
    accepts: Accepts,
    listed: (Result<ToolList, mcp::Error>, Duration),
}

/// What is at the path with or without the slash, and what a GET gives.
async fn paths(url: &Url, requests: &Requests) -> (Option<(Url, ProbeResult)>, ProbeResult) {
    let twin = path::twin(url).map(|twin| async {
        let form = Form {
            url: twin.clone(),
            ..requests.side()
        };
        let heard = requests.post(form, &Message::discover()).await;
        (twin, heard)
    });
    join(OptionFuture::from(twin), requests.get()).await
}

fn took_of(heard: Option<&ProbeResult>) -> Duration {
    heard.map(|it| it.took).unwrap_or_default()
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    let done = work.await;
    (done, started.elapsed())
}
