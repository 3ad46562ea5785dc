//! Wall and CPU time of things done one after the other, as one Markdown table. Linux only, as it asks `/proc` for CPU time.

use std::time::Instant;

/// Wall and CPU seconds.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

impl Cost {
    fn min(self, other: Cost) -> Cost {
        Cost { wall: self.wall.min(other.wall), cpu: self.cpu.min(other.cpu) }
    }
}

/// CPU seconds of this process and of the children that it waited for, in steps of a hundredth.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime, stime, cutime, cstime: fields 14 to 17 of proc(5), the first two of which stand before the bracket.
    fields[11..15].iter().map(|field| field.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn cost(work: &dyn Fn()) -> Cost {
    let (cpu_before, since) = (cpu(), Instant::now());
    work();
    Cost { wall: since.elapsed().as_secs_f64(), cpu: cpu() - cpu_before }
}

pub struct Row<'a> {
    /// What is measured.
    pub what: &'a str,
    /// Row to compare with.
    pub beside: Option<usize>,
    /// The work.
    pub work: Box<dyn Fn() + 'a>,
}

/// Prints a Markdown table; `amount` of `unit` are gone through by each row. Every row is the best of `rounds`.
pub fn table(title: &str, amount: f64, unit: &str, rounds: usize, rows: &[Row<'_>]) {
    let mut costs: Vec<Option<Cost>> = vec![None; rows.len()];
    for _ in 0..rounds {
        for (row, best) in rows.iter().zip(&mut costs) {
            let now = cost(&*row.work);
            *best = Some(best.map_or(now, |best| best.min(now)));
        }
    }
    println!("\n| {title} | wall | CPU | {unit}/s | wall, CPU beside |\n|---|---|---|---|---|");
    for (row, cost) in rows.iter().zip(&costs) {
        let Some(cost) = cost else { continue };
        let beside = row.beside.and_then(|index| costs[index].map(|other| (index, other)));
        let beside = beside.map_or_else(String::new, |(index, other)| {
            let (wall, cpu) = (other.wall / cost.wall, other.cpu / cost.cpu.max(0.01));
            format!("{wall:.2}, {cpu:.2} × {}", rows[index].what)
        });
        println!("| {} | {:.3} s | {:.2} s | {:.2} | {beside} |", row.what, cost.wall, cost.cpu, amount / cost.wall);
    }
}
