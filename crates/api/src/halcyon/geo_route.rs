//! GeoRoute: rules for clients of some countries, regions and cities.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decode::{Decode, Spanned, StringMatch, object};
use crate::istio::{
    Headers, HttpDirectResponse, HttpMatchRequest, HttpRedirect, HttpRetry, HttpRewrite, HttpRoute,
    HttpRouteDestination, VirtualService,
};
use crate::meta::Meta;
use crate::problem::quoted;
use crate::report::Report;
use crate::yaml::Node;

/// The header in which a gateway tells the client's country: its code of ISO 3166-1, such as `DE`.
pub const COUNTRY_HEADER: &str = "x-geo-country";
/// The header in which a gateway tells the client's region: its code of ISO 3166-2 without the country, such as `BY`.
pub const REGION_HEADER: &str = "x-geo-region";
/// The header in which a gateway tells the client's city: its English name.
pub const CITY_HEADER: &str = "x-geo-city";

/// Rules of gateways by where the client is. They stand before those of VirtualServices for the same hosts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GeoRoute {
    written: Written,
    /// The same as a VirtualService, which asks for the headers that tell where a client is.
    rule: VirtualService,
}

object! {
    /// What is written.
    Exact struct Written {
        /// The hosts, as in a VirtualService.
        hosts "hosts" (required): Vec<Spanned<String>>,
        /// The gateways, as in a VirtualService; the mesh is none.
        gateways "gateways" (required): Vec<Spanned<String>>,
        /// The rules, the first match wins.
        http "http" (required): Vec<GeoRule>,
    }
}

object! {
    /// A rule: where the client is, and exactly one of `route`, `redirect` and `directResponse`.
    Exact struct GeoRule {
        /// Shown in access logs.
        name "name": String,
        /// Any of these has to match.
        match_ "match" (required): Vec<GeoMatch>,
        /// Destinations by weight.
        route "route": Vec<HttpRouteDestination>,
        /// Answers with a redirect.
        redirect "redirect": Option<HttpRedirect>,
        /// Answers with a fixed response.
        direct_response "directResponse": Option<HttpDirectResponse>,
        /// Changes path and authority before the request is forwarded.
        rewrite "rewrite": Option<HttpRewrite>,
        /// How long the whole request may take.
        timeout "timeout": Option<Duration>,
        /// When and how often to try again.
        retries "retries": Option<HttpRetry>,
        /// Changes of headers.
        headers "headers": Option<Headers>,
    }
}

object! {
    /// Where the client is; everything that is given has to fit.
    Exact struct GeoMatch {
        /// One of these countries, by their codes of ISO 3166-1: `DE`.
        countries "countries": Vec<String>,
        /// One of these regions, by their codes of ISO 3166-2 without the country: `BY`.
        regions "regions": Vec<String>,
        /// One of these cities, by their English names.
        cities "cities": Vec<String>,
        /// The path, as in a VirtualService.
        uri "uri": Option<StringMatch>,
        /// Headers, as in a VirtualService.
        headers "headers": BTreeMap<String, StringMatch>,
    }
}

impl Decode for GeoRoute {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let written = Written::decode(node, report)?;
        let rule = VirtualService {
            hosts: written.hosts.clone(),
            gateways: written.gateways.clone(),
            http: written.http.iter().map(GeoRule::as_http).collect(),
            ..VirtualService::default()
        };
        Some(Self { written, rule })
    }
}

impl GeoRoute {
    /// The same as a VirtualService, which asks for the headers that tell where a client is.
    pub fn rule(&self) -> &VirtualService {
        &self.rule
    }

    pub(crate) fn check(&self, meta: &Meta, report: &mut Report) {
        report.each("gateways", &self.written.gateways, |gateway, r| {
            if gateway.value == "mesh" {
                r.error("sidecars do not know where clients are").expected("gateways");
            }
        });
        for (name, is_empty) in
            [("hosts", self.written.hosts.is_empty()), ("gateways", self.written.gateways.is_empty())]
        {
            if is_empty {
                report.field(name, |r| _ = r.error("the list is empty").expected("at least one"));
            }
        }
        report.each("http", &self.written.http, |rule, r| r.each("match", &rule.match_, GeoMatch::check));
        self.rule.check(meta, report);
    }
}

impl GeoRule {
    fn as_http(&self) -> HttpRoute {
        HttpRoute {
            name: self.name.clone(),
            match_: self.match_.iter().map(GeoMatch::as_http).collect(),
            route: self.route.clone(),
            redirect: self.redirect.clone(),
            direct_response: self.direct_response.clone(),
            rewrite: self.rewrite.clone(),
            timeout: self.timeout,
            retries: self.retries.clone(),
            headers: self.headers.clone(),
            ..HttpRoute::default()
        }
    }
}

impl GeoMatch {
    fn check(&self, report: &mut Report) {
        if self.countries.is_empty() && self.regions.is_empty() && self.cities.is_empty() {
            report.error("it is not said where the client is").expected("`countries`, `regions` or `cities`");
        }
        report.each("countries", &self.countries, |country, r| {
            if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
                r.error(format!("{} is not the code of a country", quoted(country)))
                    .expected("two capital letters (ISO 3166-1), such as `DE`");
            }
        });
        report.each("regions", &self.regions, |region, r| {
            let is_code = (1..=3).contains(&region.len())
                && region.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            if !is_code {
                r.error(format!("{} is not the code of a region", quoted(region)))
                    .expected("one to three capital letters or digits (ISO 3166-2 without the country), such as `BY`");
            }
        });
    }

    fn as_http(&self) -> HttpMatchRequest {
        let places = [(COUNTRY_HEADER, &self.countries), (REGION_HEADER, &self.regions), (CITY_HEADER, &self.cities)];
        let places = places.into_iter().filter(|(_, names)| !names.is_empty()).map(|(header, names)| {
            let condition = match &names[..] {
                [only] => StringMatch::Exact(only.clone()),
                several => {
                    StringMatch::Regex(several.iter().map(|name| regex::escape(name)).collect::<Vec<_>>().join("|"))
                }
            };
            (header.to_owned(), condition)
        });
        HttpMatchRequest {
            uri: self.uri.clone(),
            headers: self.headers.clone().into_iter().chain(places).collect(),
            ..HttpMatchRequest::default()
        }
    }
}
