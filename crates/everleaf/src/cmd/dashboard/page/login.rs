//! The door of the dashboard at `/ui`: a form for a token, and who may not come in.

use super::super::site::Site;
use super::{bare, said};
use maud::html;

/// A form for a token; `why` the last one, or the certificate, was not accepted.
pub(in super::super) fn show(site: &Site, why: Option<&str>) -> String {
    let content = html! {
        @if let Some(why) = why { p.failed role="alert" { "✕ " (said(why)) } }
        p { "Whoever may list and watch certificate signing requests may look. A browser that shows a client certificate of this cluster needs nothing else." }
        form.login method="post" action=(site.at("/login")) {
            label { "Bearer token "
                input #token type="password" name="token" required autocomplete="off" autofocus spellcheck="false"; }
            button #enter type="submit" { "Log in" }
        }
        p.soft { "Such as a service account's: " code { "kubectl create token NAME" } ". It stays in the memory of the server until you log out, at most 8 hours." }
    };
    bare(site, "Log in", &content)
}

/// Who they are, and which right they lack.
pub(in super::super) fn forbidden(site: &Site, user: &str, why: &str, is_machine: bool) -> String {
    let content = html! {
        p.big { "You are " strong { (said(user)) } ", who may not look." }
        p.failed role="alert" { "✕ " (said(why)) }
        @if !is_machine {
        p { "The dashboard is for who may list and watch certificatesigningrequests. Somebody who may give rights can let you in with a ClusterRoleBinding to a "
            "role that has them, such as " code { "view-requests" } ":" }
        pre { code {
            "kubectl create clusterrole view-requests --verb=get,list,watch --resource=certificatesigningrequests,nodes\n"
            "kubectl create clusterrolebinding view-requests-of-… --clusterrole=view-requests --user=…"
        } }
        }
        p { "With a token of another user you are that one: " a #login href=(site.at("/login")) { "log in" } "." }
    };
    bare(site, "You may not look", &content)
}
