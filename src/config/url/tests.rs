//! Configurations in URLs.

use proptest::prelude::*;
use serde::Deserialize;

use super::super::Config;
use super::tree::fields_of;
use crate::{ErrorKind, ReplicatedClient};

/// Reads a URL, and checks that it means the same as the file.
fn same(url: &str, file: &str) -> Config {
    let config = Config::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    assert_eq!(config, toml::from_str(file).unwrap(), "{url}");
    config
}
