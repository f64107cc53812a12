//! The contract of OpenAI's Secure MCP Tunnel, and the check that a client keeps it.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

use super::control_plane::Seen;

static CONTRACT: LazyLock<Value> = LazyLock::new(|| super::json("tunnel/openapi.json"));

/// Compares a request with the parameters of its operation.
pub fn check_parameters(operation: &str, request: &Seen, complain: &mut impl FnMut(String)) {
    let methods = CONTRACT["paths"][operation].as_object().unwrap();
    let parameters = methods.values().next().unwrap()["parameters"].as_array();
    for (index, parameter) in parameters.unwrap().iter().enumerate() {
        let name = parameter["name"].as_str().unwrap();
        let value = match parameter["in"].as_str().unwrap() {
            "header" => request.headers.get(name).map(|it| it.to_str().unwrap()),
            "query" => request.query.get(name).map(|it| it[0].as_str()),
            _ => continue,
        };
        let Some(value) = value else {
            if parameter["required"] == true {
                complain(format!("{name} is missing"));
            }
            continue;
        };
        let value = match parameter["in"] == "query" {
            true => serde_json::from_str(value).unwrap_or_else(|_| json!(value)),
            false => json!(value),
        };
        let (method, _) = methods.iter().next().unwrap();
        let operation = operation.replace('/', "~1");
        let schema = format!("/paths/{operation}/{method}/parameters/{index}/schema");
        if let Err(why) = validate(&schema, &value) {
            complain(why);
        }
    }
}

#[derive(Default)]
struct Compiled {
    schemas: Schemas,
    indexes: HashMap<String, SchemaIndex>,
}

/// Compares a value with a schema of the contract.
pub fn validate(pointer: &str, value: &Value) -> Result<(), String> {
    static COMPILED: LazyLock<Mutex<Compiled>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap();
    let Compiled { schemas, indexes } = &mut *compiled;
    let index = indexes.entry(pointer.to_owned()).or_insert_with(|| {
        let url = "http://tunnel.test/openapi.json";
        let mut compiler = Compiler::new();
        compiler.add_resource(url, CONTRACT.clone()).unwrap();
        let fragment = pointer.replace('{', "%7B").replace('}', "%7D");
        compiler
            .compile(&format!("{url}#{fragment}"), schemas)
            .unwrap()
    });
    schemas
        .validate(value, *index)
        .map_err(|complaints| format!("{complaints:#}\n{value:#}"))
}
