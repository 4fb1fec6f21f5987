//! Services by method and path; what matches none is an error that names the nearest (HTTP-35).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use onex_spi::http::{HttpReason, HttpRequest, HttpResponse, HttpService};
use onex_spi::{BoxFuture, Error, ErrorKind, Result};

/// The values of a template's `{names}`, in the request's extensions; percent-encoded, as they were sent.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathParams(Vec<(Arc<str>, String)>);

impl PathParams {
    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, value)| value.as_str())
    }
}

type Handler = Arc<dyn Fn(HttpRequest) -> BoxFuture<'static, Result<HttpResponse>> + Send + Sync>;

/// A strict router: a request that no route matches is an error, never a silent 404.
///
/// A template is a path whose segments are literal or `{name}`; a literal segment wins over a named one, from the left.
/// `HEAD` takes the `GET` route where it has none of its own.
///
/// # Examples
/// ```
/// use http::{Method, StatusCode};
/// use onex_memory::http::{PathParams, Router};
/// use onex_spi::http::{HttpRequest, HttpResponse, HttpService, HttpUrl};
///
/// # async fn example() -> onex_spi::Result<()> {
/// let router = Router::new().route(Method::GET, "/orders/{id}", |request: HttpRequest| async move {
///     let id = request.extensions.get::<PathParams>().and_then(|params| params.get("id").map(str::to_owned));
///     Ok(HttpResponse::new(StatusCode::OK, id.unwrap_or_default()))
/// })?;
/// let lost = HttpRequest::new(Method::GET, HttpUrl::try_from("http://h/order/7")?);
/// let error = router.exchange(lost).await.unwrap_err();
/// assert!(error.to_string().contains("nearest: GET /orders/{id}"), "{error}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Router(Vec<Route>);

#[derive(Clone)]
struct Route {
    method: Method,
    template: String,
    segments: Vec<Segment>,
    handler: Handler,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Named(Arc<str>),
}

impl Router {
    /// Makes a router without routes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `method` on `template` with `handler`.
    ///
    /// # Errors
    /// `InvalidInput` for a template that is no path or names a segment twice, and for a route that is there already.
    pub fn route<F, Fut>(mut self, method: Method, template: &str, handler: F) -> Result<Self>
    where
        F: Fn(HttpRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HttpResponse>> + Send + 'static,
    {
        let segments = parse(template)?;
        if self.0.iter().any(|route| route.method == method && shape(&route.segments).eq(shape(&segments))) {
            return Err(Error::invalid("http.route", format!("{method} {template} is routed already")));
        }
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        self.0.push(Route { method, template: template.to_owned(), segments, handler });
        Ok(self)
    }

    /// As [`route`](Router::route), for a service.
    ///
    /// # Errors
    /// Those of [`route`](Router::route).
    pub fn route_service(
        self,
        method: Method,
        template: &str,
        service: Arc<dyn HttpService>,
    ) -> Result<Self> {
        self.route(method, template, move |request| {
            let service = service.clone();
            async move { service.exchange(request).await }
        })
    }

    fn find(&self, method: &Method, path: &[&str]) -> Option<&Route> {
        let matching = |method: &Method| {
            let of_method = self.0.iter().filter(move |route| route.method == *method);
            // `false` sorts first: a literal segment wins, from the left.
            of_method.filter(|route| matches(&route.segments, path)).min_by_key(|route| {
                shape(&route.segments).map(|literal| literal.is_none()).collect::<Vec<_>>()
            })
        };
        matching(method).or_else(|| matching(&Method::GET).filter(|_| method == Method::HEAD))
    }

    fn unmatched(&self, request: &HttpRequest, path: &[&str]) -> Error {
        const SHOWN: usize = 3;
        let (method, at) = (&request.method, request.url.path());
        let mut nearest: Vec<_> = self.0.iter().map(|route| (distance(route, method, path), route)).collect();
        nearest.sort_by_key(|(distance, _)| *distance);
        let names: Vec<_> = nearest
            .iter()
            .take(SHOWN)
            .map(|(_, route)| format!("{} {}", route.method, route.template))
            .collect();
        let message = match names.is_empty() {
            true => format!("no route for {method} {at}: the router is empty"),
            false => format!("no route for {method} {at}; nearest: {}", names.join(", ")),
        };
        Error::new(ErrorKind::NotFound, "http.route", message)
            .not_applied()
            .with_detail(HttpReason::UnmatchedRoute)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = self.0.iter().map(|route| format!("{} {}", route.method, route.template));
        f.debug_tuple("Router").field(&routes.collect::<Vec<_>>()).finish()
    }
}

#[async_trait]
impl HttpService for Router {
    async fn exchange(&self, mut request: HttpRequest) -> Result<HttpResponse> {
        let url = request.url.clone();
        let path: Vec<_> = url.path().split('/').skip(1).collect();
        let Some(route) = self.find(&request.method, &path) else {
            return Err(self.unmatched(&request, &path));
        };
        let named = route.segments.iter().zip(&path).filter_map(|(segment, value)| match segment {
            Segment::Named(name) => Some((name.clone(), (*value).to_owned())),
            Segment::Literal(_) => None,
        });
        request.extensions.insert(PathParams(named.collect()));
        (route.handler)(request).await
    }
}

fn parse(template: &str) -> Result<Vec<Segment>> {
    let bad = |what: &str| {
        Err(Error::invalid("http.route", format!("{template:?} {what}; write a path such as /orders/{{id}}")))
    };
    let Some(path) = template.strip_prefix('/') else {
        return bad("does not begin with `/`");
    };
    let mut segments = Vec::new();
    for text in path.split('/') {
        let named = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        if named.unwrap_or(text).contains(['{', '}', '?', '#', ' ']) || named == Some("") {
            return bad("has a segment that is neither literal nor `{name}`");
        }
        let segment =
            named.map_or_else(|| Segment::Literal(text.to_owned()), |name| Segment::Named(name.into()));
        if named.is_some() && segments.contains(&segment) {
            return bad("names a segment twice");
        }
        segments.push(segment);
    }
    Ok(segments)
}

fn shape(segments: &[Segment]) -> impl Iterator<Item = Option<&str>> {
    segments.iter().map(|segment| match segment {
        Segment::Literal(text) => Some(text.as_str()),
        Segment::Named(_) => None,
    })
}

fn matches(segments: &[Segment], path: &[&str]) -> bool {
    segments.len() == path.len()
        && segments.iter().zip(path).all(|(segment, value)| match segment {
            // An empty value fills no name: `/orders/` is not `/orders/{id}`.
            Segment::Named(_) => !value.is_empty(),
            Segment::Literal(text) => text == value,
        })
}

/// How far a route is from a request: a wrong segment weighs by its letters, a wrong method less than any segment.
fn distance(route: &Route, method: &Method, path: &[&str]) -> usize {
    const SEGMENT: usize = 8;
    let missing = route.segments.len().abs_diff(path.len()) * SEGMENT;
    let segments = route.segments.iter().zip(path).map(|(segment, value)| match segment {
        Segment::Named(_) => usize::from(value.is_empty()),
        Segment::Literal(text) => letters(text, value),
    });
    (segments.sum::<usize>() + missing) * 2 + usize::from(route.method != *method)
}

/// The changes of one letter that make `left` into `right` (Levenshtein).
fn letters(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use onex_spi::http::HttpUrl;

    use super::*;

    fn router(routes: &[(Method, &'static str)]) -> Router {
        routes.iter().cloned().fold(Router::new(), |router, (method, template)| {
            let answer = move |_| async move { Ok(HttpResponse::new(StatusCode::OK, template)) };
            router.route(method, template, answer).expect("a good route")
        })
    }

    async fn ask(router: &Router, method: Method, path: &str) -> Result<String> {
        let url = HttpUrl::try_from(format!("http://h{path}"))?;
        let body = router.exchange(HttpRequest::new(method, url)).await?.into_body();
        Ok(String::from_utf8_lossy(&body.bytes(1 << 10).await?).into_owned())
    }

    #[tokio::test]
    async fn a_literal_segment_wins_from_the_left() {
        let get = Method::GET;
        let router = router(&[
            (get.clone(), "/a/{x}"),
            (get.clone(), "/a/b"),
            (get.clone(), "/{x}/b"),
            (get.clone(), "/"),
        ]);
        for (path, template) in [("/a/b", "/a/b"), ("/a/c", "/a/{x}"), ("/c/b", "/{x}/b"), ("/", "/")] {
            assert_eq!(ask(&router, get.clone(), path).await.expect(path), template);
        }
        assert_eq!(ask(&router, Method::HEAD, "/a/b").await.expect("GET answers HEAD"), "/a/b");
    }

    #[tokio::test]
    async fn an_unmatched_request_names_the_nearest_routes_first() {
        // HTTP-35
        let router = router(&[
            (Method::GET, "/customers/{id}/orders"),
            (Method::GET, "/orders/{id}"),
            (Method::POST, "/orders"),
            (Method::DELETE, "/health"),
        ]);
        let nearest = |error: Error| {
            assert_eq!(error.http().map(|fault| fault.reason), Some(HttpReason::UnmatchedRoute));
            let text = error.to_string();
            text.split_once("nearest: ").map(|(_, names)| names.split(',').next().unwrap_or("").to_owned())
        };
        let first = |text: &str| Some(text.to_owned());
        let ask = async |method, path| nearest(ask(&router, method, path).await.expect_err(path));
        assert_eq!(ask(Method::GET, "/order/7").await, first("GET /orders/{id}"));
        assert_eq!(ask(Method::GET, "/orders/").await, first("GET /orders/{id}"));
        assert_eq!(ask(Method::PUT, "/orders").await, first("POST /orders"));
        assert_eq!(ask(Method::GET, "/customers/7/order").await, first("GET /customers/{id}/orders"));
    }

    #[test]
    fn a_bad_or_repeated_template_is_refused() {
        let answer = |_| async { Ok(HttpResponse::new(StatusCode::OK, "")) };
        for template in ["orders", "/{id", "/{}", "/a?b", "/{a}/{a}", "/a b"] {
            let error = Router::new().route(Method::GET, template, answer).expect_err(template);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{template}");
        }
        let twice = router(&[(Method::GET, "/a/{x}")]).route(Method::GET, "/a/{y}", answer);
        assert!(twice.expect_err("the same shape").to_string().contains("is routed already"));
    }
}
