//! The route table and how a plain path is looked up in it. Not here: paths with more than one reading (`readings`).
//! Invariant: for a plain path the list walked here and the tree walked there give the same verdict (a test compares them).

use std::fmt;

use super::readings::{self, Ambiguous, Outcome};
use super::tree::{Tree, Verdict};

/// The gateway's own endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Own {
    /// `/health`
    Health,
    /// `/livez`
    Livez,
    /// `/readyz`
    Readyz,
    /// `/docs`
    Docs,
    /// `/redoc`
    Redoc,
    /// `/openapi.json`
    OpenApi,
    /// `/rate-limit/info`
    RateLimitInfo,
    /// `/admin/rate-limit/reset`
    AdminReset,
}

impl Own {
    /// Every own endpoint.
    pub const ALL: [Self; 8] = [
        Self::Health,
        Self::Livez,
        Self::Readyz,
        Self::Docs,
        Self::Redoc,
        Self::OpenApi,
        Self::RateLimitInfo,
        Self::AdminReset,
    ];

    /// The one path that is this endpoint.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Docs => "/docs",
            Self::Redoc => "/redoc",
            Self::OpenApi => "/openapi.json",
            Self::RateLimitInfo => "/rate-limit/info",
            Self::AdminReset => "/admin/rate-limit/reset",
        }
    }

    /// Exempt from tokens and limits altogether: whoever watches the gateway must always be answered.
    #[must_use]
    pub const fn is_exempt(self) -> bool {
        match self {
            Self::Health | Self::Livez | Self::Readyz => true,
            Self::Docs | Self::Redoc | Self::OpenApi | Self::RateLimitInfo | Self::AdminReset => {
                false
            }
        }
    }

    /// Needs no token.
    #[must_use]
    pub const fn is_public(self) -> bool {
        match self {
            Self::Docs | Self::Redoc | Self::OpenApi => true,
            Self::RateLimitInfo | Self::AdminReset => false,
            Self::Health | Self::Livez | Self::Readyz => true,
        }
    }
}

/// Upstream paths that need no token, besides those configured: without them nobody could come by one.
const PUBLIC: [&str; 2] = ["/api/v1/auth/login", "/api/v1/auth/register"];

/// One line of the route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `/api/v1`: it and all paths below it; the longest matching prefix wins.
    pub prefix: String,
    /// Index of the service in the caller's list.
    pub service: usize,
    /// Whether the prefix is cut off on the way upstream.
    pub strip: bool,
    /// Whether everything below the prefix needs no token.
    pub public: bool,
    /// The path of the service's URL, put before the target; empty or `/…` without a slash at its end.
    pub base_path: String,
}

impl Rule {
    /// What to send upstream as the target: the two parts, written one after the other.
    ///
    /// `raw_target` is the origin-form target that [`Table::find`] matched, query included. Stripped, `/analyzer/x?q`
    /// becomes base + `/x?q`, and `/analyzer` alone the base itself, without a slash that nobody wrote (`/` if the
    /// base is empty: a target is never empty).
    #[must_use]
    pub fn upstream_target_parts<'a>(&'a self, raw_target: &'a str) -> (&'a str, &'a str) {
        if !self.strip {
            return (&self.base_path, raw_target);
        }
        // Always the literal prefix: `find` refuses a target that spells it in another way.
        let rest = raw_target
            .strip_prefix(self.prefix.as_str())
            .unwrap_or(raw_target);
        if self.base_path.is_empty() && !rest.starts_with('/') {
            return ("/", rest);
        }
        (&self.base_path, rest)
    }

    /// Segments of the prefix: how deep a path must stay to remain inside.
    pub(super) fn depth(&self) -> usize {
        self.prefix.bytes().filter(|byte| *byte == b'/').count()
    }

    fn covers(&self, path: &str) -> bool {
        match path.strip_prefix(self.prefix.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match<'t> {
    /// The gateway answers it itself.
    Own(Own),
    /// A rule covers it.
    Upstream(Upstream<'t>),
    /// Nothing does: 404, after the token was checked.
    None,
}

/// A rule, and what it means for this path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream<'t> {
    /// The rule's place in the list given to [`Table::new`]; a stable label for metrics.
    pub index: usize,
    /// The rule itself.
    pub rule: &'t Rule,
    /// Whether this path needs no token.
    pub public: bool,
}

/// All routes. Immutable; a changed configuration makes a new one.
#[derive(Debug)]
pub struct Table {
    rules: Vec<Rule>,
    /// Indexes of `rules`, longest prefix first.
    order: Vec<usize>,
    public_exact: Vec<String>,
    /// Without their `*`.
    public_starts: Vec<String>,
    tree: Tree,
}

impl Table {
    /// Checks and arranges the rules. `public_paths` are exact, or end in `*` and then cover all that starts so.
    ///
    /// # Errors
    /// A prefix or path that is not a plain path, or a prefix that stands twice or hides an own endpoint.
    pub fn new(mut rules: Vec<Rule>, public_paths: Vec<String>) -> Result<Self, RouteError> {
        let mut tree = Tree::new();
        for own in Own::ALL {
            tree.add_own(own.path(), own);
        }
        let mut seen: Vec<String> = Vec::new();
        for (index, rule) in rules.iter_mut().enumerate() {
            check_prefix(rule, &seen)?;
            tree.add_rule(&rule.prefix, index, rule.public);
            seen.push(rule.prefix.clone());
        }
        let mut public_exact: Vec<String> = PUBLIC.map(str::to_owned).into();
        let mut public_starts = Vec::new();
        for path in public_paths {
            let start = path.strip_suffix('*');
            let checked = start.unwrap_or(&path);
            if !is_plain_path(checked) || checked.contains('*') {
                return Err(RouteError::PublicPath(path));
            }
            match start {
                Some(start) => public_starts.push(start.to_owned()),
                None => public_exact.push(path),
            }
        }
        public_exact.iter().for_each(|path| tree.add_public(path));
        public_starts
            .iter()
            .for_each(|start| tree.add_public_start(start));
        let mut order: Vec<usize> = (0..rules.len()).collect();
        order.sort_by_key(|index| {
            std::cmp::Reverse(rules.get(*index).map_or(0, |rule| rule.prefix.len()))
        });
        Ok(Self {
            rules,
            order,
            public_exact,
            public_starts,
            tree,
        })
    }

    /// Matches a raw path; a query after it is not looked at. Other forms (`*`) match nothing.
    ///
    /// # Errors
    /// [`Ambiguous`]: answer 400 with its message.
    pub fn find(&self, path: &str) -> Result<Match<'_>, Ambiguous> {
        let path = path.split_once('?').map_or(path, |(before, _)| before);
        if !path.starts_with('/') {
            return Ok(Match::None);
        }
        let verdict = if readings::is_plain(path.as_bytes()) {
            self.find_plain(path)
        } else {
            self.find_in_all_readings(path)?
        };
        Ok(self.to_match(verdict))
    }

    fn find_plain(&self, path: &str) -> Verdict {
        if let Some(own) = Own::ALL.into_iter().find(|own| own.path() == path) {
            return Verdict::unrouted(Some(own));
        }
        for index in &self.order {
            let Some(rule) = self.rules.get(*index).filter(|rule| rule.covers(path)) else {
                continue;
            };
            let exact = || self.public_exact.iter().any(|public| public == path);
            let start = || {
                self.public_starts
                    .iter()
                    .any(|start| path.starts_with(start.as_str()))
            };
            return Verdict {
                own: None,
                rule: Some(*index),
                public: rule.public || exact() || start(),
            };
        }
        Verdict::unrouted(None)
    }

    fn find_in_all_readings(&self, path: &str) -> Result<Verdict, Ambiguous> {
        let Outcome { verdict, lowest } = readings::read_all(&self.tree, path.as_bytes())?;
        let Some(rule) = verdict.rule.and_then(|index| self.rules.get(index)) else {
            return Ok(verdict);
        };
        // On the way it climbs above the prefix, if only to come back: cut off, `/analyzer/../analyzer/x` would
        // be `/../analyzer/x` below the base path.
        if lowest < rule.depth() {
            return Err(Ambiguous::LeavesPrefix);
        }
        // `//host/x` as a whole target is a reference to another host for some (RFC 3986, 4.2).
        let rest = path.strip_prefix(rule.prefix.as_str()).unwrap_or(path);
        let joined_slashes = rest.starts_with("//") || rest.starts_with("/\\");
        if joined_slashes && rule.strip && rule.base_path.is_empty() {
            return Err(Ambiguous::AnotherHost);
        }
        Ok(verdict)
    }

    fn to_match(&self, verdict: Verdict) -> Match<'_> {
        if let Some(own) = verdict.own {
            return Match::Own(own);
        }
        let Some(index) = verdict.rule else {
            return Match::None;
        };
        match self.rules.get(index) {
            Some(rule) => Match::Upstream(Upstream {
                index,
                rule,
                public: verdict.public,
            }),
            None => Match::None,
        }
    }

    /// A rule by its place in the list given to [`Table::new`].
    #[must_use]
    pub fn rule(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }

    /// For tests: what the list says of the text as it stands.
    #[cfg(test)]
    pub(super) fn match_literally(&self, path: &str) -> Match<'_> {
        self.to_match(self.find_plain(path))
    }

    /// For tests: whether the walk over the tree says the same of a plain path.
    #[cfg(test)]
    pub(super) fn tree_agrees(&self, path: &str) -> bool {
        readings::read_all(&self.tree, path.as_bytes())
            .is_ok_and(|outcome| outcome.verdict == self.find_plain(path))
    }

    /// The map that is printed at start, longest prefix first; `service` names a service by its index.
    pub fn describe(&self, service: impl Fn(usize) -> String) -> Vec<String> {
        let rules = self.order.iter().filter_map(|index| self.rules.get(*index));
        let mut lines: Vec<String> = rules
            .map(|rule| {
                let Rule {
                    prefix, base_path, ..
                } = rule;
                let sent = if rule.strip { "" } else { prefix.as_str() };
                let access = if rule.public { "public" } else { "token" };
                let service = service(rule.service);
                format!("{prefix}/* -> {service}: {base_path}{sent}/* ({access})")
            })
            .collect();
        let starts = self.public_starts.iter().map(|start| format!("{start}*"));
        let public: Vec<String> = self.public_exact.iter().cloned().chain(starts).collect();
        lines.push(format!("public: {}", public.join(" ")));
        let own: Vec<&str> = Own::ALL.iter().map(|own| own.path()).collect();
        lines.push(format!("own: {}", own.join(" ")));
        lines
    }
}

/// Normalises the slashes at the ends of the rule's two paths and checks the rest.
fn check_prefix(rule: &mut Rule, seen: &[String]) -> Result<(), RouteError> {
    for path in [&mut rule.prefix, &mut rule.base_path] {
        let kept = path.trim_end_matches('/').len();
        // Only one slash is a matter of taste; `/a//` is a mistake.
        if path.len() - kept > 1 {
            return Err(RouteError::Path(path.clone()));
        }
        if path.is_empty() || kept == path.len() {
            continue;
        }
        path.truncate(kept);
    }
    let plain = |path: &str| path.is_empty() || is_plain_path(path);
    if !plain(&rule.prefix) || rule.prefix.contains('*') {
        return Err(RouteError::Path(rule.prefix.clone()));
    }
    if !plain(&rule.base_path) {
        return Err(RouteError::Path(rule.base_path.clone()));
    }
    if seen.contains(&rule.prefix) {
        return Err(RouteError::Duplicate(rule.prefix.clone()));
    }
    if Own::ALL.into_iter().any(|own| own.path() == rule.prefix) {
        return Err(RouteError::Reserved(rule.prefix.clone()));
    }
    Ok(())
}

fn is_plain_path(path: &str) -> bool {
    path.starts_with('/')
        && readings::is_plain(path.as_bytes())
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
}

/// Why there is no table; each names the path at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// A prefix or base path that is not a plain absolute path.
    Path(String),
    /// A public path that is not a plain absolute path, or has a `*` that is not its last character.
    PublicPath(String),
    /// Two rules with one prefix.
    Duplicate(String),
    /// The prefix is one of the gateway's own endpoints.
    Reserved(String),
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = "must start with / and contain no %, ;, \\, ?, #, blank, // or dot segment";
        match self {
            Self::Path(path) => write!(f, "route path {path:?} {form}"),
            Self::PublicPath(path) => {
                write!(
                    f,
                    "public path {path:?} {form}, and * only as its last character"
                )
            }
            Self::Duplicate(path) => write!(f, "two routes have the prefix {path:?}"),
            Self::Reserved(path) => write!(f, "the prefix {path:?} is the gateway's own endpoint"),
        }
    }
}

impl std::error::Error for RouteError {}
