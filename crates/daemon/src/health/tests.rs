use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::Outcome;

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    let body = response.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

async fn served() -> (SocketAddr, Lifecycle, Readiness, Registry) {
    let lifecycle = Lifecycle::new();
    let readiness = Readiness::new();
    let metrics = Registry::new();
    let bound = BoundHealth::bind("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = bound.local_addr();
    bound.serve(&lifecycle, readiness.clone(), metrics.clone());
    (address, lifecycle, readiness, metrics)
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let (address, _lifecycle, readiness, _) = served().await;
    let policy = readiness.wait_for("policy");
    let feed = readiness.wait_for("feed");
    assert_eq!(get(address, "/healthz").await.0, 200);
    assert_eq!(
        get(address, "/readyz").await,
        (503, "not ready, missing: policy, feed\n".to_owned())
    );
    policy.done();
    feed.done();
    assert_eq!(get(address, "/readyz").await, (200, "ready\n".to_owned()));
}

#[tokio::test]
async fn metrics_are_served() {
    let (address, _lifecycle, _, metrics) = served().await;
    metrics.counter("checks_total", "Checks.").increment();
    assert!(
        get(address, "/metrics")
            .await
            .1
            .contains("checks_total 1\n")
    );
}

#[tokio::test]
async fn other_paths_are_not_found() {
    let (address, _lifecycle, _, _) = served().await;
    assert_eq!(get(address, "/debug").await.0, 404);
}

#[test]
fn writing_methods_are_refused_and_a_stopping_program_is_not_ready() {
    let lifecycle = Lifecycle::new();
    let state = State {
        lifecycle: lifecycle.clone(),
        readiness: Readiness::new(),
        metrics: Registry::new(),
    };
    assert_eq!(state.answer(&Method::POST, "/readyz").status(), 405);
    assert_eq!(state.answer(&Method::GET, "/readyz").status(), 200);
    lifecycle.stop();
    assert_eq!(state.answer(&Method::GET, "/readyz").status(), 503);
    assert_eq!(state.answer(&Method::GET, "/healthz").status(), 200);
}

#[tokio::test]
async fn draining_program_still_answers_and_does_not_wait_for_an_open_connection() {
    let (address, lifecycle, _, _) = served().await;
    let idle = TcpStream::connect(address).await.unwrap();
    lifecycle.stop();
    assert_eq!(
        get(address, "/readyz").await,
        (503, "stopping\n".to_owned())
    );
    assert_eq!(
        lifecycle.drain(Duration::from_secs(30)).await,
        Outcome::Clean
    );
    drop(idle);
}

#[tokio::test]
async fn grpc_health_follows_readiness_and_the_stop() {
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus as Wire,
        health_client::HealthClient,
    };
    let lifecycle = Lifecycle::new();
    let readiness = Readiness::new();
    let policy = readiness.wait_for("policy");
    let server = grpc(&lifecycle, &readiness, &["countersign.feed.v1.Feed"]).await;
    let mut client = HealthClient::new(server);
    let request = || HealthCheckRequest {
        service: "countersign.feed.v1.Feed".to_owned(),
    };
    let mut watch = client.watch(request()).await.unwrap().into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        Wire::NotServing
    );
    policy.done();
    loop {
        if watch.message().await.unwrap().unwrap().status() == Wire::Serving {
            break;
        }
    }
    lifecycle.stop();
    loop {
        if watch.message().await.unwrap().unwrap().status() == Wire::NotServing {
            break;
        }
    }
    assert_eq!(
        lifecycle.drain(Duration::from_secs(30)).await,
        Outcome::Clean
    );
}
