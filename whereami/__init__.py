"""whereami: the kubia server, which shows the pod's host name and node."""
