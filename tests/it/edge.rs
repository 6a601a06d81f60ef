//! The edge: browsers' traffic through Usher, byte for byte.
//!
//! The server here is a scripted one that answers in every way HTTP allows, and keeps what it was told; what a BBB server
//! does with a session is tried against the simulated servers.

mod announced;
mod assets;
mod carrying;
mod floods;
mod frames;
mod links;
mod lobby;
mod node_config;
mod origin;
mod reach;
mod secure;
mod sessions;
mod site;
mod sockets;
mod sources;
mod university;
