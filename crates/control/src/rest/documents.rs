//! Apply, delete and show resources.

use api::{Kind, Problem, ResourceKey};
use axum::Extension;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Json, Query, State};
use http::StatusCode;
use serde_json::Value;

use super::{Answer, Parts, Refused, Shared, body, failure, gate, query};
use crate::callers::{Caller, Right};
use crate::store::{ChangeError, Done, Set, Stored};
use crate::v1::{
    ApplyRequest, ApplyResponse, DeleteRequest, Document, Failure, Problems, ResourceQuery, ResourceView, Resources,
};
use crate::{patches, redact};

type Body<T> = Result<Json<T>, JsonRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;

type Me = Extension<Caller>;

pub async fn apply(
    State(parts): Shared,
    Extension(caller): Me,
    request: Body<ApplyRequest>,
) -> Answer<Json<ApplyResponse>> {
    apply_set(&parts, &caller, body(request)?).await.map(done)
}

/// Reads a set and gives it to the store.
pub async fn apply_set(parts: &Parts, caller: &Caller, request: ApplyRequest) -> Answer<Done> {
    let ApplyRequest { documents, namespace, dry_run, strict } = request;
    if !dry_run {
        needs_to_change(parts, caller, "apply", &documents).await?;
    }
    let (resources, problems) = parse(documents, namespace).await?;
    let keys: Vec<ResourceKey> = resources.iter().map(|resource| resource.key()).collect();
    needs(parts, caller, "apply", &keys, dry_run).await?;
    if problems.iter().any(Problem::is_error) || strict && !problems.is_empty() {
        return Err(refused(problems));
    }
    let set = Set { resources, warnings: problems, dry_run, strict, by: caller.by.clone() };
    parts.store.apply(set).await.map_err(Refused::from)
}

/// A dry run only reads; but whether a Secret is as one says is for those to know who may write it.
async fn needs(parts: &Parts, caller: &Caller, action: &str, keys: &[ResourceKey], dry_run: bool) -> Answer<()> {
    if !dry_run {
        return needs_to_write(parts, caller, action, keys).await;
    }
    let secrets: Vec<ResourceKey> = keys.iter().filter(|key| key.kind == Kind::Secret).cloned().collect();
    if secrets.is_empty() { Ok(()) } else { needs_to_write(parts, caller, action, &secrets).await }
}

/// Who may change nothing at all is not read; the audit log has the names of the files then.
async fn needs_to_change(parts: &Parts, caller: &Caller, action: &str, documents: &[Document]) -> Answer<()> {
    let Err(denied) = caller.needs(Right::Write) else { return Ok(()) };
    let name = |document: &Document| document.file.chars().filter(|c| !c.is_control()).take(100).collect::<String>();
    let files: Vec<String> = documents.iter().take(20).map(name).collect();
    Err(gate::deny(parts, caller, action, &files.join(", "), denied).await)
}

async fn needs_to_write(parts: &Parts, caller: &Caller, action: &str, keys: &[ResourceKey]) -> Answer<()> {
    let allowed = caller.needs(Right::Write).and_then(|()| caller.needs_to_write(keys));
    let Err(denied) = allowed else { return Ok(()) };
    let what: Vec<String> = keys.iter().take(20).map(ToString::to_string).collect();
    Err(gate::deny(parts, caller, action, &what.join(", "), denied).await)
}

pub async fn delete(
    State(parts): Shared,
    Extension(caller): Me,
    request: Body<DeleteRequest>,
) -> Answer<Json<ApplyResponse>> {
    let DeleteRequest { documents, namespace, dry_run } = body(request)?;
    if !dry_run {
        needs_to_change(&parts, &caller, "delete", &documents).await?;
    }
    let (resources, mut problems) = parse(documents, namespace).await?;
    // What does not hold any more can still be deleted, as long as its name can be read.
    let mut keys: Vec<ResourceKey> = resources.iter().map(|resource| resource.key()).collect();
    keys.extend(problems.iter().filter_map(|problem| problem.resource.clone()));
    problems.retain(|problem| problem.is_error() && problem.resource.is_none());
    if !problems.is_empty() {
        return Err(refused(problems));
    }
    needs(&parts, &caller, "delete", &keys, dry_run).await?;
    parts.store.delete(keys, dry_run, caller.by).await.map(done).map_err(Refused::from)
}

/// By kind and name; without a name every resource of the kind. Without a kind nothing: a slip must not empty the mesh.
pub async fn delete_named(
    State(parts): Shared,
    Extension(caller): Me,
    asked: Asked<ResourceQuery>,
) -> Answer<Json<ApplyResponse>> {
    let asked = query(asked)?;
    let Some(kind) = kind(&asked)? else {
        return Err(failure(
            StatusCode::BAD_REQUEST,
            "which resources are to be deleted is not clear",
            "name their kind, and one of them unless all of the kind are meant",
        ));
    };
    let keys: Vec<ResourceKey> = if asked.name.is_empty() || asked.all_namespaces {
        parts.store.now().resources.keys().filter(|key| fits(key, Some(kind), &asked)).cloned().collect()
    } else {
        let namespace = kind.is_namespaced().then(|| namespace(&asked).to_owned());
        vec![ResourceKey { kind, namespace, name: asked.name }]
    };
    needs_to_write(&parts, &caller, "delete", &keys).await?;
    parts.store.delete(keys, false, caller.by).await.map(done).map_err(Refused::from)
}

pub async fn list(State(parts): Shared, asked: Asked<ResourceQuery>) -> Answer<Json<Resources>> {
    let asked = query(asked)?;
    let kind = kind(&asked)?;
    let now = parts.store.now();
    let found = now.resources.iter().filter(|(key, _)| fits(key, kind, &asked));
    let resources = found.map(|(key, stored)| view(key, stored)).collect();
    Ok(Json(Resources { version: now.version, resources }))
}

fn fits(key: &ResourceKey, kind: Option<Kind>, asked: &ResourceQuery) -> bool {
    let in_namespace = key.namespace.as_deref().is_none_or(|n| asked.all_namespaces || n == namespace(asked));
    in_namespace && kind.is_none_or(|kind| key.kind == kind) && (asked.name.is_empty() || key.name == asked.name)
}

pub async fn problems(State(parts): Shared) -> Json<Problems> {
    let now = parts.store.now();
    let problems = now.source_problems.iter().chain(&*now.problems).cloned().collect();
    Json(Problems { version: now.version, problems })
}

/// All that there is to say of what is applied; made when it is asked for.
pub async fn analysis(State(parts): Shared) -> Answer<Json<Problems>> {
    let now = parts.store.now();
    let nodes: Vec<_> = parts.proxies.nodes().into_iter().map(|(node, _)| node).collect();
    let analyze = move || {
        let resources: Vec<_> = now.resources.values().map(|stored| stored.resource.clone()).collect();
        let of_sources = now.source_problems.iter().cloned().map(translate::by_code);
        let live = patches::check_live(&now.world, &nodes);
        let problems = of_sources.chain(patches::analyze(&now.world, &resources)).chain(live).collect();
        Json(Problems { version: now.version, problems })
    };
    tokio::task::spawn_blocking(analyze).await.map_err(stopping)
}

/// Reads the files of a call, off the runtime's thread.
async fn parse(
    documents: Vec<Document>,
    namespace: Option<String>,
) -> Answer<(Vec<std::sync::Arc<api::Resource>>, Vec<Problem>)> {
    let read = move || {
        let namespace = namespace.as_deref().unwrap_or(api::DEFAULT_NAMESPACE);
        let (mut resources, mut problems) = (Vec::new(), Vec::new());
        for document in documents {
            let parsed = api::parse_in(namespace, &document.file, &document.text);
            resources.extend(parsed.resources);
            problems.extend(parsed.problems);
        }
        (resources, problems)
    };
    tokio::task::spawn_blocking(read).await.map_err(stopping)
}

pub fn stopping(_: tokio::task::JoinError) -> Refused {
    failure(StatusCode::SERVICE_UNAVAILABLE, "the control plane is stopping", "try again")
}

fn done(done: Done) -> Json<ApplyResponse> {
    Json(ApplyResponse { version: done.version, results: done.results, problems: done.problems })
}

fn refused(problems: Vec<Problem>) -> Refused {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let error = match errors {
        0 => "the set has warnings, and none are wanted; nothing of it is stored".to_owned(),
        1 => "the set has an error; nothing of it is stored".to_owned(),
        errors => format!("the set has {errors} errors; nothing of it is stored"),
    };
    let hint = "correct what is said and apply the set again".to_owned();
    Refused(StatusCode::UNPROCESSABLE_ENTITY, Failure { error, hint, problems })
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(problems) => refused(problems),
            ChangeError::Store(error) => error.into(),
        }
    }
}

fn kind(asked: &ResourceQuery) -> Answer<Option<Kind>> {
    if asked.kind.is_empty() {
        return Ok(None);
    }
    let unknown = |e: api::kind::UnknownKind| failure(StatusCode::BAD_REQUEST, e.to_string(), "name a kind");
    asked.kind.parse().map(Some).map_err(unknown)
}

fn namespace(asked: &ResourceQuery) -> &str {
    if asked.namespace.is_empty() { api::DEFAULT_NAMESPACE } else { &asked.namespace }
}

fn view(key: &ResourceKey, stored: &Stored) -> ResourceView {
    let created = crate::timestamp(stored.created);
    let mut document = stored.resource.document().clone();
    if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("creationTimestamp".to_owned(), created.clone().into());
        metadata.insert("generation".to_owned(), stored.generation.into());
    }
    redact::document(key.kind, &mut document);
    ResourceView {
        key: key.clone(),
        origin: stored.resource.origin.clone(),
        source: stored.holder.name().to_owned(),
        created,
        generation: stored.generation,
        document,
    }
}
