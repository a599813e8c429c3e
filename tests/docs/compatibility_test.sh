#!/usr/bin/env bash
# compatibility_test.sh BUILD_DIR: the table in the tree is what the code's tables say.
set -euo pipefail
cd "$(dirname "$0")/../.."
diff -u docs/compatibility.md <("$1/docs/compatibility") || {
	echo "docs/compatibility.md is out of date: run ./dev docs"
	exit 1
}
