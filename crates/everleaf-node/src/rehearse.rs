//! `everleaf agent rehearse`: whether this node would renew, tried out.
//!
//! The steps are [`everleaf_agent::rehearsal`]'s; here is how they are told.

use crate::args::agent::{DocumentForm, RehearseArgs};
use crate::join::KUBECONFIG;
use crate::print;
use anyhow::{Context, Result};
use everleaf_agent::SystemClock;
use everleaf_agent::rehearsal::{Plan, Rehearsal, Step, rehearse as take_steps};
use everleaf_pki::KeyAlgorithm;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;

/// Rehearses, and says how to exit.
pub(crate) fn rehearse(args: &RehearseArgs) -> Result<ExitCode> {
    let of_data_dir = args.data_dir.as_ref().map(|root| root.join(KUBECONFIG));
    let kubeconfig = of_data_dir.or_else(|| args.kubeconfig.clone());
    let kubeconfig = kubeconfig.context("neither --kubeconfig nor --data-dir is given")?;
    let plan = Plan {
        kubeconfig: std::path::absolute(&kubeconfig)
            .with_context(|| kubeconfig.display().to_string())?,
        key: args
            .client_certificate_key_algorithm
            .unwrap_or(KeyAlgorithm::EcdsaP256),
        patience: args.timeout,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let is_told = args.output.is_none();
    let tell = |step: &Step| {
        if is_told {
            print::line(&print::harmless_line(&line(step)));
        }
    };
    let rehearsal = runtime.block_on(take_steps(&plan, Arc::new(SystemClock::new()), tell));
    match args.output {
        None => print::answer(&end(&rehearsal))?,
        Some(DocumentForm::Json) => print::json(&document(&rehearsal))?,
        Some(DocumentForm::Yaml) => print::yaml(&document(&rehearsal))?,
    }
    Ok(match rehearsal.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn line(step: &Step) -> String {
    let (mark, words) = match &step.result {
        Ok(words) => ("ok", words),
        Err(words) => ("failed", words),
    };
    let took = format!("{} ms", step.took.as_millis());
    format!("{mark:<7} {:<12} {took:>9}  {words}", step.kind.as_str())
}

fn end(rehearsal: &Rehearsal) -> String {
    let node = rehearsal.node.as_deref().unwrap_or("this machine");
    match rehearsal.is_good() {
        true => format!("Node {node} would renew its client certificate. The key is forgotten."),
        false => format!("{node} would not renew its client certificate: see what failed above."),
    }
}

fn document(rehearsal: &Rehearsal) -> Value {
    let step = |step: &Step| {
        let (is_ok, words) = match &step.result {
            Ok(words) => (true, words),
            Err(words) => (false, words),
        };
        json!({
            "step": step.kind.as_str(),
            "ok": is_ok,
            "message": words,
            "milliseconds": u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
        })
    };
    json!({
        "node": rehearsal.node,
        "request": rehearsal.request,
        "wouldRenew": rehearsal.is_good(),
        "steps": rehearsal.steps.iter().map(step).collect::<Vec<_>>(),
    })
}
