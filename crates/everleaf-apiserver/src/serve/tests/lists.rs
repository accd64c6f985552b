//! Lists are written by threads of their own, whole, and not for ever.

use super::super::lists::{List, Lists};
use super::fixture::{NOW, TestServer, time};
use crate::authn::Peer;
use crate::handler::Body;
use bytes::Bytes;
use http::Request;
use http_body_util::{Empty, Full};
use serde_json::{Value, json};
use std::future::poll_fn;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const OBJECTS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// The answer to a list of objects of 4 KiB.
async fn list(server: &TestServer) -> Body {
    let peer = Peer::default();
    for number in 0..OBJECTS {
        let object = json!({
            "metadata": { "name": format!("map-{number:03}") },
            "data": { "text": "x".repeat(4096) },
        });
        let request = Request::post(CONFIG_MAPS)
            .header("Authorization", "Bearer t")
            .body(Full::<Bytes>::from(object.to_string()));
        let answer = server
            .server
            .serve(request.unwrap(), &peer, time(NOW))
            .await;
        assert_eq!(answer.status(), 201);
    }
    let request = Request::get(CONFIG_MAPS)
        .header("Authorization", "Bearer t")
        .body(Empty::<Bytes>::new());
    let answer = server
        .server
        .serve(request.unwrap(), &peer, time(NOW))
        .await;
    assert!(answer.body().is_list());
    answer.into_body()
}

async fn next(list: &mut List) -> Option<Result<Bytes, super::super::NotTaken>> {
    poll_fn(|context| list.poll_next(context)).await
}

fn runtimes() -> [Runtime; 2] {
    let many = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let single = Builder::new_current_thread().enable_all().build();
    [many.unwrap(), single.unwrap()]
}

#[test]
fn a_list_is_written_whole() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let server = TestServer::new();
            let lists = Lists::start();
            let mut list = lists.write(list(&server).await, PATIENCE);
            let mut text = Vec::new();
            while let Some(piece) = next(&mut list).await {
                text.extend(piece.unwrap());
            }
            let told: Value = serde_json::from_slice(&text).unwrap();
            let names = told["items"].as_array().unwrap().iter();
            let names: Vec<&str> = names
                .filter_map(|item| item["metadata"]["name"].as_str())
                .filter(|name| name.starts_with("map-"))
                .collect();
            assert!(names.len() == OBJECTS && names.is_sorted(), "{names:?}");
        });
    }
}

#[test]
fn a_list_that_is_not_taken_in_time_is_given_up() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let server = TestServer::new();
            let lists = Lists::start();
            let patience = Duration::from_millis(50);
            let mut list = lists.write(list(&server).await, patience);
            assert!(next(&mut list).await.unwrap().is_ok());
            tokio::time::sleep(patience * 4).await;
            // One piece lies ready; then there are no more.
            let mut pieces = 0;
            while let Some(Ok(_)) = next(&mut list).await {
                pieces += 1;
            }
            assert!(pieces <= 1, "{pieces} pieces of a list that was given up");
            assert!(next(&mut list).await.unwrap().is_err());
        });
    }
}

/// How many threads of lists there are that are nicer, by ten, than this one (proc(5), `stat`, the
/// 19th field).
#[cfg(target_os = "linux")]
fn nice_threads() -> usize {
    let niceness = |stat: &str| -> Option<i32> { stat.split(' ').nth(16)?.parse().ok() };
    let own = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, own) = own.rsplit_once(") ").unwrap();
    let wanted = niceness(own).map(|own| (own + 10).min(19));
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nice = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, fields) = stat.rsplit_once(") ")?;
        let is_list = name.ends_with("(lists");
        (is_list && niceness(fields) == wanted).then_some(())
    });
    nice.count()
}

#[cfg(target_os = "linux")]
#[test]
fn threads_of_lists_go_behind_all_others() {
    let [many, single] = runtimes();
    single.block_on(async { assert!(!Lists::start().has_threads()) });
    many.block_on(async {
        let before = nice_threads();
        let lists = Lists::start();
        assert!(lists.has_threads());
        for _ in 0..100 {
            if nice_threads() > before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no thread is nice");
    });
}
