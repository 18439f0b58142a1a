//! The server's side: tags, challenges, and literals.

use super::{DATA, MASK, Redactor, to_line_end, up_to};
use crate::wire::framer::Tail;

/// Octets of a line within which its first two words stand.
const HEAD: usize = 96;

/// Where in its output the server is.
#[derive(Debug, Default)]
pub(super) struct Server {
    place: Place,
    /// What of the line is not decided yet.
    held: Vec<u8>,
    /// The end of the line.
    tail: Tail,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// In the part of a line that says what it is.
    #[default]
    Head,
    /// In a line that is shown, and may announce a literal or not.
    Line { literals: bool },
    /// In a literal. `told`: what stands for it has been written.
    Literal { left: u64, told: bool },
    /// In a line that is not shown.
    Masked,
}

impl Redactor {
    /// Takes the beginning of the server's bytes, and says how many they were.
    pub(super) fn server(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        match self.server.place {
            Place::Head => {
                for (taken, byte) in (1..).zip(bytes) {
                    self.server.held.push(*byte);
                    let spaces = self.server.held.iter().filter(|byte| **byte == b' ').count();
                    if *byte == b'\n' || (*byte == b' ' && spaces == 2) || self.server.held.len() == HEAD {
                        self.answer(out);
                        return taken;
                    }
                }
                bytes.len()
            }
            Place::Line { literals } => {
                let (line, ends) = to_line_end(bytes);
                out.extend_from_slice(line);
                self.server.tail.push(line);
                if ends {
                    let announced = std::mem::take(&mut self.server.tail).announced().filter(|_| literals);
                    self.server.place = match announced {
                        Some((left, _)) => Place::Literal { left, told: false },
                        None => Place::Head,
                    };
                }
                line.len()
            }
            Place::Literal { left, told } => {
                let data = up_to(bytes, left);
                if self.keep.data {
                    out.extend_from_slice(data);
                } else if !told && !data.is_empty() {
                    out.extend_from_slice(DATA);
                }
                let left = left - data.len() as u64;
                self.server.place =
                    if left == 0 { Place::Line { literals: true } } else { Place::Literal { left, told: true } };
                data.len()
            }
            Place::Masked => {
                let (line, ends) = to_line_end(bytes);
                if ends {
                    out.extend_from_slice(MASK);
                    out.extend_from_slice(b"\r\n");
                    self.server.place = Place::Head;
                }
                line.len()
            }
        }
    }

    /// The held beginning of a line says what it is.
    fn answer(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.server.held);
        let mut words = held.trim_ascii_end().split(|byte| *byte == b' ');
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is = |word: &str| second.eq_ignore_ascii_case(word.as_bytes());
        let mut literals = false;
        match first {
            b"*" => {
                self.authenticated |= is("PREAUTH");
                literals = !["OK", "NO", "BAD", "BYE", "PREAUTH"].into_iter().any(is);
            }
            b"+" if self.authenticating.is_some() && !self.keep.secrets && !second.is_empty() => {
                out.extend_from_slice(b"+ ");
                return self.hide_answer(&held, out);
            }
            b"+" | b"" => {}
            tag => {
                if !self.answered(tag, is("OK")) && !self.keep.secrets {
                    if held.len() == first.len() {
                        return self.hide_answer(&held, out);
                    }
                    out.extend_from_slice(MASK);
                    let rest = held.get(first.len()..).unwrap_or_default();
                    return self.show_answer(rest, literals, out);
                }
            }
        }
        self.show_answer(&held, literals, out);
    }

    /// A command is answered, and with OK or not. Says whether it is one whose tag was shown.
    fn answered(&mut self, tag: &[u8], ok: bool) -> bool {
        let place = self.tags.iter().position(|noted| **noted == *tag);
        if let Some(place) = place {
            // Commands are answered in their order.
            self.tags.drain(..=place);
        }
        self.idling = false;
        if self.tags.iter().any(|noted| **noted == *tag) {
            // The client uses a tag again and again: this was the answer to an earlier command than the last of them.
            return true;
        }
        let is = |noted: &Option<Box<[u8]>>| noted.as_deref() == Some(tag);
        if is(&self.authenticating) {
            self.authenticating = None;
            self.authenticated |= ok;
        }
        if is(&self.logging_in) {
            self.logging_in = None;
            self.authenticated |= ok;
        }
        if is(&self.leaving) {
            self.leaving = None;
            self.authenticated &= !ok;
        }
        self.refuse_literal(tag);
        // One that was to be answered before has got no answer, nor will it.
        self.logging_in.take_if(|login| !self.tags.contains(login));
        place.is_some()
    }

    fn show_answer(&mut self, held: &[u8], literals: bool, out: &mut Vec<u8>) {
        self.server.tail = Tail::default();
        self.server.place = Place::Line { literals };
        self.server(held, out);
    }

    fn hide_answer(&mut self, held: &[u8], out: &mut Vec<u8>) {
        self.server.place = Place::Masked;
        self.server(held, out);
    }
}
