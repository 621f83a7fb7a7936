//! Tokens that are accepted, and tokens that are refused.

use std::time::Duration;

use forerunner_core::Timestamp;
use ring::{
    rand::SystemRandom,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{JwtAlgorithm, JwtSettings, JwtVerifier, TokenFault};
use crate::auth::{Caller, Denial, Role};

/// The modulus of a key that nobody has any more.
const RSA_MODULUS: &str = "4KxWYrVsNDg5KbkMrpv1cM_i3tDRdtx2U04wAjYLar1Kl6EUZjEettV_nQ_MwA6SGBrwmzkVRWmPKLZuFy63xCqcx4Fpzo2j\
    N9QPuF8eUuXyavHSqnml72q3Gu0eXRLtA1bWJKjFIXvJ6-FHYF0tLbFDaFotOTgWB3DZ8dAnCCmYXgjZQIShph4t8RXdgLYV\
    WitdHiWvLedSIS2PywZpMN0ljA1Vf2erMH-JDnduzuZ4rT-BU_etFZO9AA1jrh_JQKcrQNZsoLQSrTqYi-uIfYNAdX_nQymL\
    ud3EVIONlInDS4olSQz1G3RA0MPeGWVh4OFwjybGmm5ffVzr5uS5yQ";
/// What it signed: PKCS #1 and PSS.
const RSA_TOKENS: [&str; 2] = [
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLnRlc3QiLCJhdWQiOiJmb3JlcnVubmVyIiw\
     ic3ViIjoiYWxpY2UiLCJleHAiOjQxMDI0NDQ4MDAsInJvbGUiOiJzdWJtaXQifQ.LCXGaK2KIcFvc11plZBWHDMpdm2JGmb9\
     PZtMo6iBcg1yUta_YnmxmzLG0h2Fj8q9GZdN2qUdq_O-SUThxAsW2IvXO6w48CFTN-PahtZ_vP2OSxDKi5IOsDm84CNor-9J\
     rgjMX9NQXDuV8_dfGkU4St7jqlzKGfTdfHPMUVfLAbbuiAR5547Eta2hRLXfSazSA00AUVKRbJjClqh0kZtpWLhEBIybH-kg\
     jRpLK2HAh74B0A4tvoGXwlOuSFJ6eM_pviJei90CI0DfIDMEkWZAZW_2T27tLeNvRR9PMFhRe1gto_B06ryR0dEnRV_sYHyl\
     HS2veWIpDjojhVAECCrH-Q",
    "eyJhbGciOiJQUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLnRlc3QiLCJhdWQiOiJmb3JlcnVubmVyIiw\
     ic3ViIjoiYWxpY2UiLCJleHAiOjQxMDI0NDQ4MDAsInJvbGUiOiJzdWJtaXQifQ.wPr82DXzP3xPAi9ZfpI7mAXZsgsgv7Vy\
     c11iErJnoNPb1s4ZEg269v8O3gNs14ImJX5xruIb3Lg7b7R4MXXKA9u0lfGoEzcnU9Jm523xc_RMwon1cxeblabB4p5-YFon\
     quNZXUx_t1KExaCkv-qU0ipIILhDZlEG1f5dsK_dET3xquyMc8JoFEpilLKeYbHbdFWITR4STO8pVIz5WXgomfJIyWPbib8r\
     XDNNUTjfbwgD0Vmdwd1lIKrlOTUYbt0FgGJyl2MJ7pYYZEcpNYCFV9DCXsjs_eog0q2oxBuU9iQaEPSd4FtyEsbkv63Hc8nD\
     761dqnrGGkHzN9kfwEnZ-g",
];

const NOW_S: i64 = 1_800_000_000;

/// RFC 4648 §5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let letters = (0..=chunk.len()).map(|at| LETTERS[(bits >> (18 - 6 * at)) as usize & 63] as char);
        text.extend(letters);
    }
    text
}

/// A provider with a key.
struct Provider(Ed25519KeyPair);

impl Provider {
    fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    fn jwk(&self, id: &str) -> Value {
        let key = base64url(self.0.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "alg": "EdDSA", "x": key })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message =
            format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
        format!("{message}.{}", base64url(self.0.sign(message.as_bytes()).as_ref()))
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": "https://id.test", "aud": "forerunner", "sub": "alice", "exp": NOW_S + 600, "role": "submit",
        });
        change(&mut claims);
        self.sign(&json!({ "alg": "EdDSA", "kid": "one" }), &claims)
    }

    fn verifier(&self, change: impl FnOnce(&mut JwtSettings)) -> JwtVerifier {
        let mut settings = settings();
        change(&mut settings);
        let verifier = JwtVerifier::new(settings);
        let set = json!({ "keys": [self.jwk("one")] }).to_string();
        assert_eq!(verifier.load(&set, Instant::now()), Ok(1));
        verifier
    }
}

fn settings() -> JwtSettings {
    JwtSettings {
        issuer: "https://id.test".to_owned(),
        audience: "forerunner".to_owned(),
        jwks_file: "keys.json".to_owned(),
        ..JwtSettings::default()
    }
}

fn now() -> Timestamp {
    Timestamp::from_micros(NOW_S * 1_000_000)
}

fn caller(verifier: &JwtVerifier, token: &str) -> Result<Caller, Denial> {
    verifier.authenticate(token, now(), Instant::now()).map(|caller| Caller::clone(&caller))
}

fn fault(verifier: &JwtVerifier, token: &str) -> TokenFault {
    match caller(verifier, token) {
        Err(Denial::Token(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_says_who_calls_and_what_they_may_do() {
    let provider = Provider::new();
    let verifier = provider.verifier(|settings| {
        settings.roles =
            [("staff", Role::Submit), ("platform", Role::Operate)].map(|(of, role)| (of.to_owned(), role)).into();
        settings.role_claim = "realm.groups".to_owned();
        settings.tenant_claim = "https://test/tenant".to_owned();
        settings.pools_claim = "pools".to_owned();
    });
    let token = provider.token(|claims| {
        claims["realm"] = json!({ "groups": ["guests", "platform", "staff"] });
        claims["https://test/tenant"] = "acme".into();
        claims["pools"] = "coder chat".into();
    });
    let caller = caller(&verifier, &token).unwrap();
    assert_eq!((caller.role, caller.tenant.unwrap().as_str()), (Role::Operate, "acme"));
    assert_eq!(caller.pools.unwrap().iter().map(|pool| pool.as_str()).collect::<Vec<_>>(), ["chat", "coder"]);
    assert!(caller.name.as_str().starts_with("jwt-alice-"), "{}", caller.name);
}

#[tokio::test]
async fn names_of_callers_differ_where_subjects_or_issuers_do() {
    let provider = Provider::new();
    let name = |issuer: &str, subject: &str| {
        let verifier = provider.verifier(|settings| settings.issuer = issuer.to_owned());
        let token = provider.token(|claims| (claims["iss"], claims["sub"]) = (issuer.into(), subject.into()));
        caller(&verifier, &token).unwrap().name
    };
    let long = "x".repeat(500);
    let others =
        [("a", "bc"), ("ab", "c"), ("a", "BC"), ("a", "b c"), ("a", "b-c"), ("a", "auth0|é"), ("a", long.as_str())];
    let names: std::collections::BTreeSet<_> = others.iter().map(|(issuer, subject)| name(issuer, subject)).collect();
    assert_eq!(names.len(), others.len());
    assert_eq!(name("a", "bc"), name("a", "bc"));
}

#[tokio::test]
async fn tenants_are_those_of_keys_without_a_claim_for_them() {
    let provider = Provider::new();
    let verifier = provider.verifier(|_| {});
    for role in Role::ALL {
        let token = provider.token(|claims| claims["role"] = role.as_str().into());
        assert_eq!(caller(&verifier, &token).unwrap().tenant.is_none(), role.has_all_tenants(), "{role:?}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_valid_is_refused_by_its_fault() {
    let provider = Provider::new();
    let verifier = provider.verifier(|settings| settings.leeway = Duration::from_secs(10));
    let of = |change: fn(&mut Value)| provider.token(change);
    for (token, expected) in [
        (of(|claims| claims["exp"] = (NOW_S - 10).into()), TokenFault::Expired),
        (of(|claims| claims["nbf"] = (NOW_S + 11).into()), TokenFault::Early),
        (of(|claims| claims["iss"] = "https://evil.test".into()), TokenFault::Issuer),
        (of(|claims| claims["aud"] = "another".into()), TokenFault::Audience),
        (of(|claims| drop(claims.as_object_mut().unwrap().remove("aud"))), TokenFault::Subject),
        (of(|claims| drop(claims.as_object_mut().unwrap().remove("iss"))), TokenFault::Subject),
        (of(|claims| claims["sub"] = "".into()), TokenFault::Subject),
        (of(|claims| claims["role"] = "root".into()), TokenFault::Role),
        (of(|claims| claims["role"] = 7.into()), TokenFault::Role),
        (of(|claims| drop(claims.as_object_mut().unwrap().remove("role"))), TokenFault::Role),
        (Provider::new().token(|_| {}), TokenFault::Signature),
        ("eyJ.x.y".to_owned(), TokenFault::Form),
        (String::new(), TokenFault::Form),
    ] {
        assert_eq!(fault(&verifier, &token), expected, "{token}");
    }
    for missing in ["exp", "sub"] {
        let token = provider.token(|claims| drop(claims.as_object_mut().unwrap().remove(missing)));
        assert_eq!(fault(&verifier, &token), TokenFault::Subject, "without {missing}");
    }
    for valid in [of(|claims| claims["exp"] = (NOW_S - 9).into()), of(|claims| claims["nbf"] = (NOW_S + 10).into())] {
        assert!(caller(&verifier, &valid).is_ok(), "within the leeway");
    }
    assert!(caller(&verifier, &of(|claims| claims["aud"] = json!(["x", "forerunner"]))).is_ok());
}

#[tokio::test]
async fn algorithms_that_were_not_chosen_are_refused_whatever_the_header_says() {
    let provider = Provider::new();
    let verifier = provider.verifier(|_| {});
    let claims = json!({
        "iss": "https://id.test", "aud": "forerunner", "sub": "alice", "exp": NOW_S + 600, "role": "admin",
    });
    for algorithm in ["none", "HS256", "HS512", "RS512", "PS256"] {
        let token = provider.sign(&json!({ "alg": algorithm, "kid": "one" }), &claims);
        assert_eq!(fault(&verifier, &token), TokenFault::Form, "{algorithm}");
    }
    // The key is for another algorithm.
    let token = provider.sign(&json!({ "alg": "RS256", "kid": "one" }), &claims);
    assert_eq!(fault(&verifier, &token), TokenFault::Signer);
    let unsigned = token.rsplit_once('.').unwrap().0;
    assert_eq!(fault(&verifier, &format!("{unsigned}.")), TokenFault::Signer);
}

#[tokio::test]
async fn every_algorithm_that_may_be_chosen_is_checked() {
    let random = SystemRandom::new();
    let chosen = |algorithm| JwtVerifier::new(JwtSettings { algorithms: vec![algorithm], ..settings() });
    for (algorithm, name, curve, signing) in [
        (JwtAlgorithm::ES256, "ES256", "P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        (JwtAlgorithm::ES384, "ES384", "P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
    ] {
        let document = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(signing, document.as_ref(), &random).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at((key.public_key().as_ref().len() - 1) / 2);
        let set = json!({ "keys": [{ "kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y) }] });
        let verifier = chosen(algorithm);
        verifier.load(&set.to_string(), Instant::now()).unwrap();
        let claims = json!({
            "iss": "https://id.test", "aud": "forerunner", "sub": "alice", "exp": NOW_S + 600, "role": "read",
        });
        let parts = [json!({ "alg": name }), claims].map(|part| base64url(part.to_string().as_bytes()));
        let message = parts.join(".");
        let signed = base64url(key.sign(&random, message.as_bytes()).unwrap().as_ref());
        assert_eq!(caller(&verifier, &format!("{message}.{signed}")).unwrap().role, Role::Read, "{name}");
        let wrong = base64url(key.sign(&random, b"something else").unwrap().as_ref());
        assert_eq!(fault(&verifier, &format!("{message}.{wrong}")), TokenFault::Signature, "{name}");
    }
    let set = json!({ "keys": [{ "kty": "RSA", "kid": "rsa", "n": RSA_MODULUS, "e": "AQAB" }] }).to_string();
    for (algorithm, token) in [JwtAlgorithm::RS256, JwtAlgorithm::PS256].into_iter().zip(RSA_TOKENS) {
        let verifier = chosen(algorithm);
        verifier.load(&set, Instant::now()).unwrap();
        assert_eq!(caller(&verifier, token).unwrap().role, Role::Submit, "{algorithm:?}");
        let (message, _) = token.rsplit_once('.').unwrap();
        assert_eq!(fault(&verifier, &format!("{message}.{}", "A".repeat(342))), TokenFault::Signature);
    }
}

#[tokio::test]
async fn keys_of_a_provider_change_and_grow_old() {
    let (old, new) = (Provider::new(), Provider::new());
    let verifier = JwtVerifier::new(settings());
    let at = Instant::now();
    let token = old.token(|_| {});
    assert_eq!(verifier.authenticate(&token, now(), at), Err(Denial::NoSigningKeys));
    for useless in [
        "no json".to_owned(),
        json!({ "keys": [] }).to_string(),
        json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0", "kid": "one" }] }).to_string(),
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "one", "use": "enc", "x": "AAAA" }] }).to_string(),
    ] {
        assert!(verifier.load(&useless, at).is_err(), "{useless}");
    }
    let set = |keys: &[Value]| json!({ "keys": keys }).to_string();
    assert_eq!(verifier.load(&set(&[old.jwk("one")]), at), Ok(1));
    assert!(verifier.authenticate(&token, now(), at).is_ok());
    assert!(verifier.load("no json", at).is_err());
    assert!(verifier.authenticate(&token, now(), at).is_ok(), "the keys stay as they were");
    // A provider may sign with the next key before the node has seen it.
    assert_eq!(verifier.load(&set(&[old.jwk("zero"), new.jwk("two")]), at), Ok(2));
    assert_eq!(verifier.authenticate(&token, now(), at), Err(TokenFault::Signer.into()));
    verifier.lacks_key().await;
    let nameless = old.sign(&json!({ "alg": "EdDSA" }), &json!({}));
    assert_eq!(verifier.authenticate(&nameless, now(), at), Err(TokenFault::Signer.into()), "which of the two?");
    let later = at + Duration::from_secs(24 * 3600 + 1);
    assert_eq!(verifier.authenticate(&token, now(), later), Err(Denial::NoSigningKeys));
}
