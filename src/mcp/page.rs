//! `ToolList` and its pages, read within limits.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{Error, MAX_WHY, told};
use super::excess::{Excess, MAX_HEADER_TOOLS, MAX_LIST, MAX_PARSED, MOST_PAGES, MOST_TOOLS};
use super::fault::Fault;
use super::param_headers::{ParamHeader, read_annotations};
use super::remark::Remark;
use super::server::Server;
use super::tool::Tool;
use crate::budget::{Held, parsed_size};

/// All tools of a server, and what it took to list them.
#[derive(Debug)]
pub struct ToolList {
    pub tools: Vec<Tool>,
    pub pages: usize,
    /// The size of all pages, as they came.
    pub bytes: usize,
    /// What the server has done so far that MCP does not allow.
    pub remarks: Vec<Remark>,
    /// The tools that could not be read, each with its place and its field. To OpenAI, a list with one
    /// of them is none.
    pub unreadable: Vec<String>,
    /// The share of the budget that the tools take.
    pub held: Held,
}

impl ToolList {
    /// The list, if every tool of it could be read.
    ///
    /// # Errors
    /// [`Error::Tools`] with the first tool that could not be.
    pub fn whole(self) -> Result<Self, Error> {
        match self.unreadable.as_slice() {
            [] => Ok(self),
            [one] => Err(Error::Tools(one.clone())),
            [first, rest @ ..] => {
                let more = rest.len();
                Err(Error::Tools(format!("{first} (and {more} more)")))
            }
        }
    }

    /// The list without what the server was shown of `server`: some repeat it.
    pub(super) fn without_secrets(mut self, server: &Server) -> Self {
        for text in &mut self.unreadable {
            *text = told(std::mem::take(text), MAX_WHY, server);
        }
        for remark in &mut self.remarks {
            if let Remark::Stdout(line) = remark {
                *line = server.without_secrets(std::mem::take(line));
            }
        }
        self
    }

    /// How many tools were read, those that could not be included.
    pub(super) fn places(&self) -> usize {
        self.tools.len() + self.unreadable.len()
    }

    /// Rejects a list that is larger than any server needs.
    pub(super) fn check_limits(&self) -> Result<(), Excess> {
        if self.places() > MOST_TOOLS {
            return Err(Excess::Tools);
        }
        if self.bytes > MAX_LIST {
            return Err(Excess::List);
        }
        if self.held.bytes() > MAX_PARSED {
            return Err(Excess::Parsed(MAX_PARSED));
        }
        if self.pages > MOST_PAGES {
            return Err(Excess::Pages);
        }
        Ok(())
    }
}

/// The arguments that are sent in headers as well, by the name of their tool.
pub type HeaderTools = HashMap<String, Arc<[ParamHeader]>>;

/// Where the next page is (MCP 2026-07-28, pagination).
#[derive(Debug, Default, PartialEq, Eq)]
pub enum NextCursor {
    /// There is none.
    #[default]
    None,
    /// There is none, and it should not be said so.
    Null,
    Some(String),
}

impl<'de> Deserialize<'de> for NextCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cursor = Option::<String>::deserialize(deserializer)?;
        Ok(cursor.map_or(Self::Null, Self::Some))
    }
}

/// A page of a list of tools.
#[derive(Debug, Default)]
pub struct Page {
    pub tools: Vec<Tool>,
    pub unreadable: Vec<String>,
    pub next_cursor: NextCursor,
    /// The size of the page as it came.
    pub bytes: usize,
    /// The tools whose arguments are sent in headers as well.
    pub header_tools: HeaderTools,
}

impl Page {
    /// Reads the result of `tools/list`, whose first tool is at the place `first` of the list. With `reads_annotations`, a tool whose `x-mcp-header` is
    /// invalid is left out, as MCP 2026-07-28 demands of clients on HTTP.
    ///
    /// # Errors
    /// It is not a list of tools, or one that is too long.
    pub fn read(result: &str, first: usize, reads_annotations: bool) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct RawPage<'a> {
            #[serde(borrow)]
            tools: RawTools<'a>,
            #[serde(default)]
            next_cursor: NextCursor,
        }
        let RawPage { tools, next_cursor } = serde_json::from_str(result)?;
        if tools.is_more {
            return Err(Excess::Tools.into());
        }
        let mut page = Self {
            tools: Vec::with_capacity(tools.tools.len()),
            next_cursor,
            bytes: result.len(),
            ..Self::default()
        };
        let mut annotated_bytes = 0;
        for (place, json) in (first..).zip(tools.tools) {
            let tool: Tool = match serde_json::from_str(json.get()) {
                Ok(tool) => tool,
                Err(error) => {
                    page.unreadable.push(format!("tools[{place}] {error}"));
                    continue;
                }
            };
            if reads_annotations && json.get().contains("x-mcp-header") {
                annotated_bytes += parsed_size(json.get().as_bytes());
                if annotated_bytes > MAX_HEADER_TOOLS {
                    return Err(Excess::HeaderTools.into());
                }
                let Some(headers) = read_annotations(tool.input_schema()) else {
                    continue;
                };
                let name = tool.name().to_owned();
                page.header_tools.insert(name, headers.into());
            }
            page.tools.push(tool);
        }
        Ok(page)
    }
}

/// The tools of a page, unread, and no more of them than a server may have.
#[derive(Default)]
struct RawTools<'a> {
    tools: Vec<&'a RawValue>,
    is_more: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for RawTools<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tools;

        impl<'de> Visitor<'de> for Tools {
            type Value = RawTools<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tools")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut read = RawTools::default();
                while read.tools.len() < MOST_TOOLS {
                    match seq.next_element()? {
                        Some(tool) => read.tools.push(tool),
                        None => return Ok(read),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    read.is_more = true;
                }
                Ok(read)
            }
        }

        deserializer.deserialize_seq(Tools)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::budget::Budget;

    fn read(page: &Value) -> Result<Page, Fault> {
        Page::read(&page.to_string(), 0, true)
    }

    fn tools(number: usize) -> Value {
        let tool = |number| json!({"name": format!("tool_{number}"), "inputSchema": {}});
        json!({"tools": (0..number).map(tool).collect::<Vec<_>>()})
    }

    #[test]
    fn a_list_of_too_many_tools_is_not_read() {
        let fault = |page: Value| read(&page).unwrap_err().to_string();
        assert_eq!(read(&tools(MOST_TOOLS)).unwrap().tools.len(), MOST_TOOLS);
        assert_eq!(
            fault(tools(MOST_TOOLS + 1)),
            "a list of more than 20000 tools"
        );
        let header = json!({"x-mcp-header": "A", "description": "x".repeat(600 * 1024)});
        let header = json!({"properties": {"a": header}});
        assert_eq!(
            fault(json!({"tools": [{"name": "a", "inputSchema": header}]})),
            "tools with `x-mcp-header` that take more than 512 KiB in memory"
        );
        assert!(fault(json!({})).contains("missing field `tools`"));
    }

    #[test]
    fn a_tool_with_an_invalid_annotation_is_left_out_where_headers_are_sent() {
        let annotated = |name, header| {
            let property = json!({"type": "string", "x-mcp-header": header});
            json!({"name": name, "inputSchema": {"properties": {"a": property}}})
        };
        let page = json!({
            "tools": [annotated("good", "A"), annotated("bad", ""), {"name": "c", "inputSchema": {}}],
            "nextCursor": "2",
        });
        let read = read(&page).unwrap();
        let names: Vec<&str> = read.tools.iter().map(Tool::name).collect();
        assert_eq!(names, ["good", "c"]);
        assert_eq!(read.next_cursor, NextCursor::Some("2".to_owned()));
        assert!(read.header_tools.contains_key("good"));
        let read = Page::read(&page.to_string(), 0, false).unwrap();
        assert_eq!((read.tools.len(), read.header_tools.len()), (3, 0));
    }

    #[test]
    fn a_list_has_a_limit_of_pages_bytes_and_memory() {
        let list = |pages, bytes, held| ToolList {
            tools: Vec::new(),
            pages,
            bytes,
            remarks: Vec::new(),
            unreadable: Vec::new(),
            held: Budget::unlimited().hold(held).unwrap(),
        };
        let mebibytes = |count: usize| count * 1024 * 1024;
        let limits = (1_000, mebibytes(64), mebibytes(96) as u64);
        let (pages, bytes, held) = limits;
        assert!(list(pages, bytes, held).check_limits().is_ok());
        let refused = |list: ToolList| list.check_limits().unwrap_err();
        assert!(matches!(
            refused(list(pages + 1, bytes, held)),
            Excess::Pages
        ));
        assert!(matches!(
            refused(list(pages, bytes + 1, held)),
            Excess::List
        ));
        assert!(matches!(
            refused(list(pages, bytes, held + 1)),
            Excess::Parsed(_)
        ));
    }
}
