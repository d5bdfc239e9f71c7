//! A Workload API that gives the service under test its own certificate.

use std::path::Path;
use std::pin::Pin;

use countersign_proto::workload::spiffe_workload_api_server::{
    SpiffeWorkloadApi, SpiffeWorkloadApiServer,
};
use countersign_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest,
    X509svidResponse,
};
use futures_util::{Stream, StreamExt as _};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::pki::{AUTHZ, Pki, Svid};

/// Serves until dropped.
pub struct WorkloadApi {
    response: watch::Sender<X509svidResponse>,
    _serving: JoinSet<()>,
}

impl WorkloadApi {
    pub fn start(directory: &Path, pki: &Pki) -> Self {
        let socket = directory.join("agent.sock");
        drop(std::fs::remove_file(&socket));
        let listener = UnixListener::bind(&socket).unwrap();
        let (response, responses) = watch::channel(response(&pki.svid(AUTHZ), pki));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let server =
                Server::builder().add_service(SpiffeWorkloadApiServer::new(Api(responses)));
            server
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            response,
            _serving: serving,
        }
    }

    /// Hands out another certificate, with another key.
    pub fn renew(&self, pki: &Pki) {
        self.response.send_replace(response(&pki.svid(AUTHZ), pki));
    }
}

fn response(svid: &Svid, pki: &Pki) -> X509svidResponse {
    let svid = X509svid {
        spiffe_id: AUTHZ.to_owned(),
        x509_svid: svid
            .chain()
            .iter()
            .flat_map(|certificate| certificate.to_vec())
            .collect(),
        x509_svid_key: svid.key.pkcs8_der().to_vec(),
        bundle: pki.root.to_vec(),
        hint: String::new(),
    };
    X509svidResponse {
        svids: vec![svid],
        ..X509svidResponse::default()
    }
}

struct Api(watch::Receiver<X509svidResponse>);

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Api {
    type FetchX509SVIDStream = Responses<X509svidResponse>;
    type FetchX509BundlesStream = Responses<X509BundlesResponse>;
    type FetchJWTBundlesStream = Responses<JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        _request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        Ok(Response::new(Box::pin(
            WatchStream::new(self.0.clone()).map(Ok),
        )))
    }

    async fn fetch_x509_bundles(
        &self,
        _request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn fetch_jwtsvid(
        &self,
        _request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn fetch_jwt_bundles(
        &self,
        _request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn validate_jwtsvid(
        &self,
        _request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}
