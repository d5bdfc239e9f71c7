//! What the agent gives to a workload, and to whom it does not speak.

use std::collections::BTreeSet;
use std::path::Path;

use countersign_proto::workload::X509svidRequest;
use countersign_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use hyper_util::rt::TokioIo;
use kit::demo::actors::FRONTEND;
use serde_json::Value;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tower::service_fn;

use crate::stage::with_world;

#[tokio::test(flavor = "multi_thread")]
async fn two_workloads_of_one_grant_have_different_keys() -> anyhow::Result<()> {
    with_world("e2e-keys", |stage, _| {
        Box::pin(async move {
            stage.world.hold_another("frontend", "frontend-too").await?;
            let listed = stage
                .world
                .agent_says(&["workload", "list"], &["--output", "json"])
                .await?;
            let workloads: Vec<Value> = serde_json::from_str(&listed.out)?;
            let held = workloads
                .iter()
                .filter(|workload| workload["spiffeId"] == FRONTEND);
            let keys: Vec<&str> = held
                .filter_map(|workload| workload["spki"].as_str())
                .collect();
            assert_eq!(keys.len(), 2, "{workloads:#?}");
            assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 2);
            Ok(())
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_api_without_its_header_is_refused_as_invalid() -> anyhow::Result<()> {
    with_world("e2e-header", |stage, _| {
        Box::pin(async move {
            let mut client =
                SpiffeWorkloadApiClient::new(connect(&stage.world.layout.agent_socket()).await?);
            let bare = client
                .fetch_x509svid(Request::new(X509svidRequest {}))
                .await;
            assert_eq!(bare.unwrap_err().code(), Code::InvalidArgument);
            let mut headed = Request::new(X509svidRequest {});
            headed
                .metadata_mut()
                .insert("workload.spiffe.io", "true".parse()?);
            let status = match client.fetch_x509svid(headed).await {
                Ok(stream) => stream.into_inner().message().await.unwrap_err(),
                Err(status) => status,
            };
            // We are no workload of any grant; but we were heard.
            assert_eq!(status.code(), Code::PermissionDenied);
            Ok(())
        })
    })
    .await
}

async fn connect(socket: &Path) -> anyhow::Result<Channel> {
    let socket = socket.to_owned();
    let connector = service_fn(move |_uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Ok(Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await?)
}
