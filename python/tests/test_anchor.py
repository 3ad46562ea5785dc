"""A log's checkpoint held by an authority: from pending to verified."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import countermark as cm
import pytest

CONFIG = """\
[tsa]
default_tsa=own
[own]
serial=serial
signer_cert=signer.pem
signer_key=signer.key
signer_digest=sha256
default_policy=1.2.3.4.1
digests=sha256
ess_cert_id_alg=sha256
"""


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """URL and root certificate of ``openssl ts`` behind a small server."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    folder = tmp_path / "authority"
    folder.mkdir()

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
    openssl("req", "-x509", *key, "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=Clock root", "-days", "9")
    purpose = "extendedKeyUsage=critical,timeStamping"
    issuer = (
        "-CA",
        "root.pem",
        "-CAkey",
        "root.key",
        "-addext",
        purpose,
        "-addext",
        "keyUsage=critical,digitalSignature",
    )
    leaf = ("-addext", "basicConstraints=critical,CA:false", "-subj", "/CN=Clock", "-days", "9")
    openssl("req", "-x509", *key, *issuer, *leaf, "-keyout", "signer.key", "-out", "signer.pem")
    (folder / "ts.cnf").write_text(CONFIG)
    (folder / "serial").write_text("01\n")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (folder / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            openssl("ts", "-reply", "-config", "ts.cnf", "-queryfile", "query", "-out", "reply")
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write((folder / "reply").read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", (folder / "root.pem").read_text()
    server.shutdown()
    server.server_close()


def test_an_anchored_release_is_verified(keys: Path, model: Path, tmp_path: Path, authority: tuple[str, str]) -> None:
    url, root = authority
    log = tmp_path / "log"
    signed = cm.sign(model, key=keys / "owner.key", log=log)
    (anchor,) = cm.anchor.submit(log, [{"kind": "rfc3161", "url": url}])
    assert (anchor.state, anchor.kind, anchor.size) == ("final", "rfc3161", 2)
    assert cm.anchor.upgrade(log, signed.bundle) == cm.anchor.status(log) == (anchor,)

    policy = keys / "policy.toml"
    assert cm.verify(model, policy=policy).state == "unanchored"
    known = f'[[timestamp_root]]\nname = "Clock"\ncertificate = """\n{root}"""\n\n'
    text = policy.read_text()
    policy.write_text(text.replace("[require]", f"{known}[require]") if "[require]" in text else f"{text}\n{known}")
    assert cm.verify(model, policy=policy, require_anchor=True).state == "verified"


def test_somebody_who_does_not_answer_leaves_it_pending(keys: Path, model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    cm.sign(model, key=keys / "owner.key", log=log)
    (anchor,) = cm.anchor.submit(log, [{"kind": "rfc3161", "url": "http://127.0.0.1:9/"}])
    assert anchor.state == "pending"
    assert "refused" in anchor.detail
    with pytest.raises(cm.InputError, match="orders"):
        cm.anchor.submit(log, [{"kind": "stone tablet"}])
