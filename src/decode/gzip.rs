//! gzip (RFC 1952): one or more members, each with a header, deflated data, a checksum and a length. A member keeps
//! the last 32 KiB that it made.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{Decoder, MEMBERS, STEP, Step};

/// Header flags (RFC 1952, 2.3.1).
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

const TRAILER: usize = 8;

pub(super) struct Gzip {
    inflate: Decompress,
    crc: Crc,
    members: usize,
    /// Whether the next byte is one of deflated data.
    inside: bool,
}

impl Gzip {
    pub(super) fn new() -> Gzip {
        Gzip {
            inflate: Decompress::new(false),
            crc: Crc::new(),
            members: 0,
            inside: false,
        }
    }

    /// Goes past the header of the next member.
    fn begin(&mut self, input: &[u8]) -> Result<usize, &'static str> {
        if self.members == MEMBERS {
            return Err("it has more than 1,024 members");
        }
        let again = self.members > 0;
        let length = header(input).ok_or(if again {
            "what follows it is no gzip"
        } else {
            "its header is not that of gzip"
        })?;
        if again {
            self.inflate.reset(false);
            self.crc.reset();
        }
        self.members += 1;
        self.inside = true;
        Ok(length)
    }

    /// Checks a member's end against what was made of it.
    fn end(&mut self, rest: &[u8]) -> Result<(), &'static str> {
        let Some((&[a, b, c, d, e, f, g, h], _)) = rest.split_first_chunk::<TRAILER>() else {
            return Err("it ends too early");
        };
        let checksum = u32::from_le_bytes([a, b, c, d]);
        let length = u32::from_le_bytes([e, f, g, h]);
        if checksum != self.crc.sum() || length != self.crc.amount() {
            return Err("its checksum or length is wrong");
        }
        self.inside = false;
        Ok(())
    }
}

impl Decoder for Gzip {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, &'static str> {
        let mut taken = 0;
        if !self.inside {
            taken = self.begin(input)?;
        }
        let rest = input.get(taken..).unwrap_or_default();
        let part = &rest[..rest.len().min(STEP)];
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(part, output, FlushDecompress::None)
            .map_err(|_| "its deflated data is damaged")?;
        // Both are within the two slices.
        let consumed = (self.inflate.total_in() - before_in) as usize;
        let made = (self.inflate.total_out() - before_out) as usize;
        self.crc.update(output.get(..made).unwrap_or_default());
        taken += consumed;
        let complete = matches!(status, Status::StreamEnd);
        if complete {
            self.end(rest.get(consumed..).unwrap_or_default())?;
            taken += TRAILER;
        }
        Ok(Step {
            taken,
            made,
            complete,
        })
    }
}

/// How long the header of a member is; `None` where there is none.
fn header(input: &[u8]) -> Option<usize> {
    let &[0x1f, 0x8b, 8, flags, ..] = input else {
        return None;
    };
    if flags & RESERVED != 0 {
        return None;
    }
    // modification time, extra flags, operating system
    let mut at = 10;
    if flags & FEXTRA != 0 {
        let length = input.get(at..)?.first_chunk::<2>()?;
        at += 2 + usize::from(u16::from_le_bytes(*length));
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            at += input.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    if flags & FHCRC != 0 {
        at += 2;
    }
    (at <= input.len()).then_some(at)
}
