//! Private keys in PKCS#11 tokens: named by a URI, used through the module that it names.
//!
//! A CA's key is there already ([`TokenKey::open`]); a node's keys are made there, and deleted when
//! no file names them any more ([`TokenKeys`]). None of them leaves its token.
//!
//! A token may be slow, be pulled out, or hang. One thread talks to it, for a CA one per key, so
//! that whoever wants a signature waits for a bounded time, in a queue of bounded length. After any
//! error the session is given up, and made anew once before the error is told: tokens that went
//! away and came back, sessions that another program closed, and logins that ended look alike.
//! Where no token fits (for a node: where that does not help), the library is begun anew, too. A
//! PIN that was refused is not tried again, since tokens lock themselves after a few wrong ones.

mod key;
mod keys;
mod module;
mod pin;
mod token;
mod uri;
mod worker;

pub use key::TokenKey;
pub use keys::{Owner, TokenKeys};
pub use uri::{KeyUri, TokenUri, UriError};
