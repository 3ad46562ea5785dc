//! A time-stamping authority of one's own: `openssl ts`, behind a small server where one is asked for. For tests, and for
//! the example that makes the named cases.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// What is special about an authority.
#[derive(Clone, Copy)]
pub struct Kind {
    /// For `openssl genpkey`: the signer's key.
    pub key: &'static [&'static str],
    /// The signer's extended key usage.
    pub purpose: &'static str,
    /// How the signer's certificate is named: `sha1` is the old way.
    pub names: &'static str,
    /// Days for which the signer's certificate is valid; the past when negative.
    pub days: i32,
}

pub const ECDSA: Kind = Kind {
    key: &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    purpose: "critical,timeStamping",
    names: "sha256",
    days: 300,
};

pub const RSA: Kind = Kind { key: &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], names: "sha1", ..ECDSA };

/// An authority: root, intermediate and signer.
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// Nothing, with a line that says so, where there is no OpenSSL.
    pub fn new(name: &str, kind: Kind) -> Option<Arc<Self>> {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("skipped: no openssl");
            return None;
        }
        let authority = Authority { folder: tempfile::tempdir().unwrap() };
        let ca = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n";
        let own = format!("keyUsage=critical,digitalSignature\nextendedKeyUsage={}\n", kind.purpose);
        authority.certificate("root", name, ECDSA.key, None, ca, 3000);
        authority.certificate("middle", name, ECDSA.key, Some("root"), ca, 2000);
        authority.certificate("signer", name, kind.key, Some("middle"), &own, kind.days);
        let chain = authority.read("middle.pem") + &authority.read("root.pem");
        fs::write(authority.path("chain.pem"), chain).unwrap();
        fs::write(authority.path("serial"), "01\n").unwrap();
        let config = format!(
            "[tsa]\ndefault_tsa=own\n[own]\nserial=serial\ncrypto_device=builtin\nsigner_cert=signer.pem\n\
             certs=chain.pem\nsigner_key=signer.key\nsigner_digest=sha256\ndefault_policy=1.2.3.4.1\n\
             digests=sha1,sha256,sha384,sha512\naccuracy=secs:1,millisecs:500\nclock_precision_digits=3\nordering=yes\n\
             tsa_name=yes\ness_cert_id_chain=no\ness_cert_id_alg={}\n",
            kind.names
        );
        fs::write(authority.path("ts.cnf"), config).unwrap();
        Some(Arc::new(authority))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn certificate(&self, file: &str, name: &str, key: &[&str], issuer: Option<&str>, extensions: &str, days: i32) {
        let [key_file, request, pem, text] = ["key", "csr", "pem", "ext"].map(|ending| format!("{file}.{ending}"));
        let subject = format!("/O={name}/CN={name} {file}");
        self.openssl(&[&["genpkey", "-out", &key_file], key].concat());
        self.openssl(&["req", "-new", "-key", &key_file, "-subj", &subject, "-out", &request]);
        let extensions = format!("{extensions}subjectKeyIdentifier=hash\n");
        fs::write(self.path(&text), extensions).unwrap();
        let days = days.to_string();
        let issuer_key = format!("{}.key", issuer.unwrap_or(file));
        let issuer_pem = format!("{}.pem", issuer.unwrap_or(file));
        let signer: &[&str] = match issuer {
            Some(_) => &["-CA", &issuer_pem, "-CAkey", &issuer_key, "-CAcreateserial"],
            None => &["-signkey", &issuer_key],
        };
        let common = ["x509", "-req", "-in", &request, "-out", &pem, "-extfile", &text, "-days", &days];
        self.openssl(&[&common[..], signer].concat());
    }

    /// PEM of the root.
    pub fn root_pem(&self) -> String {
        self.read("root.pem")
    }

    /// DER of the root.
    pub fn root(&self) -> Vec<u8> {
        x509_cert_of(&self.root_pem())
    }

    /// The answer to a request. Not for two at once.
    pub fn answer(&self, query: &[u8]) -> Vec<u8> {
        fs::write(self.path("query"), query).unwrap();
        let _ = fs::remove_file(self.path("reply"));
        self.openssl(&["ts", "-reply", "-config", "ts.cnf", "-queryfile", "query", "-out", "reply"]);
        fs::read(self.path("reply")).unwrap()
    }

    /// What an answer states: its TSTInfo, without signature.
    pub fn statement(&self, answer: &[u8]) -> Vec<u8> {
        fs::write(self.path("stated-reply"), answer).unwrap();
        self.openssl(&["ts", "-reply", "-in", "stated-reply", "-token_out", "-out", "stated-token"]);
        let verify = ["cms", "-verify", "-noverify", "-inform", "DER", "-in", "stated-token", "-out", "statement"];
        self.openssl(&verify);
        fs::read(self.path("statement")).unwrap()
    }

    /// A token over any statement, also from a signer whom `openssl ts` would refuse. `options` as `openssl cms` has them.
    pub fn sign(&self, statement: &[u8], options: &[&str]) -> Vec<u8> {
        fs::write(self.path("to-sign"), statement).unwrap();
        let common = ["cms", "-sign", "-binary", "-nodetach", "-econtent_type", "1.2.840.113549.1.9.16.1.4"];
        let files = ["-signer", "signer.pem", "-inkey", "signer.key", "-certfile", "chain.pem", "-in", "to-sign"];
        self.openssl(&[&common[..], &files, &["-md", "sha256", "-outform", "DER", "-out", "signed"], options].concat());
        fs::read(self.path("signed")).unwrap()
    }

    /// A request for another hash than we ask for, over `message`.
    pub fn query_of(&self, message: &[u8], hash: &str) -> Vec<u8> {
        fs::write(self.path("message"), message).unwrap();
        self.openssl(&["ts", "-query", "-data", "message", hash, "-cert", "-out", "own-query"]);
        fs::read(self.path("own-query")).unwrap()
    }

    /// Answers requests over HTTP for as long as the process lives. The URL.
    pub fn serve(self: &Arc<Self>) -> String {
        let authority = self.clone();
        serve(move |query| ("application/timestamp-reply", authority.answer(query)))
    }
}

/// The first certificate of a PEM text, as DER.
fn x509_cert_of(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = pem.lines().skip(1).take_while(|line| !line.starts_with("-----")).collect();
    base64::prelude::BASE64_STANDARD.decode(body).unwrap()
}

/// A server that answers every POST, one after the other.
pub fn serve(answer: impl Fn(&[u8]) -> (&'static str, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away is not the server's trouble.
            let _ = respond(stream, &answer);
        }
    });
    url
}

fn respond(stream: TcpStream, answer: &impl Fn(&[u8]) -> (&'static str, Vec<u8>)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (media, answer) = answer(&body);
    let mut stream = reader.into_inner();
    if let Some(location) = media.strip_prefix("redirect:") {
        write!(stream, "HTTP/1.1 307 Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")?;
        return stream.flush();
    }
    let length = answer.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(&answer)?;
    stream.flush()
}
