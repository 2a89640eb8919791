//! Brotli (RFC 7932). Its windows have up to 16 MiB; the larger ones of an extension to the format are refused.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::{Decoder, STEP, Step};

type State = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

pub(super) struct Brotli {
    state: Box<State>,
    total: usize,
    complete: bool,
}

impl Brotli {
    pub(super) fn new() -> Brotli {
        let memory = StandardAlloc::default;
        Brotli {
            state: Box::new(State::new_strict(memory(), memory(), memory())),
            total: 0,
            complete: false,
        }
    }
}

impl Decoder for Brotli {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, &'static str> {
        if self.complete {
            return Err("bytes follow its end");
        }
        let part = &input[..input.len().min(STEP)];
        let (mut left, mut taken) = (part.len(), 0);
        let (mut room, mut made) = (output.len(), 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut taken,
            part,
            &mut room,
            &mut made,
            output,
            &mut self.total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultFailure => return Err("its data is damaged"),
            BrotliResult::ResultSuccess => self.complete = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        }
        Ok(Step {
            taken,
            made,
            complete: self.complete,
        })
    }
}
