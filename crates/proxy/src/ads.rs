//! The control link: one discovery stream, opened anew whenever it ends; what it brings is applied, and what could not
//! be is refused by name. What was held last is kept on disk and used at the next start.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base::Backoff;
use model::cluster::workload_of;
use model::tls::MESH_ROOTS;
use model::{ConnectionLimits, ResourceKind};
use proto::envoy::config::core::v3::{Locality, Node as WireNode};
use proto::google::protobuf::value::Kind;
use proto::google::protobuf::{ListValue, Struct, Value};
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep, timeout};
use xds::Resource;
use xds::client::{ClientSession, Refusal, Update, Variant};
use xds::shell::{self, Command};

use crate::apply::{Changes, Discovery, Rejected};
use crate::bootstrap::{Mode, Node};
use crate::link::Links;
use crate::run::Side;
use crate::state::StateDir;
use crate::status::CONNECTED;
use crate::warm;

/// The first and longest bound of the wait between two streams. The longest is less than Envoy's 30 s: a control plane that
/// comes back, however long it was away, has its proxies back within 5 s.
const BETWEEN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// How long the first stream waits for a certificate that is being asked for, so that it speaks for us.
const FOR_CERTIFICATE: Duration = Duration::from_secs(5);
/// Changes within this are kept on disk together.
const GATHER: Duration = Duration::from_secs(1);

/// What the link is told at its start.
pub(crate) struct Plan {
    /// Who we are.
    pub node: Node,
    /// Delta or state of the world.
    pub mode: Mode,
    /// The name table is wanted.
    pub names: bool,
    /// The secret that is provided here: our certificate, which is asked for meanwhile.
    pub own: Option<&'static str>,
}

/// How many words for the session may wait while there is no stream.
pub(crate) const ORDERS: usize = 4;

/// Follows the control plane for as long as the proxy runs. By `session` others say what they have to; updates need no
/// order: they are applied at once, and what is wanted follows from them.
pub(crate) async fn follow(side: Rc<Side>, links: Links, plan: Plan, session: (Sender<Command>, Receiver<Command>)) {
    // A stream ends when nobody can say anything any more.
    let (_open, mut commands) = session;
    let mut session = ClientSession::new(wire_node(&plan.node, side.discovery()), variant(plan.mode));
    let keeper = Rc::new(Keeper::default());
    if let Some(state) = side.state().cloned() {
        match state.load_held() {
            Ok(held) => restore(&side, &mut session, held),
            Err(problem) => tracing::warn!("the configuration of the last time cannot be used: {problem}"),
        }
        tokio::task::spawn_local(keeper.clone().keep(state));
    }
    if !side.discovery().clusters {
        session.want_all(ResourceKind::Cluster);
    }
    session.want_all(ResourceKind::Listener);
    if plan.names {
        session.want_all(ResourceKind::Names);
    }
    if plan.own.is_some() {
        session.want(ResourceKind::Runtime, [ConnectionLimits::RESOURCE.into()]);
    }
    let own = plan.own;
    want(&side, &mut session, own);
    if own.is_some() && timeout(FOR_CERTIFICATE, links.proven()).await.is_err() {
        tracing::warn!("there is no certificate yet; the control plane is asked for configuration without one");
    }
    let mut backoff = Backoff::new(BETWEEN.0, BETWEEN.1);
    loop {
        match links.open().await {
            Ok(link) => {
                side.status().borrow_mut().control_plane = CONNECTED;
                // What was asked for meanwhile.
                want(&side, &mut session, own);
                let heard = std::cell::Cell::new(false);
                let end = shell::run(link, &mut session, &mut commands, |session, update| {
                    heard.set(true);
                    take(&side, session, update, own);
                    keeper.changed(session);
                })
                .await;
                if heard.get() {
                    backoff.reset();
                }
                tracing::info!("{end}");
            }
            Err(problem) => tracing::warn!("control plane: {problem}; what runs goes on"),
        }
        side.status().borrow_mut().control_plane = "disconnected";
        sleep(backoff.next_delay()).await;
    }
}

fn restore(side: &Side, session: &mut ClientSession, held: xds::client::Held) {
    let set = session.restore(held);
    if !set.is_empty() {
        let is_demanded = |resource: &&Resource| match resource.kind() {
            ResourceKind::VirtualHost => true,
            ResourceKind::Cluster => workload_of(&resource.name()).is_some(),
            _ => false,
        };
        let demanded = set.iter().filter(is_demanded).map(Resource::name);
        demanded.for_each(|name| _ = side.demand().borrow_mut().ask(name, Instant::now()));
        side.apply(Changes { set, removed: Vec::new() });
        side.has_configuration();
    }
}

/// Applies an update and says how that went.
fn take(side: &Side, session: &mut ClientSession, update: Update, own: Option<&str>) {
    let Update { nonce, kind, updated, removed, refused } = update;
    for error in &refused {
        tracing::warn!("{kind}: {error}");
    }
    let removed = removed.into_iter().map(|name| (kind, name)).collect();
    let rejected = side.apply(Changes { set: updated, removed });
    let refusals: Vec<Refusal> = rejected
        .into_iter()
        .filter(|r| r.kind == kind)
        .map(|Rejected { name, reason, .. }| Refusal { name, reason })
        .collect();
    session.resolve(&nonce, if refusals.is_empty() { Ok(()) } else { Err(refusals) });
    want(side, session, own);
    if session.is_complete() {
        side.has_configuration();
    }
}

/// A word for the session: what is wanted may have changed.
pub(crate) fn ask_anew(side: &Rc<Side>, own: Option<&'static str>) -> Command {
    let side = side.clone();
    Command::Do(Box::new(move |session| want(&side, session, own)))
}

/// Asks for what requests, listeners and clusters name, and forgets what they do not name any more.
fn want(side: &Side, session: &mut ClientSession, own: Option<&str>) {
    let demanded: BTreeSet<Arc<str>> = side.demand().borrow().names().cloned().collect();
    let (workloads, hosts): (BTreeSet<_>, BTreeSet<_>) =
        demanded.into_iter().partition(|name| workload_of(name).is_some());
    if side.discovery().virtual_hosts {
        want_named(side, session, ResourceKind::VirtualHost, hosts);
    }
    if side.discovery().clusters {
        let mut names = side.applier().borrow().named_clusters();
        names.extend(workloads);
        want_named(side, session, ResourceKind::Cluster, names);
    }
    let mut names = warm::wanted_names(side.applier().borrow().wanted());
    for kind in [ResourceKind::Endpoints, ResourceKind::Route, ResourceKind::Secret] {
        let mut names = names.remove(&kind).unwrap_or_default();
        if kind == ResourceKind::Secret && own.is_some() {
            // By them the control plane is checked, and when they are others the certificate is renewed.
            names.insert(MESH_ROOTS.into());
        }
        side.applier().borrow_mut().forget_unnamed(kind, &names);
        session.want(kind, names.into_iter().filter(|name| own != Some(&**name)));
    }
}

/// Asks for these; others are gone at once, from what runs too.
fn want_named(side: &Side, session: &mut ClientSession, kind: ResourceKind, names: BTreeSet<Arc<str>>) {
    let changed = side.applier().borrow_mut().forget_unnamed(kind, &names);
    session.want(kind, names);
    if changed {
        side.apply(Changes::default());
    }
}

/// Writes what is held to disk, a little later and at most once per [`GATHER`].
#[derive(Default)]
struct Keeper {
    newest: RefCell<Option<Vec<u8>>>,
    changed: Notify,
}

impl Keeper {
    fn changed(&self, session: &ClientSession) {
        *self.newest.borrow_mut() = Some(session.held().to_bytes());
        self.changed.notify_one();
    }

    async fn keep(self: Rc<Self>, state: StateDir) {
        loop {
            self.changed.notified().await;
            sleep(GATHER).await;
            let Some(bytes) = self.newest.take() else { continue };
            let writer = state.clone();
            let written = tokio::task::spawn_blocking(move || writer.save_held(&bytes)).await;
            if let Ok(Err(error)) = written {
                let folder = state.path().display();
                tracing::warn!(
                    "{folder}: the configuration cannot be kept for the next start: {error}; the one kept before stays"
                );
            }
        }
    }
}

fn variant(mode: Mode) -> Variant {
    match mode {
        Mode::Delta => Variant::Delta,
        Mode::Sotw => Variant::Sotw,
    }
}

fn wire_node(node: &Node, discovery: Discovery) -> WireNode {
    let mut metadata = node.metadata.clone();
    if discovery.clusters
        && let Some(halcyon) = metadata.get_mut("HALCYON").and_then(serde_json::Value::as_object_mut)
    {
        halcyon.insert("on_demand".to_owned(), true.into());
    }
    let model::Locality { region, zone, sub_zone } = node.locality.clone();
    WireNode {
        id: node.id.clone(),
        cluster: node.cluster.clone(),
        metadata: Some(structure(&metadata)),
        locality: Some(Locality { region, zone, sub_zone }),
        user_agent_name: "halcyon-proxy".to_owned(),
        ..WireNode::default()
    }
}

fn structure(object: &serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct { fields: object.iter().map(|(key, value)| (key.clone(), wire_value(value))).collect() }
}

fn wire_value(value: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(*flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(wire_value).collect() }),
        Json::Object(object) => Kind::StructValue(structure(object)),
    };
    Value { kind: Some(kind) }
}
