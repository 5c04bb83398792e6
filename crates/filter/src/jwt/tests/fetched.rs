//! Keys that are fetched: when, how often, and what holds meanwhile.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::Bytes;
use model::jwt::RemoteKeys;

use super::*;
use crate::around::{Answer, Call, Get, as_alone};
use crate::local_limit::Limits;

/// A proxy whose cluster `keys` gives these answers, one after the other, and the last one on.
#[derive(Debug, Default)]
struct Proxy {
    alone: Alone,
    answers: RefCell<VecDeque<Result<String, String>>>,
    asked: RefCell<usize>,
}

impl Proxy {
    fn answer(&self, get: &Get) -> Result<Bytes, String> {
        assert_eq!((&*get.cluster, get.uri.as_str()), ("keys", "https://k/set"));
        *self.asked.borrow_mut() += 1;
        let mut answers = self.answers.borrow_mut();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.unwrap().map(Bytes::from)
    }
}

impl Around for Proxy {
    as_alone!();
    fn is_asked_why(&self, _request: &Request<Body>) -> bool {
        false
    }
    fn service_cluster(&self) -> &str {
        "me"
    }
    fn has_cluster(&self, _name: &str) -> bool {
        true
    }
    fn route_limits(&self, _route: &Route, _host: &VirtualHost) -> Option<&Limits> {
        None
    }
    fn call<'c>(&'c self, call: Call<'c>) -> Answer<'c> {
        self.alone.call(call)
    }
    fn get(&self, get: Get) -> Answer<'_> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.answer(&get)
        })
    }
    fn get_beside(&self, get: Get, done: Box<dyn FnOnce(Result<Bytes, String>)>) {
        done(self.answer(&get));
    }
}

fn fetching(beside: Option<Duration>) -> JwtAuthentication {
    let keys = RemoteKeys {
        uri: "https://k/set".into(),
        cluster: "keys".into(),
        timeout: Duration::from_secs(5),
        cache_duration: Duration::from_secs(300),
        beside,
    };
    requiring(JwtProvider::new("https://a", KeySource::Remote(keys)))
}

async fn through(chain: &Chain, around: &Proxy, token: &str) -> Option<String> {
    let mut request = bearer(token);
    match chain.begin(None, 1).on_request(&mut request, around).await {
        Flow::Respond(local) => Some(local.text().into_owned()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_fetched() {
    let (old, new) = (Signer::elliptic("1", "ES256"), Signer::elliptic("2", "ES256"));
    let secret = Signer::secret("3", b"published");
    let (old_set, new_set) = (Ok(key_set(&[&old, &secret])), Ok(key_set(&[&new])));
    let claims = json!({"iss": "https://a"});
    let failed = Some("Jwks remote fetch is failed");
    let misfit = Some("Jwks doesn't have key to match kid or alg from Jwt");
    let around = Proxy::default();
    *around.answers.borrow_mut() = [Err("down".into()), old_set, Err("down".into()), new_set].into();
    let chain = chain(&fetching(None));
    let check = async |signer: &Signer, expected: Option<&str>, asked: usize| {
        assert_eq!(through(&chain, &around, &signer.token(&claims)).await.as_deref(), expected);
        assert_eq!(*around.asked.borrow(), asked);
    };
    let mut none = Request::new(Body::empty());
    chain.begin(None, 1).on_request(&mut none, &around).await;
    assert_eq!(*around.asked.borrow(), 0, "nobody asks without a token");
    check(&old, failed, 1).await;
    check(&old, failed, 1).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    check(&old, None, 2).await;
    check(&new, misfit, 2).await;
    // What is published is no secret.
    check(&secret, misfit, 2).await;
    tokio::time::advance(Duration::from_secs(301)).await;
    check(&old, failed, 3).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    check(&old, misfit, 4).await;
    check(&new, None, 4).await;
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_fetched_beside_requests() {
    let (old, new) = (Signer::elliptic("1", "ES256"), Signer::elliptic("2", "ES256"));
    let claims = json!({"iss": "https://a"});
    let around = Proxy::default();
    *around.answers.borrow_mut() = [Ok(key_set(&[&old])), Err("down".into()), Ok(key_set(&[&new]))].into();
    let chain = chain(&fetching(Some(Duration::from_secs(9))));
    let good = async |signer: &Signer| through(&chain, &around, &signer.token(&claims)).await.is_none();
    assert!(good(&old).await);
    tokio::time::advance(Duration::from_secs(301)).await;
    assert!(good(&old).await, "those that are there serve while others are fetched");
    assert!(good(&old).await, "and when that fails");
    assert_eq!(*around.asked.borrow(), 2);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(good(&old).await);
    assert!(good(&new).await && !good(&old).await);
    assert_eq!(*around.asked.borrow(), 3);
}

#[tokio::test(start_paused = true)]
async fn many_wait_for_one_fetch() {
    let signer = Signer::elliptic("1", "ES256");
    let around = Proxy::default();
    *around.answers.borrow_mut() = [Ok(key_set(&[&signer]))].into();
    let chain = chain(&fetching(None));
    let token = signer.token(&json!({"iss": "https://a"}));
    let (a, b, c) = tokio::join!(
        through(&chain, &around, &token),
        through(&chain, &around, &token),
        through(&chain, &around, &token)
    );
    assert_eq!((a, b, c), (None, None, None));
    assert_eq!(*around.asked.borrow(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_live_on() {
    let signer = Signer::elliptic("1", "ES256");
    let around = Proxy::default();
    *around.answers.borrow_mut() = [Ok(key_set(&[&signer]))].into();
    let (settings, stats) = (fetching(None), Stats::new(&Registry::new().shard(), "in").unwrap());
    let filters = [http_proxy::HttpFilter::Jwt(Arc::new(settings))];
    let before = Chain::new(&filters, &stats, None, &NoExtensions).unwrap();
    let token = signer.token(&json!({"iss": "https://a"}));
    assert_eq!(through(&before, &around, &token).await, None);
    let next = Chain::new(&filters, &stats, Some(&before), &NoExtensions).unwrap();
    assert_eq!(through(&next, &around, &token).await, None);
    assert_eq!(*around.asked.borrow(), 1, "the next configuration has the same keys");
}
