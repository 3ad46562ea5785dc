//! Logs in temporary folders, and a small HTTP client and server.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use countermark_io::keys;
use countermark_io::log::Log;
use countermark_lineage::anchor::entry::{Entry, EntryType};
use countermark_lineage::digest::Hash;
use ed25519_dalek::SigningKey;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

/// Signed entries, each other than all others.
pub fn entries(seed: &str, count: usize) -> Vec<Vec<u8>> {
    let key = keys::generate();
    let entry = |number| {
        let object = Hash::sha256(format!("{seed} {number}").as_bytes());
        let signer = key.verifying_key().into();
        let entry = Entry { entry_type: EntryType::Release, object, root: object, statement: object, signer };
        entry.sign(&key).unwrap()
    };
    (0..count).map(entry).collect()
}

/// A log with signed entries behind its genesis.
pub fn log(folder: &Path, count: usize) -> Log {
    let log = Log::create(folder, Some("log.example")).unwrap();
    log.append(&entries("first", count)).unwrap();
    log
}

pub fn key_of(folder: &Path) -> SigningKey {
    keys::load_ed25519(&folder.join(".state/log.key")).unwrap()
}

/// A copy of a folder.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &to) } else { assert!(std::fs::copy(&path, &to).is_ok()) }
    }
}

/// Every file below a folder but for private ones.
pub fn public(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with(".state") {
                continue;
            }
            if path.is_dir() { waiting.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Status, head and body of one request, sent as it is.
pub fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: log\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = vec![];
    stream.read_to_end(&mut bytes).unwrap();
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..at].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, bytes[at + 4..].to_vec())
}

/// A server that does the same to everybody, in a thread that ends with the process.
pub fn server(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer(stream));
        }
    });
    url
}
