//! The body of an answer while the node sends it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    web::Bytes,
};
use forerunner_service::Reservation;

use crate::net::AnswerGuard;

/// Bytes of one piece of a large answer. actix-http copies each piece: a large one would be in memory twice, and the
/// copy would count nowhere.
const PIECE_BYTES: usize = 32 << 10;

/// A body that counts in the budget, and marks its connection as busy, until its last byte was handed out.
pub(crate) struct Answer {
    body: BoxBody,
    rest: Bytes,
    reservation: Reservation,
    /// The largest piece of a stream that is reserved.
    piece: usize,
    _answering: Option<AnswerGuard>,
}

impl Answer {
    pub(crate) const fn new(body: BoxBody, reservation: Reservation, answering: Option<AnswerGuard>) -> Self {
        Self { body, rest: Bytes::new(), reservation, piece: 0, _answering: answering }
    }

    /// Reserves the bytes of the next piece of a stream, whose size is not known beforehand.
    fn has_room(&mut self, bytes: usize) -> bool {
        let is_reserved = self.body.size() != BodySize::Stream || bytes <= self.piece.max(PIECE_BYTES);
        if is_reserved {
            return true;
        }
        let more = bytes - self.piece;
        self.piece = bytes;
        self.reservation.grow(more)
    }
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_next(cx)) {
                Some(Ok(bytes)) if this.has_room(bytes.len()) => this.rest = bytes,
                // The stream ends. Its reader reconnects after the last event that it has.
                Some(Ok(_)) => return Poll::Ready(None),
                ended => return Poll::Ready(ended),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(piece)))
    }
}
