#!/usr/bin/env bash
# mypy --strict on ds2prof with its parsers, and on the GPU campaign. From the bare checkout mypy would not find ds2prof.parsers, which the
# packaging maps from parsers/: it is shown a folder of links laid out as installed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$(cd "$1" && pwd)/bin/python
view=$root/.lint
rm -rf "$view"
mkdir -p "$view/ds2prof"
for entry in "$root"/ds2prof/*; do
    ln -s "$entry" "$view/ds2prof/$(basename "$entry")"
done
ln -s "$root/parsers" "$view/ds2prof/parsers"
ln -s "$root/scripts/gpu_campaign" "$view/gpu_campaign"
cd "$view"
MYPYPATH=$view "$python" -m mypy --config-file "$root/pyproject.toml" --cache-dir "$root/.mypy_cache" \
    --no-error-summary --explicit-package-bases -p ds2prof -p gpu_campaign
