//! A script as a filter of a chain.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};

use filter::{Exchange, Extension, Facts, Flow, LocalResponse, Phase};
use http::{HeaderMap, Request, Response, StatusCode};
use mesh_http::{Body, BodyErrorKind};
use model::extension::{Lua, LuaChoice, LuaRule};
use model::metadata::{Fields, Metadata};
use model::route::FilterRule;
use telemetry::{Counter, Desc, ResponseFlags, Shard};

use crate::chunks::Chunks;
use crate::course::{Course, Wish};
use crate::info::Info;
use crate::log::Line;
use crate::machine::Machine;
use crate::metadata::Shared;
use crate::program::{Program, Scripts};
use crate::stream::Stream;

/// How many scripts of routes are known at a time.
const ROUTES: usize = 1024;

/// A Lua filter. Shared by all workers.
pub(crate) struct LuaFilter {
    settings: Arc<Lua>,
    scripts: Scripts,
    /// What runs where a route says nothing else.
    default: Option<Arc<Program>>,
    named: HashMap<Arc<str>, Arc<Program>>,
    /// What routes bring, by the place of their rules, which stay as long as they stand here.
    routes: RwLock<HashMap<usize, (Arc<LuaRule>, Option<Arc<Program>>)>>,
    context: Option<Arc<Fields>>,
    executions: Counter,
    errors: Counter,
}

impl LuaFilter {
    /// A filter with these settings.
    ///
    /// # Errors
    /// A script cannot be read, or the metrics are declared in another way.
    pub(crate) fn new(settings: Arc<Lua>, scripts: Scripts, shard: &Shard, prefix: &str) -> Result<Self, String> {
        let labels = ["envoy_http_conn_manager_prefix", "envoy_lua_prefix"];
        let counter = |name: &str, help: &str| {
            let family = shard.counters(Desc::new(&format!("envoy_http_lua_{name}"), help).labels(&labels));
            let family = family.map_err(|error| error.to_string())?;
            Ok::<Counter, String>(family.with(&[prefix, &settings.stat_prefix]))
        };
        let executions = counter("executions", "Functions of Lua scripts that were run.")?;
        let errors = counter("errors", "Functions of Lua scripts that failed.")?;
        let default = settings.script.as_ref().map(|script| scripts.program(&settings.name, script)).transpose()?;
        let named = settings.named.iter().map(|(name, script)| {
            let full = format!("{}/{name}", settings.name).into();
            Ok((name.clone(), scripts.program(&full, script)?))
        });
        let named = named.collect::<Result<_, String>>()?;
        let context = settings.context.clone().map(Arc::new);
        let routes = RwLock::default();
        Ok(Self { settings, scripts, default, named, routes, context, executions, errors })
    }

    /// What runs for an exchange, and what it is told by its route.
    fn program(&self, facts: &Facts<'_>) -> Option<(Arc<Program>, Option<Arc<Fields>>)> {
        let rule = match facts.rule(&self.settings.name) {
            Some(FilterRule::Lua(rule)) => rule,
            _ => return Some((self.default.clone()?, self.context.clone())),
        };
        let program = match &rule.script {
            Some(LuaChoice::Off) => return None,
            None => self.default.clone()?,
            Some(LuaChoice::Named(name)) => match self.named.get(name) {
                Some(program) => program.clone(),
                None => {
                    self.errors.inc();
                    tracing::error!(target: "lua", "{}: a route names the script {name}, which is not there",
                        self.settings.name);
                    return None;
                }
            },
            Some(LuaChoice::Script(_)) => self.of_route(rule)?,
        };
        let own = rule.context.clone().map(Arc::new);
        Some((program, own.or_else(|| self.context.clone())))
    }

    /// The script that a route brings. It was not read before: a bad one fails here, once.
    fn of_route(&self, rule: &Arc<LuaRule>) -> Option<Arc<Program>> {
        let key = Arc::as_ptr(rule).addr();
        if let Some((_, program)) = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return program.clone();
        }
        let Some(LuaChoice::Script(script)) = &rule.script else { return None };
        let name = format!("{}/route", self.settings.name).into();
        let program = match self.scripts.program(&name, script) {
            Ok(program) => Some(program),
            Err(error) => {
                self.errors.inc();
                tracing::error!(target: "lua", "{}", Line(&error));
                None
            }
        };
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        if routes.len() >= ROUTES {
            routes.clear();
        }
        routes.insert(key, (rule.clone(), program.clone()));
        program
    }

    fn machine(&self, program: &Arc<Program>) -> Option<Rc<Machine>> {
        Machine::of(program)
            .map_err(|error| {
                self.errors.inc();
                tracing::error!(target: "lua", "{}", Line(&error));
            })
            .ok()
    }

    async fn request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let Some((program, context)) = self.program(facts) else { return Flow::Continue };
        let metadata = RefCell::new(request.extensions().get::<Metadata>().cloned().unwrap_or_default());
        let protocol = protocol(request.version());
        let shared = Rc::new(Shared { program, context, metadata, protocol });
        facts.keep(self, shared.clone());
        if !shared.program.on_request {
            return Flow::Continue;
        }
        let Some(machine) = self.machine(&shared.program) else { return Flow::Continue };
        let Some(function) = machine.on_request.clone() else { return Flow::Continue };
        let scheme = facts.around.view(request).scheme.to_owned();
        let stream = Stream::of_request(shared.clone(), &scheme, request);
        self.executions.inc();
        let (course, wish) = Course::begin(machine, &function, stream.clone(), self.errors.clone());
        let flow = self.run(course, wish, &stream, facts).await;
        if let Some(head) = stream.request() {
            *request = head;
        }
        let said = shared.metadata.borrow();
        if known_differs(request, &said) {
            request.extensions_mut().insert(said.clone());
        }
        match flow {
            Ended::Continues => {}
            Ended::Passes(course, wish) => pass(request.body_mut(), course, &wish),
            Ended::Responds(own) => return Flow::Respond(own),
            Ended::Broken(kind) => return Flow::Broken(kind),
        }
        let reroutes = stream.reroutes.get() || self.settings.reroutes && stream.was_changed();
        if reroutes { Flow::Reroute } else { Flow::Continue }
    }

    async fn response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        let kept = facts.kept(self).and_then(|kept| kept.downcast::<Shared>().ok());
        let Some(shared) = kept.filter(|shared| shared.program.on_response) else { return };
        let Some(machine) = self.machine(&shared.program) else { return };
        let Some(function) = machine.on_response.clone() else { return };
        let stream = Stream::of_response(shared, response);
        self.executions.inc();
        let (course, wish) = Course::begin(machine, &function, stream.clone(), self.errors.clone());
        let ended = self.run(course, wish, &stream, facts).await;
        if let Some(head) = stream.response() {
            *response = head;
        }
        match ended {
            Ended::Continues | Ended::Responds(_) => {}
            Ended::Passes(course, wish) => pass(response.body_mut(), course, &wish),
            Ended::Broken(kind) => {
                *response = unreadable(kind).into_response(mesh_http::grpc::is_grpc(response.headers()));
            }
        }
    }

    /// Gives a script what it wants, until it has ended, or a body has to pass first.
    async fn run(&self, course: Option<Course>, first: Wish, stream: &Rc<Stream>, facts: &mut Facts<'_>) -> Ended {
        let Some(course) = course else { return Ended::Continues };
        let mut wish = first;
        loop {
            wish = match wish {
                Wish::Nothing => return Ended::Continues,
                Wish::Body { .. } if stream.has_body() => {
                    // Boxed: exchanges without a script have no room for one.
                    match Box::pin(stream.take_body().collect(facts.around.buffer_limit())).await {
                        Ok(whole) => course.resume_bytes(stream.hold(whole)),
                        Err(error) => return Ended::Broken(error.kind),
                    }
                }
                Wish::Body { always: true } => course.resume_bytes(stream.hold(mesh_http::Collected::default())),
                Wish::Body { always: false } => course.resume_nil(),
                Wish::Chunk | Wish::Trailers if stream.has_body() => {
                    self.tell(stream, facts);
                    stream.forget_length();
                    return Ended::Passes(course, wish);
                }
                // Of a body that is held there is one piece; where none is, there is none.
                Wish::Chunk => course.resume_nil(),
                Wish::Trailers => course.resume_trailers(),
                Wish::Info => {
                    self.tell(stream, facts);
                    course.resume(())
                }
                Wish::Respond(own) if stream.is_request() => return Ended::Responds(Box::new(own.0)),
                Wish::Respond(_) => course.refuse("respond() is of requests alone: a response is changed"),
                Wish::Call(call) if !facts.around.has_cluster(&call.cluster) => {
                    course.refuse(format!("httpCall(): there is no cluster {}", call.cluster))
                }
                Wish::Call(call) if call.beside => {
                    let sent = facts.around.sender().send(call.cluster, call.request, call.timeout);
                    tokio::task::spawn_local(async move { drop(sent.await) });
                    course.resume(())
                }
                Wish::Call(call) => {
                    let repeated = call.repeated;
                    let exchange = Exchange { cluster: &call.cluster, request: call.request, timeout: call.timeout };
                    let answer = facts.around.exchange(exchange).await;
                    if let Err(error) = &answer {
                        tracing::debug!(target: "lua", "{}: httpCall(): {}", stream.shared.program.name, Line(error));
                    }
                    course.resume_answer(repeated, answer)
                }
            };
        }
    }

    fn tell(&self, stream: &Stream, facts: &Facts<'_>) {
        if stream.info.borrow().is_none() {
            let headers = match stream.is_request() {
                true => stream.read(crate::fields::Part::Headers, HeaderMap::clone),
                false => HeaderMap::new(),
            };
            *stream.info.borrow_mut() = Some(Rc::new(Info::of(facts, &headers)));
        }
    }
}

/// How a script's way through one direction ended.
enum Ended {
    /// It is done.
    Continues,
    /// It waits for what passes.
    Passes(Course, Wish),
    /// It answers.
    Responds(Box<LocalResponse>),
    /// The body cannot be had.
    Broken(BodyErrorKind),
}

fn pass(body: &mut Body, course: Course, wish: &Wish) {
    *body = Body::mapped(std::mem::take(body), Chunks::new(course, wish));
}

fn known_differs(request: &Request<Body>, said: &Metadata) -> bool {
    match request.extensions().get::<Metadata>() {
        Some(known) => known != said,
        None => *said != Metadata::default(),
    }
}

fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// In the place of a response whose body a script wanted and could not have.
fn unreadable(kind: BodyErrorKind) -> LocalResponse {
    let (status, details, why) = match kind {
        BodyErrorKind::TooLarge => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "response_payload_too_large",
            "the response is longer than a script may hold",
        ),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "upstream_response_broken", "the response broke off"),
    };
    LocalResponse {
        status,
        grpc_status: None,
        body: ::bytes::Bytes::new(),
        headers: HeaderMap::new(),
        details: details.into(),
        why: Some(why.into()),
        flags: ResponseFlags::NONE,
    }
}

impl Extension for LuaFilter {
    fn on_request<'f>(&'f self, request: &'f mut Request<Body>, facts: &'f mut Facts<'_>) -> Phase<'f, Flow> {
        Box::pin(self.request(request, facts))
    }

    fn on_response<'f>(&'f self, response: &'f mut Response<Body>, facts: &'f mut Facts<'_>) -> Phase<'f, ()> {
        Box::pin(self.response(response, facts))
    }
}

impl fmt::Debug for LuaFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LuaFilter").field("name", &self.settings.name).finish_non_exhaustive()
    }
}
