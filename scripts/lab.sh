#!/bin/sh
# lab.sh check|manifests|up|down: manage the labs on kubectl's current cluster. Used by the Makefile.
set -eu
cd "$(dirname "$0")/.."
registry=${REGISTRY:-}
tag=${TAG:-latest}
class=${CLASS:-traefik}
gateway_class=${GATEWAY_CLASS:-nginx}
host=${HOST:-}

fail() {
  echo "make lab: $*" >&2
  exit 1
}

context() {
  command -v kubectl >/dev/null || fail "kubectl is needed: https://kubernetes.io/docs/tasks/tools/"
  kubectl config current-context 2>/dev/null || fail "kubectl has no current cluster; create one (kind create cluster)"
}

# Before building: check for a cluster that can get the images.
check() {
  name=$(context)
  case ${registry:-$name} in
    "$registry" | kind-* | k3d-* | minikube | docker-desktop | rancher-desktop) ;;
    *) fail "$name is not a kind, k3d, minikube or desktop cluster: push the images, then make lab REGISTRY=..." ;;
  esac
}

# The nodes of a local cluster cannot see the images in the local engine.
# shellcheck disable=SC2086  # $images is a list
load() {
  images="whoami:$tag whereami:$tag utils:$tag"
  case $1 in
    kind-*) kind load docker-image --name "${1#kind-}" $images ;;
    k3d-*) k3d image import --cluster "${1#k3d-}" $images ;;
    minikube) minikube image load $images ;;
  esac
}

# Copy k8s/ file by file, with image names, classes and host names for this cluster.
manifests() {
  rm -rf build/k8s
  find k8s -type f | while read -r file; do
    mkdir -p "build/$(dirname "$file")"
    awk -v registry="${registry:+$registry/}" -v tag="$tag" -v class="$class" -v gateway="$gateway_class" -v host="$host" '
      $1 == "image:" { sub(/image: [a-z]+:[^ ]+/, "image: " registry substr($2, 1, index($2, ":")) tag) }
      $1 == "ingressClassName:" { sub(/: [^ ]+/, ": " class) }
      $1 == "gatewayClassName:" { sub(/: [^ ]+/, ": " gateway) }
      host != "" { sub(/\.localhost/, "." host) }
      host != "" && /^    - http:/ { print "    - host: " host; sub(/-/, " ") }
      { print }
    ' "$file" >"build/$file"
  done
}

up() {
  [ -n "$registry" ] || load "$(context)"
  manifests
  kubectl apply -k build/k8s
  for namespace in "" ns1 ns2; do
    kubectl rollout status deployment ${namespace:+-n $namespace} -l app.kubernetes.io/part-of=labs --timeout=3m
  done
  echo "The labs are up. Try:  kubectl port-forward service/whoami-service 8080:80  and  curl localhost:8080"
}

case ${1:-} in
  check | up) "$1" ;;
  manifests)
    manifests
    echo "The manifests are in build/k8s. Type the guide's commands in build:  cd build"
    ;;
  down) kubectl delete -k k8s --ignore-not-found ;;
  *) fail "expected check, manifests, up or down" ;;
esac
