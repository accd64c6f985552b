//! Says what profiles mean, without a server.

use crate::args::agent::AgentArgs;
use crate::config::refusal;
use crate::failure::UsageError;
use crate::print;
use anyhow::{Context, Result};
use everleaf_agent::{Environment, Profile, ProfileFiles, read_profiles};
use std::fmt::Write as _;
use std::process::ExitCode;

/// Reads the profiles and prints what each is for.
///
/// # Errors
/// Everything that is wrong with any of them.
pub(crate) fn check(args: &AgentArgs) -> Result<ExitCode> {
    if args.profile.is_empty() && args.profile_dir.is_none() {
        let text = "--check-profiles needs --profile FILE or --profile-dir DIR";
        return Err(UsageError(text.to_owned()).into());
    }
    let environment = Environment::of_this_host().context("cannot look at this host")?;
    let given = args.hostname_override.as_ref();
    let name = given.unwrap_or(&environment.hostname).to_lowercase();
    let files = ProfileFiles {
        files: args.profile.clone(),
        directory: args.profile_dir.clone(),
    };
    let profiles = read_profiles(&files, name.trim());
    let profiles = profiles.map_err(|problems| refusal(&problems))?;
    if profiles.is_empty() {
        print::answer("there is no profile")?;
        return Ok(ExitCode::SUCCESS);
    }
    let text: String = profiles.iter().map(described).collect();
    print::answer(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn described(profile: &Profile) -> String {
    let template = &profile.template;
    let mut text = format!("{}: from {}\n", profile.name, profile.signer_name);
    let mut names: Vec<String> = Vec::new();
    if !template.subject.common_name.is_empty() {
        names.push(template.subject.common_name.clone());
    }
    names.extend(template.dns_names.iter().cloned());
    names.extend(template.ip_addresses.iter().map(ToString::to_string));
    names.extend(template.uris.iter().cloned());
    let usages: Vec<&str> = profile.usages.iter().map(|usage| usage.as_str()).collect();
    // Writing to a text never fails.
    let _ = writeln!(text, "  for    {}", names.join(", "));
    let _ = writeln!(text, "  usages {}; key {}", usages.join(", "), profile.key);
    for path in profile
        .outputs
        .iter()
        .flat_map(|output| output.form.paths())
    {
        let _ = writeln!(text, "  file   {}", path.display());
    }
    if let Some(action) = &profile.after {
        let _ = writeln!(text, "  then   {action}");
    }
    text
}
