"""The platform on a cluster: values for public Helm charts, manifests of the service; docs/platform.md."""
