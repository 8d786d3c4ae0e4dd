// SPDX-License-Identifier: GPL-2.0
//! Man pages and completions, made from the command line's definition.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_mangen::Man;

use crate::failure::{Problem, Result};
use crate::output::done;
use crate::Cli;

/// Print a shell's completions for this command
///
/// `make install` puts them where Debian's shells look for them. By hand, for bash:
///
///     oxtcp completions bash > /usr/share/bash-completion/completions/oxtcp
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: clap_complete::Shell,
}

/// Write the man pages that are made from the command line's definition into a folder.
#[derive(clap::Args)]
pub struct Arguments {
    /// The folder
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// `oxtcp completions`.
pub fn completions(arguments: &Completions) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "oxtcp", &mut text);
    done(io::Write::write_all(&mut io::stdout().lock(), &text))
}

/// `oxtcp manual`.
pub fn manual(arguments: &Arguments) -> Result<()> {
    for (name, text) in pages() {
        write(&arguments.folder.join(name), &text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| Problem::io("write", path, &error))
}

/// Commands whose pages are written by hand: they say more than their options.
const BY_HAND: &[&str] = &["run", "ladder"];

/// What stands at the end of a command's page: headings and text in roff.
const MORE: &[(&str, &str)] = &[
    (
        "list",
        r"oxtcp list
oxtcp list \-\-changed \-\-netns blue
oxtcp list \-\-json | jq '.[] | select(.changed)'",
    ),
    (
        "get",
        r"oxtcp get fin_timeout rmem
oxtcp get \-n keepalive_time",
    ),
    (
        "set",
        r"oxtcp set keepalive_time=120 keepalive_intvl=20
oxtcp set \-\-persist rmem='4096 131072 33554432'
oxtcp set \-\-netns blue fin_timeout=default",
    ),
    (
        "profile",
        r"oxtcp profile list
oxtcp profile apply under\-attack \-\-dry\-run
oxtcp profile apply under\-attack
oxtcp profile undo",
    ),
    (
        "ss",
        r"oxtcp ss \-ap
oxtcp ss \-n state syn\-recv
oxtcp ss \-pi '( sport = :80 or sport = :443 ) and dst 192.0.2.0/24'
oxtcp ss \-p state close\-wait process nginx
oxtcp stat \-\-summary \-\-netns blue",
    ),
    (
        "trace",
        r"sudo oxtcp trace
sudo oxtcp trace \-v 'sport = :80 or dport = :80'
sudo oxtcp trace \-\-json \-\-duration 10 dst 192.0.2.0/24 | jq 'select(.retransmission)'
sudo oxtcp trace \-\- curl http://192.0.2.1/",
    ),
    (
        "counters",
        r"oxtcp counters
oxtcp counters \-\-watch 5 \-\-brief
oxtcp counters \-\-diff \-\-netns blue",
    ),
    (
        "export",
        r"oxtcp export \-\-output /var/lib/prometheus/node\-exporter/oxtcp.prom",
    ),
    (
        "doctor",
        r"sudo oxtcp doctor
sudo oxtcp doctor \-\-json | jq '.findings[].title'",
    ),
    (
        "plot",
        r"tcpdump \-i eth0 \-s 120 \-w talk.pcap tcp port 8000
oxtcp plot \-\-svg talk.svg talk.pcap
oxtcp plot \-\-from 0.9 \-\-until 1.4 \-\-sender server \-\-svg loss.svg talk.pcap",
    ),
];

/// Names and texts of the man pages that are not written by hand.
pub fn pages() -> Vec<(String, String)> {
    let mut top = Cli::command();
    top.build();
    let mut pages = Vec::new();
    for command in top.get_subcommands() {
        if !BY_HAND.contains(&command.get_name()) && !command.is_hide_set() {
            page(command, &mut pages);
        }
    }
    pages
}

/// The page of a command, and those of the commands below it.
fn page(command: &clap::Command, pages: &mut Vec<(String, String)>) {
    let full = command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .replace(' ', "-");
    let man = Man::new(command.clone().name(full.clone()))
        .title(full.to_uppercase())
        .source("oxtcp")
        .manual("User Commands");
    let mut text = b".\\\" SPDX-License-Identifier: GPL-2.0\n.\\\" Made from the command line's definition: see CONTRIBUTING.md.\n".to_vec();
    let mut render = || -> io::Result<()> {
        man.render_title(&mut text)?;
        man.render_name_section(&mut text)?;
        man.render_synopsis_section(&mut text)?;
        man.render_description_section(&mut text)?;
        // An example, which is not to be folded: roff leaves lines alone that begin with a space.
        if let Some(example) = command.get_after_long_help() {
            let example = example.to_string().replace('-', r"\-");
            writeln!(text, ".PP\n{}", example.replace("\n\n", "\n.PP\n"))?;
        }
        man.render_options_section(&mut text)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut text)?;
        }
        Ok(())
    };
    render().expect("a buffer can be written to");
    let mut text = String::from_utf8(text).expect("roff of text is text");
    text += ".SH EXIT STATUS\n";
    for (code, meaning) in crate::EXIT_CODES {
        if code.1.is_none_or(|only| full.starts_with(only)) {
            text += &format!(".TP\n.B {}\n{meaning}\n", code.0);
        }
    }
    if let Some((_, examples)) = MORE.iter().find(|(name, _)| *name == command.get_name()) {
        text += &format!(".SH EXAMPLES\n.nf\n{examples}\n.fi\n");
    }
    text += ".SH SEE ALSO\n.BR oxtcp (1)\n";
    pages.push((format!("{full}.1"), text));
    for below in command.get_subcommands() {
        page(below, pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Documentation/man");

    /// `OXTCP_BLESS=1` writes them (for this package alone: others' tests have the same word).
    #[test]
    fn pages_are_as_they_are_committed() {
        for (name, text) in pages() {
            let path = Path::new(FOLDER).join(&name);
            if std::env::var_os("OXTCP_BLESS").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let committed = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == text,
                "{name} is out of date: OXTCP_BLESS=1 scripts/in-tree cargo test --manifest-path tools/Cargo.toml"
            );
        }
    }

    #[test]
    fn every_page_is_of_a_command() {
        let mut names: Vec<String> = pages().into_iter().map(|(name, _)| name).collect();
        names.extend(BY_HAND.iter().map(|name| format!("oxtcp-{name}.1")));
        names.push("oxtcp.1".into());
        for entry in fs::read_dir(FOLDER).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(names.contains(&name), "no command has the page {name}");
        }
    }

    /// This keeps those that are written by hand complete.
    #[test]
    fn every_option_is_in_its_man_page() {
        for command in Cli::command().get_subcommands() {
            if !BY_HAND.contains(&command.get_name()) {
                continue;
            }
            let path = format!("{FOLDER}/oxtcp-{}.1", command.get_name());
            let page = fs::read_to_string(&path).expect(&path).replace("\\-", "-");
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(
                    page.contains(&format!("--{option}")),
                    "{path} does not explain --{option}"
                );
            }
        }
    }

    #[test]
    fn every_command_is_in_the_page_of_all() {
        let page = fs::read_to_string(format!("{FOLDER}/oxtcp.1")).unwrap();
        for command in Cli::command()
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            let name = format!("\"oxtcp {}\"", command.get_name());
            assert!(page.contains(&name), "oxtcp.1 does not have {name}");
        }
    }

    #[test]
    fn completions_name_the_commands() {
        for shell in [
            clap_complete::Shell::Bash,
            clap_complete::Shell::Zsh,
            clap_complete::Shell::Fish,
        ] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "oxtcp", &mut text);
            let text = String::from_utf8(text).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(
                    text.contains(command.get_name()),
                    "{shell}: {}",
                    command.get_name()
                );
            }
        }
    }
}
