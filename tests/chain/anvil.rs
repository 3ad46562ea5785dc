//! A node of a private chain for one test: started on a free port, killed at the end.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Keys of the first accounts of test nodes, known to everybody.
pub const KEYS: [&str; 3] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

/// A running node.
pub struct Anvil {
    child: Child,
    pub port: u16,
}

impl Anvil {
    /// `None`, and says so, when there is no such program here.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Option<Self> {
        let Some(program) = std::env::var_os("COUNTERMARK_ANVIL") else {
            eprintln!("skipped: a chain: COUNTERMARK_ANVIL is not set (fixtures/services/chain.sh)");
            return None;
        };
        // Another test may take the port in between.
        for _ in 0..5 {
            let port = free_port();
            let child = Command::new(&program)
                .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--silent", "--slots-in-an-epoch", "4"])
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut anvil = Anvil { child, port };
            let since = Instant::now();
            while since.elapsed() < Duration::from_secs(30) {
                if anvil.child.try_wait().unwrap().is_some() {
                    break;
                }
                if TcpStream::connect(("127.0.0.1", port)).is_ok() && anvil.child.try_wait().unwrap().is_none() {
                    return Some(anvil);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("anvil did not start");
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Asks the node; panics when it refuses.
    pub fn rpc(&self, method: &str, params: Value) -> Value {
        let answer = post(self.port, &json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }));
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    pub fn mine(&self, blocks: u64) {
        self.rpc("anvil_mine", json!([format!("{blocks:#x}")]));
    }

    /// Whether each transaction gets a block of its own at once.
    pub fn automine(&self, on: bool) {
        self.rpc("evm_setAutomine", json!([on]));
    }

    pub fn number(&self) -> u64 {
        quantity(&self.rpc("eth_blockNumber", json!([])))
    }

    /// How many transactions of the account are in blocks.
    pub fn nonce(&self, account: &str) -> u64 {
        quantity(&self.rpc("eth_getTransactionCount", json!([account, "latest"])))
    }

    /// Receipts of all transactions of an account from the first block on.
    pub fn transactions_of(&self, account: &str) -> Vec<Value> {
        (0..=self.number())
            .flat_map(|number| {
                let block = self.rpc("eth_getBlockByNumber", json!([format!("{number:#x}"), true]));
                block["transactions"].as_array().unwrap().clone()
            })
            .filter(|transaction| transaction["from"] == account)
            .collect()
    }

    pub fn receipt(&self, hash: &str) -> Value {
        self.rpc("eth_getTransactionReceipt", json!([hash]))
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub fn quantity(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One request, and the JSON of its answer.
pub fn post(port: u16, body: &Value) -> Value {
    let body = body.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    let start = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    serde_json::from_slice(&answer[start..]).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&answer));
    })
}

/// A key file that only its owner reads.
pub fn key_file(folder: &Path, which: usize) -> std::path::PathBuf {
    let path = folder.join(format!("chain{which}.key"));
    countermark::io::files::write(&path, KEYS[which].as_bytes(), countermark::io::files::SECRET).unwrap();
    path
}

/// Runs `cast` and answers what it prints. `None`, and says so, when there is no such program here.
#[allow(dead_code)]
pub fn cast(arguments: &[&str]) -> Option<String> {
    let Some(program) = std::env::var_os("COUNTERMARK_CAST") else {
        eprintln!("skipped: cast: COUNTERMARK_CAST is not set (fixtures/services/chain.sh)");
        return None;
    };
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "cast {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}
