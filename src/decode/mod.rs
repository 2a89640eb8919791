//! Bodies that came in encoded: gzip (RFC 1952), br (RFC 7932) and zstd (RFC 8878), undone within bounds that hold
//! whatever a sender wrote.
//!
//! What is made is counted while it is made, so that nothing past the limit is ever allocated, however little came in.
//! Work is done in small steps with room for other requests between them; as many bodies are decoded at once as there
//! are processors, which also bounds the windows that are held.

mod brotli;
mod coding;
mod gzip;
mod zstandard;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use tokio::sync::Semaphore;

pub use coding::{Coding, Codings, MOST};

/// How much a decoder is given, and may make, at one step.
const STEP: usize = 16 * 1024;

/// How many members (gzip) or frames (zstd) a body may consist of: each costs a decoder's start, however small it is.
const MEMBERS: usize = 1024;

/// Why a body is not decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is in a coding that is not decoded here.
    #[error("the body's Content-Encoding is none that is decoded here: {0}")]
    Unsupported(Codings),
    #[error("the body is encoded more than {MOST} times over")]
    TooMany(Codings),
    #[error("the decoded body is over the limit of {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the body cannot be decoded as {coding}: {reason}")]
    Corrupt {
        coding: Coding,
        reason: &'static str,
    },
}

/// What a decoder has done at one step.
struct Step {
    /// Bytes of the input that are done with.
    taken: usize,
    /// Bytes that were written to the output.
    made: usize,
    /// Whether the body may end here.
    complete: bool,
}

/// One coding's decoder. `input` is all that is left of the body; of it at most about [`STEP`] is to be taken.
trait Decoder {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, &'static str>;
}

/// Decodes bodies, so many at once.
#[derive(Debug)]
pub struct Decoders(Semaphore);

impl Default for Decoders {
    fn default() -> Decoders {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Decoders(Semaphore::new(processors))
    }
}

impl Decoders {
    /// Undoes the codings, which are listed in the order in which they were applied. Neither the result nor what is
    /// between two codings is longer than `limit` bytes. A body without a byte has nothing to undo. `room` is asked for so
    /// many bytes more before they are set aside; its refusal ends the decoding.
    pub async fn decode<E: From<DecodeError>>(
        &self,
        body: Bytes,
        applied: &[Coding],
        limit: u64,
        mut room: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<Bytes, E> {
        if applied.is_empty() || body.is_empty() {
            return Ok(body);
        }
        // It is never closed; and without it the bounds of each single body still hold.
        let _place = self.0.acquire().await.ok();
        let mut body = body;
        for coding in applied.iter().rev() {
            body = undo(*coding, &body, limit, &mut room).await?.into();
        }
        Ok(body)
    }
}

async fn undo<E: From<DecodeError>>(
    coding: Coding,
    body: &[u8],
    limit: u64,
    room: &mut impl FnMut(u64) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let corrupt = |reason| E::from(DecodeError::Corrupt { coding, reason });
    let mut decoder = started(coding).map_err(corrupt)?;
    let mut piece = vec![0; STEP];
    let mut made = Vec::new();
    let mut rest = body;
    loop {
        let step = decoder.step(rest, &mut piece).map_err(corrupt)?;
        rest = rest.get(step.taken..).unwrap_or_default();
        append(
            &mut made,
            piece.get(..step.made).unwrap_or_default(),
            limit,
            room,
        )?;
        if rest.is_empty() && step.complete {
            return Ok(made);
        }
        if step.taken == 0 && step.made == 0 {
            return Err(corrupt(if rest.is_empty() {
                "it ends too early"
            } else {
                "its bytes make no sense"
            }));
        }
        tokio::task::yield_now().await;
    }
}

fn started(coding: Coding) -> Result<Box<dyn Decoder + Send>, &'static str> {
    Ok(match coding {
        Coding::Gzip => Box::new(gzip::Gzip::new()),
        Coding::Br => Box::new(brotli::Brotli::new()),
        Coding::Zstd => Box::new(zstandard::Zstandard::new()?),
    })
}

/// Adds to what was made; sets no more aside than the limit.
fn append<E: From<DecodeError>>(
    made: &mut Vec<u8>,
    piece: &[u8],
    limit: u64,
    room: &mut impl FnMut(u64) -> Result<(), E>,
) -> Result<(), E> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let size = made.len() + piece.len();
    if size > most {
        return Err(DecodeError::TooLarge { limit }.into());
    }
    if size > made.capacity() {
        let whole = made.capacity().saturating_mul(2).clamp(size, most);
        room((whole - made.capacity()) as u64)?;
        made.reserve_exact(whole - made.len());
    }
    made.extend_from_slice(piece);
    Ok(())
}
