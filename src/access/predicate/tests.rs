//! The language of predicates: errors, values, failures, bounds.

use std::net::SocketAddr;

use bson::doc;
use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::{Circumstances, Failure, Predicate};
use crate::access::principal::{Mechanism, Principal};
use crate::access::request::RequestHead;
use crate::notation::mounts::{Mount, Mounts};

const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80);

pub(super) fn request(raw_path: &str, query_string: &str) -> RequestHead {
    RequestHead {
        method: Method::GET,
        path: RequestHead::decode_path(raw_path),
        raw_path: raw_path.to_owned(),
        query: RequestHead::decode_query(query_string),
        query_string: query_string.to_owned(),
        headers: HeaderMap::new(),
        peer: ADDRESS,
        local: ADDRESS,
        scheme: "http",
    }
}

fn bob() -> Principal {
    let properties = doc! {
        "_id": "bob", "n": 5, "big": 1e10, "small": 0.00012, "whole": 100.0, "teams": ["a", "b"], "none": [], "docs": [{ "a": 1 }],
        "deep": { "a": { "b": "c" } },
    };
    Principal {
        name: "bob".to_owned(),
        roles: vec!["r".to_owned()],
        properties: Some(properties),
        mechanism: Mechanism::Basic,
        expires_at: None,
        signed_by: None,
    }
}

fn evaluate(predicate: &str, target: &str) -> Result<bool, Failure> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parsed = Predicate::parse(predicate).unwrap_or_else(|error| panic!("{predicate}: {error}"));
    parsed.holds(&Circumstances {
        head: &request(path, query),
        principal: Some(&bob()),
        authentication_is_required: true,
        mounts: &Mounts::new(vec![Mount {
            at: "/all".to_owned(),
            what: "*".to_owned(),
        }]),
    })
}

#[track_caller]
fn check(predicate: &str, target: &str, expected: Result<bool, Failure>) {
    assert_eq!(
        evaluate(predicate, target),
        expected,
        "{predicate} on {target}"
    );
}

#[track_caller]
fn check_error(predicate: &str, what: &str, at: usize) {
    let error = Predicate::parse(predicate).expect_err(predicate);
    assert_eq!((error.what.as_str(), error.at), (what, at), "{predicate}");
}

#[test]
fn errors_name_what_and_where() {
    check_error("", "an expression is missing", 0);
    check_error(
        "path-prefx('/p')",
        "there is no predicate \"path-prefx\"",
        0,
    );
    check_error("true and path-prefix('/p'", "a bracket is not closed", 20);
    check_error("path('/p) ", "a quotation mark is not closed", 5);
    check_error("true\nfalse", "a second expression begins on a new line", 4);
    check_error("true true", "found \"true\" where the end should be", 5);
    check_error(
        "not not true",
        "found \"not\" where an operand of not should be",
        4,
    );
    check_error("path()", "path: the parameter \"path\" is missing", 0);
    check_error(
        "path(paths='/p')",
        "path: there is no parameter \"paths\"",
        5,
    );
    check_error(
        "contains(value='a', value='b')",
        "contains: the parameter \"value\" is given twice",
        20,
    );
    check_error(
        "in('a', {'b'})",
        "a list must stand alone or have a name",
        8,
    );
    check_error("in(value=a)", "in: the parameter \"array\" is missing", 0);
    check_error("qparams-size(x)", "qparams-size: \"x\" is no number", 13);
    check_error(
        "regex(pattern=@user.re)",
        "a regular expression cannot come from a variable",
        14,
    );
    check_error(
        "path-template('/p/{}')",
        "a {} in the template has no name",
        14,
    );
    check_error("equals(%{i,X, a)", "a brace is not closed", 7);
    check_error(
        "equals('a$b', '')",
        "a $ begins nothing (write $$ for the sign itself)",
        7,
    );
    check_error(
        "equals(%s, '200')",
        "the attribute %s is not known when a request is judged",
        7,
    );
    check_error("secure(x)", "secure: it takes no parameter", 0);
}

#[test]
fn a_failure_refuses_under_not_and_beside_true() {
    check(
        "in(value=%{q,t}, array={a}) or true",
        "/p",
        Err(Failure::NothingToLookFor),
    );
    check(
        "not in(value=%{q,t}, array={a})",
        "/p",
        Err(Failure::NothingToLookFor),
    );
    check("true or in(value=%{q,t}, array={a})", "/p", Ok(true));
    check(
        "not equals(@user.teams, 'a')",
        "/p",
        Err(Failure::ArrayForValue),
    );
    check(
        "not equals(@user.teams.0, 'a')",
        "/p",
        Err(Failure::PathIntoArray),
    );
    check(
        "not in(value=a, array=@user.docs)",
        "/p",
        Err(Failure::ArrayOfDocuments),
    );
    check(
        "not equals('x @user.n', 'y')",
        "/p",
        Err(Failure::VariableInText),
    );
    check(
        "not regex(pattern='.', value=@user.nope)",
        "/p",
        Err(Failure::NothingToSearch),
    );
}

#[test]
fn a_regular_expression_that_takes_too_long_refuses() {
    let slow = format!("/{}!", "a".repeat(64));
    check("regex('^(?=/)/(a+)+\\1$')", &slow, Err(Failure::RegexSteps));
    check(
        "not regex('^(?=/)/(a+)+\\1$')",
        &slow,
        Err(Failure::RegexSteps),
    );
}

#[test]
fn regular_expressions_are_javas() {
    check(
        r"regex(pattern='^\w+$', value='%{q,x}')",
        "/p?x=%C3%BC",
        Ok(false),
    );
    check(
        r"regex(pattern='^[\w-]+$', value='%{q,x}')",
        "/p?x=a-b_1",
        Ok(true),
    );
    check(
        r"regex(pattern='^\Qa.b\E$', value='%{q,x}')",
        "/p?x=a.b",
        Ok(true),
    );
    check(
        r"regex(pattern='^\Qa.b\E$', value='%{q,x}')",
        "/p?x=axb",
        Ok(false),
    );
    check(
        "regex('/(?<c>[a-z]+)/(.)') and equals(${2}, 's')",
        "/p/s",
        Ok(true),
    );
    check(
        "regex(pattern='a|ab', full-match=true, value='%{q,x}')",
        "/p?x=ab",
        Ok(true),
    );
    assert!(Predicate::parse(r"regex('\h')").is_err());
}

#[test]
fn user_values_are_spelt_as_in_java() {
    check("equals(@user.n, 5)", "/p", Ok(true));
    check("equals(@user.big, '1.0E10')", "/p", Ok(true));
    check("equals(@user.small, '1.2E-4')", "/p", Ok(true));
    check("equals(@user.whole, '100.0')", "/p", Ok(true));
    check("equals(@user.deep.a.b, c)", "/p", Ok(true));
    check(
        "equals(@user.deep.a, c) or equals(@user.deep, c)",
        "/p",
        Ok(false),
    );
    check("in(value=b, array=@user.teams)", "/p", Ok(true));
    check("not in(value=b, array=@user.none)", "/p", Ok(true));
}

#[test]
fn values_of_a_request_are_never_parsed() {
    check("equals('%{q,a}', '%{q,b}')", "/p?a=%25m&b=GET", Ok(false));
    check(
        "equals('%{q,a}', 'x')",
        "/p?a=x')%20or%20true%20or%20equals('x",
        Ok(false),
    );
    check(
        "path-template('/{a}/{b}') and equals(${a}, ${b})",
        "/$%7Bb%7D/x",
        Ok(false),
    );
}

#[test]
fn quoting_forms_are_equal() {
    check(r#"equals("a'b", 'a\'b')"#, "/p", Ok(true));
    check(r#"equals('a"b', "a\"b")"#, "/p", Ok(true));
    check(r"equals('a\b', 'a\\b')", "/p", Ok(false));
    check("equals(a, 'a', \"a\")", "/p", Ok(true));
}

#[test]
fn the_longest_prefix_leaves_the_remainder() {
    check(
        "path-prefix('/', '/p') and equals(${remaining}, '/s')",
        "/p/s",
        Ok(true),
    );
    check(
        "path-prefix('/p', '/') and equals(${remaining}, '/s')",
        "/p/s",
        Ok(true),
    );
}

#[test]
fn templates_name_whole_segments() {
    check(
        "path-template('/p/{x}/*') and equals('${x}:${*}', 's:t/u')",
        "/p/s/t/u",
        Ok(true),
    );
    check("path-template('/p/{x}/*')", "/p/s", Ok(false));
    check("path-template('/p/{x}')", "/p/", Ok(false));
    check("path-template('/p/{x}/')", "/p/s/", Ok(true));
}

#[test]
fn mounts_tell_the_collection() {
    check(
        "equals(@request.db, 'd') and equals(@request.collection, 'c')",
        "/all/d/c/_streams/s",
        Ok(true),
    );
    check("equals(@request.db, 'd')", "/other/d", Ok(false));
}

#[test]
fn matrix_parameters_are_apart() {
    check(
        "path('/p/s') and equals(%U, '/p;a=1/s;b=2') and equals(%{p,b}, 2)",
        "/p;a=1/s;b=2",
        Ok(true),
    );
}

#[test]
fn depth_is_bounded_and_length_is_not_depth() {
    let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Predicate::parse(&nested(super::NESTING_MAX)).is_ok());
    assert!(Predicate::parse(&nested(super::NESTING_MAX + 1)).is_err());
    check(&vec!["true"; 5_000].join(" and "), "/p", Ok(true));
    assert!(Predicate::parse(&" ".repeat(super::PREDICATE_BYTES_MAX + 1)).is_err());
}

fn fragment() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "path",
        "path-prefix",
        "path-template",
        "regex",
        "equals",
        "contains",
        "in",
        "exists",
        "method",
        "not",
        "and",
        "or",
        "true",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        "=",
        ";",
        "'",
        "\"",
        "\\",
        "\n",
        " ",
        "#",
        "%{q,a}",
        "%",
        "$",
        "${a}",
        "@user.n",
        "@user.teams",
        "@now",
        "@request.db",
        "value",
        "array",
        "pattern",
        "'/p'",
        "'(a+)+'",
        "ü",
        "\r",
        "%{i,",
    ]);
    prop_oneof![known.prop_map(str::to_owned), any::<String>()]
}

proptest! {
    /// Whatever is stored as a predicate is understood or refused, and then holds, does not, or fails.
    #[test]
    fn nothing_panics(fragments in prop::collection::vec(fragment(), 0..24), target in "/[a-z/;%?=&]{0,12}") {
        let text = fragments.concat();
        match Predicate::parse(&text) {
            Ok(_) => drop(evaluate(&text, &target)),
            Err(error) => prop_assert!(error.at <= text.len()),
        }
    }
}
