//! gRPC on one HTTP/2 connection: `doc/PROTOCOL-HTTP2.md` of grpc/grpc.

use crate::endpoint::Endpoint;
use crate::error::{Code, Error};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// TCP, TLS and HTTP/2 together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A member that is silent for so long is asked whether it is there, …
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// … and given up after this.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that may be on their way: lists and watches bring many.
const WINDOW: u32 = 4 << 20;
/// Longest answer: etcd has no bound, and pages of large objects are long.
const MESSAGE_BYTES_MAX: usize = 512 << 20;
/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

pub(crate) type RequestBody = UnsyncBoxBody<Bytes, Infallible>;

/// One connection.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) endpoint: Arc<Endpoint>,
    sender: SendRequest<RequestBody>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Text that says what was in the way.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, String> {
        let connect = async {
            let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
                .await
                .map_err(|error| error.to_string())?;
            // A transaction is a small packet that somebody waits for.
            tcp.set_nodelay(true).map_err(|error| error.to_string())?;
            if !endpoint.is_tls {
                return handshake(tcp).await;
            }
            let tls = tls.ok_or("it wants TLS, and no authority is given to judge it by")?;
            let name = ServerName::try_from(endpoint.host.clone())
                .map_err(|_| "its name cannot be in a certificate".to_owned())?;
            let stream = TlsConnector::from(Arc::clone(tls))
                .connect(name, tcp)
                .await
                .map_err(|error| everleaf_tls::chain_words(&error))?;
            handshake(stream).await
        };
        let sender = timeout(CONNECT_TIMEOUT, connect)
            .await
            .unwrap_or_else(|_| Err(format!("no answer in {} s", CONNECT_TIMEOUT.as_secs())))?;
        Ok(Self {
            endpoint: Arc::new(endpoint.clone()),
            sender,
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends one message, and takes one.
    pub(crate) async fn unary<Answer: Message + Default>(
        &self,
        path: &'static str,
        message: &impl Message,
    ) -> Result<Answer, Error> {
        let body = Full::new(framed(message)).boxed_unsync();
        let mut answers = self.call(path, body).await?;
        let Some(answer) = answers.next().await? else {
            return Err(self.lost("the answer is empty"));
        };
        // The status comes after it.
        match answers.next::<Answer>().await? {
            None => Ok(answer),
            Some(_) => Err(self.lost("there is more than one answer")),
        }
    }

    /// Sends a body of messages; its answers come as they come.
    pub(crate) async fn call(
        &self,
        path: &'static str,
        body: RequestBody,
    ) -> Result<Answers, Error> {
        let scheme = if self.endpoint.is_tls {
            "https"
        } else {
            "http"
        };
        let authority = self.endpoint.authority();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{scheme}://{authority}{path}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            // A member that is cut off from the others is to say so, not to fall silent.
            .header("hasleader", "true")
            .body(body)
            .map_err(|error| self.lost(&error.to_string()))?;
        let response = self
            .sender
            .clone()
            .send_request(request)
            .await
            .map_err(|error| self.lost(&everleaf_tls::chain_words(&error)))?;
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(self.lost(&format!("HTTP status {}; it is no etcd", head.status)));
        }
        // An answer without a body has its status here.
        self.check(&head.headers)?;
        Ok(Answers {
            connection: self.clone(),
            body,
            buffer: BytesMut::new(),
        })
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let Some(status) = headers.get("grpc-status") else {
            return Ok(());
        };
        let number = status.to_str().ok().and_then(|text| text.parse().ok());
        match number {
            Some(0) => Ok(()),
            number => Err(Error::Refused {
                endpoint: self.endpoint.to_string(),
                code: Code::of(number.unwrap_or(2)),
                message: headers
                    .get("grpc-message")
                    .and_then(|text| text.to_str().ok())
                    .unwrap_or("no reason given")
                    .to_owned(),
            }),
        }
    }

    pub(crate) fn lost(&self, what: &str) -> Error {
        Error::Lost {
            endpoint: self.endpoint.to_string(),
            what: what.to_owned(),
        }
    }
}

async fn handshake(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<RequestBody>, String> {
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| error.to_string())?;
    // It ends when its last sender does; what was wrong with it, each call hears.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// The answers to a call.
pub(crate) struct Answers {
    connection: Connection,
    body: Incoming,
    buffer: BytesMut,
}

impl Answers {
    /// The next one; None after the last, when all went well.
    pub(crate) async fn next<Answer: Message + Default>(
        &mut self,
    ) -> Result<Option<Answer>, Error> {
        loop {
            if let Some(message) = self.take()? {
                let answer = Answer::decode(message)
                    .map_err(|_| self.connection.lost("an answer that cannot be read"))?;
                return Ok(Some(answer));
            }
            let frame = match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    return Err(self.connection.lost(&everleaf_tls::chain_words(&error)));
                }
            };
            match frame.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.connection.check(&trailers)?;
                    return Ok(None);
                }
            }
        }
    }

    /// A whole message, if there is one.
    fn take(&mut self) -> Result<Option<Bytes>, Error> {
        let Some((&[compressed, a, b, c, d], _)) = self.buffer.split_first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if compressed != 0 || length > MESSAGE_BYTES_MAX {
            return Err(self
                .connection
                .lost("an answer of a kind that was not asked for"));
        }
        if self.buffer.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

/// A message with its prefix.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.extend_from_slice(&message.encode_to_vec());
    frame.freeze()
}
