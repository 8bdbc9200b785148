//! `/docs` and `/redoc`: Swagger UI and Redoc with every asset inline, as the `aide` crate carries them. Not templates of our
//! own. Invariant: a browser fetches nothing but `/openapi.json`; the policy forbids it even if a bundle tried.

use std::fmt::Write;
use std::sync::OnceLock;

use aide::redoc::Redoc;
use aide::swagger::Swagger;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// Redoc's bundle loads this picture from its maker's site, beside the words "API docs by Redocly".
const REDOC_LOGO: &str = "https://cdn.redoc.ly/redoc/logo-mini.svg";

/// An empty picture in its place.
const NO_PICTURE: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E";

/// Swagger UI would send the document's address there and show the verdict as a picture; `null` turns that off.
const SWAGGER_VALIDATOR: &str = "\"https://validator.swagger.io/validator\"";

/// A page and the Content-Security-Policy that it is served with.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) html: Bytes,
    pub(super) policy: String,
}

/// The Swagger UI page.
pub(super) fn docs() -> &'static Page {
    // Put together when somebody first looks: most gateways' pages are never opened, and each is 1.5 MB.
    static PAGE: OnceLock<Page> = OnceLock::new();
    PAGE.get_or_init(|| {
        let html = Swagger::new("/openapi.json")
            .with_title("DBPower API gateway")
            .html();
        Page::new(&html.replace(SWAGGER_VALIDATOR, "null"))
    })
}

/// The Redoc page.
pub(super) fn redoc() -> &'static Page {
    static PAGE: OnceLock<Page> = OnceLock::new();
    PAGE.get_or_init(|| {
        let html = Redoc::new("/openapi.json")
            .with_title("DBPower API gateway")
            .html();
        Page::new(&html.replace(REDOC_LOGO, NO_PICTURE))
    })
}

impl Page {
    fn new(html: &str) -> Self {
        // Source maps are fetched by developer tools, from paths that are not public here.
        let html = html.replace("//# sourceMappingURL=", "// source map: ");
        Self {
            policy: policy(&html),
            html: Bytes::from(html),
        }
    }
}

/// Only the page's own scripts run (by hash), and only its own origin is asked. Redoc searches in a worker that it makes from
/// a blob; both bundles write style elements while they run and use pictures inline.
fn policy(html: &str) -> String {
    let mut scripts = String::new();
    let mut rest = html;
    // Bundles hold the text `<script>` too: what opens a script is only looked for behind the one before.
    while let Some((_, opened)) = rest.split_once("<script>") {
        let (text, after) = opened.split_once("</script>").unwrap_or((opened, ""));
        let hash = STANDARD.encode(digest(&SHA256, text.as_bytes()));
        let _ = write!(scripts, " 'sha256-{hash}'");
        rest = after;
    }
    format!(
        "default-src 'none'; script-src{scripts}; style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; \
         connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    //! No page holds anything that a browser would load from elsewhere.
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    /// The ways in which a page or a script asks a browser to load something by a literal address.
    const LOADS: [&str; 12] = [
        "src=\"http",
        "src='http",
        "src:\"http",
        "href=\"http",
        "url(http",
        "url(\"http",
        "url('http",
        "import\"http",
        "import(\"http",
        "fetch(\"http",
        "importScripts(\"http",
        "@import",
    ];

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for page in [docs(), redoc()] {
            let html = std::str::from_utf8(&page.html).unwrap();
            assert!(html.len() > 500_000, "the assets are inline");
            assert!(html.contains("/openapi.json"));
            for load in LOADS {
                let found: Vec<&str> = html
                    .match_indices(load)
                    .map(|(at, _)| html.get(at..at + 80).unwrap_or_default())
                    // Links that a reader may click, in texts of the bundles, are not loads.
                    .filter(|text| !text.starts_with("href=\"http"))
                    .collect();
                assert!(found.is_empty(), "{found:?}");
            }
            for host in [
                "cdn.",
                "fonts.g",
                "validator.swagger",
                "unpkg",
                "jsdelivr",
                "//# sourceMappingURL=",
            ] {
                assert!(!html.contains(host), "{host}");
            }
        }
    }

    #[test]
    fn the_policy_names_every_script_and_no_other_origin() {
        for (page, scripts) in [(docs(), 2), (redoc(), 1)] {
            assert_eq!(
                page.policy.matches("'sha256-").count(),
                scripts,
                "{}",
                page.policy
            );
            assert!(page.policy.starts_with("default-src 'none';"));
            assert!(!page.policy.contains("http"));
            assert!(!page.policy.contains("unsafe-eval"));
        }
    }
}
