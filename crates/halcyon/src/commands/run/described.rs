//! What the mesh knows of a workload before it runs: what was typed, completed by its WorkloadGroup or by a Deployment of
//! the same labels.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use api::istio::{ReadinessProbe, WorkloadGroup};
use api::{Origin, Resource, Spec};
use control::v1::ResourceQuery;
use serde_json::Value;

use crate::cli::{Locality, Place, Port, RunArgs};

/// What the mesh knows of a workload.
pub struct Described {
    pub workload: String,
    pub service_account: String,
    pub labels: BTreeMap<String, String>,
    pub locality: Locality,
    /// Its share among its neighbours.
    pub weight: u32,
    /// The ports on which its program listens, if none were said.
    pub ports: Vec<Port>,
    /// What tells that its program is ready, if nothing else was said.
    pub probe: Option<ReadinessProbe>,
    /// Annotations, as its pod would have them.
    pub annotations: BTreeMap<String, String>,
}

impl Described {
    /// From what was typed, which counts more than what was applied.
    pub async fn of(place: &Place, args: &RunArgs) -> Result<Self> {
        match &args.group {
            Some(name) => Ok(Self::by_group(name, &group(place, args, name).await?, args)),
            None => Ok(Self::by_deployment(place, args).await),
        }
    }

    fn by_group(name: &str, group: &WorkloadGroup, args: &RunArgs) -> Self {
        let mut labels = group.labels();
        for (key, value) in [("app", &args.service), ("version", &args.version)] {
            labels.entry(key.to_owned()).or_insert_with(|| value.clone());
        }
        labels.extend(args.labels.iter().cloned());
        let template = &group.template;
        let account = Some(template.service_account.clone()).filter(|account| !account.is_empty());
        Self {
            workload: name.to_owned(),
            service_account: args.service_account.clone().or(account).unwrap_or_else(|| "default".to_owned()),
            labels,
            locality: args.locality.clone().unwrap_or_else(|| {
                let place = translate::locality::read(&template.locality);
                Locality { region: place.region, zone: place.zone, sub_zone: place.sub_zone }
            }),
            weight: template.weight.unwrap_or(1).max(1),
            ports: template.ports.iter().filter_map(port).collect(),
            probe: group.probe.clone(),
            annotations: group.metadata.as_ref().map(|metadata| metadata.annotations.clone()).unwrap_or_default(),
        }
    }

    async fn by_deployment(place: &Place, args: &RunArgs) -> Self {
        let mut labels: BTreeMap<String, String> =
            [("app".to_owned(), args.service.clone()), ("version".to_owned(), args.version.clone())].into();
        labels.extend(args.labels.iter().cloned());
        let told = args.join.control.is_none();
        let deployment =
            if told { alike(place, args, "Deployment", "/spec/template/metadata/labels", &labels).await } else { None };
        let pod = if told && deployment.is_none() {
            alike(place, args, "Pod", "/metadata/labels", &labels).await
        } else {
            None
        };
        let annotations = match (&deployment, &pod) {
            (Some(deployment), _) => annotations(deployment, "/spec/template/metadata/annotations"),
            (None, Some(pod)) => annotations(pod, "/metadata/annotations"),
            (None, None) => BTreeMap::new(),
        };
        let found = deployment.unwrap_or_default();
        let text = |pointer: &str| found.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        if let Some(more) = found.pointer("/spec/template/metadata/labels").and_then(Value::as_object) {
            for (key, value) in more.iter().filter_map(|(key, value)| Some((key, value.as_str()?))) {
                labels.entry(key.clone()).or_insert_with(|| value.to_owned());
            }
        }
        let account = text("/spec/template/spec/serviceAccountName");
        Self {
            workload: text("/metadata/name").unwrap_or_else(|| format!("{}-{}", args.service, args.version)),
            service_account: args.service_account.clone().or(account).unwrap_or_else(|| "default".to_owned()),
            labels,
            locality: args.locality.clone().unwrap_or_default(),
            weight: 1,
            ports: Vec::new(),
            probe: None,
            annotations,
        }
    }
}

/// A port of a template: its name declares the protocol.
fn port((name, number): (&String, &u32)) -> Option<Port> {
    Some(Port { number: u16::try_from(*number).ok()?, name: Some(name.clone()) })
}

fn annotations(document: &Value, at: &str) -> BTreeMap<String, String> {
    let found = document.pointer(at).and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    found.into_iter().flatten().filter_map(text).collect()
}

/// The WorkloadGroup of that name, which has to be there.
async fn group(place: &Place, args: &RunArgs, name: &str) -> Result<WorkloadGroup> {
    if args.join.control.is_some() {
        bail!(
            "--group: the control plane of another machine does not tell its documents; expected a control plane on this \
             machine; say --label, --service-account and --locality instead"
        );
    }
    let query = ResourceQuery {
        kind: "WorkloadGroup".to_owned(),
        namespace: args.namespace.clone(),
        name: name.to_owned(),
        ..ResourceQuery::default()
    };
    let found = crate::commands::client(place)?.resources(&query).await?.resources;
    let document = found.into_iter().next().with_context(|| {
        format!("--group: there is no WorkloadGroup `{name}` in the namespace `{}`; apply it first", args.namespace)
    })?;
    let read = Resource::from_json(&document.document, Origin::default());
    match read.map(|resource| resource.spec) {
        Ok(Spec::WorkloadGroup(group)) => Ok(*group),
        _ => bail!("--group: the WorkloadGroup `{name}` cannot be read; apply it again"),
    }
}

/// The document of that kind whose pods have the same labels.
async fn alike(
    place: &Place,
    args: &RunArgs,
    kind: &str,
    at: &str,
    labels: &BTreeMap<String, String>,
) -> Option<Value> {
    let query = ResourceQuery { kind: kind.to_owned(), namespace: args.namespace.clone(), ..ResourceQuery::default() };
    let found = crate::commands::client(place).ok()?.resources(&query).await.ok()?.resources;
    found.into_iter().map(|r| r.document).find(|document| {
        let template = document.pointer(at);
        ["app", "version"].iter().all(|key| {
            template.and_then(|t| t.get(key)).and_then(Value::as_str) == labels.get(*key).map(String::as_str)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::commands::run::args_of as run;

    #[test]
    fn what_a_group_says() {
        let text = "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: g}\nspec:\n  metadata: {labels: {app: old, tier: back}}\n  template: {labels: {app: reviews}, serviceAccount: machine, locality: us/z1, weight: 3, ports: {http: 9080}}\n  probe: {httpGet: {port: 8080, path: /ready}}\n";
        let parsed = api::parse("g.yaml", text);
        let Spec::WorkloadGroup(group) = &parsed.resources[0].spec else { panic!("{:?}", parsed.problems) };
        let found = Described::by_group("g", group, &run("--service reviews --group g --label tier=front"));
        let labels: Vec<(&str, &str)> = found.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(labels, [("app", "reviews"), ("tier", "front"), ("version", "v1")]);
        assert_eq!((found.workload.as_str(), found.service_account.as_str(), found.weight), ("g", "machine", 3));
        assert_eq!((found.locality.region.as_str(), found.locality.zone.as_str()), ("us", "z1"));
        assert_eq!(found.probe.unwrap().http_get.unwrap().path, "/ready");
        assert_eq!(found.ports, [Port { number: 9080, name: Some("http".into()) }]);
        let told = run("--service reviews --group g --service-account own --locality eu");
        let found = Described::by_group("g", group, &told);
        assert_eq!((found.service_account.as_str(), found.locality.region.as_str()), ("own", "eu"));
    }
}
