//! Codes: what kind of problem it is, for programs and for looking it up. Where Istio's analysis has a code for it, that
//! is the one; the others begin with `HAL`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::problem::Level;

macro_rules! codes {
    ($( $variant:ident $id:literal $level:ident $summary:literal; )*) => {
        /// What kind of problem it is. The variants have Istio's names where the code is Istio's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Code {
            $( #[doc = concat!("`", $id, "`: ", $summary, ".")] #[serde(rename = $id)] $variant, )*
        }

        impl Code {
            /// Every code, in their order.
            pub const ALL: &[Self] = &[ $( Self::$variant, )* ];

            /// The code itself, such as `IST0101`.
            pub fn id(self) -> &'static str {
                match self { $( Self::$variant => $id, )* }
            }

            /// Its name, such as `ReferencedResourceNotFound`.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => stringify!($variant), )* }
            }

            /// How bad analysis says that it is (Istio's levels). What is refused when it is applied is an error whatever
            /// stands here.
            pub fn level(self) -> Level {
                match self { $( Self::$variant => Level::$level, )* }
            }

            /// What it means, in a few words.
            pub fn summary(self) -> &'static str {
                match self { $( Self::$variant => $summary, )* }
            }
        }
    };
}

codes! {
    ReferencedResourceNotFound "IST0101" Error "a host, port, subset, gateway, Secret or workload that a rule names does not exist";
    SchemaValidationError "IST0106" Error "the document is not a valid one of its kind";
    ConflictingMeshGatewayVirtualServiceHosts "IST0109" Error "several VirtualServices of the mesh have the same host, and only one of them counts";
    ConflictingSidecarWorkloadSelectors "IST0110" Error "several Sidecars select the same workload";
    MultipleSidecarsWithoutWorkloadSelectors "IST0111" Error "several Sidecars of a namespace have no selector";
    VirtualServiceDestinationPortSelectorRequired "IST0112" Error "a destination without a port is a service with several ports";
    DeploymentAssociatedToMultipleServices "IST0116" Warning "services select the same Deployment and declare other protocols for one port of it";
    PortNameIsNotUnderNamingConvention "IST0118" Info "the name of a port does not tell its protocol, which is detected then";
    InvalidRegexp "IST0122" Warning "a regular expression cannot be read";
    NoMatchingWorkloadsFound "IST0127" Warning "no workload has the labels that a selector asks for";
    NoServerCertificateVerificationDestinationLevel "IST0128" Warning "TLS towards a host names no authority to check its certificate with";
    NoServerCertificateVerificationPortLevel "IST0129" Warning "TLS towards a port of a host names no authority to check its certificate with";
    VirtualServiceUnreachableRule "IST0130" Warning "a rule is never reached";
    VirtualServiceIneffectiveMatch "IST0131" Info "a condition is never reached, since an earlier one takes all that it would";
    VirtualServiceHostNotFoundInGateway "IST0132" Warning "no server of a gateway opens the hosts of a rule that is bound to it";
    SchemaWarning "IST0133" Warning "the document is valid, but most likely not what was meant";
    DeploymentConflictingPorts "IST0137" Warning "services select the same Deployment and lead from different ports to one port of it";
    GatewayDuplicateCertificate "IST0138" Warning "two Gateways show the same certificate, so HTTP/2 clients may send requests for one to the other";
    IngressRouteRulesNotAffected "IST0140" Warning "requests that come through a gateway do not meet the subsets that rules of the mesh choose";
    ConflictingGateways "IST0145" Error "two servers of gateways ask for the same port and host";
    JwtClaimBasedRoutingWithoutRequestAuthN "IST0149" Error "a rule asks for claims of tokens, and no RequestAuthentication reads them at the gateway";
    EnvoyFilterUsesRelativeOperation "IST0151" Warning "an EnvoyFilter without a priority has an operation that is relative to another patch";
    EnvoyFilterUsesReplaceOperationIncorrectly "IST0152" Error "the operation REPLACE has an effect on HTTP_FILTER, NETWORK_FILTER and VIRTUAL_HOST only";
    EnvoyFilterUsesAddOperationIncorrectly "IST0153" Error "the operation ADD has no effect on ROUTE_CONFIGURATION and HTTP_ROUTE";
    EnvoyFilterUsesRemoveOperationIncorrectly "IST0154" Error "the operation REMOVE has no effect on ROUTE_CONFIGURATION and HTTP_ROUTE";
    EnvoyFilterUsesRelativeOperationWithProxyVersion "IST0155" Warning "an EnvoyFilter without a priority has a relative operation and asks for a version of the proxy";
    ConflictingTelemetryWorkloadSelectors "IST0159" Error "several Telemetries select the same workload";
    MultipleTelemetriesWithoutWorkloadSelectors "IST0160" Error "several Telemetries of a namespace have no selector";
    InvalidGatewayCredential "IST0161" Error "the Secret that a gateway names holds no usable certificate and key";
    DestinationRuleSubsetNotSelectPods "IST0173" Error "a subset of a DestinationRule selects no workload";
    UnknownDestinationRuleHost "IST0174" Warning "no service has the host of a DestinationRule";
    NotEnforced "HAL0001" Warning "a field or kind is valid and kept, and has no effect here yet";
    UnknownRuleHost "HAL0002" Warning "no service has the host of a VirtualService of the mesh";
    HostDefinedTwice "HAL0003" Warning "several documents define a service of the same host, and only one of them counts";
    AddressClaimedTwice "HAL0004" Warning "two services claim the same address and port";
    DuplicateResource "HAL0005" Error "a resource is written twice";
    UnknownPolicyHost "HAL0006" Warning "no service has the host of a ServicePolicy";
    EnvoyFilterPatchChangesNothing "HAL0007" Warning "a patch of an EnvoyFilter asks for what no proxy has, and changes nothing";
    PolicyLocksOut "HAL0008" Warning "an AuthorizationPolicy of the root namespace refuses everybody everywhere";
    PolicyNeverMet "HAL0009" Warning "a rule of an AuthorizationPolicy can never be met";
    PolicyAsksForHttp "HAL0010" Warning "an AuthorizationPolicy asks for what connections of raw TCP do not have";
    ProviderNotAsked "HAL0014" Warning "a CUSTOM AuthorizationPolicy names a provider that cannot be asked";
    LimitNotReached "HAL0015" Warning "a limit of a RateLimitPolicy is reached by nothing, or counts otherwise than it says";
    EgressRuleNotMet "HAL0020" Warning "a rule of an EgressPolicy allows nothing, or otherwise than it says";
    EgressPolicySelectsNobody "HAL0021" Warning "an EgressPolicy names service accounts that nobody has";
    EgressLocksOut "HAL0022" Warning "workloads may not call, by their EgressPolicies, a host that a document leads them to";
    LoginNotPossible "HAL0023" Warning "a LoginPolicy guards nothing, or nobody can log in by it";
    ProviderNotTold "HAL0024" Warning "a Telemetry names a provider that is told nothing";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_order_and_stand_in_json() {
        let istio: Vec<&str> = Code::ALL.iter().map(|c| c.id()).filter(|id| id.starts_with("IST")).collect();
        assert!(istio.is_sorted() && Code::ALL.len() > istio.len());
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.id());
            assert!(!code.summary().ends_with('.'), "{code}");
        }
    }
}
