//! How a client is set up: the settings, their check, and the client that is made of them.

mod build;
mod chosen;
mod observe;
mod settings;
mod source;
mod tls;

pub use self::settings::Builder;
pub(crate) use self::tls::TlsFiles;
