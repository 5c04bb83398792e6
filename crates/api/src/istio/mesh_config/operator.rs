//! IstioOperator: what is to be installed. Of it, only the settings of the mesh are read.

use super::MeshConfig;
use crate::decode::{Unread, object};
use crate::report::Report;

object! {
    /// What is to be installed (`install.istio.io`).
    Istio struct IstioOperator {
        /// Settings of the mesh.
        mesh_config "meshConfig": Option<MeshConfig>,
        /// A set of defaults.
        profile "profile": String,
        /// Where charts are.
        install_package_path "installPackagePath": String,
        /// Where images are.
        hub "hub": String,
        /// Which images.
        tag "tag": Unread,
        /// The suffix of their names.
        resource_suffix "resourceSuffix": String,
        /// The namespace of the control plane.
        namespace "namespace": String,
        /// The revision.
        revision "revision": String,
        /// Is it the default revision?
        default_revision "defaultRevision": bool,
        /// For which version's behaviour.
        compatibility_version "compatibilityVersion": String,
        /// Parts.
        components "components": Unread,
        /// Further parts.
        addon_components "addonComponents": Unread,
        /// Values of charts.
        values "values": Unread,
        /// Values of charts that are not checked.
        unvalidated_values "unvalidatedValues": Unread,
    }
}

impl IstioOperator {
    pub(crate) fn check(&self, report: &mut Report) {
        report.opt("meshConfig", &self.mesh_config, MeshConfig::check);
    }
}
