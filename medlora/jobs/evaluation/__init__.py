"""Judge an adapter beside its base model: a process of its own, started by `medlora.services.evaluate`."""
