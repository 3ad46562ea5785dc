//! Every state, hostile names, contrast, and the rules of each format.

use countermark_badge::wording::{self, LABEL_COLOUR};
use countermark_badge::{markdown, shields, svg};
use countermark_lineage::verdict::{SCHEMA, State, Verdict};
use quick_xml::Reader;
use quick_xml::events::Event;

const STATES: [State; 8] = [
    State::Verified,
    State::Unanchored,
    State::Stale,
    State::UnknownSigner,
    State::Unknown,
    State::Absent,
    State::Invalid,
    State::Revoked,
];

const HOSTILE: &str = "</title><script>alert('x')</script>\"&\u{202E}]]>\0\n[x](javascript:1)";

fn verdict(state: State, name: &str) -> Verdict {
    Verdict {
        schema: SCHEMA.to_owned(),
        state,
        name: name.to_owned(),
        root: String::new(),
        statement: String::new(),
        signer: name.to_owned(),
        scope: None,
        checks: vec![],
    }
}

/// Names of the elements, and the character data, of a well-formed document.
fn parse(document: &str) -> (Vec<String>, String) {
    let mut reader = Reader::from_str(document);
    reader.config_mut().check_end_names = true;
    let (mut elements, mut text) = (Vec::new(), String::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Start(tag) | Event::Empty(tag) => {
                elements.push(String::from_utf8(tag.name().as_ref().to_vec()).unwrap());
                for attribute in tag.attributes() {
                    let attribute = attribute.unwrap();
                    assert!(!attribute.key.as_ref().starts_with(b"on"), "event handler");
                }
            }
            Event::Text(data) => text.push_str(&data.decode().unwrap()),
            Event::GeneralRef(_) => text.push('&'),
            Event::End(_) => {}
            Event::Eof => return (elements, text),
            other => panic!("{other:?} in a badge"),
        }
    }
}

#[test]
fn every_state_draws_its_own_words_and_glyph() {
    let mut seen = std::collections::BTreeSet::new();
    for state in STATES {
        let (look, drawn) = (wording::look(state), svg(&verdict(state, "base")));
        let (elements, text) = parse(&drawn);
        let expected = ["svg", "title", "clipPath", "rect", "g", "rect", "rect", "path", "g", "g", "text", "g", "text"];
        assert_eq!(elements, expected);
        assert!(text.ends_with(look.message), "{text}");
        assert!(drawn.contains(&format!(r#"role="img" aria-label="provenance: {}""#, look.message)));
        assert!(seen.insert(look.message) && seen.insert(look.glyph), "{state} looks like another state");
    }
}

#[test]
fn only_a_verified_badge_says_verified() {
    for state in STATES {
        let all = [svg(&verdict(state, "base")), shields(&verdict(state, "base")).to_string()].concat();
        assert_eq!(all.contains("verified"), state == State::Verified, "{state}");
    }
}

#[test]
fn hostile_names_stay_text() {
    for state in STATES {
        let hostile = verdict(state, HOSTILE);
        assert_eq!(parse(&svg(&hostile)).0, parse(&svg(&verdict(state, "base"))).0);
        let snippet = markdown(&hostile, "https://example.org/b.svg", "a b)](javascript:1)<x>\n");
        assert_eq!(snippet.lines().count(), 1);
        assert!(snippet.ends_with("](a%20b%29%5D%28javascript:1%29%3Cx%3E%0A)"), "{snippet}");
        assert!(!snippet.contains("[x]"), "{snippet}");
    }
}

#[test]
fn the_title_is_about_the_artifact() {
    let drawn = svg(&verdict(State::Verified, "base & co"));
    assert!(
        drawn.contains("<title>base &amp; co: every check that the policy asks for passed; signed by base &amp; co<")
    );
    assert!(svg(&verdict(State::Absent, "")).contains("<title>this artifact: no provenance was found<"));
}

/// Relative luminance, WCAG 2.
fn luminance(colour: &str) -> f64 {
    let channel = |at: usize| {
        let c = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

fn contrast(a: &str, b: &str) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// The text colour that shields.io chooses for a background.
fn shields_text(colour: &str) -> &'static str {
    let channel = |at: usize| f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap());
    let brightness = (channel(1) * 299.0 + channel(3) * 587.0 + channel(5) * 114.0) / 255_000.0;
    if brightness <= 0.69 { "#ffffff" } else { "#333333" }
}

#[test]
fn text_is_readable_here_and_on_shields() {
    assert!(contrast(LABEL_COLOUR, "#ffffff") >= 4.5);
    for state in STATES {
        let look = wording::look(state);
        assert!(contrast(look.colour, look.text) >= 4.5, "{state}");
        assert!(contrast(look.colour, shields_text(look.colour)) >= 4.5, "{state} on shields.io");
    }
}

#[test]
fn shields_has_only_allowed_keys() {
    const ALLOWED: [&str; 13] = [
        "schemaVersion",
        "label",
        "message",
        "color",
        "labelColor",
        "isError",
        "namedLogo",
        "logoSvg",
        "logoColor",
        "logoWidth",
        "logoSize",
        "style",
        "cacheSeconds",
    ];
    for state in STATES {
        let document = shields(&verdict(state, HOSTILE));
        assert!(document.as_object().unwrap().keys().all(|key| ALLOWED.contains(&&**key)));
        assert_eq!(document["schemaVersion"], 1);
        assert!(!document["message"].as_str().unwrap().is_empty());
        assert_eq!(document["isError"], state.exit_code() != 0);
        parse(document["logoSvg"].as_str().unwrap());
    }
}

#[test]
fn a_lasting_snippet_names_no_state() {
    let verdict = verdict(State::Verified, "my_model[1]");
    let live = markdown(&verdict, "https://example.org/badge.svg?a=1&b=2", "https://example.org/");
    assert_eq!(live, r"[![provenance of my\_model\[1\]](https://example.org/badge.svg?a=1&b=2)](https://example.org/)");
    let file = markdown(&verdict, "badge.svg", "my_model.provenance.json");
    assert_eq!(file, "[![provenance: verified](badge.svg)](my_model.provenance.json)");
}

#[test]
fn a_part_is_not_the_whole() {
    let mut part = verdict(State::Verified, "model");
    part.scope = Some("tensor w".to_owned());
    assert_eq!(countermark_badge::shields(&part)["isError"], true);
    assert!(countermark_badge::svg(&part).contains("could not be checked"));
    part.state = State::Invalid;
    assert!(countermark_badge::svg(&part).contains("invalid"));
}

/// Who cuts the scope out of a verdict on a part leaves its schema.
#[test]
fn a_verdict_of_another_schema_is_never_green() {
    let mut part = verdict(State::Verified, "model");
    part.schema = countermark_lineage::verdict::SCHEMA_OF_PART.to_owned();
    assert_eq!(countermark_badge::shields(&part)["isError"], true);
    part.schema = "countermark.dev/verdict/v9".to_owned();
    assert!(countermark_badge::svg(&part).contains("could not be checked"));
}
