//! `--output-dir`: the images, audio and binary resources of a result, as files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _};
use serde_json::Value;

use crate::error::Error;
use crate::ui::Attachment;

/// The longest part of a file's name that comes from the tool's.
const LONGEST_NAME: usize = 64;
/// How many files of one tool a folder may hold.
const MOST_FILES: usize = 100_000;

/// Makes the folder, so that a call is not made whose result cannot be kept.
pub fn prepare(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| Error::write(folder, source))
}

/// What became of the blocks of a result.
#[derive(Default)]
pub struct Saved {
    /// The file of each block that has one.
    pub files: Vec<Option<PathBuf>>,
    /// The blocks whose data is not Base64, and why it is not.
    pub damaged: Vec<String>,
}

/// Saves what the blocks carry as `TOOL-NUMBER.EXTENSION`. No file is overwritten, and the server
/// chooses no name.
pub fn save(blocks: &[Value], tool: &str, folder: &Path) -> Result<Saved, Error> {
    let stem = stem(tool);
    let mut number = 1;
    let mut write = |bytes: &[u8], extension: &str| {
        let (mut file, path) = loop {
            let path = folder.join(format!("{stem}-{number}.{extension}"));
            number += 1;
            match File::create_new(&path) {
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && number < MOST_FILES => {}
                Err(source) => return Err(Error::write(&path, source)),
                Ok(file) => break (file, path),
            }
        };
        match file.write_all(bytes) {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::write(&path, source)),
        }
    };
    let mut saved = Saved::default();
    for (index, block) in blocks.iter().enumerate() {
        let attachment = Attachment::of(block);
        let file = match attachment.map(|it| (it.mime_type, decode(it.base64))) {
            None => None,
            Some((mime_type, Ok(bytes))) => {
                Some(write(&bytes, extension(mime_type.unwrap_or_default()))?)
            }
            Some((mime_type, Err(error))) => {
                let mime_type = mime_type.unwrap_or("data");
                let why = error.to_string();
                let why = why.trim_end_matches('.');
                let damaged = format!("content[{index}] ({mime_type}): {why}");
                saved.damaged.push(damaged);
                None
            }
        };
        saved.files.push(file);
    }
    Ok(saved)
}

/// Reads Base64 in either of its alphabets (RFC 4648 sections 4 and 5), with or without padding
/// and line breaks: none of these changes what the data is.
fn decode(text: &str) -> Result<Vec<u8>, DecodeError> {
    const EITHER: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = match text.contains(['-', '_']) {
        true => &alphabet::URL_SAFE,
        false => &alphabet::STANDARD,
    };
    let is_line_end = |it: &u8| matches!(it, b'\r' | b'\n');
    let digits: Vec<u8> = text.bytes().filter(|it| !is_line_end(it)).collect();
    GeneralPurpose::new(alphabet, EITHER).decode(digits)
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
    use serde_json::json;
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
        let blocks: Vec<Value> = serde_json::from_value(blocks).unwrap();

        let saved = save(&blocks, "../etc/a", folder.path()).unwrap();

        let names: Vec<Option<&str>> = saved
            .files
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
        assert_eq!(
            saved.damaged,
            ["content[4] (image/png): Invalid symbol 32, offset 3"]
        );
    }

    #[test]
    fn base64_of_every_kind_is_read_and_nothing_else() {
        for text in ["+/8=", "+/8", "-_8=", "-_8", "+/\r\n8=\n"] {
            assert_eq!(decode(text).as_deref(), Ok(&[0xfb, 0xff][..]), "{text:?}");
        }
        assert_eq!(decode(""), Ok(Vec::new()));
        for text in [
            "+_8=",
            "-/8",
            "+/8 ",
            "A",
            "+/9=",
            "data:image/png;base64,AQ==",
        ] {
            assert!(decode(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_named() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(
            prepare(&file)
                .unwrap_err()
                .to_string()
                .ends_with("cannot be written")
        );
        assert!(prepare(&folder.path().join("a/b")).is_ok());
    }
}
