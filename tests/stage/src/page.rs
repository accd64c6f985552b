//! The commands of a Markdown page: what a reader types, what a suite types, and why not the rest.
//!
//! A fenced block of `sh`, `bash` or `console` says in a comment before it, which no reader sees,
//! whether a suite runs it:
//!
//! ```text
//! <!-- tested -->                               it runs, and ends well
//! <!-- tested: NAME -->                         the same; a test asks for it by this name
//! <!-- tested, exit 1 -->                       it runs, and ends with this code
//! <!-- tested in the background until COMMAND -->  it runs on; what follows waits for COMMAND
//! <!-- not tested: REASON -->                   it does not run, for this reason
//! <!-- not tested on this page: REASON -->      no block does from here on, unless it says so
//! <!-- run:                                     runs, too, where it stands; over several lines
//! COMMANDS -->
//! <!-- file: NAME -->                           a block of any language, put into this file first
//! ```
//!
//! In `console`, a line that begins with `$ ` is typed, and what is below it is what is seen. There
//! `…` stands for anything within a line, and alone on a line for any lines. Blanks are as many as
//! one likes. This module only reads; it starts nothing.

use anyhow::{Context, Result, bail};

/// Languages whose blocks are commands.
const LANGUAGES: [&str; 3] = ["bash", "console", "sh"];
/// Words that begin an indented block of commands, which could have no mark.
const PROGRAMS: [&str; 9] = [
    "apt",
    "cargo",
    "everleaf",
    "helm",
    "kubectl",
    "openssl",
    "podman",
    "sudo",
    "systemctl",
];

/// What is said about a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// It runs and ends with this code.
    Tested {
        /// By which a test finds it
        name: Option<String>,
        /// Its exit code
        code: i32,
    },
    /// It runs on while the rest of the page runs, which waits for this command to end well.
    Background(String),
    /// It does not run, and why.
    NotTested(String),
}

/// A block of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Line of its fence, from 1.
    pub line: usize,
    /// None: nobody has said.
    pub mark: Option<Mark>,
    /// What is typed, in order, each with what is seen then (`console` alone).
    pub typed: Vec<(String, Option<String>)>,
    /// Readers do not see it.
    pub hidden: bool,
}

impl Block {
    /// All that is typed.
    pub fn commands(&self) -> String {
        let typed: Vec<&str> = self.typed.iter().map(|(text, _)| text.as_str()).collect();
        typed.join("\n")
    }
}

/// What a page has for a suite.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its commands, in order.
    pub blocks: Vec<Block>,
    /// Names and contents of files that are there before the first command.
    pub files: Vec<(String, String)>,
}

/// Reads a page.
///
/// # Errors
/// A comment or a fence that is not closed, a mark that nobody understands or that stands before
/// no block, an indented block of commands: each with its line.
pub fn read(text: &str) -> Result<Page> {
    let mut reader = Reader::default();
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    while let Some((at, line)) = lines.next() {
        let begins = line.trim_start();
        let indent = line.len() - begins.len();
        if let Some(comment) = begins.strip_prefix("<!--") {
            let mut whole = comment.to_owned();
            while !whole.contains("-->") {
                let (_, more) = lines
                    .next()
                    .with_context(|| format!("line {at}: a comment has no end"))?;
                whole.push('\n');
                whole.push_str(more.get(indent..).unwrap_or(more.trim_start()));
            }
            let comment = whole.split("-->").next().unwrap_or_default();
            reader.comment(at, comment)?;
        } else if let Some(language) = begins.strip_prefix("```") {
            let mut body = Vec::new();
            loop {
                let (_, line) = lines
                    .next()
                    .with_context(|| format!("line {at}: a fence has no end"))?;
                if line.trim() == "```" {
                    break;
                }
                body.push(line.get(indent..).unwrap_or(line.trim_start()));
            }
            reader.fence(at, language, &body)?;
        } else {
            reader.prose(at, line)?;
        }
    }
    reader.unused(None)?;
    Ok(reader.page)
}

/// Whether what is seen is what the page shows.
pub fn shows(page: &str, seen: &str) -> bool {
    let lines = |text: &str| -> Vec<String> {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.trim_end().lines().map(words).collect()
    };
    fits(
        &lines(page),
        &lines(seen),
        &|page| page == "…",
        &|page, seen| {
            let letters = |text: &str| text.chars().collect::<Vec<char>>();
            fits(
                &letters(page),
                &letters(seen),
                &|letter| *letter == '…',
                &|a, b| a == b,
            )
        },
    )
}

/// Whether a text fits a pattern some of whose elements stand for any number of the text's.
fn fits<T>(
    pattern: &[T],
    text: &[T],
    is_gap: &dyn Fn(&T) -> bool,
    same: &dyn Fn(&T, &T) -> bool,
) -> bool {
    // The place behind the last gap, and where the text goes on if the gap takes one more.
    let mut retry: Option<(usize, usize)> = None;
    let (mut at, mut seen) = (0, 0);
    while seen < text.len() {
        if pattern.get(at).is_some_and(is_gap) {
            at += 1;
            retry = Some((at, seen));
        } else if pattern.get(at).is_some_and(|one| same(one, &text[seen])) {
            at += 1;
            seen += 1;
        } else if let Some((behind, taken)) = retry {
            retry = Some((behind, taken + 1));
            (at, seen) = (behind, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(is_gap)
}

#[derive(Default)]
struct Reader {
    page: Page,
    /// The mark of the next block, and its line.
    mark: Option<(usize, Mark)>,
    /// Why nothing of the page runs from here on.
    reason: Option<String>,
    /// The file that the next block is.
    file: Option<(usize, String)>,
    /// The last line that was prose had words in it.
    in_paragraph: bool,
}

impl Reader {
    fn comment(&mut self, at: usize, text: &str) -> Result<()> {
        let text = text.trim();
        if let Some(commands) = text.strip_prefix("run:") {
            self.unused(Some(at))?;
            self.page.blocks.push(Block {
                line: at,
                mark: Some(Mark::Tested {
                    name: None,
                    code: 0,
                }),
                typed: vec![(commands.trim().to_owned(), None)],
                hidden: true,
            });
        } else if let Some(reason) = text.strip_prefix("not tested on this page:") {
            self.reason = Some(reason.trim().to_owned());
        } else if let Some(name) = text.strip_prefix("file:") {
            self.unused(Some(at))?;
            self.file = Some((at, name.trim().to_owned()));
        } else if text.starts_with("tested") || text.starts_with("not tested") {
            self.unused(Some(at))?;
            let mark = mark(text).with_context(|| format!("line {at}: what is {text:?}?"))?;
            self.mark = Some((at, mark));
        }
        Ok(())
    }

    fn fence(&mut self, at: usize, language: &str, body: &[&str]) -> Result<()> {
        self.in_paragraph = false;
        if let Some((_, name)) = self.file.take() {
            self.page
                .files
                .push((name, format!("{}\n", body.join("\n"))));
            return Ok(());
        }
        let language = language.split([',', ' ']).next().unwrap_or_default();
        if !LANGUAGES.contains(&language) {
            return self.unused(Some(at));
        }
        let mark = self.mark.take().map(|(_, mark)| mark);
        let typed = if language == "console" {
            console(body).with_context(|| format!("line {at}: output before the first command"))?
        } else {
            vec![(body.join("\n"), None)]
        };
        self.page.blocks.push(Block {
            line: at,
            mark: mark.or_else(|| self.reason.clone().map(Mark::NotTested)),
            typed,
            hidden: false,
        });
        Ok(())
    }

    fn prose(&mut self, at: usize, line: &str) -> Result<()> {
        let words = line.trim_start();
        let is_indented = line.len() >= words.len() + 4;
        let first = words.split(' ').next().unwrap_or_default();
        if is_indented && !self.in_paragraph && PROGRAMS.contains(&first) {
            bail!("line {at}: commands are indented: a fence can have a mark");
        }
        self.in_paragraph = !words.is_empty();
        if self.in_paragraph {
            self.unused(Some(at))?;
        }
        Ok(())
    }

    /// A mark belongs to the block below it.
    fn unused(&mut self, before: Option<usize>) -> Result<()> {
        let mark = self.mark.take().map(|(at, _)| at);
        if let Some(at) = mark.or(self.file.take().map(|(at, _)| at)) {
            let before = before.map_or("the end".to_owned(), |line| format!("line {line}"));
            bail!("line {at}: a mark that no block follows that could have it, but {before}");
        }
        Ok(())
    }
}

fn mark(text: &str) -> Option<Mark> {
    let tested = |name, code| Some(Mark::Tested { name, code });
    if let Some(reason) = text.strip_prefix("not tested:") {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        return (!reason.is_empty()).then_some(Mark::NotTested(reason));
    }
    let rest = text.strip_prefix("tested")?;
    if rest.is_empty() {
        tested(None, 0)
    } else if let Some(name) = rest.strip_prefix(": ") {
        tested(Some(name.to_owned()), 0)
    } else if let Some(code) = rest.strip_prefix(", exit ") {
        tested(None, code.parse().ok()?)
    } else {
        let until = rest.strip_prefix(" in the background until ")?;
        Some(Mark::Background(until.trim().to_owned()))
    }
}

/// Commands and what is seen then. None: the block begins with output.
fn console(body: &[&str]) -> Option<Vec<(String, Option<String>)>> {
    let mut typed: Vec<(String, Option<String>)> = Vec::new();
    let mut goes_on = false;
    for line in body {
        if goes_on {
            let (command, _) = typed.last_mut()?;
            command.push('\n');
            command.push_str(line);
        } else if let Some(command) = line.strip_prefix("$ ") {
            typed.push((command.to_owned(), Some(String::new())));
        } else {
            let (_, seen) = typed.last_mut()?;
            let seen = seen.get_or_insert_default();
            seen.push_str(line);
            seen.push('\n');
            continue;
        }
        goes_on = line.ends_with('\\');
    }
    Some(typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Block> {
        let blocks = read(text)?.blocks;
        assert_eq!(blocks.len(), 1, "{blocks:?}");
        blocks.into_iter().next().context("none")
    }

    #[test]
    fn a_block_has_the_mark_above_it() -> Result<()> {
        let tested = |name: Option<&str>, code| {
            let name = name.map(str::to_owned);
            Some(Mark::Tested { name, code })
        };
        for (comment, wanted) in [
            ("tested", tested(None, 0)),
            ("tested: renewal", tested(Some("renewal"), 0)),
            ("tested, exit 1", tested(None, 1)),
            (
                "tested in the background until test -f x",
                Some(Mark::Background("test -f x".to_owned())),
            ),
            (
                "not tested: needs\n  root",
                Some(Mark::NotTested("needs root".to_owned())),
            ),
            ("of another kind", None),
        ] {
            let block = one(&format!("<!-- {comment} -->\n```sh\nls\n```\n"))?;
            assert_eq!(block.mark, wanted, "{comment}");
            assert_eq!(block.commands(), "ls");
        }
        assert_eq!(one("```sh\nls\n```\n")?.mark, None);
        Ok(())
    }

    #[test]
    fn a_page_can_say_it_for_what_follows() -> Result<()> {
        let text = "<!-- not tested on this page: why -->\n# H\n```sh\na\n```\n<!-- tested -->\n\
                    ```sh\nb\n```\n";
        let marks: Vec<_> = read(text)?
            .blocks
            .into_iter()
            .map(|block| block.mark)
            .collect();
        let tested = Mark::Tested {
            name: None,
            code: 0,
        };
        assert_eq!(
            marks,
            [Some(Mark::NotTested("why".to_owned())), Some(tested)]
        );
        Ok(())
    }

    #[test]
    fn commands_that_nobody_sees_run_where_they_stand() -> Result<()> {
        let block = one("1. item\n\n   <!-- run:\n   a\n   b -->\n")?;
        assert!(block.hidden);
        assert_eq!((block.line, block.commands().as_str()), (3, "a\nb"));
        Ok(())
    }

    #[test]
    fn a_console_is_commands_and_what_is_seen() -> Result<()> {
        let block = one("```console\n$ a \\\n  b\nx\ny\n$ c\n```\n")?;
        let seen = |text: &str| Some(text.to_owned());
        let wanted = [
            ("a \\\n  b".to_owned(), seen("x\ny\n")),
            ("c".to_owned(), seen("")),
        ];
        assert_eq!(block.typed, wanted);
        Ok(())
    }

    #[test]
    fn a_block_may_be_a_file() -> Result<()> {
        let page = read("<!-- file: a.yaml -->\n```yaml\na: b\n```\n")?;
        assert_eq!(page.files, [("a.yaml".to_owned(), "a: b\n".to_owned())]);
        assert!(page.blocks.is_empty());
        assert!(read("<!-- file: a.yaml -->\nwords\n").is_err());
        Ok(())
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "<!-- tested -->\nwords\n",
            "<!-- tested -->\n",
            "<!-- tested -->\n```yaml\na: b\n```\n",
            "<!-- tested: a --><!-- b\n",
            "<!-- tested soon -->\n```sh\nls\n```\n",
            "<!-- not tested: -->\n```sh\nls\n```\n",
            "```sh\nls\n",
            "```console\nls\n```\n",
            "words\n\n    kubectl get csr\n",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        for text in [
            "```yaml\na: b\n```\n",
            "words\n    kubectl get csr\n",
            "\n    node:\n",
        ] {
            assert_eq!(read(text).ok(), Some(Page::default()), "{text}");
        }
    }

    #[test]
    fn what_is_left_out_may_be_anything() {
        for (page, seen) in [
            ("a   b\n", "a b\n\n"),
            ("n-… 2\n", "n-xyz 2\n"),
            ("a\n…\nb", "a\nc\nd\nb"),
            ("a\n…\nb", "a\nb"),
            ("…a…b", "aab"),
            ("…", ""),
            ("", ""),
        ] {
            assert!(shows(page, seen), "{page:?} {seen:?}");
        }
        for (page, seen) in [
            ("a\n", "b\n"),
            ("a\n", "a\nb\n"),
            ("a\nb\n", "a\n"),
            ("n-… 2\n", "n-xyz 3\n"),
            ("a\n…\nb", "a\nc"),
            ("", "a"),
        ] {
            assert!(!shows(page, seen), "{page:?} {seen:?}");
        }
    }
}
