//! Zstandard (RFC 8878): one or more frames. A window has at most 8 MiB, which the RFC (3.1.1.1.2) wants every decoder
//! to support and recommends as the most that one should take from strangers.

use zstd::stream::raw::{DParameter, Decoder as Stream, Operation as _};

use super::{Decoder, MEMBERS, STEP, Step};

/// The largest window, as a power of two.
const WINDOW_LOG: u32 = 23;

pub(super) struct Zstandard {
    stream: Stream<'static>,
    frames: usize,
}

impl Zstandard {
    pub(super) fn new() -> Result<Zstandard, &'static str> {
        let mut stream = Stream::new().map_err(|_| "there is no memory for it")?;
        stream
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG))
            .map_err(|_| "its window cannot be bounded")?;
        Ok(Zstandard { stream, frames: 0 })
    }
}

impl Decoder for Zstandard {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, &'static str> {
        let part = &input[..input.len().min(STEP)];
        let done = self
            .stream
            .run_on_buffers(part, output)
            .map_err(|_| "its data is damaged, or its window is over 8 MiB")?;
        let complete = done.remaining == 0;
        if complete {
            self.frames += 1;
            if self.frames > MEMBERS {
                return Err("it has more than 1,024 frames");
            }
        }
        Ok(Step {
            taken: done.bytes_read,
            made: done.bytes_written,
            complete,
        })
    }
}
