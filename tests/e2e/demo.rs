//! The demo, short.

use std::{fs, time::Duration};

use forerunner_e2e::Site;

#[actix_rt::test]
async fn the_demo_succeeds_and_leaves_nothing_behind() {
    let site = Site::new();
    // The demo's temporary directories are created here, where leftovers are visible.
    let aside = site.path("aside");
    fs::create_dir(&aside).expect("a fresh directory can be written to");
    let demo = site.program().env("TMPDIR", &aside).within(Duration::from_secs(120));
    let told = demo.run(["demo", "--minutes", "2", "--speed", "20", "--output", "json"]).await.ended(0).json();
    let number = |name: &str| told[name].as_f64().unwrap_or_else(|| panic!("no {name}: {told}"));
    assert!(number("tasks") > 100.0, "{told}");
    assert!(number("succeeded") >= 0.99 * number("tasks"), "{told}");
    assert!((0.0..=1.0).contains(&number("on_time_share")), "{told}");
    assert!(told["wait_s"]["p99"].is_number() && told["compared"].is_array(), "{told}");
    site.empty(Duration::from_secs(2)).await;
    let left: Vec<_> = fs::read_dir(&aside).expect("still there").filter_map(Result::ok).collect();
    assert!(left.is_empty(), "{left:?}");
    println!("{} of {} tasks succeeded in {} s", number("succeeded"), number("tasks"), number("duration_s"));
}
