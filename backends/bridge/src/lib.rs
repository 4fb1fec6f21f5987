//! Moves messages between protocols: the [`CommunicationBridge`](onex_spi::bridge::CommunicationBridge) over any
//! [`BridgeProtocol`](onex_spi::bridge::BridgeProtocol).
#![forbid(unsafe_code)]

pub mod http;
mod ids;
mod wire;
