//! Which medium a file is, by its first bytes and never by its name.

/// How many bytes [`of`] wants to see.
pub const HEAD: usize = 1024;

/// The MIME type of a medium into which the crate `c2pa` can write a manifest, by the first [`HEAD`] bytes of the file.
pub fn of(head: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    match () {
        () if at(0, b"\x89PNG\r\n\x1a\n") => Some("image/png"),
        () if at(0, b"\xff\xd8\xff") => Some("image/jpeg"),
        () if at(0, b"GIF87a") || at(0, b"GIF89a") => Some("image/gif"),
        () if at(0, b"RIFF") && at(8, b"WAVE") => Some("audio/wav"),
        () if at(0, b"RIFF") && at(8, b"WEBP") => Some("image/webp"),
        () if at(0, b"RIFF") && at(8, b"AVI ") => Some("video/avi"),
        () if at(0, b"II*\0") || at(0, b"MM\0*") || at(0, b"II+\0") || at(0, b"MM\0+") => Some("image/tiff"),
        () if at(0, b"\0\0\0\x0cJXL \r\n\x87\n") => Some("image/jxl"),
        () if at(0, b"fLaC") => Some("audio/flac"),
        () if at(0, b"ID3") => Some(after_id3(head)),
        // MPEG 1 and 2, layer III, as a bare stream of frames.
        () if head.first() == Some(&0xff) && head.get(1).is_some_and(|byte| byte & 0xe6 == 0xe2) => Some("audio/mpeg"),
        () if at(4, b"ftyp") => Some(iso_brand(head.get(8..12)?)),
        () if is_svg(head) => Some("image/svg+xml"),
        () => None,
    }
}

/// A FLAC file may begin with an ID3 tag, which belongs to MP3 otherwise.
fn after_id3(head: &[u8]) -> &'static str {
    let size = head.get(6..10).map_or(0, |size| size.iter().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f)));
    let is_flac = head.get(10 + size..).is_some_and(|rest| rest.starts_with(b"fLaC"));
    if is_flac { "audio/flac" } else { "audio/mpeg" }
}

/// ISO base media file format: films, sound and pictures (ISO 14496-12, 4.3).
fn iso_brand(brand: &[u8]) -> &'static str {
    match brand {
        b"avif" | b"avis" => "image/avif",
        b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" => "image/heic",
        b"mif1" | b"msf1" => "image/heif",
        b"M4A " | b"M4B " => "audio/mp4",
        b"qt  " => "video/quicktime",
        _ => "video/mp4",
    }
}

/// An element `svg` comes first, after declarations and comments.
fn is_svg(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let Some(start) = text.windows(4).position(|window| window == b"<svg") else { return false };
    text.starts_with(b"<") && {
        let prolog = String::from_utf8_lossy(&text[..start]);
        let mut rest = prolog.trim_start();
        loop {
            let closing = match rest {
                "" => return true,
                _ if rest.starts_with("<?xml") => "?>",
                _ if rest.starts_with("<!--") => "-->",
                _ if rest.starts_with("<!DOCTYPE svg") => ">",
                _ => return false,
            };
            let Some((_, after)) = rest.split_once(closing) else { return false };
            rest = after.trim_start();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_are_told_by_their_first_bytes() {
        let cases: [(&[u8], Option<&str>); 14] = [
            (b"", None),
            (b"RIFF\x24\0\0\0WAVEfmt ", Some("audio/wav")),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\x24\0\0\0", None),
            (b"\xff\xfb\x90\x64", Some("audio/mpeg")),
            (b"\xff\xfe\0a", None),
            (b"ID3\x04\0\0\0\0\0\0fLaC", Some("audio/flac")),
            (b"ID3\x04\0\0\0\0\0\0\xff\xfb", Some("audio/mpeg")),
            (b"\0\0\0\x18ftypisom", Some("video/mp4")),
            (b"\0\0\0\x18ftypqt  ", Some("video/quicktime")),
            (b"<?xml version=\"1.0\"?>\n<!-- a --><svg xmlns=\"x\">", Some("image/svg+xml")),
            (b"<html><svg>", None),
            (b"%PDF-1.7", None),
            (b"{\"a\": \"<svg\"}", None),
        ];
        for (head, expected) in cases {
            assert_eq!(of(head), expected, "{:?}", head.escape_ascii().to_string());
        }
    }
}
