//! `cargo xtask book`: mdBook from crates.io makes pages of `docs/`, and every link of what it made
//! is followed. Files of the repository that pages point to go along, below `files`.
//!
//! mdBook itself checks no link; `tidy` checks those of the sources, this those that a reader gets.

use crate::tidy::workspace_root;
use crate::{cache, say};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const MDBOOK: &str = "0.5.4";
/// Without the server and the watcher, which a build does not need.
const FEATURES: [&str; 3] = ["--no-default-features", "--features", "search"];
/// Where the repository's files lie in the book.
const FILES: &str = "files";

/// No arguments.
pub(crate) fn run(args: &[String]) -> Result<()> {
    ensure!(args.is_empty(), "it takes no arguments");
    let root = workspace_root();
    let forgotten = forgotten(&root.join("docs"))?;
    ensure!(
        forgotten.is_empty(),
        "docs/SUMMARY.md does not list {}",
        forgotten.join(", ")
    );
    let book = crate::e2e::target_directory()?.join("book");
    if book.exists() {
        fs::remove_dir_all(&book).with_context(|| format!("empty {}", book.display()))?;
    }
    let mdbook = cache::cargo_program("mdbook", MDBOOK, &FEATURES)?;
    let into = book.to_string_lossy().into_owned();
    let program = mdbook.to_string_lossy();
    cache::sh(&root, &program, &["build", "--dest-dir", &into, "docs"])?;
    fs::remove_file(book.join("book.toml")).context("mdBook copies its settings no more")?;
    let mut pages = read(&book)?;
    for (page, html) in &mut pages {
        if let Some(changed) = bring(&root, &book, html)? {
            fs::write(book.join(page), &changed)?;
            *html = changed;
        }
    }
    let dead = dead(&pages, &|path| book.join(path).is_file());
    if !dead.is_empty() {
        bail!("links that lead nowhere:\n{}", dead.join("\n"));
    }
    say(&format!(
        "{} pages, every link checked: {}",
        pages.len(),
        book.join("index.html").display()
    ));
    Ok(())
}

/// Pages that the table of contents lacks.
fn forgotten(docs: &Path) -> Result<Vec<String>> {
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).context("read docs/SUMMARY.md")?;
    let mut names = Vec::new();
    for entry in fs::read_dir(docs)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_page = name.ends_with(".md") && name != "SUMMARY.md";
        if is_page && !summary.contains(&format!("]({name})")) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The pages by name.
fn read(book: &Path) -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(book)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".html") {
            let html = fs::read_to_string(book.join(&name))?;
            pages.insert(name, html);
        }
    }
    Ok(pages)
}

/// Copies what a page points to outside of the book, and points there; None: nothing.
fn bring(root: &Path, book: &Path, html: &str) -> Result<Option<String>> {
    let outside: BTreeSet<&str> = values(html, "href")
        .filter(|link| link.starts_with("../"))
        .collect();
    let mut changed = html.to_owned();
    for link in &outside {
        let path = link.trim_start_matches("../");
        let path = path.split('#').next().unwrap_or_default();
        // mdBook takes every Markdown file for one of its pages.
        let found = [path.to_owned(), path.replace(".html", ".md")]
            .into_iter()
            .find(|path| root.join(path).is_file())
            .with_context(|| format!("{link}: the repository has no such file"))?;
        let to = book.join(FILES).join(&found);
        fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
        fs::copy(root.join(&found), &to).with_context(|| format!("copy {found}"))?;
        let old = format!("href=\"{link}\"");
        changed = changed.replace(&old, &format!("href=\"{FILES}/{found}\""));
    }
    Ok((!outside.is_empty()).then_some(changed))
}

/// Links of pages that lead to no file or anchor of the book.
fn dead(pages: &BTreeMap<String, String>, is_file: &dyn Fn(&str) -> bool) -> Vec<String> {
    let anchors: BTreeMap<&str, BTreeSet<&str>> = pages
        .iter()
        .map(|(page, html)| (page.as_str(), values(html, "id").collect()))
        .collect();
    let mut dead = Vec::new();
    for (page, html) in pages {
        for link in values(html, "href").chain(values(html, "src")) {
            let is_elsewhere = ["https:", "http:", "mailto:", "data:"]
                .iter()
                .any(|scheme| link.starts_with(scheme));
            // The page for what is not found stands below every address: mdBook roots its links.
            if is_elsewhere || link.is_empty() || page == "404.html" {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if path.is_empty() { page } else { path };
            let is_anchor = anchor.is_empty()
                || anchors
                    .get(path)
                    .is_some_and(|known| known.contains(anchor));
            if !is_file(path) || !is_anchor {
                dead.push(format!("{page}: {link}"));
            }
        }
    }
    dead.sort();
    dead.dedup();
    dead
}

/// The values of an attribute, in order.
fn values<'a>(html: &'a str, attribute: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!(" {attribute}=\"");
    let parts: Vec<&str> = html.split(begin.as_str()).skip(1).collect();
    parts.into_iter().filter_map(|part| part.split('"').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_without_a_file_or_anchor_is_dead() {
        let pages: BTreeMap<String, String> = [
            (
                "a.html".to_owned(),
                "<h1 id=\"top\"> <a href=\"b.html#here\"> <a href=\"b.html#there\"> \
                 <a href=\"#top\"> <a href=\"c.html\"> <a href=\"https://example.com/x\">"
                    .to_owned(),
            ),
            (
                "b.html".to_owned(),
                r#"<h1 class="x" id="here">"#.to_owned(),
            ),
        ]
        .into();
        assert_eq!(
            dead(&pages, &|path| pages.contains_key(path)),
            ["a.html: b.html#there", "a.html: c.html"]
        );
    }
}
