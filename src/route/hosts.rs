//! The names that clients may call the gateway by (`ALLOWED_HOSTS`). Not where a request goes. Invariant: letter case, a port and a dot at
//! the end make no other name.

/// Allowed names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    exact: Vec<String>,
    /// `.example.com` for `*.example.com`: one label stands before it.
    below: Vec<String>,
}

impl Hosts {
    /// Names in lower case without ports; `*.` at the front of one stands for one label.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        let below = names.iter().filter_map(|name| name.strip_prefix('*'));
        let exact = names.iter().filter(|name| !name.starts_with('*'));
        Self {
            exact: exact.cloned().collect(),
            below: below.map(str::to_owned).collect(),
        }
    }

    /// Whether a request to this `host[:port]` may pass.
    #[must_use]
    pub fn allow(&self, authority: &str) -> bool {
        let end = match authority.rfind([':', ']']) {
            Some(at) if authority[at..].starts_with(':') => at,
            Some(_) | None => authority.len(),
        };
        let host = &authority[..end];
        let host = host.strip_suffix('.').unwrap_or(host);
        let is = |name: &String| name.eq_ignore_ascii_case(host);
        let is_below = |suffix: &String| {
            host.len()
                .checked_sub(suffix.len())
                .and_then(|end| host.split_at_checked(end))
                .is_some_and(|(label, rest)| {
                    rest.eq_ignore_ascii_case(suffix) && !label.is_empty() && !label.contains('.')
                })
        };
        self.exact.iter().any(is) || self.below.iter().any(is_below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_port() {
        let names = ["api.example.com", "*.example.org", "[::1]", "10.0.0.1"];
        let hosts = Hosts::new(&names.map(str::to_owned));
        let table = [
            ("api.example.com", true),
            ("API.Example.COM:8443", true),
            ("api.example.com.", true),
            ("api.example.com.:80", true),
            ("a.example.org", true),
            ("a.b.example.org", false),
            ("example.org", false),
            (".example.org", false),
            ("xexample.org", false),
            ("[::1]:8000", true),
            ("[::1]", true),
            ("[::2]", false),
            ("10.0.0.1:80", true),
            ("evil.example", false),
            ("api.example.com.evil.example", false),
            ("", false),
        ];
        for (authority, expected) in table {
            assert_eq!(hosts.allow(authority), expected, "{authority}");
        }
    }
}
