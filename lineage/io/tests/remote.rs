//! Remote artifacts: against an S3-compatible server, and against servers that lie.
//!
//! The first needs `COUNTERMARK_S3`, which `fixtures/services/s3.sh` sets.
#![cfg(feature = "object-store")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use countermark_formats::ReadAt as _;
use countermark_io::files;
use countermark_lineage::digest::artifact::Artifact;
use countermark_lineage::digest::{Hash, blob, parts};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _};

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8 ^ (i >> 20) as u8).collect()
}

/// A bucket of its own for each test, or `None` without a server.
fn bucket(name: &str) -> Option<Arc<dyn ObjectStore>> {
    let Ok(server) = std::env::var("COUNTERMARK_S3") else {
        eprintln!("skipped: remote: COUNTERMARK_S3 is not set; run fixtures/services/s3.sh");
        return None;
    };
    put(&server, name);
    // The crate's own client for the other direction; as everywhere, a provider of cryptography must be named.
    let _ = rustls_provider();
    Some(Arc::new(AmazonS3Builder::from_env().with_bucket_name(name).build().unwrap()))
}

/// An unsigned request that makes a bucket, or makes what is there public.
fn put(server: &str, path: &str) {
    let address = server.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("PUT /{path} HTTP/1.1\r\nHost: {address}\r\nx-amz-acl: public-read\r\nContent-Length: 0");
    write!(stream, "{head}\r\nConnection: close\r\n\r\n").unwrap();
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).unwrap();
    assert!(status.contains(" 200 ") || status.contains(" 409 "), "{status}");
}

/// Opening anything has the library name one.
fn rustls_provider() -> bool {
    files::exists(Path::new("http://127.0.0.1:1/x"))
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap())
}

fn upload(store: &Arc<dyn ObjectStore>, key: &str, bytes: &[u8]) {
    runtime().block_on(store.put(&Key::from(key), bytes.to_vec().into())).unwrap();
}

fn open(url: &str) -> Artifact {
    files::open(Path::new(url)).unwrap_or_else(|error| panic!("{url}: {error}"))
}

#[test]
fn an_object_a_prefix_and_a_plain_url() {
    let Some(store) = bucket("reading") else { return };
    let big = pattern((40 << 20) + 12345);
    upload(&store, "model/big.bin", &big);
    upload(&store, "model/sub/small.txt", b"hello");
    upload(&store, "model/empty", b"");
    upload(&store, "model/README.md", b"# card");
    upload(&store, "model/model.sig", b"signature");
    upload(&store, "model2/other", b"not below model/");

    let one = open("s3://reading/model/big.bin");
    let measured = one.measure(&|_| ()).unwrap();
    assert_eq!((one.is_folder, measured.root), (false, Hash::blake3(&big)));
    assert_eq!(measured.manifest_asset, Hash::sha256(&big));
    let server = std::env::var("COUNTERMARK_S3").unwrap();
    put(&server, "reading/model/big.bin?acl");
    let plain = open(&format!("{server}/reading/model/big.bin"));
    assert_eq!(plain.measure(&|_| ()).unwrap().root, Hash::blake3(&big));

    // The same folder here has the same root.
    let local = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(local.path().join("sub")).unwrap();
    for (name, bytes) in [("big.bin", &*big), ("sub/small.txt", b"hello"), ("empty", b""), ("README.md", b"# card")] {
        std::fs::write(local.path().join(name), bytes).unwrap();
    }
    let here = files::open(local.path()).unwrap().measure(&|_| ()).unwrap();
    for url in ["s3://reading/model", "s3://reading/model/"] {
        let folder = open(url);
        assert_eq!(folder.measure(&|_| ()).unwrap(), here, "{url}");
        assert_eq!(folder.provenance.len(), 1);
    }

    // A part by ranges alone.
    let part = parts::hash_part(&*one.files[0].1, 16 << 20, 16 << 20).unwrap();
    assert_eq!(part, parts::hash_part(&big, 16 << 20, 16 << 20).unwrap());
    assert_eq!(files::read(Path::new("s3://reading/model/sub/small.txt"), 100).unwrap(), b"hello");
    files::read(Path::new("s3://reading/model/big.bin"), 100).unwrap_err();
    for url in ["s3://reading/nothing", "s3://no-such-bucket/x", "s3://reading", "s3://reading/model/big.bin?x=1"] {
        assert!(files::open(Path::new(url)).is_err(), "{url}");
    }
}

#[test]
fn an_object_that_changes_is_noticed() {
    let Some(store) = bucket("changing") else { return };
    let bytes = pattern(20 << 20);
    upload(&store, "x", &bytes);
    let opened = open("s3://changing/x");
    let mut changed = bytes.clone();
    changed[19 << 20] ^= 1;
    upload(&store, "x", &changed);
    let error = blob::hash(&*opened.files[0].1).unwrap_err().to_string();
    assert!(error.contains("changed while it was read"), "{error}");
    // In the middle of a pass: the first part is read, then another object lies there.
    upload(&store, "x", &bytes);
    let opened = open("s3://changing/x");
    let once = std::sync::Once::new();
    let error = blob::hash_with(&*opened.files[0].1, &|_| once.call_once(|| upload(&store, "x", &changed)));
    assert!(error.unwrap_err().to_string().contains("changed while it was read"));
    // A new name below a prefix.
    upload(&store, "folder/a", b"a");
    let folder = open("s3://changing/folder");
    upload(&store, "folder/b", b"b");
    assert!(folder.measure(&|_| ()).is_err());
}

/// A web server that answers every request with what `answer` makes of its method and range.
fn server(answer: impl Fn(&str, Option<(u64, u64)>, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), answer) = (stream, answer.clone()) else { return };
            std::thread::spawn(move || {
                let (mut method, mut range) = (String::new(), None);
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let Ok(line) = line else { return };
                    if method.is_empty() {
                        method = line.split(' ').next().unwrap_or_default().to_owned();
                    }
                    let lower = line.to_lowercase();
                    if let Some((from, to)) = lower.strip_prefix("range: bytes=").and_then(|text| text.split_once('-'))
                    {
                        range = Some((from.parse().unwrap(), to.parse().unwrap()));
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                answer(&method, range, &mut stream);
            });
        }
    });
    format!("http://{address}/file.bin")
}

fn say(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").and_then(|()| stream.write_all(body));
}

fn problem(url: &str) -> String {
    match files::open(Path::new(url)).map(|artifact| artifact.measure(&|_| ())) {
        Ok(Ok(measured)) => panic!("a root: {measured:?}"),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}

const SIZE: u64 = 3000;

#[test]
fn an_honest_server_of_ranges_gives_the_hash() {
    let bytes = pattern(SIZE as usize);
    let body = bytes.clone();
    let url = server(move |method, range, stream| match (method, range) {
        ("HEAD", _) => say(stream, &format!("200 OK\r\nContent-Length: {SIZE}\r\nETag: W/\"1\""), b""),
        (_, Some((from, to))) => {
            let part = &body[from as usize..=to as usize];
            let head = format!(
                "206 Partial\r\nETag: W/\"1\"\r\nContent-Range: bytes {from}-{to}/{SIZE}\r\nContent-Length: {}",
                part.len()
            );
            say(stream, &head, part);
        }
        _ => say(stream, "200 OK\r\nContent-Length: 3000", &body),
    });
    assert_eq!(open(&url).measure(&|_| ()).unwrap().root, Hash::blake3(&bytes));
}

#[test]
fn servers_that_lie_give_no_digest() {
    type Lie = fn(u64, u64, &mut TcpStream);
    let lies: [(&str, Lie); 7] = [
        ("ignores the range", |_, _, stream| say(stream, "200 OK\r\nContent-Length: 3000\r\nETag: \"1\"", &[0; 3000])),
        ("another range", |_, to, stream| {
            let head = format!("206 P\r\nETag: \"1\"\r\nContent-Range: bytes 1-{to}/3000\r\nContent-Length: 2999");
            say(stream, &head, &[0; 2999]);
        }),
        ("another size", |from, to, stream| {
            let head = format!("206 P\r\nETag: \"1\"\r\nContent-Range: bytes {from}-{to}/9000\r\nContent-Length: 3000");
            say(stream, &head, &[0; 3000]);
        }),
        ("another etag", |from, to, stream| {
            let head = format!("206 P\r\nETag: \"2\"\r\nContent-Range: bytes {from}-{to}/3000\r\nContent-Length: 3000");
            say(stream, &head, &[0; 3000]);
        }),
        ("too short", |from, to, stream| {
            let head = format!("206 P\r\nETag: \"1\"\r\nContent-Range: bytes {from}-{to}/3000\r\nContent-Length: 100");
            say(stream, &head, &[0; 100]);
        }),
        ("endless", |from, to, stream| {
            let head = format!(
                "206 P\r\nETag: \"1\"\r\nContent-Range: bytes {from}-{to}/3000\r\nContent-Length: {}",
                1_u64 << 40
            );
            say(stream, &head, b"");
            while stream.write_all(&[0; 65536]).is_ok() {}
        }),
        ("no etag any more", |from, to, stream| {
            let head = format!("206 P\r\nContent-Range: bytes {from}-{to}/3000\r\nContent-Length: 3000");
            say(stream, &head, &[0; 3000]);
        }),
    ];
    for (what, lie) in lies {
        let url = server(move |method, range, stream| match (method, range) {
            ("HEAD", _) => say(stream, "200 OK\r\nContent-Length: 3000\r\nETag: \"1\"", b""),
            (_, Some((from, to))) => lie(from, to, stream),
            _ => say(stream, "500 X\r\nContent-Length: 0", b""),
        });
        println!("{what}: {}", problem(&url));
    }
}

/// A size that no memory holds: nothing is allocated for it, and the first missing byte ends it.
#[test]
fn a_vast_object_costs_nothing() {
    let size = u64::MAX / 2;
    let url = server(move |method, range, stream| match (method, range) {
        ("HEAD", _) => say(stream, &format!("200 OK\r\nContent-Length: {size}\r\nETag: \"1\""), b""),
        (_, Some((from, to))) => {
            let head = format!("206 P\r\nETag: \"1\"\r\nContent-Range: bytes {from}-{to}/{size}\r\nContent-Length: 5");
            say(stream, &head, b"12345");
        }
        _ => {}
    });
    assert!(problem(&url).contains("bytes"), "{}", problem(&url));
}

/// The connection breaks in the middle once; the part is asked for again.
#[test]
fn a_broken_connection_is_tried_again() {
    let bytes = pattern(SIZE as usize);
    let (body, count) = (bytes.clone(), AtomicUsize::new(0));
    let url = server(move |method, range, stream| match (method, range) {
        ("HEAD", _) => say(stream, &format!("200 OK\r\nContent-Length: {SIZE}\r\nETag: \"1\""), b""),
        (_, Some((from, to))) => {
            let part = &body[from as usize..=to as usize];
            let whole = part.len();
            let cut = if count.fetch_add(1, Ordering::Relaxed) == 0 { whole / 2 } else { whole };
            let head = format!(
                "206 Partial\r\nETag: \"1\"\r\nContent-Range: bytes {from}-{to}/{SIZE}\r\nContent-Length: {whole}"
            );
            say(stream, &head, &part[..cut]);
        }
        _ => {}
    });
    assert_eq!(open(&url).measure(&|_| ()).unwrap().root, Hash::blake3(&bytes));
}

#[test]
fn urls_that_are_none() {
    for url in ["http://127.0.0.1:1/x", "ftp://example.org/x", "s3://", "https:///x", "http://127.0.0.1:1/"] {
        assert!(files::open(Path::new(url)).is_err(), "{url}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "a").unwrap();
    let url = format!("file://{}/a", folder.path().display());
    let here = files::open(Path::new(&url)).unwrap();
    assert_eq!(here.measure(&|_| ()).unwrap().root, Hash::blake3(b"a"));
    assert_eq!(here.files[0].1.len(), 1);
}
