//! `linux-dmabuf`, version 6, generated from `linux-dmabuf-v1.xml` of wayland-protocols.
//!
//! The code is generated here, because the releases of the crate `wayland-protocols` that contain version 6 need a newer compiler
//! than this workspace.

#[cfg(feature = "client")]
pub use generated::client;
#[cfg(feature = "server")]
pub use generated::server;

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_code,
    unused_imports,
    unused_qualifications,
    unused_unsafe,
    unused_variables,
    reason = "the code is generated"
)]
mod generated {
    #[cfg(feature = "client")]
    pub mod client {
        //! The client's side of the protocol.
        use wayland_client;
        use wayland_client::protocol::*;

        pub mod __interfaces {
            use wayland_client::protocol::__interfaces::*;
            wayland_scanner::generate_interfaces!("linux-dmabuf-v1.xml");
        }
        use self::__interfaces::*;

        wayland_scanner::generate_client_code!("linux-dmabuf-v1.xml");
    }

    #[cfg(feature = "server")]
    pub mod server {
        //! The compositor's side of the protocol.
        use wayland_server;
        use wayland_server::protocol::*;

        pub mod __interfaces {
            use wayland_server::protocol::__interfaces::*;
            wayland_scanner::generate_interfaces!("linux-dmabuf-v1.xml");
        }
        use self::__interfaces::*;

        wayland_scanner::generate_server_code!("linux-dmabuf-v1.xml");
    }
}
