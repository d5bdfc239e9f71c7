//! The SPIFFE Workload API: X.509-SVIDs and bundles, by stream.

use std::{collections::HashMap, pin::Pin};

use countersign_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest,
    X509svidResponse, spiffe_workload_api_server::SpiffeWorkloadApi,
};
use evidence::binding::Handout;
use futures_util::{Stream, stream};
use rustls::pki_types::CertificateDer;
use tonic::{Request, Response, Status, metadata::MetadataValue};

use super::{
    connection::Caller,
    counter::{Counter, Portion, Visit},
    svid::Svid,
};

/// The service.
#[derive(Debug, Clone)]
pub struct WorkloadApi {
    counter: Counter,
}

impl WorkloadApi {
    /// Serves at this counter.
    pub fn new(counter: Counter) -> Self {
        Self { counter }
    }

    async fn visit<T>(&self, request: &Request<T>) -> Result<Visit, Status> {
        check_header(request)?;
        self.counter
            .serve(request.extensions().get::<Caller>(), Handout::Api)
            .await
    }
}

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for WorkloadApi {
    type FetchX509SVIDStream = ResponseStream<X509svidResponse>;
    type FetchX509BundlesStream = ResponseStream<X509BundlesResponse>;
    type FetchJWTBundlesStream = ResponseStream<JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let visit = self.visit(&request).await?;
        Ok(Response::new(pushes(visit, Mark::of_svids, svid_response)))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let visit = self.visit(&request).await?;
        Ok(Response::new(pushes(
            visit,
            Mark::of_bundle,
            bundles_response,
        )))
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        check_header(&request)?;
        Err(no_jwt())
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        check_header(&request)?;
        Err(no_jwt())
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        check_header(&request)?;
        Err(no_jwt())
    }
}

/// Sends the whole state at once, and again when it differs. The first error ends the stream.
fn pushes<T: Send + 'static>(
    visit: Visit,
    mark: fn(&Portion) -> Mark,
    encode: fn(&Portion) -> T,
) -> ResponseStream<T> {
    let first = Some(Pushing {
        visit,
        mark,
        encode,
        sent: None,
    });
    Box::pin(stream::unfold(first, |pushing| async {
        let mut pushing = pushing?;
        match pushing.next().await {
            Ok(message) => Some((Ok(message), Some(pushing))),
            Err(status) => Some((Err(status), None)),
        }
    }))
}

struct Pushing<T> {
    visit: Visit,
    mark: fn(&Portion) -> Mark,
    encode: fn(&Portion) -> T,
    sent: Option<Mark>,
}

/// What tells one message from the next, without its keys: a change that is not the caller's is not told.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    serials: Vec<String>,
    roots: Vec<CertificateDer<'static>>,
}

impl Mark {
    fn of_svids(portion: &Portion) -> Self {
        let serials = portion
            .svids
            .iter()
            .map(|svid| svid.leaf().serial.clone())
            .collect();
        Self {
            serials,
            ..Self::of_bundle(portion)
        }
    }

    fn of_bundle(portion: &Portion) -> Self {
        Self {
            serials: Vec::new(),
            roots: portion.authorities.bundle.roots().to_vec(),
        }
    }
}

impl<T> Pushing<T> {
    async fn next(&mut self) -> Result<T, Status> {
        loop {
            if self.sent.is_some() {
                self.visit.changed().await?;
            }
            let portion = self.visit.portion().await?;
            let mark = Some((self.mark)(&portion));
            if self.sent != mark {
                self.sent = mark;
                return Ok((self.encode)(&portion));
            }
        }
    }
}

fn svid_response(portion: &Portion) -> X509svidResponse {
    let bundle = portion.authorities.bundle.to_der();
    let svids = portion
        .svids
        .iter()
        .map(|svid| svid_message(svid, bundle.clone()))
        .collect();
    X509svidResponse {
        svids,
        crl: Vec::new(),
        federated_bundles: HashMap::new(),
    }
}

fn svid_message(svid: &Svid, bundle: Vec<u8>) -> X509svid {
    X509svid {
        spiffe_id: svid.leaf().spiffe_id.to_string(),
        x509_svid: svid.chain_der().to_vec(),
        x509_svid_key: svid.key_der().to_vec(),
        bundle,
        hint: svid.grant().terms.hint.clone().unwrap_or_default(),
    }
}

fn bundles_response(portion: &Portion) -> X509BundlesResponse {
    let bundle = &portion.authorities.bundle;
    let bundles = HashMap::from([(bundle.trust_domain().spiffe_uri(), bundle.to_der())]);
    X509BundlesResponse {
        crl: Vec::new(),
        bundles,
    }
}

/// SPEC(Workload Endpoint §6): a request without the header is refused, so that no browser or proxy asks by accident.
fn check_header<T>(request: &Request<T>) -> Result<(), Status> {
    match request.metadata().get(HEADER).map(MetadataValue::as_bytes) {
        Some(b"true") => Ok(()),
        Some(_) | None => Err(Status::invalid_argument(
            "the request must carry `workload.spiffe.io: true`",
        )),
    }
}

fn no_jwt() -> Status {
    Status::unimplemented("JWT-SVIDs are not served")
}

const HEADER: &str = "workload.spiffe.io";
