//! Operations on two sets, block by block.

use super::block::{Bitmap, Body};
use super::tree::{Place, Segment, Tree};

/// What a piece must have to be of interest; the rest is skipped by search, not step by step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Both,
    Left,
    Either,
}

/// A walk through the segments of one tree.
struct Cursor<'a> {
    tree: &'a Tree,
    place: Place,
    /// The first block not dealt with.
    block: u32,
}

impl<'a> Cursor<'a> {
    fn new(tree: &'a Tree) -> Self {
        Self { tree, place: Place::default(), block: 0 }
    }

    /// What comes next: its first block, the block after its last, and its body.
    fn peek(&self) -> Option<(u32, u32, &'a Body)> {
        let segment: &'a Segment = self.tree.get(self.place)?;
        Some((segment.block.max(self.block), segment.end(), &segment.body))
    }

    /// Goes on to a block.
    fn seek(&mut self, block: u32) {
        self.block = block;
        let ended = |place| self.tree.get(place).is_some_and(|segment| segment.end() <= block);
        if ended(self.place) {
            self.place = self.tree.next(self.place);
            if ended(self.place) {
                self.place = self.tree.find(block);
            }
        }
    }
}

/// A stretch of blocks on which neither side changes its body; of one block, unless both are full or absent.
struct Piece<'a> {
    block: u32,
    blocks: u32,
    left: Option<&'a Body>,
    right: Option<&'a Body>,
}

struct Pieces<'a> {
    left: Cursor<'a>,
    right: Cursor<'a>,
    need: Need,
}

fn pieces<'a>(left: &'a Tree, right: &'a Tree, need: Need) -> Pieces<'a> {
    Pieces { left: Cursor::new(left), right: Cursor::new(right), need }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        loop {
            let (left, right) = (self.left.peek(), self.right.peek());
            let left_start = left.map_or(u32::MAX, |(start, ..)| start);
            let right_start = right.map_or(u32::MAX, |(start, ..)| start);
            match (left, right) {
                (None, None) => return None,
                (Some((start, end, body)), _) if start < right_start => {
                    if self.need == Need::Both {
                        right?;
                        self.left.seek(right_start);
                        continue;
                    }
                    let end = end.min(right_start);
                    self.left.seek(end);
                    return Some(Piece { block: start, blocks: end - start, left: Some(body), right: None });
                }
                (_, Some((start, end, body))) if start < left_start => {
                    if self.need != Need::Either {
                        left?;
                        self.right.seek(left_start);
                        continue;
                    }
                    let end = end.min(left_start);
                    self.right.seek(end);
                    return Some(Piece { block: start, blocks: end - start, left: None, right: Some(body) });
                }
                (left, right) => {
                    let ((start, left_end, left), (_, right_end, right)) = (left?, right?);
                    let end = left_end.min(right_end);
                    self.left.seek(end);
                    self.right.seek(end);
                    return Some(Piece { block: start, blocks: end - start, left: Some(left), right: Some(right) });
                }
            }
        }
    }
}

impl Piece<'_> {
    /// A body as it stands in this piece.
    fn cut(&self, body: &Body) -> Body {
        if body.is_full() { Body::Full { blocks: self.blocks } } else { body.clone() }
    }
}

fn combine(left: &Body, right: &Body, op: impl Fn(u64, u64) -> u64) -> Option<Body> {
    let mut bits: Bitmap = left.expand();
    let other = right.expand();
    for (word, other) in bits.iter_mut().zip(other) {
        *word = op(*word, other);
    }
    Body::pack(&bits)
}

/// The members of one block's bodies that either has.
pub(super) fn either(left: &Body, right: &Body) -> Option<Body> {
    if left.is_same(right) { Some(left.clone()) } else { combine(left, right, |a, b| a | b) }
}

/// The members of one block's body that another has not.
pub(super) fn without(left: &Body, right: &Body) -> Option<Body> {
    if left.is_same(right) { None } else { combine(left, right, |a, b| a & !b) }
}

pub(super) fn union(left: &Tree, right: &Tree) -> Tree {
    let mut tree = Tree::new();
    for piece in pieces(left, right, Need::Either) {
        let body = match (piece.left, piece.right) {
            (Some(body), None) | (None, Some(body)) => Some(piece.cut(body)),
            (Some(full), Some(_)) | (_, Some(full)) if full.is_full() => Some(piece.cut(full)),
            (Some(left), Some(right)) => either(left, right),
            (None, None) => None,
        };
        if let Some(body) = body {
            tree.push(piece.block, body);
        }
    }
    tree
}

pub(super) fn intersection(left: &Tree, right: &Tree) -> Tree {
    let mut tree = Tree::new();
    for piece in pieces(left, right, Need::Both) {
        let (Some(left), Some(right)) = (piece.left, piece.right) else { continue };
        let body = if left.is_full() || left.is_same(right) {
            Some(piece.cut(right))
        } else if right.is_full() {
            Some(piece.cut(left))
        } else {
            combine(left, right, |a, b| a & b)
        };
        if let Some(body) = body {
            tree.push(piece.block, body);
        }
    }
    tree
}

pub(super) fn difference(left: &Tree, right: &Tree) -> Tree {
    let mut tree = Tree::new();
    for piece in pieces(left, right, Need::Left) {
        let body = match (piece.left, piece.right) {
            (Some(left), None) => Some(piece.cut(left)),
            (Some(_), Some(right)) if right.is_full() => None,
            (Some(left), Some(right)) => without(left, right),
            (None, _) => None,
        };
        if let Some(body) = body {
            tree.push(piece.block, body);
        }
    }
    tree
}

pub(super) fn is_subset(left: &Tree, right: &Tree) -> bool {
    pieces(left, right, Need::Left).all(|piece| match (piece.left, piece.right) {
        (Some(_), None) => false,
        (Some(left), Some(right)) => {
            right.is_full()
                || left.is_same(right)
                || (!left.is_full() && left.expand().iter().zip(right.expand()).all(|(a, b)| a & !b == 0))
        }
        (None, _) => true,
    })
}

pub(super) fn intersects(left: &Tree, right: &Tree) -> bool {
    pieces(left, right, Need::Both).any(|piece| match (piece.left, piece.right) {
        (Some(left), Some(right)) => {
            left.is_full()
                || right.is_full()
                || left.is_same(right)
                || left.expand().iter().zip(right.expand()).any(|(a, b)| a & b != 0)
        }
        _ => false,
    })
}
