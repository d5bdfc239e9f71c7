//! A request as a test wants it on the wire, and the reply that came.

use std::collections::BTreeMap;

use bytes::Bytes;

/// A request line and a body.
#[derive(Debug, Clone)]
pub struct Call {
    /// Method.
    pub method: String,
    /// `:authority`.
    pub authority: String,
    /// `:path`, sent as it is.
    pub path: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Bytes,
}

impl Call {
    /// A request without headers or body.
    pub fn new(method: &str, authority: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            authority: authority.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// The same request with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn request(&self, uri: http::Uri) -> http::request::Builder {
        let request = http::Request::builder()
            .method(self.method.as_str())
            .uri(uri);
        self.headers.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        })
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers; of a repeated one the last.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// The decision's id, if the proxy sent one.
    pub fn decision(&self) -> Option<&str> {
        self.headers
            .get("x-countersign-decision")
            .map(String::as_str)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The reason code that a denial's body carries, in either of its two JSON forms.
    pub fn reason(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let found = body
            .get("reason")
            .or_else(|| body.pointer("/errors/0/detail/reason"))?;
        found.as_str().map(str::to_owned)
    }
}
