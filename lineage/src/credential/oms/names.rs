//! Names of files in a statement, and the paths that a signature leaves out (specification 6.1 and 6.2).

use std::collections::BTreeSet;
use std::ops::Range;

/// Left out by every signature, at the top of the model only.
pub const DEFAULT_IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// The longest path that systems know, and deeper than anybody nests.
const MAX_NAME: usize = 4096;
const MAX_DEPTH: usize = 128;

/// Why this cannot be the name of a file, if so: names are relative, in their shortest form, and stay below the model.
pub fn check_name(name: &str) -> Result<(), String> {
    let problem = if name.len() > MAX_NAME || name.split('/').count() > MAX_DEPTH {
        return Err(format!("a name is above {MAX_NAME} bytes or {MAX_DEPTH} folders deep"));
    } else if name.is_empty() {
        "is empty"
    } else if name.starts_with('/') {
        "is absolute"
    } else if name.contains('\0') {
        "holds a zero byte"
    } else if name.split('/').any(|part| part == "..") {
        "climbs out of the model"
    } else if name.split('/').any(|part| matches!(part, "" | ".")) {
        "is not in its shortest form"
    } else {
        return Ok(());
    };
    Err(format!("the name {name:?} {problem}"))
}

/// Why this cannot be left out, if so: an exact path below the model, without glob characters.
pub fn check_ignored(path: &str) -> Result<(), String> {
    check_name(path).map_err(|problem| format!("ignored: {problem}"))?;
    if path.contains(['*', '?', '[', ']']) {
        return Err(format!("ignored: the path {path:?} holds a glob character, and would match nothing else"));
    }
    Ok(())
}

/// Is `name` one of these paths, or below one of them?
pub fn is_ignored<T: Ord + std::borrow::Borrow<str>>(name: &str, ignored: &BTreeSet<T>) -> bool {
    let above = name.match_indices('/').map(|(at, _)| &name[..at]);
    above.chain([name]).any(|path| ignored.contains(path))
}

/// Splits `path:start:end`, from the last two colons: a path may hold more of them.
pub(super) fn parse_shard(name: &str) -> Option<(&str, Range<u64>)> {
    let mut parts = name.rsplitn(3, ':');
    let (end, start, path) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| number.to_string() == text);
    let range = number(start)?..number(end)?;
    (!range.is_empty()).then_some((path, range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        for good in ["a", "a/b", ".git/x", "a b", "ü", "a:1:2", "-"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "./a", "a/./b", "a//b", "a/", ".", "..", "../a", "a/../b", "a\0"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        for bad in ["*.bin", "a?", "[ab]", ".", "/tmp", "../x"] {
            assert!(check_ignored(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_ignored_with_everything_below_it_and_nothing_beside_it() {
        let ignored: BTreeSet<&str> = DEFAULT_IGNORED.into_iter().chain(["a/b"]).collect();
        for name in [".git", ".git/config", "a/b", "a/b/c"] {
            assert!(is_ignored(name, &ignored), "{name}");
        }
        for name in ["sub/.git/x", "a/bc", "a", ".gitx"] {
            assert!(!is_ignored(name, &ignored), "{name}");
        }
    }

    #[test]
    fn shards_are_read_from_the_last_two_colons() {
        assert_eq!(parse_shard("w:2:10"), Some(("w", 2..10)));
        assert_eq!(parse_shard("a:b:0:1"), Some(("a:b", 0..1)));
        for bad in ["w", "w:1", "w:2:2", "w:3:2", "w:01:2", "w:+1:2", "w: 1:2", "w:1:99999999999999999999"] {
            assert_eq!(parse_shard(bad), None, "{bad}");
        }
    }
}
