use std::collections::BTreeMap;

use serde_json::Value;

use super::{Places, add_extra_listeners, change, read, render};

fn places() -> Places {
    let shipped = [
        "127.0.0.1:9901",
        "127.0.0.1:8443",
        "127.0.0.1:9191",
        "127.0.0.1:8080",
        "127.0.0.1:5000",
        "127.0.0.1:4317",
    ];
    let mut places: Places = shipped
        .iter()
        .zip(20_001..)
        .map(|(address, port)| ((*address).to_owned(), format!("127.0.0.2:{port}")))
        .collect();
    places.insert(
        "/run/countersign/agent.sock".to_owned(),
        "/elsewhere/agent.sock".to_owned(),
    );
    places
}

/// Every leaf of a document with its path.
fn leaves(value: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, field)| leaves(field, &format!("{path}/{name}"), found)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| leaves(item, &format!("{path}/{index}"), found));
        }
        leaf @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            found.insert(path.to_owned(), leaf.clone());
        }
    }
}

#[test]
fn rendering_replaces_addresses_and_paths_only() {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    leaves(&read().unwrap(), "", &mut before);
    leaves(&render(&places()).unwrap(), "", &mut after);
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    let changed: Vec<&String> = before
        .keys()
        .filter(|path| before[*path] != after[*path])
        .collect();
    assert!(changed.len() >= 13, "{changed:?}");
    for path in changed {
        let allowed = [
            "/socket_address/address",
            "/socket_address/port_value",
            "/pipe/path",
        ];
        assert!(
            allowed.iter().any(|end| path.ends_with(end)),
            "{path} was changed"
        );
    }
}

#[test]
fn unknown_address_is_refused() {
    let mut places = places();
    places.remove("127.0.0.1:9191");
    let error = render(&places).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:9191"), "{error}");
}

#[test]
fn shipped_configuration_fails_closed() {
    let config = read().unwrap();
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let field = |name: &str| config.pointer(&format!("{manager}/{name}")).cloned();
    let ext_authz = |name: &str| field(&format!("http_filters/0/typed_config/{name}"));
    assert_eq!(ext_authz("failure_mode_allow"), Some(false.into()));
    assert_eq!(ext_authz("include_peer_certificate"), Some(true.into()));
    assert_eq!(
        ext_authz("status_on_error/code"),
        Some("ServiceUnavailable".into())
    );
    assert_eq!(ext_authz("decoder_header_mutation_rules"), None);
    assert_eq!(
        field("http_filters/1/name"),
        Some("envoy.filters.http.rbac".into())
    );
    assert_eq!(field("normalize_path"), Some(true.into()));
    assert_eq!(field("merge_slashes"), Some(true.into()));
    assert_eq!(
        field("path_with_escaped_slashes_action"),
        Some("REJECT_REQUEST".into())
    );
    let tls = "/static_resources/listeners/0/filter_chains/0/transport_socket/typed_config";
    let validator = config.pointer(&format!(
        "{tls}/common_tls_context/validation_context_sds_secret_config/name"
    ));
    assert_eq!(validator, Some(&"ALL".into()));
    assert_eq!(
        config.pointer(&format!("{tls}/disable_stateless_session_resumption")),
        Some(&true.into())
    );
}

#[test]
fn extra_listeners_differ_from_the_shipped_one_by_name_address_and_their_defence() {
    let mut config = render(&places()).unwrap();
    let names = ["plain-trusted-ca", "no-normalisation", "failure-mode-allow"];
    let addresses = names
        .iter()
        .zip(21_001..)
        .map(|(name, port)| ((*name).to_owned(), format!("127.0.0.1:{port}")))
        .collect();
    add_extra_listeners(&mut config, &addresses).unwrap();
    let listeners = config["static_resources"]["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 4);
    let mut shipped = BTreeMap::new();
    leaves(&listeners[0], "", &mut shipped);
    for (listener, changed) in listeners.iter().skip(1).zip([1, 3, 2]) {
        let mut extra = BTreeMap::new();
        leaves(listener, "", &mut extra);
        // Host, port, name and stat_prefix differ in each.
        assert_eq!(
            shipped
                .iter()
                .filter(|(path, leaf)| extra.get(*path) != Some(*leaf))
                .count(),
            4 + changed
        );
    }
}

#[test]
fn change_that_changes_nothing_is_refused() {
    let mut config = render(&places()).unwrap();
    assert!(change(&mut config, "/node/id", "envoy-1".into()).is_err());
    assert!(change(&mut config, "/nowhere/at/all", "x".into()).is_err());
}
