//! The parts of the hot path, each as something that can be done over and over: criterion times them (`micro.rs`),
//! callgrind counts their instructions (`end_to_end -- guard`). Only what the library shows is used.

mod doors;
mod lines;
mod routes;
mod values;

/// One part. Setting it up is not counted.
pub struct Piece {
    pub name: &'static str,
    /// Too slow to be set up under callgrind.
    pub heavy: bool,
    pub make: fn() -> Work,
}

/// Does it once more.
pub type Work = Box<dyn FnMut()>;

/// All of them. To add one: a function that sets it up, and a line here.
pub const ALL: [Piece; 15] = [
    light("matcher/10 routes", || routes::find(10)),
    light("matcher/1000 routes", || routes::find(1_000)),
    light("matcher/10000 routes", || routes::find(10_000)),
    light("mapping/whole body", values::whole_body),
    light("mapping/header and JSON field in text", values::text),
    light("authorizer/API key of 10", || doors::api_key(10)),
    heavy("authorizer/API key of 1000000", || {
        doors::api_key(1_000_000)
    }),
    light("authorizer/cached JWT", doors::cached_token),
    light("authorizer/SigV4, 1 KiB", doors::sigv4),
    light("authorizer/GitHub webhook, 1 KiB", doors::webhook),
    light("call/head of a request", lines::call),
    light("access log/exchange without a log", || {
        lines::exchange(false)
    }),
    light("access log/exchange and JSON line", || {
        lines::exchange(true)
    }),
    light("sqs/MD5 of 1 KiB", values::md5),
    // The coalescer shows no entry of its own: its share is in `end_to_end -- sqs`, and in the guard's whole requests.
    light("sqs/body of a batch of ten, 1 KiB each", values::batch),
];

const fn light(name: &'static str, make: fn() -> Work) -> Piece {
    Piece {
        name,
        heavy: false,
        make,
    }
}

const fn heavy(name: &'static str, make: fn() -> Work) -> Piece {
    Piece {
        name,
        heavy: true,
        make,
    }
}

/// What a piece gives up on: it is set up from texts that stand beside it.
fn built<T, E: std::fmt::Debug>(made: Result<T, E>, what: &str) -> T {
    match made {
        Ok(made) => made,
        Err(error) => panic!("{what}: {error:?}"),
    }
}

/// A JSON body of 1 KiB.
fn body() -> bytes::Bytes {
    let mut body = r#"{"id":"o-1","customer":{"name":"Ada","tier":"gold"},"pad":""#.to_owned();
    let pad = 1022 - body.len();
    body.extend(std::iter::repeat_n('x', pad));
    body.push_str("\"}");
    body.into()
}

/// A request as `POST /orders` has it, with some headers that clients send and these.
fn call(headers: &[(&str, &str)]) -> penstock::model::call::Call {
    penstock::model::call::Call::new(head(headers), peer())
}

fn head(headers: &[(&str, &str)]) -> http::request::Parts {
    let mut request = http::Request::post("/orders?source=web")
        .header("host", "ingest.example.com")
        .header("user-agent", "shop/2.1 (linux)")
        .header("accept", "*/*")
        .header("content-type", "application/json")
        .header("content-length", "1024");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    built(request.body(()), "a request").into_parts().0
}

fn peer() -> std::sync::Arc<penstock::model::peer::Peer> {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 40_000));
    std::sync::Arc::new(penstock::model::peer::Peer::tcp(address, address, "public"))
}
