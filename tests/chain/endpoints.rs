//! Nodes that lie, stall, flood, redirect, speak for another chain or talk nonsense: each has one voice and no more.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countermark::io::anchor::State;
use countermark::io::anchor::evm::Nodes;
use countermark::lineage::anchor::evm::Blocks;
use countermark::lineage::anchor::evm::hex::Word;
use countermark::lineage::credential::policy::{Chain, Policy};
use serde_json::{Value, json};

use crate::anvil::{Anvil, free_port, post};
use crate::{ACCOUNTS, Plan, World, judged};

/// What a bad node does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Answers like the good one, but every hash of a block is another.
    OtherBlocks,
    /// Claims that there is no transaction, ever, and takes all.
    Blind,
    /// Says numbers that cost money: fees, nonces, gas.
    Dear,
    /// Takes the connection and says nothing.
    Stall,
    /// Sends without end.
    Flood,
    /// Sends us to the good node.
    Redirect,
    /// Is of another chain.
    OtherChain,
    /// Answers with the wrong id.
    WrongId,
    /// Is no node.
    Html,
    /// Numbers with zeros in front.
    Sloppy,
    /// Claims that there is no transaction, and that its nonce was used long ago.
    Pushy,
    /// Honest, and some blocks behind: no transaction, no nonce used.
    Behind,
}

const ALL: [Fault; 10] = [
    Fault::OtherBlocks,
    Fault::Blind,
    Fault::Dear,
    Fault::Stall,
    Fault::Flood,
    Fault::Redirect,
    Fault::OtherChain,
    Fault::WrongId,
    Fault::Html,
    Fault::Sloppy,
];

/// A bad node before a good one.
struct Liar {
    port: u16,
    ends: Arc<AtomicBool>,
    /// Bytes that it could send before the other side hung up.
    sent: Arc<AtomicU64>,
    /// How often it was asked.
    asked: Arc<AtomicU64>,
}

impl Liar {
    fn start(anvil: &Anvil, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (ends, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let asked = Arc::new(AtomicU64::new(0));
        let (stop, count, questions, good) = (Arc::clone(&ends), Arc::clone(&sent), Arc::clone(&asked), anvil.port);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                questions.fetch_add(1, Ordering::Relaxed);
                let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
                let Ok(stream) = stream else { continue };
                std::thread::spawn(move || answer(stream, good, fault, &stop, &count));
            }
        });
        Liar { port, ends, sent, asked }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn request(stream: &TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

fn answer(mut stream: TcpStream, good: u16, fault: Fault, stop: &AtomicBool, sent: &AtomicU64) {
    let Some(request) = request(&stream) else { return };
    let mut write =
        |head: &str, body: &[u8]| {
            let length = body.len();
            drop(stream.write_all(
                format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").as_bytes(),
            ));
            drop(stream.write_all(body));
        };
    match fault {
        Fault::Stall => {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(50));
            }
            return;
        }
        Fault::Flood => {
            // It promises 4 GiB and sends what is taken.
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\n[\"";
            drop(stream.write_all(head.as_bytes()));
            let chunk = vec![b'a'; 1 << 16];
            while !stop.load(Ordering::Relaxed) && stream.write_all(&chunk).is_ok() {
                sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
            return;
        }
        Fault::Redirect => return write(&format!("307 Elsewhere\r\nLocation: http://127.0.0.1:{good}/"), b""),
        Fault::Html => return write("200 OK\r\nContent-Type: text/html", b"<html>sign in</html>"),
        _ => {}
    }
    let method = request["method"].as_str().unwrap_or_default().to_owned();
    let mut reply = post(good, &request);
    let result = &mut reply["result"];
    match (fault, &*method) {
        (Fault::OtherBlocks, _) => {
            for field in ["hash", "blockHash"] {
                if result.get(field).is_some_and(|value| value.is_string()) {
                    result[field] = json!(Word::default().to_string());
                }
            }
        }
        (Fault::Pushy, "eth_getTransactionCount") => *result = json!("0x7fffffff"),
        (Fault::Behind, "eth_getTransactionCount") => *result = json!("0x0"),
        (Fault::Pushy | Fault::Behind, "eth_getTransactionReceipt" | "eth_getTransactionByHash") => {
            *result = Value::Null;
        }
        (Fault::Blind, "eth_getTransactionReceipt" | "eth_getTransactionByHash") => *result = Value::Null,
        (Fault::Dear, "eth_getTransactionCount" | "eth_estimateGas") => *result = json!("0x7fffffff"),
        (Fault::Dear, "eth_getBlockByNumber") if result.is_object() => {
            result["baseFeePerGas"] = json!("0xffffffffffffff");
        }
        (Fault::OtherChain, "eth_chainId") => *result = json!("0x1"),
        (Fault::WrongId, _) => reply["id"] = json!(0),
        (Fault::Sloppy, _) => {
            if let Some(text) = result.as_str().filter(|text| text.len() < 20).map(|text| text.replacen("0x", "0x0", 1))
            {
                *result = json!(text);
            }
            if result.is_object() && result.get("number").is_some() {
                result["number"] = json!("0x00");
            }
        }
        _ => {}
    }
    write("200 OK\r\nContent-Type: application/json", reply.to_string().as_bytes());
}

/// One bad node of three changes nothing, whatever it does.
#[test]
fn one_bad_node_of_three_is_outvoted() {
    for fault in ALL {
        let Some(world) = World::new() else { return };
        let liar = Liar::start(&world.anvil, fault);
        // The good node under two names has two voices: what one operator may do is for who names the nodes.
        let endpoints = vec![liar.url(), world.anvil.url(), format!("http://localhost:{}/", world.anvil.port)];
        let plan = || Plan { endpoints: endpoints.clone(), agree: NonZeroU32::new(2), ..world.erc7053() };
        let since = Instant::now();
        let job = world.submit(plan()).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(job.state, State::Included, "{fault:?}: {}", job.detail);
        judged(&job);
        world.anvil.mine(9);
        let job = world.advance(&job).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(job.state, State::Final, "{fault:?}: {}", job.detail);
        assert_eq!(world.anvil.nonce(ACCOUNTS[0]), 1, "{fault:?}");
        let transaction = &world.anvil.transactions_of(ACCOUNTS[0])[0];
        let paid = crate::anvil::quantity(&transaction["maxFeePerGas"]);
        assert!(paid < 100_000_000_000, "{fault:?} made it {paid} wei");
        assert!(since.elapsed() < Duration::from_secs(150), "{fault:?} took {:?}", since.elapsed());
        eprintln!("{fault:?}: {:.1} s", since.elapsed().as_secs_f64());
        if fault == Fault::Flood {
            // One MiB is read; the rest waits in buffers of the kernel when the connection ends.
            let (sent, asked) = (liar.sent.load(Ordering::Relaxed), liar.asked.load(Ordering::Relaxed));
            assert!(asked > 0 && sent / asked < 16 << 20, "{sent} bytes of {asked} floods were taken");
        }
    }
}

/// One node lies and one is behind: that the nonce is gone and that the transaction is nowhere is said by different ones. A
/// second transaction for the same checkpoint is not signed.
#[test]
fn a_liar_and_a_laggard_do_not_make_a_second_transaction() {
    let Some(world) = World::new() else { return };
    world.anvil.automine(false);
    let job = world.submit(world.erc7053()).unwrap();
    assert_eq!(job.state, State::Pending);
    world.anvil.mine(1);
    let (pushy, behind) = (Liar::start(&world.anvil, Fault::Pushy), Liar::start(&world.anvil, Fault::Behind));
    let endpoints = vec![pushy.url(), behind.url(), world.anvil.url()];
    let job = world.submit(Plan { endpoints, agree: NonZeroU32::new(2), ..world.erc7053() }).unwrap();
    assert_eq!((job.state, world.signed(&job).len()), (State::Pending, 1), "{}", job.detail);
    let job = world.submit(world.erc7053()).unwrap();
    assert_eq!((job.state, world.signed(&job).len()), (State::Included, 1), "{}", job.detail);
}

/// When all must agree, one that does not stops everything, and is named.
#[test]
fn one_bad_node_of_two_that_must_agree_is_named() {
    let Some(world) = World::new() else { return };
    for (fault, why) in [
        (Fault::OtherChain, "agree"),
        (Fault::Html, "not asked for"),
        (Fault::Redirect, "redirects"),
        (Fault::WrongId, "another question"),
        (Fault::Flood, "more than 1024 KiB"),
    ] {
        let liar = Liar::start(&world.anvil, fault);
        let plan = Plan { endpoints: vec![world.anvil.url(), liar.url()], ..world.erc7053() };
        let error = world.submit(plan).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("127.0.0.1"), "{fault:?}: {error}");
    }
    assert_eq!(world.anvil.nonce(ACCOUNTS[0]), 0);
    // Nobody listens at all.
    let plan = Plan { endpoints: vec![format!("http://127.0.0.1:{}", free_port())], ..world.erc7053() };
    let error = world.submit(plan).unwrap_err().to_string();
    assert!(error.to_lowercase().contains("refused"), "{error}");
}

/// A node that speaks for other blocks cannot make an included anchor look dropped, nor a foreign block look good.
#[test]
fn verification_counts_voices() {
    let Some(world) = World::new() else { return };
    let job = world.submit(world.erc7053()).unwrap();
    let evidence = serde_json::to_value(job.evidence.as_ref().unwrap()).unwrap();
    assert_eq!(evidence["kind"], "evm");
    let number = world.anvil.number();
    let block = world.anvil.rpc("eth_getBlockByNumber", json!([format!("{number:#x}"), false]));
    let hash = Word::parse(block["hash"].as_str().unwrap()).unwrap();
    let liars = [Liar::start(&world.anvil, Fault::OtherBlocks), Liar::start(&world.anvil, Fault::OtherBlocks)];
    let good = world.anvil.url();
    let nodes = |endpoints: &[String], agree: Option<u32>| {
        let chain = Chain {
            name: "local".to_owned(),
            chain_id: 31337,
            contract: None,
            eas: None,
            recorders: vec![],
            blocks: vec![],
            endpoints: endpoints.to_vec(),
            agree: agree.and_then(NonZeroU32::new),
        };
        Nodes::of(&Policy { chains: vec![chain], ..Policy::default() }).unwrap()
    };
    let standing = |nodes: &Nodes, hash: &Word| nodes.standing(31337, number, hash);
    let one = nodes(std::slice::from_ref(&good), None);
    let vouched = standing(&one, &hash).unwrap().unwrap();
    assert!(!vouched.is_final && vouched.source.contains("alone"), "{vouched:?}");
    assert_eq!(standing(&one, &Word::default()).unwrap(), None);
    assert_eq!(one.standing(1, number, &hash).unwrap(), None, "a chain that the policy does not name");
    world.anvil.mine(9);
    // Within one verification a block is asked about once; the next one asks again.
    assert!(!standing(&one, &hash).unwrap().unwrap().is_final);
    let one = nodes(std::slice::from_ref(&good), None);
    assert!(standing(&one, &hash).unwrap().unwrap().is_final);
    // Two liars of three outvote one good node: the number of voices is what the policy sets it to.
    let three = [good.clone(), liars[0].url(), liars[1].url()];
    assert_eq!(standing(&nodes(&three, Some(2)), &hash).unwrap(), None);
    assert!(standing(&nodes(&three, Some(1)), &hash).unwrap().is_some());
    assert_eq!(standing(&nodes(&three, None), &hash).unwrap(), None);
    // The same node three times is one voice.
    let same = vec![good.clone(), format!("{good}/"), good.clone()];
    assert!(
        Nodes::of(&Policy {
            chains: vec![Chain {
                name: "local".to_owned(),
                chain_id: 31337,
                contract: None,
                eas: None,
                recorders: vec![],
                blocks: vec![],
                endpoints: same,
                agree: NonZeroU32::new(2),
            }],
            ..Policy::default()
        })
        .is_err()
    );
    // Nobody who can be asked is no answer, and not a no.
    let dead = nodes(&[format!("http://127.0.0.1:{}", free_port()), good], None);
    assert!(standing(&dead, &hash).unwrap_err().to_string().contains("vouch"));
}
