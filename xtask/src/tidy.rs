//! Rules of the house that no lint knows: sizes, names, and nothing of one machine in the repository.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a source file before its tests.
const FILE_LINES: usize = 400;
/// Lines of a function.
const FUNCTION_LINES: usize = 70;

pub(crate) fn run(repository: &Path) -> Result<()> {
    let mut files = Vec::new();
    for folder in ["services", "shared", "xtask", "loadtest", "compose", "proto", ".ci"] {
        collect(&repository.join(folder), &mut files)?;
    }
    let mut findings = Vec::new();
    for file in &files {
        let shown = file.strip_prefix(repository).unwrap_or(file).display().to_string();
        let Ok(text) = fs::read_to_string(file) else { continue }; // not text
        findings.extend(judge(&shown, &text).into_iter().map(|finding| format!("{shown}: {finding}")));
    }
    if !findings.is_empty() {
        bail!("{}", findings.join("\n"));
    }
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// What is wrong with one file.
fn judge(path: &str, text: &str) -> Vec<String> {
    let mut findings = foreign_words(text);
    let name = path.rsplit('/').next().unwrap_or(path);
    if name == "Cargo.toml" && !text.contains("[lints]\nworkspace = true") {
        findings.push("lacks `[lints] workspace = true`".into());
    }
    if !path.ends_with(".rs") {
        return findings;
    }
    if matches!(name, "utils.rs" | "util.rs" | "common.rs" | "helpers.rs")
        || ["/utils/", "/common/"].iter().any(|part| path.contains(part))
    {
        findings.push("is named for no purpose: name the module by what it does".into());
    }
    if text.lines().any(|line| line.trim_start().starts_with(concat!("#[", "ignore"))) {
        findings.push("ignores a test: mend or remove it".into());
    }
    let tests = path.contains("/tests/") || name == "tests.rs";
    let body = text.split("#[cfg(test)]").next().unwrap_or(text);
    let lines = body.lines().count();
    if !tests && lines > FILE_LINES {
        findings.push(format!("has {lines} lines, {FILE_LINES} are allowed: split it"));
    }
    if !tests {
        findings.extend(long_functions(body));
    }
    findings
}

/// Paths of one machine and hosts of private registries.
fn foreign_words(text: &str) -> Vec<String> {
    let words = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
        concat!("/tmp/", "desk"),
        concat!("artifac", "tory"),
        concat!("nex", "us."),
    ];
    let found = words.iter().filter(|word| text.contains(**word));
    found.map(|word| format!("names {word:?}: nothing of one machine belongs here")).collect()
}

/// Functions are told by the formatter's indentation: the closing brace stands under the line that opened them.
fn long_functions(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let words = code.split('(').next().unwrap_or_default();
        let function =
            words.split_whitespace().any(|word| word == "fn") && !code.starts_with("//") && !code.starts_with('"');
        if !function || line.trim_end().ends_with(';') || line.trim_end().ends_with('}') {
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        let end = lines[start..].iter().position(|other| *other == format!("{indent}}}"));
        if let Some(length) = end.filter(|length| length + 1 > FUNCTION_LINES) {
            findings.push(format!(
                "line {}: the function has {} lines, {FUNCTION_LINES} are allowed",
                start + 1,
                length + 1
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_is_tidy() {
        run(&crate::build::repository()).unwrap();
    }

    #[test]
    fn each_rule_finds_its_case() {
        let long = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(FUNCTION_LINES));
        assert_eq!(judge("services/x/src/a.rs", &long).len(), 1);
        assert_eq!(judge("services/x/tests/a.rs", &long).len(), 0);
        assert_eq!(judge("services/x/src/a.rs", &"//\n".repeat(FILE_LINES + 1)).len(), 1);
        assert_eq!(judge("services/x/src/utils.rs", "").len(), 1);
        assert_eq!(judge("services/x/Cargo.toml", "[package]\n").len(), 1);
        assert_eq!(judge("services/x/src/a.rs", concat!("#[", "ignore]\nfn a() {}\n")).len(), 1);
        assert_eq!(judge("services/x/src/a.rs", concat!("//! see /ro", "ot/x\n")).len(), 1);
        assert_eq!(judge("services/x/src/a.rs", "fn a() {}\n"), Vec::<String>::new());
    }
}
