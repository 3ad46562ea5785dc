//! Runs the binary as a shell would.

use std::path::Path;

use assert_cmd::Command;

/// Exit code, stdout and stderr of `countermark ARGUMENTS` in `folder`.
pub fn countermark(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("countermark").unwrap().current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}
