//! What the server says of itself, as each era of MCP wants to hear it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rmcp::model::ProtocolVersion;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::caller::MODERN;
use crate::mcp::{Agreed, Era};

/// The version that a client gets that asks for one that nobody knows.
const LEGACY: &str = "2025-11-25";
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// The result of `initialize` or of `server/discover`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    #[serde(borrow)]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow)]
    server_info: Option<&'a RawValue>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<BTreeMap<Cow<'a, str>, &'a RawValue>>,
}

/// The version that `initialize` agrees on.
pub fn version(asked: &str) -> &'static str {
    let mut known = ProtocolVersion::KNOWN_VERSIONS.iter();
    let known = known.find(|it| it.as_str() == asked && asked != MODERN);
    known.map_or(LEGACY, ProtocolVersion::as_str)
}

/// The result of `initialize`.
pub fn initialized(agreed: &Agreed, version: &str) -> String {
    let said = read(agreed);
    let mut fields = vec![
        format!(r#""protocolVersion":"{version}""#),
        field("capabilities", said.capabilities, "{}"),
        field("serverInfo", said.server_info(), UNNAMED),
    ];
    fields.extend(said.rest(agreed, |era| *era != Era::Modern));
    format!("{{{}}}", fields.join(","))
}

/// The result of `server/discover`.
pub fn discovered(agreed: &Agreed) -> String {
    let said = read(agreed);
    let versions = ProtocolVersion::KNOWN_VERSIONS.iter();
    let versions: Vec<String> = versions.map(|it| format!("{:?}", it.as_str())).collect();
    let mut fields = vec![
        r#""resultType":"complete","ttlMs":0,"cacheScope":"private""#.to_owned(),
        format!(r#""supportedVersions":[{}]"#, versions.join(",")),
        field("capabilities", said.capabilities, "{}"),
    ];
    fields.extend(said.rest(agreed, |era| *era == Era::Modern));
    let mut meta = said.meta.clone().unwrap_or_default();
    meta.extend(said.server_info().map(|it| (SERVER_INFO.into(), it)));
    let meta = serde_json::to_string(&meta).unwrap_or_default();
    fields.push(format!(r#""_meta":{meta}"#));
    format!("{{{}}}", fields.join(","))
}

/// What a server calls itself.
#[derive(Debug, Deserialize)]
pub struct Name {
    pub name: String,
    #[serde(default)]
    pub version: String,
}

/// The server's name and version.
pub fn name(agreed: &Agreed) -> Option<Name> {
    serde_json::from_str(read(agreed).server_info()?.get()).ok()
}

const UNNAMED: &str = r#"{"name":"MCP server","version":"0"}"#;

fn field(name: &str, value: Option<&RawValue>, otherwise: &str) -> String {
    format!(r#""{name}":{}"#, value.map_or(otherwise, RawValue::get))
}

fn read(agreed: &Agreed) -> Said<'_> {
    serde_json::from_str(&agreed.about).unwrap_or(Said {
        capabilities: None,
        server_info: None,
        instructions: None,
        meta: None,
    })
}

impl<'a> Said<'a> {
    fn server_info(&self) -> Option<&'a RawValue> {
        let of_meta = || self.meta.as_ref()?.get(SERVER_INFO).copied();
        self.server_info.or_else(of_meta)
    }

    /// The instructions, and, for a client of the server's own era, what else it says.
    fn rest(&self, agreed: &'a Agreed, is_own: impl Fn(&Era) -> bool) -> Vec<String> {
        const KNOWN: [&str; 9] = [
            "protocolVersion",
            "capabilities",
            "serverInfo",
            "instructions",
            "resultType",
            "ttlMs",
            "cacheScope",
            "supportedVersions",
            "_meta",
        ];
        let mut rest = Vec::new();
        if self.instructions.is_some() {
            rest.push(field("instructions", self.instructions, "null"));
        }
        if is_own(&agreed.era) {
            let all: BTreeMap<String, &RawValue> =
                serde_json::from_str(&agreed.about).unwrap_or_default();
            let unknown = all
                .into_iter()
                .filter(|(name, _)| !KNOWN.contains(&&**name));
            rest.extend(unknown.filter_map(|(name, value)| {
                let name = serde_json::to_string(&name).ok()?;
                Some(format!("{name}:{}", value.get()))
            }));
        }
        rest
    }
}
