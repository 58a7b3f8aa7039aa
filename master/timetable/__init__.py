"""When many people will come: times at which layers and instances are to be ready."""
