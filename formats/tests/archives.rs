//! NumPy and PyTorch files, and the ZIP archives they are made of: what is read, and what must be refused.

#[path = "common/foreign.rs"]
mod foreign;

use countermark_formats::Tensors;
use foreign::{How, all, files, npy, npy_of, open, plain, read, refused, zip};
use proptest::prelude::*;

const X: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24];

#[test]
fn numpy_dtypes_and_orders() {
    for (descr, fortran, shape, dtype, expected) in [
        ("<f4", false, "(2, 3)", "F32", vec![2, 3]),
        ("<f4", true, "(2, 3)", "F32 fortran", vec![2, 3]),
        ("<f4", true, "(6,)", "F32", vec![6]),
        (">f4", false, "(2, 3)", ">f4", vec![2, 3]),
        ("|u1", false, "(24,)", "U8", vec![24]),
        ("|b1", false, "(2,3,4)", "BOOL", vec![2, 3, 4]),
        ("<i8", false, "(3, 1)", "I64", vec![3, 1]),
        ("<c8", false, "(3, 1)", "C64", vec![3, 1]),
        ("<U3", false, "(2,)", "<U3", vec![2]),
        ("<M8[ns]", false, "(3,)", "<M8[ns]", vec![3]),
        ("|V2", false, "(12,)", "|V2", vec![12]),
        ("|O", false, "(99,)", "|O", vec![99]),
    ] {
        let found = all("w.npy", &npy_of(descr, fortran, shape, &X));
        assert_eq!(found.len(), 1, "{descr}");
        assert_eq!((&*found[0].0.name, &*found[0].0.dtype, &found[0].0.shape), ("w", dtype, &expected));
        assert_eq!(found[0].1, X);
    }
    let structured = npy("{'descr': [('a', '<f4'), ('b', '<i4', (2,))], 'fortran_order': False, 'shape': (2,)}", &X);
    assert_eq!(all("w.npy", &structured)[0].0.dtype, "[('a', '<f4'), ('b', '<i4', (2,))]");
    assert_eq!(all("w.npy", &npy_of("<f8", false, "()", &X[..8]))[0].0.shape, [0; 0]);
    assert_eq!(all("w.npy", &npy_of("<f8", false, "(0, 5)", &[]))[0].0.bytes, 0);
}

#[test]
fn numpy_headers_that_must_be_refused() {
    let refuse = |dictionary: &str, words: &str| refused("w.npy", &npy(dictionary, &X), words);
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4)}", "does not fit 24 bytes");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}", "does not fit 24 bytes");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", "exceeds 64 bits");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (0,)}", "does not fit 24 bytes");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (6)}", "needs a comma");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (-6,)}", "an extent is expected");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "an extent is expected");
    refuse("{'descr': '<f4', 'fortran_order': 0, 'shape': (6,)}", "True or False is expected");
    refuse("{'descr': '<f4', 'fortran_order': False}", "\"shape\" is missing");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), 'x': 1}", "unknown key");
    refuse("{'descr': '<f4', 'descr': '<i4', 'fortran_order': False, 'shape': (6,)}", "appears twice");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (6,)} + 1", "something follows");
    refuse("{'descr': '\\x3cf4', 'fortran_order': False, 'shape': (6,)}", "without escapes");
    refuse(
        "{'descr': [('a', __import__('os'))], 'fortran_order': False, 'shape': (6,)}",
        "structured dtype is expected",
    );
    refuse("{'descr': [('a', '<f4'), 'fortran_order': False, 'shape': (6,)}", "structured dtype is expected");
    refuse(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({})}}", "1,".repeat(65)), "dimensions");
    let mut versions = npy_of("<f4", false, "(6,)", &X);
    versions[6] = 4;
    refused("w.npy", &versions, "version 4");
    refused("w.npy", b"\x93NUMPY\x02\0\xff\xff\xff\xff", "at most");
    refused("w.npy", &npy_of("<f4", false, "(6,)", &X)[..30], "the file ends before");
    refused("w.npy", b"PK\x03\x04aaaaaaaa", "does not begin with");
}

#[test]
fn archives_of_arrays() {
    let (x, y) = (npy_of("<f4", false, "(2, 3)", &X), npy_of("<i2", true, "(3, 4)", &X));
    let deflated = How { deflated: true, ..How::default() };
    let wide = How { wide: true, ..How::default() };
    let archive = zip(&[("x.npy", &x, wide), ("y.npy", &y, deflated), ("note", b"text", deflated)], false);
    let found = all("w.npz", &archive);
    let names: Vec<(&str, &str)> = found.iter().map(|(tensor, _)| (&*tensor.name, &*tensor.dtype)).collect();
    assert_eq!(names, [("note", "bytes"), ("x", "F32"), ("y", "I16 fortran")]);
    assert_eq!((&found[0].1[..], &found[1].1[..], &found[2].1[..]), (&b"text"[..], &X[..], &X[..]));

    let two = open(&[("a/w.npz", &archive), ("b.npy", &x), ("README.md", b"")]).unwrap();
    let names: Vec<&str> = two.list().iter().map(|tensor| &*tensor.name).collect();
    assert_eq!(names, ["a/w.npz/note", "a/w.npz/x", "a/w.npz/y", "b"]);
}

#[test]
fn torch_files_by_their_storages() {
    let members = plain(&[("m/data.pkl", b"\x80\x02."), ("m/data/0", &X), ("m/version", b"3\n")]);
    let streamed: Vec<_> =
        members.iter().map(|(n, b, _)| (*n, *b, How { descriptor: true, ..How::default() })).collect();
    for file in [zip(&members, false), zip(&streamed, true)] {
        for ending in ["m.pt", "m.pth", "pytorch_model.bin", "m.ckpt"] {
            let found = all(ending, &file);
            let names: Vec<&str> = found.iter().map(|(tensor, _)| &*tensor.name).collect();
            assert_eq!(names, ["data.pkl", "data/0", "version"]);
            assert_eq!((&*found[1].0.dtype, &found[1].0.shape[..], &found[1].1[..]), ("bytes", &[24][..], &X[..]));
        }
    }
    let file = zip(&streamed, true);
    let shards = open(&[("a.bin", &file), ("b.bin", &file)]).unwrap();
    assert_eq!(shards.list().len(), 6);
    assert!(shards.find("a.bin/data/0").is_some() && shards.find("b.bin/data.pkl").is_some());
    refused("m.pt", &zip(&plain(&[("m/data.pkl", b"."), ("n/data/0", &X)]), true), "is not in \"m\"");
}

#[test]
fn pickles_and_foreign_files_are_no_weights() {
    let none = |path: &str, bytes: &[u8]| assert!(Tensors::open(&files(&[(path, bytes)])).unwrap().is_none(), "{path}");
    none("legacy.pt", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.");
    none("vocabulary.bin", &X);
    none("archive.bin", &zip(&plain(&[("readme.txt", &X)]), false));
    none("train.parquet", &X);
    let pickle = open(&[("m.safetensors", b"\x80\x02}q\x00.      ")]).err().unwrap().to_string();
    assert!(pickle.contains("convert it to safetensors"), "{pickle}");
}

#[test]
fn distributed_checkpoints_archive_by_archive() {
    let one = |bytes: &[u8]| {
        let how = How { descriptor: true, ..How::default() };
        zip(&[("archive/data.pkl", b"\x80\x02.", how), ("archive/data/0", bytes, how)], true)
    };
    let rank = [one(&X), one(&X[..3]), one(&X[4..])].concat();
    let list: [(&str, &[u8]); 3] = [("__0_0.distcp", &rank), (".metadata", b"\x80\x04."), ("sub/.metadata", b"no")];
    let tensors = open(&list).unwrap();
    let names: Vec<&str> = tensors.list().iter().map(|tensor| &*tensor.name).collect();
    let expected = ["0/data.pkl", "0/data/0", "1/data.pkl", "1/data/0", "2/data.pkl", "2/data/0"];
    assert_eq!(names[0], ".metadata");
    assert_eq!(names[1..], expected.map(|name| format!("__0_0.distcp/{name}")));
    assert_eq!(read(&tensors, 4).unwrap(), X[..3]);

    refused("__0_0.distcp", &[&rank[..], b"x"].concat(), "no end record");
    refused("__0_0.distcp", &[b"x", &rank[..]].concat(), "too short");
    refused("__0_0.distcp", &[&one(&X)[..], b"gap", &one(&X)[..]].concat(), "no end record");
    refused("__0_0.distcp", &rank[1..], "not possible");
    refused("__0_0.distcp", &zip(&[], false), "an archive without members");
}

/// Replaces the `nth` place where `from` stands.
fn replaced(file: &[u8], from: &[u8], nth: usize, to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut places = file.windows(from.len()).enumerate().filter(|(_, part)| *part == from).map(|(at, _)| at);
    let at = places.nth(nth).expect("it stands there");
    [&file[..at], to, &file[at + to.len()..]].concat()
}

#[test]
fn archives_that_two_readers_could_understand_differently() {
    let members = plain(&[("m/data.pkl", b"pickle"), ("m/data/0", &X)]);
    let file = zip(&members, false);
    let refuse = |file: &[u8], words: &str| refused("w.npz", file, words);
    // Directory and local header disagree: on the name, on the size, on the method.
    refuse(&replaced(&file, b"m/data/0", 0, b"m/data/1"), "local header is not what the directory says");
    refuse(&replaced(&file, b"m/data/0", 1, b"m/data/1"), "local header is not what the directory says");
    let size = [&24u32.to_le_bytes()[..], &24u32.to_le_bytes()].concat();
    let less = [&23u32.to_le_bytes()[..], &23u32.to_le_bytes()].concat();
    refuse(&replaced(&file, &size, 0, &less), "local header is not what the directory says");
    refuse(&replaced(&file, &size, 1, &less), "local header is not what the directory says");
    refuse(&replaced(&file, &size, 1, &[&25u32.to_le_bytes()[..], &24u32.to_le_bytes()].concat()), "two sizes");
    // The same name twice, and bytes that belong to no member.
    refuse(&zip(&plain(&[("a", &X), ("a", &X)]), false), "appears twice");
    refuse(&[&file[..], b"appended"].concat(), "no end record");
    refuse(&[b"#!/bin/sh\n", &file[..]].concat(), "stand before the archive");
    let directory = file.windows(4).position(|part| part == b"PK\x01\x02").unwrap();
    refuse(&[&file[..directory], b"hidden", &file[directory..]].concat(), "byte 6: member");
    // One member's bytes shown as another's: two entries with one offset.
    let second = file.windows(4).rposition(|part| part == b"PK\x03\x04").unwrap() as u32;
    refuse(
        &replaced(&file, &[&second.to_le_bytes()[..], b"m/data/0"].concat(), 0, b"\0\0\0\0m/data/0"),
        "no room for its local",
    );
    let inside = [&(second - 1).to_le_bytes()[..], b"m/data/0"].concat();
    refuse(&replaced(&file, &[&second.to_le_bytes()[..], b"m/data/0"].concat(), 0, &inside), "reach into the next");
    // Encrypted, of several disks, with a comment that hides a second end.
    let mut encrypted = file.clone();
    encrypted[directory + 8] |= 1;
    refuse(&encrypted, "encrypted");
    let mut disks = file.clone();
    disks[file.len() - 18] = 1;
    refuse(&disks, "several disks");
    let mut comment = file.clone();
    comment[file.len() - 2] = 4;
    refuse(&[&comment[..], b"note"].concat(), "no end record");
    refuse(&file[..file.len() - 1], "no end record");
    refuse(b"PK\x05\x06", "too short");
    let mut many = file.clone();
    many[file.len() - 14] = 1;
    many[file.len() - 12] = 1;
    refuse(&many, "2 members, not 1");
    let mut bzip = file.clone();
    (bzip[8], bzip[directory + 10]) = (12, 12);
    refuse(&bzip, "neither stored nor deflated");
}

/// A member's directory entry and local header with this extra field appended.
fn with_extra(name: &str, extra: &[u8], flags: u16) -> Vec<u8> {
    let mut file = b"PK\x03\x04\x2d\0".to_vec();
    file.extend(flags.to_le_bytes());
    file.extend([0; 6]);
    let sizes = [foreign::crc32(&X), X.len() as u32, X.len() as u32].map(u32::to_le_bytes).concat();
    file.extend(&sizes);
    file.extend([name.len() as u8, 0, 0, 0]);
    file.extend(name.as_bytes());
    file.extend(X);
    let at = file.len() as u32;
    file.extend(b"PK\x01\x02\x2d\0\x2d\0");
    file.extend(flags.to_le_bytes());
    file.extend([0; 6]);
    file.extend(&sizes);
    file.extend([name.len() as u8, 0, extra.len() as u8]);
    file.extend([0; 15]);
    file.extend(name.as_bytes());
    file.extend(extra);
    let size = file.len() as u32 - at;
    file.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    file.extend(size.to_le_bytes());
    file.extend(at.to_le_bytes());
    file.extend([0, 0]);
    file
}

#[test]
fn a_second_name_of_a_member_is_refused() {
    assert_eq!(all("w.npz", &with_extra("weights", &[], 0)).len(), 1);
    // Info-ZIP's Unicode path (4.6.9), which Python 3.13 takes for the name and older ones pass over.
    let mut other = vec![0x75, 0x70, 5 + 5, 0, 1];
    other.extend(foreign::crc32(b"weights").to_le_bytes());
    other.extend(b"other");
    refused("w.npz", &with_extra("weights", &other, 0), "a second name");
}

#[test]
fn a_name_in_an_encoding_that_nobody_told_is_refused() {
    assert_eq!(all("w.npz", &with_extra("gewicht-ü", &[], 0x800))[0].0.name, "gewicht-ü");
    // Without the flag it is code page 437 to Python: another name.
    refused("w.npz", &with_extra("gewicht-ü", &[], 0), "not marked as UTF-8");
}

#[test]
fn one_key_of_an_npz_for_two_members_is_refused() {
    let (x, y) = (npy_of("<f4", false, "(2, 3)", &X), npy_of("<i2", true, "(3, 4)", &X));
    // NumPy answers `npz["x.npy"]` with the member `x.npy`, never with `x.npy.npy`.
    refused("w.npz", &zip(&plain(&[("x.npy", &x), ("x.npy.npy", &y)]), false), "two members");
    refused("w.npz", &zip(&plain(&[("x.npy", &x), ("x", &y)]), false), "two members");
    refused("w.npz", &zip(&plain(&[(".npy", &x)]), false), "no name");
}

#[test]
fn members_that_pytorch_cannot_tell_apart_are_refused() {
    // Its reader looks names up without regard to the case of ASCII letters.
    let file = |one, other| zip(&plain(&[("m/version", b"3"), (one, b"1"), (other, b"2")]), false);
    assert_eq!(all("m.pt", &file("m/data.pkl", "m/data.pk")).len(), 3);
    refused("m.pt", &file("m/data.pkl", "m/DATA.pkl"), "upper and lower case");
}

#[test]
fn a_dtype_without_byte_order_is_refused() {
    // `U8` is text of eight characters to NumPy, and would be taken for safetensors' unsigned bytes.
    for descr in ["U8", "F32", "f4", "float32", "BOOL", "bytes"] {
        refused("w.npy", &npy_of(descr, false, "(24,)", &X), "begins with <, >, | or =");
    }
    for descr in ["<f+4", "|V+1", "<q8", "<f"] {
        refused("w.npy", &npy_of(descr, false, "(24,)", &X), "a dtype");
    }
}

#[test]
fn a_header_before_version_3_is_latin_1() {
    let fields = "{'descr': [('\u{e9}', '<f4')], 'fortran_order': False, 'shape': (6,)}";
    let mut third = npy(fields, &X);
    let length = (third.len() - 10 - X.len()) as u32;
    third.splice(6..10, [3, 0].into_iter().chain(length.to_le_bytes()));
    assert_eq!(all("w.npy", &third)[0].0.dtype, "[('\u{e9}', '<f4')]");
    // The same bytes say another field name to NumPy in version 1.
    refused("w.npy", &npy(fields, &X), "version 3");
}

#[test]
fn the_two_end_records_must_agree() {
    let file = zip(&plain(&[("m/data.pkl", b"pickle"), ("m/data/0", &X)]), true);
    assert_eq!(all("m.pt", &file).len(), 2);
    let end = file.len() - 22;
    for at in [end + 10, end + 12, end + 16, end - 20 + 8, end - 76 + 24, end - 76 + 32, end - 76 + 40, end - 76 + 48] {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(open(&[("m.pt", &changed)]).is_err(), "byte {at}");
    }
}

#[test]
fn bombs_and_lying_sizes() {
    let zeros = vec![0; 3_000_000];
    let how = How { deflated: true, ..How::default() };
    let bomb = zip(&[("zeros", &zeros, how)], false);
    assert!(bomb.len() < 20_000, "{}", bomb.len());
    assert!(all("w.npz", &bomb)[0].1 == zeros);
    // A size beyond what deflate can give is refused before anything is inflated; another wrong one while reading.
    let told = 3_000_000u32.to_le_bytes();
    let lie = |size: u32| {
        let once = replaced(&bomb, &told, 0, &size.to_le_bytes());
        replaced(&once, &told, 0, &size.to_le_bytes())
    };
    refused("w.npz", &lie(u32::MAX - 1), "two sizes are not possible together");
    for (size, words) in [(3_000_001, "fewer bytes"), (2_999_999, "more bytes"), (0, "more bytes")] {
        let tensors = open(&[("w.npz", &lie(size))]).unwrap();
        let error = read(&tensors, 0).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(words), "{error}");
    }
    let crc = foreign::crc32(&zeros).to_le_bytes();
    let once = replaced(&bomb, &crc, 0, &[1, 2, 3, 4]);
    let tensors = open(&[("w.npz", &replaced(&once, &crc, 0, &[1, 2, 3, 4]))]).unwrap();
    assert!(read(&tensors, 0).unwrap_err().to_string().contains("CRC-32"));
}

proptest! {
    #[test]
    fn what_was_packed_is_what_is_read(
        members in prop::collection::btree_map("[a-z/]{1,12}", (prop::collection::vec(any::<u8>(), 0..300), any::<[bool; 3]>()), 1..8),
        end64: bool,
    ) {
        let list: Vec<(&str, &[u8], How)> = members.iter().map(|(name, (bytes, [deflated, descriptor, wide]))| {
            (&**name, &**bytes, How { deflated: *deflated, descriptor: *descriptor, wide: *wide })
        }).collect();
        let found = all("w.npz", &zip(&list, end64));
        prop_assert_eq!(found.len(), list.len());
        for ((tensor, bytes), (name, expected, _)) in found.iter().zip(&list) {
            prop_assert_eq!((&*tensor.name, &**bytes, tensor.bytes), (*name, *expected, expected.len() as u64));
        }
    }

    /// Whatever stands in a file, nothing panics, and what is listed reads to its end or says why not.
    #[test]
    fn damaged_files_never_panic(place: prop::sample::Index, value: u8, cut: prop::sample::Index, pick in 0..4_usize) {
        let array = npy_of("<f4", false, "(2, 3)", &X);
        let how = How { deflated: true, descriptor: true, wide: false };
        let (path, mut file) = match pick {
            0 => ("w.npy", array),
            1 => ("w.npz", zip(&[("x.npy", &array, how), ("y", &X, How::default())], false)),
            2 => ("w.pt", zip(&[("m/data.pkl", &X, how), ("m/data/0", &X, How::default())], true)),
            _ => ("w.distcp", [zip(&[("m/data.pkl", &X, how)], true), zip(&[("m/data.pkl", &X, how)], true)].concat()),
        };
        let at = place.index(file.len());
        file[at] = value;
        if value % 3 == 0 {
            file.truncate(cut.index(file.len() + 1));
        }
        if let Ok(Some(tensors)) = Tensors::open(&files(&[(path, &file)])) {
            for index in 0..tensors.list().len() {
                let _ = read(&tensors, index);
            }
        }
    }
}
