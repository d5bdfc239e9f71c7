//! The shipped Envoy configuration, with this run's addresses and paths in place of the defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::workspace;

/// What stands in the shipped file, and what stands in its place here: `host:port` or a socket path.
pub type Places = BTreeMap<String, String>;

/// Where the shipped configuration is.
pub fn shipped() -> PathBuf {
    workspace::root().join("deploy/envoy/enforce/envoy.yaml")
}

/// Reads the shipped configuration and replaces its addresses and socket paths, nothing else.
///
/// # Errors
///
/// When the file names an address that `places` does not.
pub fn render(places: &Places) -> anyhow::Result<Value> {
    let mut config = read()?;
    place(&mut config, places)?;
    Ok(config)
}

fn read() -> anyhow::Result<Value> {
    let path = shipped();
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is not YAML", path.display()))
}

fn place(value: &mut Value, places: &Places) -> anyhow::Result<()> {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Object(address)) = fields.get_mut("socket_address") {
                return place_address(address, places);
            }
            if let Some(Value::Object(pipe)) = fields.get_mut("pipe") {
                return place_pipe(pipe, places);
            }
            fields
                .values_mut()
                .try_for_each(|field| place(field, places))
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| place(item, places)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn place_address(address: &mut Map<String, Value>, places: &Places) -> anyhow::Result<()> {
    let host = address
        .get("address")
        .and_then(Value::as_str)
        .context("a socket address without an address")?;
    let port = address
        .get("port_value")
        .and_then(Value::as_u64)
        .context("a socket address without a port")?;
    let (host, port) = split(lookup(&format!("{host}:{port}"), places)?)?;
    address.insert("address".to_owned(), Value::from(host));
    address.insert("port_value".to_owned(), Value::from(port));
    Ok(())
}

fn place_pipe(pipe: &mut Map<String, Value>, places: &Places) -> anyhow::Result<()> {
    let path = pipe
        .get("path")
        .and_then(Value::as_str)
        .context("a pipe without a path")?;
    let path = lookup(path, places)?.to_owned();
    pipe.insert("path".to_owned(), Value::from(path));
    Ok(())
}

fn lookup<'a>(shipped: &str, places: &'a Places) -> anyhow::Result<&'a str> {
    places
        .get(shipped)
        .map(String::as_str)
        .with_context(|| format!("nothing to put in the place of `{shipped}`"))
}

fn split(address: &str) -> anyhow::Result<(&str, u16)> {
    let (host, port) = address
        .rsplit_once(':')
        .with_context(|| format!("`{address}` has no port"))?;
    Ok((
        host,
        port.parse()
            .with_context(|| format!("`{address}` has no port"))?,
    ))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extra {
    name: String,
    set: BTreeMap<String, Value>,
}

/// Adds the listeners of `tests/kit/envoy/extra-listeners.yaml`, each the shipped one with a defence taken away.
///
/// # Errors
///
/// When one of them has no address in `addresses`, or changes what is not there.
pub fn add_extra_listeners(
    config: &mut Value,
    addresses: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let extras: Vec<Extra> = serde_saphyr::from_str(include_str!("../envoy/extra-listeners.yaml"))?;
    let listeners = config
        .pointer_mut("/static_resources/listeners")
        .and_then(Value::as_array_mut);
    let listeners = listeners.context("the configuration has no listeners")?;
    let shipped = listeners
        .first()
        .context("the configuration has no listener")?
        .clone();
    for Extra { name, set } in extras {
        let mut listener = shipped.clone();
        let address = addresses
            .get(&name)
            .with_context(|| format!("no address for the listener `{name}`"))?;
        let (host, port) = split(address)?;
        put(
            &mut listener,
            "/address/socket_address/address",
            host.into(),
        )?;
        put(
            &mut listener,
            "/address/socket_address/port_value",
            port.into(),
        )?;
        put(
            &mut listener,
            "/filter_chains/0/filters/0/typed_config/stat_prefix",
            name.as_str().into(),
        )?;
        put(&mut listener, "/name", name.into())?;
        for (pointer, value) in set {
            change(&mut listener, &pointer, value)?;
        }
        listeners.push(listener);
    }
    Ok(())
}

/// Replaces what a JSON pointer points at, adds a field to an object, or inserts an item into a list.
///
/// # Errors
///
/// When there is no such place, or the change changes nothing.
pub fn change(config: &mut Value, pointer: &str, value: Value) -> anyhow::Result<()> {
    ensure!(
        config.pointer(pointer) != Some(&value),
        "`{pointer}` is already so"
    );
    put(config, pointer, value)
}

fn put(config: &mut Value, pointer: &str, value: Value) -> anyhow::Result<()> {
    let (parent, field) = pointer
        .rsplit_once('/')
        .with_context(|| format!("`{pointer}` is no JSON pointer"))?;
    match config.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.insert(field.replace("~1", "/").replace("~0", "~"), value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            let index: usize = field
                .parse()
                .with_context(|| format!("`{pointer}` does not end in an index"))?;
            ensure!(index <= items.len(), "`{pointer}` is past the end");
            items.insert(index, value);
            Ok(())
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {
            bail!("nothing at `{parent}`")
        }
    }
}

#[cfg(test)]
mod tests;
