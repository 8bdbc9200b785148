//! References of answers, mapped: tables of (what the service sent, what the client gets).

use super::*;

fn endpoints() -> Vec<Authority> {
    [
        ("reports-1:8080", false),
        ("10.0.0.7", true),
        ("[::1]:81", false),
    ]
    .into_iter()
    .filter_map(|(text, https)| Authority::parse(text, https))
    .collect()
}

fn located(mapping: &Mapping<'_>, value: &str) -> String {
    let mut out = b"Location: ".to_vec();
    mapping.location(value.as_bytes(), &mut out);
    String::from_utf8_lossy(&out)["Location: ".len()..].to_owned()
}

fn check(mapping: &Mapping<'_>, table: &[(&str, &str)]) {
    for (value, expected) in table {
        assert_eq!(located(mapping, value), *expected, "{value} by {mapping:?}");
    }
}

fn stripped(endpoints: &[Authority]) -> Mapping<'_> {
    Mapping {
        prefix: "/analyzer",
        strip: true,
        base: "/internal",
        endpoints,
        host_sent: "reports-1:8080",
        https: true,
        host: "api.example.com",
    }
}

#[test]
fn own_references_of_a_stripped_route_lead_to_its_prefix() {
    let endpoints = endpoints();
    let table = [
        (
            "http://reports-1:8080/internal/x/?q=1#f",
            "https://api.example.com/analyzer/x/?q=1#f",
        ),
        (
            "HTTP://Reports-1:8080/internal",
            "https://api.example.com/analyzer",
        ),
        (
            "https://10.0.0.7/internal/x",
            "https://api.example.com/analyzer/x",
        ),
        (
            "https://10.0.0.7:443/internal/x",
            "https://api.example.com/analyzer/x",
        ),
        (
            "http://[::1]:81/internal/",
            "https://api.example.com/analyzer/",
        ),
        // The Host that was sent, by either scheme: services behind TLS guess theirs.
        (
            "https://reports-1:8080/internal/x",
            "https://api.example.com/analyzer/x",
        ),
        (
            "//reports-1:8080/internal/x",
            "//api.example.com/analyzer/x",
        ),
        ("/internal/x", "/analyzer/x"),
        ("/internal", "/analyzer"),
        ("/internal?a=/b", "/analyzer?a=/b"),
        ("/internal/?", "/analyzer/?"),
        // Behind the prefix two slashes are no other host.
        ("/internal//evil.example/x", "/analyzer//evil.example/x"),
        ("/internal/\u{e4}", "/analyzer/\u{e4}"),
    ];
    check(&stripped(&endpoints), &table);
}

#[test]
fn what_is_not_the_services_own_or_cannot_be_mapped_passes() {
    let endpoints = endpoints();
    let mapping = stripped(&endpoints);
    for value in [
        "http://reports-1/internal/x",
        "http://reports-1:80801/internal/x",
        "http://reports-1:8080x/internal/x",
        "http://user@reports-1:8080/internal/x",
        "http://reports-1:8080/other",
        "http://reports-1:8080/internalized",
        "http://10.0.0.7/internal/x",
        "ftp://reports-1:8080/internal/x",
        "http:/internal/x",
        "http:internal",
        "mailto:someone@example.com",
        "https://login.example.org/?next=http://reports-1:8080/internal",
        "//evil.example/internal",
        "///internal/x",
        "/other",
        "/internalized",
        "x",
        "../x",
        "?q",
        "#f",
        "",
        "http://",
        "http://[::1/internal",
        "http://reports-1:8080\\@evil.example/internal",
    ] {
        assert_eq!(located(&mapping, value), value);
    }
}

#[test]
fn kept_prefixes_lose_the_base_path_alone() {
    let endpoints = endpoints();
    let kept = |base| Mapping {
        prefix: "/api/v1",
        strip: false,
        base,
        ..stripped(&endpoints)
    };
    check(
        &kept(""),
        &[
            (
                "http://reports-1:8080/api/v1/users/",
                "https://api.example.com/api/v1/users/",
            ),
            ("/api/v1/users/", "/api/v1/users/"),
            ("http://reports-1:8080/login", "http://reports-1:8080/login"),
            ("/login", "/login"),
            ("//evil.example/api/v1", "//evil.example/api/v1"),
        ],
    );
    check(
        &kept("/b"),
        &[
            (
                "http://reports-1:8080/b/api/v1/users",
                "https://api.example.com/api/v1/users",
            ),
            ("/b/api/v1", "/api/v1"),
            ("/api/v1/users", "/api/v1/users"),
            ("/b/other", "/b/other"),
        ],
    );
}

#[test]
fn a_mapped_path_is_never_another_host() {
    let endpoints = endpoints();
    let everything = Mapping {
        prefix: "",
        ..stripped(&endpoints)
    };
    let table = [
        (
            "/internal//evil.example",
            "https://api.example.com//evil.example",
        ),
        (
            "/internal/\\evil.example",
            "https://api.example.com/\\evil.example",
        ),
        (
            "http://reports-1:8080/internal//evil.example",
            "https://api.example.com//evil.example",
        ),
        ("/internal", "/"),
        ("/internal/x", "/x"),
    ];
    check(&everything, &table);
    // A client of HTTP/1.0 may not have named a host.
    let nameless = Mapping {
        host: "",
        ..everything
    };
    let table = [
        ("/internal//evil.example", "/internal//evil.example"),
        (
            "http://reports-1:8080/internal//evil.example",
            "http://reports-1:8080/internal//evil.example",
        ),
        ("http://reports-1:8080/internal/x", "/x"),
    ];
    check(&nameless, &table);
}

#[test]
fn the_host_that_was_sent_is_the_services_own() {
    let endpoints = endpoints();
    let preserved = Mapping {
        host_sent: "api.example.com:8443",
        host: "api.example.com:8443",
        prefix: "/api/v1",
        strip: false,
        base: "",
        ..stripped(&endpoints)
    };
    let table = [
        (
            "http://api.example.com:8443/api/v1/x/",
            "https://api.example.com:8443/api/v1/x/",
        ),
        (
            "https://API.example.com:8443/api/v1/x/",
            "https://api.example.com:8443/api/v1/x/",
        ),
        (
            "https://api.example.com/api/v1/x/",
            "https://api.example.com/api/v1/x/",
        ),
    ];
    check(&preserved, &table);
}

#[test]
fn cookies_keep_all_but_domain_and_path() {
    let endpoints = endpoints();
    let mapping = stripped(&endpoints);
    let kept = Mapping {
        prefix: "/api/v1",
        strip: false,
        base: "/b",
        ..mapping
    };
    let table: [(&Mapping<'_>, &str, &str); 18] = [
        (&mapping, "a=b", "a=b"),
        (
            &mapping,
            "a=b; HttpOnly;Secure ; SameSite=Lax",
            "a=b; HttpOnly;Secure ; SameSite=Lax",
        ),
        (&mapping, "a=b; Path=/internal", "a=b; Path=/analyzer"),
        (
            &mapping,
            "a=b; path = /internal/x ;Secure",
            "a=b; Path=/analyzer/x;Secure",
        ),
        (&mapping, "a=b; Path=/", "a=b; Path=/analyzer/"),
        (&mapping, "a=b; Path=/other; Secure", "a=b; Secure"),
        (&mapping, "a=b; Path=other", "a=b; Path=other"),
        (
            &mapping,
            "a=b; Domain=Reports-1; Path=/internal/",
            "a=b; Path=/analyzer/",
        ),
        (&mapping, "a=b; domain=.reports-1", "a=b"),
        (&mapping, "a=b; Domain=10.0.0.7", "a=b"),
        (
            &mapping,
            "a=b; Domain=example.com",
            "a=b; Domain=example.com",
        ),
        (
            &mapping,
            "a=b; Domain=api.example.com",
            "a=b; Domain=api.example.com",
        ),
        (&mapping, "a=domain=reports-1", "a=domain=reports-1"),
        (
            &mapping,
            "__Host-a=b; Path=/; Secure",
            "__Host-a=b; Path=/; Secure",
        ),
        (
            &mapping,
            "__Secure-a=b; Path=/; Secure",
            "__Secure-a=b; Path=/analyzer/; Secure",
        ),
        (&kept, "a=b; Path=/b/api/v1", "a=b; Path=/api/v1"),
        (&kept, "a=b; Path=/b", "a=b; Path=/"),
        (&kept, "a=b; Path=/", "a=b"),
    ];
    for (mapping, value, expected) in table {
        let mut out = Vec::new();
        mapping.set_cookie(value.as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{value}");
    }
}
