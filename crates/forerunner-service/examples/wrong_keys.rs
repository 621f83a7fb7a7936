//! Prints what a million wrong keys cost a node: `cargo run --release -p forerunner-service --example wrong_keys`.

use std::net::{IpAddr, Ipv4Addr};

use forerunner_core::Timestamp;
use forerunner_service::auth::{KeyRing, Role, Token};
use tokio::time::Instant;

const KEYS: u32 = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ring = KeyRing::default();
    // A store without keys. The ring has no way to read one.
    ring.load(Vec::new(), Instant::now());
    let unknown = Token::generate(Role::Admin)?;
    for (kind, key) in [("without a checksum", "fr_adm_nonsense"), ("with a right one", unknown.reveal())] {
        let begun = Instant::now();
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let refused = (0..KEYS).filter(|_| ring.authenticate(key, peer, Timestamp::default(), begun).is_err()).count();
        let each = begun.elapsed() / KEYS;
        println!("{refused} wrong keys {kind}: {:.2?}, {each:.0?} each", begun.elapsed());
    }
    Ok(())
}
