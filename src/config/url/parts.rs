//! A URL taken apart: scheme, login, nodes, database, query and fragment.
//!
//! No error repeats a part of the URL: where one is malformed, any part may belong to the password.

use super::tree::Flaw;
use crate::addr::NodeAddr;

const FORM: &str = "expected redis://host:6379,host:6379/0 or rediss://… for nodes, redis-sentinel://… or rediss-sentinel://… for Sentinels";
const REDIS_PORT: &str = "6379";
const SENTINEL_PORT: &str = "26379";

/// What the scheme says about the nodes of the URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Scheme {
    pub(super) has_sentinels: bool,
    pub(super) has_tls: bool,
}

/// The parts, decoded but for the query.
pub(super) struct Parts<'a> {
    pub(super) scheme: Scheme,
    /// User and password. A user may be empty.
    pub(super) login: Option<(String, String)>,
    /// `host:port`.
    pub(super) nodes: Vec<String>,
    pub(super) database: Option<String>,
    pub(super) query: &'a str,
    pub(super) fragment: Option<String>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(url: &'a str) -> Result<Self, Flaw> {
        if url.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
            return Err(Flaw::of(
                "it contains a space, a line end or a control character: remove it, or write a space as %20",
            ));
        }
        let (scheme, rest) = url.split_once("://").ok_or(Flaw::of(FORM))?;
        let scheme = Scheme::of(scheme)?;
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let login = login.map_or(Ok(None), login_of)?;
        let (rest, fragment) = split(rest, '#');
        let (rest, query) = split(rest, '?');
        let (nodes, path) = split(rest, '/');
        let port = if scheme.has_sentinels { SENTINEL_PORT } else { REDIS_PORT };
        Ok(Self {
            scheme,
            login,
            nodes: nodes_of(nodes, port)?,
            database: path.filter(|path| !path.is_empty()).map(database_of).transpose()?,
            query: query.unwrap_or_default(),
            fragment: fragment.map(decoded).transpose()?,
        })
    }
}

impl Scheme {
    fn of(text: &str) -> Result<Self, Flaw> {
        let (has_sentinels, has_tls) = match text.to_ascii_lowercase().as_str() {
            "redis" | "valkey" => (false, false),
            "rediss" | "valkeys" => (false, true),
            "redis-sentinel" => (true, false),
            "rediss-sentinel" => (true, true),
            "redis+sentinel" | "rediss+sentinel" | "sentinel" => {
                return Err(Flaw::of(
                    "Sentinels are named by redis-sentinel://host:26379/database?sentinelMasterId=service",
                ));
            }
            "unix" | "redis+unix" | "valkey+unix" | "redis-socket" | "redis+socket" => {
                return Err(Flaw::of(
                    "sockets are named one by one, by master and replicas in a file, or by the builder",
                ));
            }
            _ => return Err(Flaw::of(FORM)),
        };
        Ok(Self { has_sentinels, has_tls })
    }
}

/// Splits at the first separator, if there is one.
fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Returns the user and the password. `None`: both are empty.
fn login_of(text: &str) -> Result<Option<(String, String)>, Flaw> {
    if let Some(letter) = text.chars().find(|letter| matches!(letter, '@' | '#' | '/' | '?')) {
        let code = u32::from(letter);
        let both = if letter == '@' { "" } else { ", and @ as %40" };
        return Err(Flaw(format!(
            "\"{letter}\" stands in front of the last \"@\": within a user, password or value, write {letter} as %{code:X}{both} \
             (percent-encoding); there is one login, in front of the first node"
        )));
    }
    match text.split_once(':') {
        Some(("", "")) => Ok(None),
        Some((user, password)) => Ok(Some((decoded(user)?, decoded(password)?))),
        None if text.is_empty() => Ok(None),
        None => Err(Flaw::of("the login has no colon: write user:password@, or :password@ without a user")),
    }
}

fn nodes_of(text: &str, default_port: &str) -> Result<Vec<String>, Flaw> {
    let mut nodes: Vec<NodeAddr> = Vec::new();
    for (index, node) in text.split(',').enumerate() {
        let node = node_of(node, default_port).map_err(|reason| Flaw(format!("node {}: {reason}", index + 1)))?;
        if nodes.contains(&node) {
            return Err(Flaw(format!("node {}: it is named before", index + 1)));
        }
        nodes.push(node);
    }
    Ok(nodes.iter().map(NodeAddr::to_string).collect())
}

fn node_of(text: &str, default_port: &str) -> Result<NodeAddr, &'static str> {
    if text.is_empty() {
        return Err("no host");
    }
    let after_host = text.rfind(']').map_or(text, |end| &text[end + 1..]);
    let text = if after_host.contains(':') { text.to_owned() } else { format!("{text}:{default_port}") };
    if !text.starts_with('[') && text.matches(':').count() > 1 {
        return Err("an IPv6 address stands in brackets, as in [::1]:6379; a login ends with @");
    }
    text.parse().map_err(|_| "no address of the form host, host:port or [v6]:port; a login ends with @")
}

fn database_of(path: &str) -> Result<String, Flaw> {
    let is_number = path.bytes().all(|byte| byte.is_ascii_digit()) && path.parse::<u32>().is_ok();
    is_number
        .then(|| path.to_owned())
        .ok_or(Flaw::of("the part after \"/\" is no database: expected a number such as /0"))
}

/// Returns the text without its percent-encoding.
pub(super) fn decoded(text: &str) -> Result<String, Flaw> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let code = part.get(..2).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(byte.ok_or(Flaw::of("a \"%\" is not followed by two hexadecimal digits: write % itself as %25"))?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| Flaw::of("what is percent-encoded is not UTF-8"))
}
