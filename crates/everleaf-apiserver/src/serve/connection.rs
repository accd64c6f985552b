//! HTTP on one connection, from its first request to its end.

use super::linger::Lingering;
use super::meter::{Meter, Progress, Underway};
use super::stop::Stopped;
use super::{NotTaken, Shared, TimedBody, serve_request};
use crate::authn::Peer;
use crate::user::ANONYMOUS;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

type Answer = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

/// The body of an answer, underway until it has been taken.
struct AnswerBody {
    body: TimedBody,
    _underway: Arc<Underway>,
}

/// HTTP/1.1: with little room for heads at first, with much from the first large one on.
pub(super) async fn serve_http1<S>(
    shared: Arc<Shared>,
    peer: Peer,
    stream: S,
    mut stopped: Stopped,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let progress = Arc::new(Progress::default());
    let service = service_fn({
        let (shared, peer, progress) = (Arc::clone(&shared), peer.clone(), Arc::clone(&progress));
        move |request: Request<Incoming>| -> Answer {
            let (shared, peer) = (Arc::clone(&shared), peer.clone());
            let underway = progress.begin();
            Box::pin(async move {
                let in_body = Some(Arc::clone(&underway));
                let response = serve_request(&shared, &peer, request, in_body).await;
                Ok(response.map(|body| AnswerBody {
                    body,
                    _underway: underway,
                }))
            })
        }
    });
    let stream = Meter::new(Lingering::new(stream), progress);
    let heads = &shared.heads;
    let mut connection = heads.lean().serve_connection(TokioIo::new(stream), service);
    let mut result = drive(&mut connection, &mut stopped).await;
    let mut parts = connection.into_parts();
    let _wide;
    if parts.io.inner().has_stopped() {
        let (room, permit) = heads.room(is_stranger(&shared, &peer));
        _wide = permit;
        let stream = TokioIo::new(parts.io.into_inner().reopened(&parts.read_buf));
        let mut connection = room.http1.serve_connection(stream, parts.service);
        result = drive(&mut connection, &mut stopped).await;
        parts = connection.into_parts();
    }
    // However it went, the client is to read what was said last.
    let _ = parts.io.into_inner().shutdown().await;
    result
}

/// Serves until the connection ends, or until its current request after the server was told to
/// stop.
async fn drive<I, S>(
    connection: &mut http1::Connection<I, S>,
    stopped: &mut Stopped,
) -> hyper::Result<()>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: HttpService<Incoming, ResBody = AnswerBody, Future = Answer, Error = Infallible> + Unpin,
{
    tokio::select! {
        result = poll_fn(|context| connection.poll_without_shutdown(context)) => return result,
        () = stopped.told() => Pin::new(&mut *connection).graceful_shutdown(),
    }
    poll_fn(|context| connection.poll_without_shutdown(context)).await
}

/// HTTP/2: until the client leaves, the server stops, or wants this client to connect anew; then a
/// GOAWAY is sent, and what is under way goes on to its end.
pub(super) async fn serve_http2<S>(
    shared: Arc<Shared>,
    peer: Peer,
    stream: S,
    mut stopped: Stopped,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (room, _wide) = shared.heads.room(is_stranger(&shared, &peer));
    let builder = room.http2.clone();
    let sent_away = Arc::new(Notify::new());
    let service = service_fn({
        let sent_away = Arc::clone(&sent_away);
        move |request| {
            let (shared, peer) = (Arc::clone(&shared), peer.clone());
            if shared.server.sends_away() {
                sent_away.notify_one();
            }
            async move { Ok::<_, Infallible>(serve_request(&shared, &peer, request, None).await) }
        }
    });
    let stream = TokioIo::new(Lingering::new(stream));
    let mut connection = pin!(builder.serve_connection(stream, service));
    tokio::select! {
        result = connection.as_mut() => return result,
        () = stopped.told() => {}
        () = sent_away.notified() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// Has the other side not proven by a certificate who it is?
fn is_stranger(shared: &Shared, peer: &Peer) -> bool {
    if peer.certificates.is_empty() {
        return true;
    }
    let (authenticator, objects) = (shared.server.authenticator(), shared.server.objects());
    let now = (shared.clock)();
    authenticator
        .authenticate(&HeaderMap::new(), "", peer, objects, now)
        .map_or(true, |user| user.name == ANONYMOUS)
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = NotTaken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NotTaken>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
