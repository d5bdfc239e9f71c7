#![expect(clippy::indexing_slicing, reason = "test code")]

use cert_agent::workload::Refused;
use countersign_proto::workload::{
    JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, X509BundlesRequest, X509svidRequest,
    X509svidResponse, spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use identity::{
    PrivateKey, TrustBundle,
    x509_svid::{Leaf, verify_chain},
};
use policy::Reason;
use rustls::pki_types::CertificateDer;
use tonic::{Code, Request, Status, Streaming, transport::Channel};

use super::socket::{Served, next};
use crate::agent::{Agent, domain};

fn with_header<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("workload.spiffe.io", "true".parse().unwrap());
    request
}

async fn client(served: &Served) -> SpiffeWorkloadApiClient<Channel> {
    SpiffeWorkloadApiClient::new(served.channel().await)
}

async fn fetch(served: &Served) -> Result<Streaming<X509svidResponse>, Status> {
    Ok(client(served)
        .await
        .fetch_x509svid(with_header(X509svidRequest {}))
        .await?
        .into_inner())
}

fn signed() -> Agent {
    let agent = Agent::new();
    agent.sign("payments");
    agent
}

fn serial(response: &X509svidResponse) -> String {
    Leaf::parse(&chain(&response.svids[0].x509_svid)[0])
        .unwrap()
        .serial
}

/// SPEC(Workload API §5.2.1): concatenated DER, leaf first.
fn chain(mut der: &[u8]) -> Vec<CertificateDer<'static>> {
    let mut chain = Vec::new();
    while !der.is_empty() {
        let (rest, _) = x509_parser::parse_x509_certificate(der).unwrap();
        chain.push(CertificateDer::from(der[..der.len() - rest.len()].to_vec()));
        der = rest;
    }
    chain
}

#[tokio::test]
async fn signed_workload_gets_an_svid_that_holds() {
    let served = Served::with_workload(signed());
    let response = next(&mut fetch(&served).await.unwrap()).await.unwrap();
    let [svid] = response.svids.as_slice() else {
        panic!("one SVID")
    };
    assert_eq!(svid.spiffe_id, "spiffe://acme.test/ns/pay/sa/payments");
    assert_eq!(svid.hint, "payments");
    let chain = chain(&svid.x509_svid);
    let bundle =
        TrustBundle::new(domain(), vec![CertificateDer::from(svid.bundle.clone())]).unwrap();
    verify_chain(&chain[0], &chain[1..], &bundle, served.agent.clock.now()).unwrap();
    let key = PrivateKey::from_pkcs8_der(&svid.x509_svid_key).unwrap();
    assert_eq!(
        *key.public_key(),
        Leaf::parse(&chain[0]).unwrap().public_key
    );
}

#[tokio::test]
async fn request_without_the_header_is_invalid() {
    let served = Served::with_workload(signed());
    let mut client = client(&served).await;
    // SPEC(Workload Endpoint §6): every request carries `workload.spiffe.io: true`.
    let mut wrong = Request::new(X509svidRequest {});
    wrong
        .metadata_mut()
        .insert("workload.spiffe.io", "True".parse().unwrap());
    assert_eq!(
        client.fetch_x509svid(wrong).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(
        client
            .fetch_x509svid(X509svidRequest {})
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
    assert_eq!(
        client
            .fetch_x509_bundles(X509BundlesRequest {})
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
    assert_eq!(
        client
            .fetch_jwtsvid(JwtsvidRequest::default())
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
    assert!(
        served.agent.refusals.list().is_empty(),
        "nobody was refused an identity"
    );
}

#[tokio::test]
async fn jwt_is_not_served() {
    let served = Served::with_workload(signed());
    let mut client = client(&served).await;
    assert_eq!(
        client
            .fetch_jwtsvid(with_header(JwtsvidRequest::default()))
            .await
            .unwrap_err()
            .code(),
        Code::Unimplemented
    );
    assert_eq!(
        client
            .fetch_jwt_bundles(with_header(JwtBundlesRequest {}))
            .await
            .unwrap_err()
            .code(),
        Code::Unimplemented
    );
    let validate = with_header(ValidateJwtsvidRequest::default());
    assert_eq!(
        client.validate_jwtsvid(validate).await.unwrap_err().code(),
        Code::Unimplemented
    );
}

#[tokio::test]
async fn unsigned_program_is_denied_with_the_reason_first() {
    let served = Served::with_workload(Agent::new());
    let status = fetch(&served).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status.message().starts_with("artifact-unsigned"),
        "{}",
        status.message()
    );
    let [kept] = served.agent.refusals.list().try_into().unwrap();
    assert_eq!(
        kept.refused.wanted.unwrap().as_str(),
        "spiffe://acme.test/ns/pay/sa/payments"
    );
}

#[tokio::test]
async fn process_outside_every_scope_is_denied_and_kept() {
    let served = Served::new(signed());
    let status = fetch(&served).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status.message().starts_with("workload-not-isolated"),
        "{}",
        status.message()
    );
    for _ in 0..5 {
        fetch(&served).await.unwrap_err();
    }
    let [kept] = served.agent.refusals.list().try_into().unwrap();
    assert_eq!(kept.refused.reason, Reason::WorkloadNotIsolated);
    assert_eq!(
        served
            .agent
            .metrics
            .refusals
            .with(&["workload-not-isolated"])
            .value(),
        6
    );
}

#[tokio::test]
async fn issuer_that_is_down_is_worth_asking_again() {
    let served = Served::with_workload(signed());
    served.agent.issuer.set_down(true);
    let status = fetch(&served).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().starts_with("issuer-unavailable"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn every_stream_is_pushed_a_rotation() {
    let served = Served::with_workload(signed());
    let (mut one, mut other) = (fetch(&served).await.unwrap(), fetch(&served).await.unwrap());
    let before = serial(&next(&mut one).await.unwrap());
    assert_eq!(serial(&next(&mut other).await.unwrap()), before);
    served.agent.rotation.rotate("").await;
    let after = serial(&next(&mut one).await.unwrap());
    assert_ne!(after, before);
    assert_eq!(serial(&next(&mut other).await.unwrap()), after);
}

#[tokio::test]
async fn stream_ends_when_the_evidence_is_gone() {
    let served = Served::with_workload(signed());
    let mut stream = fetch(&served).await.unwrap();
    next(&mut stream).await.unwrap();
    served.agent.unsign();
    let status = next(&mut stream).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status.message().starts_with("artifact-unsigned"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn process_that_changed_is_pushed_nothing_more() {
    let served = Served::with_workload(signed());
    let mut stream = fetch(&served).await.unwrap();
    next(&mut stream).await.unwrap();
    // Two looks of the rotation pass; the one before the push does not.
    served.agent.attestor.refuse_after(2);
    served.agent.rotation.rotate("").await;
    let status = next(&mut stream).await.unwrap_err();
    assert!(
        status.message().starts_with("workload-modified"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn bundles_are_for_those_with_an_identity_and_are_not_pushed_with_every_svid() {
    let served = Served::with_workload(signed());
    let mut client = client(&served).await;
    let mut stream = client
        .fetch_x509_bundles(with_header(X509BundlesRequest {}))
        .await
        .unwrap()
        .into_inner();
    let response = next(&mut stream).await.unwrap();
    assert_eq!(
        response.bundles.keys().collect::<Vec<_>>(),
        ["spiffe://acme.test"]
    );
    served.agent.rotation.rotate("").await;
    served
        .agent
        .attestor
        .refuse(Some(Refused::new(Reason::WorkloadModified, "a shell")));
    served.agent.rotation.rotate("").await;
    let status = next(&mut stream).await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::PermissionDenied,
        "the rotation alone pushed nothing"
    );
}

#[tokio::test]
async fn streams_end_when_the_agent_stops() {
    let served = Served::with_workload(signed());
    let mut stream = fetch(&served).await.unwrap();
    next(&mut stream).await.unwrap();
    served.agent.lifecycle.stop();
    assert_eq!(
        next(&mut stream).await.unwrap_err().code(),
        Code::Unavailable
    );
}
