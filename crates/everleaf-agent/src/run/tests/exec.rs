//! Credentials that a command gives out, for bootstrap and as the kubeconfig's own.

use super::World;
use super::serving::serving;
use crate::config::Bootstrap;
use crate::kubeconfig::{ExecPlugin, ExecVersion, Kubeconfig, User};
use crate::secret::Secret;
use crate::testing::api::SERVING_SIGNER;
use everleaf_rotation::Notice;
use std::sync::{Arc, Mutex};

/// A kubeconfig with a plugin that gives out `stale` once, and `token` from then on.
fn with_plugin(world: &World) -> Kubeconfig {
    let script = format!(
        "cd {}; token=stale; test -e called && token=token; touch called\n\
         echo '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\
         \"status\":{{\"token\":\"'$token'\"}}}}'",
        world.home.path().display()
    );
    let plugin = ExecPlugin {
        version: ExecVersion::V1,
        command: "sh".into(),
        args: vec![Secret::new("-c".to_owned()), Secret::new(script)],
        env: vec![],
        install_hint: None,
        cluster_config: None,
    };
    Kubeconfig {
        cluster: world.server.cluster(&world.api.ca),
        user: User {
            exec: Some(plugin),
            ..User::default()
        },
    }
}

#[tokio::test]
async fn a_plugin_bootstraps_and_is_called_again_when_refused() {
    let world = World::new().await;
    let mut config = world.config();
    config.bootstrap = Some(Bootstrap::InMemory(Arc::new(Mutex::new(with_plugin(
        &world,
    )))));
    let mut agent = world.start(config);
    let told = agent.until_accepted().await;
    agent.stop().await;
    let refused = |notice: &Notice| matches!(notice, Notice::CredentialRefused { .. });
    assert!(!told.iter().any(refused), "{told:#?}");
    let tokens: Vec<_> = world.creates().into_iter().map(|seen| seen.token).collect();
    assert_eq!(tokens.last().unwrap().as_deref(), Some("token"));
    let first = &world.server.requests()[0];
    assert_eq!(first.token.as_deref(), Some("stale"));
    assert_eq!(world.api.requests().len(), 1);
}

#[tokio::test]
async fn a_kubeconfig_with_a_plugin_holds_a_credential_of_its_own() {
    let world = World::new().await;
    let approves = |signer| world.api.state.lock().unwrap().approves.insert(signer);
    approves(SERVING_SIGNER);
    // Written by hand: it is read back from the file.
    let script = with_plugin(&world).user.exec.unwrap().args[1].clone();
    let text = format!(
        "users: [{{name: default-auth, user: {{exec: {{command: sh, apiVersion: \
         client.authentication.k8s.io/v1, interactiveMode: IfAvailable, args: [-c, {}]}}}}}}]\n",
        serde_json::Value::from(script.expose())
    );
    let file = Kubeconfig {
        user: User::default(),
        ..with_plugin(&world)
    };
    let yaml = file.to_yaml(&crate::kubeconfig::Names::BOOTSTRAP);
    let (head, _) = yaml.split_once("users:").unwrap();
    std::fs::write(world.kubeconfig(), format!("{head}{text}")).unwrap();
    let mut config = serving(&world);
    config.client = false;
    config.bootstrap = None;
    let mut agent = world.start(config);
    agent
        .until(|id, n| !id.renews_itself() && matches!(n, Notice::Installed { .. }))
        .await;
    agent.stop().await;
    let tokens: Vec<_> = world.creates().into_iter().map(|seen| seen.token).collect();
    assert_eq!(tokens, [Some("token".to_owned())]);
}
