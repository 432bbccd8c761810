# Shared by the scripts here; source it from bash.

# Installs the Debian or Ubuntu packages that are missing; sudo where we are not root.
install_packages() {
    local wanted=(libopenmpi-dev openmpi-bin libopenblas-dev liblapacke-dev libzmq3-dev libsodium-dev pkg-config)
    local missing=() package
    for package in "${wanted[@]}"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    echo "installing ${missing[*]}"
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

require_swift() {
    command -v swift >/dev/null || {
        echo "swift is not on the PATH: install a toolchain (6.2 or newer) from https://swift.org/install" >&2
        exit 66
    }
}

# What mpirun needs to start more ranks than cores, also as root (containers).
mpi_environment() {
    if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
    export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_base_oversubscribe=1
    export OMPI_MCA_hwloc_base_binding_policy=none PRTE_MCA_hwloc_default_binding_policy=none
}

# One build in .build serves the program and its tests; other flags would build everything again. What quickstart installs has
# nothing of the tests in it and a folder of its own, so that neither build throws the other away.
build_flags=(-c release -Xswiftc -enable-testing)
release_flags=(-c release --scratch-path .build/install)
