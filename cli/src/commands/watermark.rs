//! `watermark embed` and `watermark detect`.

use countermark::mark::{self, DetectRequest, EmbedRequest};
use countermark::watermark::{Strength, Verdict};

use crate::args::{Detect, Embed, Format, Watermark};
use crate::bar::Bar;
use crate::print::{self, BOLD, RESET, Result};

pub fn run(args: Watermark) -> Result<u8> {
    match args {
        Watermark::Embed(args) => embed(args),
        Watermark::Detect(args) => detect(args),
    }
}

fn embed(args: Embed) -> Result<u8> {
    let request = EmbedRequest {
        model: args.model,
        key: args.key,
        out: args.out,
        log: args.log,
        strength: args.strength.map_or(Strength::Auto, Strength::Decibel),
        payload: args.payload.as_deref().map(payload).transpose()?,
        recipient: args.recipient,
    };
    let bar = Bar::new();
    let embedded = mark::embed(&request, &bar)?;
    drop(bar);
    if args.format == Format::Json {
        print::json(&embedded)?;
        return Ok(0);
    }
    print::line(format_args!("mark        {}", embedded.mark_id))?;
    print::line(format_args!("weights     {} marked", embedded.report.weights))?;
    print::line(format_args!("distortion  {:.2} dB over all matrices, after the cast", embedded.report.distortion_db))?;
    print::line(format_args!("commitment  {}", embedded.record.display()))?;
    match embedded.entry {
        Some(index) => print::line(format_args!("log         entry {index}"))?,
        None => eprintln!("help: add --log DIR to commit to the mark before the model is released"),
    }
    print::line(format_args!("model       {}", request.out.display()))?;
    let (out, key) = (request.out.display(), request.key.display());
    eprintln!("next: countermark watermark detect {out} --key {key}");
    Ok(0)
}

fn payload(text: &str) -> std::result::Result<[u8; 16], String> {
    let digits: Option<Vec<u8>> =
        text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    digits
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("--payload {text:?} is not 32 hexadecimal digits\nhelp: a payload has 16 bytes"))
}

fn detect(args: Detect) -> Result<u8> {
    let request = DetectRequest { model: args.model, key: args.key, commitment: args.commitment, base: args.base };
    let bar = Bar::new();
    let detection = mark::detect(&request, &bar)?;
    drop(bar);
    let report = &detection.report;
    let (word, code) = match report.verdict {
        Verdict::Detected => ("detected", 0),
        Verdict::NotDetected => ("not detected", 1),
        Verdict::TooSmall => ("too small to tell", 3),
    };
    if args.format == Format::Json {
        print::json(&detection)?;
        return Ok(code);
    }
    print::line(format_args!("{BOLD}{word}{RESET} in {}", request.model.display()))?;
    let odds = format!("log10 p = {:.2}, needs {:.2}", report.log10_p, report.threshold_log10_p);
    print::line(format_args!("odds        {odds}, after paying for {} hypotheses", report.hypotheses))?;
    print::line(format_args!("weights     {}", report.weights))?;
    if let Some(payload) = &report.payload {
        let check = if report.payload_ok == Some(true) { "as committed" } else { "not the committed one" };
        let payload: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        print::line(format_args!("payload     {payload} ({check})"))?;
    }
    print::line(format_args!("commitment  {}", detection.commitment))?;
    if let Some(recipient) = &detection.recipient {
        print::line(format_args!("copy of     {recipient}"))?;
    }
    if let Some(distortion) = report.distortion_db {
        print::line(format_args!("distortion  {distortion:.2} dB against the base"))?;
    }
    if report.verdict == Verdict::NotDetected {
        eprintln!("help: a missing detection proves nothing");
    }
    Ok(code)
}
