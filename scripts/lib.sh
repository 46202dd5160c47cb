# Shared by the scripts beside it: where the repository is, and what the machine must have.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# package: why it is needed
build_packages="
g++: the compiler (C++20)
cmake: configures the build (3.25 or newer)
ninja-build: runs the build
pkg-config: finds libraries
libfmt-dev: text formatting
libdnnl-dev: oneDNN, float matrix products and convolutions
ocl-icd-opencl-dev: oneDNN's CMake package asks for it
opencl-headers: oneDNN's CMake package asks for it
nlohmann-json3-dev: JSON output
libtomlplusplus-dev: recipes in TOML
libcli11-dev: command-line flags
libjpeg-dev: JPEG images as calibration data
libpng-dev: PNG images as calibration data
zlib1g-dev: compressed .npz data
libpcre2-dev: the patterns of tokenizers
"
test_packages="
libgtest-dev: GoogleTest
librapidcheck-dev: property tests
zstd: unpacks the conformance data
python3: the checks under tools/ (never needed to run narrow)
"

is_installed() {
  [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null || true)" = "ii " ]
}

# install_missing "<package: why lines>": says what it will install and why, installs it, and is silent when all is there.
install_missing() {
  if ! command -v dpkg-query >/dev/null; then
    echo "setup: this is no Debian system; install what corresponds to:" >&2
    sed '/^$/d; s/^/  /' <<<"$1" >&2
    return 0
  fi
  local line package missing=()
  while IFS= read -r line; do
    [ -n "$line" ] || continue
    package=${line%%:*}
    is_installed "$package" && continue
    # A compiler or interpreter from elsewhere on the PATH serves as well.
    case $package in
      g++ | cmake | pkg-config | python3) command -v "$package" >/dev/null && continue ;;
      ninja-build) command -v ninja >/dev/null && continue ;;
    esac
    [ ${#missing[@]} -gt 0 ] || echo "setup: these Debian packages are missing and will be installed with apt-get:"
    echo "  $package (${line#*: })"
    missing+=("$package")
  done <<<"$1"
  [ ${#missing[@]} -gt 0 ] || return 0

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      echo "setup: installing needs root, and there is no sudo. Run as root: apt-get install ${missing[*]}" >&2
      return 1
    }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# build_preset <preset> [cmake --build arguments…]
build_preset() {
  local preset=$1
  shift
  (cd "$root" && cmake --preset "$preset" && cmake --build --preset "$preset" "$@")
}
