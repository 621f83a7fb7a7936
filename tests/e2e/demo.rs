//! The demo, with a short live part.

use std::{fs, time::Duration};

use forerunner_e2e::{Finished, Site};
use serde_json::Value;

/// Runs the demo where anything that it leaves is seen.
async fn run(site: &Site, line: &[&str]) -> Finished {
    let aside = site.path("aside");
    fs::create_dir_all(&aside).expect("a fresh directory can be written to");
    let demo = site.program().env("TMPDIR", &aside).within(Duration::from_secs(240));
    let finished = demo.run(line).await.ended(0);
    site.empty(Duration::from_secs(2)).await;
    let left: Vec<_> = fs::read_dir(&aside).expect("still there").filter_map(Result::ok).collect();
    assert!(left.is_empty(), "{left:?}");
    finished
}

fn number(told: &Value, path: &str) -> f64 {
    told.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path}: {told}"))
}

#[actix_rt::test]
async fn the_demo_succeeds_and_leaves_nothing_behind() {
    let site = Site::new();
    let line = ["demo", "--seconds", "40", "--against", "hpa", "--arrivals", "demo.csv", "--output", "json"];
    let told = run(&site, &line).await.json();
    assert!(number(&told, "/tasks") > 60.0, "{told}");
    assert!(number(&told, "/succeeded") >= 0.99 * number(&told, "/tasks"), "{told}");
    for share in ["/on_time_share", "/against/on_time_share", "/scheduled/on_time_share"] {
        assert!((0.0..=1.0).contains(&number(&told, share)), "{share}: {told}");
    }
    for name in ["/wait_s/p99", "/agent_seconds", "/agents_peak", "/scale_ups", "/duration_s", "/against/agent_seconds"]
    {
        assert!(number(&told, name) >= 0.0, "{name}: {told}");
    }
    assert_eq!((&told["against"]["policy"], number(&told, "/scheduled/tasks")), (&"hpa".into(), 20.0), "{told}");
    assert_eq!(told["verdict"].as_array().map(Vec::len), Some(3), "{told}");
    assert_eq!(number(&told, "/conversation/turns"), number(&told, "/conversation/items"), "no turn is forgotten");

    // The figures of virtual time are those of `replay` with the tasks that it wrote.
    let replay = ["replay", "demo.csv", "--warmup", "21m", "--as-live", "--cold-start", "4s", "--max", "48"];
    let rows = site
        .program()
        .run([&replay[..], &["--policy", "predictive", "--output", "json"]].concat())
        .await
        .ended(0)
        .json();
    let row = rows.as_array().into_iter().flatten().find(|row| row["policy"] == "predictive").expect("our row");
    let compared =
        told["compared"].as_array().into_iter().flatten().find(|run| run["run"] == "Forerunner").expect("a replay");
    let (said, replayed) = (number(compared, "/agent_seconds"), number(row, "/instance_s"));
    assert!((said / replayed - 1.0).abs() < 0.001, "{said} and {replayed}");
    println!("agent-seconds: {} live, {replayed} in virtual time", number(&told, "/agent_seconds"));
}

#[actix_rt::test]
async fn a_flat_load_is_one_on_which_a_fixed_pool_wins() {
    let site = Site::new();
    let ended = run(&site, &["demo", "--seconds", "40", "--flat"]).await;
    assert!(ended.stdout.contains("fixed at ") && ended.stdout.contains("This load is flat"), "{}", ended.stdout);
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ended.stdout);
    assert!(ended.stderr.lines().any(|line| line.contains("agents, ") && line.contains("on time")), "{}", ended.stderr);
}

#[actix_rt::test]
async fn arguments_that_make_no_sense_are_refused_before_anything_starts() {
    let site = Site::new();
    for (line, said) in [
        (["demo", "--against", "clairvoyant"], "predictive"),
        (["demo", "--cold-start", "10m"], "8s"),
        (["demo", "--seconds", "9"], "40..=90"),
    ] {
        let ended = site.program().run(line).await.ended(2);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}
