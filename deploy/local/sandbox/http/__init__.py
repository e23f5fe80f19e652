"""HTTP over the model: the two dialects, one module a service, and the routes that control the sandbox."""
