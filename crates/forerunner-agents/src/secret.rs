//! Secrets that are in files, so that they need not be in the configuration or in the node's environment.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Longest secret that is read, in bytes: environments are bounded too.
const MOST_BYTES: u64 = 64 << 10;

/// Reads a secret from a file, without the line break at its end.
///
/// A relative path starts at `$CREDENTIALS_DIRECTORY`, if it is set: systemd puts the files of `LoadCredential=` there.
/// Otherwise it starts at the working directory of the node.
///
/// # Errors
/// When the file cannot be read, is too large or is not text; the error names the file, never its content.
pub fn read_secret(path: &Path) -> io::Result<String> {
    let path = match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(directory) if path.is_relative() => PathBuf::from(directory).join(path),
        _ => path.to_owned(),
    };
    let refuse = |kind, why: &str| Err(io::Error::new(kind, format!("{} {why}", path.display())));
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() > MOST_BYTES => {
            return refuse(io::ErrorKind::FileTooLarge, "is larger than 64 KiB; name the file of the secret");
        }
        Ok(_) => {}
        Err(error) => return refuse(error.kind(), &format!("cannot be read: {error}")),
    }
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return refuse(error.kind(), &format!("cannot be read: {error}")),
    };
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if secret.contains('\0') {
        return refuse(io::ErrorKind::InvalidData, "contains a zero byte; write the secret as text");
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_text_of_its_file_without_the_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        for (text, secret) in
            [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" two\nlines", " two\nlines"), ("", "")]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(read_secret(&path).unwrap(), secret);
        }
        fs::write(&path, "s3cret\0").unwrap();
        let error = read_secret(&path).unwrap_err().to_string();
        assert!(error.contains("zero byte") && !error.contains("s3cret"), "{error}");
        assert!(
            read_secret(Path::new("/no/such/file"))
                .unwrap_err()
                .to_string()
                .starts_with("/no/such/file cannot be read")
        );
    }
}
