#!/bin/sh
# lab.sh up|down: the labs on the cluster that kubectl talks to. For make lab and make lab-clean.
set -eu
cd "$(dirname "$0")/.."
registry=${REGISTRY:-}
tag=${TAG:-latest}

fail() {
  echo "make lab: $*" >&2
  exit 1
}

# The nodes of a local cluster do not see the images of the engine that built them.
# shellcheck disable=SC2086  # $images is a list
load() {
  images="whoami:$tag whereami:$tag utils:$tag"
  case $1 in
    kind-*) kind load docker-image --name "${1#kind-}" $images ;;
    k3d-*) k3d image import --cluster "${1#k3d-}" $images ;;
    minikube) minikube image load $images ;;
    docker-desktop | rancher-desktop) ;; # these do
    *) fail "$1 is not a kind, k3d, minikube or desktop cluster: push the images, then make lab REGISTRY=..." ;;
  esac
}

# The labs, with the images' names changed to what the cluster can get.
overlay() {
  mkdir -p build/lab
  {
    echo "resources: [../../k8s]"
    echo "images:"
    for image in whoami whereami utils; do
      echo "  - {name: $image, newName: ${registry:+$registry/}$image, newTag: \"$tag\"}"
    done
  } >build/lab/Kustomization
}

up() {
  context=$(kubectl config current-context) || fail "kubectl knows no cluster; create one (kind create cluster)"
  [ -n "$registry" ] || load "$context"
  overlay
  kubectl apply -k build/lab
  for namespace in "" ns1 ns2; do
    kubectl rollout status deployment ${namespace:+-n $namespace} -l app.kubernetes.io/part-of=labs --timeout=3m
  done
  echo "The labs are up. Try:  kubectl port-forward service/whoami-service 8080:80  and  curl localhost:8080"
}

case ${1:-} in
  up) up ;;
  down) kubectl delete -k k8s --ignore-not-found ;;
  *) fail "say up or down" ;;
esac
