"""The web surface: routes, one file a resource."""
