//! Chooses the codes of the payload by simulation, at equal change of the weights. Prints `docs/codes.md`.
//!
//! Pushing n slots to c of the host's own standard deviations changes the weights by D² N μ² = K(c) n = E, so that more
//! slots mean a smaller c. A slot starts at t, standard normal, and is left at m = max(t, c) on its bit's side. The
//! damage done to it is modelled on that scale; [`Damage::calibrate`] compares the models with the whole pipeline.
//!
//! Slots are independent in the pipeline as well, because their chips are.

use std::f64::consts::{SQRT_2, TAU};
use std::time::Instant;

use countermark_watermark::payload::polar::Polar;
use countermark_watermark::statistics::{THRESHOLD_LOG10_P, sign_flip_chernoff, sign_test};

/// Frames for each point of a curve.
const FRAMES: usize = 500;
/// List length of most rows: short, so that many codes can be compared.
const LIST: usize = 32;
/// Bits of the check in the rows with one.
const CHECK: usize = 24;

fn main() {
    println!("# Codes for the payload: simulation\n");
    println!("Made by `cargo run --release -p countermark-watermark --example code_simulation > docs/codes.md`.\n");
    println!(
        "E = D² N μ² is the budget of change, here in decibels: 1277 (31.06 dB) is −40 dB in 22.7 million weights with"
    );
    println!(
        "μ = 0.75; 760 and 500 are 28.81 and 26.99 dB. A code is better when it needs less. *Committed* codes find their"
    );
    println!(
        "codeword on the list by the hash in the record, the others by {CHECK} bits of CRC among the information (taken"
    );
    println!("as free of false matches). One decibel of E is one decibel of distortion, or 26 % more weights.\n");
    Damage::calibrate();
    full_payload();
    list_length();
    at_given_budgets();
    smaller_payloads();
    choices();
}

fn choices() {
    println!("\n## What was chosen\n");
    println!(
        "- Fewer slots are better against soups, because every slot first has to be pushed to zero; against noise they are"
    );
    println!(
        "  all alike. 576 is about the least with which one group alone reaches 2⁻¹²⁸ and may still lose a slot or two."
    );
    println!("- No check among the information: the record's hash tells the committed codeword, and costs nothing.");
    println!(
        "- Lists of 256 are at the normal approximation's bound: no other code of this length has much left to gain."
    );
    println!(
        "- 64 bits take 256 slots and 32 bits 192, because with fewer the odds themselves cannot pass 2⁻¹²⁸ with damage."
    );
    println!();
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn bits(&mut self, count: usize) -> Vec<bool> {
        (0..count).map(|_| self.next() >> 63 == 1).collect()
    }

    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (TAU * self.uniform()).cos()
    }
}

/// K(c), the mean squared push with the host's own noise: E = K(c) n.
fn push(c: f64) -> f64 {
    (1.0 + c * c) * libm::erfc(-c / SQRT_2) / 2.0 + c * (-c * c / 2.0).exp() / TAU.sqrt()
}

/// c for a budget in decibels spread over a number of slots.
fn target(budget_db: f64, slots: usize) -> f64 {
    let wanted = 10f64.powf(budget_db / 10.0) / slots as f64;
    let (mut low, mut high) = (-8.0, 32.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if push(middle) < wanted { low = middle } else { high = middle }
    }
    low
}

/// What happens to a slot after it was marked.
#[derive(Clone, Copy)]
enum Damage {
    /// The mean with the unmarked base, and noise of 5 %.
    Soup,
    /// Noise, relative to the weights.
    Noise(f64),
}

/// Magnitude pruning by 90 % acts like this much noise.
const PRUNE_90: Damage = Damage::Noise(0.71);
const HEAVY_NOISE: Damage = Damage::Noise(1.5);

impl Damage {
    /// The slot's correlation, on the scale of the host's, positive for the bit's side.
    fn slot(self, c: f64, random: &mut Random) -> f64 {
        let host = random.normal();
        let marked = host.max(c);
        match self {
            Damage::Soup => (host + marked) / 2.0 + 0.05 * random.normal(),
            Damage::Noise(sigma) => marked + sigma * random.normal(),
        }
    }

    fn slots(self, c: f64, slots: usize, random: &mut Random) -> Vec<f64> {
        (0..slots).map(|_| self.slot(c, random)).collect()
    }

    /// Share of slots on the wrong side, against what the pipeline left on 21 million synthetic weights.
    fn calibrate() {
        println!("## The channel models against the pipeline\n");
        println!("Share of slots on the wrong side; the pipeline's are from 21 million synthetic Student-t weights.\n");
        println!("| c | soup: model | pipeline | prune 90 %: model | pipeline |\n|---|---|---|---|---|");
        for (c, soup, pruned) in [(0.405, 0.363, 0.191), (0.849, 0.197, 0.091), (1.35, 0.071, 0.024)] {
            let share = |damage: Damage| {
                let slots = damage.slots(c, 200_000, &mut Random(1));
                slots.iter().filter(|&&slot| slot < 0.0).count() as f64 / slots.len() as f64
            };
            println!("| {c} | {:.3} | {soup} | {:.3} | {pruned} |", share(Damage::Soup), share(PRUNE_90));
        }
    }
}

/// A code under test.
enum Coder {
    Polar { code: Polar, bits: usize, list: usize },
    Convolutional,
}

impl Coder {
    fn polar(slots: usize, bits: usize, list: usize) -> Coder {
        Coder::Polar { code: Polar::new(slots, bits), bits, list }
    }

    fn slots(&self) -> usize {
        match self {
            Coder::Polar { code, .. } => code.slots(),
            Coder::Convolutional => convolutional::SLOTS,
        }
    }

    /// Whether a random frame arrives.
    fn frame(&self, damage: Damage, c: f64, random: &mut Random) -> bool {
        let mut send = |codeword: &[bool]| -> Vec<f64> {
            codeword.iter().map(|&bit| damage.slot(c, random) * if bit { -1.0 } else { 1.0 }).collect()
        };
        match self {
            Coder::Polar { code, bits, list } => {
                let codeword = code.encode(&Random(self.slots() as u64).bits(*bits));
                code.decode(&send(&codeword), *list).iter().any(|candidate| candidate.codeword == codeword)
            }
            Coder::Convolutional => {
                let information = Random(1).bits(convolutional::INFORMATION);
                convolutional::decode(&send(&convolutional::encode(&information))) == information
            }
        }
    }

    /// Share of frames lost. Stops early when they are many.
    fn lost(&self, damage: Damage, budget_db: f64, frames: usize) -> f64 {
        let c = target(budget_db, self.slots());
        let mut random = Random(2);
        let (mut lost, mut sent) = (0, 0);
        while sent < frames && lost < 40 {
            lost += usize::from(!self.frame(damage, c, &mut random));
            sent += 1;
        }
        lost as f64 / sent as f64
    }

    /// Budget at which one frame in a hundred is lost, in decibels, to about 0.1.
    fn needed_db(&self, damage: Damage) -> f64 {
        let mut budget = 36.0;
        while self.lost(damage, budget, 40) < 0.25 {
            budget -= 1.0;
        }
        let ln_lost = |budget| self.lost(damage, budget, FRAMES).max(0.5 / FRAMES as f64).ln();
        let (step, wanted) = (0.25, 0.01f64.ln());
        let mut worse = ln_lost(budget);
        loop {
            let better = ln_lost(budget + step);
            if better <= wanted {
                return budget + step * (worse - wanted) / (worse - better);
            }
            (budget, worse) = (budget + step, better);
        }
    }

    fn milliseconds(&self) -> f64 {
        let start = Instant::now();
        let mut random = Random(3);
        (0..20).for_each(|_| _ = self.frame(Damage::Soup, 0.7, &mut random));
        start.elapsed().as_secs_f64() * 50.0
    }
}

fn row(name: &str, coder: &Coder) {
    let [soup, prune, noise] = [Damage::Soup, PRUNE_90, HEAVY_NOISE].map(|damage| coder.needed_db(damage));
    println!("| {name} | {} | {soup:.1} | {prune:.1} | {noise:.1} |", coder.slots());
}

fn head() {
    println!("| code | slots | soup | prune 90 % | noise 150 % |\n|---|---|---|---|---|");
}

fn full_payload() {
    println!("\n## 128 bits: budget for 1 % of frames lost, dB\n\nLists of {LIST}.\n");
    head();
    row("convolutional K = 7, CRC-32", &Coder::Convolutional);
    for slots in [384, 576, 664] {
        row(&format!("polar, CRC-{CHECK}"), &Coder::polar(slots, 128 + CHECK, LIST));
    }
    for slots in [256, 320, 384, 448, 512, 576, 640, 664, 768, 1024] {
        row("polar, committed", &Coder::polar(slots, 128, LIST));
    }
}

fn list_length() {
    println!("\n## List length: 128 bits committed in 576 slots, soup\n");
    println!("The bound is the normal approximation of what any code of this length can do on the channel.\n");
    println!("| list | budget, dB | ms |\n|---|---|---|");
    for list in [1, 8, 32, 128, 256, 1024] {
        let coder = Coder::polar(576, 128, list);
        println!("| {list} | {:.2} | {:.1} |", coder.needed_db(Damage::Soup), coder.milliseconds());
    }
    println!("| bound | {:.2} | |", normal_approximation_db(576, 128.0));
}

/// Budget at which the normal approximation gives 1 % of frames lost: n C − √(n V) Q⁻¹(0.01) + ½ log₂ n = bits, for the
/// soup's channel without its noise.
fn normal_approximation_db(slots: usize, bits: f64) -> f64 {
    let surplus = |budget_db: f64| {
        let c = target(budget_db, slots);
        let mut random = Random(4);
        let draws = 200_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..draws {
            let host = random.normal();
            let y = (host + host.max(c)) / 2.0;
            let density = 1.0 - (soup_density(-y, c) / soup_density(y, c)).ln_1p() / 2f64.ln();
            sum += density;
            squares += density * density;
        }
        let mean = sum / f64::from(draws);
        let variance = squares / f64::from(draws) - mean * mean;
        let n = slots as f64;
        n * mean - 2.326 * (n * variance).sqrt() + 0.5 * n.log2() - bits
    };
    let (mut low, mut high) = (20.0, 36.0);
    for _ in 0..12 {
        let middle = (low + high) / 2.0;
        if surplus(middle) < 0.0 { low = middle } else { high = middle }
    }
    high
}

/// Density of (t + max(t, c)) / 2, without the factor 1/√τ.
fn soup_density(y: f64, c: f64) -> f64 {
    if y > c { (-y * y / 2.0).exp() } else { 2.0 * (-(2.0 * y - c).powi(2) / 2.0).exp() }
}

fn at_given_budgets() {
    println!("\n## At given budgets\n");
    println!(
        "Lost: share of frames lost under soup, lists of 256. Odds: log10 p of the sign-flip test with the codeword known,"
    );
    println!(
        "exceeded by 5 % of keys, under soup. Group: share of keys for which one group of four, disclosed alone, reaches"
    );
    println!("2⁻¹²⁸ after noise of 30 %.\n");
    println!("| E | code | slots | c | lost | odds | group |\n|---|---|---|---|---|---|---|");
    for budget in [1277.0f64, 760.0, 500.0] {
        let coders = [384, 512, 576, 640].map(|slots| Coder::polar(slots, 128, 256));
        for coder in std::iter::once(&Coder::Convolutional).chain(&coders) {
            let (budget_db, slots) = (10.0 * budget.log10(), coder.slots());
            let c = target(budget_db, slots);
            let name = if let Coder::Polar { .. } = coder { "polar" } else { "convolutional" };
            let lost = coder.lost(Damage::Soup, budget_db, FRAMES);
            let (odds, group) = (odds(slots, c), group(slots / 4, c));
            println!("| {budget} | {name} | {slots} | {c:.2} | {lost:.3} | {odds:.0} | {group:.2} |");
        }
    }
}

fn odds(slots: usize, c: f64) -> f64 {
    let mut random = Random(5);
    let mut odds: Vec<f64> = (0..100).map(|_| sign_flip(&Damage::Soup.slots(c, slots, &mut random))).collect();
    odds.sort_by(f64::total_cmp);
    odds[95]
}

fn group(slots: usize, c: f64) -> f64 {
    let mut random = Random(6);
    let reaches = |_: &i32| {
        let slots = Damage::Noise(0.3).slots(c, slots, &mut random);
        let agreeing = slots.iter().filter(|&&slot| slot > 0.0).count() as u64;
        let best = sign_flip(&slots).min(sign_test(agreeing, slots.len() as u64));
        // Two statistics were looked at.
        best + 2f64.log10() <= THRESHOLD_LOG10_P
    };
    (0..200).filter(reaches).count() as f64 / 200.0
}

fn sign_flip(slots: &[f64]) -> f64 {
    let weights: Vec<f64> = slots.iter().map(|slot| slot.abs()).collect();
    sign_flip_chernoff(&weights, slots.iter().sum())
}

fn smaller_payloads() {
    println!("\n## Smaller payloads: budget for 1 % of frames lost, dB\n\nLists of {LIST}.\n");
    head();
    for (bits, choices) in [(64, [128, 192, 256, 320]), (32, [96, 128, 192, 256])] {
        row(&format!("{bits} bits, CRC-{CHECK}"), &Coder::polar(choices[2], bits + CHECK, LIST));
        for slots in choices {
            row(&format!("{bits} bits, committed"), &Coder::polar(slots, bits, LIST));
        }
    }
}

/// The code that polar codes replaced: rate 1/4, constraint length 7, generators 173, 167, 135, 111 (octal), six zero
/// tail bits, soft Viterbi. 128 bits and their CRC-32.
mod convolutional {
    pub const INFORMATION: usize = 160;
    pub const SLOTS: usize = 4 * (INFORMATION + TAIL);
    const TAIL: usize = 6;
    const STATES: usize = 1 << TAIL;
    const GENERATORS: [u8; 4] = [0o173, 0o167, 0o135, 0o111];

    pub fn encode(information: &[bool]) -> Vec<bool> {
        let mut state = 0u8;
        let bits = information.iter().copied().chain([false; TAIL]);
        bits.flat_map(|bit| {
            let register = u8::from(bit) << TAIL | state;
            state = register >> 1;
            outputs(register)
        })
        .collect()
    }

    fn outputs(register: u8) -> [bool; 4] {
        GENERATORS.map(|generator| (register & generator).count_ones() % 2 == 1)
    }

    pub fn decode(soft: &[f64]) -> Vec<bool> {
        let mut paths: Vec<(f64, Vec<bool>)> = vec![(f64::NEG_INFINITY, Vec::new()); STATES];
        paths[0].0 = 0.0;
        for step in soft.chunks_exact(4) {
            let extend = |state: usize| {
                let ends = [0, 1].map(|oldest| {
                    let register = (state << 1 | oldest) as u8;
                    let gain: f64 = outputs(register).iter().zip(step).map(|(&bit, &y)| if bit { -y } else { y }).sum();
                    let from = register as usize & (STATES - 1);
                    (paths[from].0 + gain, from)
                });
                let (metric, from) = if ends[1].0 > ends[0].0 { ends[1] } else { ends[0] };
                (metric, [&paths[from].1[..], &[state >> (TAIL - 1) == 1]].concat())
            };
            paths = (0..STATES).map(extend).collect();
        }
        paths.swap_remove(0).1[..INFORMATION].to_vec()
    }
}
