//! What the node is called and where it is reached, as its Node object says: looked up now and
//! then.
//!
//! Owns when to look and what follows from what was seen. A server that does not answer changes
//! nothing: the last known addresses stay.

use std::time::Duration;

use everleaf_pki::Template;
use everleaf_rotation::{Monotonic, NAP_MAX};
use futures_util::future::{BoxFuture, FutureExt};

use crate::client::access::Access;
use crate::client::{Answer, ApiClient, Failure, FailureClass};
use crate::config::Config;
use crate::identity::{self, NoTemplate};

/// Between two looks at the Node object.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// After a look that brought no answer.
const LOOK_RETRY: Duration = Duration::from_secs(10);

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
    known: Option<Result<Template, NoTemplate>>,
}

impl AddressBook {
    pub(crate) fn new(now: Monotonic) -> Self {
        Self {
            look_at: now,
            looking: None,
            known: None,
        }
    }

    /// The next turn looks, whenever the last look was.
    pub(crate) fn look_soon(&mut self) {
        self.look_at = Monotonic::default();
    }

    /// Begins a look if it is time and there is a credential to look with.
    pub(crate) fn look(
        &mut self,
        client: &ApiClient,
        access: Option<Access>,
        node_name: &str,
        now: Monotonic,
    ) {
        let Some(access) = access else {
            return;
        };
        if self.looking.is_some() || now < self.look_at {
            return;
        }
        self.look_at = now.plus(LOOK_INTERVAL);
        let client = client.clone();
        // A node name is a DNS name: nothing in it needs escaping.
        let path = format!("/api/v1/nodes/{node_name}");
        self.looking = Some(async move { client.get(&access, &path).await }.boxed());
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

    /// How long until the next look.
    pub(crate) fn nap(&self, now: Monotonic) -> Duration {
        if self.looking.is_some() {
            return NAP_MAX;
        }
        self.look_at.since(now)
    }

    /// Takes in what a look brought.
    pub(crate) fn take(&mut self, looked: Looked, config: &Config, now: Monotonic) -> News {
        let without_node = || identity::addresses_without_node(&config.node_name, &config.node_ips);
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
                self.look_at = now.plus(LOOK_RETRY);
                return News {
                    template: None,
                    is_refused: failure.class == FailureClass::Unauthorized,
                };
            }
        };
        self.learn(identity::serving_template(&config.node_name, &addresses))
    }

    fn learn(&mut self, template: Result<Template, NoTemplate>) -> News {
        if self.known.as_ref() == Some(&template) {
            return News::default();
        }
        if let Err(reason) = &template {
            tracing::info!(manager = "serving", %reason, "no serving certificate is requested yet");
        }
        self.known = Some(template.clone());
        News {
            template: Some(template.ok()),
            is_refused: false,
        }
    }
}
