"""whereami: the kubia server, which tells the pod's host name and node."""
