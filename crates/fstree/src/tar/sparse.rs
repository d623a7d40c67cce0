//! GNU sparse files: the old format of header type `S`, and PAX formats 0.0, 0.1 and 1.0 (GNU tar manual, "Sparse
//! Formats"). All give runs of file offset and length; the data of the runs is stored one after the other.

use tar::{GnuExtSparseHeader, GnuSparseHeader};

use super::{Fault, header, pax};
use crate::limits::Limits;

/// Runs of a sparse file: file offset and length in bytes.
pub(super) type Map = Vec<(u64, u64)>;

fn fault(what: &'static str) -> Fault {
    Fault::Sparse { what }
}

/// The runs of the fields of one old header; the first unused field ends them.
pub(super) fn old_fields(fields: &[GnuSparseHeader], map: &mut Map, limits: &Limits) -> Result<(), Fault> {
    for field in fields {
        if field.numbytes[0] == 0 {
            return Ok(());
        }
        let run =
            (header::unsigned(&field.offset, "sparse offset")?, header::unsigned(&field.numbytes, "sparse length")?);
        push(map, run, limits)?;
    }
    Ok(())
}

/// The runs of an extension block of an old header, and whether another follows.
pub(super) fn old_extension(block: &[u8; 512], map: &mut Map, limits: &Limits) -> Result<bool, Fault> {
    let mut extension = GnuExtSparseHeader::new();
    extension.as_mut_bytes().copy_from_slice(block);
    old_fields(extension.sparse(), map, limits)?;
    Ok(extension.is_extended())
}

/// `GNU.sparse.map` of format 0.1: `offset,length,offset,length`.
pub(super) fn map_0_1(text: &[u8], limits: &Limits) -> Result<Map, Fault> {
    let numbers = text.split(|&byte| byte == b',').map(pax::decimal);
    pairs(numbers.collect::<Option<Vec<u64>>>().ok_or(fault("a number that is none"))?, limits)
}

/// The numbers of format 0.0, in order.
pub(super) fn map_0_0(numbers: Vec<u64>, limits: &Limits) -> Result<Map, Fault> {
    pairs(numbers, limits)
}

fn pairs(numbers: Vec<u64>, limits: &Limits) -> Result<Map, Fault> {
    let mut map = Map::new();
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(fault("an offset without a length"));
    }
    pairs.iter().try_for_each(|[offset, len]| push(&mut map, (*offset, *len), limits))?;
    Ok(map)
}

/// Reads the map of format 1.0 from the start of the data: a count, then offset and length of each run, one number a
/// line, filled up to a full block.
#[derive(Default)]
pub(super) struct Map10 {
    numbers: Vec<u64>,
    digits: Vec<u8>,
}

impl Map10 {
    /// Takes one block of data; `true` when the map is complete.
    pub(super) fn block(&mut self, block: &[u8; 512], limits: &Limits) -> Result<bool, Fault> {
        for &byte in block {
            if self.is_complete() {
                return Ok(true);
            }
            match byte {
                b'\n' => {
                    self.numbers.push(pax::decimal(&self.digits).ok_or(fault("a number that is none"))?);
                    self.digits.clear();
                    if self.numbers[0] > limits.sparse_segments {
                        return Err(Fault::Limit { what: "sparse runs", max: limits.sparse_segments });
                    }
                }
                b'0'..=b'9' if self.digits.len() < 20 => self.digits.push(byte),
                _ => return Err(fault("a byte that is no digit")),
            }
        }
        Ok(self.is_complete())
    }

    fn is_complete(&self) -> bool {
        let wanted = self.numbers.first().map(|&runs| runs.saturating_mul(2).saturating_add(1));
        wanted == u64::try_from(self.numbers.len()).ok()
    }

    /// The runs, once complete.
    pub(super) fn finish(mut self, limits: &Limits) -> Result<Map, Fault> {
        self.numbers.remove(0);
        pairs(self.numbers, limits)
    }
}

fn push(map: &mut Map, run: (u64, u64), limits: &Limits) -> Result<(), Fault> {
    if u64::try_from(map.len()).unwrap_or(u64::MAX) >= limits.sparse_segments {
        return Err(Fault::Limit { what: "sparse runs", max: limits.sparse_segments });
    }
    map.push(run);
    Ok(())
}
