//! Settings of the mesh and of proxies: where they are read, and what is wrong with them, with the place in the file.

use api::istio::{MeshConfig, MeshProxyConfig, NormalizationType};

/// A ConfigMap with these settings in a literal block, which begins in line 6.
fn config_map(settings: &str) -> String {
    let indented: String = settings.trim_start_matches('\n').lines().map(|line| format!("    {line}\n")).collect();
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio}}\ndata:\n  mesh: |\n{indented}")
}

#[test]
fn what_is_wrong_is_said_where_it_stands() {
    for (settings, expected) in [
        ("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\naccessLogFile: /dev/stdout\n", &[][..]),
        (
            "rootNamespace: istio-system\noutboundTrafficPolicy:\n  mode: REGISTRY\n",
            &["8 error: data.mesh.outboundTrafficPolicy.mode: `REGISTRY` is not known here"],
        ),
        ("accesLogFile: /dev/stdout\n", &["6 error: data.mesh.accesLogFile: the field `accesLogFile` is not known"]),
        ("connectTimeout: 2h\n", &["6 error: data.mesh.connectTimeout: the limit is out of range"]),
        (
            "defaultServiceExportTo: ['~']\ndefaultVirtualServiceExportTo: ['~']\n",
            &["7 error: data.mesh.defaultVirtualServiceExportTo[0]: `~` is not a namespace"],
        ),
        (
            "accessLogEncoding: JSON\naccessLogFormat: 'a: [b]'\n",
            &["7 error: data.mesh.accessLogFormat: the format is no JSON object of texts"],
        ),
        ("accessLogEncoding: JSON\naccessLogFormat: '{\"a\": \"%REQ(B)%\"}'\n", &[]),
        (
            "defaultHttpRetryPolicy: {retryOn: 5xx}\ndefaultInboundHttpRetryPolicy: {}\n",
            &["6 error: data.mesh.defaultHttpRetryPolicy: retries are set up without `attempts`, which then is 0"],
        ),
        (
            "defaultConfig:\n  statusPort: 2\n  connectionSettings: {httpMaxConcurrentStreams: 0}\n",
            &[
                "7 warning: data.mesh.defaultConfig.statusPort: this is not enforced yet: the ports are those that a workload is started with",
                "8 error: data.mesh.defaultConfig.connectionSettings.httpMaxConcurrentStreams: 0 lets nobody in",
            ],
        ),
        (
            "trustDomainAliases: [old.example, A]\ncaCertificates:\n- {pem: x}\n- {trustDomains: [a]}\n- {pem: x, spiffeBundleUrl: b}\n- {spiffeBundleUrl: 'http://b'}\n- {spiffeBundleUrl: 'https://a:b@c/'}\n- {spiffeBundleUrl: 'https://c:8443/b#spiffe://c/b', trustDomains: [c]}\n",
            &[
                "6 error: data.mesh.trustDomainAliases[1]: `A` is no trust domain",
                "8 error: data.mesh.caCertificates[0].pem: there is no readable certificate in it",
                "9 error: data.mesh.caCertificates[1]: nothing says what is trusted",
                "10 error: data.mesh.caCertificates[2]: `pem` and `spiffeBundleUrl` exclude each other",
                "11 error: data.mesh.caCertificates[3].spiffeBundleUrl: `http://b` is no place of a SPIFFE bundle",
                "12 error: data.mesh.caCertificates[4].spiffeBundleUrl: the URL names a user",
            ],
        ),
        ("- a\n", &["6 error: data.mesh: a list stands here"]),
    ] {
        assert_eq!(crate::problems(&config_map(settings)), expected, "{settings}");
    }
}

#[test]
fn text_that_is_no_block_has_the_place_of_its_beginning() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: \"a: 1\\nb: 2\"\n";
    let found = crate::problems(text);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|problem| problem.starts_with("5 error: data.mesh.")), "{found:#?}");
    let broken = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata: {mesh: 'a: ['}\n";
    assert!(crate::problems(broken)[0].starts_with("4 error: data.mesh: not valid YAML"), "{broken}");
}

#[test]
fn other_config_maps_are_not_looked_into() {
    for (name, key) in [("other", "mesh"), ("istio", "meshNetworks")] {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{{key}: 'a: 1'}}\n");
        assert_eq!(crate::problems(&text), [""; 0]);
    }
}

#[test]
fn annotations_hold_settings_of_proxies() {
    let pod = "
apiVersion: v1
kind: Pod
metadata:
  name: x
  annotations:
    proxy.istio.io/config: |
      gatewayTopology: {numTrustedProxies: 1}
      proxyHeaders: {server: {valu: a}}
spec: {containers: [{name: a}]}
";
    assert_eq!(
        crate::problems(pod),
        [
            "9 error: metadata.annotations[\"proxy.istio.io/config\"].proxyHeaders.server.valu: the field `valu` is not known"
        ]
    );
    let deployment = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: x}
spec:
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}, annotations: {proxy.istio.io/config: 'connectionSettings: {profile: EDGY}'}}
    spec: {containers: [{name: a}]}
";
    assert_eq!(
        crate::problems(deployment),
        [
            "8 error: spec.template.metadata.annotations[\"proxy.istio.io/config\"].connectionSettings.profile: `EDGY` is not known here"
        ]
    );
}

#[test]
fn read_again() {
    let config = MeshConfig::read("pathNormalization: {normalization: NONE}\naccess_log_file: ''\n").unwrap();
    assert_eq!(config.path_normalization.unwrap().normalization, NormalizationType::None);
    assert_eq!(config.access_log_file.as_deref(), Some(""));
    assert_eq!(MeshConfig::read(""), Some(MeshConfig::default()));
    assert_eq!(MeshConfig::read("connectTimeout: 0s"), None);
    assert_eq!(MeshProxyConfig::read("{"), None);
}

#[test]
fn groups() {
    for (spec, expected) in [
        ("{template: {serviceAccount: a, labels: {app: b}}}", &[][..]),
        ("{}", &["5 error: spec.template: the field `template` is missing"]),
        ("{template: {address: 10.0.0.1}}", &["5 error: spec.template.address: a template has no address"]),
        ("{template: {}, probe: {periodSeconds: 0}}", &["5 error: spec.probe: the probe asks nothing"]),
        ("{template: {}, probe: {httpGet: {port: 0}}}", &["5 error: spec.probe.httpGet.port: 0 is not a port"]),
    ] {
        let text =
            format!("apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {{name: x}}\n\nspec: {spec}\n");
        assert_eq!(crate::problems(&text), expected, "{spec}");
    }
}
