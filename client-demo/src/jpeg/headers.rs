//! Parses the headers of a JPEG frame, and finds its end.

use super::JpegError;

/// The second byte of a marker.
mod marker {
    pub(super) const BASELINE: u8 = 0xc0;
    pub(super) const EXTENDED: u8 = 0xc1;
    pub(super) const HUFFMAN_TABLES: u8 = 0xc4;
    pub(super) const EXTENSION: u8 = 0xc8;
    pub(super) const ARITHMETIC: u8 = 0xcc;
    pub(super) const FIRST_FRAME: u8 = 0xc0;
    pub(super) const LAST_FRAME: u8 = 0xcf;
    pub(super) const FIRST_RESTART: u8 = 0xd0;
    pub(super) const LAST_RESTART: u8 = 0xd7;
    pub(super) const START_OF_IMAGE: u8 = 0xd8;
    pub(super) const END_OF_IMAGE: u8 = 0xd9;
    pub(super) const START_OF_SCAN: u8 = 0xda;
    pub(super) const TEMPORARY: u8 = 0x01;
}

/// What the headers of a frame state, and where its only scan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) components: u8,
    /// Whether the frame has Huffman tables of its own.
    pub(super) has_huffman_tables: bool,
    /// The offset of the marker that begins the scan.
    scan: usize,
    /// The offset after the end marker.
    end: usize,
}

impl Headers {
    /// Parses a frame of baseline JPEG with one scan. The work is proportional to the length of the frame.
    ///
    /// # References
    /// ITU-T T.81, annex B.
    pub(super) fn parse(frame: &[u8]) -> Result<Self, JpegError> {
        let truncated = JpegError::Truncated { bytes: frame.len() };
        let mut reader = Reader { frame, place: 0 };
        let is_start = match (reader.byte(), reader.byte()) {
            (Some(0xff), Some(code)) => code == marker::START_OF_IMAGE,
            (Some(0xff) | None, None) => return Err(truncated),
            _ => false,
        };
        if !is_start {
            return Err(JpegError::Unsupported("it has no start marker"));
        }
        let (mut size, mut has_huffman_tables) = (None, false);
        loop {
            let begin = reader.place;
            let code = reader.marker().ok_or_else(|| truncated.clone())??;
            match code {
                marker::END_OF_IMAGE => {
                    return Err(JpegError::Unsupported("it ends before its scan"));
                }
                marker::START_OF_IMAGE
                | marker::TEMPORARY
                | marker::FIRST_RESTART..=marker::LAST_RESTART => {
                    return Err(JpegError::Unsupported(
                        "a marker is not expected in its headers",
                    ));
                }
                _ => {}
            }
            let segment = reader.segment().ok_or_else(|| truncated.clone())??;
            match code {
                marker::START_OF_SCAN => {
                    let (width, height, components) =
                        size.ok_or(JpegError::Unsupported("its scan has no frame header"))?;
                    return Ok(Self {
                        width,
                        height,
                        components,
                        has_huffman_tables,
                        scan: begin,
                        end: reader.end_of_scan().ok_or(truncated)??,
                    });
                }
                marker::HUFFMAN_TABLES => has_huffman_tables = true,
                marker::BASELINE | marker::EXTENDED => {
                    let earlier = size.replace(frame_header(segment)?);
                    if earlier.is_some() {
                        return Err(JpegError::Unsupported("it has two frame headers"));
                    }
                }
                marker::EXTENSION | marker::ARITHMETIC => {
                    return Err(JpegError::Unsupported(
                        "it uses arithmetic coding or an extension",
                    ));
                }
                marker::FIRST_FRAME..=marker::LAST_FRAME => {
                    return Err(JpegError::Unsupported(
                        "its frame header is of another process",
                    ));
                }
                _ => {}
            }
        }
    }

    /// Returns the bytes before the scan, and those of the scan with the end marker.
    pub(super) fn split(self, frame: &[u8]) -> (&[u8], &[u8]) {
        let before = frame.get(..self.scan).unwrap_or_default();
        let scan = frame.get(self.scan..self.end).unwrap_or_default();
        (before, scan)
    }
}

/// Returns width, height and the number of components of a frame header.
fn frame_header(segment: &[u8]) -> Result<(u32, u32, u8), JpegError> {
    match segment {
        [8, high, low, wide, narrow, components @ (1 | 3), ..] => {
            let height = u16::from_be_bytes([*high, *low]);
            let width = u16::from_be_bytes([*wide, *narrow]);
            Ok((width.into(), height.into(), *components))
        }
        _ => Err(JpegError::Unsupported(
            "its frame header does not state 8 bits and one or three components",
        )),
    }
}

/// Reads a frame from its beginning. Methods return `None` at its end.
struct Reader<'a> {
    frame: &'a [u8],
    place: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.frame.get(self.place)?;
        self.place = self.place.checked_add(1)?;
        Some(byte)
    }

    /// Reads a marker, which can have fill bytes before it.
    fn marker(&mut self) -> Option<Result<u8, JpegError>> {
        if self.byte()? != 0xff {
            return Some(Err(JpegError::Unsupported(
                "a header does not begin with a marker",
            )));
        }
        loop {
            let code = self.byte()?;
            if code != 0xff {
                return Some(Ok(code));
            }
        }
    }

    /// Reads the length of a segment, and returns the bytes after it.
    fn segment(&mut self) -> Option<Result<&'a [u8], JpegError>> {
        let length = u16::from_be_bytes([self.byte()?, self.byte()?]);
        let Some(length) = usize::from(length).checked_sub(2) else {
            return Some(Err(JpegError::Unsupported(
                "the length of a header is below 2",
            )));
        };
        let end = self.place.checked_add(length)?;
        let segment = self.frame.get(self.place..end)?;
        self.place = end;
        Some(Ok(segment))
    }

    /// Reads the scan, and returns the offset after the end marker.
    fn end_of_scan(&mut self) -> Option<Result<usize, JpegError>> {
        loop {
            let rest = self.frame.get(self.place..)?;
            let escape = rest.iter().position(|byte| *byte == 0xff)?;
            self.place = self.place.checked_add(escape)?.checked_add(1)?;
            match *self.frame.get(self.place)? {
                // A byte 0xff of the scan, or a restart marker, or a fill byte, whose next byte is read in the next round.
                0 | 0xff | marker::FIRST_RESTART..=marker::LAST_RESTART => {}
                marker::END_OF_IMAGE => return self.place.checked_add(1).map(Ok),
                _ => {
                    return Some(Err(JpegError::Unsupported(
                        "it has a header after its scan",
                    )));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 13] = [0xff, 0xc0, 0, 11, 8, 0, 48, 0, 64, 1, 1, 0x11, 0];

    fn frame(middle: &[u8], end: &[u8]) -> Vec<u8> {
        [&[0xff, 0xd8][..], &FRAME, middle, &[0xff, 0xda, 0, 2], end].concat()
    }

    #[test]
    fn fill_bytes_and_restart_markers_are_read() {
        let bytes = frame(
            &[0xff],
            &[1, 0xff, 0, 2, 0xff, 0xd3, 3, 0xff, 0xff, 0xd9, 9],
        );
        let headers = Headers::parse(&bytes).unwrap();
        assert_eq!((headers.width, headers.height), (64, 48));
        assert_eq!((headers.components, headers.has_huffman_tables), (1, false));
        let (before, scan) = headers.split(&bytes);
        assert_eq!(before.len() + scan.len() + 1, bytes.len());
        assert!(scan.ends_with(&[0xff, 0xd9]));
    }

    #[test]
    fn thumbnail_inside_of_a_header_does_not_end_the_frame() {
        let thumbnail = [0xff, 0xe1, 0, 8, 0xff, 0xd8, 0xff, 0xd9, 0, 0];
        let bytes = frame(&thumbnail, &[1, 2, 3]);
        assert!(Headers::parse(&bytes).unwrap_err().is_truncated());
    }

    #[test]
    fn headers_that_are_not_valid_are_refused() {
        for bytes in [
            frame(&[0xff, 0xe0, 0, 1], &[0xff, 0xd9]),
            frame(&[0x12], &[0xff, 0xd9]),
            frame(&FRAME, &[0xff, 0xd9]),
            frame(&[0xff, 0xd9], &[0xff, 0xd9]),
            frame(&[], &[0xff, 0xc4, 0, 2, 0xff, 0xd9]),
            vec![0xff, 0xd8, 0xff, 0xda, 0, 2, 0xff, 0xd9],
            b"YUYVYUYV".to_vec(),
        ] {
            let error = Headers::parse(&bytes).unwrap_err();
            assert!(
                matches!(error, JpegError::Unsupported(_)),
                "{bytes:x?}: {error}"
            );
        }
        assert!(Headers::parse(&[]).unwrap_err().is_truncated());
    }
}
