use super::*;

fn asking(names: &[&str], nonce: &str) -> Request {
    Request {
        type_url: TYPE_URL.to_owned(),
        names: names.iter().map(ToString::to_string).collect(),
        nonce: nonce.to_owned(),
        ..Request::default()
    }
}

fn versions(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter()
        .map(|(name, version)| (name.to_string(), version.to_string()))
        .collect()
}

fn answered() -> Subscription {
    let mut stream = Subscription::default();
    assert_eq!(stream.request(asking(&["default"], "")), Ok(Meaning::Asked));
    assert_eq!(
        stream.respond(versions(&[("default", "a1")])),
        Response {
            version: "a1".to_owned(),
            nonce: "1".to_owned()
        }
    );
    stream
}

#[test]
fn acknowledgement_is_not_answered() {
    assert_eq!(
        answered().request(asking(&["default"], "1")),
        Ok(Meaning::Taken)
    );
}

#[test]
fn rejection_is_not_answered_until_a_change() {
    let mut stream = answered();
    let nack = Request {
        rejection: Some("KEY_VALUES_MISMATCH".to_owned()),
        ..asking(&["default"], "1")
    };
    assert_eq!(
        stream.request(nack),
        Ok(Meaning::Rejected("KEY_VALUES_MISMATCH".to_owned()))
    );
    assert!(
        !stream.differs(&versions(&[("default", "a1")])),
        "the same secret again would spin"
    );
    assert!(stream.differs(&versions(&[("default", "b2")])));
}

#[test]
fn stale_nonce_is_ignored() {
    let mut stream = answered();
    stream.respond(versions(&[("default", "b2")]));
    assert_eq!(
        stream.request(asking(&["default", "ROOTCA"], "1")),
        Ok(Meaning::Stale)
    );
    assert_eq!(stream.names(), ["default"]);
}

#[test]
fn nonce_of_an_earlier_stream_is_answered_on_a_new_one() {
    assert_eq!(
        Subscription::default().request(asking(&["default"], "17")),
        Ok(Meaning::Asked)
    );
}

#[test]
fn other_names_are_answered() {
    let mut stream = answered();
    assert_eq!(
        stream.request(asking(&["default", "ROOTCA"], "1")),
        Ok(Meaning::Asked)
    );
    assert_eq!(stream.names(), ["ROOTCA", "default"]);
}

#[test]
fn no_names_end_the_subscription_without_an_answer() {
    let mut stream = answered();
    assert_eq!(stream.request(asking(&[], "1")), Ok(Meaning::Taken));
    assert!(stream.names().is_empty());
    assert!(!stream.differs(&BTreeMap::new()));
}

#[test]
fn a_secret_asked_for_again_after_an_end_is_sent_again() {
    let mut stream = answered();
    stream.request(asking(&[], "1")).expect("valid");
    assert_eq!(
        stream.request(asking(&["default"], "1")),
        Ok(Meaning::Asked)
    );
    assert!(stream.differs(&versions(&[("default", "a1")])));
}

#[test]
fn request_repeated_before_its_answer_is_not_asked_twice() {
    let mut stream = Subscription::default();
    assert_eq!(stream.request(asking(&["default"], "")), Ok(Meaning::Asked));
    assert_eq!(stream.request(asking(&["default"], "")), Ok(Meaning::Stale));
}

#[test]
fn names_are_served_once_each() {
    let mut stream = Subscription::default();
    stream
        .request(asking(&["default", "default"], ""))
        .expect("valid");
    assert_eq!(stream.names(), ["default"]);
}

#[test]
fn node_of_the_first_message_is_kept() {
    let mut stream = Subscription::default();
    stream
        .request(Request {
            node: Some("edge-1".to_owned()),
            ..asking(&["default"], "")
        })
        .expect("valid");
    stream.respond(versions(&[("default", "a1")]));
    stream.request(asking(&["default"], "1")).expect("valid");
    assert_eq!(stream.node(), Some("edge-1"));
}

#[test]
fn other_resource_type_is_refused() {
    let request = Request {
        type_url: "type.googleapis.com/envoy.config.listener.v3.Listener".to_owned(),
        ..asking(&["default"], "")
    };
    assert!(matches!(
        Subscription::default().request(request),
        Err(InvalidRequest::Type(_))
    ));
}

#[test]
fn unbounded_names_are_refused() {
    let many: Vec<String> = (0..=MAX_NAMES).map(|n| n.to_string()).collect();
    let request = Request {
        names: many,
        ..asking(&[], "")
    };
    assert_eq!(
        Subscription::default().request(request),
        Err(InvalidRequest::TooManyNames(MAX_NAMES + 1))
    );
}
