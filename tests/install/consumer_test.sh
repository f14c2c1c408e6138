#!/usr/bin/env bash
# Installs the build tree, moves the installation to a path with a space, and checks what a user of it
# meets: what is installed, what the library exports, and a program built through find_package and
# through pkg-config. Takes CMAKE, CXX, NM, SOURCE, BUILD, VERSION and
# LIBDIR from the environment.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  printf 'consumer_test: %s\n' "$*" >&2
  exit 1
}

"$CMAKE" --install "$BUILD" --prefix "$work/first" >"$work/install.log" || {
  cat "$work/install.log"
  fail "cmake --install failed"
}
prefix="$work/moved tree"
mv "$work/first" "$prefix"
library="$prefix/$LIBDIR/libtessera.so"

# Only public headers, and each compiles alone without warnings.
foreign=$(cd "$prefix/include" && find . -type f ! -path './tessera/*.hpp')
[ -z "$foreign" ] || fail "installed headers outside include/tessera: $foreign"
find "$prefix/include/tessera" -name '*.hpp' -print0 |
  xargs -0 -P 2 -I{} "$CXX" -std=c++20 -Wall -Wextra -Wconversion -Werror -fsyntax-only \
    -I "$prefix/include" -include "{}" -x c++ /dev/null || fail "a public header does not compile alone"

# Nothing but namespace tessera is exported (weak symbols are templates of the standard library).
exported=$("$NM" --dynamic --defined-only --demangle "$library" |
  grep -E ' [TDBR] ' | grep -vE ' [TDBR] (tessera::|(typeinfo|vtable|typeinfo name|VTT|guard variable)( name)? for tessera::)' || true)
[ -z "$exported" ] || fail "exported outside namespace tessera: $exported"
inner=$("$NM" --dynamic --defined-only --demangle "$library" |
  grep -E ' [TDBR] tessera::(kernels|device|scheduler|io|core)::' || true)
[ -z "$inner" ] || fail "exported from inside the library: $inner"

check_output() {
  local output
  output=$("$1" 2>"$work/stderr") || { cat "$work/stderr"; fail "$2: the program failed"; }
  [ "$output" = "tessera $VERSION works" ] || fail "$2: the program printed '$output'"
}

build_with_cmake() {
  "$CMAKE" -S "$source_dir/consumer" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_CXX_COMPILER="$CXX" -DTESSERA_VERSION="$VERSION" && "$CMAKE" --build "$work/build"
}
if ! build_with_cmake >"$work/cmake.log" 2>&1; then
  cat "$work/cmake.log"
  fail "the find_package consumer does not build"
fi
check_output "$work/build/consumer" find_package

export PKG_CONFIG_PATH="$prefix/$LIBDIR/pkgconfig"
[ "$(pkg-config --modversion tessera)" = "$VERSION" ] || fail "pkg-config names another version"
flags=()
eval "flags=($(pkg-config --cflags --libs tessera))"  # pkg-config escapes the space for the shell
"$CXX" -std=c++20 "$source_dir/consumer/main.cpp" -o "$work/consumer" "${flags[@]}" \
  "-Wl,-rpath,$prefix/$LIBDIR" || fail "the pkg-config consumer does not build"
check_output "$work/consumer" pkg-config

# Building the engine a second time would be dear; that it configures inside another project, with
# nothing of its tests and tools, is cheap to see.
if ! "$CMAKE" -S "$source_dir/consumer" -B "$work/inside" -G Ninja -DTESSERA_SOURCE="$SOURCE" \
  -DCMAKE_CXX_COMPILER="$CXX" >"$work/cmake.log" 2>&1; then
  cat "$work/cmake.log"
  fail "add_subdirectory does not configure"
fi
"$CMAKE" --build "$work/inside" --target help >"$work/targets"
if grep -qE '^([^/]*_test|tessera_tool): ' "$work/targets"; then
  fail "add_subdirectory brings tests or tools along"
fi

if [ -x "$prefix/bin/tessera" ]; then
  "$prefix/bin/tessera" --version >"$work/version" || fail "the installed command does not run"
  grep -qF "$VERSION" "$work/version" || fail "tessera --version printed '$(cat "$work/version")'"
fi
echo "find_package, pkg-config, add_subdirectory, headers and exports are right for tessera $VERSION"
