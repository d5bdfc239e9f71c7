//! Who may connect, and for how long.

use std::time::Duration;

use cert_agent::handout::connection::Limits;
use countersign_proto::workload::{
    X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use tokio::{io::AsyncReadExt as _, net::UnixStream, time::timeout};
use tonic::{Code, Request};

use super::socket::{Served, next};
use crate::agent::Agent;

/// Long enough for nobody to lose patience in a test that is not about that.
const LONG: Duration = Duration::from_mins(10);

/// Reads until the other end closes; false when it does not within a moment.
async fn is_closed(stream: &mut UnixStream) -> bool {
    let mut rest = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut rest))
        .await
        .is_ok()
}

#[tokio::test]
async fn connection_beyond_the_users_limit_is_closed_and_one_given_back_is_not() {
    let limits = Limits {
        per_uid: 2,
        total: 100,
    };
    let served = Served::with_door(Agent::new(), limits, LONG);
    let refused = served.agent.metrics.connections_refused.clone();
    let connect = || async { UnixStream::connect(served.path()).await.unwrap() };
    // Connections are accepted in their order.
    let held = [connect().await, connect().await];
    assert!(is_closed(&mut connect().await).await);
    assert_eq!(refused.value(), 1);

    drop(held);
    // The server sees that they are closed when it reads from them.
    let answered = async {
        loop {
            let count = refused.value();
            let mut again = connect().await;
            let mut first = [0; 1];
            // The server speaks first: its HTTP/2 settings.
            if again.read_exact(&mut first).await.is_ok() {
                return;
            }
            assert_eq!(refused.value(), count + 1);
        }
    };
    timeout(Duration::from_secs(20), answered)
        .await
        .expect("a place that was given back is taken");
}

#[tokio::test]
async fn connection_on_which_nothing_is_asked_is_closed() {
    let limits = Limits {
        per_uid: 9,
        total: 9,
    };
    let served = Served::with_door(Agent::new(), limits, Duration::from_millis(50));
    let mut silent = UnixStream::connect(served.path()).await.unwrap();
    assert!(is_closed(&mut silent).await);
    assert_eq!(served.agent.metrics.connections_refused.value(), 0);
}

#[tokio::test]
async fn connection_on_which_something_was_asked_stays_open() {
    let agent = Agent::new();
    agent.sign("payments");
    agent.attestor.is(&crate::agent::workload(1));
    let limits = Limits {
        per_uid: 9,
        total: 9,
    };
    let patience = Duration::from_millis(500);
    let served = Served::with_door(agent, limits, patience);
    let mut client = SpiffeWorkloadApiClient::new(served.channel().await);
    let mut request = Request::new(X509svidRequest {});
    request
        .metadata_mut()
        .insert("workload.spiffe.io", "true".parse().unwrap());
    let mut stream = client.fetch_x509svid(request).await.unwrap().into_inner();
    next(&mut stream).await.unwrap();
    tokio::time::sleep(2 * patience).await;
    served.agent.attestor.end();
    let status = loop {
        match next(&mut stream).await {
            Ok(_rotated) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
}
