//! What every test needs: a real replica set.

/// The address of a real one-member replica set, started once for this test binary.
#[allow(dead_code, reason = "the first caller comes with the next commit")]
pub async fn mongo_uri() -> &'static str {
    static URI: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    URI.get_or_init(|| {
        std::env::var("SIDESTREAM_TEST_MONGODB_URI").expect("SIDESTREAM_TEST_MONGODB_URI")
    })
}
