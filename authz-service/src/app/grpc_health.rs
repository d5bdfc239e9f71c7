//! gRPC health of the Check listeners: serving while ready and not stopping.

use daemon::{Lifecycle, Readiness};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

/// A reporter that follows readiness until the program stops.
pub(super) async fn reporter(lifecycle: &Lifecycle, readiness: &Readiness) -> HealthReporter {
    let (reporter, _server) = health_reporter();
    set(&reporter, ServingStatus::NotServing).await;
    let (following, readiness, stop) = (reporter.clone(), readiness.clone(), lifecycle.token());
    lifecycle.spawn("grpc-health", async move {
        stop.run_until_cancelled(follow(&following, &readiness))
            .await;
        set(&following, ServingStatus::NotServing).await;
    });
    reporter
}

async fn follow(reporter: &HealthReporter, readiness: &Readiness) {
    let mut ready = readiness.is_ready();
    loop {
        set(
            reporter,
            if ready {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            },
        )
        .await;
        ready = readiness.changed_from(ready).await;
    }
}

async fn set(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// The empty name is the server as a whole.
const SERVICES: [&str; 2] = ["", "envoy.service.auth.v3.Authorization"];
