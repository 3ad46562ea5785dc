//! Framing of records: against slow definitions, whatever the size of the batches, and on hostile bytes.

use std::io::Read;

use countermark_formats::records::csv::Csv;
use countermark_formats::records::tar::{self, Tar};
use countermark_formats::records::warc::{self, Warc};
use countermark_formats::records::{Batch, Error, Lines, ReadRecords};
use proptest::prelude::*;

fn all(mut reader: impl ReadRecords) -> Result<Vec<Vec<u8>>, Error> {
    let (mut batch, mut records) = (Batch::default(), Vec::new());
    while reader.next(&mut batch)? {
        assert!(!batch.is_empty());
        records.extend(batch.iter().map(<[u8]>::to_vec));
    }
    assert!(batch.is_empty() && !reader.next(&mut batch)?, "the end is the end");
    Ok(records)
}

fn problem(result: Result<Vec<Vec<u8>>, Error>) -> String {
    let error = result.expect_err("it is refused");
    assert!(!error.help().is_empty());
    error.to_string()
}

/// Lines as the documentation says, the slow way.
fn reference_lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    lines.pop_if(|last| last.is_empty());
    lines
}

/// Rows as the documentation says, byte by byte; `None` when the text is refused.
fn reference_rows(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    #[derive(PartialEq)]
    enum At {
        FieldStart,
        Unquoted,
        Quoted,
        Closed,
    }
    let (mut rows, mut row, mut at) = (Vec::new(), Vec::new(), At::FieldStart);
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if at != At::Quoted && byte == b'\r' {
            if bytes.peek() == Some(&b'\n') {
                continue;
            }
            return None;
        }
        if at != At::Quoted && byte == b'\n' {
            rows.push(std::mem::take(&mut row));
            at = At::FieldStart;
            continue;
        }
        row.push(byte);
        at = match (at, byte) {
            (At::FieldStart, b'"') => At::Quoted,
            (At::FieldStart | At::Unquoted | At::Closed, b',') => At::FieldStart,
            (At::FieldStart | At::Unquoted, _) => At::Unquoted,
            (At::Quoted, b'"') if bytes.peek() == Some(&b'"') => {
                row.extend(bytes.next());
                At::Quoted
            }
            (At::Quoted, b'"') => At::Closed,
            (At::Quoted, _) => At::Quoted,
            (At::Closed, _) => return None,
        };
    }
    if at == At::Quoted {
        return None;
    }
    // A row of nothing that only the end of the file closes is no row.
    if !row.is_empty() {
        rows.push(row);
    }
    Some(rows)
}

/// Gives a few bytes at a time, as a pipe does.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(self.1);
        self.0.read(&mut buffer[..count])
    }
}

proptest! {
    #[test]
    fn lines_agree_with_the_slow_definition(text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a')], 0..200), batch in 1_usize..64) {
        prop_assert_eq!(all(Lines::with_batch(Trickle(&text, 7), batch)).unwrap(), reference_lines(&text));
    }

    #[test]
    fn rows_agree_with_the_slow_definition(
        text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'"'), Just(b','), Just(b'a')], 0..60),
        batch in 1_usize..64,
    ) {
        let header = b"h,\"\n\"\n";
        let text = [&header[..], &text].concat();
        let found = all(Csv::with_batch(Trickle(&text, 5), batch));
        match reference_rows(&text) {
            Some(rows) => prop_assert_eq!(found.unwrap(), &rows[1..]),
            None => prop_assert!(found.is_err()),
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = all(Tar::new(&*bytes));
        let _ = all(Warc::new(&*bytes));
        let _ = all(Csv::new(&*bytes));
        let _ = tar::files(&bytes);
        let _ = warc::parts(&bytes);
    }

    #[test]
    fn a_changed_byte_of_an_archive_is_refused_or_read_as_other_records(at in 0_usize..4096, flip in 1_u8..) {
        let good = archive(&[("a.txt", b"one"), ("a.json", b"{}"), ("b.txt", b"two")]);
        let expected = all(Tar::new(&*good)).unwrap();
        let mut bad = good.clone();
        let at = at % bad.len();
        bad[at] ^= flip;
        if let Ok(records) = all(Tar::new(&*bad)) {
            // What the samples do not hold: padding, and the fields of the headers that are not read.
            let is_data = [512..515, 1536..1538, 2560..2563].iter().any(|data| data.contains(&at));
            prop_assert_eq!(is_data, records != expected);
        }
    }
}

#[test]
fn a_row_without_anything_and_a_file_without_rows() {
    assert_eq!(all(Csv::new(&b"a,b\n\n1,2"[..])).unwrap(), [&b""[..], b"1,2"]);
    assert!(all(Csv::new(&b"a,b"[..])).unwrap().is_empty());
    assert!(problem(all(Csv::new(&b""[..]))).contains("no header row"));
    assert!(all(Lines::new(&b""[..])).unwrap().is_empty());
    assert_eq!(all(Lines::new(&b"\n"[..])).unwrap(), [b""]);
}

#[test]
fn a_quote_that_is_never_closed_names_its_place() {
    assert!(
        problem(all(Csv::new(&b"a,b\n1,\"2\n3,4\n"[..]))).contains("byte 6: a quote is opened here and never closed")
    );
    assert!(problem(all(Csv::new(&b"a,b\n1,\"2\"x\n"[..]))).contains("byte 9"));
}

#[test]
fn a_line_without_end_stops_at_the_limit() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            buffer.fill(b'x');
            self.0 += buffer.len() as u64;
            assert!(self.0 < 600 << 20, "reads on and on");
            Ok(buffer.len())
        }
    }
    assert!(problem(all(Lines::new(Endless(0)))).contains("byte 0: a record of more than 256 MiB"));
    assert!(problem(all(Csv::new(Endless(0)))).contains("byte 0: a record of more than 256 MiB"));
}

/// A ustar header.
fn header(name: &str, size: &str, kind: u8) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..124 + size.len()].copy_from_slice(size.as_bytes());
    block[136..147].copy_from_slice(b"00000000000");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block
}

fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn member(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, &format!("{:011o}", data.len()), kind).to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn ended(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    ended(&files.iter().map(|(name, data)| member(name, b'0', data)).collect::<Vec<_>>())
}

#[test]
fn a_sample_is_a_run_of_files_with_one_name_up_to_the_first_dot() {
    let bytes = archive(&[
        ("d/a.x.jpg", b"1"),
        ("d/a.cls", b"22"),
        ("d/b.jpg", b"3"),
        ("d/a.jpg", b"4"),
        ("d/.x", b""),
        ("c", b"5"),
    ]);
    for batch in [1, 1 << 20] {
        let samples = all(Tar::with_batch(Trickle(&bytes, 100), batch)).unwrap();
        let first = b"\x09\0\0\0d/a.x.jpg\x01\0\0\0\0\0\0\x001\x07\0\0\0d/a.cls\x02\0\0\0\0\0\0\x0022";
        assert_eq!(samples[0], first, "the documented bytes");
        let files: Vec<Vec<_>> = samples.iter().map(|sample| tar::files(sample).unwrap()).collect();
        let names: Vec<Vec<&[u8]>> =
            files.iter().map(|sample| sample.iter().map(|(name, _)| *name).collect()).collect();
        let expected: [&[&[u8]]; 5] = [&[b"d/a.x.jpg", b"d/a.cls"], &[b"d/b.jpg"], &[b"d/a.jpg"], &[b"d/.x"], &[b"c"]];
        assert_eq!(names, expected);
    }
    let long = "x/".repeat(80) + "a.txt";
    let pax = format!("{} path={long}\n", long.len() + 10);
    assert_eq!(pax.len(), long.len() + 10);
    for extended in [member("@", b'L', format!("{long}\0").as_bytes()), member("@", b'x', pax.as_bytes())] {
        let samples = all(Tar::new(&*ended(&[extended, member("short", b'0', b"1")]))).unwrap();
        assert_eq!(tar::files(&samples[0]).unwrap(), [(long.as_bytes(), &b"1"[..])]);
    }
    for kind in [b'5', 0] {
        let folder = ended(&[member("d/", kind, b""), member("d/a", b'0', b"1")]);
        assert_eq!(all(Tar::new(&*folder)).unwrap().len(), 1);
    }
}

#[test]
fn archives_that_lie_are_refused() {
    let good = archive(&[("a.txt", &[7; 700])]);
    for length in [0, 100, 512, 1000, 1212, 1536] {
        assert!(problem(all(Tar::new(&good[..length]))).contains("cut short"), "{length} bytes");
    }
    let refused = |bytes: Vec<u8>, words: &str| {
        let found = problem(all(Tar::new(&*bytes)));
        assert!(found.contains(words), "{words}: {found}");
    };
    refused(archive(&[("../a", b"1")]), "no name of a file inside the archive");
    refused(archive(&[("a/", b"1")]), "no name of a file inside the archive");
    refused(archive(&[("/a", b"1")]), "no name of a file inside the archive");
    refused(archive(&[("a/../../b", b"1")]), "no name of a file inside the archive");
    refused(archive(&[("a.x", b"1"), ("a.x", b"2")]), "stands twice in one sample");
    refused([good.clone(), b"x".repeat(512)].concat(), "behind the end");
    refused([good.clone(), good].concat(), "behind the end");
    refused(ended(&[header("a", "77777777777", b'0').to_vec()]), "more than 256 MiB");
    let mut huge = header("a", "", b'0');
    huge[124] = 0x80;
    huge[125..136].fill(0xff);
    seal(&mut huge);
    refused(ended(&[huge.to_vec()]), "unreadable size");
    refused(ended(&[header("a", "00000003000", b'0').to_vec()]), "cut short");
    refused(ended(&[member("a", b'S', b"1")]), "sparse");
    refused(ended(&[member("a", b'2', b"")]), "a link");
    refused(ended(&[member("a", b'1', b"")]), "a link");
    refused(ended(&[member("a", b'3', b"")]), "neither a file nor a folder");
    refused(ended(&[member("@", b'x', b"22 GNU.sparse.major=1\n"), member("a", b'0', b"1")]), "sparse");
    refused(ended(&[member("@", b'x', b"99 path=a\n"), member("a", b'0', b"1")]), "wrong length");
    refused(ended(&[member("@", b'g', b"9 size=1\n\n"), member("a", b'0', b"1")]), "every file");
    refused(ended(&[header("@", "00000400000", b'x').to_vec()]), "more than 64 KiB");
    let mut wrong = archive(&[("a", b"1")]);
    wrong[0] = b'b';
    refused(wrong, "checksum");
}

#[test]
fn a_tar_member_with_two_names_is_refused() {
    let refused = |bytes: Vec<u8>, words: &str| {
        let found = problem(all(Tar::new(&*bytes)));
        assert!(found.contains(words), "{words}: {found}");
    };
    let (long, pax) = (member("@", b'L', b"long.txt\0"), member("@", b'x', b"16 path=pax.txt\n"));
    let file = member("a.txt", b'0', b"1");
    // Python takes whichever stands first, GNU tar the one of pax.
    refused(ended(&[long.clone(), pax.clone(), file.clone()]), "two names");
    refused(ended(&[pax, long, file.clone()]), "two names");
    // A name that only one of two readers puts together: Python prepends what other headers keep there.
    let mut gnu = header("a.txt", "00000000000", b'0');
    gnu[257..265].copy_from_slice(b"ustar  \0");
    gnu[345..350].copy_from_slice(b"other");
    seal(&mut gnu);
    refused(ended(&[gnu.to_vec()]), "prefix");
}

#[test]
fn a_tar_folder_that_carries_a_file_is_refused() {
    // Python sees a folder here and reads the data as the next header; others see a file.
    let hidden = member("b.txt", b'0', b"hidden");
    let carried = ended(&[member("@", b'x', b"14 path=a.txt\n"), member("d/", 0, &hidden)]);
    let found = problem(all(Tar::new(&*carried)));
    assert!(found.contains("a folder with data"), "{found}");
    let found = problem(all(Tar::new(&*ended(&[member("@", b'L', b"a.txt\0"), member("d/", 0, b"")]))));
    assert!(found.contains("a folder"), "{found}");
}

#[test]
fn a_tar_header_that_ends_the_archive_for_python_is_refused() {
    for at in [100, 108, 116, 136, 329, 337] {
        let mut second = header("b.txt", "00000000000", b'0');
        second[at] = b'x';
        seal(&mut second);
        let found = problem(all(Tar::new(&*ended(&[member("a.txt", b'0', b"1"), second.to_vec()]))));
        assert!(found.contains("no number"), "byte {at}: {found}");
        // Numbers of base 256, blanks and nothing are numbers.
        for first in [0x80, 0xff, b' ', 0] {
            let mut second = header("b.txt", "00000000000", b'0');
            second[at..at + 8].fill(0);
            second[at] = first;
            seal(&mut second);
            assert_eq!(all(Tar::new(&*ended(&[second.to_vec()]))).unwrap().len(), 1);
        }
    }
}

#[test]
fn a_pax_number_with_a_sign_is_refused() {
    for record in [&b"+14 path=b.txt\n"[..], b"11 size=+1\n"] {
        let bytes = ended(&[member("@", b'x', record), member("a.txt", b'0', b"1")]);
        assert!(all(Tar::new(&*bytes)).is_err(), "{:?}", String::from_utf8_lossy(record));
    }
}

#[test]
fn rows_that_only_some_readers_see_are_refused() {
    // A lone CR ends a row for pandas and Arrow.
    for text in ["h\na\rb\n", "h\na\r", "h\r\na\r\r\n", "h\r", "h\n\ra\n"] {
        assert!(problem(all(Csv::new(text.as_bytes()))).contains("carriage return"), "{text:?}");
    }
    assert_eq!(all(Csv::new(&b"h\r\n\"a\rb\"\r\n"[..])).unwrap(), [b"\"a\rb\""]);
    // Behind a byte order mark a quote opens a field for those who take the mark away.
    let marked = "\u{feff}\"a\nb\",c\n1,2\n";
    assert!(problem(all(Csv::new(marked.as_bytes()))).contains("byte order mark"));
    assert_eq!(all(Csv::new("\u{feff}a,b\n1,2\n".as_bytes())).unwrap(), [b"1,2"]);
}

#[test]
fn a_warc_header_with_space_before_its_colon_is_refused() {
    // Readers that trim names see a second length.
    let good = capture("response", "u", "hello", 5);
    let bad = good.replace("WARC-Record-ID", "Content-Length : 9\r\nWARC-Record-ID");
    let found = problem(all(Warc::new(bad.as_bytes())));
    assert!(found.contains("white space"), "{found}");
}

fn capture(kind: &str, url: &str, block: &str, length: usize) -> String {
    format!(
        "WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-02T03:04:05Z\r\n\
         WARC-Record-ID: <urn:uuid:0>\r\nContent-Length: {length}\r\n\r\n{block}\r\n\r\n"
    )
}

#[test]
fn captures_are_bound_with_url_and_date() {
    let bytes = capture("response", "https://a.example/", "hello", 5) + &capture("metadata", "", "", 0);
    let records = all(Warc::with_batch(Trickle(bytes.as_bytes(), 11), 1)).unwrap();
    let parts = warc::parts(&records[0]).unwrap();
    assert_eq!(parts, [&b"response"[..], b"https://a.example/", b"2026-01-02T03:04:05Z", b"hello"]);
    let expected =
        b"\x08\0\0\0response\x12\0\0\0https://a.example/\x14\0\0\x002026-01-02T03:04:05Z\x05\0\0\0\0\0\0\0hello";
    assert_eq!(records[0], expected, "the documented bytes");
    assert_eq!(records.len(), 2);
}

#[test]
fn web_archives_that_lie_are_refused() {
    let refused = |bytes: &str, words: &str| {
        let found = problem(all(Warc::new(bytes.as_bytes())));
        assert!(found.contains(words), "{words}: {found}");
    };
    let good = capture("response", "u", "hello", 5);
    for length in [3, 40, good.len() - 6, good.len() - 2] {
        assert!(all(Warc::new(&good.as_bytes()[..length])).is_err(), "cut at {length}");
    }
    refused(&capture("response", "u", "hello", 4), "does not end");
    refused(&capture("response", "u", "hello", 6), "does not end");
    refused(&capture("response", "u", "hello", 4000), "are left");
    refused(&capture("response", "u", "hello", 1 << 40), "more than 256 MiB");
    refused(&good.replace("Content-Length: 5", "Content-Length: -5"), "unreadable Content-Length");
    refused(&good.replace("Content-Length: 5", "Content-Length: 5\r\ncontent-length: 5"), "two Content-Length");
    refused(&good.replace("Content-Length: 5", "X: 5"), "no Content-Length");
    refused(&good.replace("WARC-Date", "warc-target-uri"), "two WARC-Target-URI");
    refused(&good.replace("WARC/1.1", "HTTP/1.1"), "no WARC/1.0 or WARC/1.1");
    refused(&format!("WARC/1.1\r\nX: {}\r\n\r\n", "x".repeat(70_000)), "64 KiB");
}
