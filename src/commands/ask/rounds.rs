//! The rounds of a question: the request, the approvals that its response asks for, the next request.

use std::sync::Arc;

use super::Question;
use crate::commands::state;
use crate::error::{Cause, Error};
use crate::exit::ExitStatus;
use crate::responses::{
    self, CreateResponse, Event, EventKind, Input, Item, McpListTools, Response,
};
use crate::route::Route;
use crate::ui::Ui;

/// How often a response may end in requests for approval.
const MOST_ROUNDS: usize = 100;

impl Question {
    /// Puts the servers into the request.
    pub(super) fn take_entries(&mut self) {
        let entries = std::mem::take(&mut self.servers.entries);
        self.template.tools = Some(entries).filter(|entries| !entries.is_empty());
    }

    /// What is said next: the answers to what waits for approval, then the question. The second
    /// value is whether a call was denied and nothing was asked beside it.
    pub(super) async fn input(&mut self, ui: &mut Ui) -> Result<(Input, bool), Error> {
        let mut was_denied = false;
        let mut answers = Vec::new();
        let lists: Vec<&McpListTools> = self.kept.conversation.lists.iter().collect();
        for call in std::mem::take(&mut self.kept.conversation.pending) {
            let approve = self
                .args
                .approve
                .decide(&call, &self.identities, &lists, ui)
                .await?;
            was_denied |= !approve;
            answers.push(responses::answer(&call, approve));
        }
        let question = self.prompt.take().map(Input::Text);
        let was_denied = was_denied && question.is_none();
        let input = match question {
            Some(question) if answers.is_empty() => question,
            question => {
                answers.extend(question.into_iter().flat_map(Input::into_items));
                Input::Items(answers)
            }
        };
        Ok((input, was_denied))
    }

    /// Asks, and asks again with the approvals, until a response needs none.
    pub(super) async fn converse(
        &mut self,
        route: &Route,
        ui: &mut Ui,
    ) -> Result<ExitStatus, Error> {
        let mut was_denied = false;
        let mut has_result = false;
        let mut bytes = 0;
        self.check_approve(&[])?;
        for _ in 0..MOST_ROUNDS {
            let (input, denied) = self.input(ui).await?;
            was_denied |= denied;
            let request = self.kept.conversation.request(&self.template, input);
            let mut done = Vec::new();
            let response = match self.respond(route, &request, &mut done, ui).await {
                Ok(response) => response,
                // A name that --approve gets wrong is put right, and the question asked again.
                Err(error) if error.exit_status() == ExitStatus::Usage => return Err(error),
                // What is incomplete can be continued as well, and so can what broke off.
                Err(error) => {
                    let has_more = match error.cause() {
                        Cause::Responses(responses::Error::NotCompleted { response, .. }) => {
                            self.kept.conversation.add(&request, response);
                            true
                        }
                        _ => self.kept.conversation.add_broken_off(&request, done),
                    };
                    if has_more {
                        self.keep(ui);
                    }
                    return Err(error);
                }
            };
            bytes += response.size();
            let most = self.args.max_memory();
            if bytes > most as u64 {
                return Err(responses::Error::TooLarge(most).into());
            }
            has_result |= response
                .output()
                .iter()
                .any(|item| matches!(&**item, Item::McpCall(call) if call.has_succeeded()));
            self.kept.conversation.add(&request, &response);
            self.keep(ui);
            self.check_approve(&[])?;
            if self.kept.conversation.pending.is_empty() {
                return match was_denied && !has_result {
                    true => Err(Error::new(
                        ExitStatus::NotApproved,
                        "a tool call was denied, and no other call succeeded",
                    )),
                    false => Ok(ExitStatus::Done),
                };
            }
        }
        let text = format!("the response still asks for approval after {MOST_ROUNDS} rounds");
        Err(Error::new(ExitStatus::BrokenAnswer, text))
    }

    /// Refuses a name of `--approve` that is in doubt, as soon as the tools of all servers are known.
    fn check_approve(&self, done: &[Arc<Item>]) -> Result<(), Error> {
        let before = &self.kept.conversation.lists;
        let done = done.iter().filter_map(|item| match &**item {
            Item::McpListTools(list) => Some(list),
            _ => None,
        });
        let lists: Vec<&McpListTools> = before.iter().chain(done).collect();
        self.args.approve.check(&self.identities, &lists)
    }

    /// Sends one request and shows its answer as it comes; `done` gets the items that it has told.
    async fn respond(
        &self,
        route: &Route,
        request: &CreateResponse,
        done: &mut Vec<Arc<Item>>,
        ui: &mut Ui,
    ) -> Result<Response, Error> {
        let limit = self.args.timeout;
        let answer = async {
            ui.wait("waiting for the answer");
            ui.record_request(request);
            let events = route.create_stream(request).await?;
            let show = |event: &Event| {
                ui.event(event)?;
                let EventKind::OutputItemDone { item, .. } = event.kind() else {
                    return Ok(());
                };
                done.push(Arc::clone(item));
                match &**item {
                    Item::McpListTools(_) => self.check_approve(done),
                    _ => Ok(()),
                }
            };
            responses::read_to_end(events, show).await
        };
        tokio::time::timeout(limit, answer)
            .await
            .unwrap_or(Err(responses::Error::Timeout(limit).into()))
    }

    /// Keeps the conversation for `--continue`. The answer has been given, so that it cannot be
    /// kept is a note and no failure.
    fn keep(&self, ui: &mut Ui) {
        if let Err(error) = state::save(&self.kept) {
            ui.note(&format!("this conversation cannot be continued: {error}"));
        }
    }
}
