//! Finds the name that somebody meant. Not a spell checker: far-off names get no suggestion. Invariant: of the names in the
//! environment only those are called unknown that carry one of our prefixes or miss a name of ours by a letter, a case or a plural.

/// Prefixes that are ours; of other names only near misses are spoken of, since the environment is full of other programs' names.
const OWN_PREFIXES: [&str; 4] = ["GATEWAY_", "JWT_", "RATE_LIMIT_", "REDIS_"];

/// Variables of other programs for what `REDIS_URL` holds.
const REDIS_PARTS: [&str; 7] = [
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_PASSWORD",
    "REDIS_DB",
    "REDIS_USER",
    "REDIS_USERNAME",
    "REDIS_SSL",
];

/// The nearest of `known`, when it is near enough to be meant: one edit in three characters.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &&'a str| strsim::damerau_levenshtein(name, candidate);
    let best = known.into_iter().min_by_key(distance)?;
    let near = name.len().max(best.len()) / 3;
    (distance(&best) <= near.max(1)).then_some(best)
}

/// `, did you mean X?` or nothing.
pub(super) fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known)
        .map(|best| format!("; did you mean {best}?"))
        .unwrap_or_default()
}

/// What to do about a variable that is unknown.
pub(super) fn variable_hint(name: &str, known: &[&str]) -> String {
    let plain = plain(name);
    if REDIS_PARTS.contains(&plain.as_str()) {
        return "; it belongs into REDIS_URL: redis://[user:password@]host[:port][/db]".to_owned();
    }
    match near_miss(&plain, known) {
        Some(meant) => format!("; did you mean {meant}?"),
        None => suggestion(&plain, known.iter().copied()),
    }
}

/// A variable that looks like ours and is not in the table.
pub(super) fn is_unknown(name: &str, value: &str, known: &[&str]) -> bool {
    let plain = plain(name);
    let is_ours = OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || REDIS_PARTS.contains(&plain.as_str());
    !known.contains(&name)
        && !is_service_link(name, value)
        && (is_ours || near_miss(&plain, known).is_some())
}

/// The name of ours that this one misses by its case, by a plural or by one edit.
fn near_miss<'a>(plain: &str, known: &[&'a str]) -> Option<&'a str> {
    let found = |fits: &dyn Fn(&str) -> bool| known.iter().copied().find(|known| fits(known));
    let singulars = singular(plain);
    found(&|known| known == plain)
        .or_else(|| found(&|known| singular(known) == singulars))
        // A difference of two lengths is two edits: nearly all names are told apart by that.
        .or_else(|| {
            found(&|known| {
                known.len().abs_diff(plain.len()) <= 1
                    && strsim::damerau_levenshtein(known, plain) == 1
            })
        })
}

/// In upper case, and `-` and `.` as `_`: how other tools write the same name.
fn plain(name: &str) -> String {
    name.to_ascii_uppercase().replace(['-', '.'], "_")
}

/// Each word without its plural's ending.
fn singular(plain: &str) -> String {
    let word = |word: &str| match word.strip_suffix("IES") {
        Some(stem) => format!("{stem}Y"),
        None => word.strip_suffix('S').unwrap_or(word).to_owned(),
    };
    let words: Vec<String> = plain.split('_').map(word).collect();
    words.join("_")
}

/// Kubernetes describes each service by variables of its own: a service named `redis` yields `REDIS_PORT=tcp://10.0.0.1:6379`,
/// `REDIS_SERVICE_HOST`, `REDIS_PORT_6379_TCP_ADDR` and more; a container that Docker links adds `REDIS_NAME=/api/redis` and
/// `REDIS_ENV_…`. Nobody wrote those for us.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    let linked_port = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        rest.starts_with(|c: char| c.is_ascii_digit())
            && (rest.contains("_TCP") || rest.contains("_UDP"))
    });
    let linked_value = value.starts_with("tcp://") || value.starts_with("udp://");
    let service = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT");
    let linked_name = name.ends_with("_NAME") && value.starts_with('/');
    let linked_variable = name.contains("_ENV_");
    let linked = linked_port || linked_name || linked_variable;
    service || linked || (linked_value && name.ends_with("_PORT"))
}
