"""Signs and verifies the same bytes with countermark and with the Python package model-signing: our own releases, and OMS
bundles of the same key.

Run: python3 benches/model_signing.py [--quick] COUNTERMARK     after: pip install model-signing==1.1.1 pyopenssl
Prints one Markdown table. CPU is user and system time of the process and its children; every figure is the best of three.
"""

import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

QUICK = "--quick" in sys.argv
COUNTERMARK = [argument for argument in sys.argv[1:] if argument != "--quick"][0]
ROUNDS = 1 if QUICK else 3

SIGN = """
import sys, model_signing
key, model, out = sys.argv[1:]
model_signing.signing.Config().use_elliptic_key_signer(private_key=key).sign(model, out)
"""
VERIFY = """
import sys, model_signing
key, model, out = sys.argv[1:]
model_signing.verifying.Config().use_elliptic_key_verifier(public_key=key).verify(model, out)
"""


def cost(command):
    """Wall and CPU seconds."""
    before, since = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.stdout}{done.stderr}")
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - since
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def best(commands):
    """The best of several rounds of all commands together."""
    rounds = []
    for _ in range(ROUNDS):
        costs = [cost(command) for command in commands]
        rounds.append((sum(wall for wall, _ in costs), sum(cpu for _, cpu in costs)))
    return min(wall for wall, _ in rounds), min(cpu for _, cpu in rounds)


def main():
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        os.environ["COUNTERMARK_CACHE"] = ""
        keys = folder / "keys"
        subprocess.run([COUNTERMARK, "keygen", "--out", keys], check=True, capture_output=True)
        private, public = folder / "p256.pem", folder / "p256.pub"
        openssl = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private]
        subprocess.run(openssl, check=True, capture_output=True)
        private.chmod(0o600)
        subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
        print("| sign and verify | model-signing wall, CPU | countermark wall, CPU | ratio of wall, CPU |")
        print("|---|---|---|---|")
        sizes = [("files", 200 if QUICK else 20_000, 4096), ("big", 4, (8 << 20) if QUICK else 512 << 20)]
        for name, count, size in sizes:
            model = folder / name
            model.mkdir()
            for index in range(count):
                with open(model / f"{index:05}", "wb") as file:
                    for _ in range(max(1, size >> 20)):
                        file.write(os.urandom(min(size, 1 << 20)))
            signature = folder / f"{name}.sig"
            theirs = best([
                [sys.executable, "-c", SIGN, private, model, signature],
                [sys.executable, "-c", VERIFY, public, model, signature],
            ])
            bundle = folder / f"{name}.provenance.json"
            ours = best([
                [COUNTERMARK, "sign", model, "--key", keys / "owner.key", "--out", bundle, "--no-cache"],
                [COUNTERMARK, "verify", model, "--bundle", bundle, "--policy", keys / "policy.toml"],
            ])
            oms = [COUNTERMARK, "oms"]
            bundles = {"OMS, sha256": "sha256", "OMS, blake3": "blake3"}
            rows = {"release": ours}
            for what, function in bundles.items():
                signature = folder / f"{name}.{function}.sig"
                rows[what] = best([
                    [*oms, "sign", model, "--key", private, "--out", signature, "--hash", function],
                    [*oms, "verify", model, "--key", public, "--signature", signature],
                ])
            for how, costs in rows.items():
                what = f"{how}: {count} files of {size >> 10} KiB"
                texts = [f"{wall:.2f} s, {cpu:.2f} s" for wall, cpu in (theirs, costs)]
                print(f"| {what} | {texts[0]} | {texts[1]} | {theirs[0] / costs[0]:.1f}, {theirs[1] / costs[1]:.1f} |")
            shutil.rmtree(model)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
