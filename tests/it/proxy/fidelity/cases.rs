//! The exchanges: requests and answers as they stand on the wire, in Latin-1.

pub(super) struct Exchange {
    pub(super) request: String,
    pub(super) answer: String,
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

pub(super) fn all() -> Vec<Exchange> {
    let mut all = Vec::new();
    let mut add = |request: String, answer: String| all.push(Exchange { request, answer });
    for method in METHODS {
        add(
            format!("{method} /a HTTP/1.1\r\nHost: h\r\n\r\n"),
            OK.to_owned(),
        );
    }
    for target in TARGETS {
        add(
            format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"),
            OK.to_owned(),
        );
    }
    for length in [1 << 10, 8 << 10, 60 << 10] {
        let target = "/long?q=".to_owned() + &"x".repeat(length);
        add(
            format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"),
            OK.to_owned(),
        );
    }
    for fields in REQUEST_FIELDS {
        add(
            format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n"),
            OK.to_owned(),
        );
    }
    for request in REQUESTS {
        add((*request).to_owned(), OK.to_owned());
    }
    for size in [1_usize, 100, 65_536, 300_000] {
        let body = "b".repeat(size);
        add(
            format!("POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n{body}"),
            format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{body}"),
        );
        let chunked = format!("{size:x}\r\n{body}\r\n0\r\n\r\n");
        add(
            format!("PUT /size HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
            format!("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        );
    }
    for status in STATUSES {
        add(
            GET.to_owned(),
            format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nX: 1\r\n\r\nno"),
        );
    }
    for fields in ANSWER_FIELDS {
        add(
            GET.to_owned(),
            format!("HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: 2\r\n\r\nok"),
        );
    }
    for answer in ANSWERS {
        add(GET.to_owned(), (*answer).to_owned());
        // The connection of a client that wants no more of it.
        add(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned(),
            (*answer).to_owned(),
        );
        // And of one that speaks the older version.
        add(
            "GET / HTTP/1.0\r\nHost: h\r\n\r\n".to_owned(),
            (*answer).to_owned(),
        );
        add(
            "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n".to_owned(),
            (*answer).to_owned(),
        );
    }
    for answer in ANSWERS_TO_HEAD {
        add(
            "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            (*answer).to_owned(),
        );
    }
    all
}

const METHODS: [&str; 18] = [
    "GET",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "MKCOL",
    "REPORT",
    "PURGE",
    "QUERY",
    "M-SEARCH",
    "get",
    "X",
    "LINK",
    "!#$%&'*+-.^_`|~09",
    "AVERYLONGMETHODNAMETHATNOBODYHASREGISTERED",
];

const TARGETS: [&str; 33] = [
    "/",
    "//",
    "///a//b",
    "/a/",
    "/a/.",
    "/a/..",
    "/a/../b",
    "/./a",
    "/../a",
    "/%2e%2e/a",
    "/a%2Fb",
    "/a%2fb",
    "/%41",
    "/%",
    "/%zz",
    "/a%00b",
    "/a?",
    "/?",
    "/?a=b&a=c&&=",
    "/a?b?c",
    "/a?b=/../c",
    "/a;b=c;d",
    "/a,b",
    "/a:b@c",
    "/:80",
    "/*",
    "/a*b",
    "/a+b%20c",
    "/$metadata",
    "/a(b='c')",
    "/~user/!",
    "/_streams%2Fx",
    "/?filter=%7B%22a%22:1%7D",
];

const REQUEST_FIELDS: [&str; 44] = [
    "X-CaSe: A",
    "x-lower: a",
    "X-UPPER: A",
    "X-Empty:",
    "X-Blanks:   a  b\t ",
    "X-None:a",
    "X-Tab:\ta",
    "A: 1\r\nB: 2\r\nA: 3\r\na: 4",
    "Z: 1\r\nY: 2\r\nX: 3\r\nW: 4",
    "X-Obs: \u{e9}\u{ff}\u{80}",
    "Cookie: a=b; c=d\r\nCookie: e=f",
    "Authorization: Basic YTpi",
    "Accept: */*\r\naccept: text/html;q=0.5",
    "Accept-Encoding: gzip, br",
    "If-None-Match: \"a\", W/\"b\"",
    "Range: bytes=0-1,5-",
    "User-Agent: curl/8 (\"x\")",
    "X-Long: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "Referer: http://h/?a=\"b\"",
    "Origin: null",
    "X_Under_score: 1",
    "X.Dot: 1",
    "1: 2",
    "~: ~",
    "X-Colon: a:b:c",
    "X-Comma: a,,b, ,c",
    "X-Quote: \"a\\\"b\"",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Length: 0",
    "X-Forwarded-For: 10.0.0.1",
    "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2, 10.0.0.3",
    "X-Forwarded-Proto: https\r\nX-Forwarded-Host: api.example",
    "Forwarded: for=10.0.0.1;proto=https",
    "Via: 1.1 other",
    "Max-Forwards: 3",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Connection: keep-alive",
    "Connection: close",
    "Connection: X-Own, close\r\nX-Own: 1\r\nX-Other: 2",
    "TE: trailers",
    "TE: gzip;q=0.5",
    "Expect: 100-continue\r\nContent-Length: 0",
    "Date: yesterday\r\nPragma: no-cache",
];

const REQUESTS: [&str; 15] = [
    "GET / HTTP/1.0\r\n\r\n",
    "GET /old HTTP/1.0\r\nHost: h\r\nX: 1\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
    "GET http://h/abs?x=y HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET http://h HTTP/1.1\r\nHost: h\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "GET / HTTP/1.1\r\nhOsT: H.Example:8080\r\n\r\n",
    "GET / HTTP/1.1\r\nA: 1\r\nHost: [::1]:80\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
    "DELETE / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;name=value;\"q\"\r\nabc\r\n00\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Type: application/octet-stream\r\n\r\n\0\u{ff}",
    "PATCH / HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\u{1f}\u{8b}\u{8}\0",
];

const STATUSES: [&str; 22] = [
    "200 OK",
    "200 Fine",
    "200 ",
    "201 Created",
    "202 Accepted",
    "203 X",
    "206 Partial Content",
    "299 \u{e9}t\u{e9}",
    "300 Multiple Choices",
    "301 Moved Permanently",
    "302 Found",
    "303 See Other",
    "307 Temporary Redirect",
    "400 Bad Request",
    "401 Unauthorized",
    "404 Not Found",
    "405 Nope",
    "418 I'm a teapot",
    "429 Too Many Requests",
    "500 Internal Server Error",
    "503 HTTP/1.1 is tired",
    "599 Custom  Two  Blanks",
];

const ANSWER_FIELDS: [&str; 22] = [
    "Date: yesterday",
    "Server: legacy/0.9 (x)",
    "sErVeR: a\r\nX-POWERED-BY: b",
    "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nset-cookie: c=3",
    "Set-Cookie: a=1\r\nX: between\r\nSet-Cookie: b=2",
    "X-Empty:",
    "X-Blanks:   a  b\t ",
    "X-None:a",
    "X-Obs: \u{e9}\u{ff}",
    "ETag: W/\"a\"\r\nLast-Modified: then",
    "Location: /a b\"c",
    "WWW-Authenticate: Basic realm=\"a\"\r\nWWW-Authenticate: Bearer",
    "Vary: a\r\nVary: b\r\nvary: c",
    "Content-Encoding: gzip",
    "Content-Type:application/json",
    "Via: 1.0 x\r\nVia: 1.1 y",
    "Connection: keep-alive",
    "Connection: keep-alive\r\nKeep-Alive: timeout=5, max=10",
    "Connection: close",
    "Connection: X-Own\r\nX-Own: 1",
    "Access-Control-Allow-Origin: *",
    "A: 1\r\nB: 2\r\nA: 3",
];

const ANSWERS: [&str; 19] = [
    "HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 9\r\n\r\n",
    "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: 1\r\n\r\nto the end",
    "HTTP/1.0 200 OK\r\nX: 1\r\n\r\nto the end",
    "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-ENCODING: chunked\r\nX: behind\r\n\r\n2;a=b\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n\u{1f}\u{8b}\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n\u{1f}\u{8b} to the end",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\nContent-Length: 2\nX: 1\n\nok",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </b>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",
    "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
];

const ANSWERS_TO_HEAD: [&str; 5] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: 1\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 302 Found\r\nLocation: /a\r\nContent-Length: 3\r\n\r\n",
];
