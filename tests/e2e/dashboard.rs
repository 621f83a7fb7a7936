//! The dashboard, as a browser sees it.

use std::{fs, path::Path, time::Duration};

use forerunner_e2e::{Browser, Call, Client, Nodes, PgServer, Pool, Service, Site, eventually, holds};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const SIMULATED: &str = r#"
[pools.busy]
min = 2
max = 8
agent = { kind = "simulated", cold_start = "100ms", service = "50ms" }

[pools.idle]
min = 1
max = 2
agent = { kind = "simulated" }
"#;
/// An input, a context and a label that would run if they were markup.
const HOSTILE: [&str; 2] = ["<script>window.hit=1</script>", "<img/src=x/onerror=window.hit=2>"];

async fn show(service: &Service, path: &str) -> Browser {
    let mut browser = Browser::start(1280, 800).await;
    browser.open(&format!("{}/{path}", service.address())).await;
    browser
}

/// Asserts that the page contacted only the node, and that no request failed and no script threw.
async fn stays_at_home(browser: &mut Browser, service: &Service) {
    let home = format!("{}/", service.address());
    let requested = browser.requested().await;
    assert!(requested.iter().any(|url| url.contains("/history")), "{requested:?}");
    let foreign: Vec<_> = requested.iter().filter(|url| !url.starts_with(&home) && !url.starts_with("data:")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert_eq!(browser.complaints().await, [""; 0]);
}

/// The cells of the row of a pool, by the names of their columns.
async fn row(browser: &mut Browser, pool: &str) -> Value {
    let script = format!(
        "Object.fromEntries([...(document.querySelector('[data-key=\"pool-{pool}\"]')?.closest('tr')?.cells ?? [])]
          .map((cell) => [cell.dataset.label, cell.innerText.trim()]))"
    );
    browser.evaluate(&script).await
}

async fn work(client: &Client, pool: &str, tasks: u32) {
    for number in 0..tasks {
        client.submit(pool, json!({ "number": number })).await;
    }
    client.settled(pool, SOON).await;
}

#[actix_rt::test]
async fn the_page_shows_what_the_api_says() {
    let site = Site::new().with(SIMULATED, &[]);
    let service = site.serve().await;
    let client = service.client();
    work(&client, "busy", 30).await;
    let mut browser = show(&service, "").await;
    browser.until("document.querySelectorAll('#plots svg[data-key]').length === 5", SOON).await;

    // The values change during the comparison: they must agree at some moment, for all figures at the same moment.
    eventually("the figures of the page are those of the API", SOON, async || {
        let pool = client.get("/v1/pools/busy").await;
        let shown = row(&mut browser, "busy").await;
        let told = [&pool["desired"], &pool["agents"]["ready"], &pool["agents"]["busy"], &pool["depth"]];
        let seen = ["wanted", "ready", "busy", "depth"].map(|name| shown[name].as_str().unwrap_or_default());
        let late = pool["recent"]["started"] == 30 && shown["late"].as_str()?.ends_with("of 1.00 %");
        (told.map(ToString::to_string) == seen && late && shown["p99"] != "–").then_some(())
    })
    .await;
    let title = browser.text("#pool-title").await;
    assert!(title.starts_with("busy"), "the first pool is shown: {title}");
    assert!(browser.text("#pool-about").await.contains("2 to 8"));
    assert_eq!(browser.evaluate("document.querySelectorAll('#tasks tbody tr').length").await, 20);
    let agents = client.get("/v1/pools/busy/agents").await["agents"].as_array().map(Vec::len);
    browser
        .until(&format!("document.querySelectorAll('#agents tbody tr').length === {}", agents.unwrap_or(0)), SOON)
        .await;
    browser.until("document.querySelector('#decisions li a')?.href.includes('/v1/pools/busy/decisions/')", SOON).await;
    let has_lines = "[...document.querySelectorAll('#plots path.arrived, #plots path.wanted')].every((p) => p.getAttribute('d').length > 10)";
    browser.until(has_lines, SOON).await;
    assert!(!browser.text("#plots").await.contains("NaN"));

    // The cursor of the keyboard stays where it is while the charts are drawn anew.
    let press = "(document.querySelector('[data-key=plot-agents]').focus(),
      document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft', bubbles: true })),
      document.activeElement.remembered = true, document.querySelector('#tip').innerText.includes('wanted'))";
    browser.until(press, SOON).await;
    browser.until("!document.querySelector('[data-key=plot-agents]').remembered", SOON).await;
    let kept = "[document.activeElement.dataset.key, document.querySelector('#tip').hidden]";
    assert_eq!(browser.evaluate(kept).await, json!(["plot-agents", false]));

    // A schedule appears on the page that is open.
    assert_eq!(browser.evaluate("document.querySelector('#schedules-card').hidden").await, true);
    let often = json!({ "name": "often", "pool": "idle", "every": "1h", "input": null });
    let _ = client.ask(Call::new("POST", "/v1/schedules").json(&often)).await.expect(201);
    browser.until("/often.*idle.*every 1h.* in /s.test(document.querySelector('#schedules').innerText)", SOON).await;

    // The other pool is idle, and explains how to begin.
    browser.evaluate("location.hash = '#pool=idle'").await;
    browser.until("document.querySelector('#pool-title').innerText.startsWith('idle')", SOON).await;
    browser.until("document.querySelector('#tasks').innerText.includes('curl')", SOON).await;
    browser.size(390, 844).await;
    browser.until("document.documentElement.scrollWidth <= 390", SOON).await;
    stays_at_home(&mut browser, &service).await;
}

#[actix_rt::test]
async fn what_tasks_and_agents_say_stays_text() {
    let site = Site::new();
    let says = site.path("says.py");
    // The example agent, except for its progress lines.
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/protocol_agent.py");
    let example = fs::read_to_string(example).expect("the example is there");
    let (before, after) = example.split_once("    words = str(text).split()\n").expect("its work begins so");
    let script = format!("{before}    raise AgentError(1, \"no: {}\")\n{after}", HOSTILE.concat());
    fs::write(&says, script).expect("a fresh directory can be written to");
    let pool = Pool::of("work", ["python3", says.to_str().expect("a temporary path is text")])
        .set("max = 2\ntask.max_attempts = 1");
    let site = site.with("", &[pool]);
    let service = site.serve().await;
    let client = service.client();
    for hostile in HOSTILE {
        let task = json!({ "input": hostile, "context": hostile, "labels": { "label": hostile } });
        client.ask(Call::submit("work", &task)).await.expect(202);
    }
    let ended = client.settled("work", SOON).await;
    assert!(
        ended.iter().all(|task| task["error"]["message"].as_str().is_some_and(|text| text.contains("<script>"))),
        "{ended:?}"
    );

    let mut browser = show(&service, "#pool=work").await;
    browser
        .until("document.querySelector('#tasks').innerText.includes('<img/src=x/onerror=window.hit=2>')", SOON)
        .await;
    browser.until("document.querySelector('#tasks').innerText.includes('<script>window.hit=1</script>')", SOON).await;
    assert_eq!(
        browser.evaluate("[typeof window.hit, document.querySelectorAll('main img, main script').length]").await,
        json!(["undefined", 0])
    );
    stays_at_home(&mut browser, &service).await;
}

#[actix_rt::test]
async fn a_page_that_stays_open_goes_on_when_its_node_is_back() {
    let site = Site::new().with(SIMULATED, &[]);
    let service = site.serve().await;
    let address = service.address().to_owned();
    work(&service.client(), "busy", 5).await;
    let mut browser = show(&service, "").await;
    browser.until("document.querySelector('#live').innerText.startsWith('live')", SOON).await;
    browser.until("document.querySelectorAll('#tasks tbody [data-key^=task-]').length === 5", SOON).await;
    service.kill();
    browser.until("document.querySelector('#live').innerText.includes('no answer')", SOON).await;
    browser.until("document.querySelector('#main').classList.contains('stale')", SOON).await;
    assert!(!browser.text("#tiles").await.is_empty(), "the last figures stay");

    // On the same port, as a node that is restarted has it.
    let listen = format!("FORERUNNER__HTTP__LISTEN={}", address.trim_start_matches("http://"));
    let service = site.serve_under(&["env", &listen]).await;
    work(&service.client(), "busy", 3).await;
    browser.until("document.querySelector('#live').innerText.startsWith('live')", SOON).await;
    browser.until("!document.querySelector('#main').classList.contains('stale')", SOON).await;
    browser.until("document.querySelectorAll('#tasks tbody [data-key^=task-]').length === 8", SOON).await;
    // The memory of the earlier node is lost, and the charts begin anew.
    let begun = "fetch('/v1/pools/busy/history').then((answer) => answer.json()).then((history) => history.started)";
    assert_eq!(browser.evaluate(begun).await, 3);
    stays_at_home(&mut browser, &service).await;
}

#[actix_rt::test]
async fn a_page_tells_of_a_pause_and_of_an_open_circuit() {
    let broken = Pool::of("broken", ["false"]).set("min = 1\nmax = 1");
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1), broken]);
    let service = site.serve().await;
    let client = service.client();
    client.ask(Call::new("POST", "/v1/pools/work:pause")).await.expect(200);
    let mut browser = show(&service, "#pool=work").await;
    browser.until("document.querySelector('#pool-notices').innerText.includes('pool resume work')", SOON).await;
    browser.evaluate("location.hash = '#pool=broken'").await;
    // The next agent starts and fails with another process id during the comparison.
    eventually("the page says why the circuit is open", SOON, async || {
        let pool = client.get("/v1/pools/broken").await;
        let (told, row) = (browser.text("#pool-notices").await, row(&mut browser, "broken").await);
        let reason = pool["reason"].as_str()?;
        holds(told.contains("Circuit open") && told.contains(reason) && row["state"] == "circuit open")
    })
    .await;
    stays_at_home(&mut browser, &service).await;
}

#[actix_rt::test]
async fn page_forecast_and_reason_tell_of_tasks_that_are_known_to_come() {
    let site = Site::new().with(SIMULATED, &[]);
    let service = site.serve().await;
    let client = service.client();
    let mut browser = show(&service, "#pool=idle").await;
    let run_at = browser.evaluate("new Date(Date.now() + 50000).toISOString()").await;
    for number in 0..3 {
        let body = json!({ "input": number, "run_at": run_at });
        client.ask(Call::new("POST", "/v1/pools/idle/tasks").json(&body)).await.expect(202);
    }
    let told = "document.querySelector('#tiles').innerText.includes('known to become due within')";
    browser.until(&format!("{told} && document.querySelector('#tiles').innerText.includes('next 3 in')"), SOON).await;
    let forecast = client.get("/v1/pools/idle/forecast").await["forecast"]["announced"].clone();
    assert_eq!((&forecast["next_tasks"], &forecast["within_horizon"]), (&json!(3), &json!(0)), "{forecast}");
    let newest = client.get("/v1/pools/idle/decisions?limit=1").await["decisions"][0]["detail"].clone();
    assert!(newest.as_str().is_some_and(|detail| detail.contains("; 3 tasks are scheduled for ")), "{newest}");
    stays_at_home(&mut browser, &service).await;
}

#[actix_rt::test]
async fn on_several_nodes_a_page_says_whose_figures_it_shows() {
    let server = PgServer::start(false);
    let pool = |effects: &_| vec![Pool::writing("work", effects).fixed(4)];
    let nodes = Nodes::start(&server.database(), 2, "log.level = \"error\"", pool).await;
    let clients = nodes.clients();
    let led = async || {
        let known = clients[0].get("/v1/nodes").await["nodes"].as_array().cloned().unwrap_or_default();
        let leads = known.iter().position(|node| node["leads"] == true)?;
        (known.len() == 2).then(|| (known[leads]["this"] == true, leads))
    };
    let (first_leads, _) = eventually("one of two nodes leads", SOON, led).await;
    let (leader, follower) = if first_leads { (0, 1) } else { (1, 0) };
    for number in 0..40 {
        clients[number % 2].submit("work", json!(number)).await;
    }
    clients[0].settled("work", SOON).await;
    // Tasks are counted where they began, and each began once.
    eventually("all tasks are in one of the histories", SOON, async || {
        let mut begun = 0;
        for client in &clients {
            begun += client.get("/v1/pools/work/history").await["started"].as_u64().unwrap_or_default();
        }
        holds(begun == 40)
    })
    .await;

    let mut browser = show(nodes.node(follower), "").await;
    browser.until("document.querySelectorAll('#nodes tbody tr').length === 2", SOON).await;
    browser.until("document.querySelector('#notices').innerText.includes('This node follows')", SOON).await;
    browser.until("document.querySelector('#plots-note').innerText.includes('on this node')", SOON).await;
    let roles = browser.text("#nodes").await;
    assert!(roles.contains("leads") && roles.contains("follows, shows this page"), "{roles}");
    // The node has all arrivals, also those that the other node accepted.
    let arrived = "fetch('/v1/pools/work/history').then((answer) => answer.json())
      .then((history) => history.points.reduce((sum, point) => sum + (point.rate_per_s ?? 0) * history.slot_s, 0))";
    let arrived = browser.evaluate(arrived).await.as_f64().unwrap_or_default();
    assert!(arrived > 30.0, "{arrived} of 40 arrivals are known");
    stays_at_home(&mut browser, nodes.node(follower)).await;

    browser.open(nodes.node(leader).address()).await;
    browser.until("document.querySelector('#about').innerText.includes('it plans for all')", SOON).await;
    assert!(!browser.text("#notices").await.contains("follows"));
}
