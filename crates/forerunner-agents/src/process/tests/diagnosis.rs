//! Starts that fail, and their messages to the operator.

use std::os::unix::fs::PermissionsExt;

use super::*;

async fn refusal(change: impl FnOnce(&mut ProcessSpec)) -> String {
    let rig = Rig::python("hello()").with(change);
    rig.launch().await.err().expect("it should not start").message().to_owned()
}

fn file(directory: &TempDir, name: &str, text: &str, mode: u32) -> String {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "current_thread")]
async fn a_program_that_cannot_be_run_is_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str, mode| file(&directory, name, text, mode);
    for (program, says) in [
        ("no-such-program-anywhere".to_owned(), "no program of that name is in the PATH that agents get ("),
        ("/no/such/program".to_owned(), "there is no file /no/such/program"),
        (directory.path().to_str().unwrap().to_owned(), "is a directory; name a program"),
        (at("plain", "#!/bin/sh\n", 0o644), "is not executable; make it so (chmod +x)"),
        (at("lost", "#!/no/such/interpreter -x\n", 0o755), "the interpreter `/no/such/interpreter`"),
        (at("windows", "#!/bin/sh\r\necho\r\n", 0o755), "ends with a carriage return, as on Windows"),
    ] {
        let told = refusal(|spec| spec.argv = vec![program.clone()]).await;
        assert!(told.starts_with(&format!("cannot start the agent process `{program}`: ")), "{told}");
        assert!(told.contains(says), "`{told}` does not say `{says}`");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_working_directory_or_a_limit_that_cannot_be_had_is_named() {
    let told = refusal(|spec| spec.cwd = Some("/no/such/directory".into())).await;
    assert!(told.contains("its working directory (`cwd`) /no/such/directory"), "{told}");
    let told = refusal(|spec| spec.limits.open_files = Some(u64::MAX / 2)).await;
    assert!(told.contains("`limits.open_files` = "), "{told}");
    let told = refusal(|spec| spec.user = Some("no-such-user".into())).await;
    assert!(told.contains("`user`"), "{told}");
}
