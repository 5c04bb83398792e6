//! TrafficExtension and WasmPlugin: filters that users write, and where they stand.

use super::destination_rule::check_place;
use super::{LabelSelector, TargetRef, WorkloadMode};
use crate::decode::{Spanned, Tree, choice, object};
use crate::problem::quoted;
use crate::report::Report;

/// The longest script that Istio takes, in bytes.
const LONGEST_SCRIPT: usize = 65_536;
/// Ways to a module.
const SCHEMES: [&str; 4] = ["oci", "https", "http", "file"];

object! {
    /// A Lua script or a WebAssembly module in the proxies of some workloads (`extensions.istio.io`).
    Istio struct TrafficExtension {
        /// The workloads; none means all of the namespace, or of the mesh in its root namespace.
        selector "selector": Option<LabelSelector>,
        /// Gateways of the Gateway API, in place of a selector.
        target_refs "targetRefs": Vec<TargetRef>,
        /// Where it stands among the filters.
        phase "phase": ExtensionPhase,
        /// Of several in one phase the higher number stands first.
        priority "priority": Option<i32>,
        /// Which traffic passes it; none: all.
        match_ "match": Vec<ExtensionMatch>,
        /// A module.
        wasm "wasm": Option<WasmConfig>,
        /// A script.
        lua "lua": Option<LuaConfig>,
    }
}

object! {
    /// A script.
    Istio struct LuaConfig {
        /// Its text.
        inline_code "inlineCode" (required): Spanned<String>,
    }
}

object! {
    /// A WebAssembly module.
    Istio struct WasmConfig {
        /// Where it is: `oci://` (which is meant without a scheme), `https://`, `http://` or `file://`.
        url "url" (required): Spanned<String>,
        /// The SHA-256 of the module, or of the image's manifest.
        sha256 "sha256": String,
        /// When it is fetched.
        image_pull_policy "imagePullPolicy": PullPolicy,
        /// Credentials for the registry.
        image_pull_secret "imagePullSecret": String,
        /// What the module is configured with.
        plugin_config "pluginConfig": Option<Tree>,
        /// Tells modules with several filters which is meant.
        plugin_name "pluginName": String,
        /// What becomes of requests when it fails.
        fail_strategy "failStrategy": FailStrategy,
        /// Its environment.
        vm_config "vmConfig": Option<WasmVmConfig>,
        /// Requests or connections.
        kind "type": PluginType,
    }
}

object! {
    /// A WebAssembly module in the proxies of some workloads, as Istio said it before TrafficExtension
    /// (`extensions.istio.io`).
    Istio struct WasmPlugin {
        /// The workloads; none means all of the namespace, or of the mesh in its root namespace.
        selector "selector": Option<LabelSelector>,
        /// A gateway of the Gateway API, in place of a selector.
        target_ref "targetRef": Option<TargetRef>,
        /// The same, several.
        target_refs "targetRefs": Vec<TargetRef>,
        /// Where it stands among the filters.
        phase "phase": ExtensionPhase,
        /// Of several in one phase the higher number stands first.
        priority "priority": Option<i32>,
        /// Which traffic passes it; none: all.
        match_ "match": Vec<ExtensionMatch>,
        /// Where it is.
        url "url" (required): Spanned<String>,
        /// The SHA-256 of the module, or of the image's manifest.
        sha256 "sha256": String,
        /// When it is fetched.
        image_pull_policy "imagePullPolicy": PullPolicy,
        /// Credentials for the registry.
        image_pull_secret "imagePullSecret": String,
        /// Of no effect in Istio either.
        verification_key "verificationKey": String,
        /// What the module is configured with.
        plugin_config "pluginConfig": Option<Tree>,
        /// Tells modules with several filters which is meant.
        plugin_name "pluginName": String,
        /// What becomes of requests when it fails.
        fail_strategy "failStrategy": FailStrategy,
        /// Its environment.
        vm_config "vmConfig": Option<WasmVmConfig>,
        /// Requests or connections.
        kind "type": PluginType,
    }
}

object! {
    /// Some traffic.
    Istio struct ExtensionMatch {
        /// Of which side; a gateway calls.
        mode "mode": WorkloadMode,
        /// To which ports; none: all.
        ports "ports": Vec<PortNumber>,
    }
}

object! {
    /// A port.
    Istio struct PortNumber {
        /// Its number.
        number "number" (required): u16,
    }
}

choice! {
    /// Where an extension stands.
    enum ExtensionPhase {
        /// After the rules of access.
        Unspecified "UNSPECIFIED_PHASE",
        /// Before tokens are checked.
        Authn "AUTHN",
        /// Before the rules of access.
        Authz "AUTHZ",
        /// After the rules of access.
        Stats "STATS",
    }
}

choice! {
    /// When a module is fetched.
    enum PullPolicy {
        /// `Always` for an image with the tag `latest`, else `IfNotPresent`.
        Unspecified "UNSPECIFIED_POLICY",
        /// Once.
        IfNotPresent "IfNotPresent",
        /// With every change of the document.
        Always "Always",
    }
}

choice! {
    /// What becomes of requests when a module fails.
    enum FailStrategy {
        /// They are refused.
        Close "FAIL_CLOSE",
        /// They pass.
        Open "FAIL_OPEN",
        /// A new instance is tried.
        Reload "FAIL_RELOAD",
    }
}

choice! {
    /// What a module is a filter of.
    enum PluginType {
        /// Of requests.
        Unspecified "UNSPECIFIED_PLUGIN_TYPE",
        /// Of requests.
        Http "HTTP",
        /// Of connections.
        Network "NETWORK",
    }
}

object! {
    /// What surrounds a module.
    Istio struct WasmVmConfig {
        /// Its environment variables.
        env "env": Vec<WasmVariable>,
    }
}

object! {
    /// An environment variable of a module.
    Istio struct WasmVariable {
        /// Its name.
        name "name" (required): String,
        /// Where its value comes from.
        value_from "valueFrom": VariableSource,
        /// Its value.
        value "value": String,
    }
}

choice! {
    /// Where a variable's value comes from.
    enum VariableSource {
        /// It stands beside.
        Inline "INLINE",
        /// From the proxy's own environment.
        Host "HOST",
    }
}

impl TrafficExtension {
    pub(crate) fn check(&self, report: &mut Report) {
        check_place(self.selector.as_ref(), !self.target_refs.is_empty(), report);
        if self.wasm.is_some() == self.lua.is_some() {
            report.error("it is no filter, or two").expected("either `wasm` or `lua`");
        }
        report.opt("lua", &self.lua, LuaConfig::check);
        report.opt("wasm", &self.wasm, WasmConfig::check);
    }
}

impl LuaConfig {
    fn check(&self, report: &mut Report) {
        let length = self.inline_code.value.len();
        report.field("inlineCode", |r| {
            if length == 0 || length > LONGEST_SCRIPT {
                r.error(format!("the script has {length} bytes")).expected(format!("1 to {LONGEST_SCRIPT}"));
            } else if let Err(fault) = script::check(&self.inline_code.value) {
                let line = fault.line.map(|line| format!(", line {line} of it")).unwrap_or_default();
                r.error(format!("the script is no Lua{line}: {}", fault.reason))
                    .expected("Lua 5.1, as LuaJIT reads it");
            } else if !["envoy_on_request", "envoy_on_response"].iter().any(|it| self.inline_code.value.contains(it)) {
                r.warning("the script has neither `envoy_on_request` nor `envoy_on_response`: it does nothing");
            }
        });
    }
}

impl WasmConfig {
    fn check(&self, report: &mut Report) {
        if let Some((scheme, _)) = self.url.value.split_once("://")
            && !SCHEMES.contains(&scheme)
        {
            report.field("url", |r| {
                r.error(format!("{} is no way to a module", quoted(&self.url.value)))
                    .expected("oci://, https://, http:// or file://");
            });
        }
        let is_digest = self.sha256.len() == 64 && self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !self.sha256.is_empty() && !is_digest {
            report.field("sha256", |r| {
                r.error(format!("{} is no SHA-256", quoted(&self.sha256))).expected("64 digits of 0-9 and a-f");
            });
        }
        report.opt("vmConfig", &self.vm_config, |vm, r| {
            r.each("env", &vm.env, |variable, r| {
                if variable.value_from == VariableSource::Host && !variable.value.is_empty() {
                    r.field("value", |r| {
                        r.error("it comes from the proxy's environment").expected("no `value` with `valueFrom: HOST`");
                    });
                }
            });
        });
    }
}

impl TrafficExtension {
    /// Of a WasmPlugin, whose fields stand elsewhere.
    pub(crate) fn check_plugin(&self, report: &mut Report) {
        check_place(self.selector.as_ref(), !self.target_refs.is_empty(), report);
        self.wasm.iter().for_each(|module| module.check(report));
    }
}

/// A WasmPlugin as a TrafficExtension says it.
impl From<WasmPlugin> for TrafficExtension {
    fn from(plugin: WasmPlugin) -> Self {
        Self {
            selector: plugin.selector,
            target_refs: plugin.target_ref.into_iter().chain(plugin.target_refs).collect(),
            phase: plugin.phase,
            priority: plugin.priority,
            match_: plugin.match_,
            wasm: Some(WasmConfig {
                url: plugin.url,
                sha256: plugin.sha256,
                image_pull_policy: plugin.image_pull_policy,
                image_pull_secret: plugin.image_pull_secret,
                plugin_config: plugin.plugin_config,
                plugin_name: plugin.plugin_name,
                fail_strategy: plugin.fail_strategy,
                vm_config: plugin.vm_config,
                kind: plugin.kind,
            }),
            lua: None,
        }
    }
}
