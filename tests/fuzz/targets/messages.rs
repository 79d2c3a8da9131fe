//! Every kind of message: what is accepted is the one encoding of what it says.
//!
//! The first byte is the kind, the rest the payload as it stands.

use spindle::node::message::{HEADERS_MAX, Kind, Message, shown};
use spindle::primitives::codec;
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES};

pub(crate) fn run(data: &[u8]) {
    let Some((&number, payload)) = data.split_first() else { return };
    let Some(kind) = Kind::from_number(number) else { return };
    // No longer one ever gets here: the frame reader holds it to that.
    if payload.len() > kind.bytes_max() {
        return;
    }
    let Ok(message) = Message::from_payload(kind, payload) else { return };
    assert_eq!(message.kind(), kind);
    let frame = message.to_frame();
    assert_eq!(&frame[HEADER_BYTES..], payload, "one value has one encoding");
    assert_eq!(frame[..HEADER_BYTES], FrameHeader::of(number, payload).to_bytes());
    assert_eq!(Message::from_payload(kind, &frame[HEADER_BYTES..]).as_ref(), Ok(&message));
    check(&message);
}

/// What holds of a message that was accepted.
fn check(message: &Message) {
    match message {
        Message::Hello(hello) | Message::HelloAck(hello) => {
            let agent = shown(&hello.agent);
            assert!(agent.len() == hello.agent.len() && agent.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
        Message::Headers(headers) => {
            assert!(headers.len() <= HEADERS_MAX);
            for header in headers {
                assert_eq!(codec::decode(&header.to_bytes()).as_ref(), Ok(header));
            }
        }
        Message::Txs(transactions) | Message::BlockTxs { transfers: transactions, .. } => {
            assert!(transactions.iter().all(|bytes| !bytes.is_empty()), "a transaction takes bytes");
        }
        _ => {}
    }
}
