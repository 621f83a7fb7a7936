//! Who may call: a choice beyond loopback, keys from the command line, and no key in any output.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use forerunner_e2e::{Call, Client, Nodes, PgServer, Pool, Site, eventually, holds};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
/// What is promised of a revocation.
const REVOKED: Duration = Duration::from_secs(10);

fn with_key(call: Call, key: &str) -> Call {
    call.header("Authorization", format!("Bearer {key}"))
}

async fn status(client: &Client, key: &str) -> u16 {
    client.ask(with_key(Call::get("/v1/pools"), key)).await.status
}

/// Makes a key that no store has, and returns it.
async fn first_key(site: &Site) -> String {
    let file = site.path("first.key").display().to_string();
    let made = ["key", "generate", "bootstrap", "--role", "admin", "--out", &file];
    let _ = site.program().run(made).await.ended(0);
    fs::read_to_string(file).expect("a key").trim().to_owned()
}

#[actix_rt::test]
async fn a_service_that_others_reach_starts_only_with_a_choice() {
    let site = Site::new();
    let serve = ["serve", "--listen", "0.0.0.0:0", "--store", "memory:", "--pool", "work=process:true"];
    let refused = site.program().run(serve).await.ended(2);
    for way in ["auth.mode = \"keys\"", "\"127.0.0.1:7077\"", "auth.mode = \"off\""] {
        assert!(refused.stderr.contains(way), "{way}: {}", refused.stderr);
    }
}

#[actix_rt::test]
async fn keys_are_made_and_used_and_are_in_no_output_of_a_whole_run() {
    let site = Site::new();
    let first = first_key(&site).await;
    let file = site.path("first.key").display().to_string();
    let lines = format!("log.level = \"trace\"\nauth.mode = \"keys\"\nauth.bootstrap_key_file = \"{file}\"");
    let site = site.with(&lines, &[Pool::builtin("work")]);
    let service = site.serve().await;
    let (client, server) = (service.client(), service.address().to_owned());
    assert_eq!(
        (client.ask(Call::get("/livez")).await.status, client.ask(Call::get("/v1/pools")).await.status),
        (200, 401)
    );

    let mut outputs = Vec::new();
    let mut run = async |arguments: &[&str], key: &str, code: i32| {
        let line = arguments.iter().copied().chain(["--server", &server, "--output", "json"]);
        let ended = site.program().env("FORERUNNER_TOKEN", key).run(line).await.ended(code);
        outputs.push(ended.stderr.clone());
        ended
    };
    let mut make = async |arguments: &[&str], key: &str| {
        let made = run(arguments, key, 0).await.json();
        let id = made["key"]["id"].as_str().expect("an id").to_owned();
        (made["secret"].as_str().expect("a key").to_owned(), id)
    };
    let (root, _) = make(&["key", "create", "root", "--role", "admin"], &first).await;
    let (ci, id) = make(&["key", "create", "ci", "--role", "submit", "--pool", "work"], &root).await;
    let (next, _) = make(&["key", "rotate", &id, "--overlap", "1h"], &root).await;
    let wrong = "fr_sub_00000000000000000000000000000000000000000000000";
    let listed = run(&["key", "list"], &root, 0).await.stdout;
    run(&["submit", "work", "--input", "\"s3cret payload\"", "--wait"], &ci, 0).await;
    run(&["pool", "pause", "work"], &ci, 1).await;
    run(&["pool", "list"], wrong, 2).await;
    run(&["key", "revoke", &id], &root, 0).await;
    assert_eq!(
        (status(&client, &ci).await, status(&client, &next).await, status(&client, wrong).await),
        (401, 200, 401)
    );

    let metrics = client.ask(with_key(Call::get("/metrics"), &root)).await.body.to_string();
    let config = site.program().run(["config", "show"]).await.ended(0).stdout;
    assert_eq!(service.stop(SOON).await, 0);
    let log = fs::read_to_string(site.path("log")).expect("a log");
    assert!(log.contains("TRACE") || log.contains("\"level\":\"trace\"") || log.len() > 10_000, "a log of all levels");
    for (place, text) in [("log", &log), ("metrics", &metrics), ("config show", &config), ("key list", &listed)] {
        for key in [&first, &root, &ci, &next] {
            // Without the part that names the role and the key.
            let secret = &key[key.len() - 38..key.len() - 6];
            assert!(!text.contains(secret), "{place} has a key");
            assert!(outputs.iter().all(|output| !output.contains(secret)), "standard error has a key");
        }
        assert!(!text.contains("s3cret payload"), "{place} has a payload");
    }
}

#[actix_rt::test]
async fn a_key_is_made_on_a_store_where_no_node_runs() {
    let site = Site::new().with("", &[Pool::builtin("work")]);
    let (store, out) = (format!("sqlite:{}", site.store().display()), site.path("root.key").display().to_string());
    let create = ["key", "create", "root", "--role", "admin", "--store", &store, "--out", &out];
    let _ = site.program().run(create).await.ended(0);
    let key = fs::read_to_string(&out).expect("a key");
    let site = site.with("auth.mode = \"keys\"", &[Pool::builtin("work")]);
    let service = site.serve().await;
    assert_eq!((status(&service.client(), key.trim()).await, status(&service.client(), "").await), (200, 401));
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn a_revoked_key_is_refused_by_every_node() {
    let (server, site) = (PgServer::start(false), Site::new());
    let first = first_key(&site).await;
    let file = site.path("first.key").display().to_string();
    let lines = format!("log.level = \"error\"\nauth.mode = \"keys\"\nauth.bootstrap_key_file = \"{file}\"");
    let nodes = Nodes::start(&server.database(), 3, &lines, |_| vec![Pool::builtin("work")]).await;
    let clients = nodes.clients();
    let post = async |path: &str, body: Value, key: &str| {
        let call = Call::new("POST", path).json(&body);
        clients[0].ask(with_key(call, key)).await
    };
    let made = post("/v1/keys", json!({ "name": "ci", "role": "read" }), &first).await.expect(201);
    let (key, id) = (made["secret"].as_str().expect("a key"), made["key"]["id"].as_str().expect("an id"));
    for client in &clients {
        eventually("each node knows the key", REVOKED, async || holds(status(client, key).await == 200)).await;
    }
    let revoked_at = tokio::time::Instant::now();
    post(&format!("/v1/keys/{id}:revoke"), json!({}), &first).await.expect(200);
    for client in &clients {
        let left = REVOKED.saturating_sub(revoked_at.elapsed());
        eventually("each node refuses the key", left, async || holds(status(client, key).await == 401)).await;
    }
}

/// The key of an identity provider, and a token of the subject `alice` with the role `submit` that it signed. Nobody has
/// the private key any more. The token expires in 2100.
const JWKS: &str = r#"{"keys":[{"kty":"RSA","kid":"rsa","n":"4KxWYrVsNDg5KbkMrpv1cM_i3tDRdtx2U04wAjYLar1Kl6EUZjEettV_nQ_MwA6SGBrwmzkVRWmPKLZuFy63xCqcx4Fpzo2jN9QPuF8eUuXyavHSqnml72q3Gu0eXRLtA1bWJKjFIXvJ6-FHYF0tLbFDaFotOTgWB3DZ8dAnCCmYXgjZQIShph4t8RXdgLYVWitdHiWvLedSIS2PywZpMN0ljA1Vf2erMH-JDnduzuZ4rT-BU_etFZO9AA1jrh_JQKcrQNZsoLQSrTqYi-uIfYNAdX_nQymLud3EVIONlInDS4olSQz1G3RA0MPeGWVh4OFwjybGmm5ffVzr5uS5yQ","e":"AQAB"}]}"#;
const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLnRlc3QiLCJhdWQiOiJmb3JlcnVubmVyIiw\
     ic3ViIjoiYWxpY2UiLCJleHAiOjQxMDI0NDQ4MDAsInJvbGUiOiJzdWJtaXQifQ.LCXGaK2KIcFvc11plZBWHDMpdm2JGmb9\
     PZtMo6iBcg1yUta_YnmxmzLG0h2Fj8q9GZdN2qUdq_O-SUThxAsW2IvXO6w48CFTN-PahtZ_vP2OSxDKi5IOsDm84CNor-9J\
     rgjMX9NQXDuV8_dfGkU4St7jqlzKGfTdfHPMUVfLAbbuiAR5547Eta2hRLXfSazSA00AUVKRbJjClqh0kZtpWLhEBIybH-kg\
     jRpLK2HAh74B0A4tvoGXwlOuSFJ6eM_pviJei90CI0DfIDMEkWZAZW_2T27tLeNvRR9PMFhRe1gto_B06ryR0dEnRV_sYHyl\
     HS2veWIpDjojhVAECCrH-Q";

#[actix_rt::test]
async fn tokens_of_an_identity_provider_are_accepted_beside_keys() {
    let site = Site::new();
    let first = first_key(&site).await;
    let (file, jwks) = (site.path("first.key").display().to_string(), site.path("jwks.json").display().to_string());
    let lines = format!(
        "auth.mode = \"keys+jwt\"\nauth.bootstrap_key_file = \"{file}\"\n\
         [auth.jwt]\nissuer = \"https://id.test\"\naudience = \"forerunner\"\njwks_file = \"{jwks}\"\nrefresh = \"1s\"\n"
    );
    let site = site.with(&lines, &[Pool::builtin("work")]);
    let service = site.serve().await;
    let client = service.client();
    let refused = client.ask(with_key(Call::get("/v1/pools"), TOKEN)).await;
    assert_eq!(refused.status, 503, "the provider is away: {}", refused.body);
    assert_eq!(status(&client, &first).await, 200, "keys need no provider");
    fs::write(&jwks, JWKS).expect("it can be written");
    eventually("the provider is back", SOON, async || holds(status(&client, TOKEN).await == 200)).await;
    let submit = Call::submit("work", &json!({ "input": 1 }));
    let task = client.ask(with_key(submit, TOKEN)).await.expect(202);
    let name = task["submitted_by"].as_str().unwrap_or_else(|| panic!("{task}"));
    assert!(name.starts_with("jwt-alice-"), "{name}");
    let refused = client.ask(with_key(Call::new("POST", "/v1/pools/work:pause"), TOKEN)).await;
    assert_eq!(
        (refused.status, &refused.body["role"], &refused.body["needs"]),
        (403, &json!("submit"), &json!("operate"))
    );
    let (message, _) = TOKEN.rsplit_once('.').expect("three parts");
    let forged = client.ask(with_key(Call::get("/v1/pools"), &format!("{message}.{}", "A".repeat(342)))).await;
    assert!(forged.status == 401 && forged.body["detail"].to_string().contains("signature"), "{}", forged.body);
    let ended =
        site.program().env("FORERUNNER_TOKEN", TOKEN).run(["pool", "list", "--server", service.address()]).await;
    let _ = ended.ended(0);
    // A key that the provider withdraws is not accepted for long.
    fs::write(&jwks, JWKS.replace("\"rsa\"", "\"next\"")).expect("it can be written");
    eventually("the key is withdrawn", SOON, async || holds(status(&client, TOKEN).await == 401)).await;
    assert_eq!(service.stop(SOON).await, 0);
}

/// A provider that answers over HTTP. Dropping it ends it.
struct Provider {
    process: Child,
    address: String,
}

impl Provider {
    /// Serves the files of a directory.
    fn serve(directory: &Path) -> Self {
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]).current_dir(directory);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("python3 is there");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it listens");
        let port = line.split_whitespace().skip_while(|word| *word != "port").nth(1).expect("a port");
        Self { address: format!("http://127.0.0.1:{port}"), process }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

#[actix_rt::test]
async fn the_keys_of_an_identity_provider_are_fetched_and_fetched_again_for_a_new_one() {
    let (site, files) = (Site::new(), Site::new());
    let provider = Provider::serve(files.directory());
    fs::write(files.path("jwks.json"), JWKS.replace("\"rsa\"", "\"old\"")).expect("it can be written");
    // It is read again because of a token, and not because of the time.
    let lines = format!(
        "auth.mode = \"jwt\"\n[auth.jwt]\nissuer = \"https://id.test\"\naudience = \"forerunner\"\n\
         jwks_url = \"{}/jwks.json\"\nrefresh = \"1h\"\n",
        provider.address
    );
    let site = site.with(&lines, &[Pool::builtin("work")]);
    let service = site.serve().await;
    let client = service.client();
    assert_eq!(status(&client, TOKEN).await, 401, "no key of that name has signed");
    fs::write(files.path("jwks.json"), JWKS).expect("it can be written");
    eventually("the new key is fetched", SOON, async || holds(status(&client, TOKEN).await == 200)).await;
    let key = "fr_sub_00000000000000000000000000000000000000000000000";
    assert_eq!(status(&client, key).await, 401, "keys are not accepted in this mode");
    drop(provider);
    assert_eq!(status(&client, TOKEN).await, 200, "the keys are known");
    assert_eq!(service.stop(SOON).await, 0);
}
