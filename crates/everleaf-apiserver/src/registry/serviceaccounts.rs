//! ServiceAccounts.
use super::Descriptor;
use everleaf_api::types;

/// ServiceAccounts.
pub static SERVICE_ACCOUNTS: Descriptor = Descriptor {
    short_names: &["sa"],
    returns_deleted: true,
    ..Descriptor::namespaced(&types::SERVICE_ACCOUNT, "serviceaccounts", "serviceaccount")
};
