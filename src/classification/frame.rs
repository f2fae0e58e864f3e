//! Reads commands in the wire format (RESP arrays of bulk strings), borrowing everything; safe on any bytes.

/// Bytes that are not whole RESP commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed;

/// Walks the commands of a pipeline; ends after the first malformed one.
#[derive(Clone, Debug)]
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
}

/// The words of one command: its name and its arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    /// `$3\r\nGET\r\n…`: checked to hold exactly `count` words.
    body: &'a [u8],
    count: usize,
    name: &'a [u8],
    second: Option<&'a [u8]>,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Words<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = take_frame(self.rest);
        self.rest = frame.map_or(&[], |(_, rest)| rest);
        Some(frame.map(|(words, _)| words).ok_or(Malformed))
    }
}

impl<'a> Words<'a> {
    /// Reads the only command in `bytes`.
    pub(crate) fn only(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match take_frame(bytes) {
            Some((words, [])) => Ok(words),
            _ => Err(Malformed),
        }
    }

    /// Takes the first words out of a command instead of reading its packed form. `None`: that has to be read.
    #[inline]
    pub(crate) fn packed(cmd: &'a redis::Cmd, bytes: &'a [u8]) -> Option<Self> {
        /// `*2\r\n`; commands of ten words and more have a longer one, and are read.
        const HEADER: usize = 4;
        let mut args = cmd.args_iter();
        let count = args.len();
        let redis::Arg::Simple(name) = args.next()? else { return None };
        let second = match args.next() {
            Some(redis::Arg::Simple(second)) => Some(second),
            // A cursor, whose value redis hides.
            Some(_) => return None,
            None => None,
        };
        if count < 10 { Some(Self { body: bytes.get(HEADER..)?, count, name, second }) } else { None }
    }

    #[inline]
    pub(super) fn name(self) -> &'a [u8] {
        self.name
    }

    /// Returns the first argument, or the subcommand.
    #[inline]
    pub(super) fn second(self) -> Option<&'a [u8]> {
        self.second
    }

    /// Returns the word at `position`; the name is at 0.
    #[inline]
    pub(super) fn nth_word(mut self, position: usize) -> Option<&'a [u8]> {
        if position == 1 { self.second } else { self.nth(position) }
    }

    pub(super) fn last_word(self) -> Option<&'a [u8]> {
        self.last()
    }

    /// Returns the word behind the first argument that is `option`, in any case.
    pub(super) fn after(mut self, option: &[u8]) -> Option<&'a [u8]> {
        self.find(|word| word.eq_ignore_ascii_case(option))?;
        self.next()
    }

    /// Like [`after`](Self::after), but looks no further than the word `end`.
    pub(super) fn before(self, end: &[u8], option: &[u8]) -> Option<&'a [u8]> {
        let mut options = self.take_while(|word| !word.eq_ignore_ascii_case(end));
        options.find(|word| word.eq_ignore_ascii_case(option))?;
        options.next()
    }

    pub(super) fn ends_with(self, option: &[u8]) -> bool {
        self.last().is_some_and(|word| word.eq_ignore_ascii_case(option))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (word, rest) = take_word(self.body)?;
        self.body = rest;
        self.count -= 1;
        Some(word)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Words<'_> {}

#[inline]
fn take_frame(bytes: &[u8]) -> Option<(Words<'_>, &[u8])> {
    let (count, body) = take_length(bytes, b'*')?;
    // A command without a name gets no reply, so that waiting for one would never end.
    if count == 0 {
        return None;
    }
    let (name, mut rest) = take_word(body)?;
    let mut second = None;
    for position in 1..count {
        let (word, tail) = take_word(rest)?;
        if position == 1 {
            second = Some(word);
        }
        rest = tail;
    }
    let body = &body[..body.len() - rest.len()];
    Some((Words { body, count, name, second }, rest))
}

#[inline]
fn take_word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = take_length(bytes, b'$')?;
    let (word, rest) = rest.split_at_checked(length)?;
    Some((word, rest.strip_prefix(b"\r\n")?))
}

/// Reads `marker`, a decimal number and a line end.
#[inline]
fn take_length(bytes: &[u8], marker: u8) -> Option<(usize, &[u8])> {
    /// Far more than a server takes, and no overflow.
    const LONGEST: usize = 12;
    let (&first, digits) = bytes.split_first()?;
    let mut length = 0_u64;
    let mut read = 0;
    while let Some(digit @ 0..=9) = digits.get(read).map(|byte| byte.wrapping_sub(b'0')) {
        length = length * 10 + u64::from(digit);
        read += 1;
        if read > LONGEST {
            return None;
        }
    }
    let rest = digits.get(read..)?.strip_prefix(b"\r\n")?;
    // The server refuses leading zeros.
    let is_plain = read == 1 || (read > 1 && digits[0] != b'0');
    (first == marker && is_plain).then_some((usize::try_from(length).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::{Frames, Malformed, Words};

    #[test]
    fn a_pipeline_is_walked_command_by_command() {
        let pipeline = redis::pipe().get("k").cmd("SET").arg("k").arg("v").to_owned();
        let bytes = pipeline.get_packed_pipeline();
        let commands: Vec<Vec<&[u8]>> = Frames::new(&bytes).map(|words| words.unwrap().collect()).collect();
        assert_eq!(commands, [vec![&b"GET"[..], b"k"], vec![b"SET", b"k", b"v"]]);
    }

    #[test]
    fn the_words_of_a_command_are_those_of_its_packed_form() {
        for count in 0..12 {
            let mut cmd = redis::cmd("NAME");
            (0..count).for_each(|n| _ = cmd.arg(n));
            let packed = cmd.get_packed_command();
            let read = Words::only(&packed).unwrap();
            match Words::packed(&cmd, &packed) {
                Some(words) => {
                    assert_eq!((words.name(), words.second()), (read.name(), read.second()));
                    assert!(words.eq(read));
                }
                None => assert!(count + 1 >= 10),
            }
        }
        let scan = redis::cmd("SCAN").cursor_arg(7).to_owned();
        assert!(Words::packed(&scan, &scan.get_packed_command()).is_none());
        assert!(Words::packed(&redis::Cmd::new(), &[]).is_none());
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_malformed() {
        let whole = redis::cmd("GET").arg("key").get_packed_command();
        assert!(Words::only(&whole).is_ok());
        for end in 0..whole.len() {
            assert_eq!(Words::only(&whole[..end]).err(), Some(Malformed), "cut at {end}");
        }
        let twice = [whole.clone(), whole].concat();
        assert!(Words::only(&twice).is_err());
        for bytes in [
            &b"*0\r\n"[..],
            b"*-1\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$99999999999999999999\r\n",
            b"PING\r\n",
            b"*1\n$4\nPING\n",
            b"*01\r\n$4\r\nPING\r\n",
        ] {
            assert!(Words::only(bytes).is_err());
        }
    }
}
