// SPDX-License-Identifier: GPL-2.0
//! `oxtcp list`, `oxtcp get` and `oxtcp set`: the settings of a network namespace.

pub mod persist;
pub mod store;
pub mod table;

use serde_json::json;

use crate::failure::{Problem, Result};
use crate::host::Host;
use crate::netns;
use crate::output::{fold, print, print_json, width, Color, Ink, Painter, Table};
use persist::Kept;
use store::Change;
use table::{Kind, Setting, SETTINGS};

/// List all settings, their defaults and ranges, and what the built-in TCP has.
///
/// A value that is not the default is marked with `*`. The settings are those of the network namespace; plain
/// `sysctl net.oxtcp` shows and sets the same.
#[derive(clap::Args)]
pub struct List {
    /// Only these
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Only what is not at its default
    #[arg(long)]
    changed: bool,

    /// With the meaning of each
    #[arg(long, short)]
    long: bool,

    #[command(flatten)]
    common: Common,
}

/// Show settings: value, default, range, unit, meaning, and the built-in TCP's value.
#[derive(clap::Args)]
pub struct Get {
    /// The settings, as in `fin_timeout` or `net.oxtcp.fin_timeout`
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,

    /// Only the values, one a line
    #[arg(long, short = 'n', conflicts_with = "json")]
    values: bool,

    #[command(flatten)]
    common: Common,
}

/// Change settings, all that are given or none.
///
/// Every value is looked at before the first is changed; one that is refused leaves all as they were. `default` is
/// the default: `oxtcp set fin_timeout=default`. A new network namespace begins with the values of the initial one.
#[derive(clap::Args)]
pub struct Set {
    /// Settings and values, as in `fin_timeout=30` or `rmem='4096 131072 33554432'`
    #[arg(required = true, value_name = "NAME=VALUE")]
    settings: Vec<String>,

    /// Keep them in /etc/sysctl.d/60-oxtcp.conf too, for the next time that the module is loaded
    #[arg(long, conflicts_with = "netns")]
    persist: bool,

    /// Say what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    namespace: netns::Choice,

    /// JSON
    #[arg(long)]
    json: bool,

    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,
}

/// `oxtcp list`.
pub fn list(arguments: &List) -> Result<()> {
    let names = arguments.names.iter().map(|name| table::find(name));
    let wanted = names.collect::<Result<Vec<_>>>()?;
    arguments.common.namespace.enter()?;
    let host = Host::here();
    host.need_module()?;
    let painter = Painter::new(arguments.common.color);
    let mut states = Vec::new();
    for setting in SETTINGS {
        if !wanted.is_empty() && !wanted.iter().any(|one| one.name == setting.name) {
            continue;
        }
        let state = State::of(&host, setting)?;
        if !arguments.changed || state.is_changed() {
            states.push(state);
        }
    }
    if arguments.common.json {
        return print_json(&states.iter().map(State::json).collect());
    }
    if arguments.long {
        return print(
            &states
                .iter()
                .map(|state| state.long(painter))
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
    print(&overview(&states, painter))
}

/// `oxtcp get`.
pub fn get(arguments: &Get) -> Result<()> {
    let settings: Vec<&Setting> = arguments
        .names
        .iter()
        .map(|name| {
            // The likeliest slip.
            match name.split_once('=') {
                Some((plain, value)) => Err(Problem::usage(format!(
                    "`get` takes names without values. To change it: oxtcp set {plain}={value}"
                ))),
                None => table::find(name),
            }
        })
        .collect::<Result<_>>()?;
    arguments.common.namespace.enter()?;
    let host = Host::here();
    let painter = Painter::new(arguments.common.color);
    let states = settings
        .into_iter()
        .map(|setting| State::of(&host, setting))
        .collect::<Result<Vec<_>>>()?;
    if arguments.common.json {
        print_json(&states.iter().map(State::json).collect())
    } else if arguments.values {
        print(
            &states
                .iter()
                .map(|state| state.value.clone() + "\n")
                .collect::<String>(),
        )
    } else {
        print(
            &states
                .iter()
                .map(|state| state.long(painter))
                .collect::<Vec<_>>()
                .join("\n"),
        )
    }
}

/// `oxtcp set`.
pub fn set(arguments: &Set) -> Result<()> {
    let wanted = arguments
        .settings
        .iter()
        .map(|text| {
            text.split_once('=').map(|(name, value)| (name.trim(), value)).ok_or_else(|| {
                Problem::usage(format!(
                    "`{text}` has no value. Say {text}=VALUE, or `oxtcp get {text}` to see it.\nNothing was changed."
                ))
            })
        })
        .collect::<Result<Vec<_>>>()?;
    arguments.common.namespace.enter()?;
    let host = Host::here();
    let changes = store::changes(&host, wanted)?;
    if !arguments.dry_run {
        make(&host, &changes, arguments.persist)?;
    }
    report(
        &host,
        &changes,
        arguments.dry_run,
        arguments.common.json,
        Painter::new(arguments.common.color),
    )
}

/// Makes the changes, and keeps them when that is asked for: both, or neither. What was kept comes back.
pub fn make(
    host: &Host,
    changes: &[Change],
    persist: bool,
) -> Result<Option<(Option<String>, String)>> {
    let kept = persist.then(|| Kept::prepare(host, changes)).transpose()?;
    store::apply(host, changes)?;
    let Some(kept) = kept else {
        return Ok(None);
    };
    let texts = (kept.before.clone(), kept.after.clone());
    kept.commit()
        .map_err(|problem| problem.and(&store::take_back(host, changes)))?;
    Ok(Some(texts))
}

/// What else would have to be changed for the changes to count, in a line.
fn note(host: &Host, changes: &[Change]) -> Option<String> {
    let somaxconn = changes
        .iter()
        .find(|change| change.setting.name == "somaxconn")?;
    let core: u64 = store::read_builtin(host, somaxconn.setting)?.parse().ok()?;
    let ours: u64 = somaxconn.to.parse().ok()?;
    (ours > core).then(|| {
        format!(
            "net.core.somaxconn is {core}, and bounds the backlog of programs first: somaxconn = {ours} counts when that is raised too \
             (sysctl net.core.somaxconn={ours}), for who listens after that."
        )
    })
}

/// Prints what was changed, or would be.
pub fn report(
    host: &Host,
    changes: &[Change],
    dry_run: bool,
    json: bool,
    painter: Painter,
) -> Result<()> {
    let note = note(host, changes);
    if json {
        let rows: Vec<_> = changes
            .iter()
            .map(|change| {
                json!({
                    "name": change.setting.name,
                    "from": change.setting.json(&change.from),
                    "to": change.setting.json(&change.to),
                })
            })
            .collect();
        return print_json(&json!({ "dry_run": dry_run, "changes": rows, "note": note }));
    }
    print(&diff(changes, painter))?;
    match note {
        Some(note) => print(&fold(&note, "", width())),
        None => Ok(()),
    }
}

/// The changes as a diff; what stays is said in a line of its own.
pub fn diff(changes: &[Change], painter: Painter) -> String {
    let mut table = Table::new(&["SETTING", "NOW", "", "THEN", "UNIT"], &[]);
    let mut same = Vec::new();
    for change in changes {
        if change.is_one() {
            table.row(vec![
                change.setting.name.into(),
                change.from.clone(),
                "->".into(),
                change.to.clone(),
                change.setting.unit().into(),
            ]);
        } else {
            same.push(format!("{} = {}", change.setting.name, change.to));
        }
    }
    let mut out = String::new();
    if same.len() < changes.len() {
        out += &table.render(painter);
    }
    if !same.is_empty() {
        out += &painter.paint(Ink::Dim, &format!("As it was: {}", same.join(", ")));
        out.push('\n');
    }
    out
}

/// A setting and what it has here.
struct State {
    setting: &'static Setting,
    value: String,
    builtin: Option<String>,
}

impl State {
    fn of(host: &Host, setting: &'static Setting) -> Result<Self> {
        Ok(Self {
            setting,
            value: store::read(host, setting)?,
            builtin: store::read_builtin(host, setting),
        })
    }

    fn is_changed(&self) -> bool {
        !matches!(self.setting.kind, Kind::ReadOnly { .. }) && self.value != self.setting.default()
    }

    fn json(&self) -> serde_json::Value {
        let setting = self.setting;
        let (least, most, choices) = match setting.kind {
            Kind::Numbers { least, most, .. } => (Some(least), Some(most), None),
            Kind::Choice { names, .. } => (None, None, Some(names)),
            Kind::ReadOnly { .. } => (None, None, None),
        };
        json!({
            "name": setting.name,
            "value": setting.json(&self.value),
            "default": setting.json(&setting.default()),
            "changed": self.is_changed(),
            "read_only": matches!(setting.kind, Kind::ReadOnly { .. }),
            "least": least,
            "most": most,
            "choices": choices,
            "unit": setting.unit(),
            "meaning": setting.meaning,
            "builtin": {
                "name": setting.builtin(),
                "value": self.builtin.as_deref().map(|value| setting.json(value)),
            },
        })
    }

    /// A paragraph.
    fn long(&self, painter: Painter) -> String {
        let setting = self.setting;
        let value = format!("{} = {}", setting.name, self.value);
        let mut out = if self.is_changed() {
            format!(
                "{} {}\n",
                painter.paint(Ink::Bold, &value),
                painter.paint(Ink::Yellow, "(not the default)")
            )
        } else {
            painter.paint(Ink::Bold, &value) + "\n"
        };
        let mut line = |what: &str, text: &str| {
            out += &format!("    {what:<9} {text}\n");
        };
        line("default", &setting.default());
        line("range", &setting.range());
        line("unit", setting.unit());
        line(
            "built-in",
            &match (setting.builtin(), &self.builtin) {
                (Some(name), Some(value)) => format!("{name} = {value}"),
                (Some(name), None) => format!("{name} is not to be seen here"),
                (None, _) => "has no such setting".into(),
            },
        );
        out += &fold(setting.meaning, "    ", width());
        out
    }
}

fn overview(states: &[State], painter: Painter) -> String {
    let mut table = Table::new(
        &[
            "SETTING", "VALUE", "", "DEFAULT", "RANGE", "UNIT", "BUILT-IN",
        ],
        &[],
    );
    for state in states {
        table.row(vec![
            state.setting.name.into(),
            state.value.clone(),
            if state.is_changed() { "*" } else { "" }.into(),
            state.setting.default(),
            state.setting.range(),
            state.setting.unit().into(),
            state.builtin.clone().unwrap_or("-".into()),
        ]);
    }
    table.render(painter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn states_are_shown() {
        let (_folder, host) = store::tests::loaded();
        fs::write(host.sysctl("net.oxtcp.fin_timeout"), "30\n").unwrap();
        let state = State::of(&host, table::find("fin_timeout").unwrap()).unwrap();
        let plain = Painter::new(Color::Never);
        assert_eq!(
            state.long(plain),
            "fin_timeout = 30 (not the default)\n    default   60\n    range     0 to 2147483\n    unit      seconds\n    \
             built-in  net.ipv4.tcp_fin_timeout = 45\n    Seconds in FIN-WAIT-2 without a program.\n"
        );
        assert_eq!(
            overview(&[state], plain),
            "SETTING      VALUE     DEFAULT  RANGE         UNIT     BUILT-IN\n\
             fin_timeout  30     *  60       0 to 2147483  seconds  45\n"
        );
        fs::write(host.sysctl("net.oxtcp.syn_cache"), "1\n").unwrap();
        let state = State::of(&host, table::find("syn_cache").unwrap()).unwrap();
        let long = state.long(plain);
        assert!(
            long.contains("\n    built-in  has no such setting\n"),
            "{long}"
        );
        assert_eq!(state.json()["builtin"]["name"], serde_json::Value::Null);
        let state = State::of(&host, table::find("available_congestion_control").unwrap()).unwrap();
        assert!(!state.is_changed());
        assert_eq!(state.json()["read_only"], true);
        assert_eq!(state.json()["builtin"]["value"], serde_json::Value::Null);
    }

    #[test]
    fn make_keeps_or_takes_back() {
        let (_folder, host) = store::tests::loaded();
        let changes = store::changes(&host, [("fin_timeout", "30")]).unwrap();
        // What the file is to replace is a folder: it cannot be.
        let path = host.path("etc/sysctl.d/60-oxtcp.conf");
        fs::create_dir_all(path.join("folder")).unwrap();
        let problem = make(&host, &changes, true).unwrap_err();
        assert!(problem.message().contains("60-oxtcp.conf"), "{problem}");
        assert_eq!(
            changes,
            store::changes(&host, [("fin_timeout", "30")]).unwrap()
        );
        fs::remove_dir_all(&path).unwrap();
        make(&host, &changes, true).unwrap();
        assert!(fs::read_to_string(&path)
            .unwrap()
            .ends_with("net.oxtcp.fin_timeout = 30\n"));
        assert!(!store::changes(&host, [("fin_timeout", "30")]).unwrap()[0].is_one());
    }

    #[test]
    fn diff_tells_what_stays() {
        let (_folder, host) = store::tests::loaded();
        let changes = store::changes(&host, [("fin_timeout", "30"), ("sack", "1")]).unwrap();
        assert_eq!(
            diff(&changes, Painter::new(Color::Never)),
            "SETTING      NOW      THEN  UNIT\nfin_timeout  60   ->  30    seconds\nAs it was: sack = 1\n"
        );
    }
}
