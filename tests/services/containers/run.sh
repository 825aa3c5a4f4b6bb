#!/usr/bin/env bash
# The integration tests with RabbitMQ and PostgreSQL in containers, by testcontainers; any other way is an error. Then daifu's own
# image, built and run, and `deploy/compose.yaml` (tests/containers).
#   run.sh SUITE        the Debian release whose rabbitmq-server, postgresql and python3 are used: bookworm has RabbitMQ 3.10,
#                       PostgreSQL 15, Prometheus 2.42 and Python 3.11; trixie has 4.0, 17, 2.53 and 3.13
#
# As root on Debian. Installs docker.io and docker-compose (no system service is started or enabled), makes the images with debootstrap, and starts
# a dockerd of its own in network and mount namespaces of its own: nothing of it is seen or left outside.
set -euo pipefail

fail() {
    echo "make test-containers: $*" >&2
    exit 1
}

in_namespaces() { # SUITE WORK: what runs inside
    local suite=$1 work=$2
    ip link set lo up
    dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/dockerd.pid" \
        --host "unix://$work/docker.sock" --ip 127.0.0.1 >"$work/dockerd.log" 2>&1 &
    local daemon=$!
    # shellcheck disable=SC2064  # the id is known now
    trap "kill $daemon 2>/dev/null || true; wait $daemon || true" EXIT

    export DOCKER_HOST="unix://$work/docker.sock"
    local tries=0
    until [ -S "$work/docker.sock" ]; do
        kill -0 $daemon 2>/dev/null || { tail -n 20 "$work/dockerd.log" >&2; fail "dockerd does not run here (its log is above)"; }
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "dockerd is not ready after 60 s"
        sleep 0.2
    done

    import_image rabbitmq "$suite" 'ENTRYPOINT ["/entrypoint"]'
    import_image postgres "$suite" 'ENTRYPOINT ["/entrypoint"]'
    import_image prometheus "$suite" 'ENTRYPOINT ["/usr/bin/prometheus"]' 'USER 65534:65534'
    export DAIFU_TEST_CONTAINERS_ONLY=1
    export DAIFU_TEST_RABBITMQ_IMAGE="daifu-test-rabbitmq:$suite" DAIFU_TEST_POSTGRES_IMAGE="daifu-test-postgres:$suite"
    export DAIFU_TEST_PROMETHEUS_IMAGE="daifu-test-prometheus:$suite"
    unset DAIFU_TEST_BROKER_URL DAIFU_TEST_DATABASE_URL
    build_image "$suite"
    # Both, whatever the first one says; the second as `make test` runs it, each of two processes with servers of its own.
    local failed=0
    .venv/bin/python -m pytest tests/containers || failed=1
    .venv/bin/python -m pytest -n 2 --dist loadfile tests/integration || failed=1
    return $failed
}

# No container reaches the package index here: there is no network in these namespaces, so that nothing can get out of a test.
# The lock's wheels are fetched outside, where the same hashes are checked, and copied in; the build checks them again.
build_image() { # SUITE
    local suite=$1
    import_image python "$suite"
    import_image python-build "$suite"
    mkdir "$work/context"
    # What .dockerignore lets through, and the wheels; `docker build .` on a machine with an index needs neither.
    cp -r requirements.lock pyproject.toml README.md LICENSE schemas pipeline consumers producers deploy .dockerignore \
        "$work/wheels" "$work/context"
    export DAIFU_TEST_IMAGE="daifu-test:$suite" DAIFU_TEST_IMAGE_AGAIN="daifu-test-again:$suite"
    # Twice, and the second time from files with other times: the image's tests compare the two.
    local image
    for image in "$DAIFU_TEST_IMAGE" "$DAIFU_TEST_IMAGE_AGAIN"; do
        find "$work/context" -exec touch {} +
        DOCKER_BUILDKIT=0 docker build --quiet --no-cache --file "$work/context/deploy/image/Dockerfile" --tag "$image" \
            --build-arg BASE="daifu-test-python:$suite" --build-arg BUILD_BASE="daifu-test-python-build:$suite" \
            --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/src/wheels "$work/context"
        docker image inspect --format "image $image: {{.Size}} bytes" "$image"
    done
}

import_image() { # NAME SUITE [CHANGE…]
    .venv/bin/python - "$work/$1.tar" "daifu-test-$1" "${@:2}" <<'PYTHON'
import sys
import docker

tar, name, tag, *changes = sys.argv[1:]
client = docker.from_env(timeout=600)
client.api.import_image_from_file(tar, repository=name, tag=tag, changes=changes)
print(f"image {name}:{tag}: {client.images.get(f'{name}:{tag}').attrs['Size'] // 1_000_000} MB")
client.close()
PYTHON
}

fetch_wheels() { # SUITE
    local version=3.11
    [ "$1" = bookworm ] || version=3.13
    .venv/bin/python -m pip download --quiet --require-hashes --only-binary :all: --python-version $version \
        --requirement requirements.lock --dest "$work/wheels" >"$work/wheels.log" 2>&1 ||
        { tail -n 20 "$work/wheels.log" >&2; fail "the lock's wheels can't be had (see above)"; }
}

make_archive() { # SUITE NAME PACKAGE
    bash tests/services/containers/image.sh "$1" "$2" "$3" "$work/$2" >"$work/$2.log" 2>&1 ||
        { tail -n 20 "$work/$2.log" >&2; fail "debootstrap of $3 failed (its output is above)"; }
    tar -C "$work/$2" -cf "$work/$2.tar" .
    rm -rf "${work:?}/$2"
}

main() {
    local suite=${1:?the Debian release}
    [ "$(id -u)" = 0 ] || fail "only root can start a dockerd: run it as root on Debian"
    [ -e /etc/debian_version ] || fail "this is not Debian: run the tests with Docker running instead (make test)"
    echo "installing what is missing of docker.io, docker-compose, debootstrap, iptables, iproute2 (no system service is started or enabled)" >&2
    bash tests/services/debian_install.sh docker.io docker-compose debootstrap iptables iproute2 >"$work/install.log" 2>&1 ||
        { tail -n 20 "$work/install.log" >&2; fail "the installation failed (its output is above)"; }

    echo "making images of $suite's rabbitmq-server, postgresql, prometheus and python3" >&2
    fetch_wheels "$suite"
    make_archive "$suite" rabbitmq rabbitmq-server &
    local first=$!
    make_archive "$suite" postgres postgresql
    wait $first
    make_archive "$suite" python python3-minimal,libpython3-stdlib,ca-certificates &
    first=$!
    make_archive "$suite" python-build python3-venv,ca-certificates
    make_archive "$suite" prometheus prometheus
    wait $first
    unshare --net --mount --pid --fork --mount-proc --kill-child bash "$0" --inside "$suite" "$work"
}

cd "$(dirname "$0")/../../.."
if [ "${1:-}" = --inside ]; then
    in_namespaces "$2" "$3"
else
    work=$(mktemp -d -t daifu-docker-XXXX)
    trap 'rm -rf "$work"' EXIT
    main "$@"
fi
