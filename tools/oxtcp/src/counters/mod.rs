// SPDX-License-Identifier: GPL-2.0
//! `oxtcp counters`: what a network namespace has counted, and what it means; `oxtcp export`.

pub mod explained;
pub mod export;
pub mod read;

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use serde_json::json;

use crate::failure::{Failure, Problem, Result};
use crate::host::{Host, Replacement};
use crate::netns;
use crate::output::{fold, print, print_json, width, Color, Ink, Painter, Table};
use read::Counters;

/// Show what the network namespace has counted, what it means, and what to do.
///
/// Counters that are 0 are left out, unless they are named. The names are Linux's (TcpExt) where it has one.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only these
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Those that are 0 too
    #[arg(long, short)]
    all: bool,

    /// Names and values, without meanings
    #[arg(long, short)]
    brief: bool,

    /// What was added since --diff was given last, by this user in this namespace
    #[arg(long, conflicts_with = "watch")]
    diff: bool,

    /// Print what is added, every so many seconds, until it is interrupted
    #[arg(long, short, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = clap::value_parser!(u64).range(1..=86400))]
    watch: Option<u64>,

    /// With --watch: so many times
    #[arg(long, value_name = "N", requires = "watch")]
    times: Option<u64>,

    /// JSON; with --watch a line each time
    #[arg(long)]
    json: bool,

    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,

    #[command(flatten)]
    namespace: netns::Choice,
}

/// `oxtcp counters`.
pub fn counters(arguments: &Arguments) -> Result<()> {
    arguments.namespace.enter()?;
    let host = Host::here();
    let now = look(&host)?;
    for name in &arguments.names {
        if !now.contains_key(name) {
            return Err(Problem::usage(format!(
                "there is no counter `{name}`. `oxtcp counters --all --brief` lists them."
            )));
        }
    }
    if let Some(seconds) = arguments.watch {
        return watch(&host, arguments, now, Duration::from_secs(seconds));
    }
    let shown = if arguments.diff {
        let path = baseline()?;
        let before = read_baseline(&path)?;
        let text =
            serde_json::to_string(&now).map_err(|error| Problem::failed(error.to_string()))?;
        Replacement::prepare(&path, &text)
            .and_then(Replacement::commit)
            .map_err(unkept)?;
        read::since(&before, &now)
    } else {
        now
    };
    let shown = chosen(&shown, arguments);
    if arguments.json {
        return print_json(&json(&shown));
    }
    print(&text(
        &shown,
        arguments.brief,
        Painter::new(arguments.color),
    ))
}

fn look(host: &Host) -> Result<Counters> {
    read::read(host)?.ok_or_else(|| {
        Problem::failed(
            "the loaded module does not count: it has no /proc/net/oxtcp_stat, and is older than this command.\n\
             Load the module that was built with it.",
        )
    })
}

/// The counters that are asked for.
fn chosen(counters: &Counters, arguments: &Arguments) -> Counters {
    counters
        .iter()
        .filter(|(name, value)| {
            if arguments.names.is_empty() {
                arguments.all || **value != 0
            } else {
                arguments.names.contains(name)
            }
        })
        .map(|(name, value)| (name.clone(), *value))
        .collect()
}

fn json(counters: &Counters) -> serde_json::Value {
    let each = counters.iter().map(|(name, value)| {
        let explained = explained::find(name);
        let value = json!({
            "value": value,
            "meaning": explained.map(|explained| explained.meaning),
            "advice": explained.map(|explained| explained.advice),
        });
        (name.clone(), value)
    });
    serde_json::Value::Object(each.collect())
}

fn text(counters: &Counters, brief: bool, painter: Painter) -> String {
    if counters.is_empty() {
        return "All are 0.\n".into();
    }
    if brief {
        let mut table = Table::new(&["COUNTER", "VALUE"], &[1]);
        for (name, value) in counters {
            table.row(vec![name.clone(), value.to_string()]);
        }
        return table.render(painter);
    }
    let mut out = String::new();
    for (name, value) in counters {
        out += &format!("{} {value}\n", painter.paint(Ink::Bold, name));
        if let Some(explained) = explained::find(name) {
            out += &fold(explained.meaning, "    ", width());
            let advice = fold(explained.advice, "       ", width());
            out += &painter.paint(Ink::Green, &format!("    -> {}", advice.trim_start()));
        }
    }
    out
}

/// Prints what is added in each interval, and how much that is in a second.
fn watch(
    host: &Host,
    arguments: &Arguments,
    mut before: Counters,
    interval: Duration,
) -> Result<()> {
    let painter = Painter::new(arguments.color);
    let mut left = arguments.times;
    while left != Some(0) {
        let begin = Instant::now();
        thread::sleep(interval);
        let now = look(host)?;
        let added = chosen(&read::since(&before, &now), arguments);
        let seconds = begin.elapsed().as_secs_f64();
        if arguments.json {
            print(&format!("{}\n", json!(added)))?;
        } else {
            let mut table = Table::new(&["COUNTER", "ADDED", "PER SECOND"], &[1, 2]);
            for (name, value) in &added {
                table.row(vec![
                    name.clone(),
                    value.to_string(),
                    format!("{:.1}", *value as f64 / seconds),
                ]);
            }
            print(&if added.is_empty() {
                "nothing\n".into()
            } else {
                table.render(painter)
            })?;
        }
        before = now;
        left = left.map(|left| left - 1);
    }
    Ok(())
}

/// Where `--diff` keeps what it saw: in the user's folder of what does not outlive the session, or root's.
fn baseline() -> Result<PathBuf> {
    let folder = match env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder).join("oxtcp"),
        None => "/run/oxtcp".into(),
    };
    Ok(folder.join(format!("counters-{}.json", netns::identity()?)))
}

/// What cannot be kept: a user who is not root has no folder without a session.
fn unkept(problem: Problem) -> Problem {
    match problem.exit_code() {
        Problem::DENIED => problem
            .and("\nOr name a folder of your own for what --diff keeps: XDG_RUNTIME_DIR=FOLDER oxtcp counters --diff."),
        _ => problem,
    }
}

fn read_baseline(path: &PathBuf) -> Result<Counters> {
    match fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| {
            Problem::failed(format!(
                "{} is damaged ({error}). Remove it.",
                path.display()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Counters::new()),
        Err(error) => Err(Problem::io("read", path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_explains() {
        let counters = Counters::from([("ListenDrops".to_string(), 7), ("Unheard".to_string(), 1)]);
        let plain = Painter::new(Color::Never);
        let shown = text(&counters, false, plain);
        assert!(
            shown.starts_with("ListenDrops 7\n    SYNs and last ACKs"),
            "{shown}"
        );
        assert!(
            shown.contains("    -> ListenOverflows, ") && shown.ends_with("Unheard 1\n"),
            "{shown}"
        );
        assert_eq!(
            text(&counters, true, plain),
            "COUNTER      VALUE\nListenDrops      7\nUnheard          1\n"
        );
        assert_eq!(text(&Counters::new(), false, plain), "All are 0.\n");
        assert_eq!(
            json(&counters)["Unheard"]["meaning"],
            serde_json::Value::Null
        );
    }
}
