//! What the node is called and where it is reached, as its Node object says: looked up now and
//! then.
//!
//! Owns when to look and what follows from what was seen. A server that does not answer changes
//! nothing: the last known addresses stay.

use crate::client::access::Access;
use crate::client::{Answer, ApiClient, Failure, FailureClass};
use crate::config::Config;
use crate::host_address;
use crate::identity::{self, NoTemplate};
use everleaf_pki::Template;
use everleaf_rotation::{Monotonic, NAP_MAX};
use futures_util::future::{BoxFuture, FutureExt};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two looks at the Node object.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// After a look that brought no answer.
const LOOK_RETRY: Duration = Duration::from_secs(10);

/// Longest wait for this host's resolver, once the server has answered.
const DETECT_MAX: Duration = Duration::from_secs(5);

/// What the server said about the Node object.
pub(crate) type Looked = Result<Answer, Failure>;

/// What a look means for the machines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// The serving template, if it changed; `Some(None)` when there is nothing to ask for any more.
    pub(crate) template: Option<Option<Template>>,
    /// The server answered 401.
    pub(crate) is_refused: bool,
}

/// The addresses last seen, and when to look again.
pub(crate) struct AddressBook {
    look_at: Monotonic,
    looking: Option<BoxFuture<'static, Looked>>,
    /// With what the last look was made; `None` while there is nobody to look as.
    looked_as: Option<Access>,
    known: Option<Result<Template, NoTemplate>>,
    /// The names that were told to be left out.
    impossible: String,
    /// This host's own address, as found with the last look.
    detected: Arc<Mutex<Option<IpAddr>>>,
}

impl AddressBook {
    pub(crate) fn new(now: Monotonic) -> Self {
        Self {
            look_at: now,
            looking: None,
            looked_as: None,
            known: None,
            impossible: String::new(),
            detected: Arc::default(),
        }
    }

    /// Begins a look if it is time, or at once with a credential that has not looked yet.
    pub(crate) fn look(
        &mut self,
        client: &ApiClient,
        access: Option<Access>,
        node_name: &str,
        now: Monotonic,
    ) {
        let is_new = self.looked_as != access;
        self.looked_as.clone_from(&access);
        let Some(access) = access else {
            return;
        };
        if self.looking.is_some() || (now < self.look_at && !is_new) {
            return;
        }
        self.look_at = now + LOOK_INTERVAL;
        let client = client.clone();
        // A node name is a DNS name: nothing in it needs escaping.
        let path = format!("/api/v1/nodes/{node_name}");
        let name = node_name.to_owned();
        let detected = Arc::clone(&self.detected);
        self.looking = Some(
            async move {
                // A resolver may take its time; it has as long as the server.
                let detecting = tokio::task::spawn_blocking(move || host_address::detect(&name));
                let looked = client.get(&access, &path).await;
                let found = tokio::time::timeout(DETECT_MAX, detecting).await;
                let found = found.ok().and_then(Result::ok).flatten();
                *detected.lock().unwrap_or_else(PoisonError::into_inner) = found;
                looked
            }
            .boxed(),
        );
    }

    /// True while a look is under way, or none has ended yet.
    pub(crate) fn is_looking(&self) -> bool {
        self.looking.is_some()
    }

    /// The look under way, when it ends; never, if there is none. Cancel safe.
    pub(crate) async fn looked(&mut self) -> Looked {
        match &mut self.looking {
            Some(looking) => {
                let looked = looking.await;
                self.looking = None;
                looked
            }
            None => std::future::pending().await,
        }
    }

    /// How long until the next look; as long as may be when something else must happen first.
    pub(crate) fn nap(&self, now: Monotonic) -> Duration {
        if self.looking.is_some() || self.looked_as.is_none() {
            return NAP_MAX;
        }
        self.look_at.since(now)
    }

    /// Takes in what a look brought.
    pub(crate) fn take(&mut self, looked: Looked, config: &Config, now: Monotonic) -> News {
        let mut own = config.node_ips.clone();
        if own.is_empty() {
            own.extend(*self.detected.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let without_node = || identity::addresses_without_node(&config.node_name, &own);
        let addresses = match looked {
            Ok(answer) if identity::is_awaiting_cloud(&answer.object) => {
                return self.learn(Err(NoTemplate::AwaitingCloud));
            }
            Ok(answer) => {
                let addresses = identity::addresses_of(&answer.object);
                if addresses.is_empty() {
                    without_node()
                } else {
                    addresses
                }
            }
            // No such Node, or none that we may see: the node is what the command line says.
            Err(failure)
                if matches!(
                    failure.class,
                    FailureClass::NotFound | FailureClass::Forbidden
                ) =>
            {
                without_node()
            }
            Err(failure) => {
                tracing::debug!(error = %failure, "the Node object cannot be read now");
                self.look_at = now + LOOK_RETRY;
                return News {
                    template: None,
                    is_refused: failure.class == FailureClass::Unauthorized,
                };
            }
        };
        let template = identity::serving_template(&config.node_name, &addresses);
        let impossible = identity::impossible_names(&addresses).join(", ");
        if self.impossible != impossible {
            if !impossible.is_empty() {
                tracing::warn!(
                    manager = "serving",
                    "the Node object names {impossible}, which no certificate can hold: names in it are ASCII (an \
                     international one has a form that begins with xn--); the serving certificate is requested without it"
                );
            }
            self.impossible = impossible;
        }
        self.learn(template)
    }

    fn learn(&mut self, template: Result<Template, NoTemplate>) -> News {
        if self.known.as_ref() == Some(&template) {
            return News::default();
        }
        if let Err(reason) = &template {
            tracing::warn!(manager = "serving", %reason, "no serving certificate is requested yet");
        }
        self.known = Some(template.clone());
        News {
            template: Some(template.ok()),
            is_refused: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config() -> Config {
        let mut config = Config::for_node("n1", "/k".into(), "/d".into());
        config.node_ips = vec!["10.0.0.1".parse().expect("an address")];
        config
    }

    fn seconds(count: u64) -> Monotonic {
        Monotonic::from_origin(Duration::from_secs(count))
    }

    fn node(addresses: Value) -> Looked {
        Ok(Answer {
            object: json!({"status": {"addresses": addresses}}),
            server_time: None,
        })
    }

    fn failed(class: FailureClass) -> Looked {
        Err(Failure {
            class,
            message: String::new(),
            retry_after: None,
            server_time: None,
        })
    }

    /// The names and addresses of a template, in a line; `none`, and `same` for no news.
    fn shown(news: News) -> String {
        match news.template {
            None => "same".to_owned(),
            Some(None) => "none".to_owned(),
            Some(Some(template)) => {
                let ips = template.ip_addresses.iter().map(ToString::to_string);
                let all: Vec<_> = template.dns_names.iter().cloned().chain(ips).collect();
                all.join(" ")
            }
        }
    }

    #[test]
    fn without_node_ip_it_is_this_hosts_own_address() {
        let mut config = config();
        config.node_ips.clear();
        let mut book = AddressBook::new(seconds(0));
        let looked = || failed(FailureClass::NotFound);
        assert_eq!(shown(book.take(looked(), &config, seconds(0))), "none");
        *book.detected.lock().unwrap() = Some("10.0.0.9".parse().unwrap());
        assert_eq!(
            shown(book.take(looked(), &config, seconds(1))),
            "n1 10.0.0.9"
        );
    }

    #[test]
    fn what_the_server_says_about_the_node_decides() {
        let seven = json!([{"type": "InternalIP", "address": "10.0.0.7"}]);
        let cloudy = Ok(Answer {
            object: json!({
                "spec": {"taints": [{"key": "node.cloudprovider.kubernetes.io/uninitialized"}]},
                "status": {"addresses": seven.clone()},
            }),
            server_time: None,
        });
        let mut book = AddressBook::new(seconds(0));
        for (what, looked, expected) in [
            ("unknown so far", failed(FailureClass::Unreachable), "same"),
            ("no Node", failed(FailureClass::NotFound), "n1 10.0.0.1"),
            ("none we may see", failed(FailureClass::Forbidden), "same"),
            ("a Node without addresses", node(json!([])), "same"),
            ("a Node", node(seven.clone()), "10.0.0.7"),
            ("the same", node(seven.clone()), "same"),
            ("server away", failed(FailureClass::Unreachable), "same"),
            ("server broken", failed(FailureClass::ServerError), "same"),
            ("cloud provider at work", cloudy, "none"),
            ("a Node again", node(seven), "10.0.0.7"),
            (
                "a name alone",
                node(json!([{"type": "Hostname", "address": "h"}])),
                "none",
            ),
        ] {
            let news = book.take(looked, &config(), seconds(5));
            assert!(!news.is_refused, "{what}");
            assert_eq!(shown(news), expected, "{what}");
        }
        let news = book.take(failed(FailureClass::Unauthorized), &config(), seconds(5));
        assert!(news.is_refused);
    }

    #[tokio::test]
    async fn it_looks_once_a_minute_and_sooner_after_a_failure() {
        use crate::client::access::Identity;
        use crate::testing::{TestClock, with_token};
        let ca = crate::testing::Ca::new("ca");
        let cluster = crate::kubeconfig::Cluster {
            server: crate::kubeconfig::ServerUrl::parse("https://127.0.0.1:1").expect("a URL"),
            trust: ca.trust(),
            tls_server_name: None,
            proxy: None,
        };
        let kubeconfig = with_token(cluster, "t");
        let access = Access::from_kubeconfig(&kubeconfig, std::path::Path::new("k")).ok();
        let client = ApiClient::new(TestClock::new());
        let mut book = AddressBook::new(seconds(0));
        book.look(&client, None, "n1", seconds(0));
        assert!(!book.is_looking(), "nobody to look as");
        assert_eq!(
            book.nap(seconds(0)),
            NAP_MAX,
            "the time alone changes nothing"
        );
        book.look(&client, access.clone(), "n1", seconds(0));
        assert!(book.is_looking());
        assert_eq!(book.nap(seconds(0)), NAP_MAX);
        let looked = book.looked().await;
        assert!(!book.is_looking());
        book.take(looked, &config(), seconds(1));
        assert_eq!(book.nap(seconds(1)), LOOK_RETRY);
        book.look(&client, access.clone(), "n1", seconds(5));
        assert!(!book.is_looking(), "not yet");
        book.look(&client, access.clone(), "n1", seconds(11));
        assert!(book.is_looking());
        drop(book.looked().await);
        book.take(node(json!([])), &config(), seconds(12));
        assert_eq!(book.nap(seconds(12)), Duration::from_secs(59));
        let other = access.map(|access| access.with_identity(Identity::Anonymous));
        book.look(&client, other, "n1", seconds(12));
        assert!(book.is_looking(), "a new credential looks at once");
    }
}
