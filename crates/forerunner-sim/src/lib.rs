//! Replays traces against Forerunner's own policies in virtual time.
