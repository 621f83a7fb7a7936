use std::net::Ipv4Addr;

use super::*;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn stored(token: &Token, revision: u64, change: impl FnOnce(&mut ApiKey)) -> StoredApiKey {
    let mut key = ApiKey { name: "ci".parse().unwrap(), role: Role::Submit, ..bootstrap_key(token) };
    change(&mut key);
    let definition = serde_json::to_string(&key).unwrap();
    StoredApiKey { id: token.id().clone(), revision, definition, last_used_day: None }
}

fn token() -> Token {
    Token::generate(Role::Submit).unwrap()
}

#[tokio::test]
async fn a_key_is_accepted_as_long_as_the_store_has_it() {
    let (ring, token, now) = (KeyRing::default(), token(), Instant::now());
    let denied = |ring: &KeyRing, at| ring.authenticate(token.reveal(), HOME, Timestamp::default(), at).unwrap_err();
    assert_eq!(denied(&ring, now), Denial::Stale, "nothing was read yet");
    assert!(ring.load(vec![stored(&token, 1, |_| {})], now).is_empty());
    let caller = ring.authenticate(token.reveal(), HOME, at(5), now).unwrap();
    assert_eq!((caller.name.as_str(), caller.role, caller.payloads), ("ci", Role::Submit, true));
    assert_eq!(denied(&ring, now + MAX_AGE + Duration::from_millis(1)), Denial::Stale);

    ring.load(vec![stored(&token, 2, |key| key.revoked_at = Some(at(1)))], now);
    assert_eq!(denied(&ring, now), Denial::Revoked);
    ring.load(vec![stored(&token, 3, |key| key.expires_at = Some(at(0)))], now);
    assert_eq!(denied(&ring, now), Denial::Expired);
    ring.load(vec![stored(&token, 4, |key| key.networks = vec!["10.0.0.0/8".parse().unwrap()])], now);
    assert_eq!(denied(&ring, now), Denial::Network(HOME));
    assert!(ring.authenticate(token.reveal(), "10.1.2.3".parse().unwrap(), at(5), now).is_ok());
    ring.load(Vec::new(), now);
    assert_eq!(denied(&ring, now), Denial::Unknown);
}

#[tokio::test]
async fn a_wrong_secret_of_a_known_id_is_an_unknown_key() {
    let (ring, right, now) = (KeyRing::default(), token(), Instant::now());
    // The row of another key under the id of this one: the same as another secret.
    let wrong = StoredApiKey { id: right.id().clone(), ..stored(&token(), 1, |_| {}) };
    ring.load(vec![wrong], now);
    let denial = ring.authenticate(right.reveal(), HOME, at(5), now).unwrap_err();
    assert_eq!(denial, Denial::Unknown);
    assert_eq!(ring.authenticate("fr_adm_x", HOME, at(5), now).unwrap_err(), Denial::Malformed);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_no_key_and_the_others_are() {
    let (ring, one, other, now) = (KeyRing::default(), token(), token(), Instant::now());
    let damaged = StoredApiKey { definition: "{".to_owned(), ..stored(&one, 1, |_| {}) };
    assert_eq!(ring.load(vec![damaged, stored(&other, 1, |_| {})], now), [one.id().clone()]);
    assert_eq!(ring.authenticate(one.reveal(), HOME, at(5), now).unwrap_err(), Denial::Unknown);
    assert!(ring.authenticate(other.reveal(), HOME, at(5), now).is_ok());
}

#[tokio::test]
async fn the_first_key_counts_until_there_is_another_admin() {
    let (first, admin, now) = (token(), token(), Instant::now());
    let ring = KeyRing::new(Vec::new(), Some(&first));
    ring.load(Vec::new(), now);
    assert_eq!(ring.authenticate(first.reveal(), HOME, at(5), now).unwrap().role, Role::Admin);
    let of_role = |role, expires| {
        vec![stored(&admin, 1, |key| {
            key.role = role;
            key.expires_at = expires;
        })]
    };
    ring.load(of_role(Role::Operate, None), now);
    assert!(ring.authenticate(first.reveal(), HOME, at(5), now).is_ok());
    let mut admins = of_role(Role::Admin, Some(at(9)));
    admins[0].revision = 2;
    ring.load(admins, now);
    assert_eq!(ring.authenticate(first.reveal(), HOME, at(5), now).unwrap_err(), Denial::Replaced);
    assert!(ring.authenticate(first.reveal(), HOME, at(9), now).is_ok(), "the other one has expired");
}

#[tokio::test]
async fn a_key_of_the_configuration_needs_no_store() {
    let token = token();
    let (id, hash) = (token.id(), String::from(token.hash()));
    let text = format!(r#"{{"name": "scrape", "id": "{id}", "sha256": "{hash}", "role": "metrics"}}"#);
    let ring = KeyRing::new(vec![serde_json::from_str(&text).unwrap()], None);
    let misspelt = text.replace('}', r#", "pool": ["coder"]}"#);
    assert!(serde_json::from_str::<ConfiguredKey>(&misspelt).is_err(), "it would have all pools");
    assert_eq!(ring.authenticate(token.reveal(), HOME, at(5), Instant::now()).unwrap().role, Role::Metrics);
    assert_eq!(ring.take_used(), [], "there is no row to note the use in");
}

#[tokio::test]
async fn the_first_use_of_each_day_is_noted() {
    let (ring, token, now) = (KeyRing::default(), token(), Instant::now());
    ring.load(vec![stored(&token, 1, |_| {})], now);
    let uses = |days: &[i64]| {
        days.iter().for_each(|day| drop(ring.authenticate(token.reveal(), HOME, at(day * DAY_MICROS), now).unwrap()));
        ring.take_used().len()
    };
    assert_eq!([uses(&[1, 1, 1]), uses(&[1]), uses(&[2])], [1, 0, 1]);
    let shown = ring.statuses(at(3 * DAY_MICROS));
    assert_eq!(shown[0].last_used_on, Some(at(2 * DAY_MICROS)));
}
