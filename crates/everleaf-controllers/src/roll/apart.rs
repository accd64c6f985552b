//! A cluster whose files are other people's: what a roll wants to see of it before it goes on, and
//! what somebody has to do so that it is seen.
//!
//! Owns every reason to wait for such a cluster, in words. It refuses to know how anything is
//! looked at. Pins name CAs here.

use super::{Authority, Ended, Phase, Roll};
use std::collections::BTreeSet;

/// What a roll, or one that is over, wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Everybody believes these.
    trusted: Vec<&'a Authority>,
    /// Nobody believes this one any more.
    gone: Option<&'a Authority>,
    /// The API servers' certificates are of this one, while a roll is under way.
    serves: Option<&'a Authority>,
    /// The other of the two vouches for it: a certificate that goes along says so.
    is_linked: bool,
    /// Requests are signed by this one.
    signs: Option<&'a Authority>,
}

impl<'a> Wanted<'a> {
    /// None where there never was a roll.
    pub fn of(roll: Option<&'a Roll>, ended: Option<&'a Ended>) -> Option<Self> {
        let Some(roll) = roll else {
            return ended.map(|ended| Self {
                trusted: vec![&ended.stays],
                gone: Some(&ended.dropped),
                serves: None,
                is_linked: false,
                signs: None,
            });
        };
        let is_renewing = roll.phase == Phase::Renew;
        Some(Self {
            trusted: roll.trusted().to_vec(),
            gone: None,
            serves: is_renewing.then_some(&roll.to),
            is_linked: is_renewing,
            signs: is_renewing.then_some(&roll.to),
        })
    }

    /// The CA of which a new certificate has to be, if that matters.
    pub fn signs(&self) -> Option<&'a Authority> {
        self.signs
    }
}

/// What an API server shows to whoever connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// `HOST:PORT`.
    pub address: String,
    /// Why nothing is seen of it.
    pub trouble: Option<String>,
    /// The CAs of clients that it names in the handshake; none where it names none at all.
    pub accepts: Option<BTreeSet<String>>,
    /// The CA that its certificate is of; empty where that is none of those we know.
    pub served_by: String,
    /// Whether a certificate goes along by which the other CA vouches for that one.
    pub has_link: bool,
}

/// What was seen of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Each API server.
    pub servers: Vec<Server>,
    /// CAs of the ConfigMap `kube-system/extension-apiserver-authentication`; none where there is
    /// no such object.
    pub clients: Option<BTreeSet<String>>,
    /// CAs of the ConfigMap `kube-system/kube-root-ca.crt`; none where there is no such object.
    pub pods: Option<BTreeSet<String>>,
    /// CAs of the ConfigMap `kube-public/cluster-info`; none where there is no such object.
    pub new_nodes: Option<BTreeSet<String>>,
    /// CAs of our own kubeconfig; none where it trusts others.
    pub kubeconfig: Option<BTreeSet<String>>,
}

/// Where what is to be put in place lies, as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The CAs to trust.
    pub bundle: String,
    /// The API servers' certificate, with the link behind it.
    pub serving_certificate: String,
    /// Its key.
    pub serving_key: String,
    /// The CA that signs, alone.
    pub signer_certificate: String,
    /// Its key.
    pub signer_key: String,
    /// The kubeconfig with which all this is looked at.
    pub kubeconfig: String,
}

/// Something that is not as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What is seen instead.
    pub what: String,
    /// What helps.
    pub remedy: String,
}

/// All that is not as it is wanted, but for who signs: that is asked when nothing else is left.
pub fn lacks(wanted: &Wanted<'_>, seen: &Seen, files: &Files) -> Vec<Lack> {
    let mut lacks = Vec::new();
    for server in &seen.servers {
        of_server(wanted, server, files, &mut lacks);
    }
    let bundle = &files.bundle;
    let places = [
        (
            &seen.clients,
            "the ConfigMap kube-system/extension-apiserver-authentication",
            format!(
                "an API server writes there what its --client-ca-file holds, within a minute: put {bundle} into that file on each of them"
            ),
        ),
        (
            &seen.pods,
            "the ConfigMap kube-root-ca.crt, by which pods know the API server,",
            format!(
                "put {bundle} into --root-ca-file of the controllers; kube-controller-manager reads it only when it starts: restart it"
            ),
        ),
        (
            &seen.new_nodes,
            "the ConfigMap kube-public/cluster-info, by which new nodes know the API server,",
            format!(
                "it is written in a way that is not changed by itself: put {bundle}, base64, into its kubeconfig as certificate-authority-data"
            ),
        ),
        (
            &seen.kubeconfig,
            "the kubeconfig of this command",
            format!(
                "put {bundle}, base64, into {} as certificate-authority-data",
                files.kubeconfig
            ),
        ),
    ];
    for (pins, place, remedy) in places {
        lacks.extend(pins.as_ref().and_then(|pins| {
            let what = of_place(wanted, pins, place)?;
            Some(Lack { what, remedy })
        }));
    }
    lacks
}

/// What is wrong with a list of CAs.
fn of_place(wanted: &Wanted<'_>, pins: &BTreeSet<String>, place: &str) -> Option<String> {
    let missing = wanted.trusted.iter().find(|one| !pins.contains(&one.pin));
    if let Some(one) = missing {
        return Some(format!("{place} does not name {} yet", one.subject));
    }
    let gone = wanted.gone.filter(|one| pins.contains(&one.pin))?;
    Some(format!("{place} still names {}", gone.subject))
}

fn of_server(wanted: &Wanted<'_>, server: &Server, files: &Files, lacks: &mut Vec<Lack>) {
    let address = &server.address;
    let mut add = |what: String, remedy: String| lacks.push(Lack { what, remedy });
    if let Some(trouble) = &server.trouble {
        add(
            format!("nothing is seen of the API server {address}: {trouble}"),
            "it has to be reached from here; it is looked at again every few seconds".to_owned(),
        );
        return;
    }
    let believes = format!("the API server {address}, to those who connect,");
    let what = server.accepts.as_ref();
    if let Some(what) = what.and_then(|pins| of_place(wanted, pins, &believes)) {
        add(
            what,
            format!(
                "put {} into the file of its --client-ca-file; kube-apiserver reads it again within a minute",
                files.bundle
            ),
        );
    }
    let Some(serves) = wanted.serves else {
        return;
    };
    let remedy = format!(
        "put {} and {} into the files of its --tls-cert-file and --tls-private-key-file, the key first; kube-apiserver reads them again within a minute",
        files.serving_certificate, files.serving_key
    );
    if server.served_by != serves.pin {
        let what = format!(
            "the certificate of the API server {address} is not of {} yet",
            serves.subject
        );
        add(what, remedy);
    } else if wanted.is_linked && !server.has_link {
        let what = format!(
            "the API server {address} does not send the certificate along by which whoever knows the other CA alone believes {}",
            serves.subject
        );
        add(what, remedy);
    }
}

/// Nothing new is signed by this CA yet; `seen` says what was seen instead.
pub fn unsigned(by: &Authority, seen: &str, files: &Files) -> Lack {
    Lack {
        what: format!("{} does not sign yet: {seen}", by.subject),
        remedy: format!(
            "put {} and {} into the files of --cluster-signing-cert-file and --cluster-signing-key-file of every controller manager, the key first; they \
             are read again within a minute",
            files.signer_certificate, files.signer_key
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roll::Start;

    fn authority(name: &str) -> Authority {
        Authority {
            subject: format!("CN={name}"),
            pin: name.to_owned(),
            key_id: name.to_owned(),
        }
    }

    fn roll(phase: Phase) -> Roll {
        let start = Start {
            per_minute: 60,
            may_finish: false,
        };
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        let roll = Roll::begin(authority("old"), authority("new"), start, now);
        Roll { phase, ..roll }
    }

    fn pins(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn seen(trusted: &[&str], served_by: &str, has_link: bool) -> Seen {
        Seen {
            servers: vec![Server {
                address: "h:1".to_owned(),
                accepts: Some(pins(trusted)),
                served_by: served_by.to_owned(),
                has_link,
                trouble: None,
            }],
            clients: Some(pins(trusted)),
            pods: Some(pins(trusted)),
            new_nodes: Some(pins(trusted)),
            kubeconfig: Some(pins(trusted)),
        }
    }

    fn told(wanted: &Wanted<'_>, seen: &Seen) -> Vec<String> {
        let files = Files {
            bundle: "BUNDLE".to_owned(),
            ..Files::default()
        };
        let lacks = lacks(wanted, seen, &files).into_iter();
        lacks.map(|lack| lack.what).collect()
    }

    #[test]
    fn before_anybody_relies_on_the_new_ca_every_place_has_to_name_both() {
        let roll = roll(Phase::Publish);
        let wanted = Wanted::of(Some(&roll), None).unwrap();
        assert_eq!(wanted.signs(), None);
        assert_eq!(told(&wanted, &seen(&["old", "new"], "old", false)), [""; 0]);
        let all = told(&wanted, &seen(&["old"], "old", false));
        assert_eq!(all.len(), 5, "{all:?}");
        assert!(
            all.iter().all(|what| what.contains("CN=new yet")),
            "{all:?}"
        );
        // Each place counts, alone.
        for place in 0..5 {
            let mut one = seen(&["old", "new", "other"], "old", false);
            let old = Some(pins(&["old"]));
            match place {
                0 => one.servers[0].accepts = old,
                1 => one.clients = old,
                2 => one.pods = old,
                3 => one.new_nodes = old,
                _ => one.kubeconfig = old,
            }
            assert_eq!(told(&wanted, &one).len(), 1, "{place}");
        }
        let mut hidden = seen(&["old", "new"], "old", false);
        hidden.servers[0].trouble = Some("refused".to_owned());
        assert!(told(&wanted, &hidden)[0].contains("h:1: refused"));
        // What is not there wants nothing.
        assert_eq!(told(&wanted, &Seen::default()), [""; 0]);
    }

    #[test]
    fn the_new_ca_has_to_serve_with_the_link_before_nodes_renew() {
        let roll = roll(Phase::Renew);
        let wanted = Wanted::of(Some(&roll), None).unwrap();
        assert_eq!(wanted.signs(), Some(&roll.to));
        let both = ["old", "new"];
        assert_eq!(told(&wanted, &seen(&both, "new", true)), [""; 0]);
        let late = told(&wanted, &seen(&both, "old", false));
        assert!(late[0].contains("h:1 is not of CN=new yet"), "{late:?}");
        let unlinked = told(&wanted, &seen(&both, "new", false));
        assert!(unlinked[0].contains("does not send"), "{unlinked:?}");
        let lack = unsigned(&roll.to, "nothing was issued", &Files::default());
        assert!(lack.what.contains("CN=new does not sign yet: nothing"));
    }

    #[test]
    fn once_it_is_over_nobody_names_the_ca_that_went() {
        assert_eq!(Wanted::of(None, None), None);
        let ended = Ended {
            at: "2030-01-01T00:00:00Z".parse().unwrap(),
            stays: authority("new"),
            dropped: authority("old"),
        };
        let wanted = Wanted::of(None, Some(&ended)).unwrap();
        assert_eq!(told(&wanted, &seen(&["new"], "", false)), [""; 0]);
        let left = told(&wanted, &seen(&["old", "new"], "", false));
        assert_eq!(left.len(), 5, "{left:?}");
        assert!(left.iter().all(|what| what.contains("still names CN=old")));
    }
}
