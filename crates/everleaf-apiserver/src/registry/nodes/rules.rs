//! What a node may say (`pkg/registry/core/node/strategy.go`,
//! `pkg/apis/core/validation/validation.go`).

use super::super::{Context, Strategy, names};
use crate::read;
use everleaf_api::fields::{ERRORS_SHOWN_MAX, FieldError, quote};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What a taint may do to pods.
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) struct NodeStrategy;

impl Strategy for NodeStrategy {
    fn default(&self, object: &mut Value) {
        fill(object);
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        drop_unused(object, &Value::Null);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_taints(object, &mut errors);
        validate_quantities(object, &mut errors);
        validate_swap(object, &mut errors);
        validate_cidrs(object, &mut errors);
        errors
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, context: &Context<'_>) {
        let kept = if context.subresource == "status" {
            "spec"
        } else {
            "status"
        };
        new[kept] = match &old[kept] {
            Value::Null => json!({}),
            present => present.clone(),
        };
        drop_unused(new, old);
    }

    fn validate_update(&self, new: &Value, old: &Value, context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_taints(new, &mut errors);
        validate_quantities(new, &mut errors);
        if context.subresource.is_empty() {
            validate_swap(new, &mut errors);
            validate_cidrs(new, &mut errors);
        }
        validate_addresses(new, &mut errors);
        validate_constants(new, old, &mut errors);
        errors
    }

    fn warnings(&self, node: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if !node["spec"]["configSource"].is_null() {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if !read::text(node, "/spec/externalID").is_empty() {
            let text = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
            warnings.push(text.to_owned());
        }
        warnings
    }
}

/// What an unset member means (`pkg/apis/core/v1/{defaults,conversion}.go`): pods may use all there
/// is; one range for pods is the first of all, and whoever knows only the one means no other.
fn fill(node: &mut Value) {
    let capacity = node["status"]["capacity"].clone();
    if !capacity.is_null() && node["status"]["allocatable"].is_null() {
        node["status"]["allocatable"] = capacity;
    }
    let Some(spec) = node.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let first = spec.get("podCIDRs").and_then(|ranges| ranges.get(0));
    let first = first.cloned().unwrap_or_default();
    match spec.get("podCIDR").filter(|one| !read::is_empty(Some(one))) {
        Some(one) if *one != first => {
            let ranges = json!([one]);
            spec.insert("podCIDRs".to_owned(), ranges);
        }
        None if !first.is_null() => {
            spec.insert("podCIDR".to_owned(), first);
        }
        _ => {}
    }
}

/// Drops what nothing uses any more, or not yet; what `old` has, may stay.
fn drop_unused(new: &mut Value, old: &Value) {
    for (part, member) in [
        ("spec", "configSource"),
        ("spec", "podPreemptionPolicy"),
        ("status", "config"),
    ] {
        if old[part][member].is_null()
            && let Some(members) = new.get_mut(part).and_then(Value::as_object_mut)
        {
            members.remove(member);
        }
    }
}

/// Kubernetes says `metadata` for where the taints are.
fn validate_taints(node: &Value, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, taint) in read::items(node, "/spec/taints").iter().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            return;
        }
        let path = format!("metadata.taints[{index}]");
        let (key, effect) = (read::text(taint, "/key"), read::text(taint, "/effect"));
        if let Err(text) = names::qualified(key) {
            errors.push(FieldError::invalid(
                &format!("{path}.key"),
                &quote(key),
                &text,
            ));
        }
        let value = read::text(taint, "/value");
        if !value.is_empty()
            && let Err(text) = names::qualified_part(value)
        {
            errors.push(FieldError::invalid(
                &format!("{path}.value"),
                &quote(value),
                &text,
            ));
        }
        let effect_path = format!("{path}.effect");
        if effect.is_empty() {
            errors.push(FieldError::required(&effect_path, ""));
        } else if !EFFECTS.contains(&effect) {
            errors.push(FieldError::not_supported(
                &effect_path,
                &quote(effect),
                &EFFECTS,
            ));
        }
        if !seen.insert((effect, key)) {
            errors.push(FieldError::duplicate(&path, &taint.to_string()));
        }
    }
}

fn validate_quantities(node: &Value, errors: &mut Vec<FieldError>) {
    for member in ["capacity", "allocatable"] {
        let quantities = node["status"][member].as_object();
        for (name, quantity) in quantities.into_iter().flatten() {
            if errors.len() > ERRORS_SHOWN_MAX {
                return;
            }
            let text = quantity.as_str().unwrap_or_default();
            if is_negative(text) {
                let path = format!("status.{member}.{name}");
                let detail = "must be greater than or equal to 0";
                errors.push(FieldError::invalid(&path, &quote(text), detail));
            }
        }
    }
}

fn validate_swap(node: &Value, errors: &mut Vec<FieldError>) {
    let swap = node.pointer("/status/nodeInfo/swap/capacity");
    if let Some(bytes) = swap.and_then(Value::as_i64).filter(|bytes| *bytes <= 0) {
        let path = "metadata.nodeSwapStatus.capacity";
        let detail = "must be greater than zero";
        errors.push(FieldError::invalid(path, &bytes.to_string(), detail));
    }
}

fn is_negative(quantity: &str) -> bool {
    let digits = quantity.strip_prefix('-').unwrap_or_default();
    let number = digits
        .split(|c: char| c != '.' && !c.is_ascii_digit())
        .next();
    number.is_some_and(|number| number.bytes().any(|digit| matches!(digit, b'1'..=b'9')))
}

fn validate_cidrs(node: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.podCIDRs";
    let ranges = read::texts(node, "/spec/podCIDRs");
    let mut families = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            return;
        }
        match read_cidr(range) {
            Ok(is_v6) => families.push(is_v6),
            Err(detail) => {
                let path = format!("{path}[{index}]");
                errors.push(FieldError::invalid(&path, &quote(range), detail));
            }
        }
    }
    let fits = match families[..] {
        [one, other] => one != other,
        _ => ranges.len() < 2,
    };
    if !fits {
        let value = Value::from(ranges).to_string();
        let detail = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(path, &value, detail));
    }
}

/// Whether a range is of IPv6, or why it is no range (`apimachinery/pkg/util/validation/ip.go`,
/// strict).
fn read_cidr(text: &str) -> Result<bool, &'static str> {
    const INVALID: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let (address, length) = text.split_once('/').ok_or(INVALID)?;
    let address: IpAddr = address.parse().map_err(|_| INVALID)?;
    let bits: u32 = length.parse().map_err(|_| INVALID)?;
    if bits.to_string() != length {
        return Err("must not have leading 0s in IP or prefix length");
    }
    let (value, size): (u128, u32) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            return Err("must not have an IPv4-mapped IPv6 address");
        }
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let host_bits = size.checked_sub(bits).ok_or(INVALID)?;
    let host = 1u128.checked_shl(host_bits).unwrap_or(0).wrapping_sub(1);
    if value & host != 0 {
        return Err("must not have bits set beyond the prefix length");
    }
    Ok(address.is_ipv6())
}

fn validate_addresses(node: &Value, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, address) in read::items(node, "/status/addresses").iter().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            return;
        }
        if !seen.insert((
            read::text(address, "/type"),
            read::text(address, "/address"),
        )) {
            let path = format!("status.addresses[{index}]");
            errors.push(FieldError::duplicate(&path, &address.to_string()));
        }
    }
}

/// What may be set once and then stays.
fn validate_constants(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (was, is) = (
        read::items(old, "/spec/podCIDRs"),
        read::items(new, "/spec/podCIDRs"),
    );
    if !was.is_empty() && was != is {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.podCIDRs", detail));
    }
    let (was, is) = (
        read::text(old, "/spec/providerID"),
        read::text(new, "/spec/providerID"),
    );
    if !was.is_empty() && was != is {
        let detail = match is {
            "" => "field cannot be cleared once set",
            _ => "field cannot be modified once set",
        };
        errors.push(FieldError::invalid("spec.providerID", "null", detail));
    }
    if read::text(old, "/spec/externalID") != read::text(new, "/spec/externalID") {
        errors.push(FieldError::forbidden(
            "spec.externalID",
            "may not be updated",
        ));
    }
}

#[cfg(test)]
mod tests;
