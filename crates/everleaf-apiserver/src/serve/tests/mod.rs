//! A real rustls client against the connection code, over an in-memory pipe in paused time; the
//! listener itself once over a socket.

mod bodies;
mod certificate;
mod fixture;
mod heads;
mod identity;
mod life;
mod lists;
mod pages;
