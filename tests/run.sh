#!/usr/bin/env bash
# Runs every test, after fetching what is missing. What is given goes to `cargo test`:
#
#   tests/run.sh                          everything
#   tests/run.sh --test it tutorial       the integration tests whose name has `tutorial`
#
# A MongoDB is started by the tests themselves, on a free port, and ends with them. SIDESTREAM_TEST_MONGODB_URI names
# another, a replica set that may be written to; tests that need to kill their server still start their own.
# Its binary is $MONGOD, or the mongod on the PATH, or one that is fetched once into target/mongod. The JavaScript of examples/
# runs under the Node on the PATH if that is 22 or later; else the tests fetch one (60 MB, from PyPI) into target/node.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/process.sh
. scripts/mongod.sh
. scripts/toolchain.sh

TARGET=${CARGO_TARGET_DIR:-$PWD/target}

toolchain_check
mongod_find "$TARGET"
# The tests look on the PATH: so they take the one that was found here.
PATH=$(cd "$(dirname "$MONGOD_BIN")" && pwd):$PATH
export PATH
printf 'Testing with %s and %s\n' "$(cargo --version)" "$("$MONGOD_BIN" --version | head -n 1)"

# First, since a selection of tests would not build the programs that the tests start.
cargo build --locked --bins --examples
cargo test --locked "$@"
printf '\nAll tests passed.\n'
