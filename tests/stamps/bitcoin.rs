//! OpenTimestamps: our proofs in the hands of `ots`, its proofs in ours, and calendars that lie.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use countermark::anchor;
use countermark::io::anchor::{Calendars, Headers, Order, State as Progress};
use countermark::lineage::anchor::ots::bitcoin::Header;
use countermark::lineage::anchor::ots::file::File;
use countermark::lineage::anchor::ots::{self, TimestampProof};
use countermark::lineage::anchor::{Anchor, Commitment, Evidence, Standing, Trust};
use countermark::lineage::bundle::Bytes;
use countermark::lineage::credential::policy::{Bitcoin, Policy};
use countermark::lineage::verdict::State;

use crate::{World, detail, run};

/// One chain for all tests, so one test at a time.
static CHAIN: Mutex<()> = Mutex::new(());

/// What `fixtures/services/stamps.sh` started.
struct Services {
    node: String,
    auth: PathBuf,
    control: String,
    calendar: String,
    programs: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Services {
    fn new() -> Option<Self> {
        let variable = |name: &str| std::env::var(format!("COUNTERMARK_{name}")).ok();
        let found = || {
            Some(Services {
                node: variable("BITCOIN")?,
                auth: variable("BITCOIN_AUTH")?.into(),
                control: variable("BITCOIN_CONTROL")?,
                calendar: variable("CALENDAR")?,
                programs: variable("STAMPS")?.into(),
                _alone: CHAIN.lock().unwrap_or_else(PoisonError::into_inner),
            })
        };
        let services = found();
        if services.is_none() {
            eprintln!("skipped: OpenTimestamps: run fixtures/services/stamps.sh");
        }
        services
    }

    fn order(&self, calendars: &[&str]) -> Order {
        let urls: Vec<String> = calendars.iter().map(|path| format!("{}{path}", self.calendar)).collect();
        Order::OpenTimestamps(Calendars::new(&urls, Some(self.headers())).unwrap())
    }

    fn headers(&self) -> Headers {
        Headers::new(&self.node, Some(self.auth.clone())).unwrap()
    }

    /// All promises of the calendar go into a block. Its height.
    fn mine(&self) -> u64 {
        post(&format!("{}/mine", self.calendar)).parse().unwrap()
    }

    fn blocks(&self, count: u64) {
        post(&format!("{}/mine?blocks={count}", self.control));
    }

    fn ots(&self) -> Command {
        let secret = fs::read_to_string(&self.auth).unwrap();
        let node = self.node.replace("://", &format!("://{}@", secret.trim()));
        let mut command = Command::new(self.programs.join("ots"));
        command.args(["--no-cache", "--btc-regtest", "--bitcoin-node", &node, "-l", &self.calendar]);
        command
    }

    /// What the reference client says of a file and the proof beside it.
    fn verdict(&self, proof: &Path) -> (bool, String) {
        run(self.ots().arg("verify").arg(proof))
    }
}

/// A POST without a body. The answer's body.
fn post(url: &str) -> String {
    exchange(url, "", "")
}

fn exchange(url: &str, head: &str, body: &str) -> String {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "POST /{path} HTTP/1.0\r\nContent-Length: {}\r\n{head}\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{url}: {answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn evidence(world: &World) -> (Anchor, TimestampProof) {
    let anchor: Anchor = serde_json::from_slice(&fs::read(world.held("opentimestamps.json")).unwrap()).unwrap();
    let Evidence::OpenTimestamps(proof) = anchor.evidence.clone() else { panic!("{anchor:?}") };
    (anchor, proof)
}

fn pins(proof: &TimestampProof, at: usize) -> String {
    format!("[bitcoin]\nblocks = [\"{}\"]\n", Header::parse(&proof.headers[at].0).unwrap().hash())
}

#[test]
fn a_checkpoint_goes_into_a_block_and_the_reference_client_agrees() {
    let Some(services) = Services::new() else { return };
    let world = World::new();
    let order = || services.order(&["", "/garbage", "/endless", "/many", "/elsewhere", "/liar"]);
    let report = world.submit(order());
    assert_eq!(report.state, Progress::Pending, "{report:?}");
    assert!(report.detail.contains("promised by"), "{report:?}");
    for problem in
        ["/garbage", "/endless: answers with more than", "/many: answers with 50 attestations", "block 1 does not hold"]
    {
        assert!(report.detail.contains(problem), "{problem}: {report:?}");
    }
    assert!(report.detail.contains("in the name of http://127.0.0.1:1/metadata"), "{report:?}");
    assert!(!world.held("opentimestamps.json").exists(), "pending is no anchor");

    // Whoever takes the file gets a promise; nothing more was made of it here.
    let first = fs::read(world.held("checkpoint.ots")).unwrap();
    let (good, said) = services.verdict(&world.held("checkpoint.ots"));
    assert!(!good && said.contains("Pending"), "{said}");
    let verdict = world.verify("");
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");

    // Asking again is asking for the same.
    assert_eq!(world.submit(order()).state, Progress::Pending);
    assert_eq!(fs::read(world.held("checkpoint.ots")).unwrap(), first);

    let height = services.mine();
    let report = world.upgrade();
    assert_eq!(report.state, Progress::Included, "{report:?}");
    assert!(report.detail.contains(&format!("block {height} of")) && report.detail.contains("1 of 6"), "{report:?}");
    let (good, said) = services.verdict(&world.held("checkpoint.ots"));
    assert!(good && said.contains(&format!("Success! Bitcoin block {height} attests existence")), "{said}");

    // Another file, or another path, and it says no.
    let checkpoint = fs::read(world.held("checkpoint")).unwrap();
    let proof = fs::read(world.held("checkpoint.ots")).unwrap();
    fs::write(world.at("other"), [&checkpoint[..], b"\n"].concat()).unwrap();
    fs::write(world.at("other.ots"), &proof).unwrap();
    let (good, said) = services.verdict(&world.at("other.ots"));
    assert!(!good && said.contains("File does not match original"), "{said}");
    let file = File::parse(&proof).unwrap();
    // The amount of the output that holds the digest: eight bytes of zero, a length, OP_RETURN.
    let output = proof.windows(10).position(|window| window[..8] == [0; 8] && window[9] == 0x6a).unwrap();
    let mut flipped = proof.clone();
    flipped[output] ^= 1;
    assert!(File::parse(&flipped).is_ok() && file.to_bytes() == proof);
    fs::write(world.at("flipped"), &checkpoint).unwrap();
    fs::write(world.at("flipped.ots"), &flipped).unwrap();
    let (good, said) = services.verdict(&world.at("flipped.ots"));
    assert!(!good && said.contains("merkleroot"), "{said}");
    let (anchor, kept) = evidence(&world);
    let changed = TimestampProof { file: Bytes(flipped), ..kept.clone() };
    let policy = Policy::default();
    let trust = Trust { policy: &policy, blocks: None };
    assert!(ots::check(&changed, &Commitment::of(&anchor.checkpoint), &trust).is_err());

    // Nobody vouches for a block of a private chain, unless the policy pins it.
    let required = "[require]\nanchor = [\"opentimestamps\"]\n";
    for policy in ["", "[bitcoin]\n", "[bitcoin]\nmin_difficulty = 1\n", "[bitcoin]\nmin_difficulty = 0\n"] {
        let verdict = world.verify(policy);
        assert_eq!(verdict.state, State::Unanchored, "{policy}: {verdict:#?}");
        assert_eq!(world.verify(&format!("{policy}{required}")).state, State::Unknown, "{policy}");
    }
    let pinned = pins(&kept, 0);
    for verdict in [world.verify(&format!("{pinned}{required}")), world.receipt(&format!("{pinned}{required}"))] {
        assert_eq!(verdict.state, State::Verified, "{verdict:#?}");
        let row = detail(&verdict, "anchor opentimestamps");
        assert!(row.contains("which the policy pins") && row.contains("good to 2 hours"), "{row}");
    }
    // The anchor as it lies in the log's folder.
    let verdict = world.judge(&world.held("opentimestamps.json"), &pinned);
    assert_eq!(verdict.state, State::Verified, "{verdict:#?}");

    services.blocks(4);
    assert!(world.upgrade().detail.contains("5 of 6"));
    services.blocks(3);
    let report = world.upgrade();
    assert_eq!(report.state, Progress::Final, "{report:?}");
    let (_, kept) = evidence(&world);
    assert_eq!(kept.headers.len(), 6);
    // A block that was built upon it vouches as well.
    let verdict = world.verify(&format!("{}{required}", pins(&kept, 5)));
    assert_eq!(verdict.state, State::Verified, "{verdict:#?}");
}

#[test]
fn a_calendar_that_stalls_holds_nobody_up_for_long() {
    let Some(services) = Services::new() else { return };
    let world = World::new();
    let begun = std::time::Instant::now();
    let report = world.submit(services.order(&["", "/stall"]));
    assert!(report.state == Progress::Pending && report.detail.contains("/stall: "), "{report:?}");
    assert!(begun.elapsed().as_secs() < 40, "{:?}", begun.elapsed());

    let silent = World::new();
    let order = Order::OpenTimestamps(Calendars::new(&["http://127.0.0.1:1".to_owned()], None).unwrap());
    let report = silent.submit(order);
    assert!(report.state == Progress::Pending && report.detail.contains("no calendar took the digest"), "{report:?}");
    // Another one is named later, and the same order goes on.
    let report = silent.submit(services.order(&[""]));
    assert!(report.detail.contains("promised by"), "{report:?}");
}

#[test]
fn a_block_that_is_gone_makes_it_pending_again() {
    let Some(services) = Services::new() else { return };
    let world = World::new();
    world.submit(services.order(&[""]));
    let height = services.mine();
    assert_eq!(world.upgrade().state, Progress::Included);
    let (_, gone) = evidence(&world);
    post(&format!("{}/reorg?height={height}", services.control));
    let report = world.upgrade();
    assert_eq!(report.state, Progress::Dropped, "{report:?}");
    assert!(!world.held("opentimestamps.json").exists(), "what no longer holds is taken away");
    assert_eq!(world.verify("").state, State::Unanchored);
    assert_eq!(world.upgrade().state, Progress::Pending);
    post(&format!("{}/again", services.calendar));
    services.mine();
    let report = world.upgrade();
    assert_eq!(report.state, Progress::Included, "{report:?}");
    let (_, kept) = evidence(&world);
    assert_ne!(kept.headers[0], gone.headers[0]);
    let (good, said) = services.verdict(&world.held("checkpoint.ots"));
    assert!(good, "{said}");
}

#[test]
fn a_proof_of_the_reference_client_holds_here() {
    let Some(services) = Services::new() else { return };
    let world = World::new();
    fs::write(world.at("note"), "any checkpoint\n").unwrap();
    let (good, said) = run(services.ots().args(["stamp", "-m", "1", "-c", &services.calendar]).arg(world.at("note")));
    assert!(good, "{said}");
    let read = || fs::read(world.at("note.ots")).unwrap();
    let policy = Policy::default();
    let check = |headers: Vec<Bytes>, policy: &Policy| {
        let proof = TimestampProof { file: Bytes(read()), headers };
        ots::check(&proof, &Commitment::of("any checkpoint\n"), &Trust { policy, blocks: None })
    };
    assert!(matches!(check(vec![], &policy), Ok(Standing::Pending(_))));
    assert_eq!(File::parse(&read()).unwrap().to_bytes(), read());
    services.blocks(2);
    let height = services.mine();
    services.blocks(2);
    let (good, said) = run(services.ots().arg("upgrade").arg(world.at("note.ots")));
    assert!(good, "{said}");
    assert_eq!(File::parse(&read()).unwrap().to_bytes(), read());
    let headers: Vec<Bytes> = (height..height + 3).map(|at| Bytes(header(&services, at))).collect();
    let pinned = Header::parse(&headers[0].0).unwrap().hash();
    let bitcoin = Some(Bitcoin { blocks: vec![pinned], ..Bitcoin::default() });
    let policy = Policy { bitcoin, ..Policy::default() };
    assert!(matches!(check(headers.clone(), &policy), Ok(Standing::Bound(bound)) if bound.is_final));
    assert!(matches!(check(vec![], &policy), Ok(Standing::Unjudged(_))));
    assert!(check(headers[1..].to_vec(), &policy).is_err());
}

/// A header from the node, asked for by hand.
fn header(services: &Services, height: u64) -> Vec<u8> {
    let hash = rpc(services, "getblockhash", &format!("[{height}]"));
    let header = rpc(services, "getblockheader", &format!("[{hash}, false]"));
    let digits = header.trim_matches('"').as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn rpc(services: &Services, method: &str, parameters: &str) -> String {
    let secret = fs::read_to_string(&services.auth).unwrap();
    let secret = base64::prelude::BASE64_STANDARD.encode(secret.trim());
    let body = format!("{{\"id\": 1, \"method\": \"{method}\", \"params\": {parameters}}}");
    let head = format!("Authorization: Basic {secret}\r\nContent-Type: application/json\r\n");
    let answer = exchange(&format!("{}/", services.node), &head, &body);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["result"].to_string()
}

#[test]
fn headers_come_from_an_explorer_too_and_one_that_lies_is_noticed() {
    let Some(services) = Services::new() else { return };
    let world = World::new();
    let explorer = |lie: bool| explorer(&services, lie);
    let order = |url: &str| {
        let headers = Headers::new(url, None).unwrap();
        Order::OpenTimestamps(Calendars::new(std::slice::from_ref(&services.calendar), Some(headers)).unwrap())
    };
    let (honest, liar) = (explorer(false), explorer(true));
    world.submit(order(&liar));
    services.mine();
    // A header without work: nothing comes of it, and the order stays.
    let report = world.upgrade();
    assert!(report.state == Progress::Pending && report.detail.contains("above its target"), "{report:?}");
    anchor::take_headers_from(&world.at("log"), &Headers::new(&honest, None).unwrap()).unwrap();
    let report = world.upgrade();
    assert_eq!(report.state, Progress::Included, "{report:?}");

    for bad in ["http://user:secret@127.0.0.1/", "ftp://127.0.0.1/", "127.0.0.1"] {
        assert!(Headers::new(bad, None).is_err(), "{bad}");
    }
    // A node that does not know the password, and something that is no node.
    fs::write(world.at("auth"), "user:wrong\n").unwrap();
    for url in [&services.node, &services.calendar] {
        let wrong = Headers::new(url, Some(world.at("auth"))).unwrap();
        anchor::take_headers_from(&world.at("log"), &wrong).unwrap();
        let report = world.upgrade();
        assert!(report.state == Progress::Included && !report.detail.contains("wrong"), "{report:?}");
        assert!(report.detail.contains("password") || report.detail.contains("not as a Bitcoin node"), "{report:?}");
    }
}

/// An explorer before the node, as Esplora speaks; one that lies takes the nonce out of every header.
fn explorer(services: &Services, lie: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api", listener.local_addr().unwrap());
    let tip: u64 = rpc(services, "getblockcount", "[]").parse().unwrap();
    // The block that comes next is asked for, so answers are looked up when they are asked for.
    let services = (services.node.clone(), services.auth.clone());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 2048];
            let read = stream.read(&mut request).unwrap_or(0);
            let line = String::from_utf8_lossy(&request[..read]).lines().next().unwrap_or_default().to_owned();
            let path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches("/api/").to_owned();
            let node = Services {
                node: services.0.clone(),
                auth: services.1.clone(),
                control: String::new(),
                calendar: String::new(),
                programs: PathBuf::new(),
                _alone: MUTE.lock().unwrap_or_else(PoisonError::into_inner),
            };
            let body = match path.split('/').collect::<Vec<_>>()[..] {
                ["blocks", "tip", "height"] => (tip + 1).to_string(),
                ["block-height", height] => {
                    rpc(&node, "getblockhash", &format!("[{height}]")).trim_matches('"').to_owned()
                }
                ["block", hash, "header"] => {
                    let header = rpc(&node, "getblockheader", &format!("[\"{hash}\", false]"));
                    let header = header.trim_matches('"').to_owned();
                    if lie { header[..144].to_owned() + "0100000300000000" } else { header }
                }
                _ => String::new(),
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    url
}

/// Only so that the explorer can build a [`Services`] of its own.
static MUTE: Mutex<()> = Mutex::new(());
