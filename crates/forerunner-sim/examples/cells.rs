//! scratch
use forerunner_forecast::{Objective, PolicyKind, PolicyLimits, build};
use forerunner_sim::{Replay, Trace, least_fixed, perfect, replay};
use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let kind: PolicyKind = args[1].parse().unwrap();
    let short = args.get(2).is_some_and(|a| a == "short");
    let only = args.get(3).cloned();
    let best: HashMap<(String, u32), (f64, String)> = std::fs::read_to_string("/tmp/best.csv")
        .unwrap()
        .lines()
        .skip(1)
        .map(|l| {
            let p: Vec<_> = l.split(',').collect();
            (
                (p[0].to_owned(), p[1].parse().unwrap()),
                (p[2].parse().unwrap(), format!("fixed {} proto {}", p[4], p[5])),
            )
        })
        .collect();
    let mut names: Vec<_> = best.keys().map(|k| k.0.clone()).collect();
    names.sort();
    names.dedup();
    if short {
        names.retain(|n| !n.starts_with("nab") && !n.starts_with("servegen"));
    }
    if let Some(o) = only {
        names.retain(|n| n.contains(&o));
    }
    let mut cells: Vec<(String, u32)> = names.iter().flat_map(|n| [2, 10, 30].map(|c| (n.clone(), c))).collect();
    cells.sort_by_key(|c| !(c.0.starts_with("nab") || c.0.starts_with("servegen")));
    let cache = Mutex::new(
        std::fs::read_to_string("/tmp/cells.csv")
            .unwrap_or_default()
            .lines()
            .map(|l| {
                let p: Vec<_> = l.split(',').collect();
                (
                    (p[0].to_owned(), p[1].parse::<u32>().unwrap()),
                    (p[2].parse::<u32>().unwrap(), p[3].parse::<f64>().unwrap(), p[4].parse::<f64>().unwrap()),
                )
            })
            .collect::<HashMap<_, _>>(),
    );
    let next = AtomicUsize::new(0);
    let out = Mutex::new(vec![None; cells.len()]);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some((name, cold)) = cells.get(i) else { break };
                    let trace = Trace::read(format!("/work/shared/traces/{name}.csv.gz")).unwrap();
                    let limits = PolicyLimits {
                        min: 1,
                        max: u32::MAX,
                        cold_start_s: f64::from(*cold),
                        tick_s: 1.0,
                        objective: Objective::default(),
                    };
                    let cached = cache.lock().unwrap().get(&(name.clone(), *cold)).copied();
                    let (size, fixed, perf) = cached.unwrap_or_else(|| {
                        let (size, fixed) = least_fixed(&trace, limits);
                        (size, fixed.instance_s, perfect(&trace, &Replay::new(limits)).instance_s)
                    });
                    if cached.is_none() {
                        cache.lock().unwrap().insert((name.clone(), *cold), (size, fixed, perf));
                    }
                    let limits = PolicyLimits { max: 2 * size, ..limits };
                    let t = Instant::now();
                    let mut p = build(kind, limits).unwrap();
                    let r = replay(&trace, p.as_mut(), &Replay::new(limits)).report;
                    out.lock().unwrap()[i] = Some((name.clone(), *cold, r, fixed, perf, t.elapsed().as_secs_f64()));
                }
            });
        }
    });
    let c = cache.into_inner().unwrap();
    let text: Vec<String> = c.iter().map(|(k, v)| format!("{},{},{},{},{}", k.0, k.1, v.0, v.1, v.2)).collect();
    std::fs::write("/tmp/cells.csv", text.join("\n")).unwrap();
    let mut rows: Vec<_> = out.into_inner().unwrap().into_iter().flatten().collect();
    rows.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let (mut ok1, mut ok125, mut late, mut lr, mut lratio, mut met) = (0, 0, 0.0, 0.0, 0.0, 0);
    for (name, cold, r, fixed, perf, t) in &rows {
        let ratio = r.instance_s / perf;
        let (b, note) = &best[&(name.clone(), *cold)];
        let l = 100.0 * r.late_share;
        late += l;
        lr += ratio.ln();
        if l <= 1.0 {
            ok1 += 1
        }
        if l <= 1.25 {
            ok125 += 1;
            met += 1;
            lratio += (ratio / b).ln();
        }
        println!(
            "{name:<22} {cold:>3} late {l:>5.2} cost {ratio:>5.2} best {b:>5.2} rel {:>5.2} {} | {note} ours fixed {:.2} peak {} p99 {:.1} acts {} {:.1}s",
            ratio / b,
            if l <= 1.0 {
                "ok"
            } else if l <= 1.25 {
                "~"
            } else {
                "MISS"
            },
            fixed / perf,
            r.peak_pool,
            r.wait_s.p99,
            r.scale_actions,
            t
        );
    }
    let n = rows.len() as f64;
    println!(
        "cells {n} <=1: {ok1} <=1.25: {ok125} mean late {:.3} geomean cost {:.3} rel to best peer on met {:.3}",
        late / n,
        (lr / n).exp(),
        (lratio / f64::from(met)).exp()
    );
}
