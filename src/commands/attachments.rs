//! `--output-dir`: the images, audio and binary resources of a result, as files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::ContentBlock;

use crate::error::Error;
use crate::ui::Attachment;

/// The longest part of a file's name that comes from the tool's.
const LONGEST_NAME: usize = 64;
/// How many files of one tool a folder may hold.
const MOST_FILES: usize = 100_000;

/// Makes the folder, so that a call is not made whose result cannot be kept.
pub fn prepare(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| Error::Write {
        path: folder.to_owned(),
        source,
    })
}

/// Saves what the blocks carry as `TOOL-NUMBER.EXTENSION`, and returns the file of each block that
/// has one. No file is overwritten, and no name is the server's to choose.
pub fn save(
    blocks: &[ContentBlock],
    tool: &str,
    folder: &Path,
) -> Result<Vec<Option<PathBuf>>, Error> {
    let stem = stem(tool);
    let mut number = 1;
    let mut save = |attachment: Attachment<'_>| {
        // What is not Base64 is told of in the result, and there is nothing to save.
        let Ok(bytes) = STANDARD.decode(attachment.base64) else {
            return Ok(None);
        };
        let extension = extension(attachment.mime_type.unwrap_or_default());
        let (mut file, path) = loop {
            let path = folder.join(format!("{stem}-{number}.{extension}"));
            number += 1;
            match File::create_new(&path) {
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && number < MOST_FILES => {}
                Err(source) => return Err(Error::Write { path, source }),
                Ok(file) => break (file, path),
            }
        };
        match file.write_all(&bytes) {
            Ok(()) => Ok(Some(path)),
            Err(source) => Err(Error::Write { path, source }),
        }
    };
    let attachments = blocks.iter().map(Attachment::of);
    attachments
        .map(|it| it.map_or(Ok(None), &mut save))
        .collect()
}

/// The tool's name as a part of a file's name on any system.
fn stem(tool: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-');
    let plain = |it: char| if is_plain(it) { it } else { '_' };
    tool.chars().take(LONGEST_NAME).map(plain).collect()
}

fn extension(mime_type: &str) -> &'static str {
    let essence = mime_type.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/avif" => "avif",
        "image/svg+xml" => "svg",
        "audio/mpeg" | "audio/mp3" => "mp3",
        "audio/wav" | "audio/wave" | "audio/x-wav" => "wav",
        "audio/ogg" => "ogg",
        "audio/flac" => "flac",
        "audio/mp4" => "m4a",
        "video/mp4" => "mp4",
        "video/webm" => "webm",
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "application/json" => "json",
        "text/csv" => "csv",
        "text/html" => "html",
        "text/plain" => "txt",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    fn image(mime_type: &str, data: &str) -> Value {
        json!({"type": "image", "mimeType": mime_type, "data": data})
    }

    #[test]
    fn a_file_is_named_by_the_tool_and_the_type_and_replaces_none() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("___etc_a-1.png"), "mine").unwrap();
        let blocks = json!([
            {"type": "text", "text": "see"},
            image("image/png", "AQI="),
            image("Image/JPEG; q=1", "AQ=="),
            image("../../evil", "AQ=="),
            image("image/png", "not base64"),
            {"type": "resource", "resource": {"uri": "file:///etc/passwd", "blob": "AQ=="}},
        ]);
        let blocks: Vec<ContentBlock> = serde_json::from_value(blocks).unwrap();

        let saved = save(&blocks, "../etc/a", folder.path()).unwrap();

        let names: Vec<Option<&str>> = saved
            .iter()
            .map(|it| it.as_ref()?.file_name()?.to_str())
            .collect();
        assert_eq!(
            names,
            [
                None,
                Some("___etc_a-2.png"),
                Some("___etc_a-3.jpg"),
                Some("___etc_a-4.bin"),
                None,
                Some("___etc_a-5.bin")
            ]
        );
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        assert_eq!(read("___etc_a-1.png"), b"mine");
        assert_eq!(read("___etc_a-2.png"), [1, 2]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_named() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(prepare(&file), Err(Error::Write { .. })));
        assert!(prepare(&folder.path().join("a/b")).is_ok());
    }
}
