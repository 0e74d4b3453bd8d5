//! How a client can break the WebSocket protocol, and what it is told.

/// A breach of RFC 6455 by the client.
///
/// The text is the reason in the CLOSE frame: what clients of RESTHeart (Undertow) know, recorded where a recording exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Reserved bits are set that no extension which was agreed on gives a meaning there.
    #[error("UT002015: Extensions not allowed but received rsv of {0}")]
    ReservedBits(u8),
    /// A frame from a client is masked, always.
    #[error("UT002034: Web socket frame was not masked")]
    NotMasked,
    /// Opcodes 3 to 7.
    #[error("UT002009: Data frame using reserved opcode = {0}")]
    ReservedDataOpcode(u8),
    /// Opcodes 11 to 15.
    #[error("UT002007: Control frame using reserved opcode = {0}")]
    ReservedControlOpcode(u8),
    /// A control frame without FIN.
    #[error("UT002005: Fragmented control frame")]
    FragmentedControl,
    /// A control frame with more than 125 bytes.
    #[error("UT002006: Control frame with payload length > 125 octets")]
    LongControl,
    /// A CLOSE of one byte: half a code.
    #[error("UT002008: Received close control frame with payload len 1")]
    ShortClose,
    /// A continuation of nothing.
    #[error("UT002010: Received continuation data frame outside fragmented message")]
    StrayContinuation,
    /// A new message before the last one's end.
    #[error("UT002011: Received non-continuation data frame while inside fragmented message")]
    NestedMessage,
    /// A code that must not be in a CLOSE frame. RESTHeart answers 1005 with 1007; RFC 6455 §7.4 makes it a breach as others.
    #[error("UT002026: Invalid close frame status code: {0}")]
    CloseCode(u16),
    /// A CLOSE whose reason is not UTF-8; text that is not, where somebody listens.
    #[error("UT002003: Text frame contains non UTF-8 data")]
    NotText,
    /// A message that says it is compressed and is not, where somebody listens.
    #[error("the message is not deflated as it says")]
    NotDeflated,
    /// A message of more bytes than its listener takes.
    #[error("the message is too long")]
    MessageTooLong,
}

impl Violation {
    /// Returns the close code that answers it.
    pub fn code(self) -> u16 {
        match self {
            Self::NotText | Self::NotDeflated => 1007,
            Self::MessageTooLong => 1009,
            Self::ReservedBits(_)
            | Self::NotMasked
            | Self::ReservedDataOpcode(_)
            | Self::ReservedControlOpcode(_)
            | Self::FragmentedControl
            | Self::LongControl
            | Self::ShortClose
            | Self::StrayContinuation
            | Self::NestedMessage
            | Self::CloseCode(_) => 1002,
        }
    }
}
