use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn digest(name: &str) -> Digest {
    Digest::sha256_of(name.as_bytes())
}

fn descriptor(name: &str) -> Value {
    json!({ "mediaType": "application/octet-stream", "digest": digest(name).as_str(), "size": 1 })
}

fn image(media_type: &str) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor("config"),
        "layers": [descriptor("layer")],
    })
}

fn index(media_type: &str) -> Value {
    json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": [descriptor("child")] })
}

fn parse(manifest: &Value, content_type: &str) -> Result<Manifest, InvalidManifest> {
    Manifest::parse(manifest.to_string().as_bytes(), Some(content_type))
}

fn parse_text(text: &str) -> Result<Manifest, InvalidManifest> {
    Manifest::parse(text.as_bytes(), None)
}

#[test]
fn images_and_indexes_of_both_families_are_read() {
    for media_type in IMAGE_TYPES {
        let manifest = parse(&image(media_type), media_type).unwrap();
        let digests: Vec<_> = manifest
            .descriptors()
            .map(|found| &found.digest)
            .cloned()
            .collect();
        assert_eq!(digests, [digest("config"), digest("layer")]);
    }
    for media_type in INDEX_TYPES {
        let manifest = parse(&index(media_type), media_type).unwrap();
        assert!(
            matches!(&manifest, Manifest::Index(index) if index.children[0].digest == digest("child"))
        );
    }
}

#[test]
fn either_type_alone_will_do_and_parameters_do_not_matter() {
    let [oci, _] = IMAGE_TYPES;
    assert!(Manifest::parse(image(oci).to_string().as_bytes(), None).is_ok());
    assert!(parse(&image(oci), &format!("{oci}; charset=utf-8")).is_ok());
    let mut untyped = image(oci);
    untyped.as_object_mut().unwrap().remove("mediaType");
    assert!(parse(&untyped, oci).is_ok());
    assert!(matches!(
        parse_text(&untyped.to_string()),
        Err(InvalidManifest::UnknownType { .. })
    ));
}

#[test]
fn a_body_of_another_type_than_its_header_is_refused() {
    let [oci_image, docker_image] = IMAGE_TYPES;
    let [oci_index, _] = INDEX_TYPES;
    for header in [docker_image, oci_index, "text/html", "application/json"] {
        assert!(
            matches!(
                parse(&image(oci_image), header),
                Err(InvalidManifest::TypeMismatch { .. })
            ),
            "{header}"
        );
    }
}

#[test]
fn a_document_of_both_kinds_is_refused_whatever_it_is_called() {
    let [image_type, _] = IMAGE_TYPES;
    let [index_type, _] = INDEX_TYPES;
    let mut both = image(image_type);
    both["manifests"] = json!([descriptor("child")]);
    assert!(matches!(
        parse(&both, image_type),
        Err(InvalidManifest::Ambiguous { field: "manifests" })
    ));
    both["mediaType"] = json!(index_type);
    assert!(matches!(
        parse(&both, index_type),
        Err(InvalidManifest::Ambiguous { field: "config" })
    ));
    both.as_object_mut().unwrap().remove("config");
    assert!(matches!(
        parse(&both, index_type),
        Err(InvalidManifest::Ambiguous { field: "layers" })
    ));
}

#[test]
fn keys_that_another_reader_takes_for_known_ones_are_refused() {
    let [image_type, _] = IMAGE_TYPES;
    let good = image(image_type).to_string();
    assert!(parse_text(&good).is_ok());
    for (from, to) in [
        ("{\"config\"", "{\"Layers\":[],\"config\""),
        ("\"layers\":", "\"layers\":[],\"layers\":"),
        ("\"layers\":", "\"layerſ\":[],\"layers\":"),
        (
            "\"size\":1",
            "\"size\":1,\"URLS\":[\"https://elsewhere.test\"]",
        ),
        ("\"size\":1", "\"size\":1,\"x\":1,\"X\":2"),
        ("\"schemaVersion\"", "\"SchemaVersion\""),
    ] {
        let altered = good.replacen(from, to, 1);
        assert_ne!(altered, good);
        assert!(
            matches!(parse_text(&altered), Err(InvalidManifest::Json { .. })),
            "{altered}"
        );
    }
}

#[test]
fn annotations_may_use_any_key_once() {
    let [image_type, _] = IMAGE_TYPES;
    let mut manifest = image(image_type);
    manifest["annotations"] = json!({ "Size": "x", "size": "y", "layers": "z" });
    assert!(parse(&manifest, image_type).is_ok());
    let twice = manifest.to_string().replace("\"Size\"", "\"size\"");
    assert!(matches!(
        parse_text(&twice),
        Err(InvalidManifest::Json { .. })
    ));
}

#[test]
fn layers_from_elsewhere_are_refused() {
    let [image_type, _] = IMAGE_TYPES;
    let mut manifest = image(image_type);
    manifest["layers"][0]["urls"] = json!([]);
    assert!(parse(&manifest, image_type).is_ok());
    manifest["layers"][0]["urls"] = json!(["https://elsewhere.test/layer"]);
    assert!(matches!(
        parse(&manifest, image_type),
        Err(InvalidManifest::ForeignUrls { .. })
    ));
}

#[test]
fn each_other_broken_rule_has_its_own_error() {
    let [image_type, _] = IMAGE_TYPES;
    let [index_type, _] = INDEX_TYPES;
    let broken = |pointer: &str, value: Value| {
        let mut manifest = image(image_type);
        *manifest.pointer_mut(pointer).unwrap() = value;
        parse(&manifest, image_type)
    };
    assert!(matches!(
        broken("/schemaVersion", json!(1)),
        Err(InvalidManifest::SchemaVersion { got: 1 })
    ));
    assert!(matches!(
        broken("/layers/0/digest", json!("sha256:1")),
        Err(InvalidManifest::Digest { .. })
    ));
    assert!(matches!(
        broken("/layers/0/size", json!(-1)),
        Err(InvalidManifest::Json { .. })
    ));
    assert!(matches!(
        broken("/layers", json!(null)),
        Err(InvalidManifest::Json { .. })
    ));
    assert!(matches!(
        broken("/config", json!(null)),
        Err(InvalidManifest::Json { .. })
    ));
    let many = vec![descriptor("layer"); MAX_DESCRIPTORS + 1];
    assert!(matches!(
        broken("/layers", json!(many)),
        Err(InvalidManifest::TooManyDescriptors { got: 513 })
    ));
    let mut empty = index(index_type);
    empty.as_object_mut().unwrap().remove("manifests");
    assert!(matches!(
        parse(&empty, index_type),
        Err(InvalidManifest::Json { .. })
    ));
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    for text in ["", "[]", "{", "{}x", deep.as_str()] {
        assert!(
            matches!(parse_text(text), Err(InvalidManifest::Json { .. })),
            "{text:.10}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_at_all_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Manifest::parse(&bytes, None).is_err());
    }
}
