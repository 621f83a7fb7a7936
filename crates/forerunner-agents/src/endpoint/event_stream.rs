//! Parses server-sent events, of which an endpoint's answer may consist (WHATWG HTML, section 9.2.6).

/// Assembles events from pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct EventStream {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// Whether the last piece ended with a carriage return, which a line feed may follow.
    after_return: bool,
}

impl EventStream {
    /// Adds a piece and returns the data of the events that it completes. Names, ids and comments are ignored.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        for &byte in piece {
            let follows_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => self.line.push(byte),
            }
        }
        events
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        if self.line.is_empty() {
            let has_data = std::mem::take(&mut self.has_data);
            return has_data.then(|| std::mem::take(&mut self.data));
        }
        let line = std::mem::take(&mut self.line);
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => value,
            _ => return None,
        };
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut stream = EventStream::default();
        let events = pieces.iter().flat_map(|piece| stream.feed(piece));
        events.map(|event| String::from_utf8(event).unwrap()).collect()
    }

    #[test]
    fn an_event_is_the_data_up_to_an_empty_line() {
        for (text, expected) in [
            ("data: a\n\ndata: b\n\n", vec!["a", "b"]),
            ("data:a\r\n\r\ndata: b\r\r", vec!["a", "b"]),
            ("event: x\nid: 1\n: comment\ndata: a\ndata: b\n\n", vec!["a\nb"]),
            ("data\n\n", vec![""]),
            ("data:  two spaces\n\n", vec![" two spaces"]),
            ("\n\n\nretry: 5\n\ndatabase: no\n\n", vec![]),
            ("data: not ended\n", vec![]),
        ] {
            assert_eq!(events(&[text.as_bytes()]), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_events(
            lines in prop::collection::vec("(data: ?[a-z]{0,5}|: c|event: e|)(\n|\r|\r\n)", 0..20),
            cut in 1_usize..7,
        ) {
            let text = lines.concat();
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            prop_assert_eq!(events(&pieces), events(&[text.as_bytes()]));
        }
    }
}
