// SPDX-License-Identifier: GPL-2.0
//! `oxtcp profile`: named sets of settings, applied as a whole and taken back as a whole.

pub mod file;
mod undo;

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::failure::{Problem, Result};
use crate::host::{Host, Replacement};
use crate::netns;
use crate::output::{fold, print, print_json, width, Color, Ink, Painter, Table};
use crate::settings::persist::Kept;
use crate::settings::store::{self, Change};
use crate::settings::{self, table};
use file::Profile;
use undo::{Record, Records};

/// Named sets of settings: look at them, apply them, take them back
///
/// Those that come with the command are web-server, behind-nat, under-attack, long-fat-network and low-memory. Your own are files
/// NAME.toml in ~/.config/oxtcp/profiles or /etc/oxtcp/profiles, which win over one of the same name; a path does as well.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLE)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Short lines: they are not to be folded.
const EXAMPLE: &str = "\
Such a file:

    summary = \"what it is for\"
    [settings]
    fin_timeout = 30
    rmem = { value = [4096, 131072, 33554432], why = \"what it is for\" }";

#[derive(clap::Subcommand)]
enum Command {
    /// List the profiles
    List(List),
    /// Show a profile: its settings, what they are now, and why
    Show(Show),
    /// Apply a profile, all of it or nothing; prints what changes
    Apply(Apply),
    /// Take back what the last `apply` in this network namespace changed
    Undo(Undo),
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    look: Look,
}

#[derive(clap::Args)]
struct Show {
    /// A profile's name, or the path of its file
    #[arg(value_name = "PROFILE")]
    profile: String,

    #[command(flatten)]
    namespace: netns::Choice,

    #[command(flatten)]
    look: Look,
}

#[derive(clap::Args)]
struct Apply {
    /// A profile's name, or the path of its file
    #[arg(value_name = "PROFILE")]
    profile: String,

    /// Say what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Keep it in /etc/sysctl.d/60-oxtcp.conf too, for the next time that the module is loaded
    #[arg(long, conflicts_with = "netns")]
    persist: bool,

    #[command(flatten)]
    namespace: netns::Choice,

    #[command(flatten)]
    look: Look,
}

#[derive(clap::Args)]
struct Undo {
    /// Say what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    namespace: netns::Choice,

    #[command(flatten)]
    look: Look,
}

#[derive(clap::Args)]
struct Look {
    /// JSON
    #[arg(long)]
    json: bool,

    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,
}

/// `oxtcp profile`.
pub fn profile(arguments: &Arguments) -> Result<()> {
    // Before another namespace is entered, and other mounts with it.
    let host = Host::here();
    let folders = file::folders(&host);
    match &arguments.command {
        Command::List(list) => self::list(&folders, &list.look),
        Command::Show(show) => {
            let profile = file::find(&folders, &show.profile)?;
            show.namespace.enter()?;
            self::show(&host, &profile, &show.look)
        }
        Command::Apply(apply) => {
            let profile = file::find(&folders, &apply.profile)?;
            apply.namespace.enter()?;
            let changes = changes(&host, &profile)?;
            if !apply.dry_run {
                self::apply(
                    &host,
                    &netns::identity()?,
                    &profile.name,
                    &changes,
                    apply.persist,
                )?;
            }
            let painter = Painter::new(apply.look.color);
            settings::report(&host, &changes, apply.dry_run, apply.look.json, painter)?;
            if !apply.look.json && !apply.dry_run && changes.iter().any(Change::is_one) {
                print("Taken back with: oxtcp profile undo")?;
                print(
                    &apply
                        .namespace
                        .netns
                        .as_ref()
                        .map_or("\n".into(), |name| format!(" --netns {name}\n")),
                )?;
            }
            Ok(())
        }
        Command::Undo(undo) => {
            undo.namespace.enter()?;
            self::undo(&host, &netns::identity()?, undo)
        }
    }
}

fn list(folders: &[PathBuf], look: &Look) -> Result<()> {
    let (profiles, problems) = file::all(folders);
    for problem in &problems {
        say!("oxtcp: {problem}");
    }
    if look.json {
        return print_json(
            &profiles
                .iter()
                .map(|profile| json!({ "name": profile.name, "file": profile.path, "summary": profile.summary }))
                .collect(),
        );
    }
    let mut table = Table::new(&["PROFILE", "FOR", "FILE"], &[]);
    for profile in &profiles {
        let place = profile
            .path
            .as_ref()
            .map_or(String::new(), |path| path.display().to_string());
        table.row(vec![profile.name.clone(), profile.summary.clone(), place]);
    }
    print(&table.render(Painter::new(look.color)))
}

fn show(host: &Host, profile: &Profile, look: &Look) -> Result<()> {
    // A profile may be read without the module.
    let now = |name: &str| {
        let value = table::find(name).and_then(|setting| store::read(host, setting));
        value.ok()
    };
    let name_of =
        |name: &str| table::find(name).map_or(name.to_string(), |setting| setting.name.to_string());
    if look.json {
        let settings: Vec<_> = profile
            .settings
            .iter()
            .map(|item| {
                let json = |value: &str| {
                    table::find(&item.name)
                        .map_or_else(|_| value.into(), |setting| setting.json(value))
                };
                json!({
                    "name": name_of(&item.name),
                    "value": json(&item.value),
                    "now": now(&item.name).map(|value| json(&value)),
                    "why": item.why,
                })
            })
            .collect();
        return print_json(&json!({
            "name": profile.name,
            "file": profile.path,
            "summary": profile.summary,
            "description": profile.description,
            "settings": settings,
        }));
    }
    let painter = Painter::new(look.color);
    let mut out = format!(
        "{}: {}\n",
        painter.paint(Ink::Bold, &profile.name),
        profile.summary
    );
    if !profile.description.is_empty() {
        out += &format!(
            "\n{}",
            fold(&profile.description.replace('\n', " "), "", width())
        );
    }
    out.push('\n');
    for item in &profile.settings {
        let now = now(&item.name).map_or(String::new(), |now| {
            if now == item.value {
                "  (as it is)".into()
            } else {
                format!("  (now {now})")
            }
        });
        let value = format!("{} = {}", name_of(&item.name), item.value);
        out += &format!(
            "{}{}\n",
            painter.paint(Ink::Bold, &value),
            painter.paint(Ink::Dim, &now)
        );
        if !item.why.is_empty() {
            out += &fold(&item.why, "    ", width());
        }
    }
    print(&out)
}

fn changes(host: &Host, profile: &Profile) -> Result<Vec<Change>> {
    store::changes(
        host,
        profile
            .settings
            .iter()
            .map(|item| (item.name.as_str(), item.value.as_str())),
    )
}

/// Makes the changes and writes down how to take them back: all of it, or nothing.
fn apply(
    host: &Host,
    namespace: &str,
    name: &str,
    changes: &[Change],
    persist: bool,
) -> Result<()> {
    let mine: Vec<Change> = changes
        .iter()
        .filter(|change| change.is_one())
        .cloned()
        .collect();
    let kept = if persist {
        // What will be in the file; made again, and put in place, below.
        let kept = Kept::prepare(host, changes)?;
        Some(undo::Kept {
            before: kept.before.clone(),
            after: kept.after.clone(),
        })
    } else {
        None
    };
    if mine.is_empty()
        && kept
            .as_ref()
            .is_none_or(|kept| kept.before.as_ref() == Some(&kept.after))
    {
        return Ok(());
    }
    let mut records = Records::read(host, namespace)?;
    let before = records.entries.clone();
    records.entries.push(Record::of(name, &mine, kept));
    records
        .write()
        .map_err(|problem| problem.and("\nNothing was changed."))?;
    settings::make(host, changes, persist)
        .map(|_| ())
        .map_err(|problem| {
            records.entries = before;
            match records.write() {
                Ok(()) => problem,
                Err(more) => {
                    problem.and(&format!("\nAnd the record for `undo` is wrong now: {more}"))
                }
            }
        })
}

fn undo(host: &Host, namespace: &str, arguments: &Undo) -> Result<()> {
    host.need_module()?;
    let mut records = Records::read(host, namespace)?;
    let Some(record) = records.entries.pop() else {
        return Err(Problem::failed("no profile was applied in this network namespace since the system's start: nothing to take back."));
    };
    let (back, others) = to_take_back(host, &record)?;
    if !arguments.dry_run {
        store::apply(host, &back)?;
        if let Err(problem) = restore(host, &record).and_then(|()| records.write()) {
            return Err(problem.and(&store::take_back(host, &back)));
        }
    }
    let painter = Painter::new(arguments.look.color);
    if !arguments.look.json {
        print(&format!("Profile {}, taken back:\n", record.profile))?;
    }
    settings::report(host, &back, arguments.dry_run, arguments.look.json, painter)?;
    for other in others {
        say!("oxtcp: {other}");
    }
    Ok(())
}

/// What is still as the profile made it goes back; what somebody has changed since is theirs.
fn to_take_back(host: &Host, record: &Record) -> Result<(Vec<Change>, Vec<String>)> {
    let mut back = Vec::new();
    let mut others = Vec::new();
    for changed in &record.changes {
        let setting = table::find(&changed.name)?;
        let now = store::read(host, setting)?;
        if now == changed.to {
            back.push(Change {
                setting,
                from: now,
                to: changed.from.clone(),
            });
        } else {
            others.push(format!(
                "{} was changed to {now} since then, and is left as it is.",
                changed.name
            ));
        }
    }
    Ok((back, others))
}

/// Gives the file of `--persist` its old text, unless somebody has changed it since.
fn restore(host: &Host, record: &Record) -> Result<()> {
    let Some(kept) = &record.kept else {
        return Ok(());
    };
    let path = host.path(settings::persist::FILE);
    if fs::read_to_string(&path).ok().as_ref() != Some(&kept.after) {
        say!(
            "oxtcp: {} was changed since then, and is left as it is.",
            path.display()
        );
        return Ok(());
    }
    match &kept.before {
        Some(text) => Replacement::prepare(&path, text)?.commit(),
        None => fs::remove_file(&path).map_err(|error| Problem::io("remove", &path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(host: &Host, name: &str) -> String {
        store::read(host, table::find(name).unwrap()).unwrap()
    }

    fn undo_arguments(dry_run: bool) -> Undo {
        Undo {
            dry_run,
            namespace: netns::Choice::default(),
            look: Look {
                json: true,
                color: Color::Never,
            },
        }
    }

    #[test]
    fn apply_and_undo_two_deep() {
        let (_folder, host) = store::tests::loaded();
        let file = host.path("etc/sysctl.d/60-oxtcp.conf");
        for (name, persist) in [("web-server", false), ("low-memory", true)] {
            let changes = changes(&host, &file::find(&[], name).unwrap()).unwrap();
            apply(&host, "1-2", name, &changes, persist).unwrap();
        }
        assert_eq!(
            (value(&host, "fin_timeout"), value(&host, "somaxconn")),
            ("20".into(), "512".into())
        );
        assert!(fs::read_to_string(&file)
            .unwrap()
            .contains("net.oxtcp.somaxconn = 512\n"));
        assert!(
            undo(&host, "1-3", &undo_arguments(false)).is_err(),
            "another namespace"
        );
        undo(&host, "1-2", &undo_arguments(true)).unwrap();
        assert_eq!(value(&host, "fin_timeout"), "20");
        undo(&host, "1-2", &undo_arguments(false)).unwrap();
        assert_eq!(
            (value(&host, "fin_timeout"), value(&host, "somaxconn")),
            ("30".into(), "16384".into())
        );
        assert!(!file.exists());
        undo(&host, "1-2", &undo_arguments(false)).unwrap();
        for setting in table::SETTINGS {
            assert_eq!(value(&host, setting.name), setting.default());
        }
        assert!(undo(&host, "1-2", &undo_arguments(false)).is_err());
    }

    #[test]
    fn undo_leaves_what_others_changed() {
        let (_folder, host) = store::tests::loaded();
        let changes = changes(&host, &file::find(&[], "web-server").unwrap()).unwrap();
        apply(&host, "1-2", "web-server", &changes, false).unwrap();
        fs::write(host.sysctl("net.oxtcp.fin_timeout"), "7\n").unwrap();
        undo(&host, "1-2", &undo_arguments(false)).unwrap();
        assert_eq!(
            (value(&host, "fin_timeout"), value(&host, "somaxconn")),
            ("7".into(), "4096".into())
        );
    }

    #[test]
    fn a_failed_apply_leaves_nothing() {
        let (_folder, host) = store::tests::loaded();
        let changes = changes(&host, &file::find(&[], "web-server").unwrap()).unwrap();
        fs::remove_file(host.sysctl("net.oxtcp.somaxconn")).unwrap();
        let problem = apply(&host, "1-2", "web-server", &changes, true).unwrap_err();
        assert!(
            problem.message().contains("Nothing was changed."),
            "{problem}"
        );
        assert_eq!(value(&host, "fin_timeout"), "60");
        assert!(!host.path("etc/sysctl.d/60-oxtcp.conf").exists());
        assert_eq!(Records::read(&host, "1-2").unwrap().entries, []);
    }

    #[test]
    fn a_damaged_record_is_told() {
        let (_folder, host) = store::tests::loaded();
        fs::create_dir_all(host.path("run/oxtcp")).unwrap();
        fs::write(host.path("run/oxtcp/undo-1-2.json"), "[{").unwrap();
        let problem = undo(&host, "1-2", &undo_arguments(false)).unwrap_err();
        assert!(problem.message().contains("is damaged"), "{problem}");
    }
}
