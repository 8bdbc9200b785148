//! Why Redis cannot be used, in words for the operator: what the server or the network said, and which setting would mend it. Not what
//! is done about it. Invariant: nothing here holds the URL, its user or its password.

use std::time::Duration;

/// Why the store cannot be used, in words without secrets.
pub(super) type Reason = String;

/// What was asked of the store and did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) why: Reason,
    /// No answer in time: the connection may be sound, and its next answer too.
    pub(super) is_late: bool,
}

impl Failure {
    pub(super) fn late(limit: Duration) -> Self {
        Self {
            why: format!("no answer within {} ms", limit.as_millis()),
            is_late: true,
        }
    }

    pub(super) fn unreadable() -> Self {
        Self {
            why: "the script's reply cannot be read".to_owned(),
            is_late: false,
        }
    }

    /// Redis has refused a command to this user.
    pub(super) fn is_forbidden(&self) -> bool {
        self.why.starts_with("NOPERM")
    }
}

impl From<redis::RedisError> for Failure {
    /// The error's words. The crate names hosts and server messages; an address is known to the operator, a password is in none of them.
    fn from(error: redis::RedisError) -> Self {
        let words = match error.code() {
            Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
            None => error.to_string(),
        };
        Self {
            why: with_hint(words.trim()),
            is_late: false,
        }
    }
}

/// What the words of an error stand for, by a part of them (in lower case), and what to do about it. The first that fits.
const HINTS: [(&str, &str); 9] = [
    (
        "moved ",
        "the server is a node of a cluster: set REDIS_CLUSTER=true",
    ),
    (
        "clusterdown",
        "the cluster does not serve every slot; if REDIS_URL names a node of a cluster, set REDIS_CLUSTER=true",
    ),
    (
        "cluster support disabled",
        "the server is no cluster: set REDIS_CLUSTER=false",
    ),
    (
        "authentication failed",
        "user and password stand in REDIS_URL, and special characters of both are percent-encoded there: @ is %40, / is %2F, # is %23",
    ),
    (
        "noauth",
        "the server wants a password: REDIS_URL=redis://:password@host",
    ),
    (
        "noperm",
        "the ACL user of REDIS_URL needs ~rl:* &rl:ctl and +@read +@write +@scripting +@pubsub +@connection",
    ),
    (
        "unknownissuer",
        "REDIS_CA names the authority (PEM) of the server's certificate",
    ),
    (
        "invalid peer certificate",
        "REDIS_CA names the authority, and the certificate must be for the host of REDIS_URL",
    ),
    (
        "readonly",
        "the server is a replica: REDIS_URL must lead to the primary",
    ),
];

fn with_hint(words: &str) -> Reason {
    let lower = words.to_ascii_lowercase();
    let hint = HINTS.iter().find(|(part, _)| lower.contains(part));
    hint.map_or_else(|| words.to_owned(), |(_, hint)| format!("{words} ({hint})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_setting_that_mends_them() {
        let table = [
            ("MOVED 3999 127.0.0.1:6381", "REDIS_CLUSTER=true"),
            ("CLUSTERDOWN Hash slot not served", "REDIS_CLUSTER=true"),
            (
                "ERR This instance has cluster support disabled",
                "REDIS_CLUSTER=false",
            ),
            (
                "Password authentication failed- AuthenticationFailed",
                "%40",
            ),
            ("NOAUTH Authentication required.", "redis://:password@host"),
            ("NOPERM this user has no permissions", "~rl:* &rl:ctl"),
            ("invalid peer certificate: UnknownIssuer", "REDIS_CA"),
            ("invalid peer certificate: NotValidForName", "REDIS_CA"),
            (
                "READONLY You can't write against a read only replica.",
                "primary",
            ),
        ];
        for (words, setting) in table {
            let said = with_hint(words);
            assert!(said.starts_with(words) && said.contains(setting), "{said}");
        }
        for words in [
            "Connection refused (os error 111)",
            "OOM command not allowed",
        ] {
            assert_eq!(with_hint(words), words);
        }
    }
}
