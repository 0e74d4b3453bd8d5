//! The rows that are decided otherwise than recorded, and those that are not decided here, each with its reason.

use std::collections::BTreeMap;

/// What a listed row comes to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// Let in, though RESTHeart does not.
    Allowed(&'static str),
    /// Refused, though RESTHeart lets in (or answers otherwise).
    Refused(&'static str),
    /// Not decided by `access`, or not by replaying.
    Elsewhere(&'static str),
}

impl Expected {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Allowed(reason) | Self::Refused(reason) | Self::Elsewhere(reason) => reason,
        }
    }
}

/// The listed rows of a file.
pub(super) fn listed(file: &str) -> BTreeMap<&'static str, Expected> {
    let rows: &[(&str, Expected)] = match file {
        "predicates" => PREDICATES,
        "acl" => ACL,
        "authentication" => AUTHENTICATION,
        "mongo-permissions" => MONGO_PERMISSIONS,
        "guards" => GUARDS,
        "config-variants" => CONFIG_VARIANTS,
        "jwt-only" => JWT_ONLY,
        "file-realm" | "file-acl" => &[],
        other => panic!("no list for {other}"),
    };
    rows.iter().copied().collect()
}

use Expected::{Allowed, Elsewhere, Refused};

const AS_THEY_ARE: &str = "its note: the values are compared as they are";
const NOT_BY_A_DEFECT: &str = "its note: a defect lets in; refused";
const UPSTREAM: &str = "tokens are issued by the upstream";

const PREDICATES: &[(&str, Expected)] = &[
    ("quote-single-inside-double", Allowed(AS_THEY_ARE)),
    (
        "quote-escaped-single",
        Allowed("the same defect as quote-single-inside-double, in the other quoting form"),
    ),
    ("quote-user-value-against-query", Allowed(AS_THEY_ARE)),
    ("user-value-dollar", Allowed(AS_THEY_ARE)),
    ("user-value-percent", Allowed(AS_THEY_ARE)),
    ("user-decimal-elsewhere", Allowed(AS_THEY_ARE)),
    ("user-decimal-without-variable", Allowed(AS_THEY_ARE)),
    (
        "user-array-name-begins-with-scalar-name",
        Allowed(AS_THEY_ARE),
    ),
    (
        "user-value-backslash-dropped",
        Refused("a user's value is never read as text again, so its backslash stays"),
    ),
    ("anonymous-user-literal", Refused(NOT_BY_A_DEFECT)),
    ("user-bare-other", Refused(NOT_BY_A_DEFECT)),
    ("inject-user-backslash-pair", Refused(NOT_BY_A_DEFECT)),
    ("inject-user-variable-escaped", Refused(NOT_BY_A_DEFECT)),
    ("inject-user-header-attribute", Refused(NOT_BY_A_DEFECT)),
];

const ACL: &[(&str, Expected)] = &[
    (
        "change-revoke-stale",
        Elsewhere("its note: refused at once; live::revoked_permission_ends_at_once"),
    ),
    (
        "change-revoke-live-session",
        Elsewhere("its note: closed with 4403; live::revoked_permission_ends_at_once"),
    ),
];

const AUTHENTICATION: &[(&str, Expected)] = &[
    (
        "none-avars-array",
        Refused(
            "as guards avars-not-object-anonymous notes: 401 before the parameters are looked at",
        ),
    ),
    ("basic-2b", Allowed("design section 9: $2b$ logs in")),
    ("basic-2y", Allowed("design section 9: $2y$ logs in")),
    ("basic-decimal-field", Allowed("its note: a defect")),
    (
        "basic-url-userinfo",
        Elsewhere("400 by the listener, before access"),
    ),
    (
        "cookie-origin-foreign",
        Refused("a cookie does not count for a page of another origin (auth.origin_check)"),
    ),
    ("token-get", Elsewhere(UPSTREAM)),
    ("token-post", Elsewhere(UPSTREAM)),
    ("token-none", Elsewhere(UPSTREAM)),
    ("token-renew-by-token", Elsewhere(UPSTREAM)),
    ("token-delete", Elsewhere(UPSTREAM)),
    ("cookie-set-and-use", Elsewhere(UPSTREAM)),
    (
        "password-changed-token",
        Elsewhere("needs a token of the upstream; live::token_ends_with_its_user"),
    ),
    (
        "session-survives-password-change",
        Elsewhere("its note: closed with 4401; live::changed_record_ends_the_grant"),
    ),
];

const MONGO_PERMISSIONS: &[(&str, Expected)] = &[(
    "management-needs-flag",
    Elsewhere("writes are the upstream's to allow"),
)];

const GUARDS: &[(&str, Expected)] = &[
    (
        "users-password-filter",
        Elsewhere("403 with a body by a service of RESTHeart's, on a filter that streams ignore"),
    ),
    ("avars-not-object-anonymous", Refused("its note: 401")),
    ("many-parameters", Elsewhere("400 by the listener's limits")),
    ("many-headers", Elsewhere("400 by the listener's limits")),
];

const CONFIG_VARIANTS: &[(&str, Expected)] = &[];

const JWT_ONLY: &[(&str, Expected)] = &[
    ("jwt-only-none-sse", Refused("its note: 401")),
    ("jwt-only-none-ws", Refused("its note: 401")),
    (
        "jwt-only-basic",
        Refused("as its neighbours: 401 where RESTHeart answers an empty 200"),
    ),
    (
        "jwt-only-expired",
        Refused("as its neighbours: 401 where RESTHeart answers an empty 200"),
    ),
];
