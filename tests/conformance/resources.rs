//! Resources: a text, some bytes, one to be watched and one template.

use rmcp::ErrorData;
use rmcp::model::{ReadResourceResponse, Resource, ResourceTemplate};
use serde_json::json;

use crate::fixtures::{complete, wire};
use crate::tools::PNG;

pub fn list() -> Vec<Resource> {
    let resource = |name: &str, mime_type: &str| {
        json!({
            "uri": format!("test://{name}"),
            "name": name,
            "description": "A resource for testing",
            "mimeType": mime_type,
        })
    };
    wire(json!([
        resource("static-text", "text/plain"),
        resource("static-binary", "image/png"),
        resource("watched-resource", "text/plain"),
    ]))
}

pub fn templates() -> Vec<ResourceTemplate> {
    wire(json!([{
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "A resource for each id",
        "mimeType": "application/json",
    }]))
}

pub fn read(uri: &str) -> Result<ReadResourceResponse, ErrorData> {
    let of_template = uri
        .strip_prefix("test://template/")
        .and_then(|rest| rest.strip_suffix("/data"));
    let content = match (uri, of_template) {
        (_, Some(id)) => {
            let data = format!("Data for ID: {id}");
            let text = json!({"id": id, "templateTest": true, "data": data}).to_string();
            json!({"uri": uri, "mimeType": "application/json", "text": text})
        }
        ("test://static-text", None) => {
            let text = "This is the content of the static text resource.";
            json!({"uri": uri, "mimeType": "text/plain", "text": text})
        }
        ("test://static-binary", None) => {
            json!({"uri": uri, "mimeType": "image/png", "blob": PNG})
        }
        ("test://watched-resource", None) => {
            json!({"uri": uri, "mimeType": "text/plain", "text": "Nothing has changed."})
        }
        _ => {
            let data = json!({"uri": uri});
            return Err(ErrorData::resource_not_found(
                "Resource not found",
                Some(data),
            ));
        }
    };
    Ok(ReadResourceResponse::Complete(complete(
        json!({"contents": [content]}),
    )))
}
