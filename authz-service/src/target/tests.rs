use bytes::Bytes;
use policy::rule::RegistryAction;
use proptest::prelude::*;

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn asked(method: &str, host: &str, path: &str) -> RawCheck {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    RawCheck {
        method: bytes(method),
        host: bytes(host),
        path: bytes(path),
        ..RawCheck::default()
    }
}

fn registry(method: &str, path: &str) -> Result<RegistryRequest, Denial> {
    match target(&asked(method, "registry.acme.test", path))? {
        Target::Registry(request) => Ok(request),
        Target::Service(call) => panic!("{call:?}"),
    }
}

/// `action repository` of a path, with `sha256:…` written for the digest.
fn read(method: &str, path: &str) -> String {
    let request = registry(method, &path.replace("DIGEST", &format!("sha256:{HEX}"))).unwrap();
    let action = request.action().map_or("base", RegistryAction::as_str);
    let repository = request
        .resource
        .repository()
        .map_or("", |repository| repository.as_str());
    let what = match &request.resource {
        Resource::Base => String::new(),
        Resource::Manifest { reference, .. } => format!("manifest {}", reference.as_str()),
        Resource::Blob { digest, .. } => format!("blob {digest}"),
        Resource::Tags { .. } => "tags".to_owned(),
        Resource::Referrers { digest, .. } => format!("referrers {digest}"),
        Resource::Upload { .. } => "upload".to_owned(),
        Resource::Mount { from, digest, .. } => format!("mount {from} {digest}"),
    };
    format!("{action} {repository} {what}")
        .replace(&format!("sha256:{HEX}"), "DIGEST")
        .replace(HEX, "HEX")
}

#[test]
fn every_registry_request_has_its_action() {
    for (method, path, wanted) in [
        ("GET", "/v2/", "base  "),
        ("HEAD", "/v2/", "base  "),
        (
            "GET",
            "/v2/prod/payments/manifests/1.4",
            "pull prod/payments manifest 1.4",
        ),
        (
            "HEAD",
            "/v2/prod/payments/manifests/1.4",
            "pull prod/payments manifest 1.4",
        ),
        ("GET", "/v2/a/manifests/DIGEST", "pull a manifest DIGEST"),
        ("GET", "/v2/a/blobs/DIGEST", "pull a blob DIGEST"),
        ("HEAD", "/v2/a/blobs/DIGEST", "pull a blob DIGEST"),
        ("GET", "/v2/a/tags/list", "list a tags"),
        ("GET", "/v2/a/tags/list?n=10&last=1.0", "list a tags"),
        (
            "GET",
            "/v2/a/referrers/DIGEST",
            "evidence a referrers DIGEST",
        ),
        (
            "GET",
            "/v2/a/referrers/DIGEST?artifactType=application%2Fx",
            "evidence a referrers DIGEST",
        ),
        ("PUT", "/v2/a/manifests/1.0", "push a manifest 1.0"),
        (
            "PUT",
            "/v2/a/manifests/DIGEST?tag=1&tag=2",
            "push a manifest DIGEST",
        ),
        (
            "DELETE",
            "/v2/a/manifests/DIGEST",
            "delete a manifest DIGEST",
        ),
        ("DELETE", "/v2/a/blobs/DIGEST", "delete a blob DIGEST"),
        ("POST", "/v2/a/blobs/uploads/", "push a upload"),
        (
            "POST",
            "/v2/a/blobs/uploads/?digest=DIGEST",
            "push a upload",
        ),
        (
            "PATCH",
            "/v2/a/blobs/uploads/5c8b-a.b=?_state=x%3D",
            "push a upload",
        ),
        (
            "PUT",
            "/v2/a/blobs/uploads/5c8b?_state=x&digest=DIGEST",
            "push a upload",
        ),
        ("GET", "/v2/a/blobs/uploads/5c8b", "push a upload"),
        ("DELETE", "/v2/a/blobs/uploads/5c8b", "push a upload"),
        (
            "POST",
            "/v2/a/blobs/uploads/?from=team%2Fapp&mount=DIGEST",
            "push a mount team/app DIGEST",
        ),
    ] {
        assert_eq!(read(method, path), wanted, "{method} {path}");
    }
}

#[test]
fn repositories_may_have_components_that_read_as_parts() {
    for (path, wanted) in [
        (
            "/v2/a/manifests/b/manifests/latest",
            "pull a/manifests/b manifest latest",
        ),
        (
            "/v2/manifests/manifests/manifests",
            "pull manifests manifest manifests",
        ),
        (
            "/v2/blobs/uploads/manifests/x",
            "pull blobs/uploads manifest x",
        ),
        ("/v2/a/tags/manifests/list", "pull a/tags manifest list"),
        ("/v2/a/manifests/tags/list", "list a/manifests tags"),
        ("/v2/referrers/blobs/DIGEST", "pull referrers blob DIGEST"),
        (
            "/v2/a/blobs/uploads/blobs/DIGEST",
            "pull a/blobs/uploads blob DIGEST",
        ),
    ] {
        assert_eq!(read("GET", path), wanted, "{path}");
    }
}

#[test]
fn tags_of_signatures_are_evidence() {
    for suffix in ["", ".sig", ".att", ".sbom"] {
        let tag = format!("sha256-{HEX}{suffix}");
        assert!(
            read("GET", &format!("/v2/a/manifests/{tag}")).starts_with("evidence "),
            "{tag}"
        );
        assert!(
            read("PUT", &format!("/v2/a/manifests/{tag}")).starts_with("push "),
            "{tag}"
        );
    }
    for tag in [
        format!("sha256-{HEX}.zip"),
        format!("sha256-{HEX}0"),
        "sha256-".to_owned(),
        format!("sha256-{}", HEX.to_uppercase()),
    ] {
        assert!(
            read("GET", &format!("/v2/a/manifests/{tag}")).starts_with("pull "),
            "{tag}"
        );
    }
}

#[test]
fn mirror_request_is_about_the_registry_it_names() {
    let request = registry("GET", "/v2/a/manifests/1?ns=docker.io").unwrap();
    assert_eq!(
        (request.host.as_str(), request.asked.as_str()),
        ("docker.io", "registry.acme.test")
    );
    assert_eq!(request.query.as_deref(), Some("ns=docker.io"));
}

#[test]
fn semicolon_in_a_registry_query_is_not_canonical() {
    let digest = format!("sha256:{HEX}");
    for (method, path) in [
        (
            "POST",
            format!("/v2/a/blobs/uploads/?digest={digest};mount={digest};from=secret/b"),
        ),
        (
            "POST",
            format!("/v2/a/blobs/uploads/?mount={digest}&from=b;from=c"),
        ),
        ("GET", "/v2/a/manifests/1?ns=r.test;ns=s.test".to_owned()),
        ("GET", "/v2/a/tags/list?n=1;last=2".to_owned()),
        ("PATCH", "/v2/a/blobs/uploads/5c8b?_state=a;b".to_owned()),
        ("GET", "/v2/a/tags/list?;".to_owned()),
    ] {
        let denial = registry(method, &path).expect_err(&path);
        assert_eq!(denial.reason, Reason::TargetNotCanonical, "{method} {path}");
    }
    // Encoded it is a character like any other.
    let request = registry("PATCH", "/v2/a/blobs/uploads/5c8b?_state=a%3Bb").unwrap();
    assert_eq!(request.query.as_deref(), Some("_state=a%3Bb"));
}

#[test]
fn clients_accept_is_kept_for_manifests_only() {
    let mut raw = asked("GET", "r.test", "/v2/a/manifests/1");
    raw.accept = vec![
        Bytes::from_static(b"application/a, application/b;q=0.5"),
        Bytes::from_static(b"*/*"),
    ];
    let Ok(Target::Registry(request)) = target(&raw) else {
        panic!()
    };
    assert_eq!(
        request.accept,
        ["application/a", "application/b;q=0.5", "*/*"]
    );
    raw.path = Bytes::from_static(b"/v2/a/tags/list");
    let Ok(Target::Registry(request)) = target(&raw) else {
        panic!()
    };
    assert!(request.accept.is_empty());
}

#[test]
fn service_call_is_host_method_and_path() {
    let call = |method: &str, host: &str, path: &str| {
        let wanted = ServiceCall {
            host: Host::parse("payments.acme.test").unwrap(),
            method: method.to_owned(),
            path: path.split('?').next().unwrap_or_default().to_owned(),
        };
        assert_eq!(
            target(&asked(method, host, path)),
            Ok(Target::Service(wanted)),
            "{method} {host} {path}"
        );
    };
    call("POST", "payments.acme.test", "/v1/charges");
    call("GET", "payments.acme.test:8443", "/v1/charges?q=%2F");
    call("POST", "payments.acme.test", "/acme.Payments/Charge");
    call("PROPFIND", "payments.acme.test", "/V2/x");
    call("GET", "payments.acme.test", "/v22/x");
}

#[test]
fn every_refusal_has_its_reason() {
    for (method, host, path, reason) in REFUSED {
        let denial = target(&asked(method, host, path)).expect_err(path);
        assert_eq!(
            denial.reason, *reason,
            "{method} {host} {path}: {}",
            denial.detail
        );
    }
}

const HOST: &str = "registry.acme.test";

/// Method, host, path and the reason that refuses them.
const REFUSED: &[(&str, &str, &str, Reason)] = &[
    ("", HOST, "/", Reason::RequestMalformed),
    ("GET", "", "/", Reason::RequestMalformed),
    ("GET", HOST, "", Reason::RequestMalformed),
    ("CONNECT", HOST, "", Reason::TargetUnknown),
    ("CONNECT", HOST, "/", Reason::TargetUnknown),
    ("TRACE", HOST, "/", Reason::TargetUnknown),
    ("get", HOST, "/", Reason::TargetNotCanonical),
    ("GET ", HOST, "/", Reason::TargetNotCanonical),
    (
        "GETGETGETGETGETGETGETGETGETGETGET",
        HOST,
        "/",
        Reason::TargetNotCanonical,
    ),
    ("GET", "Registry.Acme.Test", "/", Reason::TargetNotCanonical),
    (
        "GET",
        "registry.acme.test.",
        "/",
        Reason::TargetNotCanonical,
    ),
    (
        "GET",
        "a@registry.acme.test",
        "/",
        Reason::TargetNotCanonical,
    ),
    ("GET", "a.test,b.test", "/", Reason::TargetNotCanonical),
    ("GET", HOST, "*", Reason::TargetNotCanonical),
    ("GET", HOST, "/a/../b", Reason::TargetNotCanonical),
    (
        "GET",
        HOST,
        "//v2/a/manifests/1",
        Reason::TargetNotCanonical,
    ),
    ("GET", HOST, "/v2", Reason::TargetNotCanonical),
    (
        "GET",
        HOST,
        "/v2/prod%2Frogue/manifests/1.0",
        Reason::TargetNotCanonical,
    ),
    (
        "GET",
        HOST,
        "/v2/%70rod/rogue/manifests/1.0",
        Reason::TargetNotCanonical,
    ),
    (
        "GET",
        HOST,
        "/v2/a%20b/manifests/1.0",
        Reason::TargetNotCanonical,
    ),
    (
        "GET",
        HOST,
        "/v2/a/manifests/1.0/",
        Reason::TargetNotCanonical,
    ),
    ("GET", HOST, "/v2/a/tags/list/", Reason::TargetNotCanonical),
    (
        "GET",
        HOST,
        "/v2/a;x=1/manifests/1",
        Reason::TargetNotCanonical,
    ),
    (
        "GET",
        HOST,
        "/v2/a\\b/manifests/1",
        Reason::TargetNotCanonical,
    ),
    (
        "GET",
        HOST,
        "/v2/a/manifests/1?ns=a.test&ns=b.test",
        Reason::TargetNotCanonical,
    ),
    (
        "GET",
        HOST,
        "/v2/a/manifests/1?ns=A.test",
        Reason::TargetNotCanonical,
    ),
    ("GET", HOST, "/v2/a/nothing/1", Reason::TargetUnknown),
    ("GET", HOST, "/v2/_oci/ext/discover", Reason::TargetUnknown),
    ("GET", HOST, "/v2/_zot/ext/search", Reason::TargetUnknown),
    ("GET", HOST, "/v2/token", Reason::TargetUnknown),
    ("GET", HOST, "/v2/a", Reason::TargetUnknown),
    ("GET", HOST, "/v2/manifests/1", Reason::TargetUnknown),
    ("GET", HOST, "/v2/A/manifests/1", Reason::TargetUnknown),
    (
        "GET",
        HOST,
        "/v2/a__b___c/manifests/1",
        Reason::TargetUnknown,
    ),
    ("GET", HOST, "/v2/-a/manifests/1", Reason::TargetUnknown),
    ("GET", HOST, "/v2/a/manifests/.1", Reason::TargetUnknown),
    (
        "GET",
        HOST,
        "/v2/a/manifests/sha256:abc",
        Reason::TargetUnknown,
    ),
    (
        "GET",
        HOST,
        "/v2/a/manifests/md5:00000000000000000000000000000000",
        Reason::TargetUnknown,
    ),
    ("GET", HOST, "/v2/a/blobs/latest", Reason::TargetUnknown),
    ("GET", HOST, "/v2/a/blobs/uploads", Reason::TargetUnknown),
    ("GET", HOST, "/v2/a/referrers/latest", Reason::TargetUnknown),
    ("GET", HOST, "/v2/a/tags/other", Reason::TargetUnknown),
    (
        "GET",
        HOST,
        "/v2/a/manifests/1?tag=2",
        Reason::TargetUnknown,
    ),
    (
        "GET",
        HOST,
        "/v2/a/manifests/1?n%73=b.test",
        Reason::TargetUnknown,
    ),
    ("GET", HOST, "/v2/?x=1", Reason::TargetUnknown),
    ("POST", HOST, "/v2/", Reason::TargetUnknown),
    ("POST", HOST, "/v2/a/manifests/1", Reason::TargetUnknown),
    ("OPTIONS", HOST, "/v2/a/manifests/1", Reason::TargetUnknown),
    ("PUT", HOST, "/v2/a/blobs/uploads/", Reason::TargetUnknown),
    (
        "POST",
        HOST,
        "/v2/a/blobs/uploads/a:b",
        Reason::TargetUnknown,
    ),
    (
        "POST",
        HOST,
        "/v2/a/blobs/uploads/abc",
        Reason::TargetUnknown,
    ),
    (
        "POST",
        HOST,
        "/v2/a/blobs/uploads/?mount=sha256:abc",
        Reason::TargetUnknown,
    ),
    (
        "POST",
        HOST,
        "/v2/a/blobs/uploads/?from=b",
        Reason::TargetUnknown,
    ),
    (
        "POST",
        HOST,
        "/v2/a/blobs/uploads/?from=b&from=c&mount=x",
        Reason::TargetNotCanonical,
    ),
    (
        "POST",
        HOST,
        "/v2/a/blobs/uploads/?from=B&mount=x",
        Reason::TargetUnknown,
    ),
];

#[test]
fn only_websocket_may_upgrade() {
    let mut raw = asked("GET", "a.test", "/");
    for (upgrade, reason) in [
        ("websocket", None),
        ("WebSocket", None),
        ("h2c", Some(Reason::TargetUnknown)),
        ("websocket, h2c", Some(Reason::TargetUnknown)),
    ] {
        raw.upgrade = Bytes::copy_from_slice(upgrade.as_bytes());
        assert_eq!(
            target(&raw).err().map(|denial| denial.reason),
            reason,
            "{upgrade}"
        );
    }
}

#[test]
fn unreadable_accept_is_malformed() {
    let mut raw = asked("GET", "r.test", "/v2/a/manifests/1");
    for accept in [b"caf\xe9".to_vec(), "a/b,".repeat(40).into_bytes()] {
        raw.accept = vec![accept.into()];
        assert_eq!(target(&raw).unwrap_err().reason, Reason::RequestMalformed);
    }
}

#[test]
fn target_survives_json() {
    for (method, path) in [
        ("GET", "/v2/a/manifests/1?ns=b.test"),
        ("GET", "/v2/"),
        ("POST", "/v1/x"),
    ] {
        let read = target(&asked(method, "r.test", path)).unwrap();
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(
            serde_json::from_str::<Target>(&json).unwrap(),
            read,
            "{json}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(method in any::<Vec<u8>>(), host in any::<Vec<u8>>(), path in any::<Vec<u8>>(), accept in any::<Vec<u8>>()) {
        let raw = RawCheck {
            method: method.into(), host: host.into(), path: path.into(), accept: vec![accept.into()], ..RawCheck::default()
        };
        drop(target(&raw));
    }

    /// What is read of a registry path, written down again, is that path: nothing was repaired.
    #[test]
    fn registry_path_reads_back(path in "/v2/([a-z0-9]{1,3}(/|[._-]{1,2}|%2[fF]|//)){0,4}(manifests|blobs|tags|referrers|blobs/uploads)/([a-zA-Z0-9._-]{0,5}|list)(/?)") {
        if let Ok(Target::Registry(request)) = target(&asked("GET", "r.test", &path)) {
            let name = request.resource.repository().map_or("", |repository| repository.as_str());
            let written = match &request.resource {
                Resource::Manifest { reference, .. } => format!("/v2/{name}/manifests/{}", reference.as_str()),
                Resource::Tags { .. } => format!("/v2/{name}/tags/list"),
                Resource::Upload { .. } => path.clone(),
                other @ (Resource::Base | Resource::Blob { .. } | Resource::Referrers { .. } | Resource::Mount { .. }) => panic!("{other:?}"),
            };
            prop_assert_eq!(written, path);
        }
    }
}
