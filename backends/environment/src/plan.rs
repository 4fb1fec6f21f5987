//! From text to a plan: which engine is opened with which table. Opens nothing.
//!
//! ```text
//!  text ─► document ─► layers: [default] ◄─ profile ◄─ variables ─► sections ─► engine known? allowed? ─► check ─► Plan
//!             └──────────────┴─────────────────┴────────────┴───────────┴───────────────┴───────────────┴──► Faults
//! ```

use std::path::Path;
use std::sync::Arc;

use onex_spi::Result;
use onex_spi::provider::{Port, Provider};
use toml::{Table, Value};

use crate::check::check;
use crate::document;
use crate::fault::{Faults, Origin, listed};
use crate::http_policy::HttpPolicy;
use crate::layer::{Layer, Section};
use crate::names::{DEFAULT, policy_of, port_of};
use crate::reference::{Redaction, References};
use crate::require::Requirement;
use crate::table::{OwnTable, Tables};
use crate::tree::{Keys, NodeValue};
use crate::variables::Variables;

/// What the program brings to a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub(crate) providers: Vec<Arc<dyn Provider>>,
    pub(crate) requirements: Vec<Requirement>,
    /// Tables beside the profiles that are the program's.
    pub(crate) tables: Vec<OwnTable>,
}

impl Program {
    fn offering(&self, port: Port) -> impl Iterator<Item = &Arc<dyn Provider>> {
        self.providers.iter().filter(move |provider| provider.ports().contains(&port))
    }

    /// Lists the engines for `port`, for a message.
    fn engines(&self, port: Port) -> String {
        match self.offering(port).next() {
            Some(_) => listed(self.offering(port).map(|provider| provider.name())),
            None => "none; hand the builder a provider".to_owned(),
        }
    }
}

/// What will be opened. Has no `Debug`: its tables hold secrets.
pub(crate) struct Plan {
    pub(crate) file: String,
    pub(crate) profile: String,
    /// In the order of opening.
    pub(crate) sections: Vec<PlannedSection>,
    pub(crate) redaction: Redaction,
    pub(crate) tables: Tables,
}

/// One engine to open.
pub(crate) struct PlannedSection {
    pub(crate) port: Port,
    pub(crate) provider: Arc<dyn Provider>,
    /// Where the engine was named.
    pub(crate) origin: Origin,
    /// The engine's keys.
    pub(crate) table: Table,
    /// The policy above an HTTP transport.
    pub(crate) http: Option<HttpPolicy>,
}

/// Reads `text` for `profile`; `base` is the folder that `file:` references start from.
pub(crate) fn plan(
    text: &str,
    file: &str,
    base: &Path,
    profile: &str,
    variables: &Variables,
    program: &Program,
) -> Result<Plan> {
    let mut faults = Faults::default();
    let mut document = document::read(text, &mut faults);
    if !faults.is_empty() {
        // What a broken text means is a guess.
        return Err(faults.into_error(file, profile));
    }
    refuse_twins(program, &mut faults);
    let own: Vec<_> = program
        .tables
        .iter()
        .filter_map(|table| Some((table, table.take(&mut document, &mut faults)?)))
        .collect();
    let layer = layers(document, profile, variables, &mut faults);
    let mut references = References::new(variables, base);
    let (mut sections, mut tables) = (Vec::new(), Tables::default());
    if let Some(mut layer) = layer {
        for &requirement in &program.requirements {
            if !layer.sections.contains_key(&requirement.port()) {
                refuse_absent(requirement, profile, program, &mut faults);
            }
        }
        let has_breaker = layer.sections.contains_key(&Port::CircuitBreaker);
        let ports: Vec<Port> = layer.sections.keys().copied().collect();
        for (table, keys) in own {
            tables.insert(table.name.clone(), table.read(keys, &ports, &mut references, &mut faults));
        }
        for &port in Port::ALL {
            let Some(section) = layer.sections.remove(&port) else { continue };
            let planning = Planning { profile, layer: &layer, program, has_breaker };
            sections.extend(planning.section(port, section, &mut references, &mut faults));
        }
    }
    if !faults.is_empty() {
        return Err(faults.into_error(file, profile));
    }
    let redaction = references.redaction();
    Ok(Plan { file: file.to_owned(), profile: profile.to_owned(), sections, redaction, tables })
}

fn refuse_twins(program: &Program, faults: &mut Faults) {
    for &port in Port::ALL {
        let mut names: Vec<&str> = program.offering(port).map(|provider| provider.name()).collect();
        names.sort_unstable();
        for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            let message = format!("two providers offer {} under the name `{}`", port.section(), pair[0]);
            faults.add(Origin::Program, "", message);
        }
    }
}

fn refuse_absent(requirement: Requirement, profile: &str, program: &Program, faults: &mut Faults) {
    let port = requirement.port();
    let (section, engines) = (port.section(), program.engines(port));
    let message = format!(
        "the program requires {requirement}; add [{profile}.{section}] with an engine; registered: {engines}"
    );
    faults.add(Origin::TOP, "", message);
}

/// Lays the layers on one another; every profile of the file is looked at, whichever is asked for.
fn layers(document: Keys, profile: &str, variables: &Variables, faults: &mut Faults) -> Option<Layer> {
    let (mut base, mut chosen) = (Layer::default(), None);
    let mut known = Vec::new();
    for (name, entry) in document {
        let NodeValue::Table(keys) = entry.node.value else {
            let message = format!("stands outside of every profile; write it in [{DEFAULT}] or in a profile");
            faults.add(entry.key, &name, message);
            continue;
        };
        if port_of(&name).is_some() {
            let message = format!("is a section, and sections stand in profiles; write [{DEFAULT}.{name}]");
            faults.add(entry.key, &name, message);
            continue;
        }
        let layer = Layer::of_profile(&name, keys, faults);
        match name.as_str() {
            DEFAULT => base = layer,
            _ if name == profile => chosen = Some(layer),
            _ => {}
        }
        known.push(name);
    }
    let over = Layer::of_variables(variables.tree(faults), faults);
    match chosen {
        Some(chosen) => base.overlay(chosen),
        None if profile == DEFAULT && known.iter().any(|name| name == DEFAULT) => {}
        None => {
            let message = format!("unknown profile `{profile}`; known: {}", listed(known));
            faults.add(Origin::TOP, "", message);
            return None;
        }
    }
    base.overlay(over);
    Some(base)
}

struct Planning<'a> {
    profile: &'a str,
    layer: &'a Layer,
    program: &'a Program,
    has_breaker: bool,
}

impl Planning<'_> {
    fn section(
        &self,
        port: Port,
        mut section: Section,
        references: &mut References<'_>,
        faults: &mut Faults,
    ) -> Option<PlannedSection> {
        let name = port.section();
        self.refuse_dangerous(port, &section, faults);
        let provider = self.provider(port, &section, faults);
        let home = section.engine.as_ref().map_or(&section.home, |(origin, _)| origin).clone();
        let judge = |table: &Table| provider.map(|provider| provider.check(port, table)).unwrap_or_default();
        let table = check(name, &home, &mut section.keys, references, faults, &judge);
        let http = (port == Port::HttpTransport).then(|| {
            let (home, keys) = section.policy.unwrap_or_else(|| (home.clone(), Keys::new()));
            HttpPolicy::read(&home, keys, self.profile, self.has_breaker, references, faults)
        });
        Some(PlannedSection { port, provider: Arc::clone(provider?), origin: home, table, http })
    }

    fn provider(&self, port: Port, section: &Section, faults: &mut Faults) -> Option<&Arc<dyn Provider>> {
        let (name, profile) = (port.section(), self.profile);
        let subject = format!("{name}.engine");
        let Some((origin, engine)) = &section.engine else {
            let message = format!(
                "no engine is named; write engine = \"..\" in [{profile}.{name}]; registered: {}",
                self.program.engines(port)
            );
            faults.add(section.home.clone(), name, message);
            return None;
        };
        if engine.is_empty() {
            return None;
        }
        let Some(provider) = self.program.offering(port).find(|provider| provider.name() == engine) else {
            let known = self.program.engines(port);
            let message = format!("unknown engine `{engine}`; registered for {name}: {known}");
            faults.add(origin.clone(), &subject, message);
            return None;
        };
        if self.layer.production && !provider.production() && !self.layer.allow_development_engines {
            let message = format!(
                "`{engine}` is not for production, which the profile {profile} is; name another engine, or write \
                 allow_development_engines = true in [{profile}]"
            );
            faults.add(origin.clone(), &subject, message);
        }
        Some(provider)
    }

    fn refuse_dangerous(&self, port: Port, section: &Section, faults: &mut Faults) {
        let name = port.section();
        if !self.layer.production || self.layer.allow_dangerous_keys {
            return;
        }
        self.refuse_dangerous_keys(name, &section.keys, faults);
        if let (Some(table), Some((_, keys))) = (policy_of(port), &section.policy) {
            self.refuse_dangerous_keys(&format!("{name}.{table}"), keys, faults);
        }
    }

    fn refuse_dangerous_keys(&self, subject: &str, keys: &Keys, faults: &mut Faults) {
        for (key, entry) in keys {
            let subject = format!("{subject}.{key}");
            match &entry.node.value {
                value if value.plain() == Some(&Value::Boolean(false)) => {}
                _ if key.starts_with("dangerous") => {
                    let message = format!(
                        "is not for production, which the profile {0} is; take it out, or write \
                         allow_dangerous_keys = true in [{0}]",
                        self.profile
                    );
                    faults.add(entry.key.clone(), &subject, message);
                }
                NodeValue::Table(below) => self.refuse_dangerous_keys(&subject, below, faults),
                _ => {}
            }
        }
    }
}
